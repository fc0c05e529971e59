"""An observer inside a transformers.Trainer: which rows a step met, and what the forward pass said of them.

Nothing of the training changes: same order, same random numbers, same weights, bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import TrainerCallback

from leadline import signals
from leadline.errors import InputError
from leadline.integrations.rows import ROWS, Collate, Numbered, Rows
from leadline.learn import ranks
from leadline.learn.recorder import Recorder


class Observer(TrainerCallback):
    """Stands in front of five methods of one Trainer object, and hears of the ends of its epochs."""

    def __init__(self, trainer: transformers.Trainer, rows: Rows, to: Path):
        self.trainer = trainer
        self.rows = rows
        self.to = to
        self.recorder: Recorder | None = None
        self.met: np.ndarray | None = None  # rows of the step under way that are not logged yet
        self.before: int | None = None  # periods when the loop of this call of train() was entered; None: not yet

    def attach(self) -> None:
        for name in ("train", "_inner_training_loop", "_get_dataloader", "training_step", "compute_loss"):
            own = getattr(self, name.lstrip("_"))
            setattr(self.trainer, name, functools.partial(own, getattr(self.trainer, name)))
        self.trainer.add_callback(self)

    # --- in front of the Trainer's methods; `inner` is the method ---------------------------------------------------

    def train(self, inner: Any, *args: Any, **kwargs: Any) -> Any:
        self.before = None
        return inner(*args, **kwargs)

    def inner_training_loop(
        self,
        inner: Any,
        batch_size: int | None = None,
        args: Any = None,
        resume_from_checkpoint: str | None = None,
        trial: Any = None,
        **rest: Any,
    ) -> Any:
        if trial is not None:
            raise InputError("record: a hyperparameter search trains many models; record each in a Trainer of its own")
        if resume_from_checkpoint is not None:
            self._go_on(Path(resume_from_checkpoint))
        elif self.recorder is None:
            self.recorder = self.rows.recorder(self.to)
        elif self.before is not None:
            self._begin_again(self.before)
        assert self.recorder is not None
        self.before = self.recorder.periods
        return inner(
            batch_size=batch_size, args=args, resume_from_checkpoint=resume_from_checkpoint, trial=trial, **rest
        )

    def get_dataloader(
        self,
        inner: Any,
        dataset: Any,
        description: str,
        batch_size: int,
        sampler_fn: Any = None,
        is_training: bool = False,
        dataloader_key: str | None = None,
    ) -> Any:
        """The training data with numbered rows: columns are removed and orders drawn as they would be without us."""
        if not is_training:
            return inner(dataset, description, batch_size, sampler_fn, is_training, dataloader_key)
        t = self.trainer
        if len(dataset) != len(self.rows):
            raise InputError(
                f"record: the training set has {len(dataset)} rows now and had {len(self.rows)}; call record after the "
                "last change of trainer.train_dataset"
            )
        if isinstance(dataset, datasets.Dataset):
            dataset, collator = t._remove_unused_columns(dataset, description=description), t.data_collator
        else:
            collator = t._get_collator_with_removed_columns(t.data_collator, description=description)
        draw = sampler_fn and (lambda numbered: sampler_fn(numbered.dataset))
        t._get_collator_with_removed_columns = lambda *_, **__: Collate(collator)  # type: ignore[method-assign]
        try:
            return inner(Numbered(dataset), description, batch_size, draw, is_training, dataloader_key)
        finally:
            del t._get_collator_with_removed_columns

    def training_step(self, inner: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if ROWS not in inputs:
            raise InputError(
                f"record: a training batch does not say which rows it holds: {type(self.trainer).__name__} makes its "
                f'own data loader; let its batches carry "{ROWS}": the positions in the training set (B,)'
            )
        self.met = inputs.pop(ROWS)
        found = inner(model, inputs, *args, **kwargs)
        if self.met is not None:
            raise InputError(f"record: training_step of {type(self.trainer).__name__} does not call compute_loss")
        return found

    def compute_loss(
        self, inner: Any, model: Any, inputs: Any, return_outputs: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        """The first loss of a training step is observed; evaluation, and any further pass of the step, is not."""
        rows, self.met = self.met, None
        if rows is None:
            return inner(model, inputs, return_outputs, *args, **kwargs)
        found = inner(model, inputs, True, *args, **kwargs)
        if not isinstance(found, tuple) or len(found) != 2:
            raise InputError(
                f"record: compute_loss of {type(self.trainer).__name__} must give (loss, outputs) where "
                "return_outputs=True; the logits are read from the outputs"
            )
        assert self.recorder is not None
        logits = logits_of(found[1], len(rows), len(self.rows.classes))
        self.recorder.log(rows, logits, step=self.trainer.state.global_step)
        return found if return_outputs else found[0]

    # --- what the Trainer calls ---------------------------------------------------------------------------------------

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint between the last step of an epoch and its end holds a period that is complete."""
        if float(state.epoch or 0).is_integer():
            self._end_period()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end_period()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The period under way goes into the Trainer's checkpoint, a file of each process."""
        assert self.recorder is not None
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not folder.is_dir():  # removed already by save_total_limit
            return
        torch.save({**self.recorder.state(), "world": ranks.world()}, folder / _state_file())

    # --- the record -------------------------------------------------------------------------------------------------

    def _end_period(self) -> None:
        assert self.recorder is not None
        if any(ranks.gather(bool(self.recorder.recorded.any()))):
            self.recorder.end_epoch()

    def _begin_again(self, periods: int) -> None:
        """`auto_find_batch_size` enters the loop anew when memory was short: what the attempt has logged is dropped."""
        assert self.recorder is not None
        nothing = torch.zeros(self.recorder.n, dtype=torch.bool)
        steps = torch.zeros(self.recorder.n, dtype=torch.int32)
        blank = {"periods": periods, "recorded": nothing, "trained": nothing.clone(), "step": steps, "columns": {}}
        self.recorder.restore(blank, self.trainer.args.device)
        if ranks.first():
            signals.drop_after(self.recorder.to, periods)

    def _go_on(self, checkpoint: Path) -> None:
        """The record as it was when the Trainer's checkpoint was made; later periods are dropped."""
        path = checkpoint / _state_file()
        if not path.is_file():
            raise InputError(
                f"{checkpoint}: no {path.name} in it: this checkpoint was made without record, or by another number of "
                "processes; resume without record, or train from the start"
            )
        if self.recorder is None:
            self.recorder = self.rows.recorder_going_on(self.to)
        kept = torch.load(path, weights_only=True)
        if kept["world"] != ranks.world():
            raise InputError(
                f"{checkpoint}: made by {kept['world']} processes, resumed by {ranks.world()}; the period under way "
                "would be lost"
            )
        self.recorder.restore(kept, self.trainer.args.device)
        if ranks.first():
            signals.drop_after(self.recorder.to, kept["periods"])


def _state_file() -> str:
    return f"leadline_record_{ranks.rank()}.pt"


def logits_of(outputs: Any, b: int, k: int) -> Tensor:
    """The logits (B, K) among a model's outputs: by name, else the first tensor of that shape."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return outputs["logits"]
    if hasattr(outputs, "logits"):
        return outputs.logits
    for value in outputs if isinstance(outputs, tuple | list) else [outputs]:
        if isinstance(value, Tensor) and value.shape == (b, k):
            return value
    raise InputError(f"record: no logits of shape ({b}, {k}) among the model's outputs")
