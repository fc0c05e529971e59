"""Text formats: the bytes of a CSV, TSV, JSON or JSONL file -> columns of values as written, and the line of every row.

Strict on purpose: a row that does not fit its header, a quote that is never closed or a byte that is not UTF-8 is an
error that names the line. Nothing is guessed, so no row is dropped or shifted silently.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

from leadline.errors import InputError, all_at_once

# What a file really is when it does not decode; its first bytes say so.
MAGIC = {
    b"\x1f\x8b": "is gzip-compressed: let its name end in .gz",
    b"PAR1": "is Parquet: let its name end in .parquet",
    b"ARROW1": "is Arrow: let its name end in .arrow",
    b"PK\x03\x04": "is a zip file or an Excel workbook: save it as CSV UTF-8",
    codecs.BOM_UTF16_LE: "is UTF-16 (Excel calls it Unicode Text): save it as CSV UTF-8",
    codecs.BOM_UTF16_BE: "is UTF-16: save it as UTF-8",
}


@dataclass(frozen=True)
class Parsed:
    names: list[str]
    columns: list[list[Any]]
    lines: list[int] | None  # the line of the file in which each row begins


@dataclass
class _Rows:
    """One reading of a delimited text, with everything that is wrong with it."""

    header: list[str] | None = None
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def decode(data: bytes, origin: str) -> str:
    """UTF-8, with or without a byte-order mark. Raises InputError that names line and byte of what does not decode."""
    start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        return data[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        for magic, advice in MAGIC.items():
            if data.startswith(magic):
                raise InputError(f"{origin}: this file {advice}") from None
        at = start + error.start
        line = len((data[:at] + b"?").splitlines())
        raise InputError(
            f"{origin}, line {line}: byte {at} (0x{data[at]:02x}) is not UTF-8. "
            "Save the file as UTF-8 (it may be Latin-1 or Windows-1252)"
        ) from None


def comma_separated(text: str, origin: str) -> Parsed:
    return _parsed(_delimited(text, ",", quoted=True), origin)


def tab_separated(text: str, origin: str) -> Parsed:
    """Quoted as pandas and spreadsheets write it, or plain as GLUE is, where a quote is a letter like any other.

    Where both readings are possible and differ in their rows, or where plain fields look quoted, the file is refused.
    """
    quoted = _delimited(text, "\t", quoted=True)
    if '"' not in text:
        return _parsed(quoted, origin)
    plain = _delimited(text, "\t", quoted=False)
    if plain.problems:
        return _parsed(quoted, origin)
    looks_quoted = any(len(value) > 1 and value[0] == value[-1] == '"' for row in plain.rows for value in row)
    if quoted.problems and not looks_quoted:
        return _parsed(plain, origin)
    if quoted.problems or len(quoted.rows) != len(plain.rows):
        counts = f"{len(quoted.rows)} rows when quotes surround fields, {len(plain.rows)} when they do not"
        what = "it is not clear whether quotes belong to the texts or surround them; save it as CSV or JSONL"
        raise all_at_once(f"{origin}: {what}", quoted.problems or [counts])
    return _parsed(quoted, origin)


def _delimited(text: str, separator: str, quoted: bool) -> _Rows:
    result = _Rows()
    limit = csv.field_size_limit(2**31 - 1)  # a text of megabytes is a text
    source = io.StringIO(text, newline="")  # line breaks inside quotes stay as they are
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(source, delimiter=separator, quoting=quoting, strict=True)
    line, number = 1, 0  # where the row begins; rows so far, the ragged ones too
    try:
        for row in reader:
            if result.header is None:
                result.header = row or None
            elif row or len(result.header) == 1:  # an empty line is no row, except in a single column
                values = row or [""]
                if len(values) == len(result.header):
                    result.rows.append(values)
                    result.lines.append(line)
                else:
                    fields = f"{len(values)} fields, the header has {len(result.header)}"
                    result.problems.append(f"row {number} (line {line}): {fields}")
                number += 1
            line = reader.line_num + 1
    except csv.Error as error:
        what = "a quote is opened and never closed" if "end of data" in str(error) else f"broken quoting ({error})"
        result.problems.append(f"row {number} (line {line}): {what}")
    finally:
        csv.field_size_limit(limit)
    return result


def _parsed(read: _Rows, origin: str) -> Parsed:
    if read.problems:
        advice = 'put fields that hold separators, quotes or line breaks in "quotes", and double the quotes inside'
        raise all_at_once(f"{origin}: rows that do not fit the header; {advice}", read.problems)
    if read.header is None:
        raise InputError(f"{origin}: the file is empty; a header line with column names is needed")
    columns = [[row[k] for row in read.rows] for k in range(len(read.header))]
    return Parsed(read.header, columns, read.lines)


def json_array(text: str, origin: str) -> Parsed:
    """An array of objects, one per row."""
    if not text.strip():
        raise InputError(f"{origin}: the file is empty; an array of objects is needed")
    try:
        rows = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        hint = "; one object per line is JSONL: let the name end in .jsonl" if error.msg == "Extra data" else ""
        raise InputError(f"{origin}, line {error.lineno}: broken JSON ({error.msg}){hint}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}: broken JSON ({_reason(error)})") from None
    if not isinstance(rows, list):
        raise InputError(f"{origin}: an array of objects, one per row, is needed; the file holds {_kind(rows)}")
    problems = [f"row {i}: {_kind(row)}, not an object" for i, row in enumerate(rows) if not isinstance(row, dict)]
    if problems:
        raise all_at_once(f"{origin}: an array of objects is needed, one per row", problems)
    return _from_objects(rows, None)


def json_lines(text: str, origin: str) -> Parsed:
    """One object per line; empty lines are none."""
    rows, lines, problems = [], [], []
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 may stand inside a JSON text
        if not line.strip():
            continue
        try:
            row = _DECODER.decode(line)
        except json.JSONDecodeError as error:
            problems.append(f"line {number}: broken JSON ({error.msg}, character {error.pos + 1})")
            continue
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: broken JSON ({_reason(error)})")
            continue
        if not isinstance(row, dict):
            problems.append(f"line {number}: {_kind(row)}, not an object")
            continue
        rows.append(row)
        lines.append(number)
    if problems:
        raise all_at_once(f"{origin}: every line must be a JSON object", problems)
    return _from_objects(rows, lines)


def _from_objects(rows: list[dict[str, Any]], lines: list[int] | None) -> Parsed:
    names = list(dict.fromkeys(name for row in rows for name in row))  # in order of appearance; a missing key is a null
    return Parsed(names, [[row.get(name) for row in rows] for name in names], lines)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
