"""How good the answers are: which classes are confused, and whether a confidence can be taken at its word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from leadline.figures import style

MOST = 20  # classes that a confusion matrix can show and still be read


@style.styled
def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Rows are labels, columns are predictions; colour is the share of the row, numbers are counts.

    matrix (K, K) counts. Of more than 20 classes the 20 with the most confusions are shown, and the title says so.
    """
    matrix, chosen = np.asarray(matrix), np.arange(len(classes))
    if len(classes) > MOST:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:MOST])
    shown = matrix[np.ix_(chosen, chosen)]
    shares = shown / np.maximum(matrix[chosen].sum(axis=1, keepdims=True), 1)
    names = [style.short(classes[k], 16) for k in chosen]
    k, size = len(names), max(2.8, 0.42 * len(names) + 1.4)
    figure = style.blank(size + 0.6, size, "confusion matrix: labels by predictions")
    axes = figure.subplots()
    axes.imshow(shares, cmap=style.SHARES, vmin=0, vmax=1)
    for i in range(k):
        for j in range(k):
            if shown[i, j]:
                colour = style.PAPER if shares[i, j] > 0.55 else style.INK
                axes.text(
                    j, i, f"{shown[i, j]:,}", ha="center", va="center", color=colour, fontsize=8 if k <= 12 else 6
                )
    turn = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 3 else {}
    axes.set_xticks(range(k), names, **turn)
    axes.set_yticks(range(k), names)
    axes.set(xlabel="predicted", ylabel="label")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(classes) > MOST:
        axes.set_title(f"the {MOST} most confused of {len(classes)} classes")
    return figure


@style.styled
def reliability(table: pl.DataFrame) -> Figure:
    """Accuracy against confidence, bin by bin, with 95 % intervals, and how many answers each bin holds.

    table as `evaluate.reliability`: left, right, n, confidence, accuracy, low, high. On the dashed line a confidence
    is right as often as it says.
    """
    bins = table.filter(pl.col("n") > 0)
    x, y, low, high = (bins[name].to_numpy() for name in ("confidence", "accuracy", "low", "high"))
    figure = style.blank(3.6, 3.9, "reliability diagram: accuracy against confidence")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    above.plot([0, 1], [0, 1], "--", color=style.FAINT, linewidth=1)
    error = np.maximum([y - low, high - y], 0)
    above.errorbar(x, y, error, fmt="o", color="#3b82c4", markersize=4, capsize=2, linewidth=1)
    above.set(ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02))
    below.bar(
        bins["left"], bins["n"], (bins["right"] - bins["left"]).to_numpy() * 0.96, align="edge", color=style.OTHER
    )
    below.set(xlabel="confidence of the answer", ylabel="answers")
    return figure
