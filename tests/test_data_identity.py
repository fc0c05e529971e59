"""Identity: whatever joins a run with data is refused where rows, texts or labels are not the same."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from leadline.data.examples import Examples, fingerprint, join, natural
from leadline.data.load import load, load_one
from leadline.errors import InputError
from leadline.recipe import DATAFRAME, Data

Rows = list[dict[str, Any]]


@pytest.fixture
def rows() -> Rows:
    return [{"id": 100 + i, "text": f"text {i}", "label": ("no", "yes")[i % 2], "note": i} for i in range(20)]


def examples(rows: Rows, **data: Any) -> Examples:
    return load(Data(train=DATAFRAME, validation=None, **data), frames={"train": pl.DataFrame(rows)})


def shuffled(rows: Rows) -> Rows:
    return random.Random(0).sample(rows, len(rows))


CHANGES: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "shuffled": (shuffled, "have other inputs there.*shuffled without an id column"),
    "shortened": (lambda rows: rows[:-3], "3 of the run's 20 examples are not there \\(first id: 17\\)"),
    "beheaded": (lambda rows: rows[1:], "1 of the run's 20 examples are not there \\(first id: 19\\)"),
    "edited": (
        lambda rows: [*rows[:4], {**rows[4], "text": "text 4 "}, *rows[5:]],
        "1 of .* have other inputs .*first id: 4",
    ),
    "relabelled": (
        lambda rows: [*rows[:5], {**rows[5], "label": "no"}, *rows[6:]],
        "1 of .* have other label .*first id: 5",
    ),
    "two swapped": (lambda rows: [rows[1], rows[0], *rows[2:]], "2 of .* have other inputs"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_refused(rows: Rows, name: str) -> None:
    change, told = CHANGES[name]
    with pytest.raises(InputError, match=told):
        join(examples(rows), examples(change(rows)))


def test_an_unchanged_or_longer_copy_joins(rows: Rows) -> None:
    run = examples(rows)
    assert join(run, examples(rows)).tolist() == list(range(20))
    longer = [*rows, {**rows[0], "id": 999, "text": "new"}]
    assert join(run, examples(longer)).tolist() == list(range(20))
    other_notes = [{**row, "note": -1} for row in rows]  # a column that is neither input nor label
    assert join(run, examples(other_notes)).tolist() == list(range(20))


def test_with_an_id_column_a_shuffled_file_joins_rightly(rows: Rows) -> None:
    run = examples(rows, id="id")
    mixed = shuffled(rows)
    found = join(run, examples(mixed, id="id"))
    assert [mixed[i]["id"] for i in found] == [row["id"] for row in rows]
    for name in ("edited", "relabelled", "shortened"):
        with pytest.raises(InputError):
            join(run, examples(shuffled(CHANGES[name][0](rows)), id="id"))


def test_ids_as_numbers_and_as_text_are_the_same(rows: Rows, tmp_path: Path) -> None:
    run = examples(rows, id="id")
    as_text = [{**row, "id": str(row["id"])} for row in rows]
    assert join(run, examples(as_text, id="id")).tolist() == list(range(20))
    as_float = [{**row, "id": float(row["id"])} for row in rows]
    assert join(run, examples(as_float, id="id")).tolist() == list(range(20))
    with open(tmp_path / "a.csv", "w", newline="") as sink:
        writer = csv.DictWriter(sink, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    read = load_one(tmp_path / "a.csv", Data(train="t", id="id"), classes=run.classes, split="train")
    assert join(run, read).tolist() == list(range(20))
    assert fingerprint(run) == fingerprint(read)
    padded = [{**row, "id": f"0{row['id']}"} for row in rows]
    with pytest.raises(InputError, match="20 of the run's 20 examples are not there"):
        join(run, examples(padded, id="id"))


def test_other_labels_join_only_when_they_are_ignored(rows: Rows) -> None:
    other = examples([{**row, "label": ("yes", "no")[i % 2]} for i, row in enumerate(rows)])
    assert join(examples(rows), other, labels="ignore").tolist() == list(range(20))
    with pytest.raises(InputError, match="have other label there .*relabelled"):
        join(examples(rows), other)


def test_a_file_without_labels_joins_on_its_inputs(rows: Rows) -> None:
    unlabelled = pl.DataFrame(rows).drop("label")
    data = load_one(unlabelled, Data(train="t"), classes=("no", "yes"), labelled=False)
    assert join(examples(rows), data).tolist() == list(range(20))


def test_a_sample_joins_with_the_whole_file(rows: Rows) -> None:
    part = examples(rows, sample={"n": 8})
    found = join(part, examples(rows))
    assert [f"text {i}" for i in found] == part.table["text"].to_list()


def test_examples_parquet_round_trip(rows: Rows, tmp_path: Path) -> None:
    frame = pl.DataFrame(rows).with_columns(
        note=pl.Series([[i] for i in range(20)]), label=pl.col("label").cast(pl.Enum(["yes", "no"])), gap=None
    )
    data = Data(train=DATAFRAME, id="id", weight="id", corrupt={"rate": 0.2}, validation=0.25)
    whole = load(data, frames={"train": frame})
    whole.write(tmp_path / "examples.parquet")
    again = Examples.read(tmp_path / "examples.parquet")
    assert again.table.equals(whole.table) and again.table.schema == whole.table.schema
    assert (again.classes, again.inputs, again.told, again.sources, again.task) == (
        ("yes", "no"),
        ("text",),
        whole.told,
        whole.sources,
        "classification",
    )
    assert fingerprint(again) == fingerprint(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["examples.parquet"]
    soft = pl.DataFrame({"text": ["a", "b"], "p": [0.25, 1.0], "q": [0.75, 0.0]})
    soft_data = Data(train=DATAFRAME, validation=None, label_distribution=["p", "q"])
    load(soft_data, frames={"train": soft}).write(tmp_path / "soft.parquet")
    assert Examples.read(tmp_path / "soft.parquet").targets.tolist() == [[0.25, 0.75], [1.0, 0.0]]


def test_natural_order() -> None:
    names = ["10", "9", "-2", "a10", "a9", "B", "2", "-10", "9" * 5000]
    assert sorted(names, key=natural) == ["-10", "-2", "2", "9", "10", "9" * 5000, "B", "a9", "a10"]
