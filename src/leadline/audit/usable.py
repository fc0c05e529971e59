"""Pointwise V-information: what reading an example's text adds to knowing how frequent its label is."""

from __future__ import annotations

import numpy as np

from leadline.audit.copy import recipe_of, same_rows, swept
from leadline.errors import InputError
from leadline.launch import Tell
from leadline.runs import Run
from leadline.sweep.work import silent

LEAST = 1e-12  # a probability below it counts as this one: bits stay finite


def pvi(run: Run, probabilities: np.ndarray, jobs: int = 1, tell: Tell = silent) -> np.ndarray:
    """(N,) bits, PVI = log2 q1(y | x) - log2 q0(y); high is easy, below 0 the text speaks against the label.

    probabilities  (N, K) q1, of models that read the text; out of sample, else it says too much (Ethayarajh et al.,
                   ICML 2022)
    q0 is a model of the same recipe, trained on the empty text (`data.null_input`).
    """
    if not run.classes:
        raise InputError(f"{run.path}: PVI needs classes")
    recipe = recipe_of(run, data__null_input=True, record=None)
    done = swept(run, "null", recipe, [{"name": "null"}], None, jobs, tell)
    own = Run(done.trials[0].path)
    same_rows(run, own)
    null = own.predictions("train")["gold_probability"].to_numpy()
    return bits(probabilities[np.arange(len(null)), run.signals.gold], null)


def bits(read: np.ndarray, null: np.ndarray) -> np.ndarray:
    """(N,) log2 of the gold probability of the model that reads over that of the one that does not."""
    return np.log2(np.maximum(read, LEAST)) - np.log2(np.maximum(null, LEAST))
