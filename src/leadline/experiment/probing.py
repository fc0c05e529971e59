"""leadline probe: scores that need the model of a run again, at its end or at the epochs whose weights were kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from leadline import runs
from leadline.data.examples import Examples
from leadline.errors import InputError, nearest
from leadline.experiment.device import accelerate
from leadline.learn import models
from leadline.learn.kept_weights import kept_epochs, put_weights
from leadline.learn.loop import Event
from leadline.learn.probes import depth, grand, grand_full, vog
from leadline.learn.probes.subject import Subject
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.learn.tokens import kept_tokens
from leadline.runs import Run

Columns = dict[str, np.ndarray]  # score -> (N,)
Settings = dict[str, Any]
COMMON = {"precision": "fp32", "dropout": "off"}


@dataclass(frozen=True)
class Probing:
    """A run's model, its training examples, and the weights that it has had."""

    run: Run
    train: Examples
    subject: Subject
    epochs: list[int]  # whose weights were kept

    @classmethod
    def of(cls, run: Run) -> Probing:
        """Raises InputError for a run without a model."""
        if run.recipe is None or not (run.path / "model").is_dir():
            raise InputError(
                f"{run.path}: this run has no model (an import, or somebody else's loop), and a probe asks the model"
            )
        if not run.finished:
            raise InputError(f"{run.path}: training has not come to its end; the command that began it goes on")
        if run.recipe.data.null_input:
            raise InputError(f"{run.path}: its model has read no inputs (data.null_input): there is nothing to probe")
        train, longest = run.train, run.recipe.training.max_length
        model, tokenizer = models.load(str(run.path / "model"), run.classes, max_length=longest, new_head=False)
        length = models.max_tokens(model, tokenizer, longest)
        encoder = TextEncoder(tokenizer, train.inputs, length, models.takes_positions(model))
        task: Task = Classification(encoder) if run.classes else Regression(encoder)
        device = accelerate("fp32").device
        subject = Subject(model.to(device), task, kept_tokens(task, train), train.targets, device)
        return cls(run, train, subject, kept_epochs(run.path / "checkpoints"))

    def put(self, epoch: int) -> None:
        """The weights of a kept epoch into the model; a regression answers in its unit again."""
        put_weights(self.subject.model, self.run.path / "checkpoints", epoch)
        if not self.run.classes:
            models.fold_scale(self.subject.model, *models.scale_of(self.subject.model, self.train.gold))

    def early(self, name: str, asked: int | None) -> int:
        """The epoch that is asked for, or the first that was kept."""
        if asked is None:
            self._need(name, "the model early in training", 1, "[1]")
            return self.epochs[0]
        trained = len(self.run.events("epoch"))
        if not 1 <= asked <= trained:
            raise InputError(f"{self.run.path}: there is no epoch {asked}; this run has {trained}")
        if asked not in self.epochs:
            have = f"those of the epochs {', '.join(map(str, self.epochs))}" if self.epochs else "none"
            raise InputError(
                f"{self.run.path}: the weights of epoch {asked} were not kept ({have}); {self._again(f'[{asked}]')}"
            )
        return asked

    def all_kept(self, name: str) -> list[int]:
        self._need(name, "the model at several epochs", 2, "all")
        return self.epochs

    def _need(self, name: str, what: str, count: int, keep: str) -> None:
        if len(self.epochs) < count:
            have = f"only those of epoch {self.epochs[0]}" if self.epochs else "none"
            raise InputError(
                f"{self.run.path}: {name} needs {what}, and of its weights {have} were kept; {self._again(keep)}"
            )

    def _again(self, keep: str) -> str:
        recipe, key = quote(str(self.run.path / "recipe.yaml")), quote(f"record.checkpoints={keep}")
        command = f"leadline train {recipe} --set {key}"
        return f"`record.checkpoints: {keep}` keeps them: train again with `{command}`"


def _grand(p: Probing, asked: int | None) -> tuple[Columns, Settings]:
    epoch = p.early("grand", asked)
    p.put(epoch)
    layer = models.decision_layer(p.subject.model)
    settings = {"checkpoints": [epoch], "layer": "the last linear layer", "bias": layer.bias is not None}
    return {"grand": grand.grand(p.subject)}, settings


def _grand_full(p: Probing, asked: int | None) -> tuple[Columns, Settings]:
    epoch = p.early("grand_full", asked)
    p.put(epoch)
    values, reason = grand_full.grand_full(p.subject)
    how = "many examples at once" if reason is None else f"one by one: {reason}"
    return {"grand_full": values}, {"checkpoints": [epoch], "layer": "all parameters", "how": how}


def _vog(p: Probing, asked: int | None) -> tuple[Columns, Settings]:
    epochs = p.all_kept("vog")
    raw = vog.vog(p.subject, lambda t: p.put(epochs[t]), len(epochs))
    thirds = {name: epochs[window] for name, window in vog.thirds(len(epochs)).items()}
    classes = p.train.gold if p.run.classes else None
    within = {name: values if classes is None else vog.within_classes(values, classes) for name, values in raw.items()}
    columns = {"vog": within["all"], "vog_early": within["early"], "vog_late": within["late"], "vog_raw": raw["all"]}
    settings = {"checkpoints": epochs, **thirds, "input": "what the first block reads", "of": "the gold logit"}
    return columns, {**settings, "normalised": "within classes, vog_raw apart" if classes is not None else "no classes"}


def _depth(p: Probing, asked: int | None) -> tuple[Columns, Settings]:
    if asked is not None:
        p.put(p.early("depth", asked))
    gold, k = p.train.gold, min(depth.K, len(p.train) - 1)
    values, probes = depth.prediction_depth(p.subject, gold, len(p.run.classes), p.run.path)
    settings = {"checkpoints": ["end" if asked is None else asked], "k": k, "metric": depth.METRIC, "probes": probes}
    return {"prediction_depth": values}, settings


PROBES: dict[str, Callable[[Probing, int | None], tuple[Columns, Settings]]] = {
    "depth": _depth,  # first: it asks the model as it is loaded, the others put other weights into it
    "grand": _grand,
    "grand_full": _grand_full,
    "vog": _vog,
}


def probe(
    run: Run | str | Path,
    names: Sequence[str] | None = None,
    checkpoint: int | None = None,
    tell: Callable[[Event], None] = lambda event: None,
) -> dict[str, Mapping[str, Any]]:
    """Computes probes of a run's training examples and writes probes/<score>.npy; returns {score: its settings}.

    names       grand (last layer), grand_full, vog, depth; None: all but grand_full, or a regression's depth
    checkpoint  the epoch whose weights grand, grand_full and depth read; default: the first that was kept, depth: the
                model at the end. VoG reads all that were kept
    From then on the scores are there like any other: in run.scores(), maps, comparisons; scores.parquet has them.
    Raises InputError before anything is computed where a probe cannot be had: no model, no weights kept.
    """
    run = run if isinstance(run, Run) else Run(run)
    names = names or ["grand", "vog", *(["depth"] if run.classes else [])]
    for name in names:
        if name not in PROBES:
            raise InputError(f"there is no probe `{name}`.{nearest(name, PROBES)} The probes are {', '.join(PROBES)}")
    if checkpoint is not None and not set(names) - {"vog"}:
        raise InputError(f"--checkpoint {checkpoint}: vog reads every epoch whose weights were kept")
    record = run.signals  # raises where nothing was recorded: nowhere to put a score
    probing = Probing.of(run)
    _check(probing, names, checkpoint)
    written: dict[str, Mapping[str, Any]] = {}
    for name in [name for name in PROBES if name in names]:
        tell({"event": "note", "says": f"{name} of {len(record):,} examples"})
        began = time.perf_counter()
        columns, settings = PROBES[name](probing, checkpoint)
        settings |= {**COMMON, "seconds": round(time.perf_counter() - began, 3)}
        for score, values in columns.items():
            runs.write_probe(run, score, values, settings)
            written[score] = settings
    runs.write_scores(run)
    return written


def _check(probing: Probing, names: Sequence[str], checkpoint: int | None) -> None:
    """What cannot be had is said before hours are spent on the others."""
    for name in {"grand", "grand_full"} & set(names):
        probing.early(name, checkpoint)
    if "depth" in names and checkpoint is not None:
        probing.early("depth", checkpoint)
    if "vog" in names:
        probing.all_kept("vog")
    if "depth" in names and not probing.run.classes:
        raise InputError(f"{probing.run.path}: prediction depth needs classes, and this is a regression")
