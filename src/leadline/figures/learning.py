"""Pictures of training over its epochs: the run as a whole, each region, one example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leadline.errors import InputError
from leadline.evaluate import wilson
from leadline.figures import style

TRAIN, VALIDATION = "#7a7a7a", "#1f5fa8"
MARKERS = {"easy": "o", "ambiguous": "^", "hard": "s", "none": "D"}
SPARK = (84, 20)  # width and height in CSS pixels


@style.styled
def curves(events: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, and accuracy or what the task has instead, of training and validation over the epochs.

    `events` are the epoch events of metrics.jsonl: {"epoch": 1, "train": {"loss": ..}, "validation": {..}}; validation
    may be missing. Where validation has a macro F1 it is drawn beside accuracy: it tells when a rare class is given up.
    Raises InputError without events.
    """
    if not events:
        raise InputError("no learning curve without a finished epoch; metrics.jsonl has no epoch event yet")
    metric = _metric(events)
    alt = f"Learning curves over {len(events)} epochs: loss{' and ' + _spoken(metric) if metric else ''}"
    figure = style.blank(7.4 if metric else 3.9, 2.9, alt)
    panels = figure.subplots(1, 2 if metric else 1, squeeze=False)[0]
    _curve(panels[0], events, "loss", "loss (nats)" if metric != "rmse" else "loss (squared error)")
    if metric:
        _curve(panels[1], events, metric, _spoken(metric))
        if metric == "accuracy":
            _line(
                panels[1],
                events,
                "validation",
                "macro_f1",
                label="validation macro F1",
                color=VALIDATION,
                ls=":",
                marker="s",
            )
            panels[1].legend(loc="best")
    return figure


def _metric(events: Sequence[Mapping[str, Any]]) -> str | None:
    """accuracy, rmse, or the first other number that an epoch was measured by."""
    names = [name for event in events for part in ("train", "validation") for name in event.get(part, {})]
    others = [name for name in ("accuracy", "rmse", *names) if name in names and name != "loss"]
    return others[0] if others else None


def _spoken(metric: str) -> str:
    return {"rmse": "RMSE", "mae": "MAE"}.get(metric, metric.replace("_", " "))


def _curve(axes: Axes, events: Sequence[Mapping[str, Any]], metric: str, title: str) -> None:
    _line(axes, events, "train", metric, label="training", color=TRAIN, ls="--", marker="o")
    _line(axes, events, "validation", metric, label="validation", color=VALIDATION, ls="-", marker="o")
    axes.set_title(title)
    axes.set_xlabel("epoch")
    _whole_epochs(axes, [event["epoch"] for event in events])
    axes.margins(y=0.12)
    axes.grid(axis="y", color="#ececec")
    axes.legend(loc="best")


def _whole_epochs(axes: Axes, epochs: Sequence[float]) -> None:
    room = max(0.3, 0.04 * (epochs[-1] - epochs[0]))
    axes.set_xlim(epochs[0] - room, epochs[-1] + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))


def _line(axes: Axes, events: Sequence[Mapping[str, Any]], part: str, metric: str, **look: Any) -> None:
    """A missing value (no validation in that epoch) is a gap; a part that never has the metric is not drawn."""
    value = np.array([event.get(part, {}).get(metric, np.nan) for event in events], dtype=np.float64)
    if np.isfinite(value).any():
        axes.plot([event["epoch"] for event in events], value, markersize=3.5, **look)


@style.styled
def region_accuracy(correct: np.ndarray, category: np.ndarray) -> Figure:
    """Share of right predictions in each region over the epochs, with 95 % Wilson bands and n.

    correct (E, N): 1, 0, or -1 where undefined, which is left out; category (N,) easy, ambiguous, hard, none.
    """
    correct, category = np.asarray(correct), np.asarray(category)
    names = style.region_order(category.tolist())
    figure = style.blank(5.6, 3.3, f"Accuracy per region over {len(correct)} epochs")
    axes = figure.subplots()
    epochs = np.arange(1, len(correct) + 1)
    for depth, name in enumerate(names):
        inside = correct[:, category == name]  # (E, n)
        n, right = (inside >= 0).sum(axis=1), (inside == 1).sum(axis=1)  # (E,)
        low, high = wilson(right, n)
        colour = "#a3a3a3" if name == "none" else style.REGION_COLOURS.get(name, style.INK)
        axes.plot(
            epochs, right / np.where(n > 0, n, np.nan), color=colour, marker=MARKERS.get(name, "o"),
            lw=4 if name == "none" else 1.8, ms=4 + depth, zorder=3 - 0.1 * depth,  # easy and none often coincide
            label=f"{style.REGION_WORDS.get(name, name)} (n = {(category == name).sum():,})",
        )  # fmt: skip
        axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("epoch")
    axes.set_title("share right, with 95 % band")
    _whole_epochs(axes, epochs.tolist())
    axes.grid(axis="y", color="#ececec")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


def spark(gold_probability: np.ndarray) -> str:
    """The gold probability (E,) of one example over the epochs as a small inline SVG; the frame is 0 to 1.

    The dotted line is one half. An epoch that was not recorded (NaN) is a gap.
    """
    g = np.asarray(gold_probability, dtype=np.float64)
    width, height = SPARK
    x = np.linspace(4, width - 4, len(g)) if len(g) > 1 else np.array([width / 2] * len(g))
    y = 2 + (height - 4) * (1 - np.clip(g, 0, 1))
    pieces, pen = [], "M"
    for across, down in zip(x, y, strict=True):
        if np.isnan(down):
            pen = "M"
            continue
        pieces.append(f"{pen}{across:.1f} {down:.1f}")
        pen = "L"
    said = ", ".join("not recorded" if np.isnan(p) else f"{p:.2f}" for p in g)
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{d:.1f}" r="1.8" fill="{VALIDATION}"/>'
        for a, d in zip(x, y, strict=True)
        if not np.isnan(d)
    )
    return (
        f'<svg class="spark" role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'aria-label="gold probability per epoch: {said}">'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" '
        f'fill="none" stroke="#d5d5d5"/><path d="M1 {height / 2}H{width - 1}" stroke="#bbbbbb" stroke-dasharray="2 2"/>'
        f'<path d="{" ".join(pieces)}" fill="none" stroke="{VALIDATION}" stroke-width="1.4"/>{dots}</svg>'
    )
