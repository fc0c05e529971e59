"""Selecting, ordering and weighting by an earlier run: real trainings of the tiny model."""

from __future__ import annotations

import json

import numpy as np
import pytest

import leadline
from conftest import write_tiny
from leadline import runs
from leadline.errors import InputError
from leadline.runs import Run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("chosen")
    write_tiny(directory / "train.csv", 80)
    return directory


def document(place, **more) -> dict:
    training = {"epochs": 2, "batch_size": 8, "precision": "fp32", "max_length": 32, "log_every": 1}
    return {
        "data": {"train": str(place / "train.csv"), "id": "id", "validation": 16 / 80},
        "model": "tiny",
        "training": training | more.pop("training", {}),
        **more,
    }


@pytest.fixture(scope="module")
def base(place) -> Run:
    return leadline.train(document(place), name="base", root=place)


def child(place, base, name, **more) -> Run:
    return leadline.train(document(place, base={"run": str(base.path)}, **more), name=name, root=place)


def test_a_selection_is_trained_and_the_rest_stays(place, base):
    run = child(place, base, "selected", select={"score": "aum", "drop_highest": 0.25})
    n = len(base.train)
    assert len(run.train) == n == 64
    trained = run.signals.periods[0].trained
    difficulty = -leadline.scores.aum(base.signals)
    assert trained.sum() == 48 and difficulty[~trained].min() >= difficulty[trained].max()
    assert (run.signals.periods[1].trained == trained).all()
    assert np.isnan(leadline.scores.aum(run.signals)[~trained]).all()
    assert len(run.events("step")) == 2 * 6
    assert "trained on 48 of 64 examples (aum: drop highest 0.25)" in run.events("plan")[0]["says"]


def test_equal_steps_and_the_random_control(place, base):
    part = {"keep": ["easy", "none"]}
    full = child(place, base, "control", select={**part, "control": True}, training={"steps": "same-as-full"})
    chosen = child(place, base, "easy", select=part, training={"steps": "same-as-full"})
    assert len(full.events("step")) == len(chosen.events("step")) == len(base.events("step")) == 16
    assert full.events("end")[0]["examples_seen"] == 128
    sizes = {run.name: int(run.signals.periods[-1].trained.sum()) for run in (full, chosen)}
    table = runs.kept_scores(base).table
    easy = set(table.filter(table["region"].is_in(["easy", "none"]))["id"])
    trained = {run.train.ids[i] for run in (chosen,) for i in np.flatnonzero(run.signals.periods[-1].trained)}
    assert trained <= easy and sizes["control"] == sizes["easy"] == len(trained)


def test_a_curriculum_begins_with_what_is_easy(place, base):
    shape = {"score": "action_mean", "start": 0.25, "full_at": 1.0, "balanced": False}
    run = child(place, base, "easy-first", curriculum=shape)
    anti = child(place, base, "hard-first", curriculum={**shape, "order": "hard-first"})
    control = child(place, base, "random-pacing", curriculum={"order": "random", "start": 0.25, "full_at": 1.0})
    rank = np.argsort(np.argsort(leadline.scores.action_mean(base.signals)))
    begun = [r.signals.periods[0] for r in (run, anti, control)]
    first = [rank[period.recorded & (period.step == 0)] for period in begun]  # met before any update
    assert first[0].max() < 16 and first[1].min() >= 48
    assert first[2].min() < 48 and first[2].max() >= 16
    assert len(run.events("step")) == len(anti.events("step")) == len(control.events("step")) == 16


def test_weights_from_a_score(place, base):
    run = child(place, base, "weighted", loss={"example_weights": {"score": "aum", "rule": "drop", "drop": 0.5}})
    hard = np.argsort(leadline.scores.aum(base.signals), kind="stable")[:32]
    light = np.zeros(64, dtype=bool)
    light[hard] = True
    assert (run.signals.periods[0].trained == ~light).all()  # what weighs nothing is met and not trained on
    assert run.signals.periods[0].recorded.all()


def test_a_file_of_ids(place, base):
    ids = base.train.ids[::2]
    (place / "keep.txt").write_text("\n".join(ids) + "\n")
    made = document(place, select={"ids": str(place / "keep.txt")}, evaluate={"splits": ["train"]})
    run = leadline.train(made, name="by-id", root=place)
    assert np.flatnonzero(run.signals.periods[0].trained).tolist() == list(range(0, 64, 2))
    assert run.predictions("train").height == 64  # those left out have a prediction out of sample
    (place / "keep.txt").write_text("nobody\n" + ids[0])
    with pytest.raises(InputError, match="1 of its 2 ids are no training examples .first: nobody"):
        leadline.train(made, name="by-id-2", root=place)
    with pytest.raises(InputError, match="holds another run"):
        leadline.train(made, name="by-id", root=place)  # the content of the file is part of the run's key


def test_a_base_of_other_data_is_refused(place, base, tmp_path):
    write_tiny(tmp_path / "train.csv", 80, seed=5)
    other = document(tmp_path, base={"run": str(base.path)}, select={"keep": ["easy"]})
    with pytest.raises(InputError, match="have other inputs there|are not there"):
        leadline.train(other, name="other", root=tmp_path)
    assert not (tmp_path / "other").exists()


def test_names_of_scores_are_checked_first(place):
    for part in ({"select": {"score": "amu", "keep_lowest": 0.5}}, {"curriculum": {"score": "amu"}}):
        with pytest.raises(InputError, match="no score `amu`. Did you mean `aum`"):
            leadline.train(document(place, base={"run": "nowhere"}, **part), root=place)
    with pytest.raises(InputError, match="does not say what is hard"):
        leadline.train(document(place, base={"run": "x"}, curriculum={"score": "variability"}), root=place)


def test_without_input_nothing_but_the_prior_is_learned(place):
    made = document(place, training={"epochs": 6})
    made["data"] |= {"null_input": True}
    run = leadline.train(made, name="null", root=place)
    answers = run.predictions("validation").select("prob_dry", "prob_wet").to_numpy()
    assert np.ptp(answers, axis=0).max() < 1e-6  # every text is the same to it
    assert run.train.table["text"].to_list()[0] != ""
    assert json.loads(json.dumps(run.recipe.to_dict()))["data"]["null_input"] is True
