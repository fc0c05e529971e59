"""Mangled tables: whatever the file, `load` returns the rows that stand in it, whole and in order, or an InputError.

The judge is independent of our reader: a CSV reader written out as a state machine below, Python's json, and rules for
texts, labels and ids restated in plain Python.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadline import recipe
from leadline.data.load import load
from leadline.errors import InputError

TEXT_FORMATS = ("csv", "tsv", "json", "jsonl")
BINARY_FORMATS = ("parquet", "arrow", "stream")
OBJECTS = ("pandas", "polars")
SUFFIX = {"stream": "arrow"}
QUICK = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}

# -- what is written ---------------------------------------------------------------------------------------------------

WORDS = (
    "rain",
    'a "quoted" word',
    "one, two",
    "tab\there",
    "line\nbreak",
    "crlf\r\nbreak",
    "ünï\u2028cödé 🌧",
    "007",
    "NA",
    "nul\0",
)
BLANK = ("", " ", "\n", "\u3000")
LABELS: dict[str, tuple[Any, ...]] = {
    "words": ("a", "b", 'c "d", e', "2", "10"),
    "integers": (0, 1, -1, 10),
    "booleans": (True, False),
    "whole floats": (1.0, 2.0, None),
    "fractions": (0.5, 1.0, 2.0),
    "written fractions": ("0.5", "1", "2"),
    "blanks": ("a", "b", "", " ", None),
    "mixed": ("a", 1, True, 2.0, 0.5, None, [1], {"x": 1}, ""),
    "one": ("a",),
}


@st.composite
def tables(draw: st.DrawFn, wild: bool = True) -> dict[str, Any]:
    tame = not wild or draw(st.integers(0, 3)) > 0
    n = draw(st.integers(3, 6) if tame else st.integers(0, 3))
    kind = draw(st.sampled_from(("words", "integers", "booleans") if tame else sorted(LABELS)))
    texts = st.sampled_from(WORDS) if tame else st.one_of(st.sampled_from(WORDS + BLANK), st.none(), st.integers(0, 9))
    columns = {
        "text": draw(st.lists(texts, min_size=n, max_size=n)),
        "label": draw(st.lists(st.sampled_from(LABELS[kind]), min_size=n, max_size=n)),
    }
    if draw(st.booleans()):
        ids = st.text("ab01", min_size=0 if not tame else 3, max_size=4)
        columns["key"] = draw(st.lists(ids, min_size=n, max_size=n, unique=tame))
    others = ("note", "größe", 'x"y', "a,b", "t\tt") if tame else ("note", "_ours", "")
    for name in draw(st.lists(st.sampled_from(others), max_size=2, unique=True)):
        columns[name] = draw(st.lists(st.sampled_from(WORDS + BLANK), min_size=n, max_size=n))
    by_key = "key" in columns
    if not tame and draw(st.integers(0, 4)) == 0:
        del columns[draw(st.sampled_from(sorted(columns)))]
    names = draw(st.permutations(sorted(columns)))
    rows = [[columns[name][i] for name in names] for i in range(n)]
    return {"names": list(names), "rows": rows, "by_key": by_key}


def write(table: dict[str, Any], form: str, quoting: int, end: str) -> bytes:
    names, rows = table["names"], table["rows"]
    if form in ("csv", "tsv"):
        sink = io.StringIO(newline="")
        writer = csv.writer(sink, delimiter="," if form == "csv" else "\t", quoting=quoting, lineterminator=end)
        writer.writerows([names, *rows])
        return sink.getvalue().encode()
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    if form == "json":
        return json.dumps(objects).encode()
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + end for row in objects).encode()
    out = io.BytesIO()
    frame = typed(names, rows)
    if form == "parquet":
        frame.write_parquet(out)
    else:
        (frame.write_ipc if form == "arrow" else frame.write_ipc_stream)(out)
    return out.getvalue()


def typed(names: list[str], rows: list[list[Any]]) -> pl.DataFrame:
    """Mixed columns become text beforehand: Parquet and Arrow columns have one type."""
    columns = {}
    for k, name in enumerate(names):
        values = [row[k] for row in rows]
        kinds = {type(value) for value in values} - {type(None)}
        if len(kinds) > 1 or kinds & {list, dict}:
            for row in rows:
                row[k] = None if row[k] is None else str(row[k])
            values = [row[k] for row in rows]
        columns[name] = pl.Series(name, values, dtype=None if any(v is not None for v in values) else pl.String)
    return pl.DataFrame(columns)


# -- what a plain reader makes of it -----------------------------------------------------------------------------------


def plain_rows(form: str, data: bytes) -> tuple[list[str], list[list[Any]]] | None:
    """(column names, rows) that stand in the bytes of a text format, or None where it is broken."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
        if form in ("json", "jsonl"):
            lines = [text] if form == "json" else [line for line in text.split("\n") if line.strip()]
            read = [json.loads(line, object_pairs_hook=once) for line in lines]
            objects = read[0] if form == "json" else read
            if not isinstance(objects, list) or not all(isinstance(row, dict) for row in objects):
                return None
            names = list(dict.fromkeys(name for row in objects for name in row))
            return names, [[row.get(name) for name in names] for row in objects]
        if form == "csv":
            return rectangle(delimited(text, ","))
        try:
            return rectangle(delimited(text, "\t"))
        except ValueError:
            return rectangle([line.split("\t") for line in lines_of(text)])
    except (ValueError, RecursionError):
        return None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def lines_of(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def delimited(text: str, separator: str) -> list[list[str]]:
    """RFC 4180 as a state machine, with \\n, \\r\\n and \\r as ends of rows."""
    rows, row, value, state = [], [], "", "start"
    for i, c in enumerate(text):
        if state == "inside":
            value, state = (value, "closing") if c == '"' else (value + c, "inside")
        elif state == "closing" and c == '"':
            value, state = value + c, "inside"
        elif c == separator:
            row, value, state = [*row, value], "", "start"
        elif c in "\r\n":
            if c == "\n" and text[i - 1 : i] == "\r":
                continue
            rows.append([*row, value])
            row, value, state = [], "", "start"
        elif state == "closing":
            raise ValueError("letters after a closing quote")
        elif c == '"' and state == "start":
            state = "inside"
        else:
            value, state = value + c, "plain"
    if state == "inside":
        raise ValueError("a quote is never closed")
    return [*rows, [*row, value]]


def rectangle(rows: list[list[str]]) -> tuple[list[str], list[list[Any]]] | None:
    while rows and rows[0] == [""]:
        rows = rows[1:]
    if not rows:
        return None
    if rows[-1] == [""]:
        rows = rows[:-1]  # the end of the last line
    names = rows[0]
    kept = [row for row in rows[1:] if row != [""] or len(names) == 1]
    if any(len(row) != len(names) for row in kept):
        raise ValueError("ragged")
    return names, kept


# -- what the examples must be -----------------------------------------------------------------------------------------


def judge(names: list[str], rows: list[list[Any]], by_key: bool) -> list[tuple[str, str, str]] | None:
    """(id, text, label) of every row, or None where the table must be refused."""
    wanted = ["text", "label", *(["key"] if by_key else [])]
    if len(set(names)) < len(names) or any(not name.strip() or name.startswith("_") for name in names):
        return None
    if not rows or any(name not in names for name in wanted):
        return None
    column = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    ids = column["key"] if by_key else [str(i) for i in range(len(rows))]
    labels = [label_of(value) for value in column["label"]]
    if any(value is None or isinstance(value, list | dict) or not str(value).strip() for value in column["text"]):
        return None
    if any(not name for name in ids) or len(set(ids)) < len(ids) or None in labels or len(set(labels)) < 2:
        return None
    if all(isinstance(value, str) for value in column["label"]) and fractions(column["label"]):
        return None
    return list(zip(ids, [text_of(value, column["text"]) for value in column["text"]], map(str, labels), strict=True))


def label_of(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value) if isinstance(value, str | int) and str(value).strip() else None


def fractions(labels: list[str]) -> bool:
    try:
        numbers = [float(value) for value in labels]
        return any(number != int(number) for number in numbers)
    except (ValueError, OverflowError):
        return False


def text_of(value: Any, column: list[Any]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and all(isinstance(v, int | float) for v in column) and float in map(type, column):
        return str(float(value))
    return str(value)


def outcome(
    source: Any, expected: list[tuple[str, str, str]] | None, by_key: bool, validation: float | None = None
) -> str:
    """ "loaded" (and equal to what is expected, in order) or "refused"; anything else is an error of ours."""
    frames = None if isinstance(source, str) else {"train": source}
    path = source if isinstance(source, str) else recipe.DATAFRAME
    data = recipe.Data(train=path, id="key" if by_key else None, validation=validation)
    try:
        examples = load(data, frames=frames)
    except InputError as error:
        return "nothing to hold out" if validation is not None and "data.validation" in str(error) else "refused"
    assert expected is not None, f"loaded although it must be refused: {examples.table}"
    place = {name: i for i, (name, _, _) in enumerate(expected)}
    for part in (examples.split("train"), examples.split("validation")):
        order = [place[name] for name in part.ids]
        assert order == sorted(order)
    got = zip(examples.ids, examples.table["text"].to_list(), examples.table["_label"].to_list(), strict=True)
    assert sorted(got) == sorted(expected)
    return "loaded"


# -- the tests ---------------------------------------------------------------------------------------------------------


def test_a_table_loads_whole_or_is_refused(tmp_path: Path) -> None:
    """Well-formed files of every format: refused exactly where the rules say so."""
    seen: Counter[str] = Counter()

    @settings(max_examples=450, **QUICK)
    @given(
        table=tables(),
        form=st.sampled_from(TEXT_FORMATS * 3 + BINARY_FORMATS + OBJECTS),
        quoting=st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)),
        end=st.sampled_from(("\n", "\r\n")),
        extra=st.sampled_from(("", "", "gz", "bom", "blank lines")),
        validation=st.sampled_from((None, None, 0.3)),
    )
    def one(table: dict[str, Any], form: str, quoting: int, end: str, extra: str, validation: float | None) -> None:
        names, rows, by_key = table["names"], table["rows"], table["by_key"]
        if form in OBJECTS:
            columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
            source: Any = pd.DataFrame(columns, dtype=object) if form == "pandas" else typed(names, rows)
        else:
            data = write(table, form, quoting, end)
            if form in TEXT_FORMATS and extra == "bom":
                data = b"\xef\xbb\xbf" + data
            if form in ("csv", "jsonl") and extra == "blank lines" and len(names) > 1:
                data += b"\n\n"
            path = tmp_path / f"t.{SUFFIX.get(form, form)}{'.gz' if extra == 'gz' else ''}"
            path.write_bytes(gzip.compress(data) if extra == "gz" else data)
            source = str(path)
        if form in TEXT_FORMATS:
            found = plain_rows(form, data)
            if form in ("csv", "tsv") and found is not None and len(names) > 1:
                written = [["" if value is None else str(value) for value in row] for row in rows]
                assert found == (names, written)  # the judge reads what was written
            names, rows = found or ([], [])
        expected = judge(names, rows, by_key)
        result = outcome(source, expected, by_key, validation)
        assert result == "nothing to hold out" or (result == "loaded") == (expected is not None)
        seen[result] += 1

    one()
    assert seen["loaded"] >= 150, seen  # the comparison was not idle
    assert seen["refused"] >= 100, seen


MANGLINGS = ("cut", "insert", "replace", "drop", "repeat line", "lose line", "separator", "latin-1", "utf-16")
PIECES = (b'"', b",", b"\n", b"\t", b"\r", b"\0", b"{", b"}", b"\\", b"\xff", b"\\ud800", b"NaN")


def mangled(data: bytes, mangling: str, where: float, what: bytes) -> bytes:
    at, lines = int(where * len(data)), data.split(b"\n")
    row = min(int(where * len(lines)), len(lines) - 1)
    if mangling == "insert":
        return data[:at] + what + data[at:]
    if mangling == "replace":
        return data[:at] + what + data[at + len(what) :]
    if mangling == "drop":
        return data[:at] + data[at + len(what) :]
    if mangling == "repeat line":
        return b"\n".join([*lines[:row], lines[row], *lines[row:]])
    if mangling == "lose line":
        return b"\n".join([*lines[:row], *lines[row + 1 :]])
    if mangling == "separator":
        return data.replace(b",", b";")
    if mangling in ("latin-1", "utf-16"):
        return data.decode("utf-8", "replace").encode(mangling, "replace")
    return data[:at]


def test_a_mangled_file_loads_as_it_stands_or_is_refused(tmp_path: Path) -> None:
    """Damaged files: what loads is what a plain reader finds in the damaged bytes."""
    seen: Counter[str] = Counter()

    @settings(max_examples=600, **QUICK)
    @given(
        table=tables(wild=False),
        form=st.sampled_from(TEXT_FORMATS * 3 + BINARY_FORMATS),
        mangling=st.sampled_from(MANGLINGS),
        where=st.floats(0, 1),
        what=st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=3)),
    )
    def one(table: dict[str, Any], form: str, mangling: str, where: float, what: bytes) -> None:
        data = mangled(write(table, form, csv.QUOTE_MINIMAL, "\n"), mangling, where, what)
        path = tmp_path / f"m.{SUFFIX.get(form, form)}"
        path.write_bytes(data)
        if form in BINARY_FORMATS:  # no plain reader of damaged ones: an InputError or some table, nothing else
            with contextlib.suppress(InputError):
                load(recipe.Data(train=str(path), validation=None))
            return
        found = plain_rows(form, data)
        seen[outcome(str(path), judge(*found, table["by_key"]) if found else None, table["by_key"])] += 1

    one()
    assert seen["loaded"] >= 50, seen
    assert seen["refused"] >= 100, seen


def test_a_wrong_name_or_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    @settings(max_examples=150, **QUICK)
    @given(
        table=tables(),
        form=st.sampled_from(TEXT_FORMATS + BINARY_FORMATS),
        other=st.sampled_from(("csv", "json", "parquet", "arrow", "csv.gz", "txt", "cut gz")),
        where=st.floats(0, 0.99),
    )
    def one(table: dict[str, Any], form: str, other: str, where: float) -> None:
        data = write(table, form, csv.QUOTE_MINIMAL, "\n")
        if other == "cut gz":
            whole = gzip.compress(data)
            data, other = whole[: int(where * len(whole))], f"{SUFFIX.get(form, form)}.gz"
        elif other == SUFFIX.get(form, form):
            other = "txt"
        path = tmp_path / f"w.{other}"
        path.write_bytes(data)
        with pytest.raises(InputError):
            load(recipe.Data(train=str(path), validation=None))

    one()


def test_random_bytes_are_refused_or_loaded_as_they_stand(tmp_path: Path) -> None:
    heads = (b"", b"text,label\n", b"text\tlabel\n", b'[{"text":', b'{"text": "a", "label":', b"PAR1", b"ARROW1\0\0")

    @settings(max_examples=150, **QUICK)
    @given(
        data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)),
        head=st.sampled_from(heads),
        suffix=st.sampled_from((*TEXT_FORMATS, "parquet", "arrow", "feather", "csv.gz", "parquet.gz")),
    )
    def one(data: bytes, head: bytes, suffix: str) -> None:
        path = tmp_path / f"r.{suffix}"
        path.write_bytes(head + data)
        found = plain_rows(suffix, head + data) if suffix in TEXT_FORMATS else None
        outcome(str(path), judge(*found, False) if found else None, False)

    one()
