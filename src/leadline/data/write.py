"""Tables as files: whole or not at all, and what a text format cannot hold as JSON text."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl

from leadline.errors import InputError

FORMATS = (".csv", ".tsv", ".parquet", ".jsonl")


def write_table(path: Path, table: pl.DataFrame) -> None:
    """csv, tsv, parquet or jsonl by the ending. In csv and tsv lists, structs, bytes and durations become JSON text."""
    if path.suffix not in FORMATS:
        raise InputError(f"-o {path}: the ending says the format; choose {', '.join(FORMATS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        if path.suffix == ".parquet":
            table.write_parquet(partial)
        elif path.suffix == ".jsonl":
            table.with_columns(as_text(table[n]) for n in table.columns if not _json_holds(table[n])).write_ndjson(
                partial
            )
        else:
            flat = table.with_columns(as_text(table[n]) for n in table.columns if not _csv_holds(table[n]))
            flat.write_csv(partial, separator="\t" if path.suffix == ".tsv" else ",")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def as_text(column: pl.Series) -> pl.Series:
    """Values that have no plain text form (lists, structs, bytes, durations) as JSON, others as they are written."""
    if column.dtype.is_nested() or not _json_holds(column):
        values = [None if value is None else json.dumps(value, default=str) for value in column.to_list()]
        return pl.Series(column.name, values, dtype=pl.String)
    return column.cast(pl.String)


def _csv_holds(column: pl.Series) -> bool:
    return not column.dtype.is_nested() and _json_holds(column)


def _json_holds(column: pl.Series) -> bool:
    return column.dtype not in (pl.Binary, pl.Object, pl.Duration)
