"""Weights: what one label counts (class weights, gamma) and the sum W that a step's loss is divided by.

The loss of an optimiser step is  sum_i v_i sum_k w_k S_ik (-log p_ik)  /  W,   W = sum_i v_i sum_k w_k Y_ik
(Y the target, S the same after smoothing, w class weights with gamma among them, v the weight of the entry).
W is known before any forward pass, so it depends on neither micro-batches nor processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from leadline.errors import InputError, nearest

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


def mass(targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(M,) sum_k w_k Y_ik of targets (M,) class index or (M, K); 1 where there are no class weights."""
    if weights is None:
        return np.ones(len(targets))
    return weights[targets] if targets.ndim == 1 else targets @ weights
