"""Robustness: the same rows mistyped or pushed, measured beside the clean ones, kept and shown; and slices."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml

import leadline as package
from conftest import write_tiny
from leadline import evaluate as metrics_room
from leadline.data.noise import NOISES, noisy_column
from leadline.errors import InputError
from leadline.evaluate import holm
from leadline.experiment import check_slices, detect, evaluate, keep_robustness, robustness, sliced, slicing
from leadline.experiment.evaluation import Loaded, subject
from leadline.learn import models
from leadline.learn.perturb import fgsm
from leadline.learn.predict import predict

KINDS = {"typos": 0.3, "casing": 1.0, "fgsm": 2.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run that was trained with a recipe which asks for robustness."""
    place = tmp_path_factory.mktemp("robust")
    write_tiny(place / "train.csv", 80)
    write_tiny(place / "test.csv", 60, seed=1)
    recipe = {
        "data": {"train": str(place / "train.csv"), "test": str(place / "test.csv"), "id": "id"},
        "model": {"name": "tiny", "dropout": 0.0}, "training": {"epochs": 3, "precision": "fp32", "batch_size": 16},
        "evaluate": {"robustness": KINDS},
    }  # fmt: skip
    (place / "r.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return package.train(place / "r.yaml", root=place / "runs", name="one")


@pytest.fixture(scope="module")
def loaded(run):
    recipe, part = subject(run.path)
    ready = Loaded.of(recipe, part, "fp32")
    return ready, part, ready.task.encode(part.table.select(part.inputs).to_dicts())


# --- FGSM ---


def test_the_push_is_the_sign_of_the_gradient_at_the_embeddings(loaded):
    """By the model's own inputs_embeds, one row at a time: no padding, no hooks."""
    ready, part, encoded = loaded
    model, epsilon = ready.network, 0.5
    table = model.get_input_embeddings().weight.detach()
    norms = table.norm(dim=1)
    step = epsilon * float(norms[norms > 0].mean()) / table.shape[1] ** 0.5
    got = fgsm(model, ready.task, encoded, part.targets, ready.device, epsilon)["logits"]
    for i in range(5):
        batch = ready.task.collate([encoded[i]], part.targets[i : i + 1])
        inputs = {k: v for k, v in batch.inputs.items() if k != "input_ids"}
        embedded = table[batch.inputs["input_ids"]].clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(inputs_embeds=embedded, **inputs).logits, batch.targets)
        (gradient,) = torch.autograd.grad(loss, embedded)
        with torch.no_grad():
            want = model(inputs_embeds=embedded + step * gradient.sign(), **inputs).logits[0]
        assert got[i] == pytest.approx(want.numpy(), abs=1e-5)
        size = (step * gradient.sign()).norm(dim=-1)[0]
        assert size.numpy() == pytest.approx(epsilon * float(norms[norms > 0].mean()), rel=1e-4)


def test_a_push_of_nothing_changes_nothing_and_a_small_one_hurts(loaded):
    ready, part, encoded = loaded
    of = (ready.network, ready.task, encoded, part.targets, ready.device)
    clean = predict(*of)
    assert fgsm(*of, 0.0)["logits"] == pytest.approx(clean["logits"], abs=1e-5)
    assert (fgsm(*of, 0.02)["loss"] > clean["loss"] - 1e-6).all()
    assert not any(p.grad is not None for p in ready.network.parameters())
    assert not ready.network.get_input_embeddings()._forward_hooks


def test_pixels_move_by_epsilon():
    """A model of one linear layer, whose attacked loss is known in closed form."""

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 2)

        def forward(self, pixel_values):
            return type("Output", (), {"logits": self.layer(pixel_values.flatten(1))})()

    class Images:
        def length(self, row):
            return 6

        def collate(self, rows, targets):
            from leadline.learn.tasks.batch import Batch

            return Batch({"pixel_values": torch.stack([row[0] for row in rows])}, torch.from_numpy(targets))

        def training_loss(self, output, batch):
            return torch.nn.functional.cross_entropy(output.logits, batch.targets, reduction="none")

        def outcome(self, output, batch):
            from leadline.learn.outcome import Outcome

            return Outcome.from_logits(output.logits, batch.targets)

    torch.manual_seed(0)
    model, y = Linear(), np.array([0, 1, 1, 0])
    images = torch.randn(4, 1, 2, 3)
    got = fgsm(model, Images(), [[x] for x in images], y, torch.device("cpu"), 0.25)
    w = (model.layer.weight[0] - model.layer.weight[1]).detach()
    gap = (model(images).logits[:, 0] - model(images).logits[:, 1]).detach() * torch.tensor([1.0, -1, -1, 1])
    want = torch.nn.functional.softplus(-(gap - 0.25 * w.abs().sum()))  # each pixel takes epsilon |w| from the margin
    assert got["loss"] == pytest.approx(want.numpy(), abs=1e-5)


# --- measured, kept, shown ---


def test_the_recipe_measures_after_training_and_keeps_it_beside_the_split(run):
    assert [key for key in run.results if "+" in key] == ["test+typos=0.3", "test+casing=1", "test+fgsm=2"]
    found = run.results["test+fgsm=2"]
    assert set(found) == {"accuracy", "macro_f1", "nll", "ece", "changed"} and found["changed"]["value"] == 1
    assert found["nll"]["difference"] == pytest.approx(found["nll"]["value"] - run.results["test"]["nll"]["value"])
    assert found["nll"]["difference"] > 0 and found["nll"]["p_holm"] >= found["nll"]["p"]
    page = (run.path / "report.html").read_text()
    assert "How it bears noise" in page and "<code>fgsm=2</code>" in page and "test+fgsm" not in page


def test_the_numbers_are_those_of_texts_that_were_written_out_by_hand(run):
    """The same noise in a file of its own, evaluated as any file is."""
    part = run.examples.split("test")
    texts = noisy_column(part.table["text"].to_list(), part.ids, "typos", 0.3, seed=5, column="text")
    file = run.path.parent / "noisy.csv"
    part.table.select("id", "label").with_columns(pl.Series("text", texts)).write_csv(file)
    by_hand = evaluate(run.path, str(file), precision="fp32")
    found = robustness(run.path, kinds=["typos=0.3", "swaps=0"], seed=5, precision="fp32")
    typos, nothing = found.stresses
    for metric in ("accuracy", "macro_f1", "nll"):
        assert typos.results[metric]["value"] == pytest.approx(by_hand.results[metric]["value"], abs=1e-6)
    assert typos.changed == sum(a != b for a, b in zip(texts, part.table["text"], strict=True)) > 30
    assert nothing.changed == 0 and nothing.differences["nll"].value == pytest.approx(0, abs=1e-7)
    assert found.clean["accuracy"]["value"] == run.results["test"]["accuracy"]["value"]


def test_the_command_measures_prints_and_keeps(run, leadline, tmp_path):
    status, out, _ = leadline("evaluate", run.path, "--robustness", "deletions=0.5", "--precision", "fp32", "--json")
    assert status == 0
    found = json.loads(out)["robustness"]["test+deletions=0.5"]
    kept = package.open(run.path).results
    assert kept["test+deletions=0.5"] == found and "test+typos=0.3" in kept
    before = (run.path / "results.json").read_text()
    file = write_tiny(tmp_path / "other.csv", 40, seed=3)
    status, out, _ = leadline("evaluate", run.path, "--data", file, "--robustness", "casing", "--slices", "class")
    assert status == 0 and "casing=1" in out and "minus clean" in out and "wet" in out
    assert (run.path / "results.json").read_text() == before  # other rows are not the run's
    family = [v["accuracy"]["p"] for k, v in kept.items() if "+" in k]  # measured in two goes, corrected as one
    assert [v["accuracy"]["p_holm"] for k, v in kept.items() if "+" in k] == pytest.approx(list(holm(family)))
    status, _, err = leadline("evaluate", run.path, "--robustness", "typoes")
    assert status == 2 and "Did you mean `typos`" in err


def test_a_wrong_recipe_stops_before_training(tmp_path):
    write_tiny(tmp_path / "a.csv")
    for asked, words in (({"noise": 1}, "there is no `noise`"), ({"typos": 3}, "from 0 to 1")):
        with pytest.raises(InputError, match=words):
            package.train({"data": {"train": str(tmp_path / "a.csv")}, "evaluate": {"robustness": asked}})


def test_noise_without_rows_that_are_held_out_stops_before_training(tmp_path):
    write_tiny(tmp_path / "a.csv")
    data = {"train": str(tmp_path / "a.csv"), "id": "id", "validation": None}
    with pytest.raises(InputError, match=r"evaluate\.robustness needs rows that are not trained on"):
        package.train({"data": data, "model": "tiny", "evaluate": {"robustness": []}}, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_every_kind_has_a_sentence_and_a_default():
    assert all(noise.says and 0 < noise.rate <= 1 and noise.unit in ("character", "word") for noise in NOISES.values())


def test_keeping_twice_changes_nothing_else(run):
    before = package.open(run.path).results
    keep_robustness(run, robustness(run.path, kinds=["casing"], precision="fp32"))
    after = package.open(run.path).results
    assert after.keys() == before.keys() and after["test"] == before["test"]


def test_a_p_that_is_not_known_stays_so(run, tmp_path):
    """JSON has no NaN: what was kept without a p does not stop what is kept next."""
    place = shutil.copytree(run.path, tmp_path / "run")
    one = robustness(place, kinds=["casing"], precision="fp32")
    differences = {name: replace(d, p=np.nan, p_holm=np.nan) for name, d in one.stresses[0].differences.items()}
    keep_robustness(place, replace(one, stresses=[replace(one.stresses[0], differences=differences)]))
    keep_robustness(place, robustness(place, kinds=["swaps"], precision="fp32"))
    kept = package.open(place).results
    (swaps,) = (value for key, value in kept.items() if key.startswith("test+swaps="))
    assert kept["test+casing=1"]["nll"]["p"] is None and swaps["nll"]["p_holm"] is not None


def test_rows_are_counted_whatever_is_measured(run):
    found = robustness(run.path, kinds=["typos=0.3"], metrics=["f1[wet]", "accuracy"], precision="fp32")
    (stress,) = found.stresses
    assert stress.results["f1[wet]"]["n"] == 30
    assert stress.results_entry()["changed"]["n"] == 60 and 0 < stress.results_entry()["changed"]["value"] <= 1


def test_a_sure_answer_is_pushed_in_half_precision_too(loaded):
    """The slope of the loss would vanish: a model as sure as this one is moved by fp16 as it is by fp32."""
    ready, part, encoded = loaded
    model, _ = models.load(str(Path(ready.network.name_or_path)), part.classes, new_head=False)
    ask = functools.partial(fgsm, model, ready.task, device=ready.device)
    with torch.no_grad():
        model.classifier.bias += torch.tensor([13.0, 0.0])
    few = [row for row, target in zip(encoded, part.targets, strict=True) if target == 0]
    targets = np.zeros(len(few), dtype=np.int64)
    clean = ask(few, targets, epsilon=0.0)["gold_logprob"]
    assert len(few) == 30 and (-1e-5 < clean).all() and (clean < -1e-7).all()
    moved = []
    for half in (False, True):
        with torch.autocast("cpu", dtype=torch.float16, enabled=half):
            moved.append(ask(few, targets, epsilon=2.0)["gold_logprob"] / clean)
    assert (moved[0] > 1.02).all() and np.median((moved[1] - 1) / (moved[0] - 1)) == pytest.approx(1, abs=0.2)


def test_a_run_is_asked_in_its_own_precision(run, tmp_path):
    """It was trained in float32, so the same numbers come back to the last digit."""
    assert evaluate(run.path).results["nll"] == pytest.approx(run.results["test"]["nll"], rel=1e-6)


def test_a_model_that_has_read_nothing_reads_nothing_later(tmp_path):
    file = write_tiny(tmp_path / "a.csv", 40)
    data = {"train": str(file), "test": str(file), "id": "id", "validation": None, "null_input": True}
    training = {"epochs": 1, "precision": "fp32"}
    run = package.train({"data": data, "model": "tiny", "training": training, "evaluate": {"robustness": KINDS}},
                        root=tmp_path, name="null")  # fmt: skip
    assert not [key for key in run.results if "+" in key]
    assert evaluate(run.path).results["auroc"]["value"] == run.results["test"]["auroc"]["value"] == 0.5
    with pytest.raises(InputError, match="read no inputs"):
        robustness(run.path)
    with pytest.raises(InputError, match="read no inputs"):
        detect(run.path, f"{file}#text")


@pytest.mark.parametrize("option", ["--robustness", "--slices"])
def test_an_option_of_nothing_is_an_error(run, leadline, option):
    before = (run.path / "results.json").read_text()
    status, _, err = leadline("evaluate", run.path, option, "")
    assert status == 2 and f"{option}: nothing is named" in err and (run.path / "results.json").read_text() == before


# --- slices ---


def test_slices_by_class_and_length(run):
    found, table = sliced(run.path, ["class", "length"], precision="fp32")
    said, gold = found.predictions["predicted"].to_numpy(), found.predictions["label"].to_numpy()
    wet = table.filter((pl.col("column") == "class") & (pl.col("value") == "wet")).to_dicts()[0]
    assert wet["accuracy"] == pytest.approx((said[gold == "wet"] == "wet").mean())  # a class's recall
    assert wet["n"] == 30 and not wet["few"] and np.isnan(wet["macro_f1"])
    lengths = table.filter(pl.col("column") == "length")
    assert lengths["n"].sum() == 60 and lengths.height > 1 and lengths.filter(pl.col("n") < 30)["few"].all()
    assert (lengths["macro_f1_low"] <= lengths["macro_f1"]).all()


def test_slices_of_an_evaluation_ask_the_model_nothing_more(run, monkeypatch):
    found, table = sliced(run.path, ["class", "length"], precision="fp32")
    monkeypatch.setattr(slicing, "measure", None)
    again, same = sliced(run.path, ["class", "length"], precision="fp32", found=found)
    assert again is found and same.equals(table)
    monkeypatch.setattr(slicing.Loaded, "of", None)
    with pytest.raises(InputError, match="no column `lenght`. Did you mean `length`"):
        check_slices(run.path, ["class", "lenght"])
    check_slices(run.path, ["class", "length"])


def test_regions_are_those_of_the_record(run):
    _, table = sliced(run.path, ["region"], split="train", precision="fp32")
    counts = run.scored().table["region"].value_counts()
    assert dict(zip(table["value"], table["n"], strict=True)) == dict(counts.iter_rows())
    with pytest.raises(InputError, match="test examples were not"):
        sliced(run.path, ["region"])


def test_slices_that_cannot_be():
    y = np.zeros(60, dtype=int)
    table = pl.DataFrame({"text": [f"t{i}" for i in range(60)], "age": range(60), "who": ["a", "b"] * 30,
                          "_label": ["x"] * 60})  # fmt: skip
    with pytest.raises(InputError) as told:
        metrics_room.slices(table, y, y, columns=["whoo", "text", "who"])
    assert "Did you mean `who`" in str(told.value) and "60 values: too many" in str(told.value)
    cut = metrics_room.slices(table, y, y, columns=["age", "class"])
    assert cut["value"].to_list() == ["0 to 14", "15 to 29", "30 to 44", "45 to 59", "x"]
    assert cut["few"].to_list() == [True] * 4 + [False]
