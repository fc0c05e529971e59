"""How strange texts are, by one detector: a histogram for each set over that of the texts in distribution."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from leadline.errors import InputError
from leadline.figures import style

COLUMNS, BINS = 3, 30
INSIDE, OUTSIDE = style.CLASS_COLOURS[1], style.CLASS_COLOURS[2]


@style.styled
def strangeness(
    detector: str, inside: np.ndarray, others: Mapping[str, np.ndarray], notes: Mapping[str, str] | None = None
) -> Figure:
    """A panel per set: inside (N,) filled, the set (M,) outlined, both as shares of their rows; higher is stranger.

    notes  {set: what to say under its name}, for example its AUROC
    The axis ends at the 0.5th and 99.5th percentile of all; what lies beyond is counted in the outermost bars.
    """
    if not others or not len(inside):
        raise InputError("no sets to draw: texts in distribution and at least one other set are needed")
    rows, across = -(-len(others) // COLUMNS), min(COLUMNS, len(others))
    alt = f"Histograms of {detector} in distribution (n = {len(inside):,}) and of {', '.join(others)}"
    figure = style.blank(2.7 * across, 1.9 * rows + 0.5, alt)
    panels = figure.subplots(rows, across, squeeze=False, sharex=True).ravel()
    low, high = _range(np.concatenate([inside, *others.values()]))
    for axes, (name, values) in zip(panels, others.items(), strict=False):
        _panel(axes, (low, high), inside, values)
        axes.set_title(f"{style.short(name)} ({len(values):,})", fontsize=8.5)
        if notes and name in notes:
            axes.text(0, 1.0, notes[name], transform=axes.transAxes, fontsize=7.5, color=style.INK, va="top")
        axes.set_xlabel(f"{detector}: stranger →", fontsize=7.5, loc="right", labelpad=1)
    for axes in panels[len(others) :]:
        axes.axis("off")
    keys = [
        Patch(color=INSIDE, label=f"in distribution ({len(inside):,})"),
        Patch(facecolor="none", edgecolor=OUTSIDE, linewidth=1.6, label="the other set"),
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=2)
    return figure


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [0.5, 99.5])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _panel(axes: Axes, ends: tuple[float, float], inside: np.ndarray, values: np.ndarray) -> None:
    for some, look in (
        (inside, {"color": INSIDE, "histtype": "stepfilled"}),
        (values, {"color": OUTSIDE, "histtype": "step", "linewidth": 1.6}),
    ):
        weights = np.full(len(some), 1 / len(some))
        axes.hist(np.clip(some, *ends), bins=BINS, range=ends, weights=weights, **look)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the note
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelbottom=True)
