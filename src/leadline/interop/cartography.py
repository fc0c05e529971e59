"""Training dynamics as Dataset Cartography writes them (Swayamdipta et al. 2020): dynamics_epoch_<k>.jsonl, k from 0.

One JSON object per example and epoch, in the order in which training met the examples:
{"guid": 2969, "logits_epoch_0": [0.55, -0.75], "gold": 0}. Other keys are ignored. The logits are online (dropout on).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import signals
from leadline.data.examples import Examples, fingerprint, join, natural, with_hashes
from leadline.errors import InputError, all_at_once
from leadline.interop.whole import new_folder
from leadline.signals import Period, Signals

NAME = re.compile(r"dynamics_epoch_(\d+)\.jsonl")
LARGEST = float(np.finfo(np.float32).max)
NEVER_TWICE = "no example occurs in two epochs: scores that compare epochs (variability, forgetting) mean nothing here"


def read(directory: Path, classes: Sequence[str] = ()) -> tuple[Signals, tuple[str, ...]]:
    """The dynamics of a directory as Signals, rows by guid in natural order; and what a reader must be told.

    classes  names in the order of the logits; without them the gold numbers as text: "0", "1", …
    An example that an epoch lacks is NaN there. Raises InputError for a gap in the epochs; for broken lines (file and
    line), an id twice in one epoch, and different numbers of logits or different golds of one example.
    """
    paths = _epoch_files(Path(directory))
    epochs = [_read_epoch(path, number, classes) for number, path in enumerate(paths)]
    k = epochs[0].logits.shape[1]
    for path, epoch in zip(paths, epochs, strict=True):
        if epoch.logits.shape[1] != k:
            raise InputError(f"{path}: {epoch.logits.shape[1]} logits, but {k} in {paths[0].name}")
    if classes and len(classes) != k:
        raise InputError(f"{directory}: {k} logits, but {len(classes)} class names ({', '.join(classes)})")
    gold_of = _one_gold_each(paths, epochs)
    ids = sorted(gold_of, key=natural)
    place = {guid: row for row, guid in enumerate(ids)}
    record = Signals(
        ids=ids,
        gold=np.array([gold_of[guid] for guid in ids], dtype=np.int64),
        periods=tuple(_period(epoch, place, number) for number, epoch in enumerate(epochs, start=1)),
        classes=tuple(classes) or tuple(str(c) for c in range(k)),
    )
    return record, _told(record)


@dataclass(frozen=True)
class _Epoch:
    """One file, in its own order: n lines."""

    ids: list[str]
    gold: np.ndarray  # (n,)
    logits: np.ndarray  # (n, K) float32


def _epoch_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory")
    found = {int(match[1]): path for path in directory.iterdir() if (match := NAME.fullmatch(path.name))}
    if not found:
        inside = sorted(path.parent.name for path in directory.glob("*/dynamics_epoch_*.jsonl"))
        hint = f"; give {directory / inside[0]}" if inside else ""
        raise InputError(f"{directory}: no dynamics_epoch_0.jsonl, dynamics_epoch_1.jsonl, … there{hint}")
    for number in range(len(found)):
        if number not in found:
            raise InputError(f"{directory}: dynamics_epoch_{number}.jsonl is missing, later epochs are there")
    return [found[number] for number in range(len(found))]


def _read_epoch(path: Path, number: int, classes: Sequence[str]) -> _Epoch:
    lines: dict[str, int] = {}  # id -> its line
    gold: list[int] = []
    logits: list[list[float]] = []
    problems = []
    with open(path, "rb") as source:
        for at, line in enumerate(source, start=1):
            if not line.strip():
                continue
            try:
                guid, row, answer = _fields(line, f"logits_epoch_{number}", classes)
                if logits and len(row) != len(logits[0]):
                    raise ValueError(f"{len(row)} logits, {len(logits[0])} in the lines before")
                if guid in lines:
                    raise ValueError(f"guid {guid} a second time, first in line {lines[guid]}")
            except ValueError as error:
                problems.append(f"line {at}: {error}")
                continue
            lines[guid] = at
            gold.append(answer)
            logits.append(row)
    if problems:
        raise all_at_once(f"{path}: not one outcome per example", problems)
    if not lines:
        raise InputError(f"{path}: no rows")
    return _Epoch(list(lines), np.array(gold, dtype=np.int64), np.array(logits, dtype=np.float32))


def _fields(line: bytes, key: str, classes: Sequence[str]) -> tuple[str, list[float], int]:
    """(guid, logits, gold) of one line, or a ValueError that says what is wrong."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    missing = [name for name in ("guid", key, "gold") if name not in row]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)}")
    guid, logits, gold = row["guid"], row[key], row["gold"]
    if isinstance(guid, bool) or not isinstance(guid, int | str):
        raise ValueError(f"guid {guid!r} is neither a number without fraction nor text")
    if not isinstance(logits, list) or len(logits) < 2 or not all(map(_is_logit, logits)) or max(logits) == -np.inf:
        raise ValueError(f"{key} is no list of at least two finite numbers")
    if isinstance(gold, str) and gold in classes:
        gold = list(classes).index(gold)
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < len(logits):
        raise ValueError(f"gold {gold!r} is no index of the {len(logits)} logits")
    return str(guid), logits, gold


def _is_logit(z: Any) -> bool:
    """A number that float32 holds; -Infinity is an option that the row does not have."""
    return not isinstance(z, bool) and isinstance(z, int | float) and (abs(z) <= LARGEST or z == -np.inf)


def _one_gold_each(paths: Sequence[Path], epochs: Sequence[_Epoch]) -> dict[str, int]:
    gold_of: dict[str, int] = {}
    problems = []
    for path, epoch in zip(paths, epochs, strict=True):
        for guid, gold in zip(epoch.ids, epoch.gold.tolist(), strict=True):
            if gold_of.setdefault(guid, gold) != gold:
                problems.append(f"guid {guid}: gold {gold} in {path.name}, {gold_of[guid]} before")
    if problems:
        raise all_at_once(f"{paths[0].parent}: examples whose gold changes between epochs", problems)
    return gold_of


def _period(epoch: _Epoch, place: dict[str, int], number: int) -> Period:
    """The epoch's outcomes in the order of the run; NaN where the epoch has none."""
    n, rows = len(place), np.array([place[guid] for guid in epoch.ids])
    seen = np.zeros(n, dtype=bool)
    seen[rows] = True
    logits = np.full((n, epoch.logits.shape[1]), np.nan, dtype=np.float32)
    logits[rows] = epoch.logits
    blank = np.full(n, np.nan)
    columns = signals.complete({"loss": blank}, logits=logits, trained=seen, recorded=seen)
    for name, values in signals.outcome(epoch.logits, epoch.gold).items():
        columns[name][rows] = values
    return Period(columns, {"period": number, "mode": "imported"})


def _told(record: Signals) -> tuple[str, ...]:
    seen = record.recorded  # (E, N)
    if len(seen) > 1 and seen.sum(axis=0).max() == 1:
        return (NEVER_TWICE,)
    if seen.all():
        return ()
    gaps = int((~seen.all(axis=0)).sum())
    return (
        f"{gaps} of {len(record)} examples are missing in at least one epoch; scores use the epochs that have them",
    )


def write(record: Signals, directory: Path) -> None:
    """The recorded rows of every period as dynamics_epoch_<k>.jsonl: `read` gives the same float32 logits back.

    Raises InputError where the record has no logits, and for a directory that is not empty. Whole or not at all.
    """
    if "logits" not in record.names:
        raise InputError("dynamics_epoch_<k>.jsonl consists of logits; this run has none")
    numbers = all(re.fullmatch("0|[1-9][0-9]*", str(guid)) for guid in record.ids)
    ids = [int(guid) if numbers else guid for guid in record.ids]
    with new_folder(Path(directory)) as partial:
        for number, period in enumerate(record.periods):
            with open(partial / f"dynamics_epoch_{number}.jsonl", "w", encoding="utf-8") as sink:
                for row in np.flatnonzero(period.recorded).tolist():
                    logits, gold = period.logits[row].tolist(), int(record.gold[row])
                    line = {"guid": ids[row], f"logits_epoch_{number}": logits, "gold": gold}
                    sink.write(json.dumps(line) + "\n")


def to_run(
    source: Path, destination: Path, data: Examples | None = None, classes: Sequence[str] = ()
) -> tuple[str, ...]:
    """Makes a minimal run (examples.parquet and signals/) of a directory of dynamics; returns what must be told.

    data     the examples that were trained on, joined by id and label: their inputs and columns are stored
    classes  names in the order of the logits (else those of `data`, else "0", "1", …)
    Raises InputError as `read`; where an id or a label is not that of `data`; and where `destination` is not empty.
    """
    record, told = read(source, classes or (data.classes if data is not None else ()))
    examples = _without_texts(record, Path(source)) if data is None else _joined(record, Path(source), data)
    examples = with_hashes(replace(examples, told=(*examples.told, *told)))
    metadata = {
        "leadline": version("leadline"),
        "task": "classification",
        "classes": list(record.classes),
        **fingerprint(examples),
    }
    with new_folder(Path(destination)) as partial:
        examples.write(partial / "examples.parquet")
        for number, period in enumerate(record.periods, start=1):
            signals.write_period(partial / "signals", number, period.columns, {**period.metadata, **metadata})
    return examples.told


def _without_texts(record: Signals, source: Path) -> Examples:
    labels = [record.classes[gold] for gold in record.gold]
    digest = hashlib.sha256()
    for path in _epoch_files(source):
        digest.update(path.read_bytes())
    return Examples(
        table=pl.DataFrame({"_id": record.ids, "_split": ["train"] * len(record), "_label": labels}),
        classes=record.classes,
        told=(f"training dynamics imported from {source} without texts: give the data file to see them",),
        sources={"train": {"path": str(source), "sha256": digest.hexdigest(), "rows": len(record)}},
    )


def _joined(record: Signals, source: Path, data: Examples) -> Examples:
    if sorted(record.classes) != sorted(data.classes):
        labels = ", ".join(data.classes) or "numbers"
        raise InputError(f"{source}: classes {', '.join(record.classes)}, but the labels of the data are {labels}")
    data = data.split("train") if "train" in data.splits else data
    bare = with_hashes(_without_texts(record, source))
    rows = join(bare, with_hashes(data), labels="ignore", where="the data")
    table = data.table[rows.tolist()].with_columns(pl.lit("train").alias("_split"))
    ours, theirs = bare.table["_label"].to_list(), table["_label"].to_list()
    differ = [row for row, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]
    if differ:
        raise InputError(
            f"{source}: {len(differ)} of {len(record)} examples have another label in the data (first id: "
            f"{record.ids[differ[0]]}: `{ours[differ[0]]}` here, `{theirs[differ[0]]}` there). Classes were taken in "
            f"the order {', '.join(record.classes)}: give them in the order of the logits, or the data trained on"
        )
    told = (*data.told, f"training dynamics imported from {source}")
    if data.soft:
        table = table.drop("_label_distribution")
        told = (*told, "label distributions left out: imported dynamics have one gold class per example")
    return replace(data, table=table, classes=record.classes, told=told)
