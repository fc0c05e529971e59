"""Threshold samples: how low a margin gets when a label has nothing to do with its text (Pleiss et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline import scores
from leadline.audit.copy import recipe_of, same_rows, swept
from leadline.data.corruption import THRESHOLD
from leadline.errors import InputError
from leadline.launch import Tell
from leadline.runs import Run
from leadline.scores.observed import mean
from leadline.suspects.planted import aum_threshold
from leadline.sweep.work import silent


@dataclass(frozen=True)
class Threshold:
    """AUM of every example in a training in which it was a normal one, and what is flagged.

    aum      (N,) from the training whose threshold samples it is not among; of those in neither the mean of both
    cutoffs  the 99th percentile of the threshold samples' AUM in each training
    flagged  (N,) bool: AUM at or below the cut-off (of those in neither: below both); not of what nobody observed
    """

    aum: np.ndarray
    cutoffs: tuple[float, float]
    flagged: np.ndarray


def threshold_samples(run: Run, seed: int = 0, jobs: int = 1, tell: Tell = silent) -> Threshold:
    """Two trainings, each with its own floor(N / (K + 1)) examples moved to an extra class; the two sets share none."""
    if not run.classes:
        raise InputError(f"{run.path}: a regression has no margins between classes")
    if run.train.soft:
        raise InputError(f"{run.path}: its labels are shares of classes; threshold samples need one label a row")
    trials = [{"name": f"part{part}", "set": {"data.corrupt": {"kind": "threshold", "part": part}}} for part in (0, 1)]
    done = swept(run, f"threshold-seed{seed}", recipe_of(run, data__seed=seed), trials, jobs=jobs, tell=tell)
    margins, cutoffs = [], []
    for trial in done.trials:
        own = Run(trial.path)
        same_rows(run, own)
        margin = scores.aum(own.signals)
        extra = (own.train.table["_label"] == THRESHOLD).to_numpy()
        cutoffs.append(aum_threshold(margin[extra]))
        margins.append(np.where(extra, np.nan, margin))
    aum = np.stack(margins)  # (2, N), NaN where the row was a threshold sample
    normal = ~np.isnan(aum)
    below = (aum <= np.array(cutoffs)[:, None]) | ~normal
    return Threshold(mean(aum), (cutoffs[0], cutoffs[1]), below.all(axis=0) & normal.any(axis=0))
