"""audit/: folds, planted errors, threshold samples, null model, second split; real sweeps of the tiny model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import leadline
from leadline import audit
from leadline.audit.folds import folds
from leadline.audit.forgetting import forgotten_at
from leadline.audit.usable import bits
from leadline.data.corruption import THRESHOLD, threshold_samples
from leadline.demo import write_demo
from leadline.errors import InputError


@given(st.integers(10, 120), st.integers(2, 5), st.integers(1, 4), st.integers(0, 10_000), st.booleans())
@settings(deadline=None, max_examples=60)
def test_folds_are_even_and_keep_groups_together(n, k, classes, seed, grouped):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    groups = rng.integers(0, n // 2, n) if grouped else None
    fold = folds(labels, k, groups, seed)
    assert fold.min() >= 0 and fold.max() < k
    if groups is not None:
        assert all(len(set(fold[groups == g])) == 1 for g in np.unique(groups))
    else:
        for c in np.unique(labels):
            counts = np.bincount(fold[labels == c], minlength=k)
            assert counts.max() - counts.min() <= 1
        sizes = np.bincount(fold, minlength=k)
        assert sizes.max() - sizes.min() <= 1


def test_second_split_of_the_worked_example():
    correct = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).T
    assert forgotten_at(correct).tolist() == [np.inf, np.inf, 1, 0]


def test_bits():
    assert bits(np.array([0.5, 0.125]), np.array([0.25, 0.25])).tolist() == [1.0, -1.0]


def test_threshold_samples_share_none():
    sets = [threshold_samples(90, 2, np.random.default_rng(4), part) for part in (0, 1)]
    assert [len(s) for s in sets] == [30, 30] and not set(sets[0]) & set(sets[1])
    with pytest.raises(InputError, match="no two disjoint"):
        threshold_samples(90, 2, np.random.default_rng(4), 0, rate=0.6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """180 messages, one in ten with a wrong label, learned by the tiny model."""
    place = tmp_path_factory.mktemp("audit")
    truth = write_demo(place / "train.csv", n=200, n_test=20)
    document = {
        "data": {"train": str(truth.train), "id": "id", "validation": 0.1},
        "model": "tiny",
        "training": {"epochs": 4, "batch_size": 8, "precision": "fp32", "max_length": 32},
    }
    return leadline.train(document, name="audited", root=place)


def test_folds_answer_for_what_they_have_not_seen(run):
    found = audit.out_of_sample(run, 2)
    assert found.shape == (180, len(run.classes)) and np.isfinite(found).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(180), abs=1e-5)
    fold = folds(run.signals.gold, 2)
    first = leadline.open(run.path / "audit" / "folds-2" / "fold0-s0")
    trained = first.predictions("train")["id"].to_list()
    assert trained == run.train.ids
    own = first.predictions("train").select([f"prob_{c}" for c in run.classes]).to_numpy()
    assert (found[fold == 0] == own[fold == 0]).all() and not (found[fold == 1] == own[fold == 1]).all()
    before = (run.path / "audit" / "folds-2" / "fold0-s0" / "results.json").stat().st_mtime_ns
    assert (audit.out_of_sample(run, 2) == found).all()
    assert (run.path / "audit" / "folds-2" / "fold0-s0" / "results.json").stat().st_mtime_ns == before


def test_planted_errors_rank_high(run):
    found = audit.planted(run, rate=0.1)
    assert len(found.rows) == 18 and found.wrong.sum() == 18
    gold = run.signals.gold
    assert (found.signals.gold[found.rows] != gold[found.rows]).all()
    assert (found.signals.gold[~found.wrong] == gold[~found.wrong]).all()
    doubt = -leadline.scores.aum(found.signals)
    assert doubt[found.wrong].mean() > doubt[~found.wrong].mean()


def test_threshold_and_null(run):
    found = audit.threshold_samples(run)
    assert found.aum.shape == (180,) and np.isfinite(found.aum).all() and len(found.cutoffs) == 2
    part = leadline.open(run.path / "audit" / "threshold-seed0" / "part0-s0")
    assert (part.train.table["_label"] == THRESHOLD).sum() == 180 // (len(run.classes) + 1)
    probabilities = np.full((180, len(run.classes)), 1 / len(run.classes))
    information = audit.pvi(run, probabilities)
    null = leadline.open(run.path / "audit" / "null" / "null-s0").predictions("train")
    assert information == pytest.approx(np.log2(1 / len(run.classes)) - np.log2(null["gold_probability"].to_numpy()))


def test_second_split(run):
    found = audit.second_split_forgetting(run, epochs=1)
    assert found.shape == (180,) and not np.isnan(found).any()
    assert set(np.unique(found)) <= {0.0, 1.0, np.inf}
