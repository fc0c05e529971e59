"""Traps that a critical reader fell into: two processes in one directory, odd columns, odd names, half-written runs."""

from __future__ import annotations

import csv
import json

import numpy as np
import polars as pl
import pytest
import yaml

from conftest import write_tiny
from leadline import cli, experiment, recipe, runs, signals
from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.learn.recorder import Recorder
from leadline.runs import Run


def train(data, root, epochs=1, **settings):
    return experiment.train(data=data, model="tiny", epochs=epochs, max_length=16, root=root, **settings)


@pytest.fixture
def frame(tmp_path):
    return pl.read_csv(write_tiny(tmp_path / "rows.csv", n=60), infer_schema=False)


def test_two_trainings_never_share_a_directory(tmp_path):
    file = str(write_tiny(tmp_path / "rows.csv", n=60))
    first = train(file, tmp_path / "runs")
    resolved = recipe.load(recipe.quick(file, model="tiny", epochs=2))
    (tmp_path / "runs" / "rows-tiny-2").mkdir()  # another process has just taken the name
    claimed = runs.create(resolved, first.examples, {"key": "k"}, "k", None, tmp_path / "runs")
    second, lock = claimed.run, claimed.lock
    assert second.name == "rows-tiny-3" and first.finished
    with lock, pytest.raises(InputError, match="another process is training this run"):
        runs.create(resolved, first.examples, {"key": "k"}, "k", None, tmp_path / "runs")
    claimed = runs.create(resolved, first.examples, {"key": "k"}, "k", None, tmp_path / "runs")
    again, lock = claimed.run, claimed.lock
    assert again.path == second.path  # the process is gone, its unfinished run is started anew
    lock.close()
    assert not (first.path / runs.LOCK).exists()


def test_a_run_that_finishes_between_the_look_and_the_lock_is_not_removed(tmp_path, monkeypatch):
    file = str(write_tiny(tmp_path / "rows.csv", n=60))
    done = train(file, tmp_path / "runs", name="mine")
    before = (done.path / "results.json").read_bytes()
    place, answers = runs.place, [(done.path, "unfinished")]  # what was true a moment ago
    monkeypatch.setattr(runs, "place", lambda *given: answers.pop() if answers else place(*given))
    with pytest.raises(InputError, match="has just finished this run"):
        runs.create(done.recipe, done.examples, {}, done.about["key"], "mine", tmp_path / "runs")
    assert (done.path / "results.json").read_bytes() == before and not (done.path / runs.LOCK).exists()


def test_a_gap_in_the_numbers_does_not_train_a_finished_run_again(tmp_path):
    import shutil

    file = str(write_tiny(tmp_path / "rows.csv", n=60))
    one, two = train(file, tmp_path / "r"), train(file, tmp_path / "r", epochs=2)
    shutil.rmtree(one.path)
    assert train(file, tmp_path / "r", epochs=2).path == two.path
    assert train(file, tmp_path / "r").path == one.path


def test_columns_that_csv_cannot_hold_and_names_that_are_taken(frame, tmp_path):
    odd = frame.with_columns(
        pl.Series("tokens", [["a", "b"]] * 60),
        pl.Series("meta", [{"src": "web", "year": 2020}] * 60),
        pl.Series("blob", [b"x"] * 60),
        pl.Series("wait", [1] * 60).cast(pl.Duration("ms")),
        pl.Series("source_id", ["s"] * 60),
        pl.Series("source_score", ["t"] * 60),
        pl.Series("score", ["u"] * 60),
    )
    run = train(odd, tmp_path / "runs", text="text", label="label")  # `id` is not the id here: row numbers are
    with open(run.path / "suspects.csv", encoding="utf-8", newline="") as source:
        row = next(csv.DictReader(source))
    assert json.loads(row["meta"]) == {"src": "web", "year": 2020} and json.loads(row["tokens"]) == ["a", "b"]
    assert row["source_source_score"] == "u" or row["source_score"] == "t"
    assert {"t", "u"} <= set(row.values()) and any(value.startswith("t0") for value in row.values())  # nothing lost
    assert not list(run.path.rglob("*.partial"))


def test_a_subset_of_a_corrupted_run_carries_the_labels_that_were_scored(frame, tmp_path, monkeypatch):
    run = train(frame, tmp_path / "runs", text="text", label="label", id="id", overrides=["data.corrupt={rate: 0.3}"])
    monkeypatch.setattr(
        "sys.argv", ["leadline", "select", str(run.path), "--random", "1", "-o", str(tmp_path / "s.csv")]
    )
    with pytest.raises(SystemExit):
        cli.main()
    subset = pl.read_csv(tmp_path / "s.csv", infer_schema=False)
    assert subset["label"].to_list() == run.train.table["_label"].to_list()
    assert subset["true_label"].to_list() == run.train.table["_true_label"].to_list()


def test_a_regression_checkpoint_is_evaluated_as_one(tmp_path):
    frame = pl.DataFrame({"text": [f"row {i}" for i in range(40)], "y": [float(i % 7) for i in range(40)]})
    run = train(frame, tmp_path / "runs", text="text", label="y", task="regression", precision="fp32")
    frame.write_csv(tmp_path / "new.csv")
    found = experiment.evaluate(run.path / "model", str(tmp_path / "new.csv"), text="text", label="y", precision="fp32")
    assert "rmse" in found.results and found.predictions.columns == ["id", "label", "predicted"]
    with pytest.raises(InputError, match="precision int8: choose"):
        experiment.evaluate(run.path, split="validation", precision="int8")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.early_stopping={metric: rmse}", "rmse"),
        ("training.early_stopping={metric: 'f1[nope]'}", "nope"),
        ("training.early_stopping={metric: f1}", "value per class"),
        ("evaluate.metrics=[cross_entropy]", "cross_entropy"),
        ("training.seed=99999999999999999999", "training.seed"),
        ("loss.class_weights={dry: .nan}", "class_weights"),
        ("record.every=0.4", "whole part of one"),
    ],
)
def test_what_cannot_work_is_said_before_training(frame, tmp_path, override, says):
    with pytest.raises(InputError) as error:
        train(frame, tmp_path / "runs", text="text", label="label", overrides=[override])
    assert says in str(error.value) and not (tmp_path / "runs").exists()


def test_neutral_values_of_keys_to_come_are_accepted_and_others_refused():
    neutral = {"data": {"train": "x.csv", "null_input": False, "total": None}, "select": None, "mixup": None,
               "training": {"checkpoint_minutes": 10, "steps": None}, "record": {"under_mixup": "auto"},
               "evaluate": {"ood": [], "features": None}, "base": {"run": "r", "labels": "same"}}  # fmt: skip
    assert recipe.load(neutral).data.train == "x.csv"
    with pytest.raises(InputError, match="resampling .*later version"):
        recipe.load({"data": {"train": "x.csv", "total": 100}})


def test_names_that_look_like_numbers_or_truth_values(tmp_path):
    base = {"data": {"train": "x.csv"}}
    made = recipe.load(base, ["loss.weighted_class=1", "loss.gamma=2", "data.label=7", "training.learning_rate=2e-5"])
    assert made.loss.weighted_class == "1" and made.data.label == "7" and made.training.learning_rate == 2e-5
    (tmp_path / "r.yaml").write_text("data: {train: x.csv}\nloss: {class_weights: {no: 2, yes: 1}}\n")
    assert recipe.load(tmp_path / "r.yaml").loss.class_weights == {"no": 2, "yes": 1}
    assert recipe.load(base, ["loss.class_weights={0: 1, 1: 3}"]).loss.class_weights == {"0": 1, "1": 3}
    assert recipe.load(recipe.quick("x.csv", seed=7)).training.seed == 7


def test_a_run_cut_off_while_it_was_written(tmp_path):
    file = str(write_tiny(tmp_path / "rows.csv", n=60))
    run = train(file, tmp_path / "r")
    before = (run.path / "results.json").read_bytes()
    (run.path / "examples.parquet").unlink()  # killed between recipe.yaml and examples.parquet
    assert (train(file, tmp_path / "r").path / "results.json").read_bytes() == before
    log = run.path / "metrics.jsonl"
    log.write_text(log.read_text()[:-20])  # killed in the last line
    assert not Run(run.path).finished
    assert train(file, tmp_path / "r").finished
    (run.path / "report.html").unlink()
    assert (train(file, tmp_path / "r").path / "report.html").is_file()  # a view that is missing is made again
    (tmp_path / "r" / "rows-tiny-2").mkdir()
    (tmp_path / "r" / "rows-tiny-2" / "recipe.yaml").write_text("[broken: {")
    assert train(file, tmp_path / "r").path == run.path
    (run.path / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"results.json: damaged"):
        _ = Run(run.path).results


def test_more_than_999_periods_are_read_in_order(tmp_path):
    examples = Examples(
        pl.DataFrame({"_id": ["a", "b"], "_split": ["train"] * 2, "_label": ["x", "y"]}), classes=("x", "y")
    )
    recorder = Recorder.of(examples, tmp_path / "signals", {})
    for _ in range(1001):
        recorder.log([0, 1], np.zeros((2, 2)))
        recorder.end_epoch()
    assert [p.metadata["period"] for p in signals.read_periods(tmp_path / "signals")] == list(range(1, 1002))


def test_a_minimal_run_keeps_the_class_order_of_its_record(tmp_path):
    import pyarrow.parquet as pq

    recorder = Recorder(["a", "b"], ["yes", "no"], classes=["yes", "no"], to=tmp_path / "run")
    recorder.log([0, 1], np.array([[2.0, 0.0], [0.0, 3.0]]))
    recorder.end_epoch()
    path = tmp_path / "run" / "examples.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)  # written by another program
    run = Run(tmp_path / "run")
    assert run.classes == ("yes", "no") and run.signals.gold.tolist() == [0, 1]
    assert run.scores(["el2n"])["el2n"].max() < 0.5  # both are right
    for labels in ([0.7, 0.2], [1.2, 0.0]):
        with pytest.raises(InputError, match="neither a name nor an index"):
            Recorder(["a", "b"], labels, classes=["no", "yes"], to=tmp_path / "x")


def test_a_map_without_variability_says_why(frame, tmp_path, monkeypatch, capsys):
    run = train(frame, tmp_path / "runs", text="text", label="label", id="id")
    colour = ["--x", "confidence", "--y", "aum", "--color", "none"]
    for name, arguments, says in (("a.png", [], "at least two recorded epochs"), ("a.html", colour, "`none`")):
        monkeypatch.setattr(
            "sys.argv", ["leadline", "map", str(run.path), "-o", str(tmp_path / "q" / name), *arguments]
        )
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        assert leaving.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_the_recipe_of_the_contract_is_read(tmp_path):
    text = yaml.safe_dump({"data": {"train": "x.csv"}, "training": {"precision": "auto", "micro_batch": None}})
    (tmp_path / "r.yaml").write_text(text)
    assert recipe.load(tmp_path / "r.yaml").training.batch_size == 32


def test_rooms_are_attributes_of_the_package_without_importing_them_first():
    import subprocess
    import sys

    code = "import sys, leadline; print(leadline.scores.aum.__name__, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == [
        "aum",
        "False",
    ]


def test_variability_with_the_option_of_cartography():
    """sqrt(v + v^2 / (E - 1)) on the worked example of the definitions."""
    from leadline import scores

    logits = np.array([
        [[1.2, 0.1, -0.4], [2.5, 0.3, -1.0], [3.6, -0.2, -1.4]],
        [[0.9, 0.4, 0.2], [0.1, 0.8, -0.3], [1.1, 0.6, -0.7]],
        [[0.8, -0.1, 0.3], [1.9, -0.6, 0.2], [2.7, -1.1, 0.4]],
        [[0.5, 0.2, -0.1], [-0.2, 0.9, 0.4], [-0.6, 1.8, 0.3]],
    ])  # fmt: skip
    record = signals.from_logits(list("abcd"), logits.transpose(1, 0, 2), np.array([0, 0, 1, 1]), ["x", "y", "z"])
    with_ci = scores.variability(record, include_ci=True)
    assert np.allclose(with_ci, [0.134824, 0.123097, 0.077536, 0.180510], atol=1e-6)
