"""One doubt out of many scores, its weights learned from errors that were planted.

The truth of natural errors is never seen: they count as clean rows, like everything else that was not planted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from leadline.errors import InputError
from leadline.evaluate.intervals import TiedBlocks
from leadline.suspects.planted import best_score, doubts

FOLDS = 5
STRENGTH = 1.0  # C of scikit-learn: inverse of the L2 penalty, on inputs of variance 1


@dataclass(frozen=True)
class Combination:
    """A weighted sum of normal scores of ranks; `doubt` is cross-fitted, `weights` are of all rows."""

    doubt: np.ndarray  # (N,) higher = more doubtful; each row's weights were learned without it
    weights: dict[str, float]  # per standard deviation of a score turned so that higher is more doubtful
    average_precision: float  # of `doubt` on the planted rows
    low: float
    high: float
    left_out: dict[str, str]  # {score: why}

    def apply(self, columns: Mapping[str, ArrayLike]) -> np.ndarray:
        """(N,) doubt of other rows, or of the same rows in a run without planted errors, by the same scores."""
        turned = doubts(columns)
        missing = [name for name in self.weights if name not in turned]
        if missing:
            raise InputError(f"the combination needs the scores {', '.join(missing)}; compute them too")
        return sum(weight * normal_scores(turned[name]) for name, weight in self.weights.items())  # type: ignore[return-value]


def combine(columns: Mapping[str, ArrayLike], planted: ArrayLike, seed: int = 0) -> Combination:
    """A doubt learned from planted errors by logistic regression on many scores, judged on rows that it has not seen.

    columns  scores as from `scores.compute`, or doubts of any name; those without a direction are left out
    planted  (N,) bool, at least 5 of them

    Every score is turned so that higher is more doubtful and replaced by the normal score of its rank: no scale, no
    outlier, and a run without planted errors reads the same. L2 penalty, both kinds of rows weighing the same, five
    folds stratified by `planted`. Scores that are constant are left out. Raises InputError where too little is planted.
    """
    flips = np.asarray(planted, dtype=bool)
    if not FOLDS <= flips.sum() <= len(flips) - FOLDS:
        raise InputError(
            f"combine: {flips.sum()} of {len(flips)} rows are planted; plant at least {FOLDS}, and not all"
        )
    turned = doubts(columns)
    left_out = {name: "does not say which label is doubtful" for name in columns if name not in turned}
    inputs = {name: normal_scores(values) for name, values in turned.items()}
    left_out |= {name: "is the same for all rows" for name, x in inputs.items() if not x.any()}
    inputs = {name: x for name, x in inputs.items() if x.any()}
    if not inputs:
        raise InputError("combine: no score differs between rows and says which label is doubtful")
    x = np.stack(list(inputs.values()), axis=1)  # (N, S)
    doubt = np.empty(len(flips))
    for train, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, flips):
        doubt[held_out] = _fit(x[train], flips[train]).decision_function(x[held_out])
    weights = dict(zip(inputs, _fit(x, flips).coef_[0].tolist(), strict=True))
    judged = best_score({"combined": doubt}, flips, seed=seed).row(0, named=True)
    return Combination(doubt, weights, judged["average_precision"], judged["low"], judged["high"], left_out)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """(N,) the standard normal quantile of each rank, (rank - 1/2) / n; NaN becomes 0, the middle, like a constant."""
    scored = np.zeros(len(values))
    there = np.flatnonzero(~np.isnan(values))
    if len(there):
        ranks = TiedBlocks(values[there]).mid_ranks(np.ones((len(there), 1)))[:, 0]
        scored[there] = special.ndtri((ranks - 0.5) / len(there))
    return scored


def _fit(x: np.ndarray, planted: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000).fit(x, planted)
