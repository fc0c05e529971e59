"""How scores are distributed: small histograms, one per score, stacked by region or label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from leadline.figures import style

BINS = 30
COLUMNS = 4


@style.styled
def distributions(table: pl.DataFrame, names: Sequence[str], by: str | None = "region") -> Figure:
    """A histogram of each score in `names`; infinite values (never learned) stand apart at the right, NaN is left out.

    table as `Run.scores()`; `by` a column (region, label) whose values are stacked, or None
    """
    groups = table[by].cast(pl.String).to_numpy() if by else np.full(table.height, "all")
    order = style.region_order(groups.tolist()) if by == "region" else sorted(set(groups.tolist()))
    colours = style.REGION_COLOURS if by == "region" else style.class_colours(order) if by else {"all": "#3b82c4"}
    across = min(COLUMNS, len(names))
    down = -(-len(names) // across)
    figure = style.blank(2.3 * across, 1.75 * down + 0.3, f"distributions of {', '.join(names)}")
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes, name in zip(places, names, strict=False):
        values = table[name].cast(pl.Float64).to_numpy()
        finite, infinite = np.isfinite(values), np.isposinf(values)
        edges = np.histogram_bin_edges(values[finite], BINS)
        parts = [values[finite & (groups == group)] for group in order]
        axes.hist(parts, edges, stacked=True, color=[colours.get(group, style.OTHER) for group in order], linewidth=0)
        if infinite.any():
            gap = 2 * (edges[-1] - edges[0]) / BINS
            base = 0
            for group in order:
                count = int((infinite & (groups == group)).sum())
                axes.bar(edges[-1] + gap, count, gap, bottom=base, color=colours.get(group, style.OTHER), linewidth=0)
                base += count
            axes.text(edges[-1] + gap, base, "∞", ha="center", va="bottom", fontsize=9)
        axes.set_title(name.replace("_", " "))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    for axes in places[len(names) :]:
        axes.set_visible(False)
    if by:
        handles = [style.swatch(colours.get(group, style.OTHER)) for group in order]
        labels = [style.short(style.REGION_WORDS.get(group, group)) for group in order]
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(order), 6))
    return figure
