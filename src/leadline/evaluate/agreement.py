"""Do two scores order the examples alike?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError
from leadline.evaluate.checks import same_length
from leadline.evaluate.intervals import TiedBlocks


class Agreement(NamedTuple):
    """Pairwise tables of M columns; names in the order given."""

    names: list[str]
    n: np.ndarray  # (M, M) int: rows that both have
    spearman: np.ndarray  # (M, M), NaN where a column is constant
    kendall: np.ndarray  # (M, M), tau-b


def rank_agreement(columns: Mapping[str, ArrayLike]) -> Agreement:
    """Spearman's rho and Kendall's tau-b, in [-1, 1], of every two columns (N,).

    Rows where either is NaN are left out of that pair; an infinite value (never learned) ranks as the largest, equal to
    other infinite ones; against a constant column the agreement is NaN. Scores of opposite direction agree negatively.
    """
    arrays = {name: _numbers(name, values) for name, values in columns.items()}
    names = list(arrays)
    for name in names[1:]:
        same_length(arrays[names[0]], arrays[name], f"{names[0]} and {name}")
    n = np.zeros((len(names), len(names)), dtype=np.int64)
    rho, tau = np.full(n.shape, np.nan), np.full(n.shape, np.nan)
    for i, j in combinations_with_replacement(range(len(names)), 2):
        a, b = arrays[names[i]], arrays[names[j]]
        both = ~(np.isnan(a) | np.isnan(b))
        n[i, j] = n[j, i] = both.sum()
        if both.any():
            rho[i, j], tau[i, j] = rho[j, i], tau[j, i] = _agree(a[both], b[both])
    return Agreement(names, n, rho, tau)


def _agree(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    from scipy.stats import kendalltau  # half of what any command of ours would take to start

    x, y = (TiedBlocks(values).mid_ranks(np.ones((len(values), 1)))[:, 0] for values in (a, b))
    if (x == x[0]).all() or (y == y[0]).all():
        return np.nan, np.nan
    rho = np.corrcoef(x, y)[0, 1]
    tau = kendalltau(x, y, method="asymptotic").statistic
    return float(rho), float(tau)


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
    return float((_taken(x[both], k) * _taken(y[both], k)).sum() / k)


def _taken(values: np.ndarray, k: int) -> np.ndarray:
    """(N,) the chance of each row to be among the k largest."""
    blocks = TiedBlocks(values)
    sizes = np.bincount(blocks.block)  # (G,) ascending
    above = np.cumsum(sizes[::-1])[::-1] - sizes
    return (np.clip(k - above, 0, sizes) / sizes)[blocks.block]


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{name}: one number per row is needed, shape (N,), not {array.shape}")
    return array
