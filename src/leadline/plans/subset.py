"""Which examples to keep: regions, scores or chance -> rows (M,), in the order of the data.

A share of n rows is int(share * n) of them, as in the regions of the data map, so that controls have equal sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leadline.errors import InputError, nearest
from leadline.plans.epoch import Epoch, Plan

REGIONS = ("easy", "ambiguous", "hard", "none")
STREAM = 3  # default_rng([seed, epoch, stream])


def keep_regions(category: np.ndarray, keep: Sequence[str]) -> np.ndarray:
    """The rows whose category (N,) is one of `keep`: easy, ambiguous, hard, none."""
    for name in keep:
        if name not in REGIONS:
            known = ", ".join(REGIONS)
            raise InputError(f"there is no region `{name}`.{nearest(name, REGIONS)} The regions are {known}")
    return np.flatnonzero(np.isin(category, list(keep)))


def drop_highest(score: np.ndarray, share: float) -> np.ndarray:
    """All rows but the share with the highest scores (N,). NaN stays and does not count; ties: earlier rows go."""
    return np.setdiff1d(np.arange(len(score)), keep_highest(score, share))


def keep_highest(score: np.ndarray, share: float) -> np.ndarray:
    """The share of rows with the highest scores (N,); inf is highest, NaN is never kept; ties: earlier rows stay."""
    score = np.asarray(score, dtype=np.float64)
    scored = np.flatnonzero(~np.isnan(score))
    order = scored[np.argsort(-score[scored], kind="stable")]
    return np.sort(order[: _count(share, len(scored))])


def keep_lowest(score: np.ndarray, share: float) -> np.ndarray:
    """The share of rows with the lowest scores (N,); NaN is never kept; ties: earlier rows stay."""
    return keep_highest(-np.asarray(score, dtype=np.float64), share)


def random(n: int, *, share: float | None = None, count: int | None = None, seed: int = 0) -> np.ndarray:
    """A share or a count of n rows, drawn without replacement; the same seed gives the same rows."""
    if (share is None) == (count is None):
        raise InputError("a random subset needs a share or a count, one of the two")
    m = _count(share, n) if share is not None else count
    if m is None or not 0 <= m <= n:
        raise InputError(f"a random subset of {count} rows was asked of {n}")
    return np.sort(np.random.default_rng(seed).choice(n, size=m, replace=False))


def as_many_as(rows: np.ndarray, n: int, seed: int) -> Plan:
    """Epochs of n entries over fewer rows, gone through again and again: the optimiser steps of the full data.

    A round that an epoch cuts off is gone on with in the next one, so every row is trained as often as any other.
    """

    def plan(number: int) -> Epoch:
        entries = np.arange(number * n, (number + 1) * n)
        turn, place = np.divmod(entries, len(rows))
        orders = {k: np.random.default_rng([seed, int(k), STREAM]).permutation(rows) for k in np.unique(turn)}
        return Epoch(np.concatenate([orders[k][place[turn == k]] for k in orders]))

    return plan


def _count(share: float, n: int) -> int:
    if not 0 <= share <= 1:
        raise InputError(f"a share of the examples lies between 0 and 1, not {share}")
    return int(share * n)
