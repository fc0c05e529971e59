"""The record on disk: what one forward pass said of each example, for every recorded epoch.

One uncompressed Arrow file per period (memory-mappable, no nulls), rows in the order of examples.parquet,
written to a temporary name and renamed: a run killed at any moment holds only whole periods.

Signals are arrays: E recorded periods, N examples, K classes. An example without an outcome is NaN in that period.
`outcome` has the formulas of `learn/outcome.py` in numpy, for imports and for anybody's loop.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from leadline.data.ids import Ids
from leadline.errors import InputError, cannot_write

FORMAT = 1
VERSION_KEY = b"leadline"

# name -> type; float32 is NaN where undefined, correct is -1
FIELDS: dict[str, Any] = {
    "loss": np.float32,  # nats (regression: squared error), clean: unweighted, unsmoothed, unmixed
    "gold_logprob": np.float32,  # log p of the gold answer; of a soft target, of its largest class
    "margin": np.float32,  # gold logit minus the largest other logit
    "entropy": np.float32,  # nats
    "correct": np.int8,
    "trained": np.bool_,  # an update used the example in this period
    "recorded": np.bool_,  # the period has an outcome of the example
    "step": np.int32,  # optimiser steps taken before the outcome was read
}
OUTCOME = ("loss", "gold_logprob", "margin", "entropy", "correct")


def outcome(logits: np.ndarray, targets: np.ndarray, link: str = "softmax") -> dict[str, np.ndarray]:
    """What logits (B, K) say of targets: (B,) class index or (B, K) distribution; link "sigmoid": (B, K) in {0, 1}.

    Computed in float64, returned as FIELDS. An absent option is a logit of -inf. K = 1 and NaN raise ValueError.
    """
    z = np.asarray(logits)
    if z.ndim != 2 or z.shape[1] < 2:
        raise ValueError(f"logits of shape (B, K) with K >= 2 are needed, not {z.shape}")
    z = np.ascontiguousarray(
        z.T, dtype=np.float64
    )  # (K, B): with few options sums down columns are several times faster
    there = np.isfinite(z)
    if not (there | np.isneginf(z)).all() or not there.any(axis=0).all():
        bad = int(np.flatnonzero(~(there | np.isneginf(z)).all(axis=0) | ~there.any(axis=0))[0])
        raise ValueError(f"logits of row {bad} are NaN or infinite")
    targets = np.asarray(targets)
    if link == "sigmoid":
        return _sigmoid_outcome(z, targets.T.astype(np.float64))
    z_top = z.max(axis=0)
    e = np.exp(z - z_top)
    total = e.sum(axis=0)
    log_p = z - (z_top + np.log(total))
    gold = targets if targets.ndim == 1 else targets.argmax(axis=1)  # lowest index on ties
    at = (gold, np.arange(z.shape[1]))
    z_gold, log_p_gold = z[at], log_p[at]
    others = z.copy()
    others[at] = -np.inf
    margin = z_gold - others.max(axis=0)
    correct = margin > 0
    tied = np.flatnonzero(margin == 0)
    correct[tied] = z[:, tied].argmax(axis=0) == gold[tied]  # the first of equals is the answer
    return _as_fields(
        loss=-log_p_gold if targets.ndim == 1 else -_times_log(targets.T, log_p).sum(axis=0),
        gold_logprob=log_p_gold,
        margin=margin,
        entropy=-_times_log(e / total, log_p).sum(axis=0),
        correct=correct,
    )


def _sigmoid_outcome(z: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Independent yes/no answers, (K, B): sums over labels; margin of the worst label; correct = all labels right."""
    log_yes, log_no = -np.logaddexp(0, -z), -np.logaddexp(0, z)
    gold = y > 0.5
    loss = -(_times_log(y, log_yes) + _times_log(1 - y, log_no)).sum(axis=0)
    p = np.exp(log_yes)
    return _as_fields(
        loss=loss,
        gold_logprob=np.where(gold, log_yes, log_no).sum(axis=0),
        margin=np.where(gold, z, -z).min(axis=0),
        entropy=-(_times_log(p, log_yes) + _times_log(1 - p, log_no)).sum(axis=0),
        correct=((z > 0) == gold).all(axis=0),
    )


def _as_fields(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array.astype(FIELDS[name]) for name, array in arrays.items()}


def _times_log(weight: np.ndarray, log: np.ndarray) -> np.ndarray:
    """weight * log with 0 * -inf = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, weight * log, 0.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64; -inf gives 0."""
    z = np.array(
        np.moveaxis(np.asarray(logits), -1, 0), dtype=np.float64, order="C"
    )  # (K, ...), a copy, as in `outcome`
    z -= z.max(axis=0)
    e = np.exp(z, out=z)
    e /= e.sum(axis=0)
    return np.moveaxis(e, 0, -1)


@dataclass(frozen=True)
class Period:
    """One recorded period: columns of length N (logits: (N, K)), as attributes."""

    columns: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.columns[name]
        except KeyError:
            raise AttributeError(f"this period has no {name!r}; it has {', '.join(self.columns)}") from None

    def rows(self, rows: slice | np.ndarray) -> Period:
        return replace(self, columns={name: array[rows] for name, array in self.columns.items()})


@dataclass(frozen=True)
class Signals:
    """The outcomes of N examples over E recorded periods.

    `signals.loss` is an (E, N) copy in memory, `signals.logits` (E, N, K) or None, `signals.epoch(3).loss` the
    memory-mapped (N,) array of the third recorded period, `signals.blocks(n)` the same record in pieces of n rows.
    """

    ids: Sequence[str]
    gold: np.ndarray  # (N,) class index, or the number of a regression
    periods: tuple[Period, ...]
    targets: np.ndarray | None = None  # (N, K) where labels are distributions
    classes: tuple[str, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict)  # fingerprints of inputs and labels
    probes: Mapping[str, np.ndarray] = field(default_factory=dict)  # {score: (N,)} what needed the model again

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def n_epochs(self) -> int:
        return len(self.periods)

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.periods[-1].metadata if self.periods else {}

    def epoch(self, number: int) -> Period:
        """The number-th recorded period, counted from 1 as in the file names."""
        if not 1 <= number <= len(self.periods):
            raise InputError(
                f"this run has {len(self.periods)} recorded epochs, numbered from 1; there is no epoch {number}"
            )
        return self.periods[number - 1]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.periods[0].columns) if self.periods else ()

    def stack(self, name: str) -> np.ndarray:
        """(E, N) or (E, N, K): one column over all periods, a copy."""
        return np.stack([period.columns[name] for period in self.periods])

    @property
    def loss(self) -> np.ndarray:
        return self.stack("loss")

    @property
    def gold_logprob(self) -> np.ndarray:
        return self.stack("gold_logprob")

    @property
    def margin(self) -> np.ndarray:
        return self.stack("margin")

    @property
    def entropy(self) -> np.ndarray:
        return self.stack("entropy")

    @property
    def correct(self) -> np.ndarray:
        return self.stack("correct")

    @property
    def recorded(self) -> np.ndarray:
        return self.stack("recorded")

    @property
    def logits(self) -> np.ndarray | None:
        return self.stack("logits") if "logits" in self.names else None

    def window(self, max_epochs: int | None = None, skip_epochs: int = 0) -> Signals:
        """Only the first `max_epochs` periods, without the first `skip_epochs` of them.

        (`max_epochs` is what cartography calls burn_out: an early stop, not a burn-in.)
        """
        kept = self.periods[skip_epochs:max_epochs]
        if not kept:
            raise InputError(
                f"no epochs left: the run has {len(self.periods)}; of the first "
                f"{max_epochs or len(self.periods)}, skipping {skip_epochs} keeps none"
            )
        return replace(self, periods=kept)

    def rows(self, rows: slice | np.ndarray) -> Signals:
        if isinstance(rows, slice) or isinstance(self.ids, Ids):
            ids: Sequence[str] = self.ids[rows]  # type: ignore[index]
        else:
            ids = [self.ids[i] for i in rows]
        return replace(
            self,
            ids=ids,
            gold=self.gold[rows],
            targets=None if self.targets is None else self.targets[rows],
            periods=tuple(period.rows(rows) for period in self.periods),
            probes={name: values[rows] for name, values in self.probes.items()},
        )

    def blocks(self, size: int = 100_000) -> Iterator[tuple[slice, Signals]]:
        """The record in pieces of `size` rows, so that memory is bounded by the piece."""
        for start in range(0, len(self), size):
            block = slice(start, min(start + size, len(self)))
            yield block, self.rows(block)


def from_logits(
    ids: Sequence[str], logits: np.ndarray, gold: np.ndarray, classes: Sequence[str] = (), mode: str = "imported"
) -> Signals:
    """Signals in memory from logits (E, N, K) and gold class indices (N,) or distributions (N, K)."""
    gold = np.asarray(gold)
    periods = []
    for epoch, z in enumerate(np.asarray(logits)):
        columns = complete(outcome(z, gold), logits=z.astype(np.float32))
        periods.append(Period(columns, {"period": epoch + 1, "mode": mode}))
    hard = gold if gold.ndim == 1 else gold.argmax(axis=1)
    return Signals(
        ids=list(ids),
        gold=hard,
        targets=gold if gold.ndim == 2 else None,
        periods=tuple(periods),
        classes=tuple(classes),
    )


def complete(columns: Mapping[str, np.ndarray], **more: np.ndarray) -> dict[str, np.ndarray]:
    """All FIELDS in their types; what is not given is undefined (NaN, -1); every row counts as trained and recorded."""
    n = len(columns["loss"])
    blank = {"loss": np.nan, "gold_logprob": np.nan, "margin": np.nan, "entropy": np.nan, "correct": -1}
    blank |= {"trained": True, "recorded": True, "step": 0}
    given = {**columns, **more}
    full = {name: np.full(n, blank[name], dtype=kind) for name, kind in FIELDS.items() if name not in given}
    full |= {name: np.asarray(array, dtype=FIELDS.get(name, np.float32)) for name, array in given.items()}
    full = {name: full[name] for name in (*FIELDS, *(name for name in given if name not in FIELDS))}
    return full


def period_path(directory: Path, number: int) -> Path:
    return directory / f"epoch_{number:03d}.arrow"


def write_period(directory: Path, number: int, columns: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Path:
    """epoch_NNN.arrow, whole or not at all. Columns as FIELDS; 2-D arrays become fixed-size lists."""
    arrays = {name: _to_arrow(array) for name, array in columns.items()}
    table = pa.table(arrays).replace_schema_metadata({VERSION_KEY: json.dumps({"format": FORMAT, **metadata}).encode()})
    path = period_path(directory, number)
    partial = path.with_name(path.name + ".partial")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as sink:
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=max(1, table.num_rows))  # one chunk: columns map without a copy
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise cannot_write(path, error) from None
    return path


def _to_arrow(array: np.ndarray) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    flat = pa.array(np.ascontiguousarray(array, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def read_period(path: Path) -> Period:
    """Memory-mapped columns (bool columns are bit-packed on disk and copied)."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: damaged signals file ({error}); delete it and train again") from None
    metadata = json.loads((table.schema.metadata or {}).get(VERSION_KEY, b"{}"))
    if metadata.get("format", FORMAT) > FORMAT:
        raise InputError(
            f"{path}: format {metadata['format']} is newer than this leadline knows ({FORMAT}); upgrade leadline"
        )
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        chunk = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        if pa.types.is_fixed_size_list(chunk.type):
            values = chunk.flatten().to_numpy(zero_copy_only=True)
            columns[name] = values.reshape(len(chunk), chunk.type.list_size)
        else:
            columns[name] = chunk.to_numpy(zero_copy_only=not pa.types.is_boolean(chunk.type))
    return Period(columns, metadata)


def drop_after(directory: Path, number: int) -> None:
    """Removes the periods after the `number`-th, and halves of files: a resumed training writes them again."""
    for path in [*directory.glob("epoch_*.arrow"), *directory.glob("epoch_*.arrow.partial")]:
        if path.suffix == ".partial" or int(path.stem.removeprefix("epoch_")) > number:
            path.unlink()


def read_periods(directory: Path) -> tuple[Period, ...]:
    """All whole periods of a signals directory in order; a gap in the numbers is an error."""
    paths = sorted(directory.glob("epoch_*.arrow"), key=lambda path: (len(path.name), path.name))  # 1000 after 999
    for number, path in enumerate(paths, start=1):
        if path.name != period_path(directory, number).name:
            raise InputError(f"{directory}: {period_path(directory, number).name} is missing, later epochs are there")
    return tuple(read_period(path) for path in paths)
