"""How sure a number is: Wilson for a share, Student's t over seeds, and the bootstrap's resamples of rows.

A resample is a weight per row (how often it was drawn), so one formula serves the data (all weights 1) and
1,000 resamples at once; nothing is copied, and paired comparisons can draw the same rows for two models.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, special

from leadline.errors import InputError

CELLS = 1_000_000  # of one block of weights: 8 MB, so that memory does not grow with the number of resamples


def wilson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Low and high of Wilson's score interval of a share, elementwise, in [0, 1]; NaN where n = 0.

    Wilson, JASA 1927. Holds its level for small n and for shares of 0 and 1, where a bootstrap shrinks to a point.
    """
    k, total = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z = special.ndtri((1 + level) / 2)
    safe = np.where(total > 0, total, np.nan)
    share = k / safe
    centre = (share + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z / (1 + z**2 / safe) * np.sqrt(share * (1 - share) / safe + z**2 / (4 * safe**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean, low and high over seeds (Student's t, n - 1 degrees of freedom); one value has a NaN interval.

    The interval speaks of other seeds on the same data, not of other data.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise InputError(f"mean_interval: one number per seed is needed, shape (S,) with S >= 1, not {x.shape}")
    mean = float(x.mean())
    if len(x) == 1:
        return mean, np.nan, np.nan
    half = float(special.stdtrit(len(x) - 1, (1 + level) / 2) * x.std(ddof=1) / np.sqrt(len(x)))
    return mean, mean - half, mean + half


def resamples(n: int, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """`count` bootstrap resamples of n rows in blocks (n, b): how often each row was drawn, float64.

    Columns sum to n. The draws depend on the seed alone, not on the size of the blocks.
    """
    rng = np.random.default_rng(seed)
    size = max(1, CELLS // n)
    for start in range(0, count, size):
        block = range(start, min(start + size, count))
        draws = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in block]
        yield np.stack(draws, axis=1).astype(np.float64)  # (N, b)


def percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    """Low and high of the percentile interval; resamples where the metric is undefined (NaN) are left out."""
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def basic(value: float, draws: np.ndarray, level: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Low and high of the basic interval, 2 value - percentile, within the metric's bounds (Davison & Hinkley 1997).

    Widened to the value itself where every resample lies on one side of it.
    """
    low, high = percentiles(draws, level)
    return float(np.clip(min(2 * value - high, value), *bounds)), float(np.clip(max(2 * value - low, value), *bounds))


def one_hot(index: np.ndarray, k: int, values: np.ndarray | None = None) -> sparse.csr_array:
    """(K, N) with one entry per row of the data (1, or its value): one_hot @ weights sums weights within each index."""
    n = len(index)
    return sparse.csr_array((np.ones(n) if values is None else values, (index, np.arange(n))), shape=(k, n))


class TiedBlocks:
    """N values in ascending order, equal ones in one block: what ranks need when rows have weights."""

    def __init__(self, values: np.ndarray):
        self.values, self.block = np.unique(values, return_inverse=True)  # (G,) ascending, (N,) the block of each row

    def summing(self, values: np.ndarray | None = None) -> sparse.csr_array:
        """(G, N): times weights (N, B) it sums them (or weighted values) within blocks, in ascending order."""
        return one_hot(self.block, len(self.values), values)

    def mid_ranks(self, weights: np.ndarray) -> np.ndarray:
        """(N, B) -> (N, B): the average rank from 1 of each row among the drawn rows."""
        n = self.summing() @ weights
        return (np.cumsum(n, axis=0) - n / 2 + 0.5)[self.block]


def at_ranks(rank: np.ndarray, cuts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """(G, B) ranks of the ends of blocks and (M, G, B) sums up to them -> (M, C, B): the sums up to each rank in cuts.

    A cut through a block takes its share of it. Ranks rise from block to block and may stay (a block without weight).
    """
    g, b = rank.shape
    columns, stride = np.arange(b), rank[-1].max() + 1
    rising = (rank + columns * stride).T.ravel()  # one array for all sets of weights
    found = np.searchsorted(rising, (cuts[:, None] + columns * stride).T.ravel(), side="left").reshape(b, -1).T
    end = np.minimum(found - columns * g, g - 1)  # (C, B) the block in which a cut lies
    first = end == 0
    before = np.where(first, 0.0, np.take_along_axis(rank, np.maximum(end - 1, 0), axis=0))
    inside = np.take_along_axis(rank, end, axis=0) - before
    share = np.divide(cuts[:, None] - before, inside, out=np.zeros(inside.shape), where=inside > 0)
    found_sums = []
    for total in totals:
        start = np.where(first, 0.0, np.take_along_axis(total, np.maximum(end - 1, 0), axis=0))
        found_sums.append(start + share * (np.take_along_axis(total, end, axis=0) - start))
    return np.array(found_sums)
