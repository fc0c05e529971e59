"""The one loop: the only place where weights change.

It trains what the plan says. For every optimiser step it knows the entries, their targets and weights, and W, the sum
that the step's loss is divided by, before the first forward pass; micro-batches and processes only decide how much
memory and time are used. Between two steps it can be kept (`checkpoint`) and gone on with, to the bit.
"""

from __future__ import annotations

import contextlib
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

from leadline.errors import Interrupted
from leadline.learn import dropout, memory, packing, ranks, sharding
from leadline.learn.checkpoint import LEAVE, Checkpoints
from leadline.learn.clock import Clock
from leadline.learn.guard import Guard
from leadline.learn.interpolate import Pairing
from leadline.learn.kept_weights import KeptWeights
from leadline.learn.mixing import Mixing, a_few, nothing
from leadline.learn.optimiser import Best, adamw, schedule
from leadline.learn.packing import Packer
from leadline.learn.predict import predict
from leadline.learn.recorder import Recorder
from leadline.learn.tasks.batch import Batch, Row, Task
from leadline.learn.tasks.classification import as_targets
from leadline.plans.epoch import ORDER_STREAM, Entries, Plan, Step, steps
from leadline.plans.mix import per_step
from leadline.plans.weights import mass
from leadline.recipe import Mixup, Record, Training

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
    mixup: Mixup | None = None  # where paired entries are mixed; None: their sentence vectors
    validate: Callable[[int], Mapping[str, float]] | None = None  # updates so far -> metrics on validation data
    better: Callable[[float, float], bool] = operator.gt  # (new, best) of early stopping's metric
    tell: Callable[[Event], None] = lambda event: None
    ids: Sequence[str] | None = None  # what an error calls the examples
    checkpoints: Checkpoints | None = None
    kept_weights: KeptWeights | None = None  # for probes
    sharded: bool = False  # over the processes, instead of a copy in each
    clock: Clock = field(default_factory=Clock)
    updates: int = 0
    seen: int = 0  # entries trained on
    began: float = 0.0
    at: tuple[int, int] = (0, 0)  # the epoch, and the steps of it that are done
    stopped: bool = False  # early
    sums: dict[str, Tensor] = field(default_factory=dict)  # on the device, read once an epoch
    net: nn.Module = field(init=False)  # the model as accelerate wraps it
    optimizer: Any = field(init=False)
    scheduler: LambdaLR = field(init=False)
    guard: Guard = field(init=False)
    best: Best | None = field(init=False, default=None)
    mixing: Mixing | None = field(init=False, default=None)
    packer: Packer | None = field(init=False, default=None)

    def run(self) -> int:
        """Trains and returns the number of optimiser steps. After early stopping the best weights are put back.

        Raises Interrupted after a checkpoint when a signal asked for it, LeadlineError when training diverges.
        """
        t = self.training
        torch.manual_seed(t.seed + ranks.rank())  # dropout
        with contextlib.ExitStack() as around:
            around.enter_context(memory.kept(self.accelerator.device))
            around.enter_context(dropout.quick(self.model, self.accelerator.device))
            around.enter_context(self.clock("other"))
            self.packer = around.enter_context(packing.packed(self.model, self._some(), self.accelerator.device))
            if self.checkpoints:
                around.enter_context(self.checkpoints.listening())
            self.mixing = self._mixing()
            if self.mixing:
                self.packer = self.mixing.packer
                around.callback(self.mixing.mixer.close)
            counts = [len(self._steps(number)) for number in range(t.epochs)]  # in advance: the schedule is known
            self._prepare(counts)
            start = {"event": "start", "steps": sum(counts), "epochs": t.epochs, "packed": self.packer is not None}
            self.tell(start if self.at == (0, 0) else {**start, "event": "resume", "step": self.updates})
            for number in range(self.at[0], t.epochs if not self.stopped else 0):
                self._whole_epoch(number)
                if self.stopped:
                    break
        if self.best:
            sharding.set_weights(self.model, self.best.weights)
            self.tell({"event": "best", **self.best.found})
        return self.updates

    def _prepare(self, counts: Sequence[int]) -> None:
        t = self.training
        if ranks.world() > 1 and not self.sharded:
            self._freeze_idle()
        if self.sharded:
            sharding.shard(self.model, self.accelerator.device)
        optimizer = adamw(self.model, self.learning_rate, t.weight_decay)
        self.scheduler = schedule(optimizer, t, counts)
        self.net = self.accelerator.prepare_model(self.model, evaluation_mode=self.sharded)  # in pieces: no copies
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.best = Best(t.early_stopping.metric, t.early_stopping.patience, self.better) if t.early_stopping else None
        self.guard = Guard(self.ids, len(self.material.lengths), self.accelerator.device)
        self.began = time.perf_counter()
        if self.checkpoints and self.checkpoints.start:
            self._restore(self.checkpoints)

    def _mixing(self) -> Mixing | None:
        """What mixes, where the plan pairs anything."""
        if not any(self.plan(number).partners is not None for number in range(self.training.epochs)):
            return None
        m, device = self.material, self.accelerator.device
        few = a_few(self.task, m.encoded, m.targets, m.lengths).to(device)
        record = self.record if self.recorder and self.record and self.record.mode == "online" else None
        seed, autocast = self.training.seed, self.accelerator.autocast
        return Mixing.of(self.model.to(device), self.task, self.mixup, record, seed, few, self.packer, autocast)

    def _some(self) -> dict[str, Tensor]:
        """Model inputs of a few examples of unequal length; none where the task says nothing of packing."""
        if not getattr(self.task, "packs", False):
            return {}
        lengths = self.material.lengths[:64]
        return self._collate(np.unique(np.argsort(lengths, kind="stable")[:: max(1, len(lengths) // 4)])).inputs

    def _forward(self, batch: Batch) -> Any:
        return self.net(**(self.packer(batch.inputs) if self.packer else batch.inputs))

    def _freeze_idle(self) -> None:
        """Parameters that no loss reaches (a pooler that nobody asks) would keep data-parallel training waiting."""
        batch = self._collate(np.array([0]))
        self.model.to(self.accelerator.device)
        with self.accelerator.autocast():
            output = self.model(**batch.inputs)
        self.task.training_loss(output, batch).sum().backward()
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.requires_grad_(False)
            parameter.grad = None
        torch.manual_seed(self.training.seed + ranks.rank())

    def _steps(self, number: int) -> list[Step]:
        """The optimiser steps of an epoch, each the micro-batches of all processes in turn."""
        t = self.training
        rng = np.random.default_rng([t.seed, number, ORDER_STREAM])
        each = -(-t.batch_size // ranks.world())
        lengths = np.ones_like(self.material.lengths) if self.packer else self.material.lengths  # nothing to save
        return steps(self.plan(number), lengths, t.batch_size, min(t.micro_batch or each, each), rng)

    def _whole_epoch(self, number: int) -> None:
        """Trains, records, validates and keeps one epoch."""
        metrics = self._epoch(number)
        if self.kept_weights:
            with self.clock("checkpoint"):
                self.kept_weights.write(number + 1, self.model)
        if self.best and self.best.stop(metrics["validation"], self._weights, number + 1):
            self.stopped = True
            self._end_period(number, last=True)
        self.at = (number + 1, 0)
        if self.checkpoints:
            self._keep()
            if self.checkpoints.asked() == LEAVE:
                self._leave()

    def _epoch(self, number: int) -> dict[str, Any]:
        began, done = time.perf_counter(), self.at[1]
        self.sums = self.sums if done else {}
        formed = self._steps(number)
        epoch = per_step(self.plan(number), formed)
        epoch = self.mixing.settled(epoch, self.material.lengths) if self.mixing else epoch
        entries = Entries.of(epoch, self.material.targets, self.material.n_classes, self.material.weights)
        share = entries.weights * mass(entries.targets, self.class_weights)  # (M,) what each entry adds to W
        snapshots = self._snapshots(len(formed))
        first = self.updates - done

        def rows_of(step: int) -> np.ndarray:
            return epoch.rows[np.concatenate(formed[step - first - 1])]

        self.net.train()
        for index, step in enumerate(formed[done:], start=done + 1):
            total = float(share[np.concatenate(step)].sum())  # W
            if total > 0:
                self._tell_step(number, step, *self._step(entries, step, total), rows_of)
            else:
                self._look(entries, step)
            self.scheduler.step()
            self.updates += 1
            self.seen += sum(len(micro) for micro in step)
            self.at = (number, index)
            if index in snapshots:
                self._snapshot()
            if self.checkpoints and (asked := self.checkpoints.asked()):
                self.guard.check(rows_of)
                self._keep()
                if asked == LEAVE:
                    self._leave()
        self.guard.check(rows_of)
        self._end_period(number, number + 1 == self.training.epochs)
        metrics = {"event": "epoch", "epoch": number + 1, "train": self._train_metrics()}
        if self.validate:
            with self.clock("evaluate"):
                metrics["validation"] = dict(self.validate(self.updates))
        metrics["seconds"] = time.perf_counter() - began
        self.tell(metrics)
        return metrics

    def _mine(self, step: Step) -> list[np.ndarray]:
        """The micro-batches of this process, as many as every other's; one without entries is only gone through."""
        n, world = len(step), ranks.world()
        mine = step[ranks.rank() :: world]
        return [*mine, *[np.array([], dtype=np.int64)] * (-(-n // world) - len(mine))]

    def _step(self, entries: Entries, step: Step, total: float) -> tuple[Tensor, Tensor]:
        """One optimiser step: every micro-batch adds the gradient of its sum of v_i l_i, divided by W."""
        loss = torch.zeros((), device=self.accelerator.device)
        mine = self._mine(step)
        for number, micro in enumerate(mine, start=1):
            last = number == len(mine)
            with contextlib.nullcontext() if last or self.sharded else self.accelerator.no_sync(self.net):
                with self.clock("forward"):
                    part = self._part(entries, micro, total, sum(len(m) for m in step))
                with self.clock("backward"):
                    self.accelerator.backward(part * ranks.world())  # gradients are averaged over processes
            loss += part.detach()
        with self.clock("optimiser"):
            limit = self.training.max_grad_norm or float("inf")
            norm = sharding.whole_tensor(self.accelerator.clip_grad_norm_(self.net.parameters(), limit))
            self.optimizer.step()
            self.optimizer.zero_grad()
        self._add(steps=torch.full((), 1 / ranks.world(), device=loss.device), step_loss=loss)
        self.guard.step(self.updates + 1, loss, *([] if self.accelerator.scaler else [norm]))
        return loss, norm

    def _part(self, entries: Entries, micro: np.ndarray, total: float, count: int) -> Tensor:
        """What a micro-batch adds to the loss of its step: sum_i v_i l_i / W, and sum_i of other terms / entries.

        Of none 0, with a gradient of 0 for every parameter, by as many passes as the other processes make.
        """
        if not len(micro):
            batch = self._collate(np.array([0]))
            if self.mixing and entries.epoch.partners is not None:
                return self.mixing.idle(self._forward, batch, self.updates)
            return nothing(self.task.training_loss(self._forward(batch), batch))
        each, other = self._losses(entries, micro)  # (B,), (B,) or None
        self.guard.look(entries.epoch.rows[micro], each)
        v = torch.from_numpy(entries.weights[micro]).to(each, non_blocking=True)
        part = (v * each).sum() / total
        return part if other is None else part + other.sum() / count

    @torch.no_grad()
    def _look(self, entries: Entries, step: Step) -> None:
        """A step of weight 0: nothing is learned, outcomes are recorded all the same."""
        for micro in self._mine(step):
            self._part(entries, micro, 1.0, 1)
        self.optimizer.optimizer.step()  # without gradients it changes nothing, and the schedule counts it

    def _losses(self, entries: Entries, micro: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """(B,) training losses of the entries `micro`, and other terms; clean outcomes are observed on the way."""
        epoch, rows, v = entries.epoch, entries.epoch.rows[micro], entries.weights[micro]
        if epoch.partners is None or epoch.lam is None or self.mixing is None:
            batch = self._collate(rows)
            output = self._forward(batch)
            self._observe(rows, v > 0, output, batch)
            if epoch.targets is not None:
                batch = batch.towards(self._targets(entries, micro))
            return self.task.training_loss(output, batch), None
        partners, share = epoch.partners[micro], epoch.lam[micro]
        met, where = np.unique(np.concatenate([rows, partners]), return_inverse=True)
        taught = np.concatenate([rows[v * share > 0], partners[v * (1 - share) > 0]])
        batch = self._collate(met)  # each example is encoded once and serves as anchor and as partner
        device = self.accelerator.device
        pairing = Pairing(*(torch.from_numpy(part).to(device) for part in (*np.split(where, 2), share)))
        towards = self._targets(entries, micro)
        each, other, clean = self.mixing.losses(self._forward, batch, pairing, towards, self.updates)
        self._observe(met, np.isin(met, taught), clean, batch)
        return each, other

    def _collate(self, rows: np.ndarray) -> Batch:
        with self.clock("collate"):
            batch = self.task.collate([self.material.encoded[row] for row in rows], self.material.targets[rows])
            return batch.to(self.accelerator.device)

    def _targets(self, entries: Entries, micro: np.ndarray) -> Tensor:
        return as_targets(entries.targets[micro]).to(self.accelerator.device)

    # --- recording: reads what the forward pass said, changes nothing -------------------------------------------------

    @torch.no_grad()
    def _observe(self, rows: np.ndarray, used: np.ndarray, output: Any | None, batch: Batch) -> None:
        """rows (B,), used (B,) bool: which of them have a weight in this step. output None: nobody asked the model."""
        if self.recorder is None or self.record is None:
            return
        if self.record.mode == "snapshot" or output is None:
            self.recorder.trained[rows[used]] = True
            return
        with self.clock("record"):
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
        assert self.recorder is not None and self.record is not None
        if self.record.under_mixup is False and self.plan(self.at[0]).partners is not None:
            return  # plain epochs only
        m = self.material
        with self.clock("record"):
            found = predict(self.model, self.task, m.encoded, m.targets, self.accelerator.device)
            self.recorder.write(found, self.updates)

    def _end_period(self, number: int, last: bool) -> None:
        if self.recorder is None or self.record is None or self.record.every < 1:
            return
        if (number + 1) % int(self.record.every) and not last:
            return
        met = self.recorder.recorded if self.record.mode == "online" else self.recorder.trained
        if not any(ranks.gather(bool(met.any()))):
            return  # early stopping right after a whole period; or mixed epochs of which no clean answers are wanted
        if self.record.mode == "snapshot":
            self._snapshot()
        else:
            with self.clock("record"):
                self.recorder.end_epoch()

    def _add(self, **values: Tensor) -> None:
        exact = torch.float32 if self.accelerator.device.type == "mps" else torch.float64  # a million losses add up
        for name, value in values.items():
            value = value.to(self.accelerator.device, exact)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _train_metrics(self) -> dict[str, float]:
        """Clean mean loss and accuracy of the training pass; without a record the mean loss of the steps."""
        parts = ranks.gather({name: float(value) for name, value in self.sums.items()})  # the epoch's one wait
        sums = {name: sum(part.get(name, 0.0) for part in parts) for name in sorted(set().union(*parts))}
        if not sums.get("steps"):
            return {}
        if "met" not in sums:
            return {"loss": sums["step_loss"] / sums["steps"]}
        metrics = {"loss": sums["loss"] / sums["met"]}
        return metrics | ({"accuracy": sums["right"] / sums["met"]} if self.material.n_classes else {})

    def _tell_step(
        self, number: int, step: Step, loss: Tensor, norm: Tensor, rows_of: Callable[[int], np.ndarray]
    ) -> None:
        event: dict[str, Any] = {"event": "step", "step": self.updates + 1, "epoch": number + 1}
        event["examples"] = sum(len(micro) for micro in step)
        if self.updates % self.training.log_every == 0:
            with self.clock("wait"):  # for the device, and for the other processes
                self.guard.check(rows_of)
                event["loss"] = sum(ranks.gather(float(loss)))
            event |= {"lr": self.scheduler.get_last_lr()[0], "grad_norm": float(norm)}
            event["examples_per_second"] = (self.seen + event["examples"]) / (time.perf_counter() - self.began)
        self.tell(event)

    # --- keeping: between two steps, nothing is lost and nothing is done twice ----------------------------------------

    def _weights(self) -> dict[str, Tensor]:
        return sharding.weights(self.model)

    def _keep(self) -> None:
        """Writes a checkpoint of this moment. Signals and metrics are on disk by now."""
        assert self.checkpoints is not None
        with self.clock("checkpoint"):
            shared = {
                "at": self.at, "updates": self.updates, "seen": self.seen, "stopped": self.stopped,
                "elapsed": time.perf_counter() - self.began, "scheduler": self.scheduler.state_dict(),
                "best": self.best.state() if self.best else None,
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
                **sharding.state(self.model, self.optimizer),
            }  # fmt: skip
            own = {"sums": self.sums, "recorder": self.recorder.state() if self.recorder else None}
            self.checkpoints.write(self.updates, shared, own)

    def _restore(self, checkpoints: Checkpoints) -> None:
        shared, own = checkpoints.read()
        self.at, self.updates, self.seen = tuple(shared["at"]), shared["updates"], shared["seen"]
        self.stopped, self.began = shared["stopped"], self.began - shared["elapsed"]
        sharding.restore(self.model, self.optimizer, shared)
        self.scheduler.load_state_dict(shared["scheduler"])
        if self.best:
            self.best.restore(shared["best"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(shared["scaler"])
        self.sums = {name: value.to(self.accelerator.device) for name, value in own["sums"].items()}
        if self.recorder:
            self.recorder.restore(own["recorder"], self.accelerator.device)

    def _leave(self) -> None:
        raise Interrupted(f"interrupted after step {self.updates}; a checkpoint is kept, the same command goes on")
