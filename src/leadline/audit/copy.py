"""A run's examples as a file of their own, and the recipe to train on it as the run was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from leadline import runs, sweep
from leadline.errors import InputError, LeadlineError
from leadline.launch import Tell
from leadline.runs import Run
from leadline.sweep import Sweep
from leadline.sweep.state import opened
from leadline.sweep.work import silent

FOLDER = "audit"  # inside the audited run
NOTHING_HELD_OUT: dict[str, Any] = {"ood": [], "features": None, "scaled_predictions": False, "robustness": None}


def recipe_of(run: Run, **changes: Any) -> dict[str, Any]:
    """The recipe of `run` over its own training examples: the labels that it was trained on, ids and hashes the same.

    changes  dotted keys with __ for the dots: training__epochs=3
    Whatever the run did with its data (sample, split, corruption) has happened; selection, curriculum, weights by a
    score and early stopping are left out, and an early end is kept as the number of epochs. So is what is measured on
    other texts after training (out of distribution, noise, a temperature): an audit reads none of it, and it needs
    held-out rows, which the copy does not have.
    Raises InputError for a run without recipe or inputs: it cannot be trained again.
    """
    if run.recipe is None or not run.train.inputs:
        raise InputError(
            f"{run.path}: an import has no recipe and model to train again with; audit it by its own signals"
        )
    document = run.recipe.to_dict()
    table = _table(run)
    document["data"] = {
        "train": str(_written(run, table)),
        "validation": None,
        "id": "id",
        "text": [name for name in table.columns if name.startswith("text")],
        "seed": document["data"]["seed"],
        **({"label_distribution": "shares", "label": None} if run.train.soft else {"label": "label"}),
        **({"weight": "weight"} if "weight" in table.columns else {}),
    }
    for key in ("base", "select", "curriculum", "mixup"):
        document[key] = None
    document["loss"]["example_weights"] = None
    document["training"] |= {"early_stopping": None, "epochs": len(run.events("epoch")) or run.signals.n_epochs}
    if document["record"] is not None:
        document["record"]["checkpoints"] = None  # nobody probes these, and an early end may lie before them
    document["evaluate"] |= {"splits": ["train"], "metrics": "auto", **NOTHING_HELD_OUT}
    for key, value in changes.items():
        *parents, last = key.split("__")
        here = document
        for name in parents:
            here = here[name]
        here[last] = value
    return document


def _table(run: Run) -> pl.DataFrame:
    """id, text or text_1 and text_2, label (or shares), weight."""
    train = run.train
    names = ["text"] if len(train.inputs) == 1 else [f"text_{i}" for i in range(1, len(train.inputs) + 1)]
    columns = [pl.col("_id").alias("id")]
    columns += [pl.col(old).alias(new) for old, new in zip(train.inputs, names, strict=True)]
    columns += [pl.col("_label_distribution").alias("shares") if train.soft else pl.col("_label").alias("label")]
    columns += [pl.col("_weight").alias("weight")] if "_weight" in train.table.columns else []
    return train.table.select(columns)


def _written(run: Run, table: pl.DataFrame) -> Path:
    path = run.path / FOLDER / "train.parquet"
    if not path.is_file() or not pl.read_parquet(path).equals(table):
        path.parent.mkdir(exist_ok=True)
        runs.write_parquet(path, table)
    return path


def swept(
    run: Run,
    name: str,
    recipe: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    share: float | None = 1.0,
    jobs: int = 1,
    tell: Tell = silent,
) -> Sweep:
    """The sweep `name` of a run, all of its trials finished. Raises LeadlineError when one failed.

    share  of the run's own time that a training should take; None: nobody knows
    What is to be trained is told before it begins. An interrupt (Ctrl-C) that stopped the trials is raised again.
    """
    defined = sweep.load({"name": name, "recipe": dict(recipe), "trials": list(trials)}, run.path / FOLDER)
    missing = [trial for trial in defined.trials if (found := opened(trial.path)) is None or not found.finished]
    if missing:
        tell({"event": "note", "says": f"{foretold(run, len(missing), share)}; kept in {defined.path}"})
    states = sweep.run(defined, jobs=jobs, tell=tell)
    if "interrupted" in states.values():
        raise KeyboardInterrupt  # what was asked for; the same command goes on where each trial was
    bad = {title: state for title, state in states.items() if state not in ("finished", "there")}
    if bad:
        first, state = next(iter(bad.items()))
        raise LeadlineError(
            f"{defined.path}: {len(bad)} of {len(states)} trials did not finish ({first}: {state}); "
            f"`leadline sweep logs {defined.path}` shows why, the same command goes on"
        )
    return defined


def foretold(run: Run, trainings: int, share: float | None) -> str:
    """ "5 trainings, one after the other about 8 minutes (this run took 2 minutes)"; no times where none are noted."""
    says = f"{trainings} training{'' if trainings == 1 else 's'}"
    took = max((event["seconds"] for event in run.events("end")), default=None)
    if took is None or share is None:
        return says
    together = "" if trainings == 1 else "one after the other "
    return f"{says}, {together}about {_duration(trainings * share * took)} (this run took {_duration(took)})"


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def classes_of(run: Run, other: Run) -> list[int]:
    """Which of the run's classes those of a training on its copy are; of shares the copy keeps only their order."""
    if run.train.soft:
        return list(range(len(run.classes)))
    return [run.classes.index(name) for name in other.classes]


def same_rows(run: Run, other: Run) -> None:
    """The training examples of `other` are those of `run`, in the same order. Raises InputError."""
    if run.train.ids != other.train.ids:
        raise InputError(f"{other.path}: other examples than in {run.path}; remove {other.path.parent}")
