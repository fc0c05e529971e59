"""Mixed entries as the loop trains them: what mixes, their losses, and which clean answers are asked for and recorded.

Every call of `losses` in one step makes as many passes as any other, whatever its entries: processes that train
together wait for one another in every pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from leadline.learn import losses
from leadline.learn.between import LayerMix
from leadline.learn.interpolate import Clean, Pairing, Run
from leadline.learn.mixers import Autocast, Mixer, mixer_of
from leadline.learn.packing import Packer
from leadline.learn.span import SpanMix, shares
from leadline.learn.tasks.batch import Batch, Row, Task
from leadline.plans.epoch import Epoch
from leadline.recipe import Mixup, Record


def a_few(task: Task, encoded: Sequence[Row], targets: np.ndarray, lengths: np.ndarray) -> Batch:
    """At most four of N examples, the shortest and the longest among them; targets (N,) or (N, K), lengths (N,)."""
    order = np.argsort(lengths, kind="stable")
    rows = np.unique(order[np.linspace(0, len(order) - 1, 4).round().astype(int)])
    return task.collate([encoded[row] for row in rows], targets[rows])


def tried(model: Any, task: Task, mixup: Mixup, batch: Batch, autocast: Autocast) -> None:
    """Raises InputError where mixing as the recipe asks cannot work; nothing stays hooked."""
    mixer, _ = mixer_of(model, task, mixup, 0, batch, autocast=autocast)
    mixer.close()


@dataclass(frozen=True)
class Mixing:
    """`consistency`: weight of the divergence of clean and mixed answers; `recorded`: clean outcomes are."""

    mixer: Mixer
    task: Task
    consistency: float
    recorded: bool
    packer: Packer | None  # the one that stays
    autocast: Autocast = contextlib.nullcontext

    @classmethod
    def of(
        cls,
        model: Any,
        task: Task,
        mixup: Mixup | None,
        record: Record | None,
        seed: int,
        batch: Batch,
        packer: Packer | None,
        autocast: Autocast,
    ) -> Mixing:
        """As `mixers.mixer_of`. record: what the training pass records, None: nothing."""
        mixer, packer = mixer_of(model, task, mixup, seed, batch, packer, autocast)
        consistency = mixup.consistency if mixup else 0.0
        asked = record.under_mixup if record else False
        if asked == "auto":  # where it is free, and where nothing else would be recorded
            asked = mixer.free or consistency > 0 or (mixup is not None and mixup.plain_epochs == 0)
        return cls(
            mixer, task, consistency, asked, packer, autocast if isinstance(mixer, LayerMix) else contextlib.nullcontext
        )

    @property
    def clean(self) -> Clean:
        """What is wanted of the clean answers while entries are mixed."""
        return "learn" if self.consistency else "look" if self.recorded else "no"

    def settled(self, epoch: Epoch, lengths: np.ndarray) -> Epoch:
        """Spans replaced in the text decide lambda by their length; lengths (N,) of all examples, in tokens."""
        if not isinstance(self.mixer, SpanMix) or epoch.partners is None:
            return epoch
        own, other = lengths[epoch.rows], lengths[epoch.partners]
        return epoch.with_lam(np.where(epoch.rows == epoch.partners, 1.0, shares(own, other, self.mixer.share)))

    def losses(
        self, run: Run, batch: Batch, pairing: Pairing, targets: Any, step: int
    ) -> tuple[Tensor, Tensor | None, Any | None]:
        """(M,) losses of mixed entries, (M,) other terms, and the clean output of the batch where it is recorded.

        targets  of the entries: (M,) or (M, K)
        """
        with self.autocast():  # around both passes: weights are cast once
            found = self.mixer(run, batch, pairing, step, self.clean)
        mixed = SequenceClassifierOutput(logits=found.logits)
        each, clean = self.task.training_loss(mixed, batch.towards(targets)), found.clean if self.recorded else None
        if not self.consistency or found.clean is None:
            return each, None, clean
        divergence = losses.jensen_shannon(found.clean.logits[pairing.anchor], found.logits)
        return each, self.consistency * divergence, clean

    def idle(self, run: Run, batch: Batch, step: int) -> Tensor:
        """() 0 with a gradient of 0 for every parameter: the passes of a process that has no entries of a step.

        batch  one example, which is mixed with itself
        """
        first = torch.zeros(1, dtype=torch.long, device=next(iter(batch.inputs.values())).device)
        itself = Pairing(first, first, torch.ones_like(first, dtype=torch.float64))
        each, other, _ = self.losses(run, batch, itself, batch.targets, step)
        return nothing(each) if other is None else nothing(each) + nothing(other)


def nothing(x: Tensor) -> Tensor:
    """() 0 with a gradient of 0 for whatever x came from, NaN and infinity included."""
    return x.nan_to_num(0.0, 0.0, 0.0).sum() * 0.0
