"""How well a strangeness tells texts in distribution from texts out of it, with intervals.

Everything is computed from how many rows of either kind share each value, in ascending order: one formula serves the
rows themselves and all their resamples at once. G distinct values, B sets of weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError
from leadline.evaluate.checks import numbers
from leadline.evaluate.intervals import TiedBlocks, percentiles

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
    smallest set with a recall of 0.95 or more. Percentile bootstrap, drawn within either set (stratified); a set of one
    row has no interval. InputError where a set is empty or a score is no finite number.
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
    found = {}
    for i, name in enumerate(MEASURES):
        low, high = percentiles(draws[i], level)
        found[name] = {"value": float(value[i]), "low": low, "high": high, "n": n + m}
    return found


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
