"""Temperature scaling: one number, fitted on validation rows, that makes a model as sure as it is right.

Guo et al., ICML 2017. Every probability changes, no answer does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from leadline.errors import InputError
from leadline.evaluate.checks import class_indices, distributions, same_length
from leadline.signals import softmax

TEMPERATURES = (0.05, 20.0)


class Temperature(NamedTuple):
    """Above 1 the model was too sure of itself, as far as the interval leaves out 1.

    The interval is of other validation rows; NaN at a bound.
    """

    value: float
    low: float
    high: float
    n: int  # validation rows
    says: str | None = None  # a warning


def temperature_with_interval(logits: ArrayLike, labels: ArrayLike, level: float = 0.95) -> Temperature:
    """`fit_temperature` with its interval: that of an M-estimator in b = 1 / T (Huber 1967), on the scale of log T.

    logits (N, K), or logarithms of probabilities; labels (N,) class indices or (N, K) distributions.
    """
    value, says = fit_temperature(logits, labels)
    z, y, absent = _fit_to_scale(logits, labels)
    if value in TEMPERATURES or not z.any():
        return Temperature(value, np.nan, np.nan, len(z), says)
    p = softmax(np.where(absent, -np.inf, z / value))
    slopes = ((p - y) * z).sum(axis=1)  # (N,) of the NLL in b; their mean is 0
    curvature = ((p * z**2).sum(axis=1) - (p * z).sum(axis=1) ** 2).mean()
    error = value * np.sqrt((slopes**2).mean() / len(z)) / curvature  # of log b: that of b over b
    reach = special.ndtri((1 + level) / 2) * error
    low, high = np.exp(np.clip(np.log(value) + np.array([-reach, reach]), *np.log(TEMPERATURES)))
    return Temperature(value, float(low), float(high), len(z), says)


def scaled(probabilities: ArrayLike, temperature: float) -> np.ndarray:
    """(N, K) probabilities at that temperature: softmax(log p / T), which is softmax(logits / T). 0 stays 0."""
    p = distributions(probabilities)
    if not temperature > 0:
        raise InputError(f"temperature {temperature}: a number above 0 is needed")
    with np.errstate(divide="ignore"):
        return softmax(np.log(p) / temperature)


def log_probabilities(probabilities: ArrayLike) -> np.ndarray:
    """(N, K), finite: logits as far as a temperature can tell, from a table of predictions."""
    return np.log(np.maximum(distributions(probabilities), np.finfo(np.float64).tiny))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> tuple[float, str | None]:
    """The T in [0.05, 20] that minimises the NLL of softmax(logits / T), and a warning sentence or None.

    logits (N, K), -inf for an absent option; labels (N,) class indices or (N, K) distributions. Guo et al., ICML 2017.
    Fit it on validation rows only: the argmax, and so accuracy, does not change, every probability does.
    """
    return _temperature(*_fit_to_scale(logits, labels))


def _fit_to_scale(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits less their largest, labels as distributions, and which options are absent, (N, K) each; or InputError."""
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
    return np.where(np.isneginf(shifted), 0.0, shifted), y, np.isneginf(z)


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
