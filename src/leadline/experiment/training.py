"""One recipe, start to finish: examples -> plan -> loop -> scores -> evaluation -> files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import polars as pl
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from leadline import evaluate as metrics_room
from leadline import recipe as recipes
from leadline import report, runs, signals, suspects
from leadline.data import load as loading
from leadline.data.examples import Examples
from leadline.errors import InputError, LeadlineError
from leadline.learn import models, notes, sanity
from leadline.learn.loop import Event, Fit, Material
from leadline.learn.predict import predict
from leadline.learn.recorder import CALMER, Recorder
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.plans.epoch import everything
from leadline.plans.weights import class_weights
from leadline.recipe import Recipe
from leadline.runs import Run

Tell = Callable[[Event], None]


def silent(event: Event) -> None:
    """Nobody listens."""


def train(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    data: Any = None,
    name: str | None = None,
    root: str | Path = "runs",
    overrides: Sequence[str] = (),
    check: bool = False,
    tell: Tell = silent,
    **settings: Any,
) -> Run:
    """Trains one run and returns it; a finished run of the same recipe and data is returned as it is.

        leadline.train("recipe.yaml")
        leadline.train(data=df, text="text", label="label", model="minilm", epochs=3)

    recipe     a YAML file, a mapping or a Recipe; or instead of it
    data       a file, `hub:…`, or a pandas / polars / datasets table, with `settings` as in `recipe.quick`
    name       the run's directory under `root` (default: <data>-<model>-<n>)
    overrides  "key.path=value", as --set
    check      also overfit one batch and train on shuffled labels, before training
    tell       called with every event (start, step, epoch, check, end) as a plain dict
    Raises InputError (nothing was written) or LeadlineError (training failed).
    """
    resolved, frames = _resolve(recipe, data, overrides, settings)
    runs.check(resolved)
    base = Run(resolved.base.run) if resolved.base else None
    examples = loading.load(resolved.data, resolved.task, frames, _confusions(resolved, base))
    _check_metrics(resolved, examples, base)
    key = runs.key(resolved, examples, base)
    path, state = runs.place(resolved, key, name, Path(root))
    if state == "finished":
        tell({"event": "finished before", "path": str(path)})
        return _pages(Run(path))
    began = time.perf_counter()
    tell({"event": "note", "says": f"{len(examples):,} examples; loading the model {resolved.model_name}"})
    job = Job.prepare(resolved, examples)
    noted = {"key": key, **notes.about(resolved, job.model, job.tokenizer, job.accelerator)}
    run, lock = runs.create(resolved, job.examples, noted, key, name, Path(root))
    path = run.path
    with lock, open(path / "metrics.jsonl", "w", encoding="utf-8") as file:
        log = Log(file, tell)
        if check and not examples.classes:
            log({"event": "note", "says": "--check: a regression has no labels to shuffle; only its record is checked"})
        extra = job.experiments() if check else []
        fit = job.fit(run.path, log)
        started = time.perf_counter()
        steps = fit.run()
        trained = time.perf_counter() - started
        job.finish(fit)
        models.save(job.model, job.tokenizer, path / "model")
        inference = _evaluate_splits(job, run)
        _views(run, resolved.record is not None, [*extra], log)
        log({"event": "end", "steps": steps, **notes.costs(began, trained, inference, fit.seen)})
        (path / runs.LOCK).unlink()
    return _pages(Run(path))  # read anew: everything is there now


def _pages(run: Run) -> Run:
    """Model card, references and report of a finished run, where they are missing: a view that failed is made again."""
    card, references = run.path / "model" / "README.md", run.path / "references.bib"
    if not card.is_file():
        runs.write_text(card, report.model_card(run))
    if not references.is_file() and (run.path / "signals").is_dir():
        runs.write_text(references, report.references(run))
    if not (run.path / "report.html").is_file():
        report.write(run)
    return run


def _resolve(
    recipe: Any, data: Any, overrides: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Recipe, dict[str, Any] | None]:
    if (recipe is None) == (data is None):
        raise InputError("train: give a recipe, or data=… with text and label")
    if isinstance(recipe, Recipe):
        return recipes.load(recipe.to_dict(), overrides), None
    if recipe is not None:
        if settings:
            raise InputError(f'train: `{next(iter(settings))}` goes into the recipe; use overrides=["key=value"]')
        return recipes.load(recipe, overrides), None
    if isinstance(data, str | Path):
        return recipes.load(recipes.quick(str(data), **settings), overrides), None
    frames = {"train": data}
    for split in ("validation", "test"):
        if settings.get(split) is not None and not isinstance(settings[split], str | float | Path):
            frames[split] = settings[split]
            settings = {**settings, split: recipes.DATAFRAME}
    return recipes.load(recipes.quick(recipes.DATAFRAME, **settings), overrides), frames


def _confusions(recipe: Recipe, base: Run | None) -> np.ndarray | None:
    """(K, K) counts of the base run's validation predictions, label by prediction: what by-confusion flips copy."""
    if base is None or recipe.data.corrupt is None or recipe.data.corrupt.kind != "by-confusion":
        return None
    if not base.classes:
        raise InputError(f"{base.path}: a regression has no confusions to copy (data.corrupt: by-confusion)")
    table, index = base.predictions("validation"), {name: k for k, name in enumerate(base.classes)}
    labels, predicted = ([index[v] for v in table[column].to_list()] for column in ("label", "predicted"))
    return metrics_room.confusion(np.array(labels), np.array(predicted), len(base.classes))


def _check_metrics(recipe: Recipe, examples: Examples, base: Run | None) -> None:
    """What only the data can tell of the recipe's names: which metrics exist, whether the base has the same classes."""
    if recipe.data.corrupt and recipe.data.corrupt.kind == "by-confusion" and base and base.classes != examples.classes:
        raise InputError(
            f"{base.path}: its classes are {', '.join(base.classes)}, those here {', '.join(examples.classes)}"
        )
    k = len(examples.classes)
    answers = np.full((k, k), 1 / k) if k else np.arange(3.0)
    labels = np.eye(k) if examples.soft else np.arange(k) if k else np.arange(3.0)
    if recipe.evaluate.metrics != "auto":
        metrics_room.metrics(labels, answers, examples.classes, recipe.evaluate.metrics)
    stopping = recipe.training.early_stopping
    if stopping is not None and stopping.metric != "loss":
        metrics_room.metrics(labels, answers, examples.classes, [stopping.metric])


@dataclass
class Log:
    """metrics.jsonl, and whoever listens."""

    file: TextIO
    tell: Tell

    def __call__(self, event: Event) -> None:
        if event["event"] != "step" or "loss" in event:
            self.file.write(json.dumps(runs.plain(event)) + "\n")
            self.file.flush()
        self.tell(event)


@dataclass
class Job:
    """A recipe with its model, tokenizer and encoded examples: what training and evaluation need."""

    recipe: Recipe
    examples: Examples
    model: Any
    tokenizer: Any
    task: Task
    encoded: dict[str, list[Any]]  # split -> rows
    accelerator: Accelerator
    weights: np.ndarray | None  # (K,) class weights

    @classmethod
    def prepare(cls, recipe: Recipe, examples: Examples) -> Job:
        texts = [text for name in examples.inputs for text in examples.split("train").table[name].to_list()]
        t = recipe.training
        model, tokenizer = models.load(recipe.model, examples.classes, texts, t.seed, t.max_length)
        accelerator = accelerate(t.precision)
        weights = _class_weights(recipe, examples)
        task = make_task(recipe, examples, model, tokenizer, weights)
        encoded = {s: task.encode(examples.split(s).table.select(examples.inputs).to_dicts()) for s in examples.splits}
        lengths = [task.length(row) for split in examples.splits for row in encoded[split]]
        order = pl.concat([examples.split(split).table for split in examples.splits])
        examples = replace(examples, table=order.with_columns(pl.Series("_length", lengths, dtype=pl.Int32)))
        return cls(recipe, examples, model, tokenizer, task, encoded, accelerator, weights)

    def material(self, split: str = "train") -> Material:
        part = self.examples.split(split)
        lengths = part.table["_length"].to_numpy()
        return Material(self.encoded[split], part.targets, lengths, part.weights, len(part.classes))

    def fit(self, path: Path, tell: Tell) -> Fit:
        r, train_set = self.recipe, self.examples.split("train")
        noted = {"dropout": models.dropout_of(self.model), "precision": notes.precision_of(self.accelerator)}
        recorder = None
        if r.record is not None:
            noted["mode"] = r.record.mode
            recorder = Recorder.of(train_set, path / "signals", noted, keep_logits=r.record.logits)
        return Fit(
            model=self.model, task=self.task, material=self.material(), plan=everything(len(train_set)),
            training=r.training, learning_rate=r.learning_rate, accelerator=self.accelerator,
            class_weights=self.weights, recorder=recorder, record=r.record,
            validate=self._validation(path, noted) if "validation" in self.examples.splits else None,
            better=_better(r), tell=tell,
        )  # fmt: skip

    def _validation(self, path: Path, noted: Mapping[str, Any]) -> Callable[[int], dict[str, float]]:
        """After an epoch: metrics on the validation data, and their signals, from the one pass that both need."""
        part = self.examples.split("validation")
        stopping = self.recipe.training.early_stopping
        watched = stopping.metric if stopping else ""
        recorder = None
        if self.recipe.record is not None:
            noted = {**noted, "mode": "snapshot"}
            recorder = Recorder.of(part, path / "signals" / "validation", noted, keep_logits=self.recipe.record.logits)

        def validate(updates: int) -> dict[str, float]:
            found = self.predict("validation")
            if recorder:
                recorder.write(found, updates)
            values = metrics_room.metrics(part.targets, answers(found, part.classes), part.classes)
            return {"loss": float(found["loss"].mean())} | {
                n: v for n, v in values.items() if "[" not in n or n == watched
            }

        return validate

    def predict(self, split: str) -> dict[str, np.ndarray]:
        material = self.material(split)
        found = predict(self.model, self.task, material.encoded, material.targets, self.accelerator.device)
        if not np.isfinite(found["loss"]).all():
            raise LeadlineError(f"training diverged: losses of the {split} data are NaN or infinite. {CALMER}")
        return found

    def finish(self, fit: Fit) -> None:
        """The model as it is saved: without accelerate's wrapping of its forward; a regression answers in its unit."""
        if isinstance(self.task, Regression):
            models.fold_scale(self.model, self.task.mean, self.task.std)
            self.task = replace(self.task, mean=0.0, std=1.0)
        self.model.eval()

    def experiments(self) -> list[sanity.Check]:
        """--check: two small trainings of fresh models."""
        if not self.examples.classes:
            return []

        def fit(material: Material, training: recipes.Training) -> Fit:
            fresh = Job.prepare(self.recipe, self.examples)
            rate = self.recipe.learning_rate
            plan = everything(len(material.lengths))
            return Fit(fresh.model, fresh.task, material, plan, training, rate, fresh.accelerator, fresh.weights)

        t = self.recipe.training
        return [trial(fit, self.material(), t) for trial in (sanity.overfit_one_batch, sanity.shuffled_labels)]


def accelerate(asked: str) -> Accelerator:
    """A fresh Accelerator in the precision asked for; a process may train several runs of different precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = models.precision(asked, device)
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no" if chosen == "fp32" else chosen)


def make_task(recipe: Recipe, examples: Examples, model: Any, tokenizer: Any, weights: np.ndarray | None) -> Task:
    length = models.max_tokens(model, tokenizer, recipe.training.max_length)
    encoder = TextEncoder(tokenizer, examples.inputs, length, models.takes_positions(model))
    if recipe.task == "regression":
        return Regression(encoder, *models.scale_of(model, examples.split("train").gold))
    return Classification(encoder, weights, recipe.loss.label_smoothing, recipe.loss.focal_gamma)


def _class_weights(recipe: Recipe, examples: Examples) -> np.ndarray | None:
    if not examples.classes:
        return None
    counts = np.bincount(examples.split("train").gold, minlength=len(examples.classes))
    loss = recipe.loss
    return class_weights(loss.class_weights, counts, examples.classes, loss.weighted_class, loss.gamma)


def _better(recipe: Recipe) -> Callable[[float, float], bool]:
    stopping = recipe.training.early_stopping
    lower = stopping is not None and (
        stopping.metric == "loss" or not metrics_room.find_metric(stopping.metric).higher_is_better
    )
    return (lambda new, best: new < best) if lower else (lambda new, best: new > best)


def answers(found: Mapping[str, np.ndarray], classes: Sequence[str]) -> np.ndarray:
    """What the model answered, as `evaluate` takes it: probabilities (N, K), or the predicted numbers (N,)."""
    return signals.softmax(found["logits"]) if classes else found["prediction"].astype(np.float64)


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
    encoded = task.encode(part.table.select(part.inputs).to_dicts())
    began = time.perf_counter()
    found = predict(network, task, encoded, part.targets, accelerator.device)
    seconds = time.perf_counter() - began
    results = metrics_room.with_intervals(part.targets, answers(found, part.classes), part.classes, asked)
    table = runs.predictions_table(part.ids, part.table["_label"].to_list(), found, part.classes)
    return Evaluation(results, table, seconds)


# --- after training ---------------------------------------------------------------------------------------------------


def _evaluate_splits(job: Job, run: Run) -> dict[str, float]:
    """Predictions and results of the splits asked for; returns {seconds, examples} of the passes."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    seconds, count = 0.0, 0
    for split in [s for s in job.recipe.evaluate.splits if s in job.examples.splits]:
        began = time.perf_counter()
        found = job.predict(split)
        seconds += time.perf_counter() - began
        part = job.examples.split(split)
        count += len(part)
        table = runs.predictions_table(part.ids, part.table["_label"].to_list(), found, part.classes)
        runs.write_parquet(run.path / "predictions" / f"{split}.parquet", table)
        asked = job.recipe.evaluate.metrics
        values = metrics_room.with_intervals(part.targets, answers(found, part.classes), part.classes, asked)
        left_out = () if job.recipe.evaluate.calibration else ("ece", "ece_mass", "mce")
        results[split] = {metric: value for metric, value in values.items() if metric not in left_out}
    runs.write_results(run.path, results)
    return {"seconds": seconds, "examples": count}


def _views(run: Run, recorded: bool, extra: list[sanity.Check], log: Log) -> None:
    """What the record says: scores.parquet, suspects.csv, and the training check."""
    checks = [*(sanity.of_record(run.signals) if recorded else []), *extra]
    log({"event": "check", "checks": [check.event() for check in checks]})
    if not recorded:
        return
    scored = run.scored()
    runs.write_parquet(run.path / "scores.parquet", scored.table)
    if run.classes:
        runs.write_suspects(run, suspects.rank(run.signals, scored.columns()))
