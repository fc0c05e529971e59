"""Weights: what one label counts (class weights, gamma) and the sum W that a step's loss is divided by.

The loss of an optimiser step is  sum_i v_i sum_k w_k S_ik (-log p_ik)  /  W,   W = sum_i v_i sum_k w_k Y_ik
(Y the target, S the same after smoothing, w class weights with gamma among them, v the weight of the entry).
W is known before any forward pass, so it depends on neither micro-batches nor processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from leadline.errors import InputError, nearest
from leadline.evaluate.intervals import TiedBlocks

EFFECTIVE_BETA = 0.999  # Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples"


def class_weights(
    kind: str | Mapping[str, float] | None,
    counts: np.ndarray,
    classes: Sequence[str],
    weighted_class: str | None = None,
    gamma: float = 1.0,
) -> np.ndarray | None:
    """(K,) weights, or None when every class counts 1.

    counts  (K,) examples of each class in the training data
    kind    balanced: N / (K n_k) as in scikit-learn; effective: proportional to (1 - beta) / (1 - beta^n_k),
            beta 0.999, scaled to sum K (Cui et al. 2019); or a weight per class name, 1 for those not named
    gamma   multiplies the weight of `weighted_class` (2 or more classes: the others keep theirs)
    """
    k = len(classes)
    if kind is None:
        w = np.ones(k)
    elif kind == "balanced":
        w = counts.sum() / (k * np.maximum(counts, 1))
    elif kind == "effective":
        w = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA ** np.maximum(counts, 1))
        w = w / w.sum() * k
    elif isinstance(kind, Mapping):
        for name, value in kind.items():
            _index(name, classes, "loss.class_weights")
            if not value >= 0:
                raise InputError(f"loss.class_weights: the weight of `{name}` is {value}; weights are not negative")
        w = np.array([float(kind.get(name, 1.0)) for name in classes])
    else:
        raise InputError(f"loss.class_weights: {kind!r}; choose balanced, effective or a weight per class")
    if weighted_class is not None:
        w = w.copy()
        w[_index(weighted_class, classes, "loss.weighted_class")] *= gamma
    return None if (w == 1).all() else w


def _index(name: str, classes: Sequence[str], key: str) -> int:
    if name not in classes:
        raise InputError(f"{key}: no class `{name}`.{nearest(name, classes)} Classes: {', '.join(classes)}")
    return list(classes).index(name)


def of_examples(
    difficulty: np.ndarray, rule: str = "rank", favour: str = "easy", lowest: float = 0.1, drop: float = 0.1
) -> np.ndarray:
    """(N,) weights from a difficulty (N,), higher is harder; their mean is 1.

    rank  falls linearly with the rank, from 1 for what is favoured most to `lowest`
    drop  0 for the share `drop` that is favoured least, 1 for the others
    Ties share their mean rank. NaN (no score) counts 1 before the division: nothing speaks against it.
    """
    known = ~np.isnan(difficulty)
    n = int(known.sum())
    doubt = np.zeros(len(difficulty))  # 0 favoured most, 1 least
    if n > 1:
        values = difficulty[known] if favour == "easy" else -difficulty[known]
        ranks = TiedBlocks(values).mid_ranks(np.ones((n, 1)))[:, 0]
        doubt[known] = (ranks - ranks.min()) / max(np.ptp(ranks), 1)
    if rule == "rank":
        v = 1 - (1 - lowest) * doubt
    elif rule == "drop":
        v = np.ones(len(doubt))
        order = np.argsort(-np.where(known, doubt, -1.0), kind="stable")
        v[order[: int(drop * n)]] = 0.0
    else:
        raise ValueError(f"unknown rule of weights: {rule}")
    return v / v.mean()


def mass(targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(M,) sum_k w_k Y_ik of targets (M,) class index or (M, K); 1 where there are no class weights."""
    if weights is None:
        return np.ones(len(targets))
    return weights[targets] if targets.ndim == 1 else targets @ weights
