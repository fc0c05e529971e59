"""How every score is distributed: small multiples of histograms, stacked by region or label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from leadline.errors import InputError
from leadline.figures import style
from leadline.figures.data_map import HIGHER_IS, axis_values, colour_key

COLUMNS, BINS = 3, 40
FEW = 12  # so many distinct values get a bar each
ENDS = {"easier": "easy to learn →", "harder": "hard to learn →", "ambiguous": "ambiguous →"}


@style.styled
def distributions(table: pl.DataFrame, names: Sequence[str], by: str | None = "region") -> Figure:
    """One histogram per score of `names` (columns of `table`), stacked by the values of `by` (region, label) or plain.

    The axis ends at the 0.5th and 99.5th percentile; what lies beyond is counted in the outermost bars. Values that are
    infinite (never learned) or undefined are counted in the panel's title. Raises InputError for an unknown column.
    """
    if not names:
        raise InputError("no scores to draw; name at least one column")
    groups = (
        _groups(table, by) if by else [Group(f"n = {table.height:,}", style.FAINT, np.ones(table.height, dtype=bool))]
    )
    rows, across = -(-len(names) // COLUMNS), min(COLUMNS, len(names))
    figure = style.blank(2.5 * across, 1.75 * rows + 0.45, f"Histograms of {', '.join(names)}")
    panels = figure.subplots(rows, across, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _histogram(axes, name, axis_values(table, name), groups)
    for axes in panels[len(names) :]:
        axes.axis("off")
    keys = [Patch(color=group.colour, label=group.words) for group in groups]
    figure.legend(handles=keys, loc="outside upper left", ncols=min(len(keys), 2 * across))
    return figure


@dataclass(frozen=True)
class Group:
    words: str
    colour: str
    rows: np.ndarray  # (N,) bool


def _groups(table: pl.DataFrame, by: str) -> list[Group]:
    """The values of a column with their colours; those without a colour of their own are one group."""
    key = colour_key(table, by)
    groups, rest = [], []
    for k, (word, colour) in enumerate(key.levels):
        rows = key.value == k
        if colour == style.OTHER and by != "region":
            rest.append(rows)
        else:
            groups.append(Group(f"{style.short(word)} ({rows.sum():,})", colour, rows))
    if rest:
        together = np.logical_or.reduce(rest)
        groups.append(Group(f"{len(rest)} other ({together.sum():,})", style.OTHER, together))
    if not groups:
        raise InputError(f"`{by}` has too many values to stack histograms by; choose label or region")
    return groups


def _histogram(axes: Axes, name: str, values: np.ndarray, groups: Sequence[Group]) -> None:
    finite = np.isfinite(values)
    distinct = np.unique(values[finite])
    if 0 < len(distinct) <= FEW:
        gap = np.diff(distinct).min() if len(distinct) > 1 else 1.0
        bottom = np.zeros(len(distinct))
        for group in groups:
            height = (values[group.rows & finite] == distinct[:, None]).sum(axis=1)
            axes.bar(distinct, height, 0.85 * gap, bottom, color=group.colour)
            bottom += height
    elif len(distinct):
        low, high = np.percentile(values[finite], [0.5, 99.5])
        if low == high:
            low, high = distinct[0], distinct[-1]
        parts = [np.clip(values[finite & group.rows], low, high) for group in groups]
        colours = [group.colour for group in groups]
        axes.hist(parts, bins=BINS, range=(low, high), stacked=True, color=colours, linewidth=0)
    infinite, undefined = int(np.isinf(values).sum()), int(np.isnan(values).sum())
    notes = [f"{infinite:,} infinite"] * (infinite > 0) + [f"{undefined:,} undefined"] * (undefined > 0)
    axes.set_title(name + (f"  ({', '.join(notes)})" if notes else ""), fontsize=8.5)
    axes.set_xlabel(ENDS.get(HIGHER_IS.get(name, ""), ""), fontsize=7.5, loc="right", labelpad=1)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    whole = len(distinct) > 0 and bool(np.all(distinct == np.round(distinct)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=1))
