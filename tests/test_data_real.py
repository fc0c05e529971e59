"""The real data sets of the README in the data folder: row counts, balance, texts with line breaks, pairs, gz."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from leadline.data.examples import join
from leadline.data.load import load, load_one
from leadline.recipe import Data

# As each folder's README states them; (label column, text columns, files, counts).
SETS = {
    "trec": (
        "coarse",
        "text",
        {"train": "train.csv", "test": "test.csv"},
        {
            "train": {"ABBR": 86, "DESC": 1162, "ENTY": 1250, "HUM": 1223, "LOC": 835, "NUM": 896},
            "test": {"ABBR": 9, "DESC": 138, "ENTY": 94, "HUM": 65, "LOC": 81, "NUM": 113},
        },
    ),
    "mrpc": (
        "label",
        ["sentence1", "sentence2"],
        {"train": "train.csv.gz", "test": "test.csv"},
        {"train": {"0": 1323, "1": 2753}, "test": {"0": 578, "1": 1147}},
    ),
    "sst2": (
        "label",
        "sentence",
        {"train": "train.csv.gz", "test": "dev.csv"},
        {"train": {"0": 29780, "1": 37569}, "test": {"0": 428, "1": 444}},
    ),
    "spam": (
        "label",
        "text",
        {"train": "train.csv", "test": "test.csv"},
        {"train": {"0": 586, "1": 3873}, "test": {"0": 161, "1": 954}},
    ),
    "sarcasm": (
        "label",
        "text",
        {"train": "train.csv", "test": "test.csv"},
        {"train": {"0": 2600, "1": 867}, "test": {"0": 1200, "1": 200}},
    ),
}


def data(folder: Path, name: str, **more: object) -> Data:
    label, text, files, _ = SETS[name]
    paths = {split: str(folder / name / file) for split, file in files.items()}
    return Data.model_validate({"label": label, "text": text, "id": "idx", **paths, **more})


@pytest.mark.parametrize("name", SETS)
def test_rows_balance_and_texts(data_dir: Path, name: str) -> None:
    settings = data(data_dir, name, validation=None)
    examples = load(settings)
    *_, files, counts = SETS[name]
    for split, file in files.items():
        table = examples.split(split).table
        assert dict(Counter(table["_label"].to_list())) == counts[split]
        path = data_dir / name / file
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as source:
            rows = list(csv.DictReader(source))
        assert [[row[column] for row in rows] for column in settings.inputs] == [
            table[column].to_list() for column in settings.inputs
        ]
        assert table["_id"].to_list() == [row["idx"] for row in rows]
    assert examples.classes == tuple(sorted(counts["train"]))
    assert examples.told == ()


def test_texts_with_line_breaks_are_there(data_dir: Path) -> None:
    texts = load(data(data_dir, "sarcasm", validation=None)).table["text"]
    assert texts.str.contains("\n").sum() > 50


def test_a_tenth_is_held_out_in_proportion(data_dir: Path) -> None:
    examples = load(data(data_dir, "trec", validation=0.1))
    held = Counter(examples.split("validation").table["_label"].to_list())
    counts = SETS["trec"][3]["train"]
    assert sum(held.values()) == 545
    assert all(abs(held[name] - counts[name] / 10) < 1 for name in counts)


def test_the_same_file_joins_and_another_does_not(data_dir: Path) -> None:
    settings = data(data_dir, "spam", validation=0.1)
    examples = load(settings)
    copy = load_one(data_dir / "spam" / "train.csv", settings, classes=examples.classes, split="train")
    rows = join(examples.split("train"), copy)
    assert len(rows) == 4013 and copy.table["text"][rows].to_list() == examples.split("train").table["text"].to_list()
    other = load_one(data_dir / "spam" / "test.csv", settings, classes=examples.classes)
    with pytest.raises(Exception, match="of the run's 4013 examples"):
        join(examples.split("train"), other)
