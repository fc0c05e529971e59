"""Learning over epochs: loss and accuracy of a run, accuracy of each region, and the course of one example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leadline.evaluate import wilson
from leadline.figures import style

SPLITS = {"train": ("#767676", "--"), "validation": ("#3b82c4", "-")}
METRICS = ("accuracy", "rmse")
SPARK = (96, 22)  # width and height of a course in a table, CSS pixels


@style.styled
def curves(events: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, and accuracy (RMSE of a regression), per epoch: training dashed, validation drawn through.

    events  {"epoch": 1, "train": {"loss": …}, "validation": {…}}, as in metrics.jsonl; a split or a metric may be missing
    """
    metric = next((m for m in METRICS if any(m in event.get(s, {}) for event in events for s in SPLITS)), None)
    shown = ["loss", *([metric] if metric else [])]
    figure = style.blank(3.6 * len(shown), 2.7, f"learning curves: {' and '.join(shown)} per epoch")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for split, (colour, line) in SPLITS.items():
            course = [(event["epoch"], event[split][name]) for event in events if name in event.get(split, {})]
            if course:
                axes.plot(*zip(*course, strict=True), line, color=colour, marker="o", markersize=3.5, label=split)
        axes.set(title=name.upper() if name == "rmse" else name, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(y=0.15)
        axes.legend()
    return figure


@style.styled
def region_accuracy(correct: np.ndarray, category: np.ndarray) -> Figure:
    """Share of each region that the model got right, over the recorded epochs, with 95 % Wilson bands.

    correct (E, N) 1, 0, or -1 where undefined; category (N,) region of each example
    """
    epochs = np.arange(1, len(correct) + 1)
    figure = style.blank(5.4, 3.0, "accuracy of each region over epochs")
    axes = figure.subplots()
    for name in style.region_order(category.tolist()):
        inside = correct[:, category == name]  # (E, n)
        right, known = (inside == 1).sum(axis=1), (inside >= 0).sum(axis=1)
        if not known.all():
            continue
        bounds = np.array([wilson(int(r), int(n)) for r, n in zip(right, known, strict=True)])  # (E, 2)
        colour = style.REGION_COLOURS.get(name, style.OTHER)
        axes.fill_between(epochs, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.2, linewidth=0)
        label = f"{style.REGION_WORDS.get(name, name)} (n = {inside.shape[1]:,})"
        axes.plot(epochs, right / known, color=colour, marker="o", markersize=3.5, label=label)
    axes.set(xlabel="recorded epoch", ylabel="share right", ylim=(-0.03, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside right center")
    return figure


def spark(gold_probability: np.ndarray) -> str:
    """The probability of the label over epochs (E,) as a tiny <svg>: 0 at the foot, 1 at the top, a hairline at 1/2."""
    width, height = SPARK
    values = np.asarray(gold_probability, dtype=np.float64)
    x = np.linspace(4, width - 4, len(values)) if len(values) > 1 else np.array([width / 2])
    y = height - 3 - values * (height - 6)
    seen = [(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in seen)
    told = ", ".join("–" if np.isnan(v) else f"{v:.2f}" for v in values)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.7" fill="{style.INK}"/>' for a, b in seen)
    return (
        f'<svg role="img" aria-label="probability of the label per epoch: {told}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><title>{told}</title>'
        f'<line x1="0" x2="{width}" y1="{height / 2}" y2="{height / 2}" stroke="{style.OTHER}"/>'
        f'<polyline points="{points}" fill="none" stroke="{style.INK}" stroke-width="1.3"/>{dots}</svg>'
    )
