"""What arrays must look like before anything is computed from them; every error names the first bad row (from 0)."""

from __future__ import annotations

from collections.abc import Callable, Sized

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError

TOLERANCE = 1e-3  # of a row's sum: above the rounding of float32 and of three decimals in a file


def class_indices(values: ArrayLike, k: int, what: str = "labels") -> np.ndarray:
    """(N,) int64 in 0..k-1, or InputError."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{what}: one class index per row is needed, shape (N,), not {array.shape}")
    if not len(array):
        raise InputError(f"{what}: no rows to evaluate")
    if array.dtype.kind not in "iub":
        raise InputError(f"{what}: class indices (integers) are needed, not {array.dtype}; map names by class order")
    array = array.astype(np.int64)
    _refuse((array < 0) | (array >= k), what, lambda i: f"is {array[i]}, but there are {k} classes, 0 to {k - 1}")
    return array


def distributions(values: ArrayLike, what: str = "probabilities") -> np.ndarray:
    """(N, K) float64, K >= 2, each row non-negative with sum 1, or InputError."""
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] < 2:
        raise InputError(f"{what}: one column per class is needed, shape (N, K) with K >= 2, not {p.shape}")
    if not len(p):
        raise InputError(f"{what}: no rows to evaluate")
    _refuse(~np.isfinite(p).all(axis=1), what, lambda i: "is not finite")
    _refuse((p < 0).any(axis=1), what, lambda i: "has a negative entry; give probabilities, not logits")
    sums = p.sum(axis=1)
    _refuse(abs(sums - 1) > TOLERANCE, what, lambda i: f"sums to {sums[i]:.6g}, not 1; give the softmax of the logits")
    return p


def numbers(values: ArrayLike, what: str) -> np.ndarray:
    """(N,) float64, finite, or InputError."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{what}: one number per row is needed, shape (N,), not {array.shape}")
    if not len(array):
        raise InputError(f"{what}: no rows to evaluate")
    _refuse(~np.isfinite(array), what, lambda i: f"is {array[i]}, not a finite number")
    return array


def same_length(a: Sized, b: Sized, what: str) -> None:
    if len(a) != len(b):
        raise InputError(f"{what}: {len(a)} and {len(b)} rows; they must be the same rows in the same order")


def in_range(values: np.ndarray, low: float, high: float, what: str) -> None:
    """InputError unless every value (N,) lies in [low, high]; NaN does not."""
    _refuse(~((values >= low) & (values <= high)), what, lambda i: f"is {values[i]:g}, outside [{low:g}, {high:g}]")


def confidence_and_correct(confidence: ArrayLike, correct: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(N,) in [0, 1] and (N,) 0 or 1, both float64, or InputError."""
    c, _ = confidence_and_share(confidence, correct)
    return c, zero_or_one(correct, "correct")


def confidence_and_share(confidence: ArrayLike, share: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(N,) in [0, 1] and (N,) 0, 1 or between them, both float64, or InputError."""
    c, a = numbers(confidence, "confidence"), numbers(share, "correct")
    same_length(c, a, "confidence and correct")
    # a maximum over float32 probabilities may pass 1 by a rounding error
    _refuse((c < 0) | (c > 1 + TOLERANCE), "confidence", lambda i: f"is {c[i]:.6g}, outside [0, 1]")
    outside = (a < 0) | (a > 1 + TOLERANCE)
    _refuse(outside, "correct", lambda i: f"is {a[i]:.6g}, outside [0, 1]; leave out rows where it is undefined")
    return c, a


def zero_or_one(values: ArrayLike, what: str) -> np.ndarray:
    """(N,) 0.0 or 1.0, or InputError."""
    a = numbers(values, what)
    _refuse((a != 0) & (a != 1), what, lambda i: f"is {a[i]:.6g}; leave out rows where correct is undefined")
    return a


def _refuse(bad: ArrayLike, what: str, because: Callable[[int], str]) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        raise InputError(f"{what}: row {rows[0]} (counted from 0) {because(rows[0])}{more}")
