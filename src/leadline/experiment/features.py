"""Sentence vectors of a run's examples by the run's own model, computed once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline import runs
from leadline.errors import InputError
from leadline.experiment.device import accelerate
from leadline.learn import models
from leadline.learn.features import POOLING, sentence_vectors
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.learn.tokens import kept_tokens
from leadline.runs import Run

SOURCE = f"the run's model: {POOLING}"


def features(run: Run | str | Path, split: str = "train") -> np.ndarray:
    """(N, H) float32: the vector of each example of a split, rows in the order of the run's examples.

    The mean of the model's last hidden state over the real tokens, dropout off, in float32. The first call computes
    them in one pass without gradients and keeps them as features/<split>.npy; later calls map that file, unless the
    model or the examples have changed: then they are computed again.
    Raises InputError where the run has no model (an import): `leadline.runs.vectors` makes vectors of the texts.
    """
    run = run if isinstance(run, Run) else Run(run)
    examples = runs.split_of(run, split)
    if run.recipe is None or not (run.path / "model").is_dir():
        raise InputError(
            f"{run.path}: this run has no model (an import, or somebody else's loop), so it has no vectors of one; "
            "leadline.runs.vectors(run) makes vectors of the texts"
        )
    kept = runs.kept_features(run, split, SOURCE)
    if kept is not None:
        return kept[0]
    x = _computed(run, split)
    assert len(x) == len(examples)
    runs.write_features(run, split, x, SOURCE)
    kept = runs.kept_features(run, split, SOURCE)
    return x if kept is None else kept[0]  # somebody else may be writing them too


def _computed(run: Run, split: str) -> np.ndarray:
    assert run.recipe is not None
    examples, longest = runs.split_of(run, split), run.recipe.training.max_length
    network, tokenizer = models.load(str(run.path / "model"), examples.classes, max_length=longest, new_head=False)
    length = models.max_tokens(network, tokenizer, longest)
    encoder = TextEncoder(tokenizer, examples.inputs, length, models.takes_positions(network))
    task: Task = Classification(encoder) if examples.classes else Regression(encoder)
    device = accelerate("fp32").device
    return sentence_vectors(network.to(device), task, kept_tokens(task, examples), device)
