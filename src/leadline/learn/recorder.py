"""The recorder: an observer of a training loop, never part of it. Ours and anybody's.

Outcomes stay on the device in arrays of length N until the period ends: no synchronisation per step, no Python per
example. Of an example met twice in a period the first outcome is kept; it is the one made before the example was
trained on. Where several processes train together each records what it met; `end_epoch` merges by row, and the first
process writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from leadline import signals
from leadline.data.examples import Examples, fingerprint, natural, with_hashes
from leadline.errors import InputError, LeadlineError
from leadline.learn import ranks
from leadline.learn.guard import CALMER
from leadline.learn.outcome import Outcome


class Recorder:
    """Records in anybody's loop:

        recorder = leadline.Recorder(ids, labels, classes=["no", "yes"], to="runs/mine")
        recorder.log(rows, logits)      # after each forward pass; rows (B,) are positions in `ids`
        recorder.end_epoch()            # writes signals/epoch_NNN.arrow

    ids      N unique ids; labels N class names, or class indices when `classes` is given
    texts    one text per example, or None; stored for the map and the report
    mode     "online": the training pass itself; "snapshot": an evaluation pass
    """

    def __init__(
        self,
        ids: Sequence[Any],
        labels: Sequence[Any],
        classes: Sequence[str] = (),
        to: str | Path = "runs/recorded",
        texts: Sequence[str] | None = None,
        mode: str = "online",
    ):
        examples = _examples(ids, labels, classes, texts)
        directory = Path(to)
        taken = (directory / "signals").exists() or (directory / "examples.parquet").exists()
        if ranks.from_first(taken):
            raise InputError(f"{directory}: already holds a run; choose another directory or remove it")
        if ranks.first():
            directory.mkdir(parents=True, exist_ok=True)
            examples.write(directory / "examples.parquet")
        self._start(examples, directory / "signals", {"mode": mode}, keep_logits=True)

    @classmethod
    def of(cls, examples: Examples, to: Path, metadata: Mapping[str, Any], keep_logits: bool = True) -> Recorder:
        """For a run directory that exists: writes periods for the rows of `examples` into `to`."""
        recorder = cls.__new__(cls)
        recorder._start(examples, to, metadata, keep_logits)
        return recorder

    def _start(self, examples: Examples, to: Path, metadata: Mapping[str, Any], keep_logits: bool) -> None:
        self.to = to
        self.n = len(examples)
        self.examples = examples
        self.ids = examples.ids
        self.keep_logits = keep_logits
        self.metadata = {
            "leadline": version("leadline"),
            "task": examples.task,
            "classes": list(examples.classes),
            **fingerprint(examples),
            **metadata,
        }
        self.periods = 0
        self._empty()

    @cached_property
    def targets(self) -> np.ndarray:
        """What logits are compared with; asked of closed answer spaces only."""
        return self.examples.targets

    def _empty(self) -> None:
        self.recorded = np.zeros(self.n, dtype=bool)
        self.trained = np.zeros(self.n, dtype=bool)
        self.step = np.zeros(self.n, dtype=np.int32)
        self.columns: dict[str, Tensor] = {}  # on the device of the outcomes

    def log(
        self, rows: Any, outcome: Outcome | Tensor | np.ndarray, step: int = 0, trained: bool | np.ndarray = True
    ) -> None:
        """The outcomes (or logits (B, K)) of the examples at positions `rows` (B,), made after `step` updates.

        trained  whether an update uses the examples, all of them or each (B,)
        """
        rows = self._positions(rows, len(outcome.loss if isinstance(outcome, Outcome) else outcome))
        if not isinstance(outcome, Outcome):
            outcome = self._from_logits(rows, torch.as_tensor(outcome))
        self.trained[rows[np.broadcast_to(trained, rows.shape)]] = True
        first = np.zeros(len(rows), dtype=bool)
        first[np.unique(rows, return_index=True)[1]] = True
        first &= ~self.recorded[rows]
        if not first.any():
            return
        new = rows[first]
        self.recorded[new] = True
        self.step[new] = step
        device = outcome.loss.device
        place = torch.from_numpy(new).to(device, non_blocking=True)
        chosen = None if first.all() else torch.from_numpy(np.flatnonzero(first)).to(device, non_blocking=True)
        for name, values in outcome.columns().items():
            if name != "logits" or self.keep_logits:
                exact = name in ("correct", "defined")
                self._store(name, place, values.detach() if exact else values.detach().float(), chosen)

    def _positions(self, rows: Any, n: int) -> np.ndarray:
        """(B,) int64, checked: as many as the outcomes, each the position of an example."""
        rows = np.asarray(rows.cpu() if isinstance(rows, Tensor) else rows)
        if rows.shape != (n,):
            raise InputError(f"Recorder.log: rows of shape {rows.shape}, but outcomes of {n} examples")
        if n and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= self.n):
            given = f"{rows.min()} to {rows.max()} ({rows.dtype})"
            raise InputError(f"Recorder.log: rows are positions from 0 to {self.n - 1}; given {given}")
        return rows.astype(np.int64)

    def _from_logits(self, rows: np.ndarray, logits: Tensor) -> Outcome:
        k = len(self.metadata["classes"])
        if logits.ndim != 2 or (k and logits.shape[1] != k):
            raise InputError(f"Recorder.log: logits of shape (B, {k or 'K'}) are needed, not {tuple(logits.shape)}")
        targets = self.targets[rows]
        if targets.dtype.kind == "f" and targets.ndim == 1:
            raise InputError("Recorder.log: labels are numbers, not classes; give an Outcome instead of logits")
        return Outcome.from_logits(logits, torch.from_numpy(targets).to(logits.device))

    def _store(self, name: str, place: Tensor, values: Tensor, chosen: Tensor | None) -> None:
        if name not in self.columns:
            shape = (self.n, *values.shape[1:])
            self.columns[name] = torch.full(shape, _blank(name), dtype=values.dtype, device=values.device)
        column = self.columns[name]
        if chosen is not None:
            values = values[chosen.to(values.device)]
        column[place.to(column.device)] = values

    def end_epoch(self) -> Path:
        """Writes the period, whole or not at all, and starts the next. A loss that is not finite is an error.

        Where several processes train together, all of them call it.
        """
        if not any(ranks.gather(bool(self.recorded.any()))):
            raise InputError("Recorder.end_epoch: nothing was logged in this period")
        columns = {name: column.cpu().numpy() for name, column in self.columns.items()}
        if ranks.world() > 1:
            columns = self._merged(columns)
        return self._write(columns, self.recorded, self.step)

    def _merged(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What all processes met, on the first of them; of a row that two have met the earlier outcome is kept."""
        met = np.flatnonzero(self.recorded)
        mine = (met, self.step[met], {name: column[met] for name, column in columns.items()}, self.trained)
        parts = ranks.collect(mine)
        if parts is None:
            return dict(columns)
        rows, step = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        order = np.argsort(step, kind="stable")
        new, place = np.unique(rows[order], return_index=True)
        chosen = order[place]
        self.trained = np.any([part[3] for part in parts], axis=0)
        self.recorded[new] = True
        self.step[new] = step[chosen]
        full = {}
        for name in next(part[2] for part in parts if part[2]):
            values = np.concatenate([part[2][name] for part in parts if part[2]])
            full[name] = np.full((self.n, *values.shape[1:]), _blank(name), dtype=values.dtype)
            full[name][new] = values[chosen]
        return full

    def write(self, columns: Mapping[str, np.ndarray], step: int) -> Path:
        """A snapshot: the outcomes of all N examples from one evaluation pass; `trained` comes from what was logged."""
        columns = {name: array for name, array in columns.items() if name != "logits" or self.keep_logits}
        return self._write(columns, np.ones(self.n, dtype=bool), np.full(self.n, step))

    def _write(self, columns: Mapping[str, np.ndarray], met: np.ndarray, step: np.ndarray) -> Path:
        self.periods += 1
        path = signals.period_path(self.to, self.periods)
        if not ranks.first():
            self._empty()
            return path
        recorded = met & columns.get("defined", np.ones(self.n, dtype=bool))
        columns = {name: array for name, array in columns.items() if name != "defined"}
        self._refuse_nan(columns["loss"], recorded)
        full = signals.complete(columns, trained=self.trained, recorded=recorded, step=step)
        signals.write_period(self.to, self.periods, full, {**self.metadata, "period": self.periods})
        self._empty()
        return path

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the period that is under way."""
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in ("recorded", "trained", "step")}
        return {"periods": self.periods, **arrays, "columns": {n: column.cpu() for n, column in self.columns.items()}}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Goes on from `state()`."""
        self.periods = state["periods"]
        self.recorded, self.trained, self.step = (state[name].numpy() for name in ("recorded", "trained", "step"))
        self.columns = {name: column.to(device) for name, column in state["columns"].items()}

    def _refuse_nan(self, loss: np.ndarray, recorded: np.ndarray) -> None:
        bad = np.flatnonzero(recorded & ~np.isfinite(loss))
        if len(bad):
            raise LeadlineError(
                f"training diverged: {len(bad)} examples have a NaN or infinite loss (first id: {self.ids[bad[0]]}). "
                + CALMER
            )


def _blank(name: str) -> Any:
    return {"correct": -1, "defined": False}.get(name, np.nan)


def _examples(
    ids: Sequence[Any], labels: Sequence[Any], classes: Sequence[str], texts: Sequence[str] | None
) -> Examples:
    names, labels = [str(value) for value in _plain(ids)], _plain(labels)
    classes = [str(name) for name in classes]
    if len(set(classes)) < len(classes):
        raise InputError(f"Recorder: a class is named twice in {', '.join(classes)}")
    if fraction := [v for v in labels if isinstance(v, float) and v != int(v)]:
        raise InputError(f"Recorder: labels are classes; {fraction[0]} is neither a name nor an index")
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise InputError(
            f"Recorder: ids must be unique; `{twice}` occurs more than once (an int and its text are the same)"
        )
    if len(labels) != len(names) or (texts is not None and len(texts) != len(names)):
        raise InputError(f"Recorder: {len(names)} ids need as many labels and texts; given {len(labels)} labels")
    number = dict(enumerate(classes))  # of -1, "unlabelled" on the Hub, there is none
    found = [number.get(int(v), str(v)) if classes and not isinstance(v, str) else str(v) for v in labels]
    known = tuple(classes) or tuple(sorted(set(found), key=natural))
    if stray := sorted(set(found) - set(known)):
        raise InputError(f"Recorder: the label `{stray[0]}` is not among the classes {', '.join(known)}")
    if len(known) < 2:
        raise InputError(f"Recorder: two classes at least are needed; given {', '.join(known) or 'none'}")
    table = {"_id": names, "_split": ["train"] * len(names), "_label": found}
    if texts is not None:
        table["text"] = [str(text) for text in texts]
    return with_hashes(Examples(pl.DataFrame(table), inputs=("text",) if texts is not None else (), classes=known))


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    """Tensors, arrays and columns of a data frame as lists: str(tensor(3)) is no id."""
    return values.tolist() if hasattr(values, "tolist") else values
