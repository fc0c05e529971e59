"""Statistics over the observed epochs of each example: (E, N) float64 -> (N,), NaN = not observed.

Skipped, never counted as 0; no observation at all gives NaN. Deviations are of the population (ddof 0), as in
cartography and Data-IQ.
"""

from __future__ import annotations

import numpy as np

from leadline.signals import Signals


def observed(signals: Signals, name: str) -> np.ndarray:
    """(E, N) float64 of one column; `correct` is 1, 0 or NaN."""
    x = signals.stack(name).astype(np.float64)
    return np.where(x < 0, np.nan, x) if name == "correct" else x


def n_obs(signals: Signals) -> np.ndarray:
    """(N,) int64: how many recorded epochs have an outcome of the example."""
    return signals.recorded.sum(axis=0, dtype=np.int64)


def total(x: np.ndarray) -> np.ndarray:
    seen = ~np.isnan(x)
    return np.where(seen.any(axis=0), np.where(seen, x, 0.0).sum(axis=0), np.nan)


def mean(x: np.ndarray) -> np.ndarray:
    n = (~np.isnan(x)).sum(axis=0)
    return total(x) / np.maximum(n, 1)


def std(x: np.ndarray) -> np.ndarray:
    return np.sqrt(mean((x - mean(x)) ** 2))


def first(x: np.ndarray) -> np.ndarray:
    epoch = np.where(np.isnan(x), len(x), np.arange(len(x))[:, None]).min(axis=0)
    return x[np.minimum(epoch, len(x) - 1), np.arange(x.shape[1])]  # never observed: the NaN of the last epoch


def last(x: np.ndarray) -> np.ndarray:
    epoch = np.where(np.isnan(x), 0, np.arange(len(x))[:, None]).max(axis=0)
    return x[epoch, np.arange(x.shape[1])]  # never observed: the NaN of the first epoch


def slope(x: np.ndarray) -> np.ndarray:
    """Ordinary least squares against the epoch's number; 0 for a single observation."""
    e = np.where(np.isnan(x), np.nan, np.arange(len(x), dtype=np.float64)[:, None])
    e = e - mean(e)
    spread = total(e**2)
    return total(e * (x - mean(x))) / np.where(spread == 0, 1.0, spread)
