"""One recipe, start to finish, with the tiny model: what a run leaves behind, and what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import leadline
from leadline import experiment, signals
from leadline.data import corruption
from leadline.errors import InputError, LeadlineError
from leadline.runs import Run


def recipe(path, epochs=2, **more):
    training = {"epochs": epochs, "max_length": 24, "batch_size": 16, "precision": "fp32", **more.pop("training", {})}
    data = {
        "train": str(path),
        "id": "id",
        "text": "text",
        "label": "label",
        "validation": 0.25,
        **more.pop("data", {}),
    }
    return {"data": data, "model": "tiny", "training": training, **more}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    from conftest import write_tiny

    return write_tiny(tmp_path_factory.mktemp("data") / "reviews.csv", n=120, seed=3)


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return experiment.train(recipe(file, epochs=3, data={"test": str(file)}), root=root)


def test_a_run_holds_what_the_contract_says(run):
    n = len(run.train)
    assert run.name == "reviews-tiny-1" and run.finished and n == 90
    for name in ("recipe.yaml", "examples.parquet", "metrics.jsonl", "results.json", "scores.parquet", "suspects.csv",
                 "report.html", "references.bib", "model/model.safetensors", "model/config.json", "model/README.md",
                 "signals/epoch_003.arrow", "signals/validation/epoch_003.arrow"):  # fmt: skip
        assert (run.path / name).is_file(), name
    assert not list(run.path.rglob("*.partial"))
    assert [e["event"] for e in run.metrics if e["event"] != "step"] == ["start"] + ["epoch"] * 3 + [
        "temperature", "check", "end"]  # fmt: skip
    table = run.predictions("test")
    assert table.columns[:5] == ["id", "label", "predicted", "confidence", "gold_probability"]
    probabilities = table.select([f"prob_{name}" for name in run.classes]).to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1)
    right = (table["label"] == table["predicted"]).mean()
    assert run.results["test"]["accuracy"]["value"] == right and run.results["test"]["accuracy"]["n"] == 120
    assert set(pl.read_parquet(run.path / "scores.parquet")["id"]) == set(run.train.ids)
    assert json.loads((run.path / "results.json").read_text()) == run.results


def test_the_record_is_of_every_example_in_every_epoch(run):
    record = run.signals
    assert record.recorded.all() and record.stack("trained").all()
    assert (record.stack("step")[0] < 6).all() and (record.stack("step")[2] >= 12).all()  # 6 steps an epoch
    again = signals.outcome(record.epoch(2).logits, record.gold)
    assert np.allclose(again["loss"], record.epoch(2).loss, atol=1e-5)
    epochs = run.events("epoch")
    assert epochs[1]["train"]["loss"] == pytest.approx(float(record.epoch(2).loss.mean()), abs=1e-5)
    assert epochs[1]["train"]["accuracy"] == pytest.approx(float(record.epoch(2).correct.mean()))


def test_the_saved_model_is_the_evaluated_one(run):
    model = AutoModelForSequenceClassification.from_pretrained(run.path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run.path / "model")
    texts = run.examples.split("test").table["text"].to_list()[:20]
    with torch.no_grad():
        p = model(**tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=24)).logits.softmax(
            -1
        )
    told = run.predictions("test").select([f"prob_{name}" for name in run.classes]).to_numpy()[:20]
    assert np.allclose(p.numpy(), told, atol=1e-5)
    assert tuple(model.config.id2label[k] for k in range(len(run.classes))) == run.classes


def test_a_finished_run_is_never_touched_and_another_recipe_gets_another_number(file, tmp_path):
    first = experiment.train(recipe(file), root=tmp_path)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(first.path.rglob("*")) if p.is_file()}
    told = []
    again = experiment.train(recipe(file), root=tmp_path, tell=told.append)
    assert again.path == first.path and [e["event"] for e in told] == ["finished before"]
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(first.path.rglob("*")) if p.is_file()} == before
    other = experiment.train(recipe(file, training={"seed": 1}), root=tmp_path)
    assert other.path.name == "reviews-tiny-2"
    with pytest.raises(InputError, match="holds another run"):
        experiment.train(recipe(file, epochs=1), name="reviews-tiny-1", root=tmp_path)


def test_an_unfinished_run_is_trained_anew_to_the_same_bits(file, tmp_path):
    first = experiment.train(recipe(file), root=tmp_path / "a")
    second = experiment.train(recipe(file), root=tmp_path / "b")
    lines = (second.path / "metrics.jsonl").read_text().splitlines()
    (second.path / "metrics.jsonl").write_text("\n".join(lines[:3]) + "\n")  # killed in the first epoch
    (second.path / "signals" / "epoch_002.arrow").unlink()
    assert not Run(second.path).finished
    third = experiment.train(recipe(file), root=tmp_path / "b")
    assert third.path == second.path and third.finished
    for name in ("model/model.safetensors", "signals/epoch_001.arrow", "signals/epoch_002.arrow", "results.json"):
        assert (third.path / name).read_bytes() == (first.path / name).read_bytes(), name
    for split in ("validation",):
        assert third.predictions(split).equals(first.predictions(split))


def test_a_recipe_of_a_run_trains_the_same_run(run, tmp_path):
    copy = yaml.safe_load((run.path / "recipe.yaml").read_text())
    assert copy["run"]["versions"]["torch"] and copy["run"]["model"]["dropout"] == 0.1
    again = experiment.train(run.path / "recipe.yaml", root=tmp_path)
    assert (again.path / "results.json").read_bytes() == (run.path / "results.json").read_bytes()


def test_from_a_data_frame(file, tmp_path):
    frame = pl.read_csv(file, infer_schema=False)
    made = leadline.train(data=frame, text="text", label="label", id="id", model="tiny", epochs=1, root=tmp_path)
    assert made.recipe.data.train == "<dataframe>" and len(made.train) == 108
    pandas = leadline.train(
        data=frame.to_pandas(), text="text", label="label", id="id", model="tiny", epochs=1, root=tmp_path
    )
    assert np.array_equal(pandas.signals.loss, made.signals.loss)


def test_early_stopping_keeps_the_best_weights(file, tmp_path):
    stopping = {"metric": "loss", "patience": 1}
    hot = {"early_stopping": stopping, "learning_rate": 0.02, "schedule": "constant"}  # overshoots soon
    stopped = experiment.train(recipe(file, epochs=12, training=hot), root=tmp_path)
    losses = [e["validation"]["loss"] for e in stopped.events("epoch")]
    assert len(losses) < 12
    best = stopped.events("best")[0]
    assert best["value"] == min(losses) and losses[best["epoch"] - 1] == min(losses) and best["epoch"] < len(losses)
    evaluated = stopped.results["validation"]["nll"]["value"]
    assert evaluated == pytest.approx(min(losses), abs=1e-5)
    assert stopped.signals.n_epochs == len(losses)
    with pytest.raises(InputError, match="early_stopping needs validation data"):
        experiment.train(recipe(file, training={"early_stopping": stopping}, data={"validation": None}), root=tmp_path)


def test_regression_answers_in_the_unit_of_its_labels(tmp_path):
    rng = np.random.default_rng(0)
    words = ["cheap", "fair", "dear"]
    level = rng.integers(0, 3, 160)
    frame = pl.DataFrame({"text": [f"a {words[k]} thing number {i}" for i, k in enumerate(level)],
                          "price": 1000.0 + 500.0 * level + rng.normal(0, 5, 160)})  # fmt: skip
    run = experiment.train(data=frame, text="text", label="price", task="regression", model="tiny", epochs=12,
                           max_length=16, root=tmp_path)  # fmt: skip
    table = run.predictions("validation")
    assert table.columns == ["id", "label", "predicted"]
    error = np.sqrt(((table["label"] - table["predicted"]) ** 2).mean())
    assert run.results["validation"]["rmse"]["value"] == pytest.approx(error) and error < 150  # the labels' own is 400
    assert run.signals.epoch(12).loss.mean() < run.signals.epoch(1).loss.mean() / 4  # squared error, unit of the labels
    scored = run.scored()
    assert "action" in scored.table.columns and "confidence" in scored.left_out and "aum" in scored.left_out
    assert set(scored.table["region"]) == {"easy", "ambiguous", "hard", "none"}
    assert np.allclose(
        experiment.evaluate(run.path, split="validation").predictions["predicted"], table["predicted"], rtol=1e-4
    )


def test_soft_labels_weights_and_class_weights(file, tmp_path):
    frame = pl.read_csv(file, infer_schema=False).with_row_index("i")
    classes = sorted(frame["label"].unique())
    share = [[0.8, 0.2] if label == classes[0] else [0.3, 0.7] for label in frame["label"]]
    frame = frame.with_columns(pl.Series("people", share), (1 + pl.col("i") % 3).alias("w"))
    soft = experiment.train(data=frame, text="text", label="label", label_distribution="people", weight="w", id="id",
                            model="tiny", epochs=2, precision="fp32", max_length=16, root=tmp_path)  # fmt: skip
    assert soft.signals.targets.shape == (108, 2) and (soft.signals.targets.sum(axis=1) == 1).all()
    first = soft.signals.epoch(1)
    by_hand = -(soft.signals.targets * np.log(signals.softmax(first.logits))).sum(axis=1)
    assert np.allclose(first.loss, by_hand, atol=1e-5)  # clean: neither weights nor smoothing
    assert "cross_entropy" in soft.results["validation"] and "jensen_shannon" in soft.results["validation"]
    heavy = recipe(file, loss={"class_weights": {classes[0]: 50.0}})
    plain, weighted = experiment.train(recipe(file), root=tmp_path), experiment.train(heavy, root=tmp_path)
    share = [(r.predictions("validation")["predicted"] == classes[0]).mean() for r in (plain, weighted)]
    assert share[1] > share[0] and share[1] > 0.9


def test_nothing_recorded_and_snapshots(file, tmp_path):
    bare = experiment.train(recipe(file, record=None, evaluate={"calibration": False}), root=tmp_path)
    assert "nll" in bare.results["validation"] and not {"ece", "ece_mass", "mce"} & set(bare.results["validation"])
    assert bare.finished and not (bare.path / "signals").exists() and not (bare.path / "scores.parquet").exists()
    assert bare.events("epoch")[0]["train"]["loss"] > 0
    with pytest.raises(InputError, match="nothing was recorded"):
        bare.scores()
    half = experiment.train(recipe(file, record={"every": 0.5}), root=tmp_path)
    assert half.signals.n_epochs == 4 and half.signals.metadata["mode"] == "snapshot"
    assert [int(p.step[0]) for p in half.signals.periods] == [3, 6, 9, 12]
    assert half.signals.epoch(1).trained.mean() == pytest.approx(0.5, abs=0.05) and half.signals.recorded.all()


def test_labels_wrong_on_purpose(file, run, tmp_path):
    made = experiment.train(recipe(file, data={"corrupt": {"rate": 0.2}}), root=tmp_path)
    table = made.examples.split("train").table
    assert (table["_label"] != table["_true_label"]).sum() == round(0.2 * table.height)
    like = recipe(file, base={"run": str(run.path)}, data={"corrupt": {"rate": 0.1, "kind": "by-confusion"}})
    copied = experiment.train(like, root=tmp_path).examples.split("train").table
    assert (copied["_label"] != copied["_true_label"]).sum() == round(0.1 * copied.height)
    assert hasattr(corruption, "corrupt")


def test_divergence_is_one_error_and_leaves_no_finished_run(file, tmp_path):
    wild = recipe(file, training={"learning_rate": 1e20, "max_grad_norm": None, "schedule": "constant", "warmup": 0})
    told = r"training diverged at step 2: the loss of 16 examples is NaN or infinite \(ids t"
    with pytest.raises(LeadlineError, match=told):
        experiment.train(wild, root=tmp_path, name="wild")
    assert not Run(tmp_path / "wild").finished
    with pytest.raises(LeadlineError, match=told):
        experiment.train({**wild, "record": None}, root=tmp_path, name="unrecorded")


def test_evaluate_a_run_a_file_and_a_checkpoint(run, file, tmp_path):
    own = experiment.evaluate(run.path, precision="fp32")
    assert own.results["macro_f1"] == run.results["test"]["macro_f1"]
    copy = tmp_path / "new.csv"
    shutil.copy(file, copy)
    assert experiment.evaluate(run.path, str(copy), precision="fp32").results["accuracy"] == own.results["accuracy"]
    plain = experiment.evaluate(
        run.path / "model", str(copy), text="text", label="label", max_length=24, precision="fp32"
    )
    assert plain.results["macro_f1"] == own.results["macro_f1"]
    with pytest.raises(InputError, match="needs --data"):
        experiment.evaluate(run.path / "model")
    with pytest.raises(InputError, match="no `train2` examples"):
        experiment.evaluate(run.path, split="train2")


def test_check_proves_that_training_works(file, tmp_path):
    told = []
    experiment.train(recipe(file, epochs=1), root=tmp_path, check=True, tell=told.append)
    checks = {c["name"]: c for e in told if e["event"] == "check" for c in e["checks"]}
    assert set(checks) == {"loss starts near log K", "every example has an outcome", "one batch is learned by heart",
                           "shuffled labels fall to chance"}  # fmt: skip
    assert checks["one batch is learned by heart"]["passed"] and checks["loss starts near log K"]["passed"]
