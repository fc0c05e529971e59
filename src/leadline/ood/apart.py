"""How well a strangeness tells texts in distribution from texts out of it, with intervals.

Everything is computed from how many rows of either kind share each value, in ascending order: one formula serves the
rows themselves and all their resamples at once. G distinct values, B sets of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from leadline.errors import InputError
from leadline.evaluate.checks import numbers
from leadline.evaluate.intervals import TiedBlocks, percentiles, wilson

CELLS = 60_000  # of one block of weights: it stays in the processor's cache, four times as fast as 1,000,000

MEASURES = {  # in the order of the tables
    "auroc": "chance that a text out of distribution is stranger than one in it; ties count half",
    "aupr_out": "average precision, out of distribution positive; chance is its share of the rows",
    "aupr_in": "average precision, in distribution positive; chance is its share of the rows",
    "fpr95_id_positive": "share of texts out of distribution accepted where 95 % in it are kept; lower is better",
    "fpr95": "share of texts in distribution flagged where 95 % out of it are caught; lower is better",
}


def told_apart(
    id_scores: ArrayLike, ood_scores: ArrayLike, repeats: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, float]]:
    """{measure: {value, low, high, n}}: id_scores (N,) and ood_scores (M,), higher is stranger; n = N + M.

    FPR@95 depends on which side is the positive class, so both are there; the threshold takes tied rows together, the
    smallest set with a recall of 0.95 or more. The interval of AUROC is that of `mean_auroc`; the others have
    the percentile bootstrap, drawn within either set (stratified). Of 2,000 draws of two normal sets those of FPR@95
    held in 0.93 to 0.96, those of AUPR in 0.90 (40 + 40 rows, 1 sd apart), 0.85 (40 + 40, 3 sd), 0.90 (100 + 100, 3 sd)
    and 0.93 (100 + 100, 1 sd): too short for small or well separated sets. A set of one row has no interval.
    InputError where a set is empty or a score is no finite number.
    """
    inside, outside = _checked(id_scores, ood_scores)
    blocks = TiedBlocks(np.concatenate([inside, outside]))
    n, m = len(inside), len(outside)
    rows = blocks.summing()  # (G, N + M)
    mine, theirs = rows[:, :n], rows[:, n:]
    value = _measured(mine @ np.ones((n, 1)), theirs @ np.ones((m, 1)))[:, 0]
    draws = np.full((len(MEASURES), 1), np.nan)
    if n > 1 and m > 1 and repeats:
        draws = np.concatenate([_measured(mine @ v, theirs @ w) for v, w in _resamples(n, m, repeats, seed)], axis=1)
    found = {"auroc": mean_auroc(inside, {"": outside}, level)}
    for i, name in list(enumerate(MEASURES))[1:]:
        low, high = percentiles(draws[i], level)
        found[name] = {"value": float(value[i]), "low": low, "high": high, "n": n + m}
    return found


def mean_auroc(id_scores: ArrayLike, ood_scores: Mapping[str, ArrayLike], level: float = 0.95) -> dict[str, float]:
    """{value, low, high, n}: the mean over the sets {name: (M,)} of the AUROC against id_scores (N,), in [0, 1].

    DeLong's variance (DeLong, DeLong and Clarke-Pearson 1988; the sets share the rows in distribution), on the logit
    scale. Where every pair is in order, or none is, that variance is 0 and the bound is exact: k pairs without a common
    row are all in order with probability AUROC^k at most, k the rows of the smallest set, so that
    ((1 - level) / 2)^(1 / k) is the least. Where ties make it 0, Wilson's interval of k pairs. A set of one row has no
    interval. n = N + all M.
    Of 3,000 draws of two normal sets 95 % intervals held in 0.953 (40 + 40 rows, 1 sd apart), 0.942 (40 + 40, 3 sd),
    0.954 (100 + 100, 1 sd), 0.940 (100 + 100, 3 sd), 0.977 (8 + 8, 1 sd), and at the least 0.913 (20 + 200, 2 sd).
    """
    checked = [_checked(id_scores, scores) for scores in ood_scores.values()]
    if not checked:
        raise InputError("no set of other texts: nothing can be told apart")
    inside = checked[0][0]
    passed = [_placements(inside, outside) for _, outside in checked]  # (N,) and (M,) of each set
    value = float(np.mean([theirs.mean() for _, theirs in passed]))
    n, k = len(inside), min(len(inside), *(len(theirs) for _, theirs in passed))
    low, high = np.nan, np.nan
    if k > 1:
        variance = np.mean([mine for mine, _ in passed], axis=0).var(ddof=1) / n
        variance += sum(theirs.var(ddof=1) / len(theirs) for _, theirs in passed) / len(passed) ** 2
        low, high = _logit_interval(value, float(variance), k, level)
    return {"value": value, "low": low, "high": high, "n": n + sum(len(theirs) for _, theirs in passed)}


def _placements(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row (N,) and (M,) the share of the other kind that lies on the right side of it; ties count half."""
    first, second = np.sort(inside), np.sort(outside)
    below = np.searchsorted(first, outside, "left") + np.searchsorted(first, outside, "right")
    upto = np.searchsorted(second, inside, "left") + np.searchsorted(second, inside, "right")
    return 1 - upto / (2 * len(second)), below / (2 * len(first))


def _logit_interval(value: float, variance: float, k: int, level: float) -> tuple[float, float]:
    """(low, high) in [0, 1], never a point; k pairs of rows without a common one."""
    least = float(((1 - level) / 2) ** (1 / k))
    if value in (0.0, 1.0):
        return (least, 1.0) if value else (0.0, 1 - least)
    if variance == 0:
        low, high = wilson(value * k, k, level)
        return float(low), float(high)
    half = special.ndtri((1 + level) / 2) * np.sqrt(variance) / (value * (1 - value))
    middle = special.logit(value)
    return float(special.expit(middle - half)), float(special.expit(middle + half))


def compute_auroc(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """AUROC in [0, 1], out of distribution positive: P(ood score > id score) + 1/2 P(equal).

    Of the published files, which hold probabilities: `compute_auroc(-read_model_out(id), -read_model_out(ood))`. The
    function of the same name in Arora, Huang and He's code gives percent.
    """
    inside, outside = _checked(id_scores, ood_scores)
    below, upto = (np.searchsorted(np.sort(inside), outside, side).sum() for side in ("left", "right"))
    return float((below + upto) / 2 / (len(inside) * len(outside)))


def _checked(id_scores: ArrayLike, ood_scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    for what, scores in (("in", id_scores), ("out of", ood_scores)):
        if not np.size(np.asarray(scores)):
            raise InputError(f"no rows {what} distribution: nothing can be told apart")
    return numbers(id_scores, "scores in distribution"), numbers(ood_scores, "scores out of distribution")


def _measured(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Rows per value (G, B) of either kind, ascending -> (5, B), the measures in the order of MEASURES."""
    n, m = inside.sum(axis=0), outside.sum(axis=0)
    upto_in, upto_out = np.cumsum(inside, axis=0), np.cumsum(outside, axis=0)  # with a score of this or less
    from_in, from_out = n - upto_in + inside, m - upto_out + outside  # of this or more
    columns = np.arange(inside.shape[1])
    kept = (20 * upto_in >= 19 * n).argmax(axis=0)  # the first value at which 95 % are in
    caught = len(inside) - 1 - (20 * from_out >= 19 * m)[::-1].argmax(axis=0)  # the last from which 95 % are in
    return np.stack([
        np.einsum("gb,gb->b", outside, upto_in - inside / 2) / (n * m),
        np.einsum("gb,gb->b", outside, _share(from_out, from_in)) / m,
        np.einsum("gb,gb->b", inside, _share(upto_in, upto_out)) / n,
        upto_out[kept, columns] / m,
        from_in[caught, columns] / n,
    ])  # fmt: skip


def _share(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / (a + b), and 0 where both are 0."""
    return np.divide(a, a + b, out=np.zeros_like(a), where=a > 0)


def _resamples(n: int, m: int, repeats: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each row of either set is drawn, (N, b) and (M, b), the sets apart; blocks keep memory bounded."""
    generators = [np.random.default_rng([seed, which]) for which in (0, 1)]
    size = max(1, CELLS // (n + m))
    for start in range(0, repeats, size):
        block = range(start, min(start + size, repeats))
        drawn = [
            np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in block], axis=1)
            for rng, count in zip(generators, (n, m), strict=True)
        ]
        yield drawn[0].astype(np.float64), drawn[1].astype(np.float64)
