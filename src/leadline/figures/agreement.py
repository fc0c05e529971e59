"""Which scores agree: below the diagonal rank correlations, above it the hardest examples in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from leadline.errors import InputError
from leadline.figures import style

SCALE = colormaps["PuOr_r"]  # purple to orange through white: its ends keep apart in every way of seeing
OVERLAP = LinearSegmentedColormap.from_list("light to dark grey", ["#f2f2f2", "#5a5a5a"])
CELL = 0.40  # inches; a value of two decimals in 6.5 points fits


@style.styled
def heat_map(
    names: Sequence[str],
    spearman: np.ndarray,
    overlap: np.ndarray,
    hardest: float,
    title: str,
    apart: Sequence[str] = (),
    turned: Sequence[str] = (),
) -> Figure:
    """Names in clustered order (average linkage of 1 - Spearman), those `apart` after a gap; a value in every cell.

    spearman (M, M) with harder = up, overlap (M, M) the share of the hardest in common; NaN stays empty. `turned`
    scores are marked with a minus: their sign was changed. InputError for fewer than two scores.
    """
    spearman, overlap = np.asarray(spearman, dtype=np.float64), np.asarray(overlap, dtype=np.float64)
    if len(names) < 2 or spearman.shape != (len(names),) * 2 or overlap.shape != spearman.shape:
        raise InputError(f"a heat map of agreement needs at least two scores and their tables, not {len(names)}")
    order, split = arranged(names, spearman, apart)
    m, side, longest = len(order), CELL * len(order), 0.075 * max(len(str(name)) + 2 for name in names)
    figure = style.blank(
        max(side + longest + 2.4, 6.4), side + 0.9 * longest + 1.2,
        f"Agreement of {m} scores: Spearman rank correlation below the diagonal, hardest examples in common above it",
    )  # fmt: skip
    axes = figure.subplots()
    at = np.ix_(order, order)
    below, above = np.tril(np.ones((m, m), dtype=bool), -1), np.triu(np.ones((m, m), dtype=bool), 1)
    place = np.arange(m) + 0.6 * (np.arange(m) >= split) * (0 < split < m)  # a gap before the scores apart
    _cells(axes, place, spearman[at], below, SCALE, (-1.0, 1.0))
    _cells(axes, place, overlap[at], above, OVERLAP, (0.0, 1.0))
    written = [("- " if names[i] in turned else "") + str(names[i]) for i in order]
    axes.set_xticks(place, written, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(place, written)
    axes.set(xlim=(-0.5, place[-1] + 0.5), ylim=(place[-1] + 0.5, -0.5), aspect="equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    words = _words(title, hardest, split < m, any(name in turned for name in names))
    figure.suptitle(words, x=0.02, ha="left", fontsize=10)
    _bars(figure, axes, hardest)
    return figure


def arranged(names: Sequence[str], spearman: np.ndarray, apart: Sequence[str]) -> tuple[list[int], int]:
    """(the columns in the order in which they are drawn, how many of them come before the gap)."""
    first = [i for i, name in enumerate(names) if name not in apart]
    last = [i for i, name in enumerate(names) if name in apart]
    return [*_clustered(first, spearman), *_clustered(last, spearman)], len(first)


def _clustered(columns: list[int], spearman: np.ndarray) -> list[int]:
    """Similar ones side by side: leaves of an average linkage, an undefined correlation counting as none."""
    if len(columns) < 3:
        return columns
    distance = 1 - np.nan_to_num(spearman[np.ix_(columns, columns)], nan=0.0)
    distance = np.maximum((distance + distance.T) / 2, 0.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [columns[i] for i in leaves_list(tree)]


def _cells(
    axes: Axes, place: np.ndarray, table: np.ndarray, where: np.ndarray, scale: Colormap, limits: tuple[float, float]
) -> None:
    """A coloured square with its value for every pair of a triangle; nothing where it is undefined."""
    low, high = limits
    pairs = np.argwhere(where & ~np.isnan(table))
    colours = [scale((table[i, j] - low) / (high - low)) for i, j in pairs]
    _squares(axes, [(place[j], place[i]) for i, j in pairs], colours)
    for (i, j), colour in zip(pairs, colours, strict=True):
        words = _written(table[i, j])
        text = axes.text(place[j], place[i], words, ha="center", va="center", fontsize=6.5, color=_ink(colour))
        text.set_in_layout(False)  # it lies inside the axes: measuring nine hundred of them takes seconds


def _squares(axes: Axes, centres: Sequence[tuple[float, float]], colours: Sequence[Any]) -> None:
    squares = [Rectangle((x - 0.5, y - 0.5), 1, 1) for x, y in centres]
    axes.add_collection(PatchCollection(squares, facecolors=colours, edgecolors=style.PAPER, linewidths=0.6))


def _written(value: float) -> str:
    """.93, -.12, 1.0: two decimals without the nought before the point."""
    text = f"{value:.2f}"
    return "1.0" if text == "1.00" else "-1.0" if text == "-1.00" else text.replace("0.", ".", 1).replace("-.00", ".00")


def _ink(colour: tuple[float, ...]) -> str:
    red, green, blue = colour[:3]
    return style.PAPER if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else style.INK


def _words(title: str, hardest: float, some_apart: bool, some_turned: bool) -> str:
    lines = [title, f"below: Spearman, harder = up; above: share of the hardest {100 * hardest:g} % in common"]
    if some_turned:
        lines.append("minus: sign changed, low is hard" + ("; after the gap: no direction" if some_apart else ""))
    elif some_apart:
        lines.append("after the gap: scores without a direction")
    return "\n".join(lines)


def _bars(figure: Figure, axes: Axes, hardest: float) -> None:
    """The two scales; chance is marked on the second."""
    first = figure.colorbar(ScalarMappable(Normalize(-1, 1), SCALE), ax=axes, fraction=0.03, pad=0.02, shrink=0.6)
    first.set_label("Spearman")
    second = figure.colorbar(ScalarMappable(Normalize(0, 1), OVERLAP), ax=axes, fraction=0.03, pad=0.02, shrink=0.6)
    second.set_label("hardest in common (line: chance)")
    second.ax.axhline(hardest, color=style.INK, lw=1.2)
    for bar in (first, second):
        bar.outline.set_visible(False)  # type: ignore[operator]
