"""From `data:` to Examples: order of rows, identity, what is told, corruption, further files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from leadline.data import split
from leadline.data.corruption import corrupt
from leadline.data.examples import Examples
from leadline.data.load import load, load_one
from leadline.errors import InputError
from leadline.recipe import DATAFRAME, Data


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """90 rows in which text, label and row number tell of each other."""
    path = tmp_path / "train.csv"
    lines = [f'r{i},"text, {i}",{("dry", "wet", "ice")[i % 3]},{i // 6},{i % 4}' for i in range(90)]
    path.write_text("key,text,label,who,w\n" + "\n".join(lines) + "\n")
    return path


def in_order(examples: Examples, split: str) -> list[int]:
    """The source rows of a split; checks that text, label and id still belong together."""
    table = examples.split(split).table
    rows = [int(text.removeprefix("text, ")) for text in table["text"].to_list()]
    assert table["_id"].to_list() in ([str(i) for i in rows], [f"r{i}" for i in rows])
    truth = "_true_label" if "_true_label" in table.columns else "_label"
    assert table[truth].to_list() == [("dry", "wet", "ice")[i % 3] for i in rows]
    assert table["key"].to_list() == [f"r{i}" for i in rows]
    return rows


def test_rows_keep_the_order_of_their_source(train: Path) -> None:
    examples = load(Data(train=str(train), validation=0.2, test=str(train), id="key"))
    first, second, third = (in_order(examples, split) for split in ("train", "validation", "test"))
    assert first == sorted(first) and second == sorted(second) and third == list(range(90))
    assert sorted(first + second) == list(range(90)) and len(second) == 18
    assert examples.table["_split"].to_list() == ["train"] * 72 + ["validation"] * 18 + ["test"] * 90
    assert examples.classes == ("dry", "ice", "wet")
    assert examples.inputs == ("text",)
    assert np.bincount(examples.split("validation").gold).tolist() == [6, 6, 6]
    assert examples.table.columns[:7] == ["_id", "_split", "key", "text", "label", "who", "w"]
    assert examples.table["_label_hash"].null_count() == 0
    path = str(train)
    sha256 = hashlib.sha256(train.read_bytes()).hexdigest()
    assert examples.sources == {split: {"path": path, "sha256": sha256, "rows": 90} for split in ("train", "test")}
    assert examples.told == (
        "validation is 18 of 90 rows held out of train (fraction 0.2, stratified by label, seed 0)",
    )


def test_the_same_seed_gives_the_same_rows(train: Path) -> None:
    def ids(**data: Any) -> list[str]:
        return load(Data(train=str(train), **data)).split("validation").ids

    assert ids() == ids()
    assert ids() != ids(seed=1)
    assert ids() == ids(corrupt={"rate": 0.5})  # each step has its own stream


def test_each_step_draws_from_its_own_stream(train: Path) -> None:
    whole = load(Data(train=str(train), validation=None, seed=5))
    sampled = load(Data(train=str(train), validation=None, seed=5, sample={"n": 40}))
    rows = split.sample(whole.gold, np.random.default_rng([5, 1]), n=40)
    assert sampled.ids == [str(i) for i in rows]
    held = split.hold_out(whole.gold, 0.1, np.random.default_rng([5, 2]))
    assert load(Data(train=str(train), seed=5)).split("validation").ids == [str(i) for i in held]
    wrong = load(Data(train=str(train), validation=None, seed=5, corrupt={"rate": 0.3}))
    assert wrong.gold.tolist() == corrupt(whole.gold, 3, 0.3, "uniform", np.random.default_rng([5, 4])).tolist()


def test_sample(train: Path) -> None:
    examples = load(Data(train=str(train), sample={"n": 30}, validation=0.2))
    assert len(in_order(examples, "train")) == 24 and len(in_order(examples, "validation")) == 6
    assert examples.told[0] == "train is a random sample of 30 of 90 rows (n: 30, seed 0)"
    examples = load(Data(train=str(train), sample={"per_class": 7}, validation=None))
    assert np.bincount(examples.gold).tolist() == [7, 7, 7]
    in_order(examples, "train")
    everything = load(Data(train=str(train), sample={"n": 5000}, validation=None))
    assert in_order(everything, "train") == list(range(90))
    with pytest.raises(InputError, match="leaves only class"):
        load(Data(train=str(train), sample={"n": 1}, validation=None))
    few = load(Data(train=str(train), sample={"n": 2}, validation=None, seed=3))
    assert few.classes == ("dry", "ice", "wet")  # those of the whole source
    assert any("no training row of" in sentence for sentence in few.told)


def test_groups_stay_together_and_shared_ones_are_told(train: Path) -> None:
    examples = load(Data(train=str(train), validation=0.2, group="who", test=str(train)))
    first, second = in_order(examples, "train"), in_order(examples, "validation")
    assert not {i // 6 for i in first} & {i // 6 for i in second}
    assert 12 <= len(second) <= 24
    assert "whole groups of `who`" in examples.told[0]
    assert any("lie in both train and test" in sentence for sentence in examples.told)


@pytest.mark.parametrize("kind", ["uniform", "class-pair", "by-confusion"])
def test_corruption_keeps_the_truth(train: Path, kind: str) -> None:
    data = Data(train=str(train), validation=0.2, test=str(train), corrupt={"rate": 0.25, "kind": kind})
    examples = load(data, confusion=np.array([[5, 3, 0], [0, 5, 2], [1, 1, 5]]))
    table = examples.table
    for part_name, changed in (("train", 18), ("validation", 4), ("test", 0)):
        in_order(examples, part_name)
        part = table.filter(pl.col("_split") == part_name)
        assert (part["_label"] != part["_true_label"]).sum() == changed
    assert f"18 of 72 train rows and 4 of 18 validation rows ({kind}, rate 0.25, seed 0)" in examples.told[-1]
    if kind == "class-pair":
        moved = table.filter(pl.col("_label") != pl.col("_true_label"))
        following = {"dry": "ice", "ice": "wet", "wet": "dry"}
        assert moved["_label"].to_list() == [following[label] for label in moved["_true_label"].to_list()]
    clean = load(data.model_copy(update={"corrupt": None}))
    assert (clean.table["_label_hash"] != table["_label_hash"]).sum() == 22
    assert clean.table["_input_hash"].equals(table["_input_hash"])


def test_corruption_that_cannot_be(train: Path) -> None:
    with pytest.raises(InputError, match="by-confusion needs the validation confusions"):
        load(Data(train=str(train), corrupt={"rate": 0.1, "kind": "by-confusion"}))
    with pytest.raises(InputError, match="label_distribution"):
        load(Data(train=str(train), corrupt={"rate": 0.1}, label_distribution=["w", "who"]))


def test_data_frames_instead_of_paths(train: Path) -> None:
    frame = pl.read_csv(train)
    data = Data(train=DATAFRAME, test=DATAFRAME, validation=None)
    examples = load(data, frames={"train": frame, "test": frame[:10].to_pandas()})
    assert in_order(examples, "train") == list(range(90)) and in_order(examples, "test") == list(range(10))
    assert examples.sources["train"]["path"] == DATAFRAME and len(examples.sources["train"]["sha256"]) == 64
    from_file = load(Data(train=str(train), validation=None))
    assert from_file.table["_input_hash"].equals(examples.split("train").table["_input_hash"])
    with pytest.raises(InputError, match="data.train: these rows came as an object"):
        load(data)
    with pytest.raises(InputError, match="the rows given as test: the data cannot be used"):
        load(data, frames={"train": frame, "test": frame.drop("text")})


def test_weights_and_soft_labels(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a", "b", "c"], "no": [0.2, 0.9, 0.5], "yes": [0.8, 0.1, 0.5], "w": [1, 2, 0]})
    hard = pl.DataFrame({"text": ["d", "e"], "label": ["yes", "no"]})
    data = Data(train=DATAFRAME, test=DATAFRAME, validation=None, label_distribution=["no", "yes"], weight="w")
    examples = load(data, frames={"train": frame, "test": hard})
    assert examples.soft and examples.classes == ("no", "yes")
    assert examples.targets.tolist() == [[0.2, 0.8], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]]
    assert examples.gold.tolist() == [1, 0, 0, 1, 0]
    assert examples.weights.tolist() == [1, 2, 0, 1, 1]
    half = frame.with_columns(no=pl.Series([0.2, 0.9, 0.6]), yes=pl.Series([0.8, 0.1, 0.4]))
    changed = load(data, frames={"train": half, "test": hard})
    assert (changed.table["_label_hash"] != examples.table["_label_hash"]).to_list() == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_regression(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "".join(f"t{i}\t{i / 10}\n" for i in range(100)))
    examples = load(Data(train=str(path), validation=0.1), "regression")
    assert examples.classes == () and examples.table["_label"].dtype == pl.Float64
    held = np.sort(examples.split("validation").gold)
    assert len(held) == 10 and (np.floor(held) == np.arange(10)).all()  # one of each tenth
    assert "stratified by quantiles of the label" in examples.told[0]


def test_pairs_and_columns_of_other_types(tmp_path: Path) -> None:
    train = pl.DataFrame({"a": ["x", "y"], "b": ["u", "v"], "label": [True, False], "n": [1, 2], "extra": [[1], [2]]})
    test = pl.DataFrame({"a": ["x"], "b": ["u"], "label": ["true"], "n": [0.5], "extra": ["word"], "more": ["m"]})
    data = Data(train=DATAFRAME, test=DATAFRAME, text=["a", "b"], validation=None)
    examples = load(data, frames={"train": train, "test": test})
    assert examples.inputs == ("a", "b") and examples.classes == ("false", "true")
    assert examples.table["n"].to_list() == [1.0, 2.0, 0.5]
    assert examples.table["extra"].to_list() == ["[1]", "[2]", "word"]
    assert examples.table["more"].to_list() == [None, None, "m"]
    assert examples.table["_label"].to_list() == ["true", "false", "true"]


def test_a_test_file_that_does_not_fit(train: Path, tmp_path: Path) -> None:
    other = tmp_path / "test.csv"
    other.write_text("text,label\na,dry\nb,rain\n")
    with pytest.raises(InputError, match="test.csv") as error:
        load(Data(train=str(train), test=str(other), id="key"))
    assert "no column `key` (data.id)" in str(error.value)
    assert "label `rain`, which the training data lacks (they have: dry, ice, wet), in row 1 (line 3)" in str(
        error.value
    )


def test_one_more_file_under_the_settings_of_a_run(train: Path, tmp_path: Path) -> None:
    data = Data(train=str(train), id="key", weight="w", group="who")
    other = tmp_path / "more.jsonl"
    other.write_text('{"key": 1, "text": "a", "label": "ice"}\n{"key": 2, "text": "b", "label": "dry"}\n')
    examples = load_one(other, data, classes=["dry", "ice", "wet"])
    assert examples.classes == ("dry", "ice", "wet") and examples.gold.tolist() == [1, 0]
    assert examples.ids == ["1", "2"] and examples.splits == ["test"]
    assert examples.sources["test"]["path"] == str(other)
    with pytest.raises(InputError, match="label `ice`, which the training data lacks"):
        load_one(other, data, classes=["dry", "wet"])
    blind = load_one(other, data, classes=["dry", "wet"], split="validation", labelled=False)
    assert "_label" not in blind.table.columns and blind.splits == ["validation"]
    assert blind.table["_label_hash"].null_count() == 2 and blind.table["_input_hash"].null_count() == 0
    frame = load_one(pd.DataFrame({"key": ["1"], "text": ["a"], "label": ["wet"]}), data, classes=["dry", "ice", "wet"])
    assert frame.sources["test"]["path"] == DATAFRAME and frame.gold.tolist() == [2]
    numbers = load_one(pd.DataFrame({"key": [1], "text": ["a"], "label": [1.5]}), data, "regression")
    assert numbers.gold.tolist() == [1.5]


def test_a_file_as_validation(train: Path) -> None:
    examples = load(Data(train=str(train), validation=str(train)))
    assert in_order(examples, "validation") == in_order(examples, "train") == list(range(90))
    assert set(examples.sources) == {"train", "validation"}
    assert examples.told == ()
