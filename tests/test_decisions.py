"""Decisions: none is lost, none counts twice, and what they do to a file is what they say."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score

from leadline.errors import InputError, LeadlineError
from leadline.interop.cleaned import write_cleaned
from leadline.suspects import apply as applying
from leadline.suspects import estimate, queue, reviewers
from leadline.suspects.decisions import Decisions
from leadline.suspects.drawn import as_draw, drawn
from leadline.suspects.queue import Filter
from review_runs import minimal_run, recipe_run

LABELS = {"a": "ham", "b": "spam", "c": "ham", "d": "spam", "e": None}
CLASSES = ("ham", "spam")


@pytest.fixture
def store(tmp_path: Path):
    with Decisions(tmp_path / "decisions.sqlite", "train", LABELS, CLASSES) as decisions:
        yield decisions


def holds(store: Decisions) -> list[tuple[str, str, str, str | None]]:
    return store.current().select("id", "reviewer", "action", "to").rows()


# --- the store --------------------------------------------------------------------------------------------------------


def test_what_is_recorded_is_what_is_read(store: Decisions, tmp_path: Path) -> None:
    first = store.record("a", "relabel", "anna", to="spam")
    assert (first.number, first.label, first.to, first.split) == (1, "ham", "spam", "train")
    assert first.time.endswith("+00:00")
    store.record("b", "keep", "anna")
    store.record("a", "keep", "ben")
    store.record("b", "discard", "anna")  # another mind: the later one holds
    assert holds(store) == [
        ("a", "anna", "relabel", "spam"),
        ("a", "ben", "keep", None),
        ("b", "anna", "discard", None),
    ]
    assert store.log()["action"].to_list() == ["relabel", "keep", "keep", "discard"]
    with Decisions(tmp_path / "decisions.sqlite", "train", LABELS, CLASSES) as again:
        assert holds(again) == holds(store)
    with Decisions(tmp_path / "decisions.sqlite", "test", LABELS, CLASSES) as test:
        assert test.current().is_empty() and test.log().is_empty()  # splits are kept apart


def test_undo_takes_back_the_last_of_this_reviewer_one_after_the_other(store: Decisions) -> None:
    store.record("a", "keep", "anna")
    store.record("b", "discard", "anna")
    store.record("c", "keep", "ben")
    store.record("b", "ambiguous", "anna")
    undone = [store.undo("anna") for _ in range(4)]
    assert [d and (d.id, d.action) for d in undone] == [("b", "ambiguous"), ("b", "discard"), ("a", "keep"), None]
    assert holds(store) == [("c", "ben", "keep", None)]
    store.record("b", "relabel", "anna", to="ham")
    assert store.of("b", "anna").to == "ham" and store.undo("anna").id == "b" and store.of("b", "anna") is None  # type: ignore[union-attr]
    assert store.log().height == 4 + 3 + 2  # nothing is ever removed


def test_undo_brings_back_what_was_decided_before(store: Decisions) -> None:
    store.record("a", "relabel", "anna", to="spam")
    store.record("a", "discard", "anna")
    store.undo("anna")
    assert holds(store) == [("a", "anna", "relabel", "spam")]


def test_a_skip_takes_nothing_back(store: Decisions) -> None:
    store.record("a", "discard", "anna")
    store.record("a", "skip", "anna")
    store.record("b", "skip", "anna")
    assert holds(store) == [("a", "anna", "discard", None), ("b", "anna", "skip", None)]


def test_the_same_token_counts_once(store: Decisions) -> None:
    first = store.record("a", "discard", "anna", token="t1")
    assert store.record("a", "discard", "anna", token="t1") == first
    assert store.log().height == 1
    for id, action, reviewer in (("a", "keep", "anna"), ("b", "discard", "anna"), ("a", "discard", "ben")):
        with pytest.raises(InputError, match="belongs to another decision"):
            store.record(id, action, reviewer, token="t1")
    store.record("b", "keep", "anna")
    assert store.undo("anna", token="u1").id == "b" and store.undo("anna", token="u1").id == "b"  # type: ignore[union-attr]
    assert holds(store) == [("a", "anna", "discard", None)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("z", "keep", "anna"), "no example `z`"),
        (("a", "relabel", "anna", "spma"), "Did you mean `spam`"),
        (("a", "relabel", "anna"), "no class `None`"),
        (("a", "relabel", "anna", "ham"), "labelled `ham` already"),
        (("a", "keep", "anna", "spam"), "takes no class"),
        (("a", "kepe", "anna"), "Did you mean `keep`"),
        (("a", "undo", "anna"), "no action `undo`"),
        (("a", "keep", "  "), "--reviewer"),
        (("a", "keep", "an\nna"), "--reviewer"),
    ],
)
def test_what_cannot_be_is_refused_and_not_written(store: Decisions, arguments, says: str) -> None:
    with pytest.raises(InputError, match=says):
        store.record(*arguments)
    assert store.log().is_empty()


def test_many_are_recorded_together_or_not_at_all(store: Decisions, tmp_path: Path) -> None:
    given = [("a", "relabel", "anna", "spam"), ("b", "keep", " ben ", None), ("a", "discard", "anna", None)]
    for wrong in (("z", "keep", "anna", None), ("c", "keep", "", None), ("c", "relabel", "anna", "ham")):
        with pytest.raises(InputError):
            store.record_many([*given, wrong])
    assert store.log().is_empty() and store.record_many([]) == 0
    assert store.record_many(iter(given)) == 3
    with Decisions(tmp_path / "decisions.sqlite", "train", LABELS, CLASSES) as again:
        assert again.log().select("id", "action", "reviewer", "from", "to").rows() == [
            ("a", "relabel", "anna", "ham", "spam"), ("b", "keep", "ben", "spam", None),
            ("a", "discard", "anna", "ham", None),
        ]  # fmt: skip
    assert holds(store) == [("b", "ben", "keep", None), ("a", "anna", "discard", None)]
    assert store.undo("anna").action == "discard" and store.of("a", "anna").to == "spam"  # type: ignore[union-attr]


def test_two_processes_and_their_threads_lose_nothing(store: Decisions, tmp_path: Path) -> None:
    other = Decisions(tmp_path / "decisions.sqlite", "train", LABELS, CLASSES)
    failed: list[BaseException] = []

    def work(decisions: Decisions, reviewer: str) -> None:
        try:
            for i in range(25):
                decisions.record("abcd"[i % 4], "keep", reviewer, token=f"{reviewer}{i}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(s, f"r{i}")) for i, s in enumerate([store, store, other, other])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and store.log().height == 100 == other.log()["number"].n_unique()
    assert holds(store) == holds(other) and len(holds(store)) == 16
    other.close()


KILLED = """
import sys
from pathlib import Path
from leadline.suspects.decisions import Decisions
with Decisions(Path(sys.argv[1]), "train", {f"e{i}": "ham" for i in range(100000)}, ("ham", "spam")) as store:
    for i in range(100000):
        store.record(f"e{i}", "keep", "anna", token=f"t{i}")
        print(i, flush=True)
"""


def test_what_was_told_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(40):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        told = 40 + len(process.stdout.read().split())
    with Decisions(path, "train", {f"e{i}": "ham" for i in range(100_000)}, CLASSES) as store:
        ids = store.log()["id"].to_list()
        assert ids[:told] == [f"e{i}" for i in range(told)] and len(ids) - told in (0, 1)
        store.record("e0", "keep", "anna", token="t0")  # repeated after the crash
        assert store.log().height == len(ids)


def test_a_damaged_or_newer_or_unwritable_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "bad.sqlite").write_bytes(b"no database at all, " * 100)
    with pytest.raises(InputError, match="bad.sqlite: damaged"):
        Decisions(tmp_path / "bad.sqlite", "train", LABELS)
    with sqlite3.connect(tmp_path / "new.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="format 99 is newer"):
        Decisions(tmp_path / "new.sqlite", "train", LABELS)
    with pytest.raises(LeadlineError, match="cannot be written"):
        Decisions(tmp_path / "nowhere" / "d.sqlite", "train", LABELS)


def test_draws_are_kept_in_their_order(store: Decisions) -> None:
    assert store.draws().is_empty()
    number = store.keep_draw(
        ["c", "a", "d"], np.array([1, 0, 1]), np.array([0.5, 1.0, 0.5]), np.array([1, 4]), 7, "aum"
    )
    assert number == 1 and store.draws().drop("time").rows() == [(1, 3, 7, "aum")]
    assert store.drawn(1).rows() == [("c", 1, 0.5, 4), ("a", 0, 1.0, 1), ("d", 1, 0.5, 4)]
    with pytest.raises(InputError, match="draw 2: there is no such draw of train; there are: 1"):
        store.drawn(2)
    with pytest.raises(InputError, match="no examples of train"):
        store.keep_draw(["q"], np.array([0]), np.array([1.0]), np.array([1]), 0, "aum")


# --- several reviewers ------------------------------------------------------------------------------------------------


def table(rows: list[tuple[str, str, str, str | None]]) -> pl.DataFrame:
    """id, reviewer, action, to -> a table of standing decisions."""
    columns = {"split": "train", "time": "2026-01-01T00:00:00+00:00", "from": "ham"}
    frame = pl.DataFrame(rows, schema=["id", "reviewer", "action", "to"], orient="row")
    return frame.with_columns(pl.col("to").cast(pl.String), *(pl.lit(v).alias(k) for k, v in columns.items()))


def test_majority_and_ties() -> None:
    current = table([
        ("a", "anna", "relabel", "spam"), ("a", "ben", "relabel", "spam"), ("a", "cleo", "keep", None),
        ("b", "anna", "relabel", "spam"), ("b", "ben", "relabel", "junk"),
        ("c", "anna", "discard", None), ("c", "ben", "skip", None),
        ("d", "anna", "skip", None),
        ("e", "anna", "keep", None), ("e", "ben", "keep", None), ("e", "cleo", "ambiguous", None),
        ("e", "dan", "discard", None),
    ])  # fmt: skip
    found = reviewers.verdicts(current)
    assert found.rows() == [
        ("a", "relabel", "spam", 3, 2), ("b", "tie", None, 2, 1), ("c", "discard", None, 1, 1),
        ("e", "tie", None, 4, 2),
    ]  # fmt: skip
    np.testing.assert_array_equal(reviewers.wrong(found, ["c", "b", "a", "d"]), [1, np.nan, 1, np.nan])
    assert reviewers.precision(found) == (2, 2)


def test_verdicts_do_not_depend_on_the_order() -> None:
    rows = [(f"e{i % 7}", f"r{i % 3}", ["keep", "discard", "ambiguous"][i * i % 3], None) for i in range(21)]
    one, other = reviewers.verdicts(table(rows)), reviewers.verdicts(table(rows[::-1]))
    assert one.sort("id").equals(other.sort("id")) and one["reviewers"].unique().to_list() == [3]


def test_cohen_is_scikit_learns() -> None:
    dice = np.random.default_rng(5)
    for _ in range(5):
        one = dice.choice(["keep", "spam", "junk"], 80, p=[0.6, 0.3, 0.1]).tolist()
        other = [a if dice.random() < 0.7 else "keep" for a in one]
        assert reviewers.cohen_kappa(one, other) == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    assert np.isnan(reviewers.cohen_kappa(["keep"] * 3, ["keep"] * 3))


def test_fleiss_by_hand() -> None:
    # P_i = 1, 1, 1/3, so P = 7/9; shares 5/9 and 4/9, so P_e = 41/81: (63 - 41) / (81 - 41)
    assert reviewers.fleiss_kappa(np.array([[3, 0], [0, 3], [2, 1]])) == pytest.approx(22 / 40)
    fourteen = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
                [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    assert reviewers.fleiss_kappa(np.array(fourteen)) == pytest.approx(0.20993, abs=1e-5)  # a widely printed example
    with pytest.raises(InputError, match="equally many"):
        reviewers.fleiss_kappa(np.array([[3, 0], [0, 2]]))


def test_agreement_says_which_examples_it_used() -> None:
    two = table([
        ("a", "anna", "relabel", "spam"), ("a", "ben", "relabel", "spam"), ("b", "anna", "keep", None),
        ("b", "ben", "keep", None), ("c", "anna", "relabel", "spam"), ("c", "ben", "relabel", "junk"),
        ("d", "anna", "keep", None), ("e", "ben", "skip", None), ("d", "ben", "skip", None),
    ])  # fmt: skip
    found = reviewers.agreement(two)
    assert found is not None and (found.kind, found.n, found.raters) == ("Cohen", 3, 2)
    assert found.kappa == pytest.approx(cohen_kappa_score(["spam", "keep", "spam"], ["spam", "keep", "junk"]))
    three = pl.concat([two, table([(name, "cleo", "keep", None) for name in "abc"])])
    found = reviewers.agreement(three)
    assert found is not None and (found.kind, found.n, found.raters) == ("Fleiss", 3, 3)
    # verdicts spam spam keep | keep keep keep | spam junk keep: P = (1/3 + 1 + 0) / 3, P_e = (25 + 9 + 1) / 81
    assert found.kappa == pytest.approx((4 / 9 - 35 / 81) / (1 - 35 / 81))
    assert "3 of the 3 reviewers" in found.says
    assert reviewers.agreement(two.filter(pl.col("reviewer") == "anna")) is None


# --- the queue --------------------------------------------------------------------------------------------------------


@pytest.fixture
def deck() -> queue.Deck:
    """Six examples in the order of the data; the suspects name e4, e1, e0, the rest follows as it stands."""
    examples = pl.DataFrame({
        "id": [f"e{i}" for i in range(6)],
        "label": ["ham", "spam", "ham", "spam", "ham", "spam"],
        "region": ["hard", "easy", None, "easy", "hard", "none"],
        "x": [0.1, 0.2, 0.3, 0.4, 0.5, np.nan],
        "y": [0.9, 0.8, 0.7, 0.6, 0.5, np.nan],
    })  # fmt: skip
    suspects = pl.DataFrame({
        "id": ["e4", "e1", "e0", "unknown"], "suggested": ["spam", "ham", None, "ham"], "score": [-2.0, -1.0, 0.5, 9.0],
    })  # fmt: skip
    texts = pl.DataFrame({"text": ["Straße", "two WORDS", "a.b", "x", "words", None]})
    return queue.deal(examples, suspects, texts, "aum")


def ids(deck: queue.Deck, asked: Filter) -> list[str]:
    return deck.table["id"].gather(np.flatnonzero(queue.matching(deck, asked))).to_list()


def test_the_deck_is_in_the_order_of_the_suspects_and_holds_everything(deck: queue.Deck) -> None:
    assert deck.table["id"].to_list() == ["e4", "e1", "e0", "e2", "e3", "e5"]
    assert deck.table["row"].to_list() == [4, 1, 0, 2, 3, 5]
    assert deck.table["suggested"].to_list() == ["spam", "ham", None, None, None, None]
    assert deck.places(pl.Series(["e3", "e4"])).tolist() == [4, 0]
    with pytest.raises(InputError, match="no example `q`"):
        deck.places(pl.Series(["e3", "q"]))


def test_filters(deck: queue.Deck) -> None:
    assert ids(deck, Filter()) == ["e4", "e1", "e0", "e2", "e3", "e5"]
    assert ids(deck, Filter(label="ham")) == ["e4", "e0", "e2"]
    assert ids(deck, Filter(suggested="ham")) == ["e1"]
    assert ids(deck, Filter(region="hard")) == ["e4", "e0"]
    assert ids(deck, Filter(low=-1.0)) == ["e1", "e0"] and ids(deck, Filter(high=-1.0)) == ["e4", "e1"]
    assert ids(deck, Filter(box=(0.15, 0.45, 0.65, 1.0))) == ["e1", "e2"]
    assert ids(deck, Filter(search="words")) == ["e4", "e1"] and ids(deck, Filter(search="STRASSE")) == []
    assert ids(deck, Filter(search="straße")) == ["e0"]
    assert ids(deck, Filter(search="a.b")) == ["e2"] and ids(deck, Filter(search="E5")) == ["e5"]
    assert ids(deck, Filter(search="words", label="spam")) == ["e1"]


def test_a_filter_survives_its_query() -> None:
    asked = Filter("a&b=c", "s p", "hard", -0.125, 2.5, "<x> é", (0.1, 0.2, 0.3, 0.4), "others", 3)
    assert queue.read_filter(asked.to_query()) == asked
    assert queue.read_filter({"label": "", "low": "", "x0": "1", "x1": "0"}) == Filter()  # half a box asks for nothing
    assert queue.read_filter({"x0": "1", "x1": "0", "y0": "2", "y1": "5"}).box == (0, 1, 2, 5)
    for bad in ({"low": "much"}, {"high": "nan"}, {"state": "opne"}, {"draw": "x"}):
        with pytest.raises(InputError, match=next(iter(bad))):
            queue.read_filter(bad)


def test_where_to_go_next() -> None:
    order = np.array([4, 1, 0, 3])
    wanted = np.array([True, False, True, True, True])
    assert queue.following(order, wanted, None) == 4
    assert queue.following(order, wanted, 4) == 0  # 1 is not wanted
    assert queue.following(order, wanted, 3) == 4  # from the front again
    assert queue.following(order, wanted, 2) == 4  # 2 is not in this queue
    skipped = np.array([False, False, False, False, True])
    assert queue.following(order, wanted, 3, skipped) == 0  # what was skipped comes last
    only = np.array([False, False, False, True, False])
    assert queue.following(order, only, 3) == 3 and queue.following(order, ~only & False, 3) is None
    assert [queue.beside(order, 1, step) for step in (-1, 1)] == [4, 0]
    assert queue.beside(order, 4, -1) is None and queue.beside(order, 3, 1) is None


def test_points_of_the_small_map(deck: queue.Deck) -> None:
    assert sorted(queue.sample(deck)) == [0, 1, 2, 3, 4]  # e5 has no place on the map
    chosen = queue.sample(deck, most=4)
    assert len(set(chosen.tolist())) == 4 and {0, 1} <= set(chosen.tolist())


def test_a_kept_draw_gives_the_same_estimate(tmp_path: Path) -> None:
    names = [f"e{i}" for i in range(400)]
    made = estimate.draw(np.arange(400), 120, seed=3)
    with Decisions(tmp_path / "d.sqlite", "train", dict.fromkeys(names, "ham"), CLASSES) as store:
        number = store.keep_draw([names[i] for i in made.rows], made.stratum, made.probability, made.sizes, 3, "aum")
        kept = store.drawn(number)
    places = np.array([int(name[1:]) for name in kept["id"]])
    back = as_draw(kept, places)
    for one, other in zip((made.rows, made.stratum, made.probability, made.sizes),
                          (back.rows, back.stratum, back.probability, back.sizes), strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    wrong = (made.rows < 40).astype(float)
    assert estimate.errors(back, wrong) == estimate.errors(made, wrong)
    actions = ["discard" if is_wrong else "keep" for is_wrong in wrong]
    rows = [(name, "anna", action, None) for name, action in zip(kept["id"], actions, strict=True)]
    together = reviewers.verdicts(table(rows))
    found = drawn(kept, together, places, 400)
    assert (found.n, found.decided, found.estimate) == (120, 120, estimate.errors(made, wrong))
    assert found.stopping is not None and found.note == ""
    assert (
        found.stopping.rank
        == estimate.where_reviewing_stops(made, wrong, np.arange(400)).rank
        == made.rows[made.rows < 40].max() + 1
    )
    assert drawn(kept, together).estimate == found.estimate and drawn(kept, together).stopping is None
    assert drawn(kept, together, places[::-1], 400).stopping is None  # a queue in another order
    last = int(np.flatnonzero(made.stratum == 0)[-1])  # nothing of its stratum follows: left out, it is not passed over
    passed = "; of the draw 2 passed over (skipped, tied) are taken to be like the others"
    for gone, says in [({0, 7}, passed), ({last}, "")]:
        part = [row for place, row in enumerate(rows) if place not in gone]
        left = drawn(kept, reviewers.verdicts(table(part)), places, 400).estimate
        assert left is not None and left.assumption == estimate.ASSUMPTION + says
    few = drawn(kept, reviewers.verdicts(table(rows[:49])), places, 400)
    assert (few.decided, few.estimate, few.stopping) == (49, None, None) and "at least 50" in few.note


# --- applied ----------------------------------------------------------------------------------------------------------


def test_apply_by_hand() -> None:
    current = table([
        ("a", "anna", "relabel", "spam"), ("b", "anna", "discard", None), ("c", "anna", "ambiguous", None),
        ("d", "anna", "keep", None), ("d", "ben", "discard", None), ("e", "ben", "skip", None),
    ])  # fmt: skip
    together = reviewers.verdicts(current)
    done = applying.apply(list("abcdef"), ["ham"] * 6, together)
    assert done.label == ["spam", "ham", "ham", "ham", "ham", "ham"] and done.stays.tolist() == [
        True,
        False,
        *[True] * 4,
    ]
    assert (done.relabelled, done.dropped, done.ambiguous, done.ties) == ((0,), 1, ("c",), ("d",))
    trail = applying.trail(current, together)
    assert trail.columns == ["id", "who", "when", "from", "to", "action", "reviewers", "done"]
    assert trail["done"].to_list() == [
        "relabelled",
        "dropped",
        "unchanged",
        "unchanged: tie",
        "unchanged: tie",
        "unchanged",
    ]
    assert trail["reviewers"].to_list() == [1, 1, 1, 2, 2, 0]
    with pytest.raises(InputError, match="1 are on ids that the data do not have"):
        applying.apply(list("bcdef"), ["ham"] * 5, together)


def decide(run, decisions: dict[str, str], reviewer: str = "anna", split: str = "train") -> None:
    """{id: action, or the class of a relabel}"""
    part = run.train if split == "train" else run.examples.split(split)
    labels = dict(zip(part.ids, part.table["_label"], strict=True))
    with Decisions(run.path / "decisions.sqlite", split, labels, run.classes) as store:
        for id, what in decisions.items():
            known = what in ("keep", "ambiguous", "discard", "skip")
            store.record(id, what if known else "relabel", reviewer, None if known else what)


@pytest.fixture
def files(tiny_csv, tmp_path: Path) -> dict[str, str]:
    return {"train": str(tiny_csv(60)), "test": str(tiny_csv(20, seed=9, name="test.csv"))}


def test_clean_writes_the_source_with_the_decisions_applied(leadline, files, tmp_path: Path) -> None:
    run = recipe_run(tmp_path / "run", **files, id="id")
    source = pl.read_csv(files["train"])
    before = Path(files["train"]).read_bytes()
    train, held_out = run.train.ids, run.examples.split("validation").ids
    assert len(train) == 54 and len(held_out) == 6
    other = {"dry": "wet", "wet": "dry"}
    label = dict(source.select("id", "label").iter_rows())
    one, two, three, four = train[0], train[10], train[20], train[30]
    decide(run, {one: other[label[one]], two: "discard", three: "ambiguous", four: "keep"})
    decide(run, {held_out[0]: other[label[held_out[0]]]}, split="validation")
    status, out, _ = leadline("clean", run.path, "-o", tmp_path / "cleaned.csv")
    assert (
        status == 0 and "relabelled 2, dropped 1 of 60 rows" in out and f"1 ambiguous, left as they are: {three}" in out
    )
    cleaned = pl.read_csv(tmp_path / "cleaned.csv")
    expected = source.with_columns(
        pl.Series("label", [other[v] if k in (one, held_out[0]) else v for k, v in label.items()])
    ).filter(pl.col("id") != two)
    assert cleaned.columns == ["id", "text", "label"] and cleaned.sort("id").equals(expected.sort("id"))
    trail = pl.read_csv(tmp_path / "cleaned.audit.csv")
    assert trail.select("id", "who", "from", "to", "action", "done").rows() == [
        (one, "anna", label[one], other[label[one]], "relabel", "relabelled"),
        (two, "anna", label[two], None, "discard", "dropped"),
        (three, "anna", label[three], None, "ambiguous", "unchanged"),
        (four, "anna", label[four], None, "keep", "unchanged"),
        (held_out[0], "anna", label[held_out[0]], other[label[held_out[0]]], "relabel", "relabelled"),
    ]
    assert Path(files["train"]).read_bytes() == before
    again = recipe_run(tmp_path / "next", train=str(tmp_path / "cleaned.csv"), id="id")  # it can be trained on
    assert len(again.examples) == 59


def test_clean_from_a_shuffled_copy_keeps_its_order_and_what_was_not_sampled(leadline, files, tmp_path: Path) -> None:
    run = recipe_run(tmp_path / "run", **files, id="id", validation=None, sample={"n": 30})
    shuffled = pl.read_csv(files["train"]).sample(fraction=1.0, shuffle=True, seed=1)
    shuffled.write_csv(tmp_path / "copy.csv")
    gone = run.train.ids[3]
    decide(run, {gone: "discard"})
    assert leadline("clean", run.path, "-o", tmp_path / "c.parquet", "--data", tmp_path / "copy.csv")[0] == 0
    assert pl.read_parquet(tmp_path / "c.parquet").equals(shuffled.filter(pl.col("id") != gone))
    assert leadline("clean", run.path, "-o", tmp_path / "d.jsonl")[0] == 0
    assert pl.read_ndjson(tmp_path / "d.jsonl").height == 29
    row = next(i for i, name in enumerate(shuffled["id"]) if name in run.train.ids)
    texts = shuffled["text"].to_list()
    texts[row] += " edited"
    shuffled.with_columns(pl.Series("text", texts)).write_csv(tmp_path / "edited.csv")
    status, _, err = leadline("clean", run.path, "-o", tmp_path / "e.csv", "--data", tmp_path / "edited.csv")
    assert status == 2 and "1 of the run's 30 examples have other inputs" in err and not (tmp_path / "e.csv").exists()


def test_select_and_audit_never_write_over_a_source(leadline, files, tmp_path: Path) -> None:
    run = recipe_run(tmp_path / "run", **files, id="id")
    before = Path(files["train"]).read_bytes()
    (tmp_path / "elsewhere.csv").write_bytes(before)  # the same bytes under another name are the source too
    for name in (files["train"], tmp_path / "elsewhere.csv"):
        for asked in (("select", run.path, "--random", 0.5), ("audit", run.path, "--score", "aum")):
            status, _, err = leadline(*asked, "-o", name)
            assert status == 2 and "is a source of this run" in err, asked
        assert Path(name).read_bytes() == before


def test_clean_never_writes_over_a_source(leadline, files, tmp_path: Path) -> None:
    run = recipe_run(tmp_path / "run", **files, id="id")
    status, _, err = leadline("clean", run.path, "-o", files["train"])
    assert status == 2  # the decisions do not matter: it is refused before they are read
    decide(run, {run.train.ids[0]: "discard"})
    before = {name: Path(path).read_bytes() for name, path in files.items()}
    (tmp_path / "link.csv").hardlink_to(files["train"])
    (tmp_path / "soft.csv").symlink_to(files["test"])
    Path(tmp_path / "x.audit.csv").hardlink_to(files["test"])
    for name in (files["train"], files["test"], tmp_path / "link.csv", tmp_path / "soft.csv", tmp_path / "x.csv"):
        status, _, err = leadline("clean", run.path, "-o", name)
        assert status == 2 and "is a source of this run" in err
    (tmp_path / "copy.csv").write_bytes(before["train"])
    status, _, err = leadline("clean", run.path, "-o", tmp_path / "copy.csv", "--data", tmp_path / "copy.csv")
    assert status == 2 and "is a source" in err
    assert before == {name: Path(path).read_bytes() for name, path in files.items()}


def test_splits_are_cleaned_apart(leadline, files, tmp_path: Path) -> None:
    run = recipe_run(tmp_path / "run", **files, id="id")
    status, _, err = leadline("clean", run.path, "-o", tmp_path / "t.csv")
    assert status == 2 and "no decisions yet" in err and "leadline review" in err
    gone = run.examples.split("test").ids[4]
    decide(run, {gone: "discard"}, split="test")
    assert gone in run.train.ids  # the same id is another example there
    status, _, err = leadline("clean", run.path, "-o", tmp_path / "t.csv")
    assert status == 2 and "no decisions on train rows" in err
    assert leadline("clean", run.path, "--split", "test", "-o", tmp_path / "t.csv")[0] == 0
    assert pl.read_csv(tmp_path / "t.csv")["id"].to_list() == [n for n in run.examples.split("test").ids if n != gone]
    status, _, err = leadline("clean", run.path, "--split", "validation", "-o", tmp_path / "v.csv")
    assert status == 2 and "give --split train for both" in err
    status, _, err = leadline("clean", run.path, "--split", "tset", "-o", tmp_path / "v.csv")
    assert status == 2 and "Did you mean `test`?" in err


def test_one_reviewer_or_the_majority(leadline, files, tmp_path: Path) -> None:
    run = recipe_run(tmp_path / "run", **files, id="id", validation=None)
    a, b = run.train.ids[:2]
    decide(run, {a: "discard", b: "discard"}, "anna")
    decide(run, {a: "keep", b: "discard"}, "ben")
    told = json.loads(leadline("clean", run.path, "-o", tmp_path / "c.csv", "--json")[1])
    assert (told["dropped"], told["ties"], told["decisions"], told["n"]) == (1, [a], 4, 59)
    told = json.loads(leadline("clean", run.path, "-o", tmp_path / "c.csv", "--json", "--reviewer", "anna")[1])
    assert (told["dropped"], told["ties"], told["decisions"]) == (2, [], 2)
    status, _, err = leadline("clean", run.path, "-o", tmp_path / "c.csv", "--reviewer", "bne")
    assert status == 2 and "anna, ben" in err


def test_the_label_column_keeps_its_type_and_spelling(tmp_path: Path) -> None:
    rows = {"n": list(range(12)), "text": [f"words {i}" for i in range(12)], "label": [i % 3 for i in range(12)]}
    pl.DataFrame(rows).write_parquet(tmp_path / "numbers.parquet")
    run = recipe_run(tmp_path / "run", train=str(tmp_path / "numbers.parquet"), validation=None)
    decide(run, {"0": "2", "5": "discard"})
    write_cleaned(run, tmp_path / "out.parquet")
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["label"].dtype == pl.Int64 and found["label"].to_list() == [2, 1, 2, 0, 1, 0, 1, 2, 0, 1, 2]
    assert found["id"].to_list() == [str(i) for i in range(12) if i != 5] and found["n"].to_list()[0] == 0


def test_shares_become_the_class_that_was_chosen(tmp_path: Path) -> None:
    shares = [[0.7, 0.3], [0.4, 0.6]] * 6
    base = {"text": [f"words {i}" for i in range(12)]}
    pl.DataFrame(base | {"votes": shares}).write_parquet(tmp_path / "list.parquet")
    pl.DataFrame(base | {"no": [s[0] for s in shares], "yes": [s[1] for s in shares]}).write_csv(tmp_path / "two.csv")
    soft = {"validation": None, "label": None}
    one = recipe_run(tmp_path / "a", train=str(tmp_path / "list.parquet"), label_distribution="votes", **soft)
    decide(one, {"0": "1"})
    write_cleaned(one, tmp_path / "a.parquet")
    assert pl.read_parquet(tmp_path / "a.parquet")["votes"].to_list() == [[0.0, 1.0], *shares[1:]]
    two = recipe_run(tmp_path / "b", train=str(tmp_path / "two.csv"), label_distribution=["no", "yes"], **soft)
    decide(two, {"1": "no"})
    write_cleaned(two, tmp_path / "b.csv")
    assert pl.read_csv(tmp_path / "b.csv").select("no", "yes").rows()[:3] == [(0.7, 0.3), (1.0, 0.0), (0.7, 0.3)]


def test_wrong_labels_put_in_on_purpose_are_what_is_cleaned(files, tmp_path: Path) -> None:
    run = recipe_run(tmp_path / "run", train=files["train"], id="id", validation=None, corrupt={"rate": 0.2})
    table = run.train.table
    wrong = table.filter(pl.col("_label") != pl.col("_true_label"))
    assert wrong.height == 12
    decide(run, {wrong["_id"][0]: wrong["_true_label"][0]})
    write_cleaned(run, tmp_path / "out.csv")
    found = pl.read_csv(tmp_path / "out.csv")
    assert (found["label"] != found["true_label"]).sum() == 11
    assert found["true_label"].to_list() == table["_true_label"].to_list()


def test_an_import_without_texts_is_cleaned_too(tmp_path: Path) -> None:
    run = minimal_run(tmp_path / "run", None)
    decide(run, {"e000": "spam", "e001": "discard"})
    write_cleaned(run, tmp_path / "out.csv")
    found = pl.read_csv(tmp_path / "out.csv")
    assert found.columns == ["id", "label"] and found.height == 29 and found["label"].to_list()[:2] == ["spam", "spam"]
    with pytest.raises(InputError, match="no recipe"):
        write_cleaned(run, tmp_path / "again.csv", data="x.csv")
    (tmp_path / "other").mkdir()
    (run.path / "decisions.sqlite").rename(tmp_path / "d.sqlite")
    with sqlite3.connect(tmp_path / "d.sqlite") as connection:
        connection.execute("UPDATE decisions SET \"from\" = 'junk' WHERE id = 'e000'")
    connection.close()
    (tmp_path / "d.sqlite").rename(run.path / "decisions.sqlite")
    with pytest.raises(InputError, match="on another label than the run has now .first id: e000"):
        write_cleaned(run, tmp_path / "again.csv")
