"""Out-of-sample probabilities of every training example: K trainings, each without the fold that it answers for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline import runs
from leadline.audit.copy import FOLDER, classes_of, recipe_of, same_rows, swept
from leadline.audit.together import together
from leadline.errors import InputError
from leadline.launch import Tell
from leadline.runs import Run
from leadline.sweep.work import silent

STREAM = 11  # default_rng([seed, stream])


def folds(labels: np.ndarray, k: int, groups: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """(N,) fold 0..k-1 of each row: every class spread evenly, no group on two folds.

    groups  (N,) what must stay together (author, near-duplicates). Large groups are placed first, each where its
            classes are missing most; single rows are dealt out class by class, so that the folds of a class are even.
    """
    labels = np.unique(labels, return_inverse=True)[1]
    rng = np.random.default_rng([seed, STREAM])
    if not 2 <= k <= len(labels):
        raise InputError(f"--folds {k}: between 2 and the {len(labels)} examples")
    keys = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if k > (most := int(keys.max()) + 1):
        raise InputError(
            f"--folds {k}: the {len(labels)} examples make {most} groups that no fold may tear apart ((nearly) equal "
            f"texts, data.group); at most {most} folds"
        )
    fold = np.full(len(labels), -1)
    held = np.zeros((k, labels.max() + 1))  # rows of each class in each fold
    sizes = np.bincount(keys)
    large = np.flatnonzero(sizes > 1)
    order = np.argsort(keys, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for key in large[np.argsort(-sizes[large], kind="stable")]:
        rows = order[starts[key] : starts[key + 1]]
        counts = np.bincount(labels[rows], minlength=held.shape[1])
        fold[rows] = best = int(np.lexsort((held.sum(axis=1), held @ counts))[0])
        held[best] += counts
    for c in range(held.shape[1]):
        rows = rng.permutation(np.flatnonzero((labels == c) & (fold < 0)))
        fold[rows] = places = _dealt(held[:, c], len(rows), held.sum(axis=1))
        held[:, c] += np.bincount(places, minlength=k)
    return fold


def _dealt(have: np.ndarray, count: int, total: np.ndarray) -> np.ndarray:
    """(count,) folds for single rows of a class, so that the class becomes as even as it can; smaller folds first."""
    level = have.copy()
    places = np.empty(count, dtype=np.int64)
    for i in range(count):
        places[i] = best = int(np.lexsort((total, level))[0])
        level[best] += 1
        total = total + (np.arange(len(have)) == best)
    return places


def out_of_sample(run: Run, k: int = 5, seed: int = 0, jobs: int = 1, tell: Tell = silent) -> np.ndarray:
    """(N, K) probabilities of each training example by a model that was trained neither on it nor on its like.

    The k folds keep what belongs `together`. Raises InputError where one fold would then hold all rows of a class.
    """
    if not run.classes:
        raise InputError(f"{run.path}: a regression has no class probabilities")
    recipe = recipe_of(run, record=None)  # first: it refuses what cannot be trained again
    name = f"folds-{k}" + (f"-seed{seed}" if seed else "")
    fold = _assigned(run, name, k)
    if fold is None:
        fold = folds(run.signals.gold, k, together(run), seed)
        _every_class_elsewhere(run, fold)
    files = [_kept_ids(run, name, number, fold != number) for number in range(k)]
    trials = [{"name": f"fold{number}", "set": {"select.ids": str(file)}} for number, file in enumerate(files)]
    done = swept(run, name, recipe, trials, (k - 1) / k, jobs, tell)
    found = np.zeros((len(run.train), len(run.classes)))  # a class without a training row has no probability
    for number, trial in enumerate(done.trials):
        own = Run(trial.path)
        same_rows(run, own)
        columns = own.predictions("train").select([f"prob_{name}" for name in own.classes]).to_numpy()
        rows = np.flatnonzero(fold == number)
        found[np.ix_(rows, np.array(classes_of(run, own)))] = columns[rows]
    return found


def _every_class_elsewhere(run: Run, fold: np.ndarray) -> None:
    """No fold holds all rows of a class that has several. Raises InputError."""
    gold, k = run.signals.gold, int(fold.max()) + 1
    for c, name in enumerate(run.classes):
        held = np.bincount(fold[gold == c], minlength=k)
        if held.sum() > 1 and held.max() == held.sum():
            raise InputError(
                f"{run.path}: all {held.sum()} rows of class `{name}` are of one group, or (nearly) equal texts, so no "
                "fold can do without them; use --probabilities prequential"
            )


def _assigned(run: Run, name: str, k: int) -> np.ndarray | None:
    """(N,) the folds of an earlier call, whatever vectors there are today; None where there are none of these ids."""
    files = [run.path / FOLDER / f"{name}.ids" / f"fold{number}.txt" for number in range(k)]
    if not all(file.is_file() for file in files):
        return None
    ids = run.train.ids
    kept = [set(file.read_text(encoding="utf-8").splitlines()) for file in files]
    absent = np.array([[name not in part for part in kept] for name in ids])  # (N, k)
    known = set(ids)
    return absent.argmax(axis=1) if (absent.sum(axis=1) == 1).all() and all(part <= known for part in kept) else None


def _kept_ids(run: Run, name: str, number: int, kept: np.ndarray) -> Path:
    path = run.path / FOLDER / f"{name}.ids" / f"fold{number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = run.train.ids
    runs.write_text(path, "".join(f"{ids[row]}\n" for row in np.flatnonzero(kept)))
    return path
