"""Real texts and a real pretrained model: what toy runs cannot show. Minutes; CI runs them after the rest."""

from __future__ import annotations

import numpy as np
import pytest

from leadline import experiment
from leadline.learn import models

pytestmark = pytest.mark.long


def train(data_dir, name, tmp_path, data, training, **more):
    data = {"train": str(data_dir / name), "id": "idx", **data}
    recipe = {"data": data, "model": "minilm", "training": {"max_length": 64, **training}, **more}
    return experiment.train(recipe, root=tmp_path)


def test_minilm_learns_spam_and_bfloat16_leaves_no_ties(data_dir, tmp_path):
    run = train(
        data_dir,
        "spam/train.csv",
        tmp_path,
        {"sample": {"n": 2000}, "validation": None, "test": str(data_dir / "spam/test.csv")},
        {"epochs": 2, "precision": "bf16"},
    )
    assert run.results["test"]["macro_f1"]["value"] > 0.95
    assert run.about["precision"] == "bf16" and len(run.signals) == 2000
    for period in run.signals.periods:
        distinct = len(np.unique(np.exp(period.gold_logprob)))
        assert distinct >= 0.8 * 2000  # with a bfloat16 head about a hundred are left
    assert all(check["passed"] for check in run.events("check")[0]["checks"])


def test_pairs_are_encoded_together(data_dir, tmp_path):
    run = train(
        data_dir,
        "mrpc/train.csv.gz",
        tmp_path,
        {"text": ["sentence1", "sentence2"], "sample": {"n": 800}},
        {"epochs": 1, "max_length": 128},
    )
    first = run.train.table.row(0, named=True)
    _, tokenizer = models.load(str(run.path / "model"), run.classes)
    assert first["_length"] == len(tokenizer(first["sentence1"], first["sentence2"])["input_ids"])
    assert run.signals.recorded.all() and run.signals.n_epochs == 1


def test_a_class_distribution_from_annotators(data_dir, tmp_path):
    """Votes of several people become soft targets; the record keeps the distance to what they said."""
    import polars as pl

    votes = pl.read_csv(data_dir / "davidson_hate_offensive" / "labeled_data.csv.gz", infer_schema=False)
    names = ["hate_speech", "offensive_language", "neither"]
    counts = votes.head(600).select(pl.col(names).cast(pl.Float64))
    shares = counts / counts.sum_horizontal()
    frame = votes.head(600).select(pl.col("tweet").alias("text")).hstack(shares)
    run = experiment.train(data=frame, text="text", label_distribution=names, model="minilm", epochs=1,
                           max_length=64, root=tmp_path)  # fmt: skip
    targets = run.signals.targets
    assert targets.shape[1] == 3 and (targets.max(axis=1) < 1).any()
    assert run.results["validation"]["cross_entropy"]["value"] < np.log(3)
