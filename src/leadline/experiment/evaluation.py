"""A trained model on a file, or on one of the run's own splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from leadline.experiment.device import accelerate, usual
from leadline.experiment.job import answers
from leadline.learn import models
from leadline.learn.predict import predict
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.learn.tokens import kept_tokens
from leadline.recipe import Recipe
from leadline.runs import Run

RECURRING = 0.1  # share of texts that two honest sets may have in common: greetings and one-word answers recur


@dataclass(frozen=True)
class Evaluation:
    """One pass of a trained model over one file."""

    results: dict[str, dict[str, float]]  # metric -> {value, low, high, n}
    predictions: pl.DataFrame
    seconds: float  # of the pass, tokenising and loading apart
    certainty: metrics_room.Certainty | None = None  # None for a regression
    told: Sequence[str] = ()  # what a person should know of it, a sentence each


def evaluate(
    model: str | Path,
    data: Any = None,
    *,
    split: str = "test",
    precision: str | None = None,
    metrics: str | Sequence[str] = "auto",
    calibrate_on: Any = None,
    scaled_predictions: bool = False,
    **settings: Any,
) -> Evaluation:
    """Metrics of a run's model, or of any checkpoint, on a file or on one of the run's own splits.

    model     the directory of a run, or of a Hugging Face model with a classification head
    data      a file, `hub:…` or a table with the run's columns; None: the run's `split`
    settings  for a plain checkpoint: text and label columns, max_length
    precision auto, bf16, fp16 or fp32; default: as the run was trained
    calibrate_on        rows to fit a temperature on, a file or a table; None: the temperature of the run, if it has one
    scaled_predictions  the predictions also hold the probabilities at that temperature

    A temperature is never measured on the rows that it was fitted on. Raises InputError where a row of calibrate_on, or
    more than a tenth of its texts, is evaluated as well; of data that hold the run's validation texts (more than a
    tenth of theirs) the run's temperature is left out, and `told` says so.
    """
    recipe, part = subject(model, data, split, **settings)
    rows = None if calibrate_on is None else subject(model, calibrate_on, "validation", **settings)[1]
    temperature: metrics_room.Temperature | None = None
    told: list[str] = []
    if rows is not None:
        refuse_evaluated(rows, part)
    elif data is not None or split != "validation":
        temperature, told = _of_run(Path(model), None if data is None else part)
    if scaled_predictions and temperature is None and rows is None:
        why = " ".join([*told, f"{model}: there is no temperature to scale by"])
        raise InputError(f"{why}; fit one on other rows: --calibrate-on FILE")
    loaded = Loaded.of(recipe, part, precision)
    if rows is not None:
        found = predict(loaded.network, loaded.task, kept_tokens(loaded.task, rows), rows.targets, loaded.device)
        temperature = metrics_room.temperature_with_interval(found["logits"], rows.targets)
    return replace(measure(loaded, part, metrics, temperature, scaled_predictions), told=told)


def refuse_evaluated(rows: Examples, part: Examples) -> None:
    """Raises InputError where a temperature fitted on `rows` would be measured on the same rows or texts, in `part`.

    A hash holds the id, which is the row's number where a file has none: a copy that is cut is seen by its texts only.
    """
    if not rows.classes:
        raise InputError("--calibrate-on: a regression has no probabilities to scale")
    same = len(set(rows.table["_input_hash"]) & set(part.table["_input_hash"]))
    texts = _shared(rows, part)
    if same or texts > RECURRING * len(rows):
        which = f"{same} of its {len(rows)} rows" if same else f"the texts of {texts} of its {len(rows)} rows"
        raise InputError(
            f"--calibrate-on: {which} are among those that are evaluated; a temperature is fitted on other rows, "
            f"never on them (up to {RECURRING:.0%} of equal texts are let through)"
        )


def fitted_on(run: Run, part: Examples) -> str:
    """Why the run's temperature says nothing on these rows: a sentence where they are its validation texts, else ""."""
    if "validation" not in run.examples.splits:
        return ""
    texts = _shared(part, run.examples.split("validation"))
    if texts <= RECURRING * len(part):
        return ""
    return (
        f"The run's temperature is left out: the texts of {texts} of these {len(part)} rows are among the validation "
        "texts that it was fitted on."
    )


def _shared(some: Examples, others: Examples) -> int:
    """How many rows of `some` have a text that is among those of the others."""
    there = set(runs.joined_texts(others))
    return sum(text in there for text in runs.joined_texts(some))


def _of_run(path: Path, new: Examples | None) -> tuple[metrics_room.Temperature | None, list[str]]:
    """(the run's temperature, nothing), or (None, why) where `new` rows are those that it was fitted on.

    (None, nothing) for a plain checkpoint, and for a run that never fitted one.
    """
    run = Run(path) if (path / "examples.parquet").is_file() else None
    found = None if run is None or not run.classes else _fitted(run)
    if run is not None and found is not None and new is not None and (why := fitted_on(run, new)):
        return None, [why]
    return found, []


def _fitted(run: Run) -> metrics_room.Temperature | None:
    """What the run fitted on its validation data, or can from its predictions of them."""
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
    part = examples.split(split)
    if recipe.data.null_input:
        part = part.without_input()
    return recipe.model_copy(update={"model": str(checkpoint)}), part


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
    def of(cls, recipe: Recipe, part: Examples, precision: str | None) -> Loaded:
        """precision: None, as the run was trained."""
        network, tokenizer = models.load(
            recipe.model, part.classes, max_length=recipe.training.max_length, new_head=False
        )
        length = models.max_tokens(network, tokenizer, recipe.training.max_length)
        encoder = TextEncoder(tokenizer, part.inputs, length, models.takes_positions(network))
        task: Task = Classification(encoder) if part.classes else Regression(encoder)
        accelerator = accelerate(precision or usual(recipe.training.precision))
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
