"""Suspects by probabilities from elsewhere: of folds, of a model that had not met the example yet, of a test split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from leadline.errors import InputError
from leadline.suspects.ranking import SCHEMA


def rank_by(
    ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    probabilities: np.ndarray,
    doubt: np.ndarray,
    how: str,
    most: int | None = None,
) -> pl.DataFrame:
    """The table of `rank`, most doubtful first; ties in the order of the rows, NaN is no suspect and left out.

    labels         (N,) class index
    probabilities  (N, K), rows with NaN had no answer
    doubt          (N,) higher is more doubtful; the column `score`
    how            where the probabilities come from, for the reason: "by 5 folds"
    """
    if probabilities.shape != (len(ids), len(classes)):
        raise InputError(
            f"suspects: probabilities of shape {probabilities.shape} for {len(ids)} examples of {len(classes)} classes"
        )
    scored = np.flatnonzero(~np.isnan(doubt) & ~np.isnan(probabilities).any(axis=1))
    rows = scored[np.argsort(-doubt[scored], kind="stable")][:most]
    p, at = probabilities[rows], np.arange(len(rows))
    gold = labels[rows]
    own = p[at, gold]
    others = p.copy()
    others[at, gold] = -1.0
    rival = others.argmax(axis=1)
    probability = p[at, rival]
    reasons = [
        f"label has {mine:.2f} {how}; " + (f"the model says `{classes[k]}` ({its:.2f})" if its > mine else "it is kept")
        for mine, its, k in zip(own, probability, rival, strict=True)
    ]
    table = {
        "id": [str(ids[row]) for row in rows],
        "label": [classes[k] for k in gold],
        "suggested": [classes[k] for k in rival],
        "probability": probability.astype(np.float64),
        "score": doubt[rows].astype(np.float64),
        "rank": np.arange(1, len(rows) + 1),
        "reason": reasons,
    }
    return pl.DataFrame(table, schema=SCHEMA)
