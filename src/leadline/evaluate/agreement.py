"""Do two scores order the examples alike?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError
from leadline.evaluate.checks import same_length


class Agreement(NamedTuple):
    """Pairwise tables of M columns; names in the order given."""

    names: list[str]
    n: np.ndarray  # (M, M) int: rows that both have
    spearman: np.ndarray  # (M, M), NaN where a column is constant
    kendall: np.ndarray  # (M, M), tau-b
    kendall_n: int  # rows that tau is of: all, or a random sample


def rank_agreement(columns: Mapping[str, ArrayLike], kendall_rows: int | None = None, seed: int = 0) -> Agreement:
    """Spearman's rho and Kendall's tau-b, in [-1, 1], of every two columns (N,).

    Rows where either is NaN are left out of that pair; an infinite value (never learned) ranks as the largest, equal to
    other infinite ones; against a constant column the agreement is NaN. Scores of opposite direction agree negatively.
    Spearman is one product of matrices. Kendall takes far longer: with `kendall_rows` it is of at most so many rows,
    drawn at random by `seed`; `kendall_n` says how many.
    """
    names, x = stacked(columns)
    n, rho = np.zeros((len(names),) * 2, dtype=np.int64), np.full((len(names),) * 2, np.nan)
    for left, right, rows in complete(x):
        n[np.ix_(left, right)] = n[np.ix_(right, left)] = len(rows)
        part = _correlations(x, left, right, rows)
        rho[np.ix_(left, right)], rho[np.ix_(right, left)] = part, part.T
    few = x.shape[1] if kendall_rows is None else min(kendall_rows, x.shape[1])
    if few < x.shape[1]:
        x = x[:, np.sort(np.random.default_rng(seed).choice(x.shape[1], few, replace=False))]
    return Agreement(names, n, rho, _kendall(x), few)


def stacked(columns: Mapping[str, ArrayLike]) -> tuple[list[str], np.ndarray]:
    """The names, and the columns as rows of one array (M, N) float64."""
    arrays = {name: _numbers(name, values) for name, values in columns.items()}
    names = list(arrays)
    for name in names[1:]:
        same_length(arrays[names[0]], arrays[name], f"{names[0]} and {name}")
    return names, np.stack(list(arrays.values())) if names else np.zeros((0, 0))


def complete(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of the table of pairs: (columns, columns, the rows that all of them have), each pair in one block.

    Columns that lack the same rows stand in one block, so there are few: a score is NaN where nothing was observed,
    and `first_learned` also where nothing was learned.
    """
    lacking = np.isnan(x)
    alike: dict[bytes, list[int]] = {}
    for column, missing in enumerate(lacking):
        alike.setdefault(np.packbits(missing).tobytes(), []).append(column)
    for left, right in combinations_with_replacement([np.array(columns) for columns in alike.values()], 2):
        yield left, right, np.flatnonzero(~(lacking[left[0]] | lacking[right[0]]))


def mid_ranks(x: np.ndarray) -> np.ndarray:
    """(M, N) without NaN -> (M, N) ranks from 1 within each row of the array, equal values sharing their mean rank."""
    ranks = np.empty(x.shape)
    for values, into in zip(x, ranks, strict=True):
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        block = np.cumsum(np.r_[False, ordered[1:] != ordered[:-1]])  # (N,) number of the value in ascending order
        last = np.cumsum(np.bincount(block, minlength=1))
        into[order] = ((np.r_[0, last[:-1]] + 1 + last) / 2)[block]
    return ranks


def _correlations(x: np.ndarray, left: np.ndarray, right: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(L, R) Spearman of columns on rows that all have."""
    if not len(rows):
        return np.full((len(left), len(right)), np.nan)
    columns = left if left is right else np.r_[left, right]
    ranks = mid_ranks(x[np.ix_(columns, rows)])
    ranks -= (len(rows) + 1) / 2  # the mean of any ranking
    length = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    unit = ranks / np.where(length > 0, length, np.nan)
    rho = np.clip(unit @ unit.T, -1.0, 1.0)
    return rho[: len(left), -len(right) :]


def _kendall(x: np.ndarray) -> np.ndarray:
    from scipy.stats import kendalltau  # half of what any command of ours would take to start

    tau = np.full((len(x), len(x)), np.nan)
    for i, j in combinations(range(len(x)), 2):
        both = ~(np.isnan(x[i]) | np.isnan(x[j]))
        a, b = x[i][both], x[j][both]
        if len(a) and (a != a[0]).any() and (b != b[0]).any():
            tau[i, j] = tau[j, i] = kendalltau(a, b, method="asymptotic").statistic
    for i, values in enumerate(x):
        present = values[~np.isnan(values)]
        tau[i, i] = 1.0 if len(present) and (present != present[0]).any() else np.nan
    return tau


def overlap_of_hardest(a: ArrayLike, b: ArrayLike, k: int) -> float:
    """Share of the k hardest rows that two scores (N,), higher = harder, have in common, in [0, 1]; by chance k / N.

    Rows where either is NaN are left out. Of equal values at the cut each is as likely to be taken as another, and the
    expected overlap is given: it depends on no row order, and two constant scores overlap by chance only.
    """
    x, y = _numbers("a", a), _numbers("b", b)
    same_length(x, y, "the two scores")
    both = ~(np.isnan(x) | np.isnan(y))
    if not 1 <= k <= both.sum():
        raise InputError(f"overlap_of_hardest: k is {k}; give 1 to {both.sum()}, the number of rows with both scores")
    return float((taken(x[both], k) * taken(y[both], k)).sum() / k)


def taken(values: np.ndarray, k: int) -> np.ndarray:
    """(N,) the chance of each row to be among the k largest."""
    cut = np.partition(values, len(values) - k)[len(values) - k]  # the k-th largest
    above, at = values > cut, values == cut
    return np.where(above, 1.0, np.where(at, (k - above.sum()) / at.sum(), 0.0))


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{name}: one number per row is needed, shape (N,), not {array.shape}")
    return array
