"""The data map of Swayamdipta et al. (EMNLP 2020, arXiv 2009.10795): one point per training example.

Redrawn to be read: histograms along both axes show the crowd that the corners hide, the regions are outlined where
their examples lie, the axes say what their ends mean, and a large dataset becomes hexagons whose area is a count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from leadline.errors import InputError, nearest
from leadline.figures import style
from leadline.scores import SCORES

POINTS = 20_000  # above this a point no longer stands for an example that can be seen
DENSE = (
    100_000  # above this counts differ so much that areas follow their logarithm, and a page shows a choice of points
)
GRID = (46, 30)  # hexagons across and up
LINE = 0.042  # height of a label as a share of the axes
LEVELS = 8  # so many distinct values get a legend entry each; more become a scale
HIGHER_IS = {name: score.higher_is for name, score in SCORES.items()}
HIGHER_IS["minus_mean_loss"] = "easier"  # the vertical axis where no probability is natural (a regression)


@dataclass(frozen=True)
class Box:
    """Where the examples of one region lie: the middle 98 % of them along each axis."""

    x0: float
    x1: float
    y0: float
    y1: float
    n: int


@dataclass(frozen=True)
class Key:
    """How a column becomes colour. `value` (N,) is what `colour` is taken from; NaN is drawn in grey."""

    name: str
    value: np.ndarray  # (N,) float64: level number where `levels`, else the column's own unit
    levels: tuple[tuple[str, str], ...] = ()  # (word, colour) of each level; empty for a continuous scale
    limits: tuple[float, float] = (0.0, 1.0)

    def colours(self, value: np.ndarray | None = None) -> np.ndarray:
        """(N, 4) RGBA."""
        value = self.value if value is None else value
        if self.levels:
            steps = np.array([_rgba(colour) for _, colour in self.levels] + [_rgba(style.OTHER)])
            return steps[np.where(np.isfinite(value), value, len(self.levels)).astype(int)]
        rgba = np.array(style.SEQUENCE(Normalize(*self.limits, clip=True)(value).filled(0.0)))
        rgba[np.isnan(value)] = _rgba(style.OTHER)
        return rgba


@style.styled
def data_map(
    table: pl.DataFrame,
    x: str = "variability",
    y: str = "confidence",
    color: str = "correctness",
    regions: bool = True,
    title: str = "",
) -> Figure:
    """Scatter of `table[x]` against `table[y]` with marginal histograms; above 20,000 examples hexagons.

    `table` is as `Run.scores()` gives it: id, label, score columns, region. `color` is any column: few distinct values
    (correctness, label, region) become levels with counts, others a scale from the 1st to the 99th percentile.
    Rows without a finite x and y cannot be placed; the figure says how many.
    Raises InputError for a column that is missing or, on an axis, not numeric.
    """
    horizontal, vertical = axis_values(table, x), axis_values(table, y)
    key = colour_key(table, color)
    placed = np.isfinite(horizontal) & np.isfinite(vertical)
    n = int(placed.sum())
    if n == 0:
        raise InputError(f"no example has a finite `{x}` and a finite `{y}`; choose other columns for the map")
    figure = style.blank(7.4, 5.9, f"Data map of {n:,} examples: {y} against {x}, coloured by {color}. {title}".strip())
    grid = figure.add_gridspec(2, 2, width_ratios=(5.2, 1), height_ratios=(1, 5.2))
    main = figure.add_subplot(grid[1, 0])
    top, side = figure.add_subplot(grid[0, 0], sharex=main), figure.add_subplot(grid[1, 1], sharey=main)
    legend = figure.add_subplot(grid[0, 1])
    draw = _points if n <= POINTS else _hexagons
    note = draw(main, horizontal[placed], vertical[placed], key, placed)
    region = _words(table["region"]) if "region" in table.columns else np.array([])
    _margins(top, side, horizontal[placed], vertical[placed], region[placed] if len(region) else region)
    if regions and len(region):
        _outline(main, region_boxes(horizontal, vertical, region), horizontal[placed], vertical[placed])
    main.set_xlabel(axis_words(x))
    main.set_ylabel(axis_words(y))
    _legend(legend, key, placed)
    missing = len(placed) - n
    note += f" · {missing:,} without a value left out" if missing else ""
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    top.set_title(f"n = {n:,} {note}", fontsize=8, color=style.FAINT)
    return figure


def _words(column: pl.Series) -> np.ndarray:
    """(N,) of fixed width: compared ten times faster than objects."""
    return column.cast(pl.String).fill_null("").to_numpy().astype(np.str_)


def axis_values(table: pl.DataFrame, name: str) -> np.ndarray:
    """(N,) float64 of one score column; null becomes NaN."""
    _known(table, name)
    column = table[name]
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        numeric = [c for c in table.columns if table[c].dtype.is_numeric()]
        raise InputError(
            f"column `{name}` is not a number and cannot be an axis; numeric columns: {', '.join(numeric)}"
        )
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _known(table: pl.DataFrame, name: str) -> None:
    if name not in table.columns:
        have = [c for c in table.columns if c != "id"]
        raise InputError(f"there is no column `{name}` to draw.{nearest(name, have)} There are: {', '.join(have)}")


def axis_words(name: str) -> str:
    """The name of a score with what its ends mean."""
    match HIGHER_IS.get(name):
        case "easier":
            return f"hard to learn  ←   {name}   →  easy to learn"
        case "harder":
            return f"easy to learn  ←   {name}   →  hard to learn"
        case "ambiguous":
            return f"{name}   →  ambiguous"
        case _:
            return name


def colour_key(table: pl.DataFrame, name: str, classes: Sequence[str] = ()) -> Key:
    """What a column's values look like: levels for words and for few distinct numbers, else a scale."""
    _known(table, name)
    column = table[name]
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return _numeric_key(name, column.cast(pl.Float64).fill_null(np.nan).to_numpy())
    words = column.cast(pl.String)
    if name != "region" and not classes and words.n_unique() > len(style.CLASS_COLOURS):
        numbers = words.cast(pl.Float64, strict=False)  # the target of a regression comes as text
        if numbers.null_count() == words.null_count():
            return _numeric_key(name, numbers.fill_null(np.nan).to_numpy())
    counts = dict(words.drop_nulls().value_counts().iter_rows())
    if name == "region":
        order = style.region_order(counts)
        colours = {word: style.REGION_COLOURS.get(word, style.OTHER) for word in order}
    else:
        order = [c for c in classes if c in counts] or sorted(counts)
        order += [c for c in counts if c not in order]
        colours = style.class_colours(order, counts)
    number = {word: float(k) for k, word in enumerate(order)}
    value = np.array([number.get(word, np.nan) for word in words.to_list()])
    return Key(name, value, tuple((word, colours[word]) for word in order))


def _numeric_key(name: str, value: np.ndarray) -> Key:
    distinct = np.unique(value[~np.isnan(value)])
    if 0 < len(distinct) <= LEVELS:
        scale = style.SEQUENCE(np.linspace(0.0, 1.0, len(distinct)))
        levels = tuple((_number(v), _hex(c)) for v, c in zip(distinct, scale, strict=True))
        number = np.searchsorted(distinct, value).astype(np.float64)
        return Key(name, np.where(np.isnan(value), np.nan, number), levels)
    finite = value[np.isfinite(value)]
    low, high = np.percentile(finite, [1, 99]) if len(finite) else (0.0, 1.0)
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return Key(name, value, limits=(float(low), float(high)))


def _number(value: float) -> str:
    return "never" if np.isposinf(value) else f"{value:.3g}"


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0


def _hex(rgba: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(part) * 255):02x}" for part in rgba[:3])


def region_boxes(x: np.ndarray, y: np.ndarray, region: np.ndarray) -> dict[str, Box]:
    """{region: where it lies}, without `none`; x, y, region are (N,)."""
    boxes = {}
    for name in style.region_order(region):
        inside = (region == name) & np.isfinite(x) & np.isfinite(y)
        if name == "none" or not inside.any():
            continue
        (x0, x1), (y0, y1) = (np.percentile(axis[inside], [1, 99]) for axis in (x, y))
        boxes[name] = Box(float(x0), float(x1), float(y0), float(y1), int(inside.sum()))
    return boxes


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, key: Key, placed: np.ndarray) -> str:
    order = np.random.default_rng(0).permutation(len(x))  # no class lies on top of another because of its row
    size = float(np.clip(16_000 / len(x), 4, 24))
    axes.scatter(
        x[order], y[order], s=size, c=key.colours()[placed][order], alpha=0.75, linewidths=0,
        rasterized=len(x) > style.RASTER_ABOVE,
    )  # fmt: skip
    return ""


def _hexagons(axes: Axes, x: np.ndarray, y: np.ndarray, key: Key, placed: np.ndarray) -> str:
    """Area: how many examples, as the square root of the share (of many: as the logarithm), so that thin places stay
    visible. Colour: their median, or for words their most frequent value."""
    words = bool(key.levels) and key.name in {"label", "region"}
    count = axes.hexbin(x, y, gridsize=GRID, mincnt=1)
    pick: Any = _most_frequent if words else _median
    colour = axes.hexbin(x, y, C=key.value[placed], reduce_C_function=pick, gridsize=GRID, mincnt=1)
    centres, n, value = np.asarray(count.get_offsets()), np.asarray(count.get_array()), np.asarray(colour.get_array())
    count.remove()
    colour.remove()
    dense = len(x) > DENSE
    size = 56 * (np.log1p(n) / np.log1p(n.max()) if dense else np.sqrt(n / n.max()))
    axes.scatter(centres[:, 0], centres[:, 1], s=size, c=key.colours(value), marker="h", linewidths=0)
    what = f"{'most frequent' if words else 'median'} {key.name}"
    grows = "the logarithm of the number" if dense else "the number"
    return f"· hexagon: area grows with {grows} of examples (largest {int(n.max()):,}),\ncolour is the {what}"


def _median(values: np.ndarray) -> float:
    """The lower one of two in the middle, so that a level stays a level."""
    there = np.sort(np.asarray(values)[~np.isnan(values)])
    return float(there[(len(there) - 1) // 2]) if len(there) else float("nan")


def _most_frequent(values: np.ndarray) -> float:
    there = np.asarray(values)[~np.isnan(values)]
    return float(np.bincount(there.astype(int)).argmax()) if len(there) else float("nan")


def _outline(axes: Axes, boxes: dict[str, Box], x: np.ndarray, y: np.ndarray) -> None:
    """A frame per region and its name where it hides the fewest points; (n,) x and y in data units."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide, high = right - left, top - bottom
    points = ((x - left) / wide, (y - bottom) / high)  # 0 to 1 inside the axes, as labels are placed
    taken: list[tuple[float, float, float]] = []
    for name, box in boxes.items():
        colour = style.REGION_COLOURS.get(name, style.INK)
        axes.add_patch(Rectangle((box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0, fill=False, ec=colour, lw=1.6))
        words = f"{style.REGION_WORDS.get(name, name)}  {box.n:,} ({100 * box.n / len(x):.0f} %)"
        width = 0.0145 * len(words) + 0.01
        x0, x1 = (box.x0 - left) / wide, (box.x1 - left) / wide
        y0, y1 = (box.y0 - bottom) / high, (box.y1 - bottom) / high
        places = [(across, up, width) for across, up in _corners(x0, x1, y0, y1, width)]
        best = min(places, key=lambda place: _hidden(place, points, taken))
        taken.append(best)
        axes.text(
            best[0], best[1], words, transform=axes.transAxes, va="bottom", fontweight="bold",
            bbox={"facecolor": style.PAPER, "alpha": 0.8, "edgecolor": colour, "linewidth": 0.8, "pad": 1.5},
        )  # fmt: skip
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _corners(x0: float, x1: float, y0: float, y1: float, width: float) -> list[tuple[float, float]]:
    """Lower left ends of labels at the corners of a box: inside, above, below, beside."""
    gap, rows = 0.012, (y1 - LINE, y0 + 0.008)
    inside = [(x, y) for y in rows for x in (x1 - width, x0 + gap)]
    over_under = [(x, y) for y in (y1 + 0.008, y0 - LINE) for x in (x1 - width, x0)]
    return inside + over_under + [(x, y) for y in rows for x in (x1 + gap, x0 - width)]


def _hidden(
    place: tuple[float, float, float], points: tuple[np.ndarray, np.ndarray], taken: list[tuple[float, float, float]]
) -> float:
    """How many points a label (x, y, width) would lie on; outside the axes or on another label: as many as all."""
    (x, y, width), (across, up) = place, points
    on = int(((across > x) & (across < x + width) & (up > y) & (up < y + LINE)).sum())
    outside = x < 0.005 or x + width > 1.05 or y < 0 or y + LINE > 1.02
    meets = any(x < x2 + w2 and x2 < x + width and abs(y - y2) < LINE for x2, y2, w2 in taken)
    return on + len(across) * (outside + meets)


def _margins(top: Axes, side: Axes, x: np.ndarray, y: np.ndarray, region: np.ndarray) -> None:
    """Stacked by region where there is one."""
    names = style.region_order(region) if len(region) else []
    colours = [style.REGION_COLOURS.get(name, style.OTHER) for name in names] or [style.FAINT]
    ways: tuple[Literal["vertical", "horizontal"], ...] = ("vertical", "horizontal")
    for axes, values, way in zip((top, side), (x, y), ways, strict=True):
        groups = [values[region == name] for name in names] if names else [values]
        axes.hist(groups, bins=50, stacked=True, color=colours, orientation=way, linewidth=0)
        axes.axis("off")


def _legend(axes: Axes, key: Key, placed: np.ndarray) -> None:
    axes.axis("off")
    value = key.value[placed]
    if not key.levels:
        bar = axes.inset_axes((0.0, 0.45, 0.95, 0.14))
        scale = ScalarMappable(Normalize(*key.limits), style.SEQUENCE)
        axes.figure.colorbar(scale, cax=bar, orientation="horizontal", label=key.name)  # type: ignore[union-attr]
        return
    words = key.name in {"label", "region"}
    counts = [int((value == k).sum()) for k in range(len(key.levels))]
    rows = [(style.short(word, 14), colour, n) for (word, colour), n in zip(key.levels, counts, strict=True)]
    coloured = [row for row in rows if row[1] != style.OTHER or key.name == "region"]
    rest = [row for row in rows if row not in coloured]
    if rest:
        coloured.append((f"{len(rest)} other", style.OTHER, sum(row[2] for row in rest)))
    marks = [
        Line2D([], [], marker="o", ls="", ms=5, color=colour, label=f"{word} ({n:,})") for word, colour, n in coloured
    ]
    axes.legend(
        handles=marks if words else marks[::-1], title=key.name, loc="lower left", bbox_to_anchor=(-0.1, -0.1),
        borderpad=0, labelspacing=0.2, handletextpad=0.2, alignment="left",
    )  # fmt: skip
