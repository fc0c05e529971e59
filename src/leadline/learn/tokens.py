"""Tokenised data: flat arrays instead of a million small ones, kept on disk by content and shared between runs.

The files lie in the user's cache (XDG_CACHE_HOME, else ~/.cache) under leadline/tokens, named by the SHA-256 of the
inputs and of everything that turns them into tokens. They are memory-mapped, never needed, and safe to delete; the
oldest go when all together pass LIMIT.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import polars as pl
import pyarrow as pa

from leadline.data.examples import Examples
from leadline.learn.tasks.batch import Row, Task

LIMIT = 4 * 2**30  # bytes


class Tokens(Sequence[Row]):
    """N rows of one input each; `tokens[i]` is a view of flat arrays.

    columns  {input_ids, token_type_ids, …}: (total,) int32 each
    ends     (N,) where each row ends
    """

    def __init__(self, columns: dict[str, np.ndarray], ends: np.ndarray):
        self.columns, self.ends = columns, ends

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Tokens:
        names = list(rows[0][0]) if rows else ["input_ids"]
        lengths = [len(row[0][names[0]]) for row in rows]
        empty = [np.zeros(0, dtype=np.int32)]
        return cls(
            {name: np.concatenate([*empty, *(row[0][name] for row in rows)]).astype(np.int32) for name in names},
            np.cumsum(lengths, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, i: int) -> Row: ...
    @overload
    def __getitem__(self, i: slice) -> list[Row]: ...
    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i = i % len(self)
        start, end = (self.ends[i - 1] if i else 0), self.ends[i]
        return [{name: column[start:end] for name, column in self.columns.items()}]


def kept_tokens(task: Task, examples: Examples) -> Sequence[Row]:
    """The inputs of the examples as the task encodes them, from the cache where they are in it."""
    rows = examples.table.select(examples.inputs).to_dicts
    sign = getattr(getattr(task, "encoder", None), "sign", None)
    if sign is None:  # a task with an encoder of its own kind
        return task.encode(rows())
    digest = hashlib.sha256(sign().encode())
    for name in examples.inputs:
        for text in examples.table[name].cast(pl.String):
            data = str(text).encode("utf-8", "surrogatepass")
            digest.update(b"%d:%b" % (len(data), data))
    path = directory() / f"{digest.hexdigest()}.arrow"
    found = _read(path)
    if found is None or len(found) != len(examples):
        found = Tokens.of(task.encode(rows()))
        _write(path, found)
    return found


def directory() -> Path:
    """Where tokenised data is kept."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "leadline" / "tokens"


def _read(path: Path) -> Tokens | None:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        os.utime(path)  # used today: goes last
        columns = {name: table[name].chunk(0).flatten().to_numpy() for name in table.column_names}
        return Tokens(columns, columns.pop("ends"))
    except (OSError, pa.ArrowInvalid, KeyError, IndexError):
        return None


def _write(path: Path, tokens: Tokens) -> None:
    """Whole or not at all; a cache that cannot be written is no error."""
    arrays = {**tokens.columns, "ends": tokens.ends}
    lists = {name: pa.LargeListArray.from_arrays([0, len(array)], pa.array(array)) for name, array in arrays.items()}
    table = pa.table(lists)
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        with os.fdopen(number, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        os.replace(name, path)
        _forget_oldest(path.parent)
    except OSError:
        Path(name).unlink(missing_ok=True) if name else None


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in files)
    for path in files[:-1]:
        if total <= LIMIT:
            return
        total -= path.stat().st_size
        path.unlink(missing_ok=True)
