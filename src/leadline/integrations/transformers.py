"""transformers.Trainer: record in it with two lines, or use ours, a Trainer with leadline's loop inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import transformers

from leadline.errors import InputError
from leadline.integrations.recording import Observer
from leadline.integrations.rows import read
from leadline.integrations.trainer import Trainer

__all__ = ["Trainer", "record"]

T = TypeVar("T", bound=transformers.Trainer)


def record(
    trainer: T,
    to: str | Path = "runs/recorded",
    *,
    ids: str | Sequence[Any] | None = None,
    labels: str | Sequence[Any] | None = None,
    texts: str | Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> T:
    """Lets `trainer.train()` leave a record: `examples.parquet` and one signals file per epoch. Returns the trainer.

        trainer = leadline.integrations.transformers.record(trainer, to="runs/mine")
        trainer.train()
        leadline.open("runs/mine").scores()

    trainer  a Trainer for single-label classification whose training set has a length; subclasses too
    to       the directory of the run; with `resume_from_checkpoint` the one that was recorded into before
    ids      a column of the training set, or N values (default: the row numbers)
    labels   a column or N values (default: the column `labels`, `label` or `label_ids`)
    texts    a column or N texts, for the map and the report (default: none)
    classes  names in the order of the logits (default: the data set's, else the model's id2label)

    The outcomes are those of the training pass, in float32; the weights are the same as without it, bit for bit.
    Raises InputError where it cannot be done, here or when the training begins.
    """
    if not isinstance(trainer, transformers.Trainer):
        raise InputError(f"record: a transformers.Trainer is needed, not a {type(trainer).__name__}")
    if isinstance(trainer, Trainer):
        raise InputError("record: leadline's own Trainer records by itself; give it `to`")
    if any(isinstance(callback, Observer) for callback in trainer.callback_handler.callbacks):
        raise InputError("record: this trainer is recorded already")
    rows = read(trainer.train_dataset, trainer.model, ids, labels, texts, classes)
    Observer(trainer, rows, Path(to)).attach()
    return trainer
