"""Confident learning: which labels probabilities contradict, by the joint of given and true labels.

Northcutt, Jiang and Chuang, JAIR 2021. The filters are cleanlab's own (extra `audit`); thresholds, joint and label
quality are short formulas and ours, equal to cleanlab 2.9.0 (tests/test_confident.py). All of it wants probabilities
out of sample: see `suspects.probabilities`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from leadline.errors import InputError, MissingExtra, nearest

FILTERS = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
FLOOR = 2e-6  # of a threshold, as in cleanlab
SLACK = 1e-6  # a probability that far below a threshold reaches it
NEVER = 2.0  # the threshold of a class without examples: no probability reaches it


# Label quality: (N, K) probabilities q, (N,) labels y -> (N,), higher is better


def self_confidence(q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """q_y, (N,) in [0, 1], higher is better."""
    return q[np.arange(len(y)), y]


def normalized_margin(q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(q_y - max_{c != y} q_c + 1) / 2, (N,) in [0, 1], higher is better."""
    others = q.copy()
    others[np.arange(len(y)), y] = -np.inf
    return (self_confidence(q, y) - others.max(axis=1) + 1) / 2


def confidence_weighted_entropy(q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log(r + 1) / r with r = H(q) / log K / q_y, (N,) in [0, 1], higher is better.

    Where nothing is uncertain (H = 0) 1 if the label is certain and 0 if another is; cleanlab 2.9.0 says 0 of both.
    """
    own = self_confidence(q, y)
    r = entr(q).sum(axis=1) / np.log(q.shape[1]) / np.maximum(own, 1e-6)
    return np.where(r > 1e-12, np.log1p(r) / np.maximum(r, 1e-12), (own > 0.5).astype(np.float64))


QUALITY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "self_confidence": self_confidence,
    "normalized_margin": normalized_margin,
    "confidence_weighted_entropy": confidence_weighted_entropy,
}


def label_quality(probabilities: ArrayLike, labels: ArrayLike, name: str = "self_confidence") -> np.ndarray:
    """(N,) in [0, 1], higher is better, by one of QUALITY; NaN for a row without probabilities. Errors as `issues`."""
    q, y = _checked(probabilities, labels)
    _known("label quality", name, tuple(QUALITY))
    values, there = np.full(len(y), np.nan), ~np.isnan(q).any(axis=1)
    values[there] = QUALITY[name](q[there], y[there])
    return values


# The joint


def thresholds(q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(K,) t_c, the mean of q_c over the rows labelled c, at least 2e-6; 2 for a class without rows."""
    labelled = np.bincount(y, minlength=q.shape[1])
    sums = np.bincount(y, weights=self_confidence(q, y), minlength=q.shape[1])
    return np.where(labelled > 0, np.maximum(sums / np.maximum(labelled, 1), FLOOR), NEVER)


def confident_class(q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) the class that a row confidently belongs to, -1 for none: one above its threshold; of several argmax q."""
    above = q >= thresholds(q, y) - SLACK  # (N, K)
    count = above.sum(axis=1)
    return np.where(count == 0, -1, np.where(count == 1, above.argmax(axis=1), q.argmax(axis=1)))


def confident_joint(q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(K, K) int64 counts of rows labelled j that confidently belong to k; the diagonal is at least 1."""
    k, guess = q.shape[1], confident_class(q, y)
    sure = guess >= 0
    counts = np.bincount(y[sure] * k + guess[sure], minlength=k * k).reshape(k, k)
    np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1))
    return counts


def calibrated_joint(q: np.ndarray, y: np.ndarray, cleanlab_compat: bool = False) -> np.ndarray:
    """(K, K) the confident joint with its rows scaled to the number of rows labelled so; the sum is N.

    Rows without probabilities (NaN) are left out.
    cleanlab_compat  rounded to whole rows, row totals kept, as cleanlab does; the paper's is real-valued
    """
    there = ~np.isnan(q).any(axis=1)
    q, y = q[there], y[there]
    counts = confident_joint(q, y).astype(np.float64)
    scaled = counts / counts.sum(axis=1, keepdims=True) * np.bincount(y, minlength=len(counts))[:, None]
    return np.stack([_whole(row) for row in scaled]) if cleanlab_compat else scaled


def joint(q: np.ndarray, y: np.ndarray, cleanlab_compat: bool = False) -> np.ndarray:
    """(K, K) estimated P(given label = j, true label = k); sums to 1."""
    counts = calibrated_joint(q, y, cleanlab_compat)
    return counts / counts.sum()


def _whole(row: np.ndarray) -> np.ndarray:
    """Whole numbers near a row (K,) with its total: rounded, then those that lost or gained most are corrected."""
    whole = np.round(row)
    off = int(round(row.sum() - whole.sum()))
    worst = np.argsort(-np.sign(off) * (row - whole), kind="stable")[: abs(off)]
    whole[worst] += np.sign(off)
    return whole


def expected_errors(q: np.ndarray, y: np.ndarray) -> float:
    """N times the mass of the joint off its diagonal: confident learning's own answer to how many, without interval.

    N are the rows that have probabilities.
    """
    counts = calibrated_joint(q, y)
    return float(counts.sum() - counts.trace())


# Who is flagged


@dataclass(frozen=True)
class Issues:
    """What confident learning says of N rows."""

    flagged: np.ndarray  # (N,) bool
    left_out: int  # rows without probabilities


def issues(probabilities: ArrayLike, labels: ArrayLike, filter_by: str = "prune_by_noise_rate") -> Issues:
    """The rows that cleanlab's filter flags.

    probabilities  (N, K), out of sample; a row with NaN is left out and counted
    labels         (N,) class indices in 0..K-1; a class may have no rows
    filter_by      one of FILTERS, cleanlab's names; the prune_by_… filters leave every class at least one row
    Raises InputError for an unknown filter and impossible arrays, MissingExtra without cleanlab.
    """
    q, y = _checked(probabilities, labels)
    _known("filter", filter_by, FILTERS)
    rows = np.flatnonzero(~np.isnan(q).any(axis=1))
    flagged = np.zeros(len(y), dtype=bool)
    if len(rows):
        flagged[rows] = _find(q[rows], y[rows], filter_by)
    return Issues(flagged, len(y) - len(rows))


def _find(q: np.ndarray, y: np.ndarray, filter_by: str) -> np.ndarray:
    """(N,) bool from cleanlab."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtra("confident learning", "audit") from None
    with warnings.catch_warnings():  # it warns of every class without rows, where there is nothing to flag
        warnings.filterwarnings("ignore", "May not flag all label issues in class", UserWarning)
        return np.asarray(find_label_issues(labels=y, pred_probs=q, filter_by=filter_by, n_jobs=1), dtype=bool)


def _known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"there is no {what} `{name}`.{nearest(name, known)} There are {', '.join(known)}")


SUM = 1e-3  # probabilities in float32 or float16, as others publish them, add up to one only nearly


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    q, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if q.ndim != 2 or q.shape[1] < 2 or y.shape != (len(q),):
        raise InputError(f"confident learning needs (N, K) probabilities and (N,) labels, not {q.shape} and {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError("confident learning needs a gold class; these labels are no class indices")
    if len(y) and not (0 <= y.min() and y.max() < q.shape[1]):
        raise InputError(f"labels lie in {y.min()} to {y.max()}, and there are {q.shape[1]} classes of probabilities")
    off = np.flatnonzero((q < 0).any(axis=1) | (np.abs(q.sum(axis=1) - 1) > SUM))
    if len(off):
        raise InputError(f"row {off[0]} is no distribution over the classes: {q[off[0]]}")
    return np.minimum(q, 1.0), y.astype(np.int64)
