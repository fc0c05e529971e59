"""Duplicates with other labels, what leaks from training to test, and what is shown beside a suspect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadline import suspects
from leadline.data.examples import Examples, with_hashes
from leadline.data.vectors import text_vectors
from leadline.errors import InputError
from leadline.signals import Period, Signals, complete, from_logits

TEXTS = {  # id -> label, text, where it lies on a circle (degrees)
    "a": ("ham", "See you at  noon", 0.0),
    "b": ("spam", "see you at noon ", 0.0),
    "c": ("ham", "SEE YOU\tAT NOON", 0.0),
    "d": ("ham", "Win a boat now", 40.0),
    "e": ("spam", "win a boat, now", 40.5),
    "f": ("spam", "win a boat now!!", 41.5),
    "g": ("ham", "the tide is late", 90.0),
    "h": ("ham", "the tide is late.", 90.2),
    "i": ("spam", "cheap rope", 150.0),
    "j": ("ham", "chart of the bay", 200.0),
    "k": ("ham", "lamp oil", 250.0),
    "l": ("spam", "free lamp", 300.0),
}


WIDE = 13.0  # of the median distance to the nearest, half a degree here: a bit more than one and a half degrees


def circle(degrees: list[float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.column_stack([np.cos(angle), np.sin(angle), *np.zeros((2, len(angle)))]).astype(np.float64)


def cosine(degrees: float) -> float:
    return float(1 - np.cos(np.deg2rad(degrees)))


@pytest.fixture
def examples() -> Examples:
    label, text, _ = zip(*TEXTS.values(), strict=True)
    table = pl.DataFrame({"_id": list(TEXTS), "_split": ["train"] * 12, "_label": label, "text": text})
    return with_hashes(Examples(table, inputs=("text",), classes=("ham", "spam")))


@pytest.fixture
def x() -> np.ndarray:
    return circle([place for *_, place in TEXTS.values()])


@pytest.fixture
def signals() -> Signals:
    gold = np.array([("ham", "spam").index(label) for label, *_ in TEXTS.values()])
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, (3, 12))
    p[:, 1] = [0.1, 0.2, 0.6]  # of ham, for b
    return from_logits(list(TEXTS), np.log(np.stack([p, 1 - p], axis=2)), gold, classes=["ham", "spam"])


def test_the_same_text_whatever_case_and_spaces(examples: Examples) -> None:
    assert suspects.same_text(examples).tolist() == [0, 0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert suspects.same_text(replace(examples, inputs=())).tolist() == list(range(12))
    two = replace(
        examples,
        table=examples.table.with_columns(second=pl.Series(["x", "x", "X "] + [None] * 9)),
        inputs=("text", "second"),
    )
    assert suspects.same_text(two).tolist()[:3] == [0, 0, 0]
    other = replace(two, table=two.table.with_columns(second=pl.Series(["x", "y", "x"] + [None] * 9)))
    assert suspects.same_text(other).tolist()[:3] == [0, 1, 0]


def test_columns_are_compared_column_by_column(examples: Examples) -> None:
    table = pl.DataFrame({"_id": ["1", "2"], "_split": ["train"] * 2, "_label": ["ham"] * 2,
                          "p": ["a b", "a"], "q": ["c", "b c"]})  # fmt: skip
    pair = Examples(table, inputs=("p", "q"), classes=("ham", "spam"))
    assert suspects.same_text(pair).tolist() == [0, 1]


def test_groups_join_the_same_and_the_near(examples: Examples, x: np.ndarray) -> None:
    found = suspects.find_duplicates(examples, x, WIDE)
    assert found.near is not None and found.near.limit == pytest.approx(WIDE * cosine(0.5))
    assert found.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6]
    assert found.members(4).tolist() == [3, 4, 5]
    alone = suspects.find_duplicates(examples)
    assert alone.near is None and alone.group.tolist() == [0, 0, 0, *range(1, 10)]


def test_conflicts_are_the_groups_whose_labels_differ(examples: Examples, x: np.ndarray) -> None:
    table = suspects.conflicts(examples, suspects.find_duplicates(examples, x, WIDE), x)
    assert table.columns == ["group", "id", "label", "text", "distance", "exact"]
    assert table["group"].to_list() == [1, 1, 1, 2, 2, 2] and table["id"].to_list() == list("abcdef")
    assert table["label"].to_list() == ["ham", "spam", "ham", "ham", "spam", "spam"]
    assert table["exact"].to_list() == [True, True, True, False, False, False]
    np.testing.assert_allclose(table["distance"], [0, 0, 0, cosine(0.5), cosine(0.5), cosine(1.5)], atol=1e-12)
    assert table["text"][3] == "Win a boat now"


def test_without_vectors_only_equal_texts_conflict(examples: Examples) -> None:
    table = suspects.conflicts(examples, suspects.find_duplicates(examples))
    assert table["id"].to_list() == ["a", "b", "c"] and table["distance"].to_list() == [0, 0, 0]
    agreed = replace(examples, table=examples.table.with_columns(pl.lit("ham").alias("_label")))
    none = suspects.conflicts(agreed, suspects.find_duplicates(agreed))
    assert none.height == 0 and none.columns == table.columns


def test_a_row_that_shares_its_text_with_agreeing_rows_only_is_not_exact(examples: Examples, x: np.ndarray) -> None:
    """g and a copy of it agree; h, nearly the same, does not."""
    label = examples.table["_label"].to_list()
    label[7] = "spam"
    text = examples.table["text"].to_list()
    text[8] = text[6].upper()
    table = examples.table.with_columns(pl.Series("_label", label), pl.Series("text", text))
    table = table.with_columns(pl.when(pl.col("_id") == "i").then(pl.lit("ham")).otherwise("_label").alias("_label"))
    changed = replace(examples, table=table)
    x[8] = x[6]
    found = suspects.conflicts(changed, suspects.find_duplicates(changed, x, WIDE), x)
    tide = found.filter(pl.col("id").is_in(["g", "h", "i"]))
    assert tide["exact"].to_list() == [False] * 3
    np.testing.assert_allclose(tide["distance"], [cosine(0.2)] * 3, atol=1e-12)


def test_numbers_conflict_where_they_differ() -> None:
    table = pl.DataFrame({"_id": ["1", "2", "3", "4"], "_split": ["train"] * 4, "_label": [1.5, 1.5, 2.0, 2.5],
                          "label": ["a", "a ", "b", "B"]})  # fmt: skip
    data = Examples(table, task="regression", inputs=("label",))
    found = suspects.conflicts(data, suspects.find_duplicates(data))
    assert found["id"].to_list() == ["3", "4"] and found["label"].to_list() == ["2.0", "2.5"]
    assert found.columns == ["group", "id", "label", "source_label", "distance", "exact"]


def test_splits_are_never_mixed(examples: Examples) -> None:
    both = replace(examples, table=examples.table.with_columns(_split=pl.Series(["train", "test"] * 6)))
    with pytest.raises(InputError, match=r"several splits \(train, test\)"):
        suspects.find_duplicates(both)
    with pytest.raises(InputError, match="3 vectors for 12 examples"):
        suspects.find_duplicates(examples, np.ones((3, 4)))


def test_leaks_name_the_test_texts_that_are_known(examples: Examples) -> None:
    table = pl.DataFrame({"_id": ["t1", "t2", "t3", "t4"], "_split": ["test"] * 4,
                          "_label": ["ham", "spam", "spam", "spam"],
                          "text": ["see YOU at noon", "cheap  rope", "nothing known", "Free lamp"]})  # fmt: skip
    test = Examples(table, inputs=("text",), classes=("ham", "spam"))
    found = suspects.leaks(examples, test)
    assert found.rows() == [
        ("t1", "ham", "b", "spam", 3, True),
        ("t2", "spam", "i", "spam", 1, False),
        ("t4", "spam", "l", "spam", 1, False),
    ]
    said = suspects.leak_note(found, 4)
    assert said.startswith(
        "3 of 4 test examples have the same text as a training example, 1 of them with another label"
    )
    nothing = suspects.leaks(replace(examples, inputs=()), test)
    assert nothing.height == 0 and nothing.columns == found.columns and suspects.leak_note(nothing, 4) == ""


def test_one_example_is_explained(examples: Examples, x: np.ndarray, signals: Signals) -> None:
    said = suspects.explain(signals, 1, x, k=4, found=suspects.find_duplicates(examples, x, WIDE))
    assert (said.id, said.label, list(said.ids), list(said.labels)) == (
        "b",
        "spam",
        ["a", "c", "d", "e"],
        ["ham", "ham", "ham", "spam"],
    )
    np.testing.assert_allclose(said.distances, [0, 0, cosine(40), cosine(40.5)], atol=1e-12)
    assert said.share("ham") == 0.75 and said.share("spam") == 0.25
    np.testing.assert_allclose(said.curve, [0.9, 0.8, 0.4], atol=1e-6)
    assert said.probabilities == pytest.approx({"ham": 0.3, "spam": 0.7}, abs=1e-6)
    assert [(d.id, d.label, d.distance, d.exact) for d in said.duplicates] == [
        ("a", "ham", 0.0, True),
        ("c", "ham", 0.0, True),
    ]


def test_duplicates_with_another_label_come_first(examples: Examples, x: np.ndarray, signals: Signals) -> None:
    said = suspects.explain(signals, 5, x, found=suspects.find_duplicates(examples, x, WIDE))
    assert [(d.id, d.exact) for d in said.duplicates] == [("d", False), ("e", False)]
    assert said.duplicates[0].distance == pytest.approx(cosine(1.5)) and len(said.ids) == 10


def test_without_vectors_logits_and_duplicates_the_curve_is_left(signals: Signals) -> None:
    periods = tuple(Period({n: a for n, a in p.columns.items() if n != "logits"}, p.metadata) for p in signals.periods)
    said = suspects.explain(replace(signals, periods=periods), 1)
    assert not said.ids and not said.probabilities and not said.duplicates and np.isnan(said.share("ham"))
    np.testing.assert_allclose(said.curve, [0.9, 0.8, 0.4], atol=1e-6)
    with pytest.raises(InputError, match="row 12 of 12"):
        suspects.explain(signals, 12)
    with pytest.raises(InputError, match="3 vectors for 12"):
        suspects.explain(signals, 1, np.ones((3, 4)))


def test_a_number_is_explained() -> None:
    periods = (Period(complete({"loss": np.array([0.5, 4.0, 1.0])}), {}),)
    signals = Signals(ids=["a", "b", "c"], gold=np.array([1.5, 2.0, 4.0]), periods=periods)
    said = suspects.explain(signals, 0, circle([0, 10, 50]))
    assert list(said.labels) == ["2.0", "4.0"] and np.isnan(said.curve).all() and said.probabilities == {}


def test_columns_beside_the_suspects(examples: Examples, x: np.ndarray, signals: Signals) -> None:
    table = pl.DataFrame({"id": ["e", "b", "k"], "suggested": ["ham", "ham", None], "rank": [1, 2, 3]},
                         schema_overrides={"suggested": pl.String})  # fmt: skip
    labels = examples.table["_label"].to_list()
    found = suspects.explained(table, signals.ids, labels, x, k=3, found=suspects.find_duplicates(examples, x, WIDE))
    assert found.columns == ["id", "suggested", "rank", "neighbours", "neighbours_suggested", "duplicate_of"]
    # e: d ham, f spam, a (40.5 degrees off) ham; b: a, c, d ham; k: l spam, j ham and i spam
    assert found["neighbours"].to_list() == ["2 of 3 ham", "3 of 3 ham", "2 of 3 spam"]
    assert found["neighbours_suggested"].to_list() == [pytest.approx(2 / 3), 1.0, None]
    assert found["duplicate_of"].to_list() == ["d", "a, c", None]
    bare = suspects.explained(table, signals.ids, labels)
    assert bare["neighbours"].null_count() == 3 == bare["duplicate_of"].null_count()


def test_of_equal_counts_the_suggested_label_is_named() -> None:
    x = circle([0, 10, 20, 180])
    table = pl.DataFrame({"id": ["a", "a", "a"], "suggested": ["no", "yes", None]})
    found = suspects.explained(table, list("abcd"), ["yes", "no", "yes", "yes"], x, k=2)
    assert found["neighbours"].to_list() == ["1 of 2 no", "1 of 2 yes", "1 of 2 no"]


def test_a_crowd_is_counted_and_numbers_are_averaged() -> None:
    ids, labels = [f"r{i}" for i in range(9)], ["ham"] * 2 + ["spam"] * 7
    table = pl.DataFrame({"_id": ids, "_split": ["train"] * 9, "_label": labels, "text": ["the same"] * 9})
    data = Examples(table, inputs=("text",), classes=("ham", "spam"))
    asked = pl.DataFrame({"id": ["r1"], "suggested": ["spam"]})
    found = suspects.explained(asked, ids, labels, found=suspects.find_duplicates(data))
    assert found["duplicate_of"].to_list() == ["r2, r3, r4 and 4 more"]
    numbers = suspects.explained(asked, ids, np.arange(9) / 2, circle([10.0 * i for i in range(9)]), k=2)
    assert numbers["neighbours"].to_list() == ["mean 0.5 of 2"] and numbers["neighbours_suggested"].to_list() == [None]


def test_suspects_of_another_split_are_refused(x: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"1 of 2 suspects are not among the 12 examples \(first id: zz\)"):
        suspects.explained(pl.DataFrame({"id": ["a", "zz"], "suggested": ["ham"] * 2}), list(TEXTS), ["ham"] * 12, x)


@pytest.mark.long
def test_real_tweets_whose_copies_have_other_labels(data_dir: Path) -> None:
    """Equal texts beside a plain count; near ones beside Datalab, on vectors of the texts."""
    datalab = pytest.importorskip("cleanlab.datalab.datalab")
    table = pl.read_csv(data_dir / "disaster" / "train.csv", infer_schema=False)
    table = table.select(
        pl.col("idx").alias("_id"), pl.lit("train").alias("_split"), pl.col("label").alias("_label"), "text"
    )
    tweets = with_hashes(Examples(table, inputs=("text",), classes=("0", "1")))
    x = text_vectors(table["text"].to_list())
    found = suspects.find_duplicates(tweets, x)
    copies: dict[str, list[tuple[str, str]]] = {}
    for name, label, text in table.select("_id", "_label", "text").iter_rows():
        copies.setdefault(" ".join(text.lower().split()), []).append((name, label))
    differing = [some for some in copies.values() if len({label for _, label in some}) > 1]
    said = suspects.conflicts(tweets, found, x)
    exact = said.filter("exact")
    assert set(exact["id"]) == {name for some in differing for name, _ in some} and exact["group"].n_unique() > 10
    near = said.filter(~pl.col("exact"))
    assert (
        near.height > 100
        and near["distance"].min() > 0
        and (said.group_by("group").agg(n=pl.col("label").n_unique())["n"] == 2).all()
    )
    lab = datalab.Datalab({"row": list(range(len(x)))}, verbosity=0)
    lab.find_issues(features=x.astype(np.float64), issue_types={"near_duplicate": {}})
    sets = lab.get_info("near_duplicate")["near_duplicate_sets"]
    kind = np.unique(x, axis=0, return_inverse=True)[1].ravel().tolist()  # of a crowd of equal ones it names any ten
    theirs = {tuple(sorted((kind[i], kind[j]))) for i, one in enumerate(sets) for j in one}
    assert (
        found.near is not None and {tuple(sorted((kind[i], kind[j]))) for i, j in found.near.pairs.tolist()} == theirs
    )
    assert len(theirs) > 1000
