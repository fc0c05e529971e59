"""audit/: folds, planted errors, threshold samples, null model, second split; real sweeps of the tiny model."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import leadline
from conftest import write_tiny
from leadline import audit, scores, suspects, sweep
from leadline import recipe as recipes
from leadline.audit import copy
from leadline.audit.folds import folds
from leadline.audit.forgetting import forgotten_at
from leadline.audit.usable import bits
from leadline.data.corruption import THRESHOLD, threshold_samples
from leadline.data.examples import Examples, with_hashes
from leadline.data.load import load
from leadline.errors import InputError, LeadlineError
from leadline.learn.outcome import Outcome
from leadline.learn.recorder import Recorder
from leadline.runs import Run

N = 120
train, opened = leadline.train, leadline.open  # `leadline` is the command in some tests


@given(st.integers(10, 120), st.integers(2, 5), st.integers(1, 4), st.integers(0, 10_000), st.booleans())
@settings(deadline=None, max_examples=60)
def test_folds_are_even_and_keep_groups_together(n, k, classes, seed, grouped):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    groups = rng.integers(0, n // 2, n) if grouped else None
    assume(groups is None or len(np.unique(groups)) >= k)
    fold = folds(labels, k, groups, seed)
    assert fold.min() >= 0 and fold.max() < k
    assert set(fold) == set(range(k)) or groups is not None
    if groups is not None:
        assert all(len(set(fold[groups == g])) == 1 for g in np.unique(groups))
    else:
        for c in np.unique(labels):
            counts = np.bincount(fold[labels == c], minlength=k)
            assert counts.max() - counts.min() <= 1
        sizes = np.bincount(fold, minlength=k)
        assert sizes.max() - sizes.min() <= 1


def test_more_folds_than_there_are_groups():
    with pytest.raises(InputError, match="--folds 4: the 9 examples make 3 groups .*; at most 3 folds"):
        folds(np.arange(9) % 2, 4, np.arange(9) // 3)
    with pytest.raises(InputError, match="--folds 10: between 2 and the 9 examples"):
        folds(np.arange(9) % 2, 10)


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
    fold = folds(run.signals.gold, 2, audit.together(run))
    first = opened(run.path / "audit" / "folds-2" / "fold0-s0")
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
    doubt = -scores.aum(found.signals)
    assert doubt[found.wrong].mean() > doubt[~found.wrong].mean()


@pytest.mark.long
def test_threshold_samples(run):
    found = audit.threshold_samples(run)
    assert found.aum.shape == (N,) and np.isfinite(found.aum).all() and len(found.cutoffs) == 2
    part = opened(run.path / "audit" / "threshold-seed0" / "part0-s0")
    assert (part.train.table["_label"] == THRESHOLD).sum() == N // (len(run.classes) + 1)


@pytest.mark.long
def test_second_split(run):
    found = audit.second_split_forgetting(run, epochs=1)
    for h in (0, 1):  # each half is judged by the models that began with it
        paths = [run.path / "audit" / f"{phase}-split-seed0" / f"{phase}{h}-s0" for phase in ("first", "second")]
        before, after = (opened(path).signals.stack("correct")[-1] == 1 for path in paths)
        own = folds(run.signals.gold, 2, seed=0) == h
        expected = np.where(after, np.inf, np.where(before, 1.0, 0.0))
        np.testing.assert_array_equal(found[own], expected[own])
    assert np.isinf(found).any()


def test_a_probe_that_trains(run, leadline, tmp_path):
    """PVI by hand: what two folds say of rows they have not seen, over what a model says that has read nothing."""
    status, out, _ = leadline("probe", run.path, "--probe", "pvi", "--folds", 2, "--json")
    told = json.loads(out)["probes"]
    assert status == 0 and list(told) == ["pvi"] and (told["pvi"]["folds"], told["pvi"]["null"]) == (2, "trained")
    null = opened(run.path / "audit" / "null" / "null-s0").predictions("train")["gold_probability"].to_numpy()
    assert len(np.unique(null.round(5))) == len(run.classes), "one answer for each class"
    read = audit.out_of_sample(run, 2)[np.arange(N), run.signals.gold]
    values = np.load(told["pvi"]["path"])
    np.testing.assert_allclose(values, np.log2(read) - np.log2(null), rtol=1e-6)
    assert opened(run.path).scores("pvi")["pvi"].to_list() == values.tolist()
    for name in ("examples.parquet", "signals"):
        (tmp_path / name).symlink_to(run.path / name)
    for name in ("pvi", "second_split_forgetting"):
        status, _, err = leadline("probe", tmp_path, "--probe", name)
        assert status == 2 and "no recipe and model to train again" in err and not (tmp_path / "probes").exists()


# --- leadline audit ---------------------------------------------------------------------------------------------------


def test_an_audit_ranks_as_its_evidence_says(run):
    by_score = audit.audit(run, audit.Wanted(score="confidence"))
    order = np.argsort(scores.confidence(run.signals), kind="stable")
    assert by_score.suspects["id"].to_list() == [run.train.ids[i] for i in order]
    early = audit.audit(run, audit.Wanted(probabilities="prequential", quality="normalized_margin"))
    q = suspects.prequential(run.signals)
    doubt = np.sort(q - 2 * np.eye(q.shape[1])[run.signals.gold], axis=1)[:, -1] - q[np.arange(N), run.signals.gold]
    order = np.argsort(-doubt, kind="stable")
    assert early.suspects["id"].to_list() == [run.train.ids[i] for i in order]
    assert early.suspects["suggested"].to_list()[0] != early.suspects["label"].to_list()[0]
    assert early.suspects["score"][0] == pytest.approx((1 + doubt.max()) / 2)
    flagged = audit.audit(run, audit.Wanted(probabilities="run", filter="predicted_neq_given"))
    mean = scores.mean_probability(run.signals)
    assert set(flagged.suspects["id"]) == {run.train.ids[i] for i in np.flatnonzero(mean.argmax(1) != run.signals.gold)}


def test_what_planted_errors_teach(run, leadline):
    asked = audit.Wanted(score="combined", calibrate=True, rate=0.1)
    found = audit.audit(run, asked)
    assert found.ranked_by == "combined" and found.suspects.height == N
    assert found.calibration.n_planted == 12 and 0 <= found.calibration.high <= N
    assert found.best["average_precision"][0] == found.best["average_precision"].max() > 12 / N
    status, out, _ = leadline("audit", run.path, "--calibrate", "--planted", 0.1, "--top", 1)
    assert status == 0 and "where 12 planted errors rank" in out and "if natural errors rank like planted ones" in out
    plain = audit.audit(run, audit.Wanted(calibrate=True, rate=0.1))
    doubt = -scores.aum_prob(found.planted.signals)
    top = np.argsort(-doubt, kind="stable")[:12]
    assert plain.calibration.found[11] == found.planted.wrong[top].sum()


def test_the_command(run, leadline, tmp_path):
    status, out, _ = leadline("audit", run.path, "--top", 3, "--json", "-o", tmp_path / "s.csv")
    told = json.loads(out)
    assert status == 0 and told["n"] == N and len(told["suspects"]) == 3 and told["ranked_by"] == "aum_prob"
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
        (("--split", "validation", "--calibrate"), "out of sample"),
        (("--filter", "both"), "add --probabilities"),
        (("--quality", "normalized_margin"), "add --probabilities"),
        (("--quality", "standardised", "--probabilities", "run"), "choose self_confidence"),
        (("--filter", "bot", "--probabilities", "run"), "Did you mean `both`"),
        (("--folds", 3, "--probabilities", "run"), "--folds belongs to"),
        (("--score", "vog"), "no score `vog`: .*leadline probe"),
        (("--score", "entropy", "--calibrate"), "does not say which labels are doubtful"),
        (("--calibrate", "--flips", "unifrom"), "Did you mean `uniform`"),
        (("--planted", 0.1), "--planted and --flips say how --calibrate plants errors: add --calibrate"),
        (("--flips", "uniform"), "add --calibrate"),
        (("--calibrate", "--planted", 0.001), "--planted 0.001: 0 of 120 labels; plant at least 1, a share of 0.0083"),
        (("--calibrate", "--score", "combined", "--planted", 0.03), "4 of 120 labels; plant at least 5"),
        (("--calibrate", "--planted", 0), "--planted 0.0: a share of the labels, above 0"),
        (("--calibrate", "--folds", 121), "--folds 121"),
    ]:
        status, _, err = leadline("audit", run.path, *options)
        assert status == 2 and re.search(says, err), err


def recorded(to: Path, rows: pl.DataFrame, only: Sequence[str] = ()) -> Run:
    """A recorder's run of two epochs at random; `only` these fields of an outcome, else all."""
    recorder = Recorder(rows["id"], rows["label"], ["dry", "wet"], to, texts=rows["text"])
    rng, n = np.random.default_rng(0), rows.height
    for _ in range(2):
        made = Outcome.from_logits(torch.from_numpy(rng.normal(size=(n, 2))), torch.from_numpy(recorder.targets))
        if only:
            blank = {"margin": torch.full((n,), torch.nan), "entropy": torch.full((n,), torch.nan), "logits": None}
            gone = {"gold_logprob": torch.full((n,), torch.nan), "correct": torch.full((n,), -1, dtype=torch.int8)}
            made = replace(made, **blank, **{name: x for name, x in gone.items() if name not in only})
        recorder.log(np.arange(n), made)
        recorder.end_epoch()
    return opened(to)


def test_equal_texts_share_a_fold_and_are_told(tmp_path, leadline):
    rows = pl.read_csv(write_tiny(tmp_path / "plain.csv", 40))
    copies = rows.head(6).with_columns(pl.format("c{}", "id").alias("id"), pl.lit("wet").alias("label"))
    made = recorded(tmp_path / "copies", pl.concat([rows, copies]))
    group = audit.together(made)
    fold = folds(made.signals.gold, 3, group)
    assert (fold[:6] == fold[40:]).all() and (group[:6] == group[40:]).all()
    dry = set(rows.head(6).filter(pl.col("label") == "dry")["id"])
    status, out, _ = leadline("audit", made.path, "--json")
    conflicting = {row["id"] for row in json.loads(out)["conflicts"]}
    assert status == 0 and dry <= conflicting and {f"c{name}" for name in dry} <= conflicting


def test_a_record_is_audited_by_what_it_has(tmp_path, leadline):
    rows = pl.read_csv(write_tiny(tmp_path / "plain.csv", 40))
    for only, by in ((("gold_logprob", "correct"), "confidence"), (("loss",), "action_mean")):
        made = recorded(tmp_path / by, rows, only)
        status, out, _ = leadline("audit", made.path, "--top", 2)
        assert status == 0 and f"40 labels ranked by {by}" in out
        assert ("gold probability" in out) == (by == "confidence") and ("mean loss" in out) == (by == "action_mean")
        status, _, err = leadline("audit", made.path, "--probabilities", "prequential")
        assert status == 2 and "need logits" in err


def test_a_regression_is_audited_by_its_losses_and_errors(tmp_path, leadline):
    table = pl.DataFrame({"_id": ["a", "b", "c"], "_split": ["train", "train", "test"], "_label": [1.0, 2.0, 3.0]})
    examples = with_hashes(Examples(table, "regression"))
    examples.write(tmp_path / "examples.parquet")
    recorder = Recorder.of(examples.split("train"), tmp_path / "signals", {"mode": "online"})
    nan = torch.full((2,), torch.nan)
    recorder.log(np.arange(2), Outcome(torch.tensor([0.1, 4.0]), nan, nan, nan, torch.full((2,), -1, dtype=torch.int8)))
    recorder.end_epoch()
    (tmp_path / "predictions").mkdir()
    pl.DataFrame({"id": ["c"], "label": [3.0], "predicted": [5.0]}).write_parquet(tmp_path / "predictions/test.parquet")
    status, out, _ = leadline("audit", tmp_path, "--json")
    told = json.loads(out)
    assert status == 0 and told["ranked_by"] == "action_mean" and [s["id"] for s in told["suspects"]] == ["b", "a"]
    found = audit.audit(opened(tmp_path), audit.Wanted(split="test")).suspects
    assert found.columns == list(suspects.ranking.SCHEMA) and found.row(0)[:5] == ("c", "3.0", None, None, 2.0)
    for options in (("--calibrate",), ("--threshold",), ("--folds", 2)):
        status, _, err = leadline("audit", tmp_path, *options)
        assert status == 2 and "a regression" in err


def test_what_will_be_trained_is_told_before_it_begins(run, monkeypatch):
    took, said = run.events("end")[-1]["seconds"], []
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("nothing was told") if not said else {"x": "failed"})
    with pytest.raises(LeadlineError, match="did not finish"):
        audit.out_of_sample(run, 30, tell=lambda event: said.append(event["says"]))
    assert re.fullmatch(
        r"30 trainings, one after the other about (.*) \(this run took .*\); kept in .*folds-30", said[0]
    )
    monkeypatch.setattr(Run, "events", lambda self, event: [{"seconds": 600.0}])
    assert copy.foretold(run, 200, 199 / 200) == (
        "200 trainings, one after the other about 33 hours (this run took 10 minutes)"
    )
    assert copy.foretold(run, 1, 0.1) == "1 training, about 60 s (this run took 10 minutes)"
    assert copy.foretold(run, 2, None) == "2 trainings" and took > 0


def test_what_cannot_be_flipped_is_refused_before_anything_is_trained(run, tmp_path, monkeypatch):
    for name in ("examples.parquet", "signals", "recipe.yaml"):
        (tmp_path / name).symlink_to(run.path / name)
    bare = opened(tmp_path)
    with pytest.raises(InputError, match="no validation data to have confused; choose uniform"):
        audit.planted(bare, 0.1, "by-confusion")
    monkeypatch.setattr(sys.modules["leadline.audit.planted"], "natural", lambda name: [-ord(c) for c in name])
    with pytest.raises(InputError, match="have an order of their own .dry, wet., which a copy of its labels loses"):
        audit.planted(run, 0.1, "by-confusion")
    monkeypatch.setattr(Examples, "soft", property(lambda self: True))
    for work in (audit.planted, audit.threshold_samples):
        with pytest.raises(InputError, match="its labels are shares of classes"):
            work(bare)


def test_a_copy_measures_nothing_that_needs_held_out_rows(run, tmp_path, monkeypatch):
    """Each of these keys stops a recipe that has no validation data."""
    asked = {"ood": [str(tmp_path / "gone.csv")], "scaled_predictions": True, "robustness": ["typos"]}
    wider = run.recipe.evaluate.model_copy(update=asked)
    monkeypatch.setattr(run, "recipe", run.recipe.model_copy(update={"evaluate": wider}))
    recipe = recipes.load(copy.recipe_of(run))
    sys.modules["leadline.experiment.ood"].check(recipe, load(recipe.data, recipe.task))
    assert recipe.evaluate.robustness is None and not recipe.evaluate.scaled_predictions


def test_the_second_phase_goes_on_at_the_rate_of_the_first(run, monkeypatch):
    """The default rate hangs on the model's name, and the second phase names a directory."""
    asked, forgetting = [], sys.modules["leadline.audit.forgetting"]
    plain = run.recipe.model_copy(update={"training": run.recipe.training.model_copy(update={"learning_rate": None})})
    monkeypatch.setattr(run, "recipe", plain)

    def noted(run, name, recipe, trials, *_):
        asked.append([trial["set"].get("training.learning_rate") for trial in trials])
        if len(asked) == 2:
            raise InterruptedError
        return SimpleNamespace(trials=[SimpleNamespace(path=run.path), SimpleNamespace(path=run.path)])

    monkeypatch.setattr(forgetting, "swept", noted)
    with pytest.raises(InterruptedError):
        audit.second_split_forgetting(run)
    assert asked == [[None, None], [5e-4, 5e-4]]


def test_folds_of_label_distributions_and_of_a_class_that_a_copy_lacks(run):
    other = SimpleNamespace(classes=("wet",))
    assert copy.classes_of(run, other) == [run.classes.index("wet")]
    shares = SimpleNamespace(classes=("red", "blue", "green"), train=SimpleNamespace(soft=True))
    assert copy.classes_of(shares, SimpleNamespace(classes=("0", "1", "2"))) == [0, 1, 2]


def test_rows_without_a_score_are_not_called_flagged(tmp_path, leadline):
    rows = pl.read_csv(write_tiny(tmp_path / "plain.csv", 40))
    recorder = Recorder(rows["id"], rows["label"], ["dry", "wet"], tmp_path / "gaps", texts=rows["text"])
    seen = np.arange(30)  # ten rows were never met
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 2)))
    recorder.log(seen, Outcome.from_logits(logits, torch.from_numpy(recorder.targets[seen])))
    recorder.end_epoch()
    for options, says in [
        ((), "30 of them with a score"),
        (("--probabilities", "run"), "30 of them with probabilities"),
        (("--probabilities", "run", "--filter", "both"), "of them flagged"),
    ]:
        status, out, _ = leadline("audit", tmp_path / "gaps", "--neighbours", 0, *options)
        assert status == 0 and says in " ".join(out.split()), out


def test_the_neighbours_of_a_number_are_averaged(tmp_path):
    texts = [f"{word} {i}" for i, word in enumerate(["red apple"] * 4 + ["green pear"] * 4)]
    table = pl.DataFrame({"_id": [str(i) for i in range(8)], "_split": ["train"] * 8, "text": texts,
                          "_label": [1.0, 1.0, 1.0, 9.0, 5.0, 5.0, 5.0, 5.0]})  # fmt: skip
    examples = with_hashes(Examples(table, "regression", inputs=("text",)))
    examples.write(tmp_path / "examples.parquet")
    recorder = Recorder.of(examples, tmp_path / "signals", {"mode": "online"})
    nan = torch.full((8,), torch.nan)
    loss = torch.tensor([0.1, 0.1, 0.1, 4.0, 0.2, 0.2, 0.2, 0.2])
    recorder.log(np.arange(8), Outcome(loss, nan, nan, nan, torch.full((8,), -1, dtype=torch.int8)))
    recorder.end_epoch()
    seen = audit.beside(audit.audit(opened(tmp_path)), 1, 3).suspects.row(0, named=True)
    assert (seen["id"], seen["neighbours"], seen["neighbours_suggested"]) == ("3", "mean 1 of 3", None)


def test_a_class_that_one_fold_would_hold_is_refused(run, monkeypatch):
    apart = np.where(run.signals.gold == run.classes.index("dry"), 0, 1 + np.arange(N))
    monkeypatch.setattr(sys.modules["leadline.audit.folds"], "together", lambda made: apart)
    with pytest.raises(InputError, match="rows of class `dry` are of one group.*prequential"):
        audit.out_of_sample(run, 3)


def test_an_interrupted_training_is_no_failed_one(run, monkeypatch):
    monkeypatch.setattr(sweep, "run", lambda *_, **__: {"fold0-s0": "finished", "fold1-s0": "interrupted"})
    with pytest.raises(KeyboardInterrupt):
        audit.out_of_sample(run, 4)
    monkeypatch.setattr(sweep, "run", lambda *_, **__: {"fold0-s0": "failed", "fold1-s0": "skipped"})
    with pytest.raises(LeadlineError, match="2 of 2 trials did not finish .*sweep logs"):
        audit.out_of_sample(run, 4)


def test_an_import_is_audited_by_its_own_signals(run, tmp_path):
    for name in ("examples.parquet", "signals"):
        (tmp_path / name).symlink_to(run.path / name)
    bare = opened(tmp_path)
    assert audit.audit(bare).suspects["id"].to_list() == audit.audit(run).suspects["id"].to_list()
    with pytest.raises(InputError, match="no recipe and model to train again"):
        audit.audit(bare, audit.Wanted(probabilities="folds"))
