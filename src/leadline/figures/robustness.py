"""What noise costs: each kind's metric with its interval, beside that of the rows as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from leadline.errors import InputError
from leadline.figures import style

CLEAN, DISTURBED = "#1f5fa8", "#c95f70"


@style.styled
def robustness(
    clean: Mapping[str, Mapping[str, float]], disturbed: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]
) -> Figure:
    """A panel per metric: a row per kind of noise, the value with its 95 % interval; the band is the clean rows'.

    clean      metric -> {value, low, high, n}
    disturbed  title of the noise -> metric -> {value, low, high, …}
    Raises InputError without noise or metrics.
    """
    if not disturbed or not metrics:
        raise InputError("robustness: nothing was measured; `leadline evaluate RUN --robustness all` does")
    alt = f"{', '.join(metrics)} under {len(disturbed)} kinds of noise, beside the rows as they are"
    figure = style.blank(3.1 * len(metrics) + 1.4, 0.34 * len(disturbed) + 1.3, alt)
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    y = np.arange(len(disturbed))[::-1]
    for axes, metric in zip(panels, metrics, strict=True):
        value, low, high = (_column(disturbed.values(), metric, key) for key in ("value", "low", "high"))
        there = clean[metric]
        if there["low"] is not None:
            axes.axvspan(there["low"], there["high"], color=CLEAN, alpha=0.12, linewidth=0)
        axes.axvline(there["value"], color=CLEAN, lw=1.2)
        bars = np.maximum([value - low, high - value], 0)
        axes.errorbar(value, y, xerr=bars, fmt="o", ms=4, color=DISTURBED, elinewidth=1.2, capsize=2)
        axes.set_title(metric.replace("_", " "))
        axes.set_xlabel(f"blue: as they are, {there['value']:.3f}")
        axes.grid(axis="x", color="#ececec")
        axes.margins(x=0.08)
    panels[0].set_yticks(y, list(disturbed))
    panels[0].set_ylim(-0.6, len(disturbed) - 0.4)
    return figure


def _column(found: Any, metric: str, key: str) -> np.ndarray:
    values = [entry[metric].get(key) for entry in found]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
