"""Second-split forgetting: what a model forgets when it goes on with other examples of the same data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline import runs
from leadline.audit.copy import FOLDER, recipe_of, same_rows, swept
from leadline.audit.folds import folds
from leadline.errors import InputError
from leadline.launch import Tell
from leadline.runs import Run
from leadline.sweep.work import silent


def second_split_forgetting(
    run: Run, epochs: int | None = None, seed: int = 0, jobs: int = 1, tell: Tell = silent
) -> np.ndarray:
    """(N,) epochs of the second phase until an example of the first is wrong for good; low is suspicious.

    inf: never forgotten; 0: wrong at the end of the first phase already (Maini et al., NeurIPS 2022, arXiv 2210.15031).
    The data are halved at random within classes. Each half is the first once: a model is trained on it, and goes on
    with the other half for `epochs` (None: as many as the run had), tried on the first after every epoch.
    """
    if not run.classes:
        raise InputError(f"{run.path}: a regression has no right and wrong answers to forget")
    half = folds(run.signals.gold, 2, seed=seed)
    files = [_ids(run, seed, number, half == number) for number in (0, 1)]
    recipe = recipe_of(run)
    recipe["record"] = {"mode": "snapshot", "every": 1.0, "logits": True}
    trials = [{"name": f"first{h}", "set": {"select.ids": str(files[h])}} for h in (0, 1)]
    first = swept(run, f"first-split-seed{seed}", recipe, trials, 0.5, jobs, tell)
    models = [trial.path / "model" for trial in first.trials]
    rate = run.recipe.learning_rate if run.recipe else None  # the default is of the model's name, which now is a path
    more = {"training.learning_rate": rate, **({"training.epochs": epochs} if epochs else {})}
    trials = [
        {"name": f"second{h}", "set": {"select.ids": str(files[1 - h]), "model.name": str(models[h]), **more}}
        for h in (0, 1)
    ]
    second = swept(run, f"second-split-seed{seed}", recipe, trials, 0.5, jobs, tell)
    found = np.full(len(run.train), np.nan)
    for h in (0, 1):
        before, after = Run(first.trials[h].path), Run(second.trials[h].path)
        same_rows(run, before)
        same_rows(run, after)
        correct = np.vstack([before.signals.stack("correct")[-1:], after.signals.stack("correct")])
        found[half == h] = forgotten_at(correct)[half == h]
    return found


def forgotten_at(correct: np.ndarray) -> np.ndarray:
    """(N,) from (1 + E, N): right after the first phase and after each epoch of the second.

    The first epoch (1, 2, …) after which the example stays wrong to the end; 0 if it was wrong all along, inf if it is
    right at the end.
    """
    right = correct == 1
    last_right = np.where(right.any(axis=0), right.shape[0] - 1 - right[::-1].argmax(axis=0), -1)  # (N,)
    return np.where(last_right == right.shape[0] - 1, np.inf, np.maximum(last_right + 1, 0).astype(float))


def _ids(run: Run, seed: int, number: int, kept: np.ndarray) -> Path:
    path = run.path / FOLDER / f"halves-seed{seed}.ids" / f"half{number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = run.train.ids
    runs.write_text(path, "".join(f"{ids[row]}\n" for row in np.flatnonzero(kept)))
    return path
