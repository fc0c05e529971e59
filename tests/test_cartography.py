"""Dynamics of Dataset Cartography: read, refuse, write back, and make a run of them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from leadline import scores
from leadline.data.examples import Examples, fingerprint, with_hashes
from leadline.errors import InputError
from leadline.interop import cartography
from leadline.signals import Period, from_logits, read_periods

Row = dict[str, Any]


def row(guid: Any, logits: Any, gold: Any, epoch: int = 0, **more: Any) -> Row:
    return {"guid": guid, f"logits_epoch_{epoch}": logits, "gold": gold, **more}


def dynamics(directory: Path, *epochs: list[Row]) -> Path:
    directory.mkdir(exist_ok=True)
    for number, rows in enumerate(epochs):
        lines = "".join(json.dumps(line) + "\n" for line in rows)
        (directory / f"dynamics_epoch_{number}.jsonl").write_text(lines)
    return directory


def three(epoch: int = 0) -> list[Row]:
    """Guids 10, 9 and 2, in an order of its own."""
    logits = {10: [1.5 + epoch, 0.5], 9: [0.25, -1.0], 2: [0.5, 3.0 - epoch]}
    rows = [row(guid, z, gold, epoch) for (guid, z), gold in zip(logits.items(), (0, 1, 1), strict=True)]
    return rows[epoch:] + rows[:epoch]


def test_rows_are_joined_by_guid_and_lie_in_natural_order(tmp_path: Path) -> None:
    signals, told = cartography.read(dynamics(tmp_path, three(0), three(1), three(2)))
    assert told == () and signals.n_epochs == 3
    assert list(signals.ids) == ["2", "9", "10"]
    assert signals.gold.tolist() == [1, 1, 0] and signals.classes == ("0", "1")
    assert signals.margin.tolist() == [[2.5, -1.25, 1.0], [1.5, -1.25, 2.0], [0.5, -1.25, 3.0]]
    assert signals.logits is not None
    assert signals.logits[2].tolist() == [[0.5, 1.0], [0.25, -1.0], [3.5, 0.5]]
    assert signals.recorded.all() and [period.metadata["period"] for period in signals.periods] == [1, 2, 3]
    assert {period.metadata["mode"] for period in signals.periods} == {"imported"}


def test_other_keys_blank_lines_and_text_ids(tmp_path: Path) -> None:
    dynamics(tmp_path, [row("b", [1, 2], 0, device="cuda"), row("a", [2, 1], 0)])
    path = tmp_path / "dynamics_epoch_0.jsonl"
    path.write_text(path.read_text().replace("\n", "\n\n"))
    signals, _ = cartography.read(tmp_path)
    assert list(signals.ids) == ["a", "b"] and signals.correct.tolist() == [[1, 0]]


def test_class_names_and_golds_by_name(tmp_path: Path) -> None:
    directory = dynamics(tmp_path, [row(1, [1, 2], "ham"), row(2, [1, 2], 1)])
    signals, _ = cartography.read(directory, classes=["ham", "spam"])
    assert signals.gold.tolist() == [0, 1] and signals.classes == ("ham", "spam")
    with pytest.raises(InputError, match=r"line 1: gold 'ham' is no index of the 2 logits"):
        cartography.read(directory)
    with pytest.raises(InputError, match="2 logits, but 3 class names"):
        cartography.read(dynamics(tmp_path, [row(1, [1, 2], 0)]), classes=["a", "b", "c"])


def test_an_epoch_without_an_example_is_not_observed(tmp_path: Path) -> None:
    signals, told = cartography.read(dynamics(tmp_path, three(0), three(1)[:2], three(2)))
    gone = list(signals.ids).index(str(three(1)[2]["guid"]))
    assert scores.n_obs(signals)[gone] == 2
    assert np.isnan(signals.loss[1, gone]) and signals.correct[1, gone] == -1
    assert not signals.recorded[1, gone] and np.isnan(signals.epoch(2).logits[gone]).all()
    assert told == ("1 of 3 examples are missing in at least one epoch; scores use the epochs that have them",)
    one_by_one = signals.rows(np.array([gone])).loss[[0, 2], 0].astype(np.float64)
    assert scores.action_mean(signals)[gone] == pytest.approx(one_by_one.mean())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"guid": 7, "logits_epoch_0": [1, 2', "line 2: not a line of JSON"),
        ("[1, 2]", "line 2: not a JSON object"),
        ('{"guid": 7, "gold": 0}', "line 2: no logits_epoch_0"),
        ('{"logits_epoch_0": [1, 2], "gold": 0}', "line 2: no guid"),
        ('{"guid": 7, "logits_epoch_1": [1, 2]}', "line 2: no logits_epoch_0 and no gold"),
        ('{"guid": 7, "logits_epoch_0": [1, 2, 3], "gold": 0}', "line 2: 3 logits, 2 in the lines before"),
        ('{"guid": 7, "logits_epoch_0": [1], "gold": 0}', "at least two finite numbers"),
        ('{"guid": 7, "logits_epoch_0": [1, NaN], "gold": 0}', "at least two finite numbers"),
        ('{"guid": 7, "logits_epoch_0": [1, Infinity], "gold": 0}', "at least two finite numbers"),
        ('{"guid": 7, "logits_epoch_0": [-Infinity, -Infinity], "gold": 0}', "at least two finite numbers"),
        ('{"guid": 7, "logits_epoch_0": [1, 1e300], "gold": 0}', "at least two finite numbers"),
        ('{"guid": 7, "logits_epoch_0": [1, "2"], "gold": 0}', "at least two finite numbers"),
        ('{"guid": 7, "logits_epoch_0": "12", "gold": 0}', "at least two finite numbers"),
        ('{"guid": 7, "logits_epoch_0": [1, 2], "gold": 2}', "line 2: gold 2 is no index of the 2 logits"),
        ('{"guid": 7, "logits_epoch_0": [1, 2], "gold": -1}', "line 2: gold -1 is no index"),
        ('{"guid": 7, "logits_epoch_0": [1, 2], "gold": true}', "line 2: gold True is no index"),
        ('{"guid": 7.5, "logits_epoch_0": [1, 2], "gold": 0}', "guid 7.5 is neither"),
        ('{"guid": 5, "logits_epoch_0": [1, 2], "gold": 0}', "line 2: guid 5 a second time, first in line 1"),
        ('{"guid": "5", "logits_epoch_0": [1, 2], "gold": 0}', "line 2: guid 5 a second time"),
        ("[" * 100_000, "line 2: not a line of JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_file(tmp_path: Path, line: str, message: str) -> None:
    good = json.dumps(row(5, [0.5, 1.0], 1))
    (tmp_path / "dynamics_epoch_0.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match="dynamics_epoch_0.jsonl") as error:
        cartography.read(tmp_path)
    assert message in str(error.value) and error.value.exit_status == 2


def test_all_bad_lines_of_a_file_at_once(tmp_path: Path) -> None:
    (tmp_path / "dynamics_epoch_0.jsonl").write_bytes(
        b'\xff\xfe\n{}\n{"guid": 1, "logits_epoch_0": [0, 1], "gold": 0}\n"x"\n'
    )
    with pytest.raises(InputError) as error:
        cartography.read(tmp_path)
    assert [text in str(error.value) for text in ("line 1:", "line 2:", "line 3:", "line 4:")] == [
        True,
        True,
        False,
        True,
    ]


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    wide = [row(guid, [0, 1, 2], 0, 1) for guid in (2, 9, 10)]
    with pytest.raises(InputError, match=r"dynamics_epoch_1.jsonl: 3 logits, but 2 in dynamics_epoch_0"):
        cartography.read(dynamics(tmp_path, three(0), wide))
    other_gold = [row(2, [0, 1], 0, 1), row(9, [0, 1], 1, 1)]
    with pytest.raises(InputError, match=r"guid 2: gold 0 in dynamics_epoch_1.jsonl, 1 before"):
        cartography.read(dynamics(tmp_path, three(0), other_gold))


def test_epochs_are_counted_from_zero_without_gaps(tmp_path: Path) -> None:
    dynamics(tmp_path, three(0), three(1), three(2))
    (tmp_path / "dynamics_epoch_1.jsonl").unlink()
    with pytest.raises(InputError, match="dynamics_epoch_1.jsonl is missing"):
        cartography.read(tmp_path)
    (tmp_path / "dynamics_epoch_0.jsonl").unlink()
    with pytest.raises(InputError, match="dynamics_epoch_0.jsonl is missing"):
        cartography.read(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory"):
        cartography.read(tmp_path / "missing")
    with pytest.raises(InputError, match="no dynamics_epoch_0.jsonl"):
        cartography.read(tmp_path)
    dynamics(tmp_path / "training_dynamics", three(0))
    with pytest.raises(InputError, match="give .*training_dynamics"):
        cartography.read(tmp_path)
    (tmp_path / "training_dynamics" / "dynamics_epoch_0.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no rows"):
        cartography.read(tmp_path / "training_dynamics")


def test_ten_epochs_are_not_read_as_text(tmp_path: Path) -> None:
    epochs = [[row(1, [float(number), 0.0], 0, number)] for number in range(12)]
    signals, _ = cartography.read(dynamics(tmp_path, *epochs))
    assert signals.margin[:, 0].tolist() == list(range(12))


# Writing


def test_what_is_written_comes_back_bit_for_bit(tmp_path: Path) -> None:
    dice = np.random.default_rng(4)
    z = (dice.normal(size=(3, 20, 4)) * 10.0 ** dice.integers(-30, 30, (3, 20, 4))).astype(np.float32)
    z[1, 4, 2] = -np.inf  # an option that the row does not have
    signals = from_logits([f"row {i}" for i in range(20)], z, np.arange(20) % 2)
    cartography.write(signals, tmp_path / "out")
    back, told = cartography.read(tmp_path / "out")
    assert told == () and back.ids == signals.ids and (back.gold == signals.gold).all()
    for name in ("logits", "loss", "margin", "entropy", "correct"):
        np.testing.assert_array_equal(back.stack(name), signals.stack(name))


def test_only_recorded_rows_are_written(tmp_path: Path) -> None:
    signals, _ = cartography.read(dynamics(tmp_path / "in", three(0), three(1)[:2]))
    cartography.write(signals, tmp_path / "out")
    lines = (tmp_path / "out" / "dynamics_epoch_1.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0]) == {"guid": 2, "logits_epoch_1": [0.5, 2.0], "gold": 1}  # numbers stay numbers
    back, told = cartography.read(tmp_path / "out")
    np.testing.assert_array_equal(back.stack("logits"), signals.stack("logits"))
    assert len(told) == 1


def test_write_refuses_what_it_cannot_or_must_not_do(tmp_path: Path) -> None:
    signals, _ = cartography.read(dynamics(tmp_path / "in", three(0)))
    with pytest.raises(InputError, match="not empty"):
        cartography.write(signals, tmp_path / "in")
    bare = Period({name: array for name, array in signals.epoch(1).columns.items() if name != "logits"})
    with pytest.raises(InputError, match="this run has none"):
        cartography.write(replace(signals, periods=(bare,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Making a run


def examples(labels: tuple[str, ...] = ("1", "1", "0", "0"), classes: tuple[str, ...] = ("0", "1")) -> Examples:
    """Guids 9, 2, 10 and one that the dynamics lack."""
    ids = ["9", "2", "10", "77"]
    table = pl.DataFrame(
        {"_id": ids, "_split": "train", "text": [f"text {i}" for i in ids], "topic": list("abcd"), "_label": labels}
    )
    sources = {"train": {"path": "tweets.csv", "sha256": "0", "rows": 4}}
    return with_hashes(Examples(table, inputs=("text",), classes=classes, sources=sources))


def test_a_run_without_texts(tmp_path: Path) -> None:
    source = dynamics(tmp_path / "dynamics", three(0), three(1))
    told = cartography.to_run(source, tmp_path / "run")
    assert len(told) == 1 and "without texts" in told[0]
    run = Examples.read(tmp_path / "run" / "examples.parquet")
    assert run.ids == ["2", "9", "10"] and run.gold.tolist() == [1, 1, 0] and run.classes == ("0", "1")
    assert run.inputs == () and run.table["_input_hash"].null_count() == 3 and run.told == told
    assert set(run.sources["train"]) == {"path", "sha256", "rows"} and run.splits == ["train"]
    periods = read_periods(tmp_path / "run" / "signals")
    assert [period.metadata["period"] for period in periods] == [1, 2]
    signals, _ = cartography.read(source)
    for period, expected in zip(periods, signals.periods, strict=True):
        np.testing.assert_array_equal(period.logits, expected.logits)
        np.testing.assert_array_equal(period.loss, expected.loss)
        assert period.metadata["mode"] == "imported" and period.metadata["classes"] == ["0", "1"]
        assert {name: period.metadata[name] for name in ("input_hash", "label_hash")} == fingerprint(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dynamics", "run"]


def test_a_run_with_texts_takes_the_rows_of_the_data_by_id(tmp_path: Path) -> None:
    data = examples()
    told = cartography.to_run(dynamics(tmp_path / "dynamics", three(0)), tmp_path / "run", data)
    run = Examples.read(tmp_path / "run" / "examples.parquet")
    assert run.ids == ["2", "9", "10"] and run.table["text"].to_list() == ["text 2", "text 9", "text 10"]
    assert run.table["topic"].to_list() == ["b", "a", "c"] and run.inputs == ("text",)
    hashes = dict(zip(data.ids, data.table["_input_hash"].to_list(), strict=True))
    assert run.table["_input_hash"].to_list() == [hashes[name] for name in run.ids]
    assert len(told) == 1 and "imported from" in told[0]


def test_labels_by_name_in_the_order_of_the_logits(tmp_path: Path) -> None:
    source = dynamics(tmp_path / "dynamics", three(0))
    named = examples(("yes", "yes", "no", "no"), ("no", "yes"))
    cartography.to_run(source, tmp_path / "run", named)
    assert Examples.read(tmp_path / "run" / "examples.parquet").table["_label"].to_list() == ["yes", "yes", "no"]
    turned = examples(("no", "no", "yes", "yes"), ("no", "yes"))
    with pytest.raises(InputError, match=r"3 of 3 examples have another label.*first id: 2: `yes` here, `no` there"):
        cartography.to_run(source, tmp_path / "other", turned)
    cartography.to_run(source, tmp_path / "other", turned, classes=["yes", "no"])
    other = Examples.read(tmp_path / "other" / "examples.parquet")
    assert other.classes == ("yes", "no") and other.gold.tolist() == [1, 1, 0]
    with pytest.raises(InputError, match="labels of the data are"):
        cartography.to_run(source, tmp_path / "third", named, classes=["ja", "nein"])


def test_other_data_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    source = dynamics(tmp_path / "dynamics", three(0))
    shorter = examples()
    shorter = with_hashes(Examples(shorter.table.head(2), inputs=("text",), classes=("0", "1")))
    with pytest.raises(InputError, match=r"1 of the run's 3 examples are not there \(first id: 10\)"):
        cartography.to_run(source, tmp_path / "run", shorter)
    with pytest.raises(InputError, match=r"1 of 3 examples have another label"):
        cartography.to_run(source, tmp_path / "run", examples(("0", "1", "0", "0")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dynamics"]


def test_a_run_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = dynamics(tmp_path / "dynamics", three(0), three(1))
    (tmp_path / "run").mkdir()  # empty: may be filled
    write = cartography.signals.write_period

    def full_disk(directory: Path, number: int, *rest: Any) -> Path:
        if number == 2:
            raise OSError("no space left on device")
        return write(directory, number, *rest)

    monkeypatch.setattr(cartography.signals, "write_period", full_disk)
    with pytest.raises(OSError, match="no space"):
        cartography.to_run(source, tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dynamics", "run"] and not os.listdir(tmp_path / "run")
    monkeypatch.undo()
    cartography.to_run(source, tmp_path / "run")
    assert sorted(os.listdir(tmp_path / "run")) == ["examples.parquet", "signals"]
    with pytest.raises(InputError, match="run: there already and not empty"):
        cartography.to_run(source, tmp_path / "run")


# Real files


def test_the_sample_of_cartography_reads_with_a_warning(data_dir: Path) -> None:
    signals, told = cartography.read(data_dir / "cartography_sample")
    assert len(signals) == 50 and signals.n_epochs == 5 and len(signals.classes) == 3
    assert told == (cartography.NEVER_TWICE,) and (scores.n_obs(signals) == 1).all()
    columns, left_out = scores.compute(signals)
    assert all("needs a probe" in why for why in left_out.values()) and (columns["variability"] == 0).all()
    assert np.isfinite(columns["aum"]).all() and len(np.unique(columns["aum"])) == 50


def test_real_dynamics_join_their_data_and_come_back(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "sarcasm" / "roberta_base_dynamics"
    frame = pl.read_csv(data_dir / "sarcasm" / "train.csv", schema_overrides={"idx": pl.String, "label": pl.String})
    table = frame.rename({"idx": "_id", "label": "_label"}).with_columns(pl.lit("train").alias("_split"))
    data = Examples(table.sample(fraction=1, shuffle=True, seed=1), inputs=("text",), classes=("0", "1"))
    cartography.to_run(source, tmp_path / "run", data)
    run = Examples.read(tmp_path / "run" / "examples.parquet")
    assert run.ids == [str(i) for i in range(3467)]
    assert run.table["text"].to_list() == frame["text"].to_list()

    signals, _ = cartography.read(source)
    cartography.write(signals, tmp_path / "written")
    back, _ = cartography.read(tmp_path / "written")
    np.testing.assert_array_equal(back.stack("logits"), signals.stack("logits"))
    line = json.loads((tmp_path / "written" / "dynamics_epoch_3.jsonl").read_text().splitlines()[100])
    original = {
        json.loads(text)["guid"]: json.loads(text)
        for text in (source / "dynamics_epoch_3.jsonl").read_text().splitlines()
    }
    assert line == {name: original[100][name] for name in ("guid", "logits_epoch_3", "gold")}
