"""What the model gets wrong and how well it knows: confusion matrix, reliability diagram, risk over coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leadline.errors import InputError
from leadline.evaluate import Certainty
from leadline.figures import style

CLASSES = 20  # a cell of more classes cannot be read on a page
BAR, WRONG = "#9db8d6", "#861f52"


@style.styled
def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Rows are labels, columns predictions; a cell is a count, coloured by its share of the row.

    matrix (K, K) of counts, classes its K names. Up to eight classes a cell also tells the share; above 20 only
    the 20 classes with most errors (as label or as prediction) are drawn, and the title says so.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(classes), len(classes)):
        raise InputError(f"a confusion matrix of shape {matrix.shape} does not fit {len(classes)} classes")
    total, of = matrix.sum(axis=1), len(classes)  # (K,) before anything is left out
    shown = _most_confused(matrix)
    counts, share = matrix[np.ix_(shown, shown)], (matrix / np.maximum(total, 1)[:, None])[np.ix_(shown, shown)]
    k, names = len(shown), [style.short(str(classes[i]), 18) for i in shown]
    side = float(np.clip(0.42 * k, 2.2, 6.6))
    figure = style.blank(side + 2.4, side + 1.3, f"Confusion matrix of {of} classes, {int(total.sum()):,} examples")
    axes = figure.subplots()
    axes.imshow(share, cmap=style.SHARES, vmin=0, vmax=1, aspect="equal")
    size = 9 if k <= 8 else 7.5 if k <= 12 else 6.5
    for i, j in np.ndindex(k, k):
        if counts[i, j] == 0:
            continue
        words = f"{counts[i, j]:,}" + (f"\n{100 * share[i, j]:.0f} %" if k <= 8 else "")
        axes.text(j, i, words, ha="center", va="center", fontsize=size, color=_ink(share[i, j]))
    axes.set_xticks(
        range(k), names, rotation=0 if k <= 4 else 60, ha="center" if k <= 4 else "right", rotation_mode="anchor"
    )
    axes.set_yticks(range(k), [f"{name} ({total[i]:,})" for name, i in zip(names, shown, strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("label (n)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(
        f"n = {int(total.sum()):,}; colour: share of the row"
        + (f"\nthe {k} most confused of {of} classes" if k < of else "")
    )
    return figure


def _most_confused(matrix: np.ndarray) -> np.ndarray:
    """Indices of the classes to draw, in class order."""
    errors = matrix.sum(axis=1) + matrix.sum(axis=0) - 2 * matrix.diagonal()
    return np.sort(np.argsort(-errors, kind="stable")[:CLASSES])


def _ink(share: float) -> str:
    red, green, blue, _ = colormaps[style.SHARES](share)
    return style.PAPER if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else style.INK


@style.styled
def reliability(table: pl.DataFrame, after: pl.DataFrame | None = None) -> Figure:
    """Accuracy against confidence per bin with 95 % Wilson intervals; beneath it how many predictions each bin holds.

    `table` as `evaluate.reliability` gives it: left, right, n, confidence, accuracy, low, high; empty bins have n = 0.
    `after`: the same after temperature scaling, drawn beside it. The title carries the expected calibration error of
    these bins.
    """
    tables = [table] if after is None else [table, after]
    if any(not (t["n"] > 0).any() for t in tables):
        raise InputError("no predictions to draw a reliability diagram of")
    errors = [gap(t) for t in tables]
    words = f"Reliability diagram of {int(table['n'].sum()):,} predictions, expected calibration error {errors[0]:.3f}"
    figure = style.blank(
        4.2 * len(tables), 4.6, words + (f"; after scaling {errors[1]:.3f}" if after is not None else "")
    )
    rows = figure.subplots(2, len(tables), sharex=True, sharey="row", height_ratios=(3.4, 1), squeeze=False)
    first = min(float(t.filter(pl.col("n") > 0)["left"].min()) for t in tables)  # type: ignore[arg-type]
    start = np.floor(10 * first) / 10  # two classes: no prediction is less sure than one half
    for i, (part, when) in enumerate(zip(tables, ("before scaling: ", "after scaling: "), strict=False)):
        _diagram(rows[0, i], part, start)
        _counts(rows[1, i], part)
        rows[0, i].set_title(
            f"{when if after is not None else ''}ECE {errors[i]:.3f} ({part.height} bins), n = {int(part['n'].sum()):,}"
        )
    rows[0, 0].set_ylabel("share right")
    rows[1, 0].set(ylabel="n", ylim=(0, 1.25 * max(int(t["n"].max()) for t in tables)))  # type: ignore[arg-type]
    return figure


def gap(table: pl.DataFrame) -> float:
    """The expected calibration error of a table of bins."""
    full = table.filter(pl.col("n") > 0)
    n, accuracy, confidence = (full[c].to_numpy() for c in ("n", "accuracy", "confidence"))
    return float((n * np.abs(accuracy - confidence)).sum() / n.sum())


def _diagram(axes: Axes, table: pl.DataFrame, start: float) -> None:
    full = table.filter(pl.col("n") > 0)
    confidence, accuracy, low, high = (full[c].to_numpy() for c in ("confidence", "accuracy", "low", "high"))
    axes.plot([start, 1], [start, 1], color=style.FAINT, lw=1, ls="--")
    axes.text(
        0.99, 0.02, "dashed: as sure as right", transform=axes.transAxes, ha="right", color=style.FAINT, fontsize=8
    )
    axes.vlines(confidence, confidence, accuracy, color="#d98c3f", lw=2.5, alpha=0.6)
    bars = np.maximum([accuracy - low, high - accuracy], 0)
    axes.errorbar(confidence, accuracy, yerr=bars, fmt="o", ms=4, color=style.INK, elinewidth=1, capsize=2)
    axes.set(xlim=(start, 1.005), ylim=(0, 1.02))


def _counts(axes: Axes, table: pl.DataFrame) -> None:
    full = table.filter(pl.col("n") > 0)
    left, n = full["left"].to_numpy(), full["n"].to_numpy()
    width = full["right"].to_numpy() - left
    axes.bar(left, n, width=np.maximum(width, 0.004), align="edge", color=BAR, edgecolor=style.PAPER, linewidth=0.8)
    for x, count in zip(left + width / 2, n, strict=True):
        axes.annotate(f"{count:,}", (x, count), (0, 2), textcoords="offset points", ha="center", fontsize=6.5)
    axes.set_xlabel("confidence of the prediction")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))


@style.styled
def selective(found: Certainty) -> Figure:
    """How sure the model was where it was right and where it was wrong; what it risks when it answers only the surest.

    Left: a histogram of the confidence before scaling, right answers beneath wrong ones. Right: the share of errors
    among the surest answers with its 95 % Wilson band, between the perfect order (all right answers first) and none.
    """
    chosen, right = found.selective, found.right > 0
    words = (
        f"Confidence of {int(right.sum()):,} right and {int((~right).sum()):,} wrong answers, and risk over coverage"
    )
    figure = style.blank(8.4, 3.6, words)
    histogram, risk = figure.subplots(1, 2)
    start = np.floor(10 * found.confidence.min()) / 10
    edges = np.linspace(min(start, 0.9), 1, 21)
    histogram.hist(
        [found.confidence[right], found.confidence[~right]], edges, stacked=True, color=[BAR, WRONG],
        label=[f"right ({int(right.sum()):,})", f"wrong ({int((~right).sum()):,})"], edgecolor=style.PAPER, lw=0.5,
    )  # fmt: skip
    histogram.set(xlabel="confidence of the prediction", ylabel="n", title=f"Confidence, n = {chosen.n:,}")
    histogram.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    histogram.legend(loc="upper left")
    coverage, value, low, high = (chosen.curve[c].to_numpy() for c in ("coverage", "risk", "low", "high"))
    risk.fill_between(coverage, low, high, color=BAR, alpha=0.45, linewidth=0)
    risk.plot(coverage, value, color=style.INK, label="by confidence")
    share = chosen.errors / chosen.n
    risk.plot(
        coverage, np.maximum(0, coverage - 1 + share) / coverage, color=style.FAINT, ls=":", label="perfect order"
    )
    risk.plot([0, 1], [share, share], color=style.FAINT, lw=1, ls="--", label="no order")
    top = max(1.6 * share, 1.15 * float(value.max()), 0.02)
    risk.set(xlim=(0, 1.01), ylim=(0, min(1.02, top)), xlabel="coverage: share answered", ylabel="risk: share wrong")
    risk.set_title(f"AURC {1 - chosen.aurra:.4f}")
    risk.legend(loc="upper left")
    return figure
