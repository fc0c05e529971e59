"""Does a confidence of 0.8 mean right 8 times in 10?

Confidence is the probability of the predicted class (for two classes too, not that of the second class).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy import sparse

from leadline.errors import InputError
from leadline.evaluate.checks import class_indices, confidence_and_share, distributions, same_length
from leadline.evaluate.intervals import TiedBlocks, at_ranks, one_hot, wilson

BINS = 15  # Guo et al. 2017
Scheme = Literal["width", "mass"]


@dataclass(frozen=True)
class Binning:
    """N confidences in bins, ready to be summed with any weights of the rows.

    width: equal-width intervals (lo, hi] of [0, 1], 0 in the first. mass: sorted by confidence and cut into parts of
    near-equal size, larger parts first; a cut through equal confidences shares them out evenly, so row order is moot.
    """

    confidence: np.ndarray  # (N,)
    correct: np.ndarray  # (N,) 0.0 or 1.0; of label distributions the share of the predicted class
    bins: int = BINS
    scheme: Scheme = "width"

    def __post_init__(self) -> None:
        check_bins(self.bins, self.scheme)

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """(N, B) -> (3, bins, B): rows, confidence and correct answers of each bin, summed."""
        if self.scheme == "width":
            return (self._by_width @ weights).reshape(3, self.bins, -1)
        upto = np.array([np.cumsum(m @ weights, axis=0) for m in self._by_block])  # (3, G, B)
        cuts = equal_parts(round(upto[0, -1, 0]), self.bins)  # every set of weights has as many rows
        return np.diff(at_ranks(upto[0], cuts, upto), axis=1)

    @cached_property
    def _by_width(self) -> sparse.csr_array:
        index = bin_index(self.confidence, self.bins)
        values = (None, self.confidence, self.correct)
        return sparse.vstack([one_hot(index, self.bins, v) for v in values], format="csr")  # (3 bins, N)

    @cached_property
    def _by_block(self) -> list[sparse.csr_array]:
        blocks = TiedBlocks(self.confidence)
        return [blocks.summing(values) for values in (None, self.confidence, self.correct)]  # (G, N) each


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, scheme: Scheme = "width") -> pl.DataFrame:
    """The table behind a reliability diagram: one row per bin, empty bins too (n = 0, NaN).

    confidence (N,) in [0, 1]; correct (N,) 0 or 1, or where labels are distributions the share of the predicted class.
    Columns: left, right (edges of the bin; with scheme "mass" its smallest and largest confidence), n, confidence and
    accuracy (means), low, high (95 % Wilson interval of accuracy; of shares it is rather too long than too short).
    """
    c, a = confidence_and_share(confidence, correct)
    binning = Binning(c, a, bins, scheme)
    n, sum_confidence, sum_correct = binning.sums(np.ones((len(c), 1)))[:, :, 0]  # (bins,) each
    if scheme == "width":
        edges = np.linspace(0, 1, bins + 1)
        left, right = edges[:-1], edges[1:]
    else:
        ascending, cuts = np.append(np.sort(c), np.nan), equal_parts(len(c), bins)
        left = np.where(n > 0, ascending[cuts[:-1]], np.nan)
        right = np.where(n > 0, ascending[cuts[1:] - 1], np.nan)
    safe = np.where(n > 0, n, np.nan)
    low, high = wilson(sum_correct, n)
    return pl.DataFrame(
        {
            "left": left,
            "right": right,
            "n": np.rint(n).astype(np.int64),  # shares of tied confidences, added up
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
    sums = Binning(*confidence_and_share(confidence, correct), bins, scheme).sums(np.ones((np.size(confidence), 1)))
    return float(expected_gap(sums)[0]), float(largest_gap(sums)[0])


def rms_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, scheme: Scheme = "mass"
) -> float:
    """Root of the mean square of accuracy - confidence over the bins, in [0, 1], lower is better; never below the ECE.

    Hendrycks, Mazeika and Dietterich, ICLR 2019, who put 100 rows into a bin (`bins=ceil(N / 100)`).
    """
    sums = Binning(*confidence_and_share(confidence, correct), bins, scheme).sums(np.ones((np.size(confidence), 1)))
    return float(rms_gap(sums)[0])


def expected_gap(sums: np.ndarray) -> np.ndarray:
    """(3, bins, B) -> (B,): sum over bins of n_b / N |accuracy - confidence|."""
    n, confidence, correct = sums
    return np.abs(correct - confidence).sum(axis=0) / n.sum(axis=0)


def largest_gap(sums: np.ndarray) -> np.ndarray:
    """(3, bins, B) -> (B,): the largest |accuracy - confidence| of a bin that holds rows."""
    n, confidence, correct = sums
    return (np.abs(correct - confidence) / np.where(n > 0, n, np.inf)).max(axis=0)


def rms_gap(sums: np.ndarray) -> np.ndarray:
    """(3, bins, B) -> (B,): root of the sum over bins of n_b / N (accuracy - confidence)^2."""
    n, confidence, correct = sums
    squares = np.divide((correct - confidence) ** 2, n, out=np.zeros(n.shape), where=n > 0)  # n_b times the gap squared
    return np.sqrt(squares.sum(axis=0) / n.sum(axis=0))


@dataclass(frozen=True)
class ClassBins:
    """N probabilities of every class in bins, each class in its own: `truth` (N, K) says how much of a row is a class.

    width and mass as in `Binning`. Equal mass is cut once, for the rows as they are, and holds for all weights.
    """

    probabilities: np.ndarray  # (N, K)
    truth: np.ndarray  # (N, K) one-hot, or distributions
    bins: int = BINS
    scheme: Scheme = "width"

    def gap(self, weights: np.ndarray) -> np.ndarray:
        """(N, B) -> (B,): mean over classes of the sum over bins of n_b / N |share of the class - probability|."""
        k = self.probabilities.shape[1]
        return np.abs(self._gaps @ weights).sum(axis=0) / (k * weights.sum(axis=0))

    @cached_property
    def _gaps(self) -> sparse.csr_array:  # (K bins, N)
        return sparse.vstack([self._of_class(k) for k in range(self.probabilities.shape[1])], format="csr")

    def _of_class(self, k: int) -> sparse.csr_array:
        """(bins, N): probability minus truth of each row, in the bin that it lies in."""
        p = self.probabilities[:, k]
        gap = p - self.truth[:, k]
        if self.scheme == "width":
            return one_hot(bin_index(p, self.bins), self.bins, gap)
        return _shares_by_mass(p, self.bins) @ sparse.diags_array(gap, format="csr")


def _shares_by_mass(values: np.ndarray, bins: int) -> sparse.csr_array:
    """(bins, N): how much of each row lies in each bin of equal mass; equal values are shared out alike."""
    blocks = TiedBlocks(values)
    size = np.bincount(blocks.block)  # (G,)
    end = np.cumsum(size)
    cuts = equal_parts(len(values), bins)
    inside = np.minimum(end, cuts[1:, None]) - np.maximum(end - size, cuts[:-1, None])  # (bins, G) rows
    share = sparse.csr_array(np.maximum(inside, 0) / size)
    return share @ blocks.summing(None)


def classwise_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS, scheme: Scheme = "width") -> float:
    """Mean over the classes of each class's calibration error, in [0, 1], lower is better.

    probabilities (N, K); labels (N,) class indices or (N, K) distributions. All probabilities of a class are looked at,
    not only those of the predicted one. scheme "width": classwise or static calibration error (Kull et al., NeurIPS
    2019; Nixon et al., CVPR workshops 2019); "mass": adaptive calibration error, ACE (Nixon et al.). A bin weighs as
    many rows as it has, where ACE weighs all alike: the same but for the rows that do not divide by `bins`.
    """
    p = distributions(probabilities)
    k, y = p.shape[1], np.asarray(labels)
    truth = distributions(y, "labels") if y.ndim == 2 else np.eye(k)[class_indices(y, k)]
    same_length(p, truth, "probabilities and labels")
    if truth.shape[1] != k:
        raise InputError(f"labels: {truth.shape[1]} columns for {k} classes")
    check_bins(bins, scheme)
    return float(ClassBins(p, truth, bins, scheme).gap(np.ones((len(p), 1)))[0])


def check_bins(bins: int, scheme: str) -> None:
    if bins < 1 or scheme not in ("width", "mass"):
        raise InputError(f"bins {bins}, scheme {scheme!r}: at least 1 bin, scheme width or mass")


def bin_index(values: np.ndarray, bins: int) -> np.ndarray:
    """The equal-width bin (lo, hi] of each value, 0 in the first; of the shape of the values."""
    return np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), values, side="left") - 1, 0, bins - 1)


def equal_parts(n: int, bins: int) -> np.ndarray:
    """(bins + 1,) the ranks at which equal mass cuts n rows, those of np.array_split."""
    return np.cumsum([0, *(n // bins + (b < n % bins) for b in range(bins))])
