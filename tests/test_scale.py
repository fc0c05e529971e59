"""Reading at scale: scores.parquet written in pieces and kept, regions without full sorts, ids as one column."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from leadline import runs, scores, signals
from leadline.data.examples import Examples, fingerprint, with_hashes
from leadline.data.ids import Ids
from leadline.errors import InputError, LeadlineError
from leadline.report import maps
from leadline.runs import kept
from leadline.scores import regions

N, EPOCHS = 230, 4


def write_epoch(path: Path, examples: Examples, epoch: int, seed: int = 0) -> None:
    rng = np.random.default_rng([seed, epoch])
    z = rng.normal(size=(len(examples), 3)).astype(np.float32)
    z[np.arange(len(z)), examples.gold] += epoch * rng.random(len(z))
    columns = signals.complete(signals.outcome(z, examples.gold), logits=z)
    signals.write_period(path / "signals", epoch, columns, {"mode": "online", **fingerprint(examples)})


def examples_of(path: Path) -> Examples:
    table = pl.DataFrame({"_id": [f"row {i}" for i in range(N + 20)], "_split": ["train"] * N + ["test"] * 20})
    table = table.with_columns(
        pl.Series("_label", [("no", "yes", "maybe")[i % 3] for i in range(N + 20)]),
        pl.Series("text", [f"text {i}" for i in range(N + 20)]),
    )
    examples = with_hashes(Examples(table, inputs=("text",), classes=("no", "yes", "maybe")))
    path.mkdir()
    examples.write(path / "examples.parquet")
    return examples


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A minimal run whose scores.parquet has three row groups."""
    monkeypatch.setattr(kept, "ROWS", 100)
    path = tmp_path / "run"
    train = examples_of(path).split("train")
    for epoch in range(1, EPOCHS + 1):
        write_epoch(path, train, epoch)
    return path


# --- scores.parquet, written in pieces --------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [{}, {"max_epochs": 3, "skip_epochs": 1}, {"rule": runs.RegionRule("data-iq")}])
def test_the_file_holds_what_the_library_computes(path: Path, window: dict) -> None:
    written = runs.write_scores(runs.open(path), **window)
    expected = runs.open(path).scored(**window)
    table = pl.read_parquet(path / "scores.parquet")
    assert_frame_equal(table, expected.table, check_exact=True)
    assert written.n == N and written.names == table.columns[2:-1] and written.left_out == expected.left_out
    assert table["label"].head(4).to_list() == ["no", "yes", "maybe", "no"] and table["id"][N - 1] == f"row {N - 1}"
    np.testing.assert_array_equal(written.column("aum"), table["aum"].to_numpy())


def test_scoring_reads_no_source_column(path: Path) -> None:
    run = runs.open(path)
    runs.write_scores(run, ["aum"])
    assert "examples" not in vars(run) and run.labels.len() == N
    assert "examples" in vars(run) or run.train.table["text"][0] == "text 0"  # there when somebody asks


def test_scores_of_the_same_epochs_stay(path: Path) -> None:
    run = runs.open(path)
    first = runs.write_scores(run, ["aum", "forgetting"])
    assert first.kept == []
    second = runs.write_scores(run, ["confidence", "aum"], rule=runs.RegionRule("threshold"))
    assert second.kept == ["forgetting"] and second.names == ["confidence", "aum", "forgetting"]
    expected = run.scored(["confidence", "aum", "forgetting"], rule=runs.RegionRule("threshold")).table
    assert_frame_equal(pl.read_parquet(path / "scores.parquet"), expected, check_exact=True)


def test_scores_of_other_epochs_or_signals_go(path: Path) -> None:
    runs.write_scores(runs.open(path), ["aum", "forgetting"])
    assert runs.write_scores(runs.open(path), ["aum"], max_epochs=2).names == ["aum"]
    runs.write_scores(runs.open(path), ["aum", "forgetting"])
    write_epoch(path, runs.open(path).train, EPOCHS, seed=1)
    assert runs.write_scores(runs.open(path), ["aum"]).names == ["aum"]


def test_a_failure_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.write_scores(runs.open(path), ["aum"])
    before, calls = (path / "scores.parquet").read_bytes(), []

    def fails_at_the_second(*given: object) -> dict[str, np.ndarray]:
        calls.append(given)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return scores.table.columns(*given)  # type: ignore[arg-type]

    run = runs.open(path)
    monkeypatch.setattr(scores, "columns", fails_at_the_second)
    with pytest.raises(LeadlineError, match=r"scores\.parquet: cannot be written \(No space"):
        runs.write_scores(run, ["confidence"])
    assert (path / "scores.parquet").read_bytes() == before and len(calls) == 2
    assert sorted(file.name for file in path.iterdir()) == ["examples.parquet", "scores.parquet", "signals"]


def test_an_unknown_score_is_refused_before_anything_is_written(path: Path) -> None:
    for call in (runs.write_scores, runs.kept_scores):
        with pytest.raises(InputError, match="confidence"):
            call(runs.open(path), ["confidense"])
    assert not (path / "scores.parquet").exists()


# --- scores.parquet, read again ---------------------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the scores that are computed while a test runs."""
    names: list[str] = []
    original = scores.table.columns

    def noted(record: signals.Signals, asked: list[str], *more: int) -> dict[str, np.ndarray]:
        names.extend(asked)
        return original(record, asked, *more)

    monkeypatch.setattr(scores.table, "columns", noted)
    return names


def test_what_is_in_the_file_is_not_computed_again(path: Path, computed: list[str]) -> None:
    runs.write_scores(runs.open(path))
    computed.clear()
    found = runs.kept_scores(runs.open(path), rule=runs.RegionRule("data-iq"))
    assert computed == []
    fresh = runs.open(path).scored(rule=runs.RegionRule("data-iq"))
    assert_frame_equal(found.table, fresh.table, check_exact=True)
    assert found.left_out == fresh.left_out and found.regions.rule == fresh.regions.rule
    assert all((found.regions.sets[name] == rows).all() for name, rows in fresh.regions.sets.items())


def another_window(path: Path) -> None:
    runs.write_scores(runs.open(path), max_epochs=3)


def other_signals(path: Path) -> None:
    write_epoch(path, runs.open(path).train, 2, seed=5)


def a_damaged_file(path: Path) -> None:
    (path / "scores.parquet").write_bytes((path / "scores.parquet").read_bytes()[:-200])


def somebody_elses_file(path: Path) -> None:
    table = pl.read_parquet(path / "scores.parquet").with_columns(pl.lit(0.0).alias("aum"))
    table.write_parquet(path / "scores.parquet")


def too_few_scores(path: Path) -> None:
    runs.write_scores(runs.open(path), ["confidence"])
    os.utime(path / "signals" / "epoch_001.arrow", ns=(1, 1))  # else the others stay in the file


@pytest.mark.parametrize(
    "change",
    [another_window, other_signals, a_damaged_file, somebody_elses_file, too_few_scores],
    ids=lambda f: f.__name__,
)
def test_what_does_not_match_is_computed(path: Path, computed: list[str], change) -> None:
    runs.write_scores(runs.open(path))
    change(path)
    computed.clear()
    found = runs.kept_scores(runs.open(path))
    assert "aum" in computed
    assert_frame_equal(found.table, runs.open(path).scored().table, check_exact=True)


def test_a_base_never_reads_the_file(path: Path) -> None:
    runs.write_scores(runs.open(path))
    expected = runs.open(path).scored().table
    table = pl.read_parquet(path / "scores.parquet")
    stolen = (path / "scores.parquet").stat()
    kept.pq.write_table(
        table.with_columns(pl.col("confidence") * 0).to_arrow().cast(kept.pq.read_schema(path / "scores.parquet")),
        path / "scores.parquet",
        row_group_size=100,
    )  # with the note of the true file, so that it would be believed
    os.utime(path / "scores.parquet", ns=(stolen.st_atime_ns, stolen.st_mtime_ns))
    assert runs.kept_scores(runs.open(path)).table["confidence"].max() == 0
    assert_frame_equal(runs.open(path).scored().table, expected, check_exact=True)


# --- regions and ids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_regions_by_partition_are_those_of_a_full_stable_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 8, 300) / 8.0  # many ties
    values[rng.integers(0, 300, 10)] = np.inf
    rows = np.sort(rng.choice(300, 250, replace=False))
    for most in (0, 1, 7, 100, 249, 250, 400):
        expected = rows[np.argsort(-values[rows], kind="stable")][:most]
        assert regions._highest(values, rows, most).tolist() == expected.tolist()


def test_the_region_column_says_what_the_codes_say() -> None:
    found = regions.by_proportion(np.arange(9.0), np.arange(9.0)[::-1], 0.2)
    assert found.column.to_list() == found.category.tolist() == ["ambiguous"] + ["none"] * 7 + ["easy"]
    assert regions.nowhere("one epoch", 3).column.to_list() == ["none"] * 3


def test_ids_are_a_sequence_without_being_a_list() -> None:
    ids = Ids(pl.Series(["a", "b", "c"]))
    assert ids == ["a", "b", "c"] and ids == ("a", "b", "c") and ids == Ids(pl.Series(["a", "b", "c"]))
    assert ids != ["a", "b"] and ids != ["a", "b", "x"] and ids != "abc"
    assert ids[1] == "b" and ids[np.int64(2)] == "c" and ids[-1] == "c" and "b" in ids and list(ids) == ["a", "b", "c"]
    assert ids[1:] == ["b", "c"] and ids[np.array([2, 0])] == ["c", "a"] and len(ids[:0]) == 0
    assert repr(ids) == "Ids(['a', 'b', 'c'], n=3)"


@pytest.mark.parametrize("hashes", [[1, 2**62, 3], [None, 5, None], [None, None, None], []])
def test_a_fingerprint_is_that_of_each_value_in_turn(hashes: list[int | None]) -> None:
    table = pl.DataFrame(
        {"_id": [str(i) for i in range(len(hashes))], "_input_hash": hashes}, schema_overrides={"_input_hash": pl.Int64}
    )
    digest = hashlib.sha256()
    for value in hashes:
        digest.update(b"-" if value is None else value.to_bytes(8, "little"))
    assert fingerprint(Examples(table))["input_hash"] == digest.hexdigest()


def test_gold_follows_the_classes_and_not_the_order_of_the_labels() -> None:
    table = pl.DataFrame({"_label": ["b", "a", "c", "b"]})
    assert Examples(table, classes=("c", "b", "a")).gold.tolist() == [1, 2, 0, 1]
    with pytest.raises(KeyError):
        Examples(table, classes=("a", "b")).gold  # noqa: B018


def test_softmax_leaves_its_argument_alone() -> None:
    for z in (np.zeros((3, 2), order="F"), np.arange(4.0), np.ones((2, 3, 4))):
        before = z.copy()
        assert signals.softmax(z).sum(axis=-1) == pytest.approx(1.0) and (z == before).all()


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ((None, None, None), ["confidence", "variability", "correctness", "action_mean", "loss_std"]),
        (("aum", None, "label"), ["confidence", "variability", "correctness", "action_mean", "loss_std", "aum"]),
        ((None, "aumm", None), "all"),
    ],
)
def test_a_picture_computes_only_what_it_draws(path: Path, asked: tuple, names: str | list[str]) -> None:
    assert set(maps.needed(*asked)) == set(names)
    if names != "all":
        run = runs.open(path)
        maps.write_map(run, run.scored(maps.needed(*asked)), path / "map.png", *asked)
        assert (path / "map.png").stat().st_size > 10_000
