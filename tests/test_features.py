"""Sentence vectors: mean over real tokens, whatever the padding; kept as long as model and examples are the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import transformers

import tiny_models
from leadline import experiment, runs
from leadline.data.neighbours import nearest
from leadline.data.vectors import SOURCE, text_vectors
from leadline.errors import InputError
from leadline.experiment import features as door
from leadline.learn import models
from leadline.learn.features import sentence_vectors
from leadline.learn.tasks.classification import Classification
from leadline.runs import Run

CPU = torch.device("cpu")


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_the_mean_over_real_tokens_one_text_at_a_time(family: str, tmp_path: Path) -> None:
    """Padding, batches and dropout leave no trace: equal to a text alone, without padding, through AutoModel."""
    place = tiny_models.checkpoint(family, tmp_path)
    model, tokenizer = models.load(str(place), ["no", "yes"])
    texts = tiny_models.sentences(9, seed=1) + ["rain"]
    task = Classification(tiny_models.encoder(model, tokenizer))
    model.train()
    found = sentence_vectors(model, task, task.encode([{"text": text} for text in texts]), CPU, tokens=60)
    assert found.dtype == np.float32 and found.shape == (10, 32) and model.training
    body = transformers.AutoModel.from_pretrained(place, dtype=torch.float32).eval()
    for text, vector in zip(texts, found, strict=True):
        with torch.no_grad():
            alone = body(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, alone.numpy(), atol=2e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_several_inputs_of_an_example_are_averaged(tmp_path: Path) -> None:
    from seam_tasks import MultipleChoice

    options = ["rain", "sand dust", "river flood again"]
    place = tiny_models.checkpoint("bert", tmp_path)
    model, tokenizer = models.load(str(place), [])
    encoder = tiny_models.encoder(model, tokenizer)
    one = Classification(encoder)
    apart = sentence_vectors(model, one, one.encode([{"text": text} for text in options]), CPU)
    task = MultipleChoice(most=3)
    row = [encoder.encode([{"text": text}])[0][0] for text in options]
    together = sentence_vectors(model, task, [row], CPU)
    np.testing.assert_allclose(together[0], apart.mean(axis=0), atol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import write_tiny

    place = tmp_path_factory.mktemp("runs")
    file = write_tiny(place / "rain.csv", n=60)
    data = {"train": str(file), "id": "id", "test": str(file), "validation": None}
    training = {"epochs": 3, "max_length": 24, "batch_size": 16, "precision": "fp32"}
    return experiment.train({"data": data, "model": "tiny", "training": training}, root=place).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    shutil.copytree(trained, tmp_path / "run")
    return Run(tmp_path / "run")


def test_vectors_of_a_run_are_of_its_model_and_in_its_order(run: Run) -> None:
    x = experiment.features(run)
    assert x.shape == (60, 128) and x.dtype == np.float32 and isinstance(x, np.memmap)
    note = json.loads((run.path / "features" / "train.json").read_text())
    assert note["shape"] == [60, 128] and "mean of the last hidden state" in note["source"]
    body = transformers.AutoModel.from_pretrained(run.path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.path / "model")
    for split, vectors in (("train", x), ("test", experiment.features(run.path, "test"))):
        texts = run.examples.split(split).table["text"]
        for row in (0, 41, 59):
            with torch.no_grad():
                hidden = body(**tokenizer(texts[row], return_tensors="pt")).last_hidden_state[0]
            np.testing.assert_allclose(vectors[row], hidden.mean(0).numpy(), atol=2e-5)


def test_two_processes_may_write_the_same_vectors(run: Run) -> None:
    """As two trials do that share a base: both go through, and what stays is whole."""
    program = (
        "import sys, numpy as np; from leadline import runs; from leadline.runs.features import write_features\n"
        "run = runs.open(sys.argv[1])\n"
        "for _ in range(60): write_features(run, 'train', np.full((60, 4000), 2.5), 'a test')"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, str(run.path)], stderr=subprocess.PIPE) for _ in range(2)]
    assert [(one.communicate()[1].decode(), one.returncode) for one in both] == [("", 0)] * 2
    kept = runs.kept_features(run, "train", "a test")
    assert kept is not None and (kept[0] == 2.5).all() and not list(run.path.rglob("*.partial"))


def test_vectors_are_computed_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    import sys

    module = sys.modules["leadline.experiment.features"]
    compute = module._computed
    monkeypatch.setattr(module, "_computed", lambda *given: calls.append(given[1]) or compute(*given))
    first = np.array(door(run))
    np.testing.assert_array_equal(door(run), first)
    assert calls == ["train"]
    for path in (run.path / "model").iterdir():
        os.utime(path)  # as a copy of the run has it: other times, the same contents
    np.testing.assert_array_equal(door(Run(run.path)), first)
    assert calls == ["train"]


def test_vectors_of_another_model_or_other_examples_are_refused(run: Run, tmp_path: Path) -> None:
    x = np.array(experiment.features(run))
    file = run.path / "features" / "train.npy"

    def kept() -> bool:
        return runs.kept_features(Run(run.path), "train") is not None

    assert kept()
    weights = run.path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + bytes(byte ^ 1 for byte in whole[-4:]))
    assert not kept()
    weights.write_bytes(whole)
    assert kept()
    note = file.with_suffix(".json").read_text()
    for damaged in ("", "[]", note.replace('"format": 1', '"format": 2'), note.replace("60,", "61,")):
        file.with_suffix(".json").write_text(damaged)
        assert not kept(), damaged
    file.with_suffix(".json").write_text(note)
    file.write_bytes(file.read_bytes()[:-100])
    assert not kept()
    np.testing.assert_allclose(experiment.features(Run(run.path)), x, atol=1e-6)  # made again
    examples = run.examples
    table = examples.table.with_columns(
        pl.when(pl.col("_id") == "t003").then(pl.lit(7)).otherwise(pl.col("_input_hash")).alias("_input_hash")
    )
    assert kept()
    runs.write_features(run, "train", x, "x")
    note_of_others = json.loads(file.with_suffix(".json").read_text())
    import dataclasses

    dataclasses.replace(examples, table=table).write(run.path / "examples.parquet")
    assert not kept() and note_of_others["examples"]


def test_without_a_model_the_texts_are_used(run: Run) -> None:
    shutil.rmtree(run.path / "model")
    with pytest.raises(InputError, match=r"no model.*runs.vectors"):
        experiment.features(run)
    x, source = runs.vectors(run)
    assert source == SOURCE and x is not None and x.shape[0] == 60 and np.isfinite(x).all()
    again, _ = runs.vectors(Run(run.path))
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, x)


def test_vectors_of_the_model_come_before_those_of_texts(run: Run) -> None:
    assert runs.vectors(run)[1] == SOURCE
    x = experiment.features(run)
    found, source = runs.vectors(run)
    assert "model" in source
    np.testing.assert_array_equal(found, x)
    with pytest.raises(InputError, match="no `validation` examples; it has: train, test"):
        runs.vectors(run, "validation")


def test_without_texts_there_are_none(run: Run) -> None:
    import dataclasses

    table = run.examples.table.drop("text")
    dataclasses.replace(run.examples, table=table, inputs=()).write(run.path / "examples.parquet")
    x, why = runs.vectors(Run(run.path))
    assert x is None and "no texts" in why


def test_text_vectors_know_spelling() -> None:
    subjects, verbs = (
        ("a sailor", "the pilot", "every captain", "no stoker"),
        ("measured", "doubted", "charted", "forgot"),
    )
    things = ("depth", "harbour", "current")
    texts = [f"{subject} {verb} the {thing}" for subject in subjects for verb in verbs for thing in things]
    texts += ["The Pilot measured the depths", "", "", "完全不同的文字"]
    x = text_vectors(texts)
    assert x.dtype == np.float32 and x.shape == (52, 51) and not x[49].any()
    near, far = nearest(x, 3)
    assert texts[near[48, 0]] == "the pilot measured the depth" and near[49, 0] == 50 and far[49, 0] == 0
    np.testing.assert_array_equal(text_vectors(texts), x)
    order = np.random.default_rng(0).permutation(len(texts))
    mixed_near, mixed_far = nearest(text_vectors([texts[i] for i in order]), 1)
    np.testing.assert_allclose(mixed_far[:, 0], far[order, 0], atol=1e-3)


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a word"], ["a word", "a word"], ["a", "b"]])
def test_text_vectors_of_next_to_nothing(texts: list[str]) -> None:
    x = text_vectors(texts)
    assert len(x) == len(texts) and x.ndim == 2 and x.shape[1] > 0 and np.isfinite(x).all()


def test_two_columns_are_both_read() -> None:
    import dataclasses

    data = tiny_models.examples(["rain", "rain", "sand"], [0, 1, 0], ["no", "yes"])
    table = data.table.with_columns(second=pl.Series(["north", None, "south"]))
    assert runs.joined_texts(dataclasses.replace(data, table=table, inputs=("text", "second"))) == [
        "rain\nnorth",
        "rain\n",
        "sand\nsouth",
    ]
