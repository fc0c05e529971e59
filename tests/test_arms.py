"""The arms of an ablation: every number against the runs themselves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

import leadline as package
from conftest import write_tiny
from leadline import evaluate, sweep
from leadline.errors import InputError
from leadline.figures import arms as drawing
from leadline.sweep import arms

BENCH = Path(__file__).resolve().parents[1] / "bench"
BASE = {"run": "trial:full", "max_epochs": 2}
MIXUP = {"pairing": ["region", "label", "entropy"], "plain_epochs": 1}
TRIALS = [
    {"name": "full"},
    {"name": "easy+ambiguous", "set": {"base": BASE, "select.keep": ["easy", "ambiguous"]}},
    {"name": "mixed", "set": {"base": {**BASE, "regions": {"precedence": "hard_first"}}, "mixup": MIXUP}},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three arms, two seeds, trained in this process; their answers are drawn, so that they differ for certain."""
    place = tmp_path_factory.mktemp("arms")
    write_tiny(place / "train.csv", 70)
    write_tiny(place / "test.csv", 40, seed=1)
    data = {"train": str(place / "train.csv"), "test": str(place / "test.csv"), "id": "id"}
    recipe = {"data": data, "model": "tiny", "training": {"epochs": 2, "batch_size": 16}}
    recipe["evaluate"] = {"robustness": {"typos": 0.2}}
    loaded = sweep.load({"name": "try", "recipe": recipe, "seeds": [0, 1], "trials": TRIALS}, root=place / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leadline.report.write", lambda run, path=None: None)  # the pages take longer than the trainings
        for trial in loaded.ordered():
            package.train(trial.recipe, name=trial.title, root=loaded.path)
            _answer_at_random(package.open(loaded.path / trial.title), trial.index)
    (loaded.path / sweep.DEFINITION).write_text(yaml.safe_dump(dict(loaded.document), sort_keys=False))
    return loaded


def _answer_at_random(run, seed):
    """What a better or worse model would have left: predictions and results that belong together."""
    dice, results = np.random.default_rng(seed), dict(run.results)
    for split in ("test", "validation"):
        part = run.examples.split(split)
        logits = dice.normal(size=(len(part), 2)) + 0.4 * seed * np.eye(2)[part.gold]
        gold = np.log(package.signals.softmax(logits))[np.arange(len(part)), part.gold]
        outcome = {"logits": logits, "gold_logprob": gold}
        table = package.runs.predictions_table(part.ids, part.table["_label"].to_list(), outcome, run.classes)
        package.runs.write_parquet(run.path / "predictions" / f"{split}.parquet", table)
        results[split] = evaluate.with_intervals(part.gold, package.signals.softmax(logits), run.classes)
    package.runs.write_results(run.path, results)


@pytest.fixture(scope="module")
def found(trained):
    return sweep.study(trained)


def runs_of(trained, name):
    return [package.open(trained.path / f"{name}-s{seed}") for seed in (0, 1)]


def test_every_figure_is_the_mean_of_the_runs(trained, found):
    assert [arm.name for arm in found.arms] == ["full", "easy+ambiguous", "mixed"]
    assert (found.split, found.against, found.claimed) == ("test", "full", "mixed")
    for arm in found.arms:
        several = runs_of(trained, arm.name)
        for metric in ("accuracy", "macro_precision", "macro_recall", "macro_f1", "nll", "brier", "ece"):
            values = [run.results["test"][metric]["value"] for run in several]
            mean, low, high = evaluate.mean_interval(values)
            assert arm.values[metric] == pytest.approx({"value": mean, "low": low, "high": high, "n": 2})
        noise = [run.results["test+typos=0.2"]["macro_f1"]["value"] for run in several]
        assert arm.values["macro_f1+typos=0.2"]["value"] == pytest.approx(np.mean(noise))
        assert arm.steps == np.mean([run.events("end")[-1]["steps"] for run in several])
        last = [run.events("epoch")[-1]["validation"]["accuracy"] for run in several]
        assert arm.curve[-1]["epoch"] == 2 and arm.curve[-1]["value"] == pytest.approx(np.mean(last))


def test_what_an_arm_was_trained_on_is_what_its_rule_says(trained, found):
    full, easy, mixed = found.arms
    n = len(runs_of(trained, "full")[0].train)
    assert (full.trained_on, full.discarded, full.mixed) == (n, 0, False) and mixed.mixed
    for arm, order in ((full, ("ambiguous", "easy", "hard")), (easy, ("ambiguous", "easy", "hard")),
                       (mixed, ("hard", "ambiguous", "easy"))):  # fmt: skip
        tables = [run.scores(max_epochs=2, rule=package.runs.RegionRule(precedence=order))["region"]
                  for run in runs_of(trained, "full")]  # fmt: skip
        for region in ("easy", "ambiguous", "hard", "none"):
            there = np.mean([(table == region).sum() for table in tables])
            kept = arm is full or region in ("easy", "ambiguous")
            assert arm.regions[region] == (there if kept else 0), (arm.name, region)
        assert sum(arm.regions.values()) == arm.trained_on == n - arm.discarded
    assert mixed.regions != easy.regions  # the two rules for what is hard


def test_the_claim_is_the_paired_difference(trained, found):
    probabilities = []
    for name in ("full", "mixed"):
        tables = [run.predictions("test").sort("id") for run in runs_of(trained, name)]
        probabilities.append(np.stack([t.select("prob_dry", "prob_wet").to_numpy() for t in tables]))
    labels = (tables[0]["label"] == "wet").to_numpy().astype(int)
    rows, seeds = found.claim
    want = evaluate.paired_bootstrap(labels, *probabilities, ["dry", "wet"], ["macro_f1"])["macro_f1"]
    assert (rows.over, seeds.over) == ("rows", "seeds")
    assert (rows.difference.value, rows.difference.p) == (want.value, want.p) and want.value > 0.05 and want.p < 1
    means = [evaluate.metrics(labels, p, ["dry", "wet"], "macro_f1")["macro_f1"] for p in probabilities[1]]
    ours = [evaluate.metrics(labels, p, ["dry", "wet"], "macro_f1")["macro_f1"] for p in probabilities[0]]
    assert seeds.difference.value == pytest.approx(np.mean(means) - np.mean(ours)) and seeds.difference.n == 2
    assert np.isnan(rows.difference.p_holm)  # it stands alone
    of_arm = next(t for t in found.arms[2].tests if t.metric == "macro_f1" and t.over == "rows")
    assert of_arm.difference.p == want.p and of_arm.difference.p_holm >= want.p


def test_rows_that_are_repaired_and_broken(trained):
    """Against the runs with the roles turned: what one repairs the other breaks."""
    there, back = sweep.study(trained), sweep.study(trained, against="mixed", claimed="full")
    for name, other in (("repaired", "broken"), ("broken", "repaired")):
        ids = set(there.changed.filter(pl.col("kind") == name)["id"])
        assert ids == (set(back.changed.filter(pl.col("kind") == other)["id"]))
    right = {}
    for which in ("full", "mixed"):
        tables = [run.predictions("test").sort("id") for run in runs_of(trained, which)]
        right[which] = np.mean([(t["label"] == t["predicted"]).to_numpy() for t in tables], axis=0)
    ids = runs_of(trained, "full")[0].predictions("test").sort("id")["id"].to_numpy()
    repaired = set(ids[(right["full"] < 0.5) & (right["mixed"] > 0.5)])
    assert set(there.changed.filter(pl.col("kind") == "repaired")["id"]) == repaired and repaired
    assert there.changed["region"].null_count() == there.changed.height  # test rows have none
    assert there.changed["entropy_before"].is_between(0, np.log(2) + 1e-9).all()
    assert there.changed.columns[-1] == "text" and there.changed["text"].null_count() == 0
    on_validation = sweep.study(trained, split="validation")
    assert on_validation.changed["region"].null_count() == 0


def test_the_command_prints_and_writes(trained, leadline, tmp_path):
    status, out, err = leadline("sweep", "summary", trained.path, "--arms", "-o", tmp_path / "study")
    assert status == 0 and "F1 (macro)" in out and "discarded" in out and "claim    macro F1 of mixed minus full" in out
    assert "with 2 seeds p cannot fall below 0.5" in out
    files = {path.name for path in (tmp_path / "study").iterdir()}
    assert {"arms.csv", "study.json", "f1.png", "curves.png", "regions.png"} <= files
    kept = json.loads((tmp_path / "study" / "study.json").read_text())
    status, out, _ = leadline("sweep", "summary", trained.path, "--arms", "--json")
    assert json.loads(out)["arms"] == kept["arms"] and kept["arms"][2]["mixed"] is True
    assert pl.read_csv(tmp_path / "study" / "arms.csv")["discarded"][0] == 0
    status, _, err = leadline("sweep", "summary", trained.path, "--arms", "--claim", "mixd")
    assert status == 2 and "Did you mean `mixed`" in err
    status, _, err = leadline("sweep", "summary", trained.path, "--claim", "mixed")
    assert status == 2 and "only with --arms" in err


def test_a_split_without_predictions_and_a_claim_without_its_arm(trained):
    with pytest.raises(InputError, match="no trial has predictions for `tset`; there are: test, validation"):
        sweep.study(trained, split="tset")
    assert sweep.study(trained, claimed="full").notes[-1].startswith("no claim: full is what the others are compared")


def test_arms_with_other_rows_have_no_claim_and_no_changed_rows(trained, monkeypatch):
    """Rows are compared by id, never by place."""
    honest = arms.answers

    def other(run, split):
        said = honest(run, split)
        if run.name.startswith("mixed"):
            said = replace(said, table=said.table.with_columns(id="x" + pl.col("id").cast(pl.String)))
        return said

    monkeypatch.setattr(arms, "answers", other)
    found = sweep.study(trained)
    assert found.claim == [] and found.changed.height == 0
    assert any("ids" in note for note in found.notes) and "no claim about mixed: see above" in found.notes


def test_an_arm_that_the_data_do_not_allow_is_named_and_the_others_compared(trained, tmp_path, monkeypatch):
    """And a bench goes on without it only where it says so."""
    monkeypatch.syspath_prepend(str(BENCH))
    from common import trained as trained_by_a_bench

    place = shutil.copytree(trained.path, tmp_path / trained.path.name)
    (tmp_path / "dry.txt").write_text("\n".join(_ids_of_one_class(trained)))
    refused = {"name": "one-class", "set": {"select.ids": str(tmp_path / "dry.txt")}}
    document = {**trained.document, "seeds": [0], "trials": [*TRIALS, refused]}
    (place / sweep.DEFINITION).unlink()  # of the sweep without this arm
    with pytest.raises(SystemExit, match="not finished: one-class-s0"):
        trained_by_a_bench(document, tmp_path, jobs=1)
    loaded = trained_by_a_bench(document, tmp_path, jobs=1, refusable=True)
    found = sweep.study(loaded)
    assert [arm.name for arm in found.arms] == ["full", "easy+ambiguous", "mixed"]
    assert "3 of 4 trials are finished" in found.notes
    assert "one-class is not there: select: only class `dry` is left; keep more" in found.notes


def _ids_of_one_class(trained):
    train = package.open(trained.path / "full-s0").train
    return [str(i) for i, gold in zip(train.ids, train.gold, strict=True) if gold == 0]


def test_files_of_an_earlier_study_do_not_stay(trained, found, tmp_path):
    sweep.write_study(found, tmp_path)
    assert (tmp_path / "changed.csv").is_file()
    sweep.write_study(replace(found, changed=pl.DataFrame()), tmp_path)
    assert not (tmp_path / "changed.csv").exists() and (tmp_path / "f1.png").is_file()


def test_the_recipe_of_the_repository_has_the_arms_of_the_paper():
    loaded = sweep.load(Path(__file__).resolve().parents[1] / "recipes" / "entropy-mixup.yaml")
    assert len(loaded) == 3 * 16 and loaded.names[0] == "full"
    by_name = {trial.name: trial.recipe for trial in loaded.trials}
    assert {trial.name for trial in loaded.trials if trial.needs} == set(by_name) - {"full", "random-third"}
    full_method = by_name["mix-region-label-entropy"]
    assert full_method.mixup.pairing == ["region", "label", "entropy"] and full_method.base.max_epochs == 4
    rules = {(r.base.regions.precedence == "hard_first", r.mixup.size) for r in by_name.values()
             if r.mixup and set(r.mixup.pairing) == {"region", "label", "entropy"}}  # fmt: skip
    assert len(rules) == 4


def test_pictures_need_arms():
    with pytest.raises(InputError, match="no arms"):
        drawing.bars([], [], [], "full")
    with pytest.raises(InputError, match="no accuracy by epoch"):
        drawing.curves([{"name": "a", "mixed": False, "curve": []}], "a")
    figure = drawing.bars(["a", "b"], [{"value": 0.7, "low": 0.6, "high": 0.8}, {"value": 0.9}], [False, True], "a")
    assert len(figure.axes[0].patches) == 2
