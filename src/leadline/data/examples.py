"""Examples: the rows of one dataset with a stable identity, all splits in one table.

Columns of ours begin with `_`; every source column is kept beside them:
`_id` text, unique within a split · `_split` train | validation | test · `_label` text (a number for regression) ·
`_label_distribution` (K,) soft targets · `_weight` · `_true_label` where labels were corrupted on purpose ·
`_input_hash`, `_label_hash` · `_length` tokens, once tokenised.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline.data.ids import Ids
from leadline.errors import InputError

FORMAT = 1
METADATA_KEY = b"leadline"
SPLITS = ("train", "validation", "test")
REPEATED = ["_split", "_label"]  # few distinct values: held as numbers with a dictionary where few columns are read
PIECE = 250_000  # rows
DIGITS = 4000  # Python refuses to turn more into a number


@dataclass(frozen=True)
class Examples:
    table: pl.DataFrame
    task: str = "classification"
    inputs: tuple[str, ...] = ()  # the text columns; empty for an import without texts
    classes: tuple[str, ...] = ()  # in the order of the logits; empty for regression
    told: tuple[str, ...] = ()  # what a reader must know: sampled, set apart, corrupted
    sources: dict[str, Any] = field(default_factory=dict)  # {split: {path, sha256, rows}}
    named: bool = True  # False: the file names no classes, they were read off its labels

    def __len__(self) -> int:
        return self.table.height

    def split(self, name: str) -> Examples:
        inside = self.table["_split"] == name
        return self if inside.all() else replace(self, table=self.table.filter(inside))

    def without_input(self) -> Examples:
        """Every text is empty: what a model knows without reading."""
        return replace(self, table=self.table.with_columns(pl.lit("").alias(name) for name in self.inputs))

    @property
    def splits(self) -> list[str]:
        present = set(self.table["_split"].unique()) if len(self) else set()
        return [name for name in SPLITS if name in present]

    @property
    def ids(self) -> list[str]:
        return self.table["_id"].to_list()

    @property
    def id_column(self) -> Ids:
        """The ids without a Python object for each: for what must hold ten million of them."""
        return Ids(self.table["_id"])

    @property
    def soft(self) -> bool:
        return "_label_distribution" in self.table.columns

    @property
    def gold(self) -> np.ndarray:
        """(N,) int64 class index, or (N,) float64 without classes: the number, NaN where the answer is none.

        Of a distribution: its largest class.
        """
        if not self.classes:
            labels = self.table["_label"]
            labels = labels if labels.dtype.is_numeric() else labels.cast(pl.String)
            return labels.cast(pl.Float64, strict=False).to_numpy()
        labels = self.table["_label"]
        if labels.dtype != pl.Categorical:
            labels = labels.cast(pl.String).cast(pl.Categorical)
        index = {name: k for k, name in enumerate(self.classes)}
        distinct = labels.unique()
        codes = distinct.to_physical().to_numpy()
        of_code = np.zeros(codes.max(initial=0) + 1, dtype=np.int64)  # number of a category -> class
        of_code[codes] = [index[label] for label in distinct.to_list()]
        return of_code[labels.to_physical().to_numpy()]

    @property
    def targets(self) -> np.ndarray:
        """What is trained on: (N,) class index, (N, K) distribution, or (N,) numbers."""
        if not self.soft:
            return self.gold
        return np.array(self.table["_label_distribution"].to_list(), dtype=np.float64).reshape(
            len(self), len(self.classes)
        )

    @property
    def weights(self) -> np.ndarray:
        """(N,) float64, 1 where no weight column was given."""
        if "_weight" not in self.table.columns:
            return np.ones(len(self))
        return self.table["_weight"].to_numpy().astype(np.float64)

    @property
    def source_columns(self) -> list[str]:
        return [name for name in self.table.columns if not name.startswith("_")]

    def write(self, path: Path) -> None:
        """examples.parquet, whole or not at all."""
        metadata = {
            "format": FORMAT,
            "task": self.task,
            "inputs": list(self.inputs),
            "classes": list(self.classes),
            "told": list(self.told),
            "sources": self.sources,
        }
        table = self.table.to_arrow()
        table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})
        partial = path.with_name(path.name + ".partial")
        pq.write_table(table, partial)
        os.replace(partial, path)

    @staticmethod
    def read(path: Path, columns: Iterable[str] | None = None) -> Examples:
        """examples.parquet, or only those of its `columns` that it has: texts are most of its memory."""
        if not path.is_file():
            raise InputError(f"{path}: no such file; is this the directory of a run?")
        try:
            frame, schema = _read_all(path) if columns is None else _read_some(path, columns)
        except Exception as error:  # pyarrow raises several kinds for a damaged file
            raise InputError(f"{path}: cannot be read as Parquet: {error}") from None
        metadata = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
        if metadata.get("format", FORMAT) > FORMAT:
            raise InputError(
                f"{path}: format {metadata['format']} is newer than this leadline knows ({FORMAT}); upgrade leadline"
            )
        classes = metadata.get("classes")
        if classes is None:  # written by another program: the labels themselves say which classes there are
            from_labels = frame["_label"].cast(pl.String).unique().to_list() if "_label" in frame.columns else []
            classes = sorted(from_labels, key=natural)
        return Examples(
            table=frame,
            task=metadata.get("task", "classification"),
            inputs=tuple(metadata.get("inputs", ())),
            classes=tuple(classes),
            told=tuple(metadata.get("told", ())),
            sources=metadata.get("sources", {}),
            named="classes" in metadata,
        )


def _read_all(path: Path) -> tuple[pl.DataFrame, pa.Schema]:
    table = pq.read_table(path)
    return pl.DataFrame(pl.from_arrow(table.replace_schema_metadata(None))), table.schema


def _read_some(path: Path, columns: Iterable[str]) -> tuple[pl.DataFrame, pa.Schema]:
    """Those of `columns` that the file has, piece by piece, so that nothing is in memory twice."""
    with pq.ParquetFile(path, read_dictionary=REPEATED) as file:
        schema = file.schema_arrow
        chosen = [name for name in columns if name in schema.names]
        pieces = [
            pl.DataFrame(pl.from_arrow(pa.table(batch).replace_schema_metadata(None)))
            for batch in file.iter_batches(PIECE, columns=chosen)
        ]
    if not pieces:
        pieces = [pl.DataFrame(pl.from_arrow(schema.empty_table().select(chosen).replace_schema_metadata(None)))]
    pa.default_memory_pool().release_unused()
    return pl.concat(pieces), schema


def natural(text: str) -> tuple[Any, ...]:
    """Sort key in which 2 comes before 10, and numbers before words."""
    parts: list[Any] = []
    number = ""
    sign = text[:1] == "-" and text[1:2].isdigit()
    for character in text[1:] if sign else text:
        if character.isascii() and character.isdigit():
            number += character
            continue
        if number:
            parts.append((0, int(number[:DIGITS]), ""))
            number = ""
        parts.append((1, 0, character))
    if number:
        parts.append((0, int(number[:DIGITS]), ""))
    if sign and parts and parts[0][0] == 0:
        parts[0] = (0, -parts[0][1], "")
    return (*parts, (2, 0, text))


def row_hashes(*columns: list[Any]) -> list[int]:
    """One 63-bit hash per row over the given columns, each value taken as text and length-prefixed.

    Equal rows give equal hashes whatever the type of the column was: 7 and "7" are the same only as text.
    """
    hashes = []
    for row in zip(*columns, strict=True):
        digest = hashlib.blake2b(digest_size=8)
        for value in row:
            data = str(value).encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        hashes.append(int.from_bytes(digest.digest(), "little") >> 1)
    return hashes


def with_hashes(examples: Examples) -> Examples:
    """Adds `_input_hash` (over id and inputs) and `_label_hash` (over id and label); null where there are none."""
    table, ids = examples.table, examples.table["_id"].to_list()
    label = "_label_distribution" if examples.soft else "_label"
    labelled = label in table.columns
    labels = row_hashes(ids, table[label].to_list()) if labelled else [None] * table.height
    if examples.inputs:
        inputs = pl.Series(row_hashes(ids, *(table[name].to_list() for name in examples.inputs)), dtype=pl.Int64)
    else:
        inputs = pl.Series([None] * table.height, dtype=pl.Int64)
    table = table.with_columns(inputs.alias("_input_hash"), pl.Series(labels, dtype=pl.Int64).alias("_label_hash"))
    return replace(examples, table=table)


def fingerprint(examples: Examples) -> dict[str, str]:
    """One hash over all ids and inputs and one over all ids and labels: the identity of a split, in its order."""
    result = {}
    for name in ("_input_hash", "_label_hash"):
        digest = hashlib.sha256()
        column = examples.table[name] if name in examples.table.columns else pl.Series([], dtype=pl.Int64)
        for start in range(0, len(column), 1_000_000):
            digest.update(_hash_bytes(column[start : start + 1_000_000]))
        result[name.removeprefix("_")] = digest.hexdigest()
    return result


def _hash_bytes(column: pl.Series) -> bytes:
    """Each value as eight bytes, least first; a null as "-"."""
    nulls = column.null_count()
    if nulls == 0:
        return column.to_numpy().astype("<i8").tobytes()
    if nulls == len(column):
        return b"-" * nulls
    return b"".join(b"-" if value is None else value.to_bytes(8, "little") for value in column)


def join(
    run: Examples, data: Examples, labels: str = "same", where: str = "the data", advice: str | None = None
) -> np.ndarray:
    """For each row of `run`, the row of `data` that is the same example: (N,) int64.

    Joined by id; id and input hash must match for every row of `run`. Different labels are refused unless
    `labels="ignore"`. Without inputs on one side (an import without texts) id and label decide alone.
    Raises InputError that counts the rows that do not match and names the first; `advice` where `data` is no file.
    """
    place = {name: row for row, name in enumerate(data.ids)}
    rows = np.array([place.get(name, -1) for name in run.ids], dtype=np.int64)
    if (rows < 0).any():
        first = run.ids[int(np.flatnonzero(rows < 0)[0])]
        raise InputError(
            f"{where}: {int((rows < 0).sum())} of the run's {len(run)} examples are not there (first id: {first}). "
            + (advice or "Give the file that the run was trained on, or a copy with the same id column")
        )
    for column, what in (("_input_hash", "inputs"), ("_label_hash", "label")):
        if column == "_label_hash" and labels == "ignore":
            continue
        ours, theirs = run.table[column].to_list(), data.table[column].to_list()
        differ = [
            i
            for i, row in enumerate(rows)
            if ours[i] is not None and theirs[row] is not None and ours[i] != theirs[row]
        ]
        if differ:
            advice = advice or (
                "the file was edited, or shuffled without an id column (set data.id)"
                if what == "inputs"
                else "the file was relabelled"
            )
            raise InputError(
                f"{where}: {len(differ)} of the run's {len(run)} examples have other {what} there "
                f"(first id: {run.ids[differ[0]]}): {advice}"
            )
    return rows
