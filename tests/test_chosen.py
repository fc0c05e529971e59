"""Selecting, ordering and weighting by an earlier run: what a recipe chooses, and two real trainings of it."""

from __future__ import annotations

import re

import numpy as np
import pytest

import leadline
from conftest import write_tiny
from leadline import recipe, runs
from leadline.errors import InputError
from leadline.experiment.chosen import Chosen, choose
from leadline.runs import Run
from test_comparison import make


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Run:
    """64 examples and two epochs, from drawn logits."""
    return make(tmp_path_factory.mktemp("chosen") / "base", train=range(64))


def asked(seed=0, steps=None, **more) -> recipe.Recipe:
    training = {"epochs": 2, "batch_size": 8, "seed": seed, "steps": steps}
    return recipe.load({"data": {"train": "x.csv"}, "base": {"run": "b"}, "training": training, **more})


def chosen(run: Run, **more) -> Chosen:
    return choose(asked(**more), run.train, run)


def test_a_score_is_taken_as_it_is(base):
    hard, margin = leadline.scores.action_mean(base.signals), leadline.scores.aum(base.signals)
    kept = chosen(base, select={"score": "action_mean", "drop_highest": 0.25})
    out = np.setdiff1d(np.arange(64), kept.rows)
    assert len(out) == 16 and hard[out].min() >= hard[kept.rows].max()
    assert kept.says == ("trained on 48 of 64 examples (action_mean, high is harder: drop highest 0.25)",)
    kept = chosen(base, select={"score": "aum", "keep_highest": 0.75})
    out = np.setdiff1d(np.arange(64), kept.rows)
    assert len(out) == 16 and margin[out].max() <= margin[kept.rows].min()
    assert "aum, high is easier: keep highest 0.75" in kept.says[0]
    assert len(kept.plan(0)) == 48 and (np.sort(kept.plan(1).rows) == kept.rows).all()
    unsure = chosen(base, select={"score": "variability", "keep_highest": 0.25})  # a selection needs no direction
    assert len(unsure.rows) == 16


def test_a_class_that_the_choice_favours_is_told(base, tmp_path):
    """Only from 5 points above its share of all examples on."""
    gold, ids = base.train.gold, base.train.ids
    one = int(np.argmin(np.bincount(gold)))
    inside, others = np.flatnonzero(gold == one), np.flatnonzero(gold != one)

    def says(kept):
        (tmp_path / "ids").write_text("\n".join(str(ids[row]) for row in kept))
        return chosen(base, select={"ids": str(tmp_path / "ids")}).says[1:]

    n, m = len(inside), len(others)
    assert n < 64 and says(range(64)) == ()
    few = others[: n // 2]  # so that two thirds of what is kept are of the rarer class
    (told,) = says([*inside, *few])
    share = n / (n + len(few))
    shares = f"{share:.0%} of the examples trained on, {n / 64:.0%} of all"
    assert told == f"class `{base.train.classes[one]}` is {shares}: answers may lean towards it"
    cut = next(k for k in range(m, 0, -1) if n / (n + k) - n / 64 >= 0.05)
    assert says([*inside, *others[:cut]]) and not says([*inside, *others[: cut + 1]])


def test_equal_steps_and_the_random_control(base):
    part = {"keep": ["easy", "none"]}
    easy = chosen(base, select=part, steps="same-as-full")
    control = chosen(base, select={**part, "control": True}, steps="same-as-full")
    regions = base.scored().table["region"].to_numpy()
    assert easy.rows.tolist() == np.flatnonzero(np.isin(regions, ["easy", "none"])).tolist()
    assert 0 < len(control.rows) == len(easy.rows) < 64 and control.rows.tolist() != easy.rows.tolist()
    again = chosen(base, select={**part, "control": True}, seed=1)
    assert len(again.rows) == len(easy.rows) and again.rows.tolist() != control.rows.tolist()
    for arm in (easy, control):
        assert len(arm.plan(0)) == len(arm.plan(1)) == 64 and set(arm.plan(0).rows) == set(arm.rows)


def test_a_curriculum_begins_with_what_is_easy(base):
    rank = np.argsort(np.argsort(leadline.scores.action_mean(base.signals)))
    shape = {"score": "action_mean", "start": 0.25, "full_at": 1.0, "balanced": False}
    easy, hard = (chosen(base, curriculum={**shape, "order": f"{which}-first"}) for which in ("easy", "hard"))
    control = chosen(base, curriculum={"order": "random", "start": 0.25, "full_at": 1.0})
    first = [rank[arm.plan(0).rows[:8]] for arm in (easy, hard, control)]
    assert first[0].max() < 16 and first[1].min() >= 48 and first[2].min() < 48 and first[2].max() >= 16
    assert all(len(arm.plan(epoch)) == 64 for arm in (easy, hard, control) for epoch in (0, 1))
    assert easy.says[-1].startswith("curriculum: easy-first by action_mean, linear from 0.25 of the examples, all at 1")
    part = chosen(base, curriculum=shape, select={"random": 0.5}, steps="same-as-full")
    assert len(part.plan(0)) == 64 and set(part.plan(1).rows) <= set(part.rows)


def test_weights_are_among_what_is_trained_on(base):
    weigh = {"example_weights": {"score": "action_mean", "rule": "drop", "drop": 0.5}}
    both = chosen(base, loss=weigh, select={"score": "action_mean", "drop_highest": 0.25})
    own = both.weights[both.rows]
    assert (own == 0).sum() == 24 and own.mean() == pytest.approx(1)  # half of the 48 that are left
    hard = leadline.scores.action_mean(base.signals)[both.rows]
    assert hard[own == 0].min() >= hard[own > 0].max()
    assert (chosen(base, loss=weigh).weights == 0).sum() == 32


def test_a_file_of_ids(base, tmp_path):
    path, select = tmp_path / "keep.txt", {"ids": str(tmp_path / "keep.txt")}
    with pytest.raises(InputError, match="no such file, and the recipe names it"):
        runs.key(asked(select=select), base.examples, base)
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(base.train.ids[::2]).encode() + b"\r\n")
    assert chosen(base, select=select).rows.tolist() == list(range(0, 64, 2))
    key = runs.key(asked(select=select), base.examples, base)
    path.write_text("nobody\n" + base.train.ids[0])
    assert runs.key(asked(select=select), base.examples, base) != key  # the content of the file is part of it
    with pytest.raises(InputError, match="1 of its 2 ids are no training examples .first: nobody"):
        chosen(base, select=select)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="not a text in UTF-8"):
        chosen(base, select=select)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"select": {"score": "aum", "keep_lowest": 0.01}}, "0 of 64 examples are left"),
        ({"select": {"score": "vog", "keep_lowest": 0.5}}, "has no score `vog`: needs a probe"),
        ({"curriculum": {"score": "el2n"}}, "has no score `el2n`: .*logits"),
        ({"select": {"keep": ["easy"]}, "base": {"run": "b", "skip_epochs": 5}}, "no epochs left: the run has 2"),
    ],
)
def test_what_cannot_be_chosen(base, more, words):
    with pytest.raises(InputError, match=words):
        chosen(base, **more)


def test_a_base_of_other_data_is_refused(base, tmp_path):
    part = asked(select={"keep": ["easy"]})
    with pytest.raises(
        InputError, match="1 of the run's 64 examples have other inputs .*first id: 3.*A base has trained"
    ):
        choose(part, make(tmp_path / "edited", train=range(64), edit=3).train, base)
    with pytest.raises(InputError, match="6 of the run's 70 examples are not there .*the same data, sample"):
        choose(part, make(tmp_path / "more", train=range(70)).train, base)
    relabelled = make(tmp_path / "relabelled", train=range(64), flip=[5]).train
    with pytest.raises(InputError, match="have other label .*base.labels: ignore"):
        choose(part, relabelled, base)
    ignoring = asked(select={"keep": ["easy"]}, base={"run": "b", "labels": "ignore"})
    assert choose(ignoring, relabelled, base).rows.tolist() == choose(part, base.train, base).rows.tolist()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"curriculum": {"order": "random", "buckets": 4}}, "`buckets` is of `pacing: baby-steps`, not of `linear`"),
        ({"curriculum": {"order": "random", "root": 3}}, "`root` is of `pacing: root`, not of `linear`; leave it out"),
        ({"curriculum": {"order": "random", "pacing": "root", "factor": 2}}, "`factor` is of `pacing: step`"),
        ({"curriculum": {"order": "random", "pacing": "baby-steps", "start": 0.5}},
         "`start` is of `pacing: linear | root | step`, not of `baby-steps`"),
        ({"loss": {"example_weights": {"score": "aum", "drop": 0.3}}}, "`drop` is of `rule: drop`, not of `rank`"),
        ({"base": {"run": "b", "regions": {"rule": "data-iq", "proportion": 0.5}}}, "`proportion` is of `rule"),
        ({"training": {"step_factor": 0.1}}, "`step_factor` is of `schedule: step`, not of `linear`"),
        ({"data": {"train": "d.csv", "corrupt": {"rate": 0.1, "part": 1}}}, "`part` is of `kind: threshold`"),
    ],
)  # fmt: skip
def test_a_key_that_another_choice_reads_is_refused(more, words):
    document = {"data": {"train": "d.csv"}, "base": {"run": "b"}} | more
    with pytest.raises(InputError, match=re.escape(words)):
        recipe.load(document)


def test_a_whole_recipe_with_the_keys_of_all_choices_at_their_defaults_is_read_again():
    for pacing in ("linear", "root", "step", "baby-steps"):
        whole = recipe.load({"data": {"train": "d.csv"}, "curriculum": {"order": "random", "pacing": pacing}})
        assert recipe.load(whole.to_dict()) == whole and "buckets" in whole.to_dict()["curriculum"]


def test_names_of_scores_are_checked_first():
    for part in ({"select": {"score": "amu", "keep_lowest": 0.5}}, {"curriculum": {"score": "amu"}}):
        with pytest.raises(InputError, match="no score `amu`. Did you mean `aum`"):
            leadline.train({"data": {"train": "x.csv"}, "base": {"run": "nowhere"}, **part})
    with pytest.raises(InputError, match="curriculum.score: `variability` does not say what is hard"):
        leadline.train({"data": {"train": "x.csv"}, "base": {"run": "x"}, "curriculum": {"score": "variability"}})
    with pytest.raises(InputError, match='`curriculum`: its keys are needed: score, order, .*given: "easy-first"'):
        leadline.train({"data": {"train": "x.csv"}, "base": {"run": "x"}, "curriculum": "easy-first"})


# --- trained ---


def document(place, **more) -> dict:
    training = {"epochs": 2, "batch_size": 8, "precision": "fp32", "max_length": 32, "log_every": 1}
    return {
        "data": {"train": str(place / "train.csv"), "id": "id", "validation": 16 / 80},
        "model": "tiny",
        "training": training | more.pop("training", {}),
        "evaluate": {"splits": []},
        **more,
    }


def test_the_loop_trains_what_was_chosen(tmp_path):
    write_tiny(tmp_path / "train.csv", 80)
    first = leadline.train(document(tmp_path), name="base", root=tmp_path)
    run = leadline.train(
        document(
            tmp_path, base={"run": str(first.path)}, training={"steps": "same-as-full"},
            select={"score": "action_mean", "drop_highest": 0.25},
            curriculum={"score": "action_mean", "start": 0.25, "full_at": 1.0, "balanced": False},
            loss={"example_weights": {"score": "action_mean", "rule": "drop", "drop": 0.25}},
            evaluate={"splits": ["train"]},
        ),
        name="chosen", root=tmp_path,
    )  # fmt: skip
    rank = np.argsort(np.argsort(leadline.scores.action_mean(first.signals)))
    begun = run.signals.periods[0]
    assert rank[begun.recorded & (begun.step == 0)].max() < 12  # a quarter of 48, met before any update
    recorded, trained = (
        np.any([getattr(period, what) for period in run.signals.periods], axis=0) for what in ("recorded", "trained")
    )
    assert (recorded <= (rank < 48)).all() and (
        trained == recorded & (rank < 36)
    ).all()  # weight 0: met, not trained on
    assert recorded.sum() > 36 and np.isnan(leadline.scores.aum(run.signals)[rank >= 48]).all()
    assert len(run.events("step")) == len(first.events("step")) == 16
    assert run.events("end")[0]["examples_seen"] == 128
    assert len(run.train) == 64 == run.predictions("train").height  # those left out are predicted out of sample
    checks = [{check["name"] for check in each.events("check")[0]["checks"]} for each in (first, run)]
    assert checks[0] - checks[1] == {"every example has an outcome"}  # those left out are not missed
    told = run.events("plan")[0]["says"]
    assert [says.split(" ")[0] for says in told] == ["trained", "weights", "curriculum:", "class"]


def test_without_input_nothing_but_the_prior_is_learned(tmp_path):
    write_tiny(tmp_path / "train.csv", 40)
    made = document(tmp_path, training={"epochs": 1}, evaluate={"splits": ["validation"]})
    made["data"] |= {"null_input": True}
    run = leadline.train(made, name="null", root=tmp_path)
    answers = run.predictions("validation").select("prob_dry", "prob_wet").to_numpy()
    assert np.ptp(answers, axis=0).max() < 1e-6  # every text is the same to it
    assert run.train.table["text"].to_list()[0] != "" and run.recipe.to_dict()["data"]["null_input"] is True
