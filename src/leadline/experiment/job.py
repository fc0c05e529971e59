"""A recipe with its model, tokenizer and encoded examples: what training and evaluation need."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accelerate import Accelerator

from leadline import evaluate as metrics_room
from leadline import recipe as recipes
from leadline import signals
from leadline.data.examples import Examples
from leadline.errors import LeadlineError
from leadline.experiment.chosen import Chosen, choose
from leadline.experiment.device import accelerate
from leadline.learn import mixing, models, notes, sanity
from leadline.learn.checkpoint import Checkpoints
from leadline.learn.clock import Clock
from leadline.learn.guard import CALMER
from leadline.learn.kept_weights import KeptWeights
from leadline.learn.loop import Event, Fit, Material
from leadline.learn.predict import predict
from leadline.learn.recorder import Recorder
from leadline.learn.tasks.batch import Row, Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.learn.tokens import kept_tokens
from leadline.plans.epoch import everything
from leadline.plans.weights import class_weights
from leadline.recipe import Recipe
from leadline.runs import Run


@dataclass
class Job:
    """What training and evaluation need of one recipe."""

    recipe: Recipe
    examples: Examples
    model: Any
    tokenizer: Any
    task: Task
    encoded: dict[str, Sequence[Row]]  # split -> rows
    accelerator: Accelerator
    weights: np.ndarray | None  # (K,) class weights
    clock: Clock
    chosen: Chosen
    recorders: dict[str, Recorder] = field(default_factory=dict)  # train, validation

    @classmethod
    def prepare(cls, recipe: Recipe, examples: Examples, clock: Clock | None = None, base: Run | None = None) -> Job:
        clock = clock or Clock()
        chosen = choose(recipe, examples.split("train"), base)
        texts = [text for name in examples.inputs for text in examples.split("train").table[name].to_list()]
        t = recipe.training
        head = recipe.mixup is not None and recipe.mixup.head
        model, tokenizer = models.load(recipe.model, examples.classes, texts, t.seed, t.max_length, mixup_head=head)
        accelerator = accelerate(t.precision)
        models.flash(model, accelerator.device, notes.precision_of(accelerator))
        weights = _class_weights(recipe, examples, chosen.rows)
        task = make_task(recipe, examples, model, tokenizer, weights)
        with clock("tokenise"):
            read = examples.without_input() if recipe.data.null_input else examples
            encoded = {split: kept_tokens(task, read.split(split)) for split in examples.splits}
        lengths = [task.length(row) for split in examples.splits for row in encoded[split]]
        order = pl.concat([examples.split(split).table for split in examples.splits])
        examples = replace(examples, table=order.with_columns(pl.Series("_length", lengths, dtype=pl.Int32)))
        job = cls(recipe, examples, model, tokenizer, task, encoded, accelerator, weights, clock, chosen)
        job._try_mixing()
        return job

    def _try_mixing(self) -> None:
        """Raises InputError where the recipe's mixup cannot work: here, while nothing is written yet."""
        if self.recipe.mixup is None:
            return
        m, device = self.material(), self.accelerator.device
        few = mixing.a_few(self.task, m.encoded, m.targets, m.lengths).to(device)
        mixing.tried(self.model.to(device), self.task, self.recipe.mixup, few, self.accelerator.autocast)

    def material(self, split: str = "train") -> Material:
        part = self.examples.split(split)
        lengths = part.table["_length"].to_numpy()
        return Material(self.encoded[split], part.targets, lengths, part.weights, len(part.classes))

    def _weighted(self) -> Material:
        """The training material, with what a score makes of the examples' weights."""
        material = self.material()
        return replace(material, weights=material.weights * self.chosen.weights)

    def fit(
        self,
        path: Path,
        tell: Callable[[Event], None],
        start: Path | None = None,
        written: Callable[[], int] = lambda: 0,
        sharded: bool = False,
    ) -> Fit:
        """The training of this recipe in the run at `path`, from the checkpoint `start` or from its beginning.

        written  bytes of metrics.jsonl so far, on disk
        """
        r, train_set = self.recipe, self.examples.split("train")
        noted = {"dropout": models.dropout_of(self.model), "precision": notes.precision_of(self.accelerator)}
        if r.record is not None:
            metadata = {**noted, "mode": r.record.mode}
            recorder = Recorder.of(train_set, path / "signals", metadata, keep_logits=r.record.logits)
            self.recorders["train"] = recorder
        validated = "validation" in self.examples.splits
        kept = r.record.checkpoints if r.record else None

        def beside() -> dict[str, int]:
            periods = {name: recorder.periods for name, recorder in self.recorders.items()}
            counts = {"periods": periods.get("train", 0), "validation_periods": periods.get("validation", 0)}
            return {**counts, "metrics_bytes": written()}

        return Fit(
            model=self.model, task=self.task, material=self._weighted(), plan=self.chosen.plan,
            training=r.training, learning_rate=r.learning_rate, accelerator=self.accelerator,
            class_weights=self.weights, recorder=self.recorders.get("train"), record=r.record, mixup=r.mixup,
            validate=self._validation(path, noted, start) if validated else None,
            better=_better(r), tell=tell, ids=train_set.ids, clock=self.clock, sharded=sharded,
            checkpoints=Checkpoints(path / "checkpoints", r.training.checkpoint_minutes, beside, start, sharded),
            kept_weights=KeptWeights(path / "checkpoints", kept) if kept else None,
        )  # fmt: skip

    def _validation(
        self, path: Path, noted: Mapping[str, Any], start: Path | None
    ) -> Callable[[int], dict[str, float]]:
        """After an epoch: metrics on the validation data, and their signals, from the one pass that both need."""
        part = self.examples.split("validation")
        stopping = self.recipe.training.early_stopping
        watched = stopping.metric if stopping else ""
        recorder = None
        if self.recipe.record is not None:
            noted = {**noted, "mode": "snapshot"}
            recorder = Recorder.of(part, path / "signals" / "validation", noted, keep_logits=self.recipe.record.logits)
            recorder.periods = checkpoint_counts(start)["validation_periods"]
            self.recorders["validation"] = recorder

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
            plain = self.recipe.model_copy(update={"base": None, "select": None, "curriculum": None, "mixup": None})
            fresh = Job.prepare(_unweighted(plain), self.examples)
            rate = self.recipe.learning_rate
            plan = everything(len(material.lengths))
            return Fit(fresh.model, fresh.task, material, plan, training, rate, fresh.accelerator, fresh.weights)

        t = self.recipe.training
        return [trial(fit, self.material(), t) for trial in (sanity.overfit_one_batch, sanity.shuffled_labels)]


def make_task(recipe: Recipe, examples: Examples, model: Any, tokenizer: Any, weights: np.ndarray | None) -> Task:
    length = models.max_tokens(model, tokenizer, recipe.training.max_length)
    encoder = TextEncoder(tokenizer, examples.inputs, length, models.takes_positions(model))
    if recipe.task == "regression":
        return Regression(encoder, *models.scale_of(model, examples.split("train").gold))
    return Classification(encoder, weights, recipe.loss.label_smoothing, recipe.loss.focal_gamma)


def _unweighted(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"example_weights": None})})


def _class_weights(recipe: Recipe, examples: Examples, rows: np.ndarray) -> np.ndarray | None:
    """From the classes of the rows that are trained on."""
    if not examples.classes:
        return None
    counts = np.bincount(examples.split("train").gold[rows], minlength=len(examples.classes))
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


def checkpoint_counts(start: Path | None) -> dict[str, int]:
    """What lay beside a checkpoint when it was written."""
    manifest = json.loads((start / "manifest.json").read_text(encoding="utf-8")) if start else {}
    return {name: manifest.get(name, 0) for name in ("periods", "validation_periods", "metrics_bytes")}
