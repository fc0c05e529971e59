"""Checking: every problem of a file is told at once, with column, row and line."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from leadline.data import tables
from leadline.data.check import Checked, check
from leadline.errors import InputError
from leadline.recipe import Data


def checked(
    source: Any, task: str = "classification", training: bool = True, classes: Any = None, **data: Any
) -> Checked:
    return check(tables.read(source), Data(train="t", **data), task, training, classes)


def problems(source: Any, **settings: Any) -> str:
    with pytest.raises(InputError) as error:
        checked(source, **settings)
    return str(error.value)


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        (tmp_path / "a.csv").write_text(text)
        return tmp_path / "a.csv"

    return write


@pytest.fixture
def jsonl(tmp_path: Path) -> Any:
    def write(*rows: dict[str, Any]) -> Path:
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return tmp_path / "a.jsonl"

    return write


def test_all_problems_of_a_file_at_once(csv: Any) -> None:
    told = problems(
        csv('text,label,key,w,who\na,0,x,1,p\n"\n ",1,x,-1,q\nc,,,nan,r\n,1,y,2,\nd,0,z,heavy,s\n'),
        id="key",
        weight="w",
        group="who",
        text=["text", "second"],
    )
    assert "there is no column `second` (data.text); there are: text, label, key, w, who." in told
    assert "column `text`: no text in row 1 (line 3), row 3 (line 6)" in told
    assert "column `label`: an empty label in row 2 (line 5)" in told
    assert "column `key`: no id in row 2 (line 5)" in told
    assert "column `key`: ids must be unique; several rows have `x`" in told
    assert "column `key`: id `x` in row 0 (line 2), row 1 (line 3)" in told
    assert "column `w`: a negative weight in row 1 (line 3)" in told
    assert "column `w`: a weight is not finite in row 2 (line 5)" in told
    assert "column `w`: a weight is no number in row 4 (line 7)" in told
    assert "column `who`: no group" in told and "row 3 (line 6)" in told
    assert told.count("\n") == 10


def test_a_missing_column_suggests_and_never_guesses(csv: Any) -> None:
    path = csv("sentence,coarse,idx\na,0,1\nb,1,2\n")
    assert "no column `text` (data.text); there are: sentence, coarse, idx. Did you mean `sentence`?" in problems(path)
    assert "no column `coarze` (data.label)" in problems(path, label="coarze")
    assert "Did you mean `coarse`?" in problems(path, label="coarze")
    both = csv("sentence,review,label\na,b,0\nb,b,1\n")
    assert "Did you mean" not in problems(both)  # two columns would fit
    assert "separated by something other than commas?" in problems(csv("text;label\na;0\n"))


def test_many_rows_are_counted_not_listed(csv: Any) -> None:
    told = problems(csv("text,label\n" + " ,a\n" * 500 + "x,b\n"))
    assert (
        "no text in row 0 (line 2), row 1 (line 3), row 2 (line 4), row 3 (line 5), row 4 (line 6) and 495 more" in told
    )


def test_no_rows_and_one_class(csv: Any, tmp_path: Path) -> None:
    assert "there are no rows" in problems(csv("text,label\n"))
    (tmp_path / "a.json").write_text("[]")
    assert "there are no rows" in problems(tmp_path / "a.json")
    assert "one class (`a`); at least two" in problems(csv("text,label\nx,a\ny,a\n"))
    assert checked(csv("text,label\nx,a\n"), training=False, classes=["a", "b"]).classes == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "texts", "classes"),
    [
        (["b", "a", "10", "2"], ["b", "a", "10", "2"], ("2", "10", "a", "b")),
        ([10, 2, -1], ["10", "2", "-1"], ("-1", "2", "10")),
        ([True, False], ["true", "false"], ("false", "true")),
        ([1.0, 2.0, 1e15], ["1", "2", "1000000000000000"], ("1", "2", "1000000000000000")),
        ([1, "b", True, 2.0], ["1", "b", "true", "2"], ("1", "2", "b", "true")),
    ],
)
def test_labels_become_text(labels: list[Any], texts: list[str], classes: tuple[str, ...], jsonl: Any) -> None:
    rows = [{"text": "t", "label": label} for label in labels]
    result = checked(jsonl(*rows))
    assert result.frame["_label"].to_list() == texts
    assert result.classes == classes
    if len({type(label) for label in labels}) == 1:
        assert checked(pl.DataFrame(rows)).frame["_label"].to_list() == texts


def test_labels_that_are_none(csv: Any, jsonl: Any) -> None:
    regression = "this looks like regression: set `task: regression`"
    assert regression in problems(csv("text,label\na,0.5\nb,1\n"))
    assert regression in problems(jsonl({"text": "a", "label": 0.5}, {"text": "b", "label": 1}))
    assert regression in problems(jsonl({"text": "a", "label": 0.5}, {"text": "b", "label": "x"}))
    assert "row 1 (line 2)" in problems(jsonl({"text": "a", "label": "x"}, {"text": "b", "label": ["x"]}))
    assert "a list or object, not a label" in problems(
        jsonl({"text": "a", "label": 1}, {"text": "b", "label": {"x": 1}})
    )
    assert "no label in row 1" in problems(jsonl({"text": "a", "label": 1}, {"text": "b"}, {"text": "c", "label": 2}))
    assert "not lists" in problems(pl.DataFrame({"text": ["a"], "label": [["x"]]}))
    assert "not dates" in problems(pl.DataFrame({"text": ["a"], "label": [datetime.date(2024, 1, 1)]}))
    assert "infinite" in problems(pl.DataFrame({"text": ["a", "b"], "label": [np.inf, 1.0]}))
    assert "no label in row 0" in problems(pl.DataFrame({"text": ["a", "b", "c"], "label": [np.nan, 1.0, 2.0]}))
    words = checked(csv("text,label\na,0.5\nb,half\n"))  # not numbers throughout: words
    assert words.classes == ("0.5", "half")
    declared = tables.Table(
        pl.DataFrame({"text": ["a", "b", "c"], "label": [0, 5, -2]}), "t", "", declared={"label": ["x", "y"]}
    )
    with pytest.raises(InputError, match="no index of the 2 declared classes in row 1, row 2"):
        check(declared, Data(train="t"))


def test_labels_that_training_lacks(csv: Any) -> None:
    told = problems(csv("text,label\na,no\nb,yez\nc,Maybe\nd,yez\n"), training=False, classes=["no", "yes"])
    assert "label `yez`, which the training data lacks (they have: no, yes. Did you mean `yes`?), in row 1" in told
    assert "row 3 (line 5)" in told
    assert "label `Maybe`" in told
    numbers = "\n".join(f"t,{i}" for i in range(100))
    assert "95 more labels" in problems(csv(f"text,label\n{numbers}\n"), training=False, classes=["no", "yes"])


def test_texts_that_are_numbers_and_texts_that_are_none(jsonl: Any) -> None:
    frame = pl.DataFrame({"text": [7, 8], "label": ["a", "b"]})
    assert checked(frame).frame["text"].to_list() == ["7", "8"]
    assert "holds lists or objects, not text" in problems(pl.DataFrame({"text": [["a"], ["b"]], "label": ["a", "b"]}))
    mixed = jsonl({"text": "a", "label": 0}, {"text": ["b"], "label": 1}, {"text": 5, "label": 1})
    assert "a list or object, not text, in row 1 (line 2)" in problems(mixed)
    gap = pl.DataFrame({"text": [1.5, np.nan], "label": ["a", "b"]})
    assert "no text in row 1" in problems(gap)


def test_two_texts_and_neither_may_be_empty(csv: Any) -> None:
    told = problems(csv("one,two,label\na,,0\n,b,1\n"), text=["one", "two"])
    assert "column `one`: no text in row 1" in told and "column `two`: no text in row 0" in told


def test_ids(csv: Any, jsonl: Any) -> None:
    path = csv("text,label,key\na,0,7\nb,1,07\n")
    assert checked(path, id="key").frame["_id"].to_list() == ["7", "07"]
    assert checked(path).frame["_id"].to_list() == ["0", "1"]
    frame = pl.DataFrame({"text": ["a", "b"], "label": [0, 1], "key": [7.0, 8.0]})
    assert checked(frame, id="key").frame["_id"].to_list() == ["7", "8"]
    same = jsonl({"text": "a", "label": 0, "key": 7}, {"text": "b", "label": 1, "key": "7"})
    assert "several rows have `7`" in problems(same, id="key")  # the same only as text
    assert "neither text nor integer" in problems(
        jsonl({"text": "a", "label": 0, "key": [7]}, {"text": "b", "key": "7"}), id="key"
    )
    assert "ids are text or integers" in problems(frame.with_columns(pl.col("key") / 3), id="key")
    many = csv("text,label,key\n" + "".join(f"a,{i % 2},{i // 2}\n" for i in range(40)))
    assert "several rows have `0`, `1`, `2`, `3`, `4` and 15 more" in problems(many, id="key")


def test_weights(csv: Any) -> None:
    path = csv("text,label,w\na,0,0\nb,1, 2.5\n")
    assert checked(path, weight="w").frame["_weight"].to_list() == [0.0, 2.5]
    assert "all weights are 0" in problems(csv("text,label,w\na,0,0\nb,1,0.0\n"), weight="w")
    assert "there is no column `v` (data.weight)" in problems(path, weight="v")
    held_out = checked(path, training=False, classes=["0", "1"], weight="v", group="who")  # not needed there
    assert "_weight" not in held_out.frame.columns


def test_regression(csv: Any, jsonl: Any) -> None:
    result = checked(csv("text,label\na,1\nb,-2.5e3\n"), task="regression")
    assert result.frame["_label"].to_list() == [1.0, -2500.0]
    assert result.classes == ()
    told = problems(csv("text,label\na,x\nb,inf\nc,\nd,1\n"), task="regression")
    assert "a label is no number in row 0" in told
    assert "a label is not finite in row 1" in told
    assert "a label is missing in row 2" in told
    assert "is no number in row 0" in problems(
        jsonl({"text": "a", "label": True}, {"text": "b", "label": 1}), task="regression"
    )
    assert "not booleans" not in problems(pl.DataFrame({"text": ["a"], "label": [True]}), task="regression")


def test_distributions_in_columns(csv: Any) -> None:
    path = csv("text,no,yes,unsure\na,.2,.3,.5\nb,0.3335,0.3335,0.3335\nc,0,1,0\n")
    result = checked(path, label_distribution=["no", "yes", "unsure"])
    shares = np.array(result.frame["_label_distribution"].to_list())
    assert result.classes == ("no", "yes", "unsure")
    assert result.frame["_label"].to_list() == ["unsure", "no", "yes"]  # the first of equals
    np.testing.assert_allclose(shares, [[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3], [0, 1, 0]], rtol=0, atol=1e-15)
    assert np.abs(shares.sum(axis=1) - 1).max() < 1e-15  # renormalised
    told = problems(csv("text,no,yes\na,-.5,1.5\nb,.5,.4\nc,inf,0\nd,x,1\ne,3,4\n"), label_distribution=["no", "yes"])
    assert "column `no, yes`: a negative share in row 0" in told
    assert "do not sum to 1 (divide votes by their number) in row 1 (line 3), row 4 (line 6)" in told
    assert "column `no`: a share is not finite in row 2" in told
    assert "column `no`: a share is no number in row 3" in told
    assert "belong to one class" in problems(csv("text,no,yes\na,1,0\nb,1,0\n"), label_distribution=["no", "yes"])
    assert "there is no column `maybe`" in problems(path, label_distribution=["no", "maybe"])


def test_distributions_in_lists(csv: Any, jsonl: Any) -> None:
    rows = [{"text": "a", "d": [0.2, 0.8]}, {"text": "b", "d": [1, 0]}, {"text": "c", "d": [0.4, 0.6]}]
    plain = checked(jsonl(*rows), label_distribution="d")
    assert plain.classes == ("0", "1")
    assert plain.frame["_label"].to_list() == ["1", "0", "1"]
    named = [{**row, "label": label} for row, label in zip(rows, ["yes", "no", "no"], strict=True)]
    result = checked(jsonl(*named), label_distribution="d")
    assert result.classes == ("no", "yes")
    assert result.frame["_label"].to_list() == ["yes", "no", "yes"]  # the distribution, not the label
    assert "in 1 of 3 rows `label` is not the class with the largest share" in result.told[0]
    written = csv('text,d\na,"[0.2, 0.8]"\nb,"[1, 0]"\nc,"[0.4,0.6]"\n')
    assert checked(written, label_distribution="d").frame["_label_distribution"].to_list() == [
        [0.2, 0.8],
        [1, 0],
        [0.4, 0.6],
    ]
    wrong = [
        {"text": "a", "d": [0.5, None]},
        {"text": "b", "d": "no"},
        {"text": "c", "d": [1, 0, 0]},
        {"text": "d", "d": [0, 1]},
    ]
    told = problems(jsonl(*wrong, {"text": "e", "d": [0.5, 0.4]}), label_distribution="d")
    assert "a share that is missing or not finite in row 0" in told
    assert "no list of numbers in row 1" in told
    assert "a list of another length than 2 in row 2" in told
    assert "do not sum to 1" in told and "row 4" in told
    three = checked(jsonl(*rows), training=False, classes=["x", "y"], label_distribution="d")
    assert three.frame["_label"].to_list() == ["y", "x", "y"]
    told = problems(jsonl(*rows), training=False, classes=["x", "y", "z"], label_distribution="d")
    assert "2 shares a row, the training data have 3 classes" in told
    hard = checked(csv("text,label\na,x\n"), training=False, classes=["x", "y"], label_distribution="d")
    assert hard.frame["_label"].to_list() == ["x"]  # one answer each where training had a distribution


def test_declared_order_of_classes() -> None:
    kind = pl.Enum(["low", "medium", "high", "never"])
    frame = pl.DataFrame(
        {"text": ["a", "b", "c"], "label": ["high", "low", "medium"]}, {"text": pl.String, "label": kind}
    )
    result = checked(frame)
    assert result.classes == ("low", "medium", "high")  # those that occur
    assert "no row has were left out: never" in result.told[0]
    seen_first = frame.with_columns(pl.col("label").cast(pl.String).cast(pl.Categorical))
    assert checked(seen_first).classes == ("high", "low", "medium")  # natural: a Categorical declares no order


def test_rows_and_numbers_after_unlabelled_ones_were_set_apart() -> None:
    frame = pl.DataFrame({"text": ["", "b", " ", "d"], "label": [-1, 0, 1, 1]})
    table = tables.Table(frame, "t", "", lines=[2, 3, 4, 9], declared={"label": ["x", "y"]})
    with pytest.raises(InputError) as error:
        check(table, Data(train="t"))
    assert "no text in row 2 (line 4)" in str(error.value)  # row 0 is set apart, row 2 keeps its number
    assert "row 0" not in str(error.value)
    nothing = tables.Table(frame.with_columns(label=pl.lit(-1)), "t", "", declared={"label": ["x", "y"]})
    with pytest.raises(InputError, match="every row is unlabelled"):
        check(nothing, Data(train="t"))
