"""audit/: folds, planted errors, threshold samples, null model, second split; real sweeps of the tiny model."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import leadline
import leadline.signals
from conftest import write_tiny
from leadline import audit
from leadline.audit.folds import folds
from leadline.audit.forgetting import forgotten_at
from leadline.audit.usable import bits
from leadline.data.corruption import THRESHOLD, threshold_samples
from leadline.errors import InputError

N = 120
train = leadline.train


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
    """120 rows that the tiny model learns within some epochs."""
    place = tmp_path_factory.mktemp("audit")
    document = {
        "data": {"train": str(write_tiny(place / "train.csv", 134)), "id": "id", "validation": 14 / 134},
        "model": "tiny",
        "training": {"epochs": 5, "batch_size": 8, "precision": "fp32", "max_length": 32, "learning_rate": 2e-3},
    }
    return train(document, name="audited", root=place)


def test_folds_answer_for_what_they_have_not_seen(run):
    found = audit.out_of_sample(run, 2)
    assert found.shape == (N, len(run.classes)) and np.isfinite(found).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(N), abs=1e-5)
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
    assert len(found.rows) == 12 and found.wrong.sum() == 12
    gold = run.signals.gold
    assert (found.signals.gold[found.rows] != gold[found.rows]).all()
    assert (found.signals.gold[~found.wrong] == gold[~found.wrong]).all()
    doubt = -leadline.scores.aum(found.signals)
    assert doubt[found.wrong].mean() > doubt[~found.wrong].mean()


@pytest.mark.long
def test_threshold_and_null(run):
    found = audit.threshold_samples(run)
    assert found.aum.shape == (N,) and np.isfinite(found.aum).all() and len(found.cutoffs) == 2
    part = leadline.open(run.path / "audit" / "threshold-seed0" / "part0-s0")
    assert (part.train.table["_label"] == THRESHOLD).sum() == N // (len(run.classes) + 1)
    probabilities = np.full((N, len(run.classes)), 1 / len(run.classes))
    information = audit.pvi(run, probabilities)
    null = leadline.open(run.path / "audit" / "null" / "null-s0").predictions("train")
    assert information == pytest.approx(np.log2(1 / len(run.classes)) - np.log2(null["gold_probability"].to_numpy()))


@pytest.mark.long
def test_second_split(run):
    found = audit.second_split_forgetting(run, epochs=1)
    assert found.shape == (N,) and not np.isnan(found).any()
    assert set(np.unique(found)) <= {0.0, 1.0, np.inf}


# --- leadline audit ---------------------------------------------------------------------------------------------------


def test_an_audit_ranks_as_its_evidence_says(run):
    by_score = audit.audit(run, audit.Wanted(score="confidence"))
    order = np.argsort(leadline.scores.confidence(run.signals), kind="stable")
    assert by_score.suspects["id"].to_list() == [run.train.ids[i] for i in order]
    early = audit.audit(run, audit.Wanted(probabilities="prequential", quality="normalized_margin"))
    first = run.signals.epoch(1)
    q = leadline.signals.softmax(np.asarray(first.logits, dtype=np.float64))
    gold = q[np.arange(N), run.signals.gold]
    doubt = q.max(axis=1) - gold + (gold == q.max(axis=1)) * (np.sort(q, axis=1)[:, -2] - q.max(axis=1))
    order = np.argsort(-doubt, kind="stable")
    assert early.suspects["id"].to_list() == [run.train.ids[i] for i in order]
    assert early.suspects["suggested"].to_list()[0] != early.suspects["label"].to_list()[0]
    flagged = audit.audit(run, audit.Wanted(probabilities="run", filter="predicted_neq_given"))
    mean = leadline.scores.mean_probability(run.signals)
    assert set(flagged.suspects["id"]) == {run.train.ids[i] for i in np.flatnonzero(mean.argmax(1) != run.signals.gold)}


def test_what_planted_errors_teach(run):
    asked = audit.Wanted(score="combined", calibrate=True, rate=0.1)
    found = audit.audit(run, asked)
    assert found.ranked_by == "combined" and found.suspects.height == N
    assert found.calibration.n_planted == 12 and 0 <= found.calibration.high <= N
    assert found.best["average_precision"][0] == found.best["average_precision"].max() > 12 / N
    plain = audit.audit(run, audit.Wanted(calibrate=True, rate=0.1))
    doubt = -leadline.scores.aum(found.planted.signals)
    top = np.argsort(-doubt, kind="stable")[:12]
    assert plain.calibration.found[11] == found.planted.wrong[top].sum()


def test_the_command(run, leadline, tmp_path):
    status, out, _ = leadline("audit", run.path, "--top", 3, "--json", "-o", tmp_path / "s.csv")
    told = json.loads(out)
    assert status == 0 and told["n"] == N and len(told["suspects"]) == 3 and told["ranked_by"] == "aum"
    assert told["suspects"][0]["neighbours"].split()[:2] == [told["suspects"][0]["neighbours"].split()[0], "of"]
    table = pl.read_csv(tmp_path / "s.csv")
    assert table.height == N and table["id"].to_list()[:3] == [row["id"] for row in told["suspects"]]
    assert "text" in table.columns
    status, out, err = leadline("audit", run.path, "--split", "validation", "--neighbours", 0)
    assert status == 0 and "validation: 14 labels ranked by self_confidence" in out
    for options, says in [
        (("--score", "aum", "--probabilities", "run"), "not by both"),
        (("--score", "combined"), "add --calibrate"),
        (("--probabilities", "fold"), "Did you mean `folds`"),
        (("--split", "test"), "no `test` examples"),
        (("--filter", "both"), "add --probabilities"),
    ]:
        status, _, err = leadline("audit", run.path, *options)
        assert status == 2 and says in err, err


def test_equal_texts_share_a_fold_and_are_told(tmp_path, leadline):
    rows = pl.read_csv(write_tiny(tmp_path / "plain.csv", 40))
    copies = rows.head(6).with_columns(pl.format("c{}", "id").alias("id"), pl.lit("wet").alias("label"))
    pl.concat([rows, copies]).write_csv(tmp_path / "train.csv")
    document = {
        "data": {"train": str(tmp_path / "train.csv"), "id": "id", "validation": None},
        "model": "tiny",
        "training": {"epochs": 1, "batch_size": 8, "max_length": 32},
        "evaluate": {"splits": []},
    }
    made = train(document, name="copies", root=tmp_path)
    group = audit.together(made)
    fold = folds(made.signals.gold, 3, group)
    assert (fold[:6] == fold[40:]).all() and (group[:6] == group[40:]).all()
    dry = set(rows.head(6).filter(pl.col("label") == "dry")["id"])
    status, out, _ = leadline("audit", made.path, "--json")
    conflicting = {row["id"] for row in json.loads(out)["conflicts"]}
    assert status == 0 and dry <= conflicting and {f"c{name}" for name in dry} <= conflicting


def test_an_import_is_audited_by_its_own_signals(run, tmp_path):
    for name in ("examples.parquet", "signals"):
        (tmp_path / name).symlink_to(run.path / name)
    bare = leadline.open(tmp_path)
    assert audit.audit(bare).suspects["id"].to_list() == audit.audit(run).suspects["id"].to_list()
    with pytest.raises(InputError, match="no recipe and model to train again"):
        audit.audit(bare, audit.Wanted(probabilities="folds"))
