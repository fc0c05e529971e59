"""Does a confidence of 0.8 mean right 8 times in 10? And is the model right where it is sure?

Confidence is the probability of the predicted class (for two classes too, not that of the second class).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy import optimize, sparse

from leadline.errors import InputError
from leadline.evaluate.checks import class_indices, confidence_and_correct, distributions, same_length
from leadline.evaluate.intervals import TiedBlocks, one_hot, wilson
from leadline.signals import softmax

BINS = 15  # Guo et al. 2017
TEMPERATURES = (0.05, 20.0)
Scheme = Literal["width", "mass"]


@dataclass(frozen=True)
class Binning:
    """N confidences in bins, ready to be summed with any weights of the rows.

    width: equal-width intervals (lo, hi] of [0, 1], 0 in the first. mass: sorted by confidence and cut into parts of
    near-equal size, larger parts first; a cut through equal confidences shares them out evenly, so row order is moot.
    """

    confidence: np.ndarray  # (N,)
    correct: np.ndarray  # (N,) 0.0 or 1.0
    bins: int = BINS
    scheme: Scheme = "width"

    def __post_init__(self) -> None:
        if self.bins < 1 or self.scheme not in ("width", "mass"):
            raise InputError(f"bins {self.bins}, scheme {self.scheme!r}: at least 1 bin, scheme width or mass")

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """(N, B) -> (3, bins, B): rows, confidence and correct answers of each bin, summed."""
        if self.scheme == "width":
            return (self._by_width @ weights).reshape(3, self.bins, -1)
        upto = [np.pad(np.cumsum(m @ weights, axis=0), ((1, 0), (0, 0))).T for m in self._by_block]  # (B, 1 + G) each
        cuts = self.cuts(len(self.confidence))  # a resample has as many rows as the data
        at_cut = [[np.interp(cuts, rank, total) for rank, total in zip(upto[0], x, strict=True)] for x in upto]
        return np.diff(np.array(at_cut), axis=2).transpose(0, 2, 1)

    def cuts(self, n: int) -> np.ndarray:
        """(bins + 1,) the ranks at which equal mass cuts, those of np.array_split."""
        return np.cumsum([0, *(n // self.bins + (b < n % self.bins) for b in range(self.bins))])

    @cached_property
    def _by_width(self) -> sparse.csr_array:
        edges = np.linspace(0, 1, self.bins + 1)
        index = np.clip(np.searchsorted(edges, self.confidence, side="left") - 1, 0, self.bins - 1)
        values = (None, self.confidence, self.correct)
        return sparse.vstack([one_hot(index, self.bins, v) for v in values], format="csr")  # (3 bins, N)

    @cached_property
    def _by_block(self) -> list[sparse.csr_array]:
        blocks = TiedBlocks(self.confidence)
        return [blocks.summing(values) for values in (None, self.confidence, self.correct)]  # (G, N) each


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, scheme: Scheme = "width") -> pl.DataFrame:
    """The table behind a reliability diagram: one row per bin, empty bins too (n = 0, NaN).

    confidence (N,) in [0, 1], correct (N,) 0 or 1. Columns: left, right (edges of the bin; with scheme "mass" its
    smallest and largest confidence), n, confidence and accuracy (means), low, high (95 % Wilson interval of accuracy).
    """
    c, a = confidence_and_correct(confidence, correct)
    binning = Binning(c, a, bins, scheme)
    n, sum_confidence, sum_correct = binning.sums(np.ones((len(c), 1)))[:, :, 0]  # (bins,) each
    if scheme == "width":
        edges = np.linspace(0, 1, bins + 1)
        left, right = edges[:-1], edges[1:]
    else:
        ascending, cuts = np.append(np.sort(c), np.nan), binning.cuts(len(c))
        left = np.where(n > 0, ascending[cuts[:-1]], np.nan)
        right = np.where(n > 0, ascending[cuts[1:] - 1], np.nan)
    safe = np.where(n > 0, n, np.nan)
    low, high = wilson(sum_correct, n)
    return pl.DataFrame(
        {
            "left": left,
            "right": right,
            "n": n.astype(np.int64),
            "confidence": sum_confidence / safe,
            "accuracy": sum_correct / safe,
            "low": low,
            "high": high,
        }
    )


def calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, scheme: Scheme = "width"
) -> tuple[float, float]:
    """ECE and MCE, both in [0, 1], lower is better: mean and largest |accuracy - confidence| over the bins.

    Guo et al., ICML 2017. Say bins and scheme beside the number: it depends on both, and is biased upward for few rows.
    """
    sums = Binning(*confidence_and_correct(confidence, correct), bins, scheme).sums(np.ones((np.size(confidence), 1)))
    return float(expected_gap(sums)[0]), float(largest_gap(sums)[0])


def expected_gap(sums: np.ndarray) -> np.ndarray:
    """(3, bins, B) -> (B,): sum over bins of n_b / N |accuracy - confidence|."""
    n, confidence, correct = sums
    return np.abs(correct - confidence).sum(axis=0) / n.sum(axis=0)


def largest_gap(sums: np.ndarray) -> np.ndarray:
    """(3, bins, B) -> (B,): the largest |accuracy - confidence| of a bin that holds rows."""
    n, confidence, correct = sums
    return (np.abs(correct - confidence) / np.where(n > 0, n, np.inf)).max(axis=0)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> tuple[float, str | None]:
    """The T in [0.05, 20] that minimises the NLL of softmax(logits / T), and a warning sentence or None.

    logits (N, K), -inf for an absent option; labels (N,) class indices or (N, K) distributions. Guo et al., ICML 2017.
    Fit it on validation rows only: the argmax, and so accuracy, does not change, every probability does.
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] < 2 or not len(z):
        raise InputError(f"logits: shape (N, K) with N >= 1 and K >= 2 is needed, not {z.shape}")
    if np.isnan(z).any() or np.isposinf(z).any() or not np.isfinite(z).any(axis=1).all():
        bad = np.flatnonzero(np.isnan(z).any(axis=1) | np.isposinf(z).any(axis=1) | ~np.isfinite(z).any(axis=1))[0]
        raise InputError(f"logits: row {bad} (counted from 0) is NaN or infinite")
    y = np.asarray(labels)
    y = distributions(y, "labels") if y.ndim == 2 else np.eye(z.shape[1])[class_indices(y, z.shape[1])]
    same_length(z, y, "logits and labels")
    if (y[np.isneginf(z)] > 0).any():
        raise InputError("labels: the right answer of a row is an option that the row does not have (logit -inf)")
    shifted = z - z.max(axis=1, keepdims=True)
    return _temperature(np.where(np.isneginf(shifted), 0.0, shifted), y, absent=np.isneginf(z))


def _temperature(z: np.ndarray, y: np.ndarray, absent: np.ndarray) -> tuple[float, str | None]:
    """The NLL is convex in b = 1 / T, with slope mean_i sum_k (softmax(b z) - y)_ik z_ik: find its root."""

    def slope(b: float) -> float:
        p = softmax(np.where(absent, -np.inf, b * z))
        return float(((p - y) * z).sum(axis=1).mean())

    coldest, hottest = TEMPERATURES
    if not z.any():
        return 1.0, "temperature left at 1: all logits of a row are equal, so no temperature changes anything"
    if slope(1 / coldest) <= 0:
        return coldest, (
            f"temperature stopped at its bound {coldest}: the validation rows are answered (almost) perfectly, "
            "so any sharpening fits them; calibrate on more rows"
        )
    if slope(1 / hottest) >= 0:
        return hottest, (
            f"temperature stopped at its bound {hottest}: on the validation rows the logits are no better than chance"
        )
    return 1 / optimize.brentq(slope, 1 / hottest, 1 / coldest, xtol=1e-12, rtol=1e-12), None


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Coverage k / N and risk (N,) for k = 1..N: the share of errors among the k most confident rows.

    Within rows of equal confidence: the mean over their orders, so row order is moot. El-Yaniv & Wiener, JMLR 2010.
    """
    c, a = confidence_and_correct(confidence, correct)
    k = np.arange(1, len(c) + 1)
    blocks = TiedBlocks(-c)
    rows = np.r_[0, np.cumsum(np.bincount(blocks.block))]
    errors = np.r_[0, np.cumsum(np.bincount(blocks.block, weights=1 - a))]
    return k / len(c), np.interp(k, rows, errors) / k


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean risk over k = 1..N, in [0, 1], lower is better (Geifman, Uziel, El-Yaniv, ICLR 2019)."""
    return float(risk_coverage(confidence, correct)[1].mean())


def e_aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """AURC minus that of the perfect order (all right answers first), >= 0, lower is better.

    Tells a model's ranking of its own answers from its accuracy. Geifman, Uziel, El-Yaniv, ICLR 2019.
    """
    _, a = confidence_and_correct(confidence, correct)
    k = np.arange(1, len(a) + 1)
    perfect = np.maximum(0, k - a.sum()) / k
    return aurc(confidence, correct) - float(perfect.mean())


def accuracy_at_coverage(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Accuracy over the ceil(coverage N) most confident rows; coverage in (0, 1]."""
    if not 0 < coverage <= 1:
        raise InputError(f"coverage {coverage}: a share above 0 and at most 1 is needed")
    risk = risk_coverage(confidence, correct)[1]
    k = int(np.ceil(coverage * len(risk) - 1e-9))  # 0.07 x 100 is 7.000000000000001 in floating point
    return float(1 - risk[max(k, 1) - 1])
