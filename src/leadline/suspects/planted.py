"""What flips planted on purpose say of the errors that nobody planted, and AUM's threshold samples.

Everything here that speaks of natural errors holds if natural errors rank like planted ones. Where they are subtler,
the numbers are too small, and nothing in the data tells: `suspects.estimate` needs no such assumption.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy import special

from leadline.errors import InputError
from leadline.evaluate.intervals import percentiles, resamples
from leadline.scores import SCORES

LEVEL = 0.95  # one-sided: as high as the upper end of an interval of 90 %
HALF_DOUBLINGS = range(-4, 7)  # cut-offs from a quarter of the planted number to eight times it
ASSUMPTION = "natural errors rank like planted ones"


@dataclass(frozen=True)
class Calibration:
    """N rows in order of doubt, P of them planted; k is a cut-off, `found[k - 1]` the planted among the top k."""

    found: np.ndarray  # (N,) int64, cumulative
    n_planted: int
    value: float  # natural errors, where the top of the list held nothing but errors; see `calibrate`
    high: float  # upper bound at `level`
    level: float
    cutoff: int  # the k that gave the bound
    assumption: str = ASSUMPTION

    @property
    def precision(self) -> np.ndarray:
        """(N,) share of planted rows among the top k: at most the share of wrong labels there."""
        return self.found / np.arange(1, len(self.found) + 1)

    @property
    def recall(self) -> np.ndarray:
        """(N,) share of the planted rows that are among the top k."""
        return self.found / self.n_planted

    def at_cutoffs(self) -> list[dict[str, float]]:
        """k, found, precision and recall at the cut-offs of the bound; see `cutoffs`."""
        return [
            {"k": k, "found": int(self.found[k - 1]), "precision": self.precision[k - 1], "recall": self.recall[k - 1]}
            for k in cutoffs(self.n_planted, len(self.found)).tolist()
        ]


def calibrate(doubt: ArrayLike, planted: ArrayLike, level: float = LEVEL, seed: int = 0) -> Calibration:
    """Precision, recall and an upper bound for the natural errors, from doubt (N,), higher = more doubtful.

    planted  (N,) bool. Planted rows are taken to be drawn at random from all rows
    level    of the bound, one-sided

    The bound: if E natural errors and P planted ones rank alike, the planted ones are a random part of E + P errors.
    The first k errors in rank include the errors among the top k rows, so at most a hypergeometric number of planted
    ones is found there; a binomial one with min(k, P) trials has a heavier tail. Finding `found` of them rules out all
    E above max(k, P) / p - P, where p is the lower limit of Clopper and Pearson (1934) for that binomial. Eleven
    cut-offs, fixed in terms of P, share the error probability equally (Bonferroni), so the smallest of their bounds is
    a bound. `value` is the same at that cut-off with the share found in place of p: from above too, since the clean
    rows among the top k are counted as errors. A number between needs to know how clean rows rank, and nobody does (a
    mixture proportion is identified as a maximum only: Blanchard, Lee and Scott, JMLR 2010).
    Both are scaled by N / (N - P), for errors that were planted upon. Equal doubts are ordered at random by `seed`; NaN
    ranks last. Raises InputError where nothing, or everything, is planted.
    """
    values, flips = _pair(doubt, planted)
    n, p = len(values), int(flips.sum())
    order = np.lexsort((np.random.default_rng(seed).random(n), -values))
    found = np.cumsum(flips[order])
    k = cutoffs(p, n)
    bounds = bound(found[k - 1], k, p, n, level)
    at = int(bounds.argmin())
    share = found[k[at] - 1] / min(k[at], p)
    value = _of_all(max(k[at], p) / share - p if share else np.inf, p, n)
    return Calibration(found, p, float(value), float(bounds[at]), level, int(k[at]))


def cutoffs(n_planted: int, n: int) -> np.ndarray:
    """(C,) ascending cut-offs: P/4, P/2.8, P/2, … 8 P, at least 1 and at most N."""
    return np.unique(np.clip(np.round(n_planted * 2 ** (np.array(HALF_DOUBLINGS) / 2)), 1, n).astype(np.int64))


def bound(found: np.ndarray, k: np.ndarray, n_planted: int, n: int, level: float = LEVEL) -> np.ndarray:
    """(..., C) upper bounds for the natural errors from `found` (..., C) planted rows among the top k (C,).

    All of them hold together with probability `level`. At most the number of rows that were not planted, scaled.
    """
    trials = np.minimum(k, n_planted)
    share = np.where(found > 0, special.betaincinv(np.maximum(found, 1), trials - found + 1, (1 - level) / len(k)), 0.0)
    with np.errstate(divide="ignore"):
        return _of_all(np.maximum(k, n_planted) / share - n_planted, n_planted, n)


def _of_all(errors: np.ndarray | float, n_planted: int, n: int) -> np.ndarray:
    """Errors among the rows that were not planted -> among all N."""
    return np.clip(errors, 0, n - n_planted) * n / (n - n_planted)


def _pair(doubt: ArrayLike, planted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float64 without NaN, (N,) bool."""
    values, flips = np.asarray(doubt, dtype=np.float64), np.asarray(planted, dtype=bool)
    if values.ndim != 1 or values.shape != flips.shape:
        raise InputError(f"planted: one doubt and one mark per row are needed, not {values.shape} and {flips.shape}")
    if not 0 < flips.sum() < len(flips):
        raise InputError(f"planted: {flips.sum()} of {len(flips)} rows are planted; some, and not all, must be")
    return np.where(np.isnan(values), -np.inf, values), flips


# Which score finds errors best


def doubts(columns: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """{name: (N,) higher = more doubtful}: scores for which low is doubtful are turned round.

    Scores that do not say which label is doubtful are left out; a name that is no score is taken as a doubt.
    """
    turned = {}
    for name, column in columns.items():
        values = np.asarray(column, dtype=np.float64)
        direction = SCORES[name].higher_is if name in SCORES else "harder"
        if direction in ("harder", "easier"):
            turned[name] = values if direction == "harder" else -values
    return turned


def best_score(
    columns: Mapping[str, ArrayLike], planted: ArrayLike, level: float = LEVEL, count: int = 200, seed: int = 0
) -> pl.DataFrame:
    """Average precision of every score on the planted rows, best first.

    Columns: score, average_precision, low, high, n, n_planted.

    columns    scores as from `scores.compute`, or doubts of any name; see `doubts`
    low, high  percentile bootstrap over rows, `count` resamples, the same for all scores
    Natural errors count as clean rows here, so every figure is too small, all scores alike; chance is n_planted / n.
    """
    ranked = {name: _Ranked(*_pair(doubt, planted)) for name, doubt in doubts(columns).items()}
    n, flips = len(np.asarray(planted)), int(np.sum(planted))
    draws: dict[str, list[np.ndarray]] = {name: [] for name in ranked}
    for weights in resamples(n, count, seed):
        for name, one in ranked.items():
            draws[name].append(one.average_precision(weights))
    rows = [
        (name, one.average_precision()[0], *percentiles(np.concatenate(draws[name]), level), n, flips)
        for name, one in ranked.items()
    ]
    schema = {"score": pl.String, "average_precision": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    table = pl.DataFrame(rows, schema=schema | {"n": pl.Int64, "n_planted": pl.Int64}, orient="row")
    return table.sort("average_precision", descending=True, maintain_order=True)


class _Ranked:
    """Average precision of one score for many sets of weights; equal doubts are one step."""

    def __init__(self, doubt: np.ndarray, planted: np.ndarray):
        self.order = np.argsort(-doubt, kind="stable")
        sorted_doubt = doubt[self.order]
        last = np.append(sorted_doubt[1:] != sorted_doubt[:-1], True)  # of equal doubts
        self.hits = np.flatnonzero(planted[self.order])  # (P,) places of the planted rows
        self.step = np.flatnonzero(last)[np.cumsum(np.append(0, last[:-1]))[self.hits]]  # (P,) where their step ends
        self.upto = np.searchsorted(self.hits, self.step, side="right") - 1  # (P,) the last hit of the step

    def average_precision(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(N, B) -> (B,): sum over steps of (recall gained) x precision; NaN where no planted row was drawn."""
        drawn = np.ones((len(self.order), 1)) if weights is None else weights
        gained = drawn[self.order[self.hits]]  # (P, B)
        found = np.cumsum(gained, axis=0)
        taken = np.cumsum(drawn[self.order], axis=0)[self.step]
        area = (gained * found[self.upto] / np.maximum(taken, 1e-300)).sum(axis=0)
        return np.divide(area, found[-1], out=np.full(len(area), np.nan), where=found[-1] > 0)


# Threshold samples (AUM)


def aum_threshold(aum_of_threshold_samples: ArrayLike, q: float = 0.99) -> float:
    """The cut-off below which a label is doubted: the q-quantile of the AUM of threshold samples (T,).

    Threshold samples are rows relabelled to a class that does not exist, floor(N / (K + 1)) of them, drawn at random;
    two disjoint sets in two runs, so that every row is judged once as itself. Pleiss et al. 2020, who take the 99th
    percentile. Raises InputError where no threshold sample was observed.
    """
    values = np.asarray(aum_of_threshold_samples, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values) or not 0 <= q <= 1:
        raise InputError(f"aum_threshold: {len(values)} threshold samples and q = {q}; give at least one, and 0 to 1")
    return float(np.quantile(values, q))
