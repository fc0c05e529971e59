"""signals.py: outcomes in numpy, the files of a record, views of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import special

from leadline import signals
from leadline.errors import InputError
from leadline.signals import FIELDS, OUTCOME, complete, from_logits, outcome, read_period, read_periods, write_period

RNG = np.random.default_rng(7)


def test_outcome_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    got = outcome(np.log(probabilities) + 4.0, np.array([0, 2]))  # a shift of the logits changes nothing
    np.testing.assert_allclose(got["loss"], [-np.log(0.7), np.log(4)], rtol=1e-6)
    np.testing.assert_allclose(got["gold_logprob"], [np.log(0.7), -np.log(4)], rtol=1e-6)
    np.testing.assert_allclose(got["margin"], [np.log(3.5), -np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(got["entropy"], [0.8018186, 1.5 * np.log(2)], rtol=1e-6)
    assert got["correct"].tolist() == [1, 0]
    assert {name: got[name].dtype for name in OUTCOME} == {name: np.dtype(FIELDS[name]) for name in OUTCOME}


@pytest.mark.parametrize("k", [2, 5, 40])
def test_outcome_equals_scipy(k: int) -> None:
    z, gold = RNG.normal(scale=4, size=(200, k)), RNG.integers(0, k, 200)
    log_p, rows = special.log_softmax(z, axis=1), np.arange(200)
    got = outcome(z, gold)
    np.testing.assert_allclose(got["loss"], -log_p[rows, gold], rtol=1e-6)
    np.testing.assert_allclose(got["entropy"], special.entr(special.softmax(z, axis=1)).sum(axis=1), atol=1e-6)
    rivals = [np.delete(z[row], gold[row]).max() for row in rows]
    np.testing.assert_allclose(got["margin"], z[rows, gold] - rivals, rtol=1e-5, atol=1e-6)
    assert (got["correct"] == (z.argmax(axis=1) == gold)).all()


def test_outcome_of_soft_targets_is_cross_entropy_and_gold_the_largest_class() -> None:
    z = RNG.normal(size=(50, 4))
    targets = RNG.dirichlet(np.ones(4), 50)
    targets[0] = [0.4, 0.4, 0.1, 0.1]  # a tie: the lowest index
    targets[1] = [0.0, 0.0, 1.0, 0.0]
    got, hard = outcome(z, targets), outcome(z, targets.argmax(axis=1))
    np.testing.assert_allclose(got["loss"], -(targets * special.log_softmax(z, axis=1)).sum(axis=1), rtol=1e-5)
    for name in ("gold_logprob", "margin", "entropy", "correct"):
        np.testing.assert_array_equal(got[name], hard[name])
    assert got["gold_logprob"][0] == pytest.approx(special.log_softmax(z[0])[0], rel=1e-6)
    assert got["loss"][1] == pytest.approx(hard["loss"][1])


def test_outcome_sigmoid_equals_scipy() -> None:
    z, y = RNG.normal(scale=3, size=(60, 5)), RNG.integers(0, 2, (60, 5))
    got = outcome(z, y, link="sigmoid")
    log_gold = np.where(y == 1, special.log_expit(z), special.log_expit(-z))
    np.testing.assert_allclose(got["loss"], -log_gold.sum(axis=1), rtol=1e-5)
    p = special.expit(z)
    np.testing.assert_allclose(got["entropy"], (special.entr(p) + special.entr(1 - p)).sum(axis=1), rtol=1e-5)
    assert (got["correct"] == ((p > 0.5) == y).all(axis=1)).all()


def test_an_absent_option_changes_nothing_of_the_others() -> None:
    three = outcome(np.array([[1.0, 0.3, -np.inf, -0.5]]), np.array([0]))
    two = outcome(np.array([[1.0, 0.3, -0.5]]), np.array([0]))
    for name in OUTCOME:
        assert three[name] == two[name]


def test_a_tie_of_logits_is_the_lowest_class() -> None:
    assert outcome(np.zeros((2, 3)), np.array([0, 1]))["correct"].tolist() == [1, 0]


@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_outcome_names_the_row_that_is_not_finite(row: list[float]) -> None:
    with pytest.raises(ValueError, match="row 1"):
        outcome(np.array([[0.0, 1.0], row]), np.array([0, 0]))


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="K >= 2"):
        outcome(np.zeros((3, 1)), np.zeros(3, dtype=int))


def columns(n: int = 6, k: int = 3) -> dict[str, np.ndarray]:
    z = RNG.normal(size=(n, k)).astype(np.float32)
    made = complete(outcome(z, np.arange(n) % k), logits=z, mass=np.linspace(0, 1, n))
    for name in ("loss", "gold_logprob", "margin", "entropy"):
        made[name][2] = np.nan  # not recorded
    made["logits"][2] = np.nan
    made["correct"][2], made["recorded"][2], made["trained"][1] = -1, False, False
    made["step"][:] = np.arange(n)
    return made


def test_a_period_comes_back_bit_for_bit(tmp_path: Path) -> None:
    written = columns()
    path = write_period(tmp_path / "signals", 1, written, {"period": 1, "mode": "online", "classes": ["a", "b", "c"]})
    assert path.name == "epoch_001.arrow"
    period = read_period(path)
    assert set(period.columns) == set(written)
    for name, array in written.items():
        back = getattr(period, name)
        assert back.dtype == array.dtype and back.shape == array.shape
        np.testing.assert_array_equal(back, array)
    assert period.metadata == {"format": 1, "period": 1, "mode": "online", "classes": ["a", "b", "c"]}
    with pytest.raises(AttributeError, match="no 'grand'"):
        _ = period.grand


def test_the_file_is_plain_arrow_without_nulls(tmp_path: Path) -> None:
    path = write_period(tmp_path, 1, columns(), {})
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    assert sum(column.null_count for column in table.columns) == 0
    assert table.schema.field("logits").type == pa.list_(pa.float32(), 3)
    assert table.schema.field("correct").type == pa.int8() and table.schema.field("recorded").type == pa.bool_()


def test_columns_are_memory_mapped(tmp_path: Path) -> None:
    n = 50_000
    z = RNG.normal(size=(n, 4)).astype(np.float32)
    path = write_period(tmp_path, 1, complete(outcome(z, np.zeros(n, dtype=int)), logits=z), {})
    before = pa.total_allocated_bytes()
    period = read_period(path)
    assert pa.total_allocated_bytes() - before <= 2 * n + 1024  # only the two bool columns, a byte each, were copied
    for name in (*OUTCOME, "step", "logits"):
        array = period.columns[name]
        assert not array.flags.owndata and not array.flags.writeable
    assert np.shares_memory(period.logits, period.rows(slice(10, 20)).logits)


@pytest.mark.parametrize("kept", [0, 1, 7, 100, 0.5, 0.99])
def test_a_truncated_file_is_a_clear_error(tmp_path: Path, kept: float) -> None:
    path = write_period(tmp_path, 3, columns(200), {"period": 3})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"epoch_003\.arrow: damaged signals file"):
        read_period(path)


def test_a_write_that_dies_leaves_the_whole_periods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = columns()
    write_period(tmp_path, 1, first, {})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    for number in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            write_period(tmp_path, number, columns(), {})
    (period,) = read_periods(tmp_path)
    np.testing.assert_array_equal(period.loss, first["loss"])


def test_a_gap_in_the_periods_is_named(tmp_path: Path) -> None:
    for number in (1, 3):
        write_period(tmp_path, number, columns(), {})
    with pytest.raises(InputError, match=r"epoch_002\.arrow is missing"):
        read_periods(tmp_path)
    assert read_periods(tmp_path / "nothing") == ()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    table = pa.table({"loss": pa.array([1.0], pa.float32())})
    table = table.replace_schema_metadata({signals.VERSION_KEY: json.dumps({"format": 2}).encode()})
    path = tmp_path / "epoch_001.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="format 2 is newer"):
        read_period(path)


@pytest.fixture
def record() -> signals.Signals:
    z = RNG.normal(size=(4, 7, 3))
    return from_logits([f"r{i}" for i in range(7)], z, np.arange(7) % 3, classes=["x", "y", "z"])


def test_views_of_a_record(record: signals.Signals) -> None:
    assert len(record) == 7 and record.n_epochs == 4 and record.loss.shape == (4, 7)
    assert record.logits is not None and record.logits.shape == (4, 7, 3)
    np.testing.assert_array_equal(record.epoch(3).loss, record.loss[2])  # counted from 1
    np.testing.assert_array_equal(record.window(max_epochs=3).loss, record.loss[:3])  # the first three, not the last
    np.testing.assert_array_equal(record.window(max_epochs=3, skip_epochs=1).loss, record.loss[1:3])
    picked = record.rows(np.array([5, 1]))
    assert picked.ids == ["r5", "r1"] and picked.gold.tolist() == [2, 1]
    np.testing.assert_array_equal(picked.margin, record.margin[:, [5, 1]])
    parts = list(record.blocks(3))
    assert [len(part) for _, part in parts] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([part.entropy for _, part in parts], axis=1), record.entropy)
    assert [name for _, part in parts for name in part.ids] == record.ids


def test_stacks_are_copies(record: signals.Signals) -> None:
    copy = record.loss
    copy[:] = 0
    assert (record.loss > 0).all()


@pytest.mark.parametrize("number", [0, 5, -1])
def test_an_epoch_that_is_not_there(record: signals.Signals, number: int) -> None:
    with pytest.raises(InputError, match="numbered from 1"):
        record.epoch(number)


def test_an_empty_window_is_refused(record: signals.Signals) -> None:
    with pytest.raises(InputError, match="keeps none"):
        record.window(max_epochs=2, skip_epochs=2)


def test_from_logits_with_distributions() -> None:
    targets = np.array([[0.2, 0.8], [0.6, 0.4]])
    record = from_logits(["a", "b"], RNG.normal(size=(2, 2, 2)), targets)
    assert record.gold.tolist() == [1, 0] and record.targets is targets
