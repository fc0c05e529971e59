"""Detectors that read the class logits z (N, K) alone; p = softmax(z)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from leadline.errors import InputError
from leadline.ood.registry import detector

INF = float("inf")


@detector(
    needs=("logits",), range=(-1.0, 0.0), paper="hendrycks2017", says="minus the largest softmax probability (MSP)"
)
def msp(logits: ArrayLike) -> np.ndarray:
    """-max p, (N,) in [-1, -1/K]. Hendrycks & Gimpel 2017. The baseline; says semantic shift before anything else."""
    return -special.softmax(_finite(logits), axis=1).max(axis=1)


@detector(needs=("logits",), range=(-INF, INF), paper="hendrycks2022", says="minus the largest logit")
def max_logit(logits: ArrayLike) -> np.ndarray:
    """-max z, (N,). Hendrycks et al. 2022. Keeps the size of the logits, which softmax divides away."""
    return -_finite(logits).max(axis=1)


@detector(needs=("logits",), range=(-INF, INF), paper="liu2020", says="minus the log of the summed exp of logits")
def energy(logits: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """-T log sum exp(z / T), (N,). Liu et al. 2020, T = 1 as there."""
    return -temperature * special.logsumexp(_finite(logits) / temperature, axis=1)


@detector(
    needs=("logits",), range=(0.0, INF), paper="hendrycks2017", says="entropy of the class probabilities, in nats"
)
def entropy(logits: ArrayLike) -> np.ndarray:
    """-sum p log p, (N,) nats in [0, log K]; finite where p is 0."""
    return special.entr(special.softmax(_finite(logits), axis=1)).sum(axis=1)


@detector(
    needs=("logits",), range=(-1.0, 0.0), paper="liang2018", says="MSP at temperature 1,000, inputs as they are (ODIN)"
)
def odin(logits: ArrayLike, temperature: float = 1000.0) -> np.ndarray:
    """-max softmax(z / T), (N,) in [-1, -1/K]. Liang et al. 2018, T = 1000, their eps = 0.

    Text has no pixels to step along the gradient, so that half of the method is left out. At this T the score ranks
    nearly as the mean logit minus the largest.
    """
    return -special.softmax(_finite(logits) / temperature, axis=1).max(axis=1)


def _finite(logits: ArrayLike) -> np.ndarray:
    """(N, K) float64, or InputError."""
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] < 2:
        raise InputError(f"logits: one column per class is needed, shape (N, K) with K >= 2, not {z.shape}")
    if not np.isfinite(z).all():
        raise InputError(f"logits: row {int((~np.isfinite(z)).any(axis=1).argmax())} (counted from 0) is not finite")
    return z
