"""Reading: every format gives the same rows; whatever cannot be read is named with its line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from leadline.data import tables
from leadline.errors import InputError

ROWS = [
    {"id": "007", "text": 'He said "no",\nthen\tleft', "label": "2"},
    {"id": "1e3", "text": "ünïcödé 🌧  ", "label": "10"},
    {"id": "NA", "text": "one, two\r\nthree", "label": "-1"},
]


def delimited(separator: str, **options: Any) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, ROWS[0], delimiter=separator, **options)
    writer.writeheader()
    writer.writerows(ROWS)
    return sink.getvalue().encode()


def binary(write: str) -> bytes:
    sink = io.BytesIO()
    getattr(pl.DataFrame(ROWS), write)(sink)
    return sink.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "crlf.csv": lambda: delimited(","),
    "lf.csv": lambda: delimited(",", lineterminator="\n"),
    "old-mac.csv": lambda: delimited(",", lineterminator="\r"),
    "all-quoted.csv": lambda: delimited(",", quoting=csv.QUOTE_ALL),
    "bom.csv": lambda: b"\xef\xbb\xbf" + delimited(","),
    "empty-lines.csv": lambda: delimited(",", lineterminator="\n\n"),
    "a.tsv": lambda: delimited("\t"),
    "a.json": lambda: json.dumps(ROWS, indent=1).encode(),
    "a.jsonl": lambda: "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode(),
    "a.ndjson": lambda: "".join(json.dumps(row) + "\r\n\n" for row in ROWS).encode(),
    "a.parquet": lambda: binary("write_parquet"),
    "file.arrow": lambda: binary("write_ipc"),
    "stream.arrow": lambda: binary("write_ipc_stream"),
    "a.feather": lambda: binary("write_ipc"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, zipped: bool) -> None:
    data = gzip.compress(FILES[name]()) if zipped else FILES[name]()
    path = tmp_path / (name + (".gz" if zipped else ""))
    path.write_bytes(data)
    table = tables.read(path)
    assert table.frame.to_dicts() == ROWS  # values are text exactly as written
    assert table.sha256 == hashlib.sha256(data).hexdigest()
    assert table.origin == str(path)


def test_objects_give_the_same_rows_and_a_hash_of_their_content(tmp_path: Path) -> None:
    import datasets

    frame = pl.DataFrame(ROWS)
    for source in (frame, pd.DataFrame(ROWS), datasets.Dataset.from_list(ROWS)):
        assert tables.read(source).frame.to_dicts() == ROWS
    again = tables.read(pl.concat([frame[:1], frame[1:]]))
    assert again.sha256 == tables.read(frame).sha256
    assert tables.read(frame[::-1]).sha256 != tables.read(frame).sha256
    odd_index = pd.DataFrame(ROWS, index=[7, 7, 3])
    assert tables.read(odd_index).frame.to_dicts() == ROWS


def test_reading_a_file_imports_neither_pandas_nor_datasets_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,0\nb,1\n")
    code = (
        "import sys; from leadline import recipe; from leadline.data.load import load\n"
        "assert len(load(recipe.Data(train='a.csv', validation=None))) == 2\n"
        "print([name for name in ('pandas', 'datasets', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lines_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\r\n"one\ntwo",a\r\n\r\nthree,b\r\n"\n\n",c\r\nfour,d')
    table = tables.read(path)
    assert table.lines == [2, 5, 6, 9]
    assert table.place(3) == "row 3 (line 9)"
    assert table.frame["text"].to_list() == ["one\ntwo", "three", "\n\n", "four"]


def test_an_empty_line_of_a_single_column_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na\n\nb\n")
    assert tables.read(path).frame["text"].to_list() == ["a", "", "b"]


def test_a_text_of_megabytes(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "drought, " * 500_000
    path = tmp_path / "a.csv"
    path.write_text(f'text,label\n"{long}",a\nshort,b\n')
    assert tables.read(path).frame["text"].to_list() == [long, "short"]
    assert csv.field_size_limit() == limit


def refusal(path: Path, data: bytes | str) -> str:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError) as error:
        tables.read(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_rows_that_do_not_fit_are_all_named(tmp_path: Path) -> None:
    told = refusal(tmp_path / "a.csv", 'text,label\na,0\nb\n"c\nd",1,2\ne,1\n"f,1\n')
    assert "row 1 (line 3): 1 fields, the header has 2" in told
    assert "row 2 (line 4): 3 fields, the header has 2" in told
    assert "row 4 (line 7): a quote is opened and never closed" in told
    assert "line 6" not in told
    assert "row 0 (line 2): broken quoting" in refusal(tmp_path / "a.csv", 'text,label\n"a"b,0\n')


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("text,label,text", "`text` occurs twice"),
        ("text,,label", "column 2 has no name"),
        ("text,_label,x", "`_label`: names that begin with _"),
    ],
)
def test_column_names(tmp_path: Path, header: str, what: str) -> None:
    assert what in refusal(tmp_path / "a.csv", header + "\na,b,c\n")


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    told = refusal(tmp_path / "a.csv", b'text,label\n"a\nb",0\ncaf\xe9,1\n')
    assert "line 4: byte 22 (0xe9)" in told and "UTF-8" in told
    with_mark = refusal(tmp_path / "a.csv", b"\xef\xbb\xbftext,label\ncaf\xe9,1\n")
    assert "line 2: byte 17 (0xe9)" in with_mark
    assert "UTF-16" in refusal(tmp_path / "a.csv", "text,label\na,0".encode("utf-16"))
    assert ".gz" in refusal(tmp_path / "a.csv", gzip.compress(b"text,label\n"))
    assert "Excel" in refusal(tmp_path / "a.csv", b"PK\x03\x04\x14\xff\xff")


def test_tab_separated_text_may_be_quoted_or_plain(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"he said\t""no"""\t0\nb\t1\n')
    assert tables.read(path).frame["text"].to_list() == ['he said\t"no"', "b"]
    path.write_text('text\tlabel\n" no , " he said\t0\nthe "b"\t1\n')  # as GLUE writes it
    assert tables.read(path).frame["text"].to_list() == ['" no , " he said', 'the "b"']
    merged = 'text\tlabel\n"a\t0\nb"\t1\nc\t0\n'  # two rows when quotes surround, three when they do not
    assert "it is not clear whether quotes" in refusal(path, merged)
    cut = 'text\tlabel\n"a"\t"0"\n"b"\t"1\n'
    assert "it is not clear whether quotes" in refusal(path, cut)


def test_broken_json(tmp_path: Path) -> None:
    lines = refusal(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"\n\n[1]\n{"text": 1, "text": 2}\n')
    assert "line 2: broken JSON" in lines
    assert "line 4: an array, not an object" in lines
    assert "line 5: broken JSON (the key 'text' stands twice" in lines
    assert "line 1" not in lines
    array = tmp_path / "a.json"
    assert "line 2: broken JSON" in refusal(array, '[{"text": "a"},\n{"text" "b"}]')
    assert ".jsonl" in refusal(array, '{"text": "a"}\n{"text": "b"}\n')
    assert "an array of objects" in refusal(array, '{"text": ["a", "b"]}')
    assert "row 1: null, not an object" in refusal(array, '[{"text": "a"}, null]')
    assert "nested too deeply" in refusal(array, "[" * 100_000)
    assert "limit" in refusal(array, '[{"text": ' + "9" * 5000 + "}]")
    assert "row 1" in refusal(array, '[{"text": "a"}, {"text": "\\ud83d"}]')
    assert "line 2" in refusal(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "\\ud83d"}\n')


def test_json_values_keep_their_type_or_become_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [
        {
            "int": 1,
            "float": 1,
            "bool": True,
            "shares": [0, 1],
            "mixed": 1,
            "nested": {"a": "ü"},
            "big": 2**70,
            "gap": None,
        },
        {"int": 2, "float": 0.5, "bool": False, "shares": [0.5, 0.5], "mixed": "1.50", "nested": ["x"], "big": 1},
        {"int": None, "float": None, "bool": None, "shares": None, "mixed": True, "nested": None, "big": None},
    ]
    path.write_text(json.dumps(rows))
    table = tables.read(path)
    kinds = {name: str(kind) for name, kind in table.frame.schema.items()}
    assert kinds["int"] == "Int64" and kinds["float"] == "Float64" and kinds["bool"] == "Boolean"
    assert table.frame["shares"].to_list() == [[0.0, 1.0], [0.5, 0.5], None]
    assert table.frame["mixed"].to_list() == ["1", "1.50", "true"]
    assert table.raw["mixed"] == [1, "1.50", True]
    assert table.frame["nested"].to_list() == ['{"a": "ü"}', '["x"]', None]
    assert table.frame["big"].to_list() == [str(2**70), "1", None]
    assert table.frame["gap"].to_list() == [None, None, None]


def test_columns_of_python_objects() -> None:
    frame = pd.DataFrame(
        {
            "text": ["a", None, "c"],
            "mixed": [np.int64(1), "x", np.nan],
            "shares": [np.array([0.5, 0.5]), (0.1, 0.9), [1, 0]],
            "gap": [1, None, 2],
            "sparse": pd.arrays.SparseArray([0, 0, 1]),
            "month": pd.period_range("2020-01", periods=3, freq="M"),
        }
    )
    table = tables.read(frame)
    assert table.frame["text"].to_list() == ["a", None, "c"]
    assert table.frame["mixed"].to_list() == ["1", "x", None]
    assert table.raw == {"mixed": [1, "x", None]}
    assert table.frame["shares"].to_list() == [[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]]
    assert table.frame["gap"].to_list() == [1.0, None, 2.0]
    assert table.frame["sparse"].to_list() == [0, 0, 1]
    assert table.frame["month"].to_list() == ["2020-01", "2020-02", "2020-03"]


def test_declared_classes_survive_every_way_in(tmp_path: Path) -> None:
    import datasets

    names = ["neutral", "bad", "good"]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    dataset = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [2, -1, 0]}, features=features)
    assert tables.read(dataset).declared == {"label": names}
    turned = tables.read(dataset.select([2, 0]))
    assert turned.frame.to_dicts() == [{"text": "c", "label": 0}, {"text": "a", "label": 2}]
    arrow = dataset.with_format("arrow")[:]
    pa.parquet.write_table(arrow, tmp_path / "a.parquet")
    assert tables.read(tmp_path / "a.parquet").declared == {"label": names}

    frame = pd.DataFrame({"label": pd.Categorical(["b", "a", None], categories=["b", "c", "a"])})
    frame.to_parquet(tmp_path / "b.parquet")
    for source in (
        frame,
        tmp_path / "b.parquet",
        pl.DataFrame({"label": ["b", "a", None]}, {"label": pl.Enum(["b", "c", "a"])}),
    ):
        column = tables.read(source).frame["label"]
        assert column.dtype == pl.Enum(["b", "c", "a"])
        assert column.to_list() == ["b", "a", None]


def test_what_is_no_table(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(InputError, match="no such file. Did you mean `train.csv`"):
        tables.read(tmp_path / "trian.csv")
    with pytest.raises(InputError, match="must end in one of .csv"):
        path = tmp_path / "a.xlsx"
        path.write_bytes(b"")
        tables.read(path)
    with pytest.raises(InputError, match="is a directory"):
        tables.read(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        tables.read("not a path but a text, " * 100 + ".csv")
    with pytest.raises(InputError, match="not dict"):
        tables.read({"text": ["a"]})
    dataset = datasets.Dataset.from_dict({"text": ["a"]})
    with pytest.raises(InputError, match=r"one of its splits \(train, test\)"):
        tables.read(datasets.DatasetDict({"train": dataset, "test": dataset}))
    with pytest.raises(InputError, match="a dataset has a length"):
        tables.read(dataset.to_iterable_dataset())


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow", "a.csv.gz"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    data = gzip.compress(FILES["crlf.csv"]()) if name.endswith(".gz") else FILES[name]()
    assert "damaged" in refusal(tmp_path / name, data[: len(data) // 2])
    assert "damaged" in refusal(tmp_path / name, b"text,label\na,0\n")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    assert "the file is empty" in refusal(tmp_path / name, b"")
    assert "the file is empty" in refusal(tmp_path / name, b"\n\n")


def test_the_unnamed_index_of_a_pandas_parquet_file_is_no_column(tmp_path):

    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": ["x", "y", "x"]})
    frame[frame["text"] != "b"].to_parquet(tmp_path / "kept.parquet")  # the filter leaves an index that is stored
    assert tables.read(tmp_path / "kept.parquet").frame.to_dicts() == [
        {"text": "a", "label": "x"},
        {"text": "c", "label": "x"},
    ]
