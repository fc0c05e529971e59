"""A trained model on a file, or on one of the run's own splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from leadline import evaluate as metrics_room
from leadline import recipe as recipes
from leadline import runs
from leadline.data import load as loading
from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.experiment.device import accelerate
from leadline.experiment.job import answers
from leadline.learn import models
from leadline.learn.predict import predict
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.learn.tokens import kept_tokens
from leadline.recipe import Recipe
from leadline.runs import Run


@dataclass(frozen=True)
class Evaluation:
    """One pass of a trained model over one file."""

    results: dict[str, dict[str, float]]  # metric -> {value, low, high, n}
    predictions: pl.DataFrame
    seconds: float  # of the pass, tokenising and loading apart
    certainty: metrics_room.Certainty | None = None  # None for a regression


def evaluate(
    model: str | Path,
    data: Any = None,
    *,
    split: str = "test",
    precision: str = "auto",
    metrics: str | Sequence[str] = "auto",
    calibrate_on: Any = None,
    scaled_predictions: bool = False,
    **settings: Any,
) -> Evaluation:
    """Metrics of a run's model, or of any checkpoint, on a file or on one of the run's own splits.

    model     the directory of a run, or of a Hugging Face model with a classification head
    data      a file, `hub:…` or a table with the run's columns; None: the run's `split`
    settings  for a plain checkpoint: text and label columns, max_length
    calibrate_on        rows to fit a temperature on, a file or a table; None: the temperature of the run, if it has one
    scaled_predictions  the predictions also hold the probabilities at that temperature
    """
    recipe, part = subject(model, data, split, **settings)
    loaded = Loaded.of(recipe, part, precision)
    temperature: metrics_room.Temperature | None
    if calibrate_on is not None:
        temperature = _fit(loaded, part, subject(model, calibrate_on, "validation", **settings)[1])
    else:
        temperature = None if data is None and split == "validation" else _of_run(Path(model))  # never on its own rows
    if scaled_predictions and temperature is None:
        raise InputError(f"{model}: there is no temperature to scale by; fit one on other rows: --calibrate-on FILE")
    return measure(loaded, part, metrics, temperature, scaled_predictions)


def _fit(loaded: Loaded, part: Examples, rows: Examples) -> metrics_room.Temperature:
    """The temperature of these rows, which must not be those that it is measured on."""
    if not rows.classes:
        raise InputError("--calibrate-on: a regression has no probabilities to scale")
    shared = len(set(rows.table["_input_hash"]) & set(part.table["_input_hash"]))
    if shared:
        raise InputError(
            f"--calibrate-on: {shared} of its {len(rows)} rows are among those that are evaluated; a temperature is "
            "fitted on other rows, never on them"
        )
    found = predict(loaded.network, loaded.task, kept_tokens(loaded.task, rows), rows.targets, loaded.device)
    return metrics_room.temperature_with_interval(found["logits"], rows.targets)


def _of_run(path: Path) -> metrics_room.Temperature | None:
    """What the run fitted on its validation data, or can from its predictions of them; None for a plain checkpoint."""
    run = Run(path) if (path / "examples.parquet").is_file() else None
    if run is None or not run.classes:
        return None
    if (kept := runs.kept_temperature(run)) is not None or not run.has_predictions("validation"):
        return kept
    said = runs.probabilities(run.predictions("validation"), run.classes)
    labels = run.examples.split("validation").targets
    return metrics_room.temperature_with_interval(metrics_room.log_probabilities(said), labels)


def subject(model: str | Path, data: Any = None, split: str = "test", **settings: Any) -> tuple[Recipe, Examples]:
    """(a recipe whose model is the trained one, the examples that it is asked about); arguments as `evaluate`."""
    run, recipe, checkpoint, classes = trained(model, "<data>" if data is None else str(data), **settings)
    if data is not None:
        examples = loading.load_one(data, recipe.data, recipe.task, classes, split)
    elif run is not None:
        examples = run.examples
    else:
        raise InputError(f"{model}: a plain checkpoint needs --data FILE (and --text, --label for its columns)")
    if split not in examples.splits:
        raise InputError(f"{model}: no `{split}` examples; it has: {', '.join(examples.splits)}")
    return recipe.model_copy(update={"model": str(checkpoint)}), examples.split(split)


def trained(
    model: str | Path | Run, data: str = "<texts>", **settings: Any
) -> tuple[Run | None, Recipe, Path, tuple[str, ...]]:
    """(its run or None, a recipe that says how files are read, the checkpoint, classes) of a run or any checkpoint.

    data      what the recipe of a plain checkpoint calls its data
    settings  as `recipe.quick`: text and label columns that are called otherwise in new files
    Raises InputError: a run without a model, a directory that is no checkpoint.
    """
    path = model.path if isinstance(model, Run) else Path(model)
    if not (path / "examples.parquet").is_file():
        classes = models.classes_of(path)
        task = "classification" if classes else "regression"
        return None, recipes.load(recipes.quick(data, model=str(path), task=task, **settings)), path, classes
    run = model if isinstance(model, Run) else Run(path)
    if run.recipe is None or not (path / "model").is_dir():
        raise InputError(f"{path}: this run has no model (an import, or somebody else's loop); name a checkpoint")
    changed = recipes.quick("", **settings)["data"] | {"train": run.recipe.data.train}
    recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update=changed)})
    return run, recipe, path / "model", run.classes


@dataclass(frozen=True)
class Loaded:
    """A trained model, ready to be asked."""

    network: Any
    task: Task
    device: torch.device

    @classmethod
    def of(cls, recipe: Recipe, part: Examples, precision: str) -> Loaded:
        network, tokenizer = models.load(
            recipe.model, part.classes, max_length=recipe.training.max_length, new_head=False
        )
        length = models.max_tokens(network, tokenizer, recipe.training.max_length)
        encoder = TextEncoder(tokenizer, part.inputs, length, models.takes_positions(network))
        task: Task = Classification(encoder) if part.classes else Regression(encoder)
        accelerator = accelerate(precision)
        network = accelerator.prepare_model(network, evaluation_mode=True)
        return cls(network, task, accelerator.device)


def measure(
    loaded: Loaded,
    part: Examples,
    asked: str | Sequence[str] = "auto",
    temperature: metrics_room.Temperature | None = None,
    scaled: bool = False,
) -> Evaluation:
    """One pass over the examples, and its metrics; with a temperature also after scaling."""
    encoded = kept_tokens(loaded.task, part)
    began = time.perf_counter()
    found = predict(loaded.network, loaded.task, encoded, part.targets, loaded.device)
    seconds = time.perf_counter() - began
    said, labels = answers(found, part.classes), part.table["_label"].to_list()
    results = metrics_room.with_intervals(part.targets, said, part.classes, asked)
    if temperature is not None:
        results |= metrics_room.after_scaling(part.targets, said, part.classes, temperature, asked)
    scale = temperature.value if temperature and scaled else None
    table = runs.predictions_table(part.ids, labels, found, part.classes, scale)
    certainty = metrics_room.certainty_of(part.targets, said, temperature) if part.classes else None
    return Evaluation(results, table, seconds, certainty)
