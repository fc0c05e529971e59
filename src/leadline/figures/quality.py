"""What the model gets wrong and how well it knows: confusion matrix, reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leadline.errors import InputError
from leadline.figures import style

CLASSES = 20  # a cell of more classes cannot be read on a page
BAR = "#9db8d6"


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
def reliability(table: pl.DataFrame) -> Figure:
    """Accuracy against confidence per bin with 95 % Wilson intervals; beneath it how many predictions each bin holds.

    `table` as `evaluate.reliability` gives it: left, right, n, confidence, accuracy, low, high; empty bins have n = 0.
    The title carries the expected calibration error of these bins.
    """
    full = table.filter(pl.col("n") > 0)
    if full.is_empty():
        raise InputError("no predictions to draw a reliability diagram of")
    n, confidence, accuracy, low, high = (full[c].to_numpy() for c in ("n", "confidence", "accuracy", "low", "high"))
    left, width = full["left"].to_numpy(), full["right"].to_numpy() - full["left"].to_numpy()
    total = int(n.sum())
    error = float((n * np.abs(accuracy - confidence)).sum() / total)
    figure = style.blank(
        4.2, 4.6, f"Reliability diagram of {total:,} predictions, expected calibration error {error:.3f}"
    )
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    start = np.floor(10 * left.min()) / 10  # two classes: no prediction is less sure than one half
    upper.plot([start, 1], [start, 1], color=style.FAINT, lw=1, ls="--")
    upper.text(
        start + 0.03 * (1 - start), start + 0.05, "as sure as right", rotation=45, rotation_mode="anchor",
        transform_rotates_text=True, color=style.FAINT, fontsize=8,
    )  # fmt: skip
    upper.vlines(confidence, confidence, accuracy, color="#d98c3f", lw=2.5, alpha=0.6)
    bars = np.maximum([accuracy - low, high - accuracy], 0)
    upper.errorbar(confidence, accuracy, yerr=bars, fmt="o", ms=4, color=style.INK, elinewidth=1, capsize=2)
    upper.set(xlim=(start, 1.005), ylim=(0, 1.02), ylabel="share right")
    upper.set_title(f"ECE {error:.3f} ({table.height} bins), n = {total:,}")
    lower.bar(left, n, width=np.maximum(width, 0.004), align="edge", color=BAR, edgecolor=style.PAPER, linewidth=0.8)
    for x, count in zip(left + width / 2, n, strict=True):
        lower.annotate(f"{count:,}", (x, count), (0, 2), textcoords="offset points", ha="center", fontsize=6.5)
    lower.set(ylabel="n", xlabel="confidence of the prediction", ylim=(0, 1.25 * n.max()))
    lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    return figure
