"""scores.parquet: written piece by piece, and read again only where it was computed from these very signals."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline import scores as scores_room
from leadline.data.ids import Ids
from leadline.errors import cannot_write
from leadline.runs.run import RegionRule, Run, Scored, cut_map
from leadline.scores import SCORES
from leadline.scores.regions import CATEGORIES, Regions
from leadline.signals import Signals, period_path

ROWS = 500_000  # of a row group: what is in memory at a time while the file is written
KEY = b"leadline"


@dataclass(frozen=True)
class Written:
    """A scores.parquet as it was just written. Columns are read from it one at a time."""

    path: Path
    n: int
    names: list[str]  # of the scores in the file
    kept: list[str]  # those of them that were there before, and hold
    left_out: Mapping[str, str]  # score -> why it is not there
    regions: Regions

    def column(self, name: str) -> np.ndarray:
        """(N,) float64."""
        return _read(self.path, [name])[name].to_numpy()


def write_scores(
    run: Run,
    names: str | Sequence[str] = "all",
    max_epochs: int | None = None,
    skip_epochs: int = 0,
    rule: RegionRule | None = None,
) -> Written:
    """scores.parquet of a run, whole or not at all. Arguments as `Run.scored`, without its table in memory.

    Memory: the columns of the map's axes and one row group. Scores that the file held and that are not asked for stay
    in it where they were computed from the same signals and the same epochs, and are dropped where they were not.
    """
    window = run.signals.window(max_epochs, skip_epochs)
    pa.default_memory_pool().release_unused()  # reading the examples took more than they need
    computed, left_out = scores_room.usable(window, names)
    path, source = run.path / "scores.parquet", _source(run, max_epochs, skip_epochs)
    before = _matching(path, source, len(window))
    kept = [name for name in before if name not in computed]
    cut = cut_map(window, rule or RegionRule(), {})
    columns = [name for name in SCORES if name in {*computed, *kept}] if kept else computed
    left_out = dict(_note(path).get("left_out", {}) if before else {}) | left_out
    schema = _schema(columns, {"source": source, "left_out": left_out, "regions": cut.rule})
    groups = _groups(path, window, computed, kept)
    _write(
        path, schema, (_piece(run, window, rows, cut, [found[c] for c in columns], schema) for rows, found in groups)
    )
    return Written(path, len(window), columns, kept, left_out, cut)


def _groups(
    path: Path, window: Signals, computed: Sequence[str], kept: Sequence[str]
) -> Iterator[tuple[slice, dict[str, Any]]]:
    """The rows of each row group with their scores: computed, or read from the file that is there."""
    for number, start in enumerate(range(0, len(window), ROWS)):
        rows = slice(start, min(start + ROWS, len(window)))
        found: dict[str, Any] = dict(scores_room.columns(window.rows(rows), computed))
        if kept:
            with pq.ParquetFile(path) as old:
                table = old.read_row_group(number, kept)
            found |= {name: table[name] for name in kept}
        yield rows, found


def _write(path: Path, schema: pa.Schema, pieces: Iterable[pa.Table]) -> None:
    """One row group per piece; whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for piece in pieces:
                writer.write_table(piece)
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        partial.unlink(missing_ok=True)


def _schema(columns: Sequence[str], note: Mapping[str, Any]) -> pa.Schema:
    fields = [("id", pa.large_string()), ("label", pa.large_string()), *((name, pa.float64()) for name in columns)]
    return pa.schema([*fields, ("region", pa.large_string())], metadata={KEY: json.dumps(note).encode()})


def _piece(run: Run, window: Signals, rows: slice, cut: Regions, columns: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """The rows of one row group as they are written."""
    ids = window.ids[rows]
    id_column = ids.column if isinstance(ids, Ids) else pl.Series(ids)
    region = pa.DictionaryArray.from_arrays(pa.array(cut.code[rows]), pa.array(CATEGORIES)).cast(pa.large_string())
    texts = [id_column.to_arrow(), run.labels[rows].cast(pl.String).to_arrow()]
    return pa.table([*(t.cast(pa.large_string()) for t in texts), *columns, region], schema=schema)


def kept_scores(
    run: Run,
    names: str | Sequence[str] = "all",
    max_epochs: int | None = None,
    skip_epochs: int = 0,
    rule: RegionRule | None = None,
) -> Scored:
    """As `Run.scored`, but read from scores.parquet where the file was computed from these signals and epochs.

    The regions are cut anew, so their rule need not be the one of the file. What reads a `base` uses `Run.scored`.
    """
    window = run.signals.window(max_epochs, skip_epochs)
    asked, path = scores_room.known(names), run.path / "scores.parquet"
    there = _matching(path, _source(run, max_epochs, skip_epochs), len(window))
    left_out = {name: why for name, why in _note(path).get("left_out", {}).items() if name in asked} if there else {}
    if not there or any(name not in there and name not in left_out for name in asked):
        return run.scored(names, max_epochs, skip_epochs, rule)
    table = _read(path, [name for name in asked if name in there])
    columns = {name: table[name].to_numpy() for name in table.columns}
    cut = cut_map(window, rule or RegionRule(), columns)
    return Scored(run.as_table(columns, cut), cut, left_out)


def _source(run: Run, max_epochs: int | None, skip_epochs: int) -> dict[str, Any]:
    """What the scores of these epochs are computed from: files with their sizes and times, and this version."""
    numbers = list(range(1, run.signals.n_epochs + 1))[skip_epochs:max_epochs]
    files = [run.path / "examples.parquet", *(period_path(run.path / "signals", number) for number in numbers)]
    files += sorted((run.path / "probes").glob("*.npy"))
    states = {str(file.relative_to(run.path)): file.stat() for file in files}
    return {
        "leadline": version("leadline"),
        "files": {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()},
    }


def _matching(path: Path, source: Mapping[str, Any], n: int) -> list[str]:
    """The scores in the file, where it was computed from this source and in our row groups; else none."""
    note = _note(path)
    if note.get("source") != source:
        return []
    about = pq.read_metadata(path)
    groups = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
    if sum(groups) != n or any(rows != ROWS for rows in groups[:-1]):
        return []
    return [name for name in about.schema.names if name in SCORES]


def _note(path: Path) -> dict[str, Any]:
    """What the file says of how it was made; empty where it says nothing, is damaged or is not there."""
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(KEY, b"{}"))
    except (OSError, ValueError, pa.ArrowException):
        return {}


def _read(path: Path, names: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(pq.read_table(path, columns=list(names)).replace_schema_metadata(None)))
