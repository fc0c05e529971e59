"""Tables: any source of rows -> one polars frame, with what errors must name (file, line) and its identity (SHA-256).

CSV, TSV, JSON, JSONL, Parquet, Arrow IPC (file or stream, Feather), each optionally .gz; pandas and polars DataFrames;
`datasets.Dataset`. pandas and datasets are never imported here: who hands over such an object has done it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline.data import parse
from leadline.errors import InputError, all_at_once, nearest

TEXT_FORMATS: dict[str, Callable[[str, str], parse.Parsed]] = {
    ".csv": parse.comma_separated,
    ".tsv": parse.tab_separated,
    ".json": parse.json_array,
    ".jsonl": parse.json_lines,
    ".ndjson": parse.json_lines,
}
BINARY_FORMATS = (".parquet", ".arrow", ".feather", ".ipc")
UNLABELLED = -1  # of a ClassLabel: the Hub's convention for labels that are not published


@dataclass(frozen=True)
class Table:
    frame: pl.DataFrame
    origin: str  # what error messages call it
    sha256: str  # of the file's bytes, or of an object's content
    lines: list[int] | None = None  # the line of the file in which each row begins
    declared: dict[str, list[str]] = field(
        default_factory=dict
    )  # of ClassLabel columns, whose values are indices into it
    raw: dict[str, list[Any]] = field(default_factory=dict)  # the values of columns that became text: mixed or nested

    def place(self, row: int) -> str:
        """What errors call a row: its number, counted from 0, and its line in the file."""
        return _place(row, self.lines)


def _place(row: int, lines: list[int] | None) -> str:
    return f"row {row}" if lines is None else f"row {row} (line {lines[row]})"


def read(source: Any, origin: str = "") -> Table:
    """A path or an object with rows -> Table. CSV and TSV values are text exactly as written ("007" stays "007").

    Raises InputError for whatever cannot be read: what, in which line, and what to do.
    """
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    if isinstance(source, pl.DataFrame):
        return _from_series(source.columns, source.get_columns(), origin or "the DataFrame")
    if _is(source, "pandas", "DataFrame"):
        return _from_pandas(source, origin or "the DataFrame")
    if _is(source, "datasets", "Dataset"):
        return from_dataset(source, origin or "the Dataset")
    if _is(source, "datasets", "DatasetDict"):
        raise InputError(
            f"{origin or 'the DatasetDict'}: give one of its splits ({', '.join(source)}), not all of them"
        )
    if _is(source, "datasets", "IterableDataset"):
        raise InputError(f"{origin or 'the IterableDataset'}: a dataset has a length; endless streams are out of scope")
    wanted = "a path, a pandas or polars DataFrame or a datasets.Dataset"
    raise InputError(f"{origin or 'data'}: {wanted} is needed, not {type(source).__name__}")


def _is(source: Any, module: str, name: str) -> bool:
    """isinstance, without importing the module: who has such an object has imported it."""
    return isinstance(source, getattr(sys.modules.get(module), name, ()))


def _read_file(path: Path) -> Table:
    origin = str(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join((suffixes[:-1] if zipped else suffixes)[-1:])
    data = _bytes(path, origin)
    if kind not in (*TEXT_FORMATS, *BINARY_FORMATS):
        known = ", ".join([*TEXT_FORMATS, *BINARY_FORMATS])
        raise InputError(f"{origin}: the name must end in one of {known}, each also with .gz")
    sha256 = hashlib.sha256(data).hexdigest()
    if zipped:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{origin}: damaged or cut gzip file ({error}); fetch or compress it again") from None
    if kind in BINARY_FORMATS:
        return from_arrow(_read_arrow(data, kind, origin), origin, sha256)
    parsed = TEXT_FORMATS[kind](parse.decode(data, origin), origin)
    _check_names(parsed.names, origin)
    series, raw = [], {}
    for name, values in zip(parsed.names, parsed.columns, strict=True):
        column, given = _series(name, values, origin, parsed.lines)
        series.append(column)
        if given is not None:
            raw[name] = given
    return Table(pl.DataFrame(series), origin, sha256, parsed.lines, raw=raw)


def _bytes(path: Path, origin: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"{origin}: no such file.{nearest(path.name, beside)}") from None
    except IsADirectoryError:
        raise InputError(
            f"{origin} is a directory; give a file (or hub:{origin}, if it is laid out like the Hub)"
        ) from None
    except (OSError, ValueError) as error:  # no permission; a name that is too long or holds a NUL
        raise InputError(f"{origin[:200]}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _read_arrow(data: bytes, kind: str, origin: str) -> pa.Table:
    source = pa.BufferReader(data)
    try:
        if kind == ".parquet":
            table = pq.read_table(source, page_checksum_verification=True)  # (where the writer stored checksums)
        elif data.startswith(b"ARROW1"):
            table = pa.ipc.open_file(source).read_all()
        else:
            table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)  # offsets, indices and UTF-8: a damaged file must not reach memory access
    except Exception as error:  # pyarrow raises several kinds for a damaged file
        what = "Parquet" if kind == ".parquet" else "Arrow"
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{origin}: cannot be read as {what}, it is damaged or of another format: {reason}") from None
    return table


def from_dataset(dataset: Any, origin: str, sha256: str | None = None) -> Table:
    """A `datasets.Dataset`, in the order in which it presents its rows (after select, shuffle, filter)."""
    return from_arrow(dataset.with_format("arrow")[:], origin, sha256, declared=_class_labels(dataset.features))


def _class_labels(features: Any) -> dict[str, list[str]]:
    return {name: list(f.names) for name, f in features.items() if type(f).__name__ == "ClassLabel" and f.names}


def from_arrow(table: pa.Table, origin: str, sha256: str | None, declared: dict[str, list[str]] | None = None) -> Table:
    """An Arrow table; ClassLabel names (`datasets` writes them into the schema) and pandas categories are kept."""
    metadata = table.schema.metadata or {}
    # an index without a name, which pandas stores beside the columns of a Parquet file: not a column of the caller's
    table = table.drop_columns([name for name in table.column_names if re.fullmatch(r"__index_level_\d+__", name)])
    names = list(table.column_names)
    _check_names(names, origin)
    categorical = _pandas_categoricals(metadata)
    series = []
    for name, column in zip(names, table.columns, strict=True):
        try:
            if name in categorical and pa.types.is_dictionary(column.type):
                chunks = column.unify_dictionaries().chunks
                categories = chunks[0].dictionary.to_pylist() if chunks else []
                series.append(_enum(name, column.cast(column.type.value_type).to_pylist(), categories))
            else:
                series.append(pl.Series(name, pl.from_arrow(column)))
        except (Exception, pl.exceptions.PanicException) as error:
            what = f"type {column.type} cannot be read ({error}); store it as text"
            raise InputError(f"{origin}, column `{name}`: {what}") from None
    frame = pl.DataFrame(series)
    known = _hub_metadata(metadata) if declared is None else declared
    known = {name: labels for name, labels in known.items() if name in names and frame[name].dtype.is_integer()}
    return Table(frame, origin, sha256 or _content_hash(frame), declared=known)


def _hub_metadata(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """ClassLabel names in the schema of a file that `datasets` wrote."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        known = {name: f for name, f in features.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"}
        return {name: [str(label) for label in f["names"]] for name, f in known.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # another program's metadata of that name


def _pandas_categoricals(metadata: dict[bytes, bytes]) -> set[str]:
    try:
        columns = json.loads(metadata.get(b"pandas", b"{}")).get("columns", [])
        return {column["name"] for column in columns if column["pandas_type"] == "categorical"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def _from_pandas(df: Any, origin: str) -> Table:
    names = [str(name) for name in df.columns]
    _check_names(names, origin)
    series: list[pl.Series] = []
    for position, name in enumerate(names):
        column = df.iloc[:, position]
        if type(column.dtype).__name__ == "CategoricalDtype":
            values = column.astype(object).where(column.notna(), None).tolist()
            series.append(_enum(name, values, column.dtype.categories.tolist()))
        elif column.dtype.kind in "biufMm" and not hasattr(column, "sparse"):
            series.append(pl.Series(name, pl.from_pandas(column, nan_to_null=True)))
        else:  # text, and whatever polars does not know
            values = column.astype(object).where(column.notna(), None).tolist()
            series.append(pl.Series(name, values, dtype=pl.Object))
    return _from_series(names, series, origin)


def _from_series(names: Sequence[str], columns: Sequence[pl.Series], origin: str) -> Table:
    """Columns of Python objects become polars columns; the others are taken as they are."""
    _check_names(names, origin)
    series, raw = [], {}
    for name, column in zip(names, columns, strict=True):
        if column.dtype == pl.Object:
            values = [_plain(value) for value in column.to_list()]
            column, given = _series(name, values, origin, None)
            if given is not None:
                raw[name] = given
        elif column.dtype in (pl.Int128, pl.UInt128):  # Arrow has no such type
            column = column.cast(pl.String)
        series.append(column)
    frame = pl.DataFrame(series)
    return Table(frame, origin, _content_hash(frame), raw=raw)


def _check_names(names: Sequence[str], origin: str) -> None:
    problems = []
    for position, name in enumerate(names):
        if not name.strip():
            problems.append(f"column {position + 1} has no name (the index of a pandas frame? save with index=False)")
        elif name.startswith("_"):
            problems.append(f"column `{name}`: names that begin with _ are leadline's own; rename it or leave it out")
        elif name in names[:position]:
            problems.append(f"column `{name}` occurs twice")
        elif _unwritable(name):
            problems.append(f"column {position + 1}: its name {name!r} is no valid Unicode")
    if problems:
        raise all_at_once(f"{origin}: column names", problems)


def _series(name: str, values: list[Any], origin: str, lines: list[int] | None) -> tuple[pl.Series, list[Any] | None]:
    """Python values -> a column of one type; and the values themselves where their type is lost.

    Texts, booleans, numbers and lists of numbers keep their type; mixed and nested values become JSON text.
    """
    kinds = {type(value) for value in values} - {type(None)}
    try:
        if kinds <= {str}:
            return pl.Series(name, values, dtype=pl.String), None
        if kinds == {bool}:
            return pl.Series(name, values, dtype=pl.Boolean), None
        if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
            return pl.Series(name, values, dtype=pl.Int64), None
        if kinds <= {int, float} and all(type(value) is not int or abs(value) <= 2**53 for value in values):
            numbers = [None if value is None else float(value) for value in values]
            return pl.Series(name, numbers, dtype=pl.Float64), None
        if kinds == {list} and all(type(x) in (int, float) for value in values if value is not None for x in value):
            lists = [None if value is None else [float(x) for x in value] for value in values]
            return pl.Series(name, lists, dtype=pl.List(pl.Float64)), None
        values = [None if value != value else value for value in values]  # NaN among texts: how Python writes a gap
        return pl.Series(name, [_json_text(value) for value in values], dtype=pl.String), values
    except (ValueError, TypeError, OverflowError):  # (UnicodeEncodeError is a ValueError)
        bad = [_place(row, lines) for row, value in enumerate(values) if _unwritable(value)]
        what = "a text is no valid Unicode (half of a surrogate pair)" if bad else "a value cannot be stored"
        raise InputError(f"{origin}, column `{name}`{', ' + bad[0] if bad else ''}: {what}") from None


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _unwritable(value: Any) -> bool:
    try:
        (_json_text(value) or "").encode()
    except UnicodeEncodeError:
        return True
    return False


def _enum(name: str, values: list[Any], categories: list[Any]) -> pl.Series:
    """A column whose classes are declared, in the declared order; the declaration is given up where it is ambiguous."""
    texts = pl.Series(name, [None if value is None else label_text(value) for value in values], dtype=pl.String)
    order = [label_text(category) for category in categories]
    return texts.cast(pl.Enum(order)) if len(set(order)) == len(order) else texts


def label_text(value: Any) -> str:
    """A label as text: 1 and 1.0 are "1", True is "true"."""
    value = _plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _plain(value: Any) -> Any:
    """numpy scalars, arrays and tuples as Python values, NaN and None as None; what JSON does not know as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [x.item() if isinstance(x, np.generic) else x for x in value]
    if value is None or isinstance(value, str | bool | int | dict):
        return value
    if isinstance(value, float):
        return None if value != value else value
    return str(value)


def _content_hash(frame: pl.DataFrame) -> str:
    sink = io.BytesIO()
    try:
        frame.rechunk().write_ipc(sink, compat_level=pl.CompatLevel.oldest())
    except (Exception, pl.exceptions.PanicException):  # a type that Arrow lacks
        sink.write(repr((frame.schema, frame.rows())).encode())
    return hashlib.sha256(sink.getbuffer()).hexdigest()
