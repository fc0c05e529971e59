"""A trained model on a file, or on one of the run's own splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from leadline import evaluate as metrics_room
from leadline import recipe as recipes
from leadline import runs
from leadline.data import load as loading
from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.experiment.job import accelerate, answers
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


def evaluate(
    model: str | Path,
    data: Any = None,
    *,
    split: str = "test",
    precision: str = "auto",
    metrics: str | Sequence[str] = "auto",
    **settings: Any,
) -> Evaluation:
    """Metrics of a run's model, or of any checkpoint, on a file or on one of the run's own splits.

    model     the directory of a run, or of a Hugging Face model with a classification head
    data      a file, `hub:…` or a table with the run's columns; None: the run's `split`
    settings  for a plain checkpoint: text and label columns, max_length
    """
    path = Path(model)
    if (path / "examples.parquet").is_file():
        run = Run(path)
        if run.recipe is None or not (path / "model").is_dir():
            raise InputError(
                f"{path}: this run has no model (an import, or somebody else's loop); evaluate a checkpoint"
            )
        columns = recipes.quick("", **settings)["data"] | {"train": run.recipe.data.train}  # other names in a new file
        recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update=columns)})
        checkpoint, classes = path / "model", run.classes
        examples = run.examples if data is None else None
    else:
        if data is None:
            raise InputError(f"{path}: a plain checkpoint needs --data FILE (and --text, --label for its columns)")
        classes = models.classes_of(path)
        task = "classification" if classes else "regression"
        recipe = recipes.load(recipes.quick(str(data), model=str(model), task=task, **settings))
        checkpoint, examples = path, None
    if examples is None:
        examples = loading.load_one(data, recipe.data, recipe.task, classes, split)
    if split not in examples.splits:
        raise InputError(f"{path}: no `{split}` examples; it has: {', '.join(examples.splits)}")
    return _evaluate(recipe.model_copy(update={"model": str(checkpoint)}), examples.split(split), precision, metrics)


def _evaluate(recipe: Recipe, part: Examples, precision: str, asked: str | Sequence[str]) -> Evaluation:
    network, tokenizer = models.load(recipe.model, part.classes, max_length=recipe.training.max_length, new_head=False)
    length = models.max_tokens(network, tokenizer, recipe.training.max_length)
    encoder = TextEncoder(tokenizer, part.inputs, length, models.takes_positions(network))
    task: Task = Classification(encoder) if part.classes else Regression(encoder)
    accelerator = accelerate(precision)
    network = accelerator.prepare_model(network, evaluation_mode=True)
    encoded = kept_tokens(task, part)
    began = time.perf_counter()
    found = predict(network, task, encoded, part.targets, accelerator.device)
    seconds = time.perf_counter() - began
    results = metrics_room.with_intervals(part.targets, answers(found, part.classes), part.classes, asked)
    table = runs.predictions_table(part.ids, part.table["_label"].to_list(), found, part.classes)
    return Evaluation(results, table, seconds)
