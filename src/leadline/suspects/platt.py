"""Outcomes of a model that was still learning, made comparable: a scale and class biases fitted along the steps.

Early logits say little and lean to one class; late ones say much. Multinomial Platt scaling in windows of steps turns
both into probabilities that mean the same: those of a model that knew nothing become the shares of the given labels.
Platt 1999; Guo et al., ICML 2017, have the variants without windows. The windows are ours.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

LEAST = 200  # outcomes in a window
GROWTH = 0.25  # a window is so much of what lies before it, where that is more: what changes fast is early
MOST = 2_000  # outcomes that a fit reads, evenly spaced in its window
LOWEST = -100.0  # of a logit below the largest; an absent option is -inf
RIDGE = 1.0  # of the biases: a prior of variance 1 around 0
STIFF = 1e-3  # the same of the scale around 1, so that a window without an error has a finite one


def comparable(logits: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """(M, K) probabilities from logits (M, K) in the order of training, gold (M,) class index.

    p = softmax(a z + b) with a >= 0 and b (K,) of maximal penalised likelihood of the given labels in each window, and
    linear in between. Every row is one of at least 200 that its parameters come from, so its own label hardly counts.
    """
    z = logits.astype(np.float64)
    z = np.maximum(z - z.max(axis=1, keepdims=True), LOWEST)
    edges = windows(len(z))
    centres = (edges[:-1] + edges[1:]) / 2
    fits = np.stack([fitted(z[a:b], gold[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)])  # (W, 1 + K)
    scale, *bias = (np.interp(np.arange(len(z)), centres, column) for column in fits.T)
    return np.exp(log_softmax(scale[:, None] * z + np.stack(bias, axis=1), axis=1))


def windows(m: int) -> np.ndarray:
    """(W + 1,) where windows begin and end: of 200 outcomes, later of a quarter of those before."""
    edges = [0]
    while m - edges[-1] >= 2 * (width := max(LEAST, int(GROWTH * edges[-1]))):
        edges.append(edges[-1] + width)
    return np.array([*edges, m])


def fitted(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(1 + K,) a and b of one window, by L-BFGS-B."""
    rows = np.unique(np.linspace(0, len(z) - 1, min(MOST, len(z))).astype(np.int64))
    z, y = z[rows], y[rows]
    given = np.eye(z.shape[1])[y]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = parameters[0], parameters[1:]
        log_p = log_softmax(a * z + b, axis=1)
        error = np.exp(log_p) - given  # (B, K)
        penalty = STIFF / 2 * (a - 1) ** 2 + RIDGE / 2 * b @ b
        slope = np.concatenate([[(error * z).sum() + STIFF * (a - 1)], error.sum(axis=0) + RIDGE * b])
        return penalty - log_p[np.arange(len(y)), y].sum(), slope

    k = z.shape[1]
    found = minimize(
        loss, np.r_[1.0, np.zeros(k)], jac=True, method="L-BFGS-B", bounds=[(0, None)] + [(None, None)] * k
    )
    return np.asarray(found.x)
