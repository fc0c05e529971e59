"""Would other seeds say the same? Differences of trials over seeds, with permutation tests.

The rows are held fixed: these tests speak of training again, not of other test rows (that is `paired_rows`). A
permutation test assumes no distribution; its price is that few seeds allow few p-values, told as `lowest_p`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from math import comb

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from leadline.errors import InputError, nearest
from leadline.evaluate.checks import numbers, same_length
from leadline.evaluate.intervals import mean_interval
from leadline.evaluate.paired import Difference, corrected
from leadline.evaluate.paired_power import LEVEL, detectable_mean

EXACT = 20_000  # arrangements up to which all are counted
REPEATS = 9_999  # random ones beyond that; with the observed one 10,000
TIE = 1e-9  # of the largest possible statistic: sums that differ by rounding are equal


def over_seeds(
    values: Mapping[str, Mapping[int, float]], baseline: str, level: float = 0.95, seed: int = 0
) -> dict[str, Difference]:
    """Every trial against the baseline: {trial: Difference}, in the order given, without the baseline itself.

    values: {trial: {seed: one metric's value}}. Runs are paired by seed; where a trial shares no seed with the baseline
    the unpaired test is used, and `method` says so. A seed that only one of the two has and a value of NaN (failed, or
    undefined) are left out: `n` counts what was used, and with n = 0 everything else is NaN. `p_holm` corrects for all
    trials of the call. Needs 6 seeds before p can fall below 0.05 (`lowest_p`).
    """
    if baseline not in values:
        raise InputError(f"there is no trial `{baseline}`.{nearest(baseline, values)} Trials: {', '.join(values)}")
    found = [_against(values[baseline], values[name], level, seed) for name in values if name != baseline]
    return dict(zip((name for name in values if name != baseline), corrected(found), strict=True))


def sign_flips(first: ArrayLike, second: ArrayLike, level: float = 0.95, seed: int = 0) -> Difference:
    """Second minus first, (S,) each and paired by seed: mean difference, Student's t interval, p by flipping signs.

    If the two trials do not differ, each difference is as likely with the other sign (Fisher 1935): p is the share of
    the 2^S sign patterns whose mean is at least as far from 0; all of them up to S = 14, else 9,999 random ones, the
    observed one counted with them. Interval and p are of two methods: with few seeds the interval may leave out 0
    while p cannot be small; then the seeds are too few to tell without the assumption of a normal distribution, and
    `detectable` is NaN.
    """
    a, b = numbers(first, "first"), numbers(second, "second")
    same_length(a, b, "first and second")
    d = b - a  # (S,)
    value, low, high = mean_interval(d, level)
    exact = 2 ** len(d) <= EXACT
    signs = np.array(list(product((1, -1), repeat=len(d)))) if exact else _random_signs(len(d), seed)
    p = _share(np.abs(signs @ d), abs(d.sum()), np.abs(d).sum(), exact)
    lowest = _lowest(2 ** (len(d) - 1), exact)
    detectable = detectable_mean(float(d.std(ddof=1)), len(d)) if lowest <= LEVEL else np.nan
    method = "sign flips over seeds, " + ("exact" if exact else f"{REPEATS:,} random")
    return Difference(value, low, high, p, len(d), method, lowest, detectable=detectable)


def relabelling(first: ArrayLike, second: ArrayLike, level: float = 0.95, seed: int = 0) -> Difference:
    """Second minus first where no seeds pair, (S,) and (T,): difference of means, Welch's interval, p by relabelling.

    p is the share of the ways to deal all S + T values to the two trials whose means are at least as far apart (Pitman
    1937): all of them up to 20,000, else 9,999 random ones. `n` is the smaller number of seeds.
    """
    a, b = numbers(first, "first"), numbers(second, "second")
    both, ways = np.concatenate([a, b]), comb(len(a) + len(b), len(b))
    both = both - both.mean()  # the means of the two are then proportional to the sum over one of them
    exact = ways <= EXACT
    if exact:
        dealt = np.array([both[list(rows)].sum() for rows in combinations(range(len(both)), len(b))])
    else:
        dice = np.random.default_rng(seed)
        dealt = np.array([dice.permutation(both)[: len(b)].sum() for _ in range(REPEATS)])
    p = _share(np.abs(dealt), abs(both[len(a) :].sum()), np.abs(both).sum(), exact)
    value = float(b.mean() - a.mean())
    low, high = _welch(a, b, value, level)
    method = "relabelled seeds, " + ("exact" if exact else f"{REPEATS:,} random")
    distinct = ways // 2 if len(a) == len(b) else ways
    return Difference(value, low, high, p, min(len(a), len(b)), method, _lowest(distinct, exact))


def _against(first: Mapping[int, float], second: Mapping[int, float], level: float, seed: int) -> Difference:
    a, b = ({s: v for s, v in trial.items() if not np.isnan(v)} for trial in (first, second))
    shared = sorted(a.keys() & b.keys())
    if shared:
        return sign_flips([a[s] for s in shared], [b[s] for s in shared], level, seed)
    if a and b:
        return relabelling(list(a.values()), list(b.values()), level, seed)
    return Difference(np.nan, np.nan, np.nan, np.nan, 0, "nothing to compare", np.nan)


def _random_signs(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice((-1, 1), size=(REPEATS, n))


def _share(drawn: np.ndarray, observed: float, largest: float, exact: bool) -> float:
    """Share of the arrangements at least as extreme; among random ones the observed counts too, so p is never 0."""
    extreme = int((drawn >= observed - TIE * largest).sum())
    return extreme / len(drawn) if exact else (extreme + 1) / (len(drawn) + 1)


def _lowest(distinct: int, exact: bool) -> float:
    return 1 / distinct if exact else 1 / (REPEATS + 1)


def _welch(a: np.ndarray, b: np.ndarray, value: float, level: float) -> tuple[float, float]:
    """Interval of the difference of two means with unequal variances; NaN where either has one value."""
    if min(len(a), len(b)) < 2:
        return np.nan, np.nan
    errors = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    if not errors.sum():
        return value, value
    df = errors.sum() ** 2 / (errors**2 / (len(a) - 1, len(b) - 1)).sum()
    half = float(special.stdtrit(df, (1 + level) / 2) * np.sqrt(errors.sum()))
    return value - half, value + half
