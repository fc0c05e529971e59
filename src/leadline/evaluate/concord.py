"""How far do many scores agree, and how sure is that? Spearman, and the share of the hardest rows in common.

The bootstrap draws rows. Each column is sorted once; of a resample the ranks, and which rows are its k highest, follow
from how often each row was drawn, added up in that order. So every resample has ranks of its own and nothing is sorted
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from leadline.errors import InputError
from leadline.evaluate.agreement import complete, mid_ranks, stacked, taken
from leadline.evaluate.intervals import wilson

REPEATS = 200  # a standard error within 5 %
ROWS = 5000  # resampled at most; a standard error of more rows is theirs, scaled


class Concordance(NamedTuple):
    """Pairwise tables (M, M) of M columns; names in the order given. Low and high are NaN without resamples."""

    names: list[str]
    n: np.ndarray  # rows that both have
    spearman: np.ndarray  # in [-1, 1]; NaN where a column is constant
    spearman_low: np.ndarray
    spearman_high: np.ndarray
    overlap: np.ndarray  # share of the k highest rows that both have in common, in [0, 1]; by chance k / n
    overlap_low: np.ndarray
    overlap_high: np.ndarray

    @property
    def jaccard(self) -> np.ndarray:
        """Rows that are among the k highest of both, of those that are so in either: overlap / (2 - overlap)."""
        return self.overlap / (2 - self.overlap)


def concordance(
    columns: Mapping[str, ArrayLike], hardest: float = 0.1, repeats: int = REPEATS, level: float = 0.95, seed: int = 0
) -> Concordance:
    """Spearman and the overlap of the `hardest` share of the rows for every two columns (N,), with intervals.

    Columns must point the same way, higher = harder. Rows where either is NaN are left out of that pair; ties share
    their mean rank, and of equal values at the cut each is as likely to be taken as another (the expected overlap).
    Intervals: the standard error of `repeats` bootstrap resamples of the rows, around Fisher's z for a correlation and
    in Wilson's formula for a share; 0 leaves them out. Of more than 5,000 rows a random sample is resampled, and the
    standard error divided by the root of how many times more there are. InputError for a share outside (0, 1).
    """
    if not 0 < hardest < 1:
        raise InputError(f"the hardest share is {hardest:g}; give a share between 0 and 1, such as 0.1")
    names, x = stacked(columns)
    tables = np.full((6, len(names), len(names)), np.nan)
    n = np.zeros((len(names), len(names)), dtype=np.int64)
    for left, right, rows in complete(x):
        both = left if left is right else np.r_[left, right]
        found = _part(x[np.ix_(both, rows)], hardest, repeats, level, np.random.default_rng(seed))  # (6, C, C)
        part = found[:, : len(left), -len(right) :]
        tables[:, left[:, None], right] = part
        tables[:, right[:, None], left] = part.transpose(0, 2, 1)
        n[np.ix_(left, right)] = n[np.ix_(right, left)] = len(rows)
    at = np.arange(len(names))
    tables[4:, at, at] = tables[3, at, at]  # of a column with itself nothing is uncertain
    return Concordance(names, n, *tables)


def _part(x: np.ndarray, hardest: float, repeats: int, level: float, rng: np.random.Generator) -> np.ndarray:
    """(6, C, C) of columns without NaN (C, n): Spearman, its low and high, overlap, its low and high."""
    n = x.shape[1]
    if n < 2:
        return np.full((6, len(x), len(x)), np.nan)
    k = highest(n, hardest)
    rho = _correlated(mid_ranks(x) - (n + 1) / 2)
    top = np.stack([taken(column, k) for column in x])
    overlap = np.clip(top @ top.T / k, 0.0, 1.0)
    rho_error, overlap_error = _standard_errors(x, hardest, repeats, rng)
    low, high = fisher(rho, rho_error, level)
    return np.stack([rho, low, high, overlap, *_of_a_share(overlap, overlap_error, k, level)])


def highest(n: int, share: float) -> int:
    """How many rows a share of n is: rounded, at least 1."""
    return max(1, round(share * n))


def _correlated(ranks: np.ndarray) -> np.ndarray:
    """(C, C) correlations of centred ranks (C, n); NaN where a column is constant."""
    length = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    unit = ranks / np.where(length > 0, length, np.nan)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def _standard_errors(
    x: np.ndarray, hardest: float, repeats: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Of Spearman and of the overlap (C, C), by the bootstrap; NaN without resamples."""
    if not repeats:
        return np.full((len(x),) * 2, np.nan), np.full((len(x),) * 2, np.nan)
    rows = x.shape[1]
    if rows > ROWS:
        x = x[:, np.sort(rng.choice(rows, ROWS, replace=False))]
    n = x.shape[1]
    order = np.argsort(x, axis=1, kind="stable")  # (C, n)
    ordered = np.take_along_axis(x, order, axis=1)
    places = np.arange(n)
    begins = np.concatenate([np.ones((len(x), 1), dtype=bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=1)  # (C, n) where the block of equal values begins
    ends = np.concatenate([begins[:, 1:], np.ones((len(x), 1), dtype=bool)], axis=1)
    last = np.minimum.accumulate(np.where(ends, places, n)[:, ::-1], axis=1)[:, ::-1]
    moments = _Moments(len(x)), _Moments(len(x))
    for _ in range(repeats):
        drawn = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)  # (n,)
        for moment, table in zip(moments, _resample(drawn, order, first, last, highest(n, hardest)), strict=True):
            moment.add(table)
    scale = np.sqrt(n / rows)
    return moments[0].deviation() * scale, moments[1].deviation() * scale


def _resample(
    drawn: np.ndarray, order: np.ndarray, first: np.ndarray, last: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spearman and overlap (C, C) where each row was drawn so often (n,)."""
    n = len(drawn)
    upto = np.concatenate([np.zeros((len(order), 1)), np.cumsum(drawn[order], axis=1)], axis=1)  # (C, n + 1)
    below = np.take_along_axis(upto, first, axis=1)  # drawn rows with smaller values
    within = np.take_along_axis(upto, last + 1, axis=1)  # with values no larger
    size = within - below
    weight = np.sqrt(drawn)  # its square is how often the row counts
    ranks, top = np.empty(order.shape), np.empty(order.shape)
    np.put_along_axis(ranks, order, (below + within - n) / 2, axis=1)  # the mid-rank less its mean, (n + 1) / 2
    np.put_along_axis(top, order, np.clip(k - (n - within), 0, size) / np.maximum(size, 1), axis=1)
    top *= weight
    return _correlated(ranks * weight), top @ top.T / k


class _Moments:
    """Count, sum and sum of squares of tables (C, C), undefined entries passed over."""

    def __init__(self, c: int):
        self.n, self.sum, self.squares = (np.zeros((c, c)) for _ in range(3))

    def add(self, table: np.ndarray) -> None:
        there = ~np.isnan(table)
        values = np.where(there, table, 0.0)
        self.n += there
        self.sum += values
        self.squares += values**2

    def deviation(self) -> np.ndarray:
        """Standard deviation, NaN where fewer than two were defined."""
        n = np.where(self.n > 1, self.n, np.nan)
        spread = np.maximum(self.squares - self.sum**2 / n, 0.0) / (n - 1)
        return np.sqrt(np.where(spread < 1e-16, 0.0, spread))  # (rounding of equal values)


def fisher(rho: np.ndarray, error: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Low and high of a correlation with this standard error, through arctanh; a perfect one is its own interval."""
    z = special.ndtri((1 + level) / 2)
    inner = np.where(np.abs(rho) < 1 - 1e-12, rho, 0.0)
    centre, half = np.arctanh(inner), z * error / (1 - inner**2)
    perfect = np.abs(rho) >= 1 - 1e-12
    low, high = np.tanh(centre - half), np.tanh(centre + half)
    missing = np.isnan(rho) | np.isnan(error)
    return tuple(np.where(missing, np.nan, np.where(perfect, rho, bound)) for bound in (low, high))  # type: ignore[return-value]


def _of_a_share(share: np.ndarray, error: np.ndarray, k: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval for as many rows as would give this standard error; at 0 and 1, which have none, for k."""
    inside = (error > 0) & (share > 0) & (share < 1)
    rows = np.where(inside, share * (1 - share) / np.where(inside, error, 1.0) ** 2, k)
    low, high = wilson(share * rows, rows, level)
    return tuple(np.where(np.isnan(error), np.nan, bound) for bound in (low, high))  # type: ignore[return-value]
