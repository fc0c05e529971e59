"""A transformers.Trainer with leadline's loop inside: arguments and callbacks stay, batches and record are ours.

transformers' own code evaluates, saves, logs and finds the best checkpoint; it is told of every step and epoch as its
own loop tells it. `_inner_training_loop` is private, so the version of transformers is pinned.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase, TrainerCallback
from transformers.data.data_collator import DefaultDataCollator, default_data_collator
from transformers.trainer_utils import TrainOutput

from leadline.errors import InputError
from leadline.integrations import arguments
from leadline.integrations.rows import LABELS, Rows, column, read
from leadline.learn import models
from leadline.learn.loop import Event, Fit, Material
from leadline.learn.recorder import Recorder
from leadline.learn.tasks.batch import Row
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.plans.epoch import everything
from leadline.recipe import Record

INPUTS = ("input_ids", "token_type_ids")  # what is padded through the tokenizer; the mask follows from the lengths
UNHEARD = ("on_step_begin", "on_substep_end", "on_pre_optimizer_step", "on_optimizer_step")  # ours tells whole steps


PASSED_OVER = (  # what transformers' loop calls in a step or before the first, and ours does not
    "get_train_dataloader", "_get_train_sampler", "_get_dataloader", "get_batch_samples", "create_optimizer",
    "create_scheduler", "create_optimizer_and_scheduler", "get_decay_parameter_names", "get_optimizer_cls_and_kwargs",
    "_prepare_inputs", "compute_loss_context_manager", "autocast_smart_context_manager", "_clip_grad_norm",
    "_run_epoch", "floating_point_ops",
)  # fmt: skip


class _Stopped(Exception):
    """A callback has asked to end the training."""


class Trainer(transformers.Trainer):
    """As transformers.Trainer, for single-label classification of tokenised texts, several times faster on a processor.

        trainer = Trainer(model, args, train_dataset=tokenised, processing_class=tokenizer, to="runs/mine")
        trainer.train()
        leadline.open("runs/mine").scores()

    to, ids, texts, labels, classes  as in `record`; without `to` nothing is recorded
    Whatever the loop cannot honour is refused by name when the Trainer is made: TrainingArguments (`arguments.py` has
    the table), collators other than padding, losses, optimisers, schedules and data loaders of your own, callbacks
    within a step, resuming. The loss is cross-entropy of the logits; one that the model computes itself is not used.
    """

    def __init__(
        self,
        *positional: Any,
        to: str | Path | None = None,
        ids: str | Sequence[Any] | None = None,
        labels: str | Sequence[Any] | None = None,
        texts: str | Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        **named: Any,
    ):
        super().__init__(*positional, **named)
        self.to = None if to is None else Path(to)
        self.named = {"ids": ids, "labels": labels, "texts": texts, "classes": classes}
        self.recorder: Recorder | None = None
        arguments.check(self.args)
        self._refuse_own_parts()

    def _refuse_own_parts(self) -> None:
        """What transformers' loop would call and ours does not."""
        kind = type(self)
        if self.compute_loss_func is not None or kind.compute_loss is not transformers.Trainer.compute_loss:
            raise InputError("leadline's Trainer has a loss of its own; use transformers.Trainer with record()")
        if kind.training_step is not transformers.Trainer.training_step:
            raise InputError("leadline's Trainer makes its own steps; use transformers.Trainer with record()")
        own = [name for name in PASSED_OVER if getattr(kind, name) is not getattr(transformers.Trainer, name)]
        if own:
            raise InputError(
                f"leadline's Trainer never calls {kind.__name__}.{', '.join(own)}; "
                "use transformers.Trainer with record()"
            )
        if self.optimizer is not None or self.lr_scheduler is not None or self.optimizer_cls_and_kwargs is not None:
            raise InputError("leadline's Trainer makes its own optimiser; use transformers.Trainer with record()")
        padding = (DataCollatorWithPadding, DefaultDataCollator)
        if type(self.data_collator) not in padding and self.data_collator is not default_data_collator:
            raise InputError("leadline's Trainer pads through processing_class; leave data_collator out")
        if not isinstance(self.processing_class, PreTrainedTokenizerBase):
            raise InputError("leadline's Trainer needs the tokenizer as processing_class; it pads with it")

    def _refuse_unheard(self) -> None:
        for callback in self.callback_handler.callbacks:
            for event in UNHEARD:
                if getattr(type(callback), event) is not getattr(TrainerCallback, event):
                    raise InputError(
                        f"{type(callback).__name__}.{event} would never be called: leadline's loop tells whole steps "
                        "(on_step_end), logs, evaluations and epochs"
                    )

    # --- the training -------------------------------------------------------------------------------------------------

    def _inner_training_loop(
        self,
        batch_size: int | None = None,
        args: Any = None,
        resume_from_checkpoint: str | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        if resume_from_checkpoint is not None:
            raise InputError("leadline's Trainer does not resume; its checkpoints hold the model only")
        arguments.check(self.args)
        self._refuse_unheard()
        self.accelerator.free_memory()
        rows = read(self.train_dataset, self.model, **self.named)
        fit = self._fit(rows)
        self._begin(fit, len(rows), trial)
        began = time.time()
        told = _Told(self, fit, trial, ignore_keys_for_eval, began)
        fit.tell = told
        with contextlib.suppress(_Stopped):
            fit.run()
        return self._finalize_training(trial, len(rows) * self.args.num_train_epochs, began)

    def _fit(self, rows: Rows) -> Fit:
        assert self.model is not None
        encoded = encode(self.train_dataset, self.model, self.processing_class)
        settings = arguments.training(self.args, len(rows))
        if self.args.bf16 or self.args.fp16:
            models.head_in_float32(_base(self.model))
        if self.to is not None and self.recorder is None:
            self.recorder = rows.recorder(self.to)
        encoder = TextEncoder(self.processing_class, (), 0, models.takes_positions(_base(self.model)))
        return Fit(
            model=self.model, task=Classification(encoder, None, self.args.label_smoothing_factor),
            material=Material(encoded, np.asarray(rows.labels, dtype=np.int64), _lengths(encoded),
                              np.ones(len(rows)), len(rows.classes)),
            plan=everything(len(rows)), training=settings, learning_rate=self.args.learning_rate,
            accelerator=self.accelerator, recorder=self.recorder, record=Record() if self.recorder else None,
            ids=[str(value) for value in rows.ids],
        )  # fmt: skip

    def _begin(self, fit: Fit, n: int, trial: Any) -> None:
        """The state as transformers' loop sets it up; `_maybe_log_save_evaluate` and the callbacks read it."""
        t = fit.training
        per_epoch = -(-n // t.batch_size)
        self._init_training_state(per_epoch * t.epochs, per_epoch, t.epochs, None, trial)
        self._tr_loss = torch.tensor(0.0, device=self.args.device)
        self._total_loss_scalar = 0.0
        self._initial_num_input_tokens_seen = self._initial_global_step = self._globalstep_last_logged = 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The model and the Trainer's state; there is no optimiser to go on with."""
        asked, self.args.save_only_model = self.args.save_only_model, True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_only_model = asked


class _Told:
    """Hears the events of the loop and does what transformers' loop does at the same moments."""

    def __init__(self, trainer: Trainer, fit: Fit, trial: Any, ignore_keys: list[str] | None, began: float):
        self.trainer, self.fit, self.trial, self.ignore_keys, self.began = trainer, fit, trial, ignore_keys, began
        self.epoch = 0  # the one under way, from 0
        self.last: dict[str, Any] = {}  # of the last step

    def __call__(self, event: Event) -> None:
        happened = {"start": self.start, "step": self.step, "epoch": self.epoch_end}.get(event["event"])
        if happened:
            happened(event)

    def start(self, event: Event) -> None:
        t = self.trainer
        t.model_wrapped, t.optimizer, t.lr_scheduler = self.fit.net, self.fit.optimizer, self.fit.scheduler
        for name in ("model", "optimizer", "lr_scheduler"):
            setattr(t.callback_handler, name, getattr(t, name))
        t.control = t.callback_handler.on_train_begin(t.args, t.state, t.control)
        if t.args.eval_on_start:
            with _undisturbed(self.fit.net):
                t._evaluate(self.trial, self.ignore_keys, skip_scheduler=True)
        self._epoch_begin()

    def step(self, event: Event) -> None:
        t = self.trainer
        t._tr_loss += event["loss"]
        t.state.global_step += 1
        t.state.epoch = self.epoch + (t.state.global_step - self.before) / (
            t.state.max_steps // self.fit.training.epochs
        )
        self.last = {"grad_norm": event["grad_norm"], "learning_rate": event["lr"]}
        t.control = t.callback_handler.on_step_end(t.args, t.state, t.control)
        self._log_save_evaluate()
        if t.control.should_epoch_stop:
            raise InputError("a callback asked to end the epoch early; leadline's loop trains whole epochs")
        if t.control.should_training_stop and t.state.global_step < t.state.max_steps:
            if t.recorder is not None:
                t.recorder.end_epoch()  # as much of the epoch as there was
            t.control = t.callback_handler.on_epoch_end(t.args, t.state, t.control)
            self._log_save_evaluate()
            raise _Stopped

    def epoch_end(self, event: Event) -> None:
        t = self.trainer
        tokens = int(self.fit.material.lengths.sum())
        t.current_flos += 6 * tokens * _base(t.model).num_parameters(exclude_embeddings=True)
        t.control = t.callback_handler.on_epoch_end(t.args, t.state, t.control)
        self._log_save_evaluate()
        if t.control.should_training_stop:
            raise _Stopped
        self.epoch += 1
        self._epoch_begin()

    def _epoch_begin(self) -> None:
        t = self.trainer
        self.before = t.state.global_step
        t.control = t.callback_handler.on_epoch_begin(t.args, t.state, t.control)

    def _log_save_evaluate(self) -> None:
        t = self.trainer
        with _undisturbed(self.fit.net):
            t._maybe_log_save_evaluate(
                t._tr_loss, self.last["grad_norm"], self.fit.net, self.trial, self.epoch, self.ignore_keys, self.began,
                learning_rate=self.last["learning_rate"],
            )  # fmt: skip


@contextlib.contextmanager
def _undisturbed(net: torch.nn.Module) -> Iterator[None]:
    """Evaluation in between draws random numbers for its data loader and leaves dropout off; training must not know."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        yield
    net.train()


def _base(model: Any) -> Any:
    """The transformers model inside adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _lengths(encoded: Sequence[Row]) -> np.ndarray:
    return np.array([len(row[0]["input_ids"]) for row in encoded])


def encode(dataset: Any, model: Any, tokenizer: Any) -> list[Row]:
    """Model inputs without padding, N rows of {input_ids, token_type_ids?}: (T,) int32.

    Raises InputError for inputs that are not padded through a tokenizer, and for masks with holes.
    """
    known = list(dataset.column_names) if isinstance(dataset, datasets.Dataset) else [str(key) for key in dataset[0]]
    if "input_ids" not in known:
        raise InputError(f"leadline's Trainer takes a tokenised training set; no input_ids among {', '.join(known)}")
    taken = set(inspect.signature(_base(model).forward).parameters) - {*LABELS, *INPUTS, "attention_mask"}
    if stray := sorted(taken & set(known)):
        raise InputError(f"leadline's Trainer does not know how to pad {', '.join(stray)}; use record() instead")
    names = [name for name in INPUTS if name in known and name in tokenizer.model_input_names]
    columns = {name: column(dataset, name) for name in names}
    if "attention_mask" in known:
        masks = [np.asarray(mask, dtype=bool) for mask in column(dataset, "attention_mask")]
    else:
        masks = [np.ones(len(ids), dtype=bool) for ids in columns["input_ids"]]
    return [
        [{name: np.asarray(values[i], dtype=np.int32)[_without_padding(mask, i)] for name, values in columns.items()}]
        for i, mask in enumerate(masks)
    ]


def _without_padding(mask: np.ndarray, row: int) -> slice:
    """Where the tokens of a row are; a text padded by hand is as good as one that is not."""
    there = np.flatnonzero(mask)
    if not len(there):
        raise InputError(f"leadline's Trainer: row {row} has no tokens")
    first, last = int(there[0]), int(there[-1]) + 1
    if last - first != len(there):
        raise InputError(f"leadline's Trainer: the attention mask of row {row} has holes; use record() instead")
    return slice(first, last)
