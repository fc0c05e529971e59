"""How far do people disagree? From the answers that several of them gave to the same question."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from leadline.errors import InputError
from leadline.evaluate.agreement import mid_ranks


class Disagreement(NamedTuple):
    """(N,) each; NaN where fewer than two people answered, for one cannot disagree."""

    entropy: np.ndarray  # of the shares of the answers, nats, in [0, log K]
    minority: np.ndarray  # 1 - share of the most frequent answer, in [0, 1 - 1 / K]
    people: np.ndarray  # int64, how many answered


def disagreement(counts: ArrayLike) -> Disagreement:
    """Of (N, K) counts: how many people gave each of K answers. InputError for negative or broken counts.

    The entropy is that of the votes as they are (the estimate of largest likelihood): with few people it is too low,
    and by more the more answers there are, so rows with different numbers of people compare with care.
    """
    votes = np.asarray(counts, dtype=np.float64)
    if votes.ndim != 2 or not votes.size:
        raise InputError(f"votes: one row per example and one column per answer are needed, not shape {votes.shape}")
    broken = ~np.isfinite(votes) | (votes < 0) | (votes != np.round(votes))
    if broken.any():
        row = int(np.flatnonzero(broken.any(axis=1))[0])
        raise InputError(
            f"votes: row {row} (counted from 0) has {votes[row].tolist()}; counts are whole numbers from 0"
        )
    people = votes.sum(axis=1)  # (N,)
    share = votes / np.where(people >= 2, people, np.nan)[:, None]
    share.sort(axis=1)  # 2, 2, 1 and 1, 2, 2 are added up in one order: equal disagreements stay ties
    return Disagreement(entr(share).sum(axis=1), 1 - share[:, -1], people.astype(np.int64))


def ceiling(values: ArrayLike) -> float:
    """The largest Spearman that any untied ranking can reach with values (N,) that have ties; NaN of a constant.

    Three votes give few different entropies: a score that ordered the examples perfectly would still not reach 1.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[~np.isnan(x)]
    n = len(x)
    if n < 2 or (x == x[0]).all():
        return np.nan
    return float(mid_ranks(x[None])[0].std() / np.sqrt((n**2 - 1) / 12))  # against the ranks 1 to n
