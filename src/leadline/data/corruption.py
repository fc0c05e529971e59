"""Wrong labels put in on purpose: a benchmark in which the truth is known."""

from __future__ import annotations

import numpy as np

from leadline.errors import InputError

THRESHOLD = "threshold sample"  # the class of rows that belong to none


def corrupt(
    labels: np.ndarray,
    n_classes: int,
    rate: float,
    kind: str,
    rng: np.random.Generator,
    confusion: np.ndarray | None = None,
) -> np.ndarray:
    """Labels (N,) in 0..K-1 with exactly round(rate N) of them, drawn at random, changed to another class: (N,) int64.

    uniform       every other class is equally likely (symmetric noise)
    class-pair    class k becomes k + 1, the last the first: the pair flip of Co-teaching (Han et al., NeurIPS 2018,
                  arXiv 1804.06872, appendix A), a case of class-dependent noise (Patrini et al., CVPR 2017,
                  arXiv 1609.03683). There each label flips with probability `rate`; here the number is exact.
    by-confusion  class k becomes j != k with probability proportional to confusion[k, j]: (K, K) counts or shares,
                  rows the true class; a row without mass off its diagonal: uniform

    Raises ValueError for fewer than two classes, an unknown kind, or a confusion matrix that is missing or not (K, K).
    """
    labels = np.asarray(labels, dtype=np.int64)
    if n_classes < 2:
        raise ValueError("at least two classes are needed to change a label")
    rows = rng.choice(len(labels), size=round(rate * len(labels)), replace=False)
    old = labels[rows]
    if kind == "uniform":
        new = (old + rng.integers(1, n_classes, size=len(old))) % n_classes
    elif kind == "class-pair":
        new = (old + 1) % n_classes
    elif kind == "by-confusion":
        new = _confused(old, _flip_probabilities(confusion, n_classes), rng)
    else:
        raise ValueError(f"unknown kind of corruption: {kind}")
    result = labels.copy()
    result[rows] = new
    return result


def threshold_samples(
    n: int, n_classes: int, rng: np.random.Generator, part: int = 0, rate: float | None = None
) -> np.ndarray:
    """(M,) sorted rows: floor(n / (K + 1)), or round(rate n), of n drawn at random; parts 0 and 1 share none.

    What belongs to no class: the margins of these rows say how low a margin gets by a wrong label (Pleiss et al.,
    NeurIPS 2020, arXiv 2001.10528).
    """
    count = n // (n_classes + 1) if rate is None else round(rate * n)
    if not 0 < count * 2 <= n:
        raise InputError(f"data.corrupt: {n} rows have no two disjoint sets of {count} threshold samples")
    return np.sort(rng.permutation(n)[part * count : (part + 1) * count])


def _flip_probabilities(confusion: np.ndarray | None, n_classes: int) -> np.ndarray:
    """(K, K): the off-diagonal part of a confusion matrix, rows summing to 1."""
    if confusion is None:
        raise ValueError("by-confusion needs a confusion matrix")
    mass = np.array(confusion, dtype=np.float64)
    if mass.shape != (n_classes, n_classes) or not np.isfinite(mass).all() or (mass < 0).any():
        what = f"by-confusion needs a base run of the same {n_classes} classes; its confusions are {mass.shape}"
        raise InputError(f"data.corrupt: {what}")
    np.fill_diagonal(mass, 0.0)
    empty = mass.sum(axis=1) == 0
    mass[empty] = 1.0 - np.eye(n_classes)[empty]
    return mass / mass.sum(axis=1, keepdims=True)


def _confused(old: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    new = np.empty_like(old)
    for k in np.unique(old):
        new[old == k] = rng.choice(len(probabilities), size=int((old == k).sum()), p=probabilities[k])
    return new
