"""The one loop: the only place where weights change.

It trains what the plan says. For every optimiser step it knows the entries, their targets and weights, and W, the sum
that the step's loss is divided by, before the first forward pass; micro-batches only decide how much memory is used.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler
from transformers.modeling_outputs import SequenceClassifierOutput

from leadline.learn.interpolate import SentenceMix
from leadline.learn.predict import predict
from leadline.learn.recorder import Recorder
from leadline.learn.tasks.batch import Batch, Row, Task
from leadline.learn.tasks.classification import as_targets
from leadline.plans.epoch import ORDER_STREAM, Epoch, Plan, Step, steps
from leadline.plans.weights import mass
from leadline.recipe import Record, Training

Event = Mapping[str, Any]


@dataclass
class Material:
    """What is trained on: N examples, encoded once."""

    encoded: Sequence[Row]
    targets: np.ndarray  # (N,) or (N, K)
    lengths: np.ndarray  # (N,) tokens
    weights: np.ndarray  # (N,)
    n_classes: int  # 0 where the answer space is not fixed


@dataclass
class Fit:
    """One training: everything that the loop reads, and what it changes."""

    model: nn.Module
    task: Task
    material: Material
    plan: Plan
    training: Training
    learning_rate: float
    accelerator: Accelerator
    class_weights: np.ndarray | None = None
    recorder: Recorder | None = None
    record: Record | None = None
    validate: Callable[[int], Mapping[str, float]] | None = None  # updates so far -> metrics on validation data
    better: Callable[[float, float], bool] = operator.gt  # (new, best) of early stopping's metric
    tell: Callable[[Event], None] = lambda event: None
    updates: int = 0
    seen: int = 0  # entries trained on
    began: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)  # on the device, read once an epoch
    net: nn.Module = field(init=False)  # the model as accelerate wraps it
    optimizer: Any = field(init=False)
    mixer: SentenceMix | None = field(init=False, default=None)

    def run(self) -> int:
        """Trains and returns the number of optimiser steps. After early stopping the best weights are put back."""
        t = self.training
        torch.manual_seed(t.seed)  # dropout
        counts = [len(self._steps(number)) for number in range(t.epochs)]  # declared in advance: the schedule is known
        optimizer = adamw(self.model, self.learning_rate, t.weight_decay)
        scheduler = schedule(optimizer, t, counts)
        self.net, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        paired = any(self.plan(number).partners is not None for number in range(t.epochs))
        self.mixer = SentenceMix(self.net) if paired else None
        best = Best(t.early_stopping.metric, t.early_stopping.patience, self.better) if t.early_stopping else None
        self.began = time.perf_counter()
        self.tell({"event": "start", "steps": sum(counts), "epochs": t.epochs})
        for number in range(t.epochs):
            metrics = self._epoch(number, scheduler, last=number + 1 == t.epochs)
            if best and best.stop(metrics["validation"], self.model, number + 1):
                self._end_period(number, last=True)
                break
        if best:
            self.model.load_state_dict(best.weights)
            self.tell({"event": "best", "epoch": best.epoch, "metric": best.metric, "value": best.value})
        if self.mixer:
            self.mixer.close()
        return self.updates

    def _steps(self, number: int) -> list[Step]:
        t = self.training
        rng = np.random.default_rng([t.seed, number, ORDER_STREAM])
        return steps(self.plan(number), self.material.lengths, t.batch_size, t.micro_batch, rng)

    def _epoch(self, number: int, scheduler: LambdaLR, last: bool) -> dict[str, Any]:
        began, self.sums = time.perf_counter(), {}
        epoch, formed = self.plan(number), self._steps(number)
        entries = Entries(
            epoch,
            epoch.entry_targets(self.material.targets, self.material.n_classes),
            epoch.entry_weights(self.material.weights),
        )
        share = entries.weights * mass(entries.targets, self.class_weights)  # (M,) what each entry adds to W
        snapshots = self._snapshots(len(formed))
        self.net.train()
        for index, step in enumerate(formed, start=1):
            total = float(share[np.concatenate(step)].sum())  # W
            if total > 0:
                loss, norm = self._step(entries, step, total)
                self._tell_step(number, step, loss, norm, scheduler)
            else:
                self._look(entries, step)
            scheduler.step()
            self.updates += 1
            self.seen += sum(len(micro) for micro in step)
            if index in snapshots:
                self._snapshot()
        self._end_period(number, last)
        metrics = {"event": "epoch", "epoch": number + 1, "train": self._train_metrics()}
        if self.validate:
            metrics["validation"] = dict(self.validate(self.updates))
        metrics["seconds"] = time.perf_counter() - began
        self.tell(metrics)
        return metrics

    def _step(self, entries: Entries, step: Step, total: float) -> tuple[Tensor, Tensor]:
        """One optimiser step: every micro-batch adds the gradient of its sum of v_i l_i, divided by W."""
        loss = torch.zeros((), device=self.accelerator.device)
        for micro in step:
            losses = self._losses(entries, micro)  # (B,)
            v = torch.from_numpy(entries.weights[micro]).to(losses)
            part = (v * losses).sum() / total
            self.accelerator.backward(part)
            loss += part.detach()
        limit = self.training.max_grad_norm or float("inf")
        norm = self.accelerator.clip_grad_norm_(self.net.parameters(), limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._add(steps=torch.ones(()), step_loss=loss)
        return loss, norm

    @torch.no_grad()
    def _look(self, entries: Entries, step: Step) -> None:
        """A step of weight 0: nothing is learned, outcomes are recorded all the same."""
        for micro in step:
            self._losses(entries, micro)
        self.optimizer.optimizer.step()  # without gradients it changes nothing, and the schedule counts it

    def _losses(self, entries: Entries, micro: np.ndarray) -> Tensor:
        """(B,) training losses of the entries `micro`; clean outcomes of the examples met are observed on the way."""
        epoch, rows, v = entries.epoch, entries.epoch.rows[micro], entries.weights[micro]
        if epoch.partners is None or epoch.lam is None or self.mixer is None:
            batch = self._collate(rows)
            output = self.net(**batch.inputs)
            self._observe(rows, v > 0, output, batch)
            if epoch.targets is not None:
                batch = batch.towards(self._targets(entries, micro))
            return self.task.training_loss(output, batch)
        partners, share = epoch.partners[micro], epoch.lam[micro]
        met, where = np.unique(np.concatenate([rows, partners]), return_inverse=True)
        taught = np.concatenate([rows[v * share > 0], partners[v * (1 - share) > 0]])
        batch = self._collate(met)  # each example is encoded once and serves as anchor and as partner
        self._observe(met, np.isin(met, taught), self.net(**batch.inputs), batch)
        anchor, partner = (torch.from_numpy(part).to(self.accelerator.device) for part in np.split(where, 2))
        lam = torch.from_numpy(share).to(self.accelerator.device)
        mixed = SequenceClassifierOutput(logits=self.mixer(anchor, partner, lam))
        return self.task.training_loss(mixed, batch.towards(self._targets(entries, micro)))

    def _collate(self, rows: np.ndarray) -> Batch:
        batch = self.task.collate([self.material.encoded[row] for row in rows], self.material.targets[rows])
        return batch.to(self.accelerator.device)

    def _targets(self, entries: Entries, micro: np.ndarray) -> Tensor:
        return as_targets(entries.targets[micro]).to(self.accelerator.device)

    # --- recording: reads what the forward pass said, changes nothing -------------------------------------------------

    @torch.no_grad()
    def _observe(self, rows: np.ndarray, used: np.ndarray, output: Any, batch: Batch) -> None:
        """rows (B,), used (B,) bool: which of them have a weight in this step."""
        if self.recorder is None or self.record is None:
            return
        if self.record.mode == "snapshot":
            self.recorder.trained[rows[used]] = True
            return
        outcome = self.task.outcome(output, batch)
        self.recorder.log(rows, outcome, step=self.updates, trained=used)
        known = torch.ones_like(outcome.loss, dtype=torch.bool) if outcome.defined is None else outcome.defined
        loss = torch.where(known, outcome.loss, 0.0)
        self._add(met=known.sum(), loss=loss.sum(), right=(outcome.correct == 1).sum())

    def _snapshots(self, n_steps: int) -> set[int]:
        """After which steps of an epoch a snapshot is taken, where a period is a fraction of an epoch."""
        if self.recorder is None or self.record is None or self.record.every >= 1:
            return set()
        parts = round(1 / self.record.every)
        return {max(1, round(part * n_steps / parts)) for part in range(1, parts + 1)}

    def _snapshot(self) -> None:
        assert self.recorder is not None
        m = self.material
        self.recorder.write(predict(self.net, self.task, m.encoded, m.targets, self.accelerator.device), self.updates)

    def _end_period(self, number: int, last: bool) -> None:
        if self.recorder is None or self.record is None or self.record.every < 1:
            return
        if (number + 1) % int(self.record.every) and not last:
            return
        if not (self.recorder.trained.any() or self.recorder.recorded.any()):
            return  # early stopping right after a whole period
        if self.record.mode == "snapshot":
            self._snapshot()
        else:
            self.recorder.end_epoch()

    def _add(self, **values: Tensor) -> None:
        exact = torch.float32 if self.accelerator.device.type == "mps" else torch.float64  # a million losses add up
        for name, value in values.items():
            value = value.to(self.accelerator.device, exact)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _train_metrics(self) -> dict[str, float]:
        """Clean mean loss and accuracy of the training pass; without a record the mean loss of the steps."""
        sums = {name: float(value) for name, value in self.sums.items()}  # the epoch's one synchronisation
        if not sums.get("steps"):
            return {}
        if "met" not in sums:
            return {"loss": sums["step_loss"] / sums["steps"]}
        metrics = {"loss": sums["loss"] / sums["met"]}
        return metrics | ({"accuracy": sums["right"] / sums["met"]} if self.material.n_classes else {})

    def _tell_step(self, number: int, step: Step, loss: Tensor, norm: Tensor, scheduler: LambdaLR) -> None:
        event: dict[str, Any] = {"event": "step", "step": self.updates + 1, "epoch": number + 1}
        event["examples"] = sum(len(micro) for micro in step)
        if self.updates % self.training.log_every == 0:
            event |= {"loss": float(loss), "lr": scheduler.get_last_lr()[0], "grad_norm": float(norm)}
            event["examples_per_second"] = (self.seen + event["examples"]) / (time.perf_counter() - self.began)
        self.tell(event)


@dataclass(frozen=True)
class Entries:
    """An Epoch with the targets (M,) or (M, K) and weights (M,) of its entries worked out."""

    epoch: Epoch
    targets: np.ndarray
    weights: np.ndarray


@dataclass
class Best:
    """Early stopping: the weights of the best epoch on validation data, and how long ago it was."""

    metric: str
    patience: int
    better: Callable[[float, float], bool]
    value: float | None = None
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def stop(self, metrics: Mapping[str, float], model: nn.Module, epoch: int) -> bool:
        value = metrics[self.metric]
        if self.value is None or math.isnan(self.value) or self.better(value, self.value):
            self.value, self.epoch = value, epoch
            self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        return epoch - self.epoch >= self.patience


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused; biases and normalisation weights are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    kept = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def schedule(optimizer: torch.optim.Optimizer, training: Training, counts: Sequence[int]) -> LambdaLR:
    """Warm-up over the first `warmup` of all steps, then linear, cosine, constant, or a factor after every epoch."""
    total = sum(counts)
    warm = int(training.warmup * total)
    if training.schedule == "step":
        ends = np.cumsum(counts)

        def factor(step: int) -> float:
            risen = (step + 1) / (warm + 1) if step < warm else 1.0
            return risen * training.step_factor ** int((ends <= step).sum())

        return LambdaLR(optimizer, factor)
    name = "constant_with_warmup" if training.schedule == "constant" else training.schedule
    return get_scheduler(name, optimizer, num_warmup_steps=warm, num_training_steps=total)
