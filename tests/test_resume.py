"""A run that was interrupted, killed or damaged goes on from its last good checkpoint, to the bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from conftest import until, write_tiny
from leadline import experiment, signals
from leadline.errors import InputError, Interrupted, LeadlineError
from leadline.learn import checkpoint
from leadline.runs import Run
from same_run import differences


class Killed(BaseException):
    """Stands for what no handler sees."""


def recipe(directory: Path, **training: object) -> dict:
    settings = {"epochs": 3, "batch_size": 16, "max_length": 32, "checkpoint_minutes": 0.0, "log_every": 1, **training}
    train, test = directory / "train.csv", directory / "test.csv"
    if not train.exists():
        write_tiny(train, 100), write_tiny(test, 40, seed=1)
    data = {"train": str(train), "test": str(test), "id": "id", "validation": 0.2}
    return {"data": data, "model": "tiny", "training": settings}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("undisturbed")
    document = recipe(directory, early_stopping={"metric": "loss", "patience": 1})
    return experiment.train(document, name="run", root=directory).path


def at_step(number: int, what):
    """A listener that does `what` after the `number`-th update has been told."""

    def tell(event):
        if event["event"] == "step" and event["step"] == number:
            what()

    return tell


def die():
    raise Killed


@pytest.mark.parametrize("step", [1, 2, 5, 6, 10])  # 5 steps an epoch; it stops early after 10
def test_a_killed_run_equals_an_undisturbed_one(undisturbed, step, tmp_path):
    document = recipe(undisturbed.parent, early_stopping={"metric": "loss", "patience": 1})
    with pytest.raises(Killed):
        experiment.train(document, name="run", root=tmp_path, tell=at_step(step, die))
    assert not (tmp_path / "run" / "results.json").exists()
    told = []
    again = experiment.train(document, name="run", root=tmp_path, tell=told.append)
    assert differences(undisturbed, again.path) == []
    resumed = [event["step"] for event in told if event["event"] == "resume"]
    assert resumed == ([step - 1] if step > 1 else []), "no step is done twice that a checkpoint has kept"


@pytest.mark.parametrize("mode", [{"mode": "snapshot", "every": 0.5}, {"mode": "online", "every": 2}, None])
def test_every_way_of_recording_is_resumed(mode, tmp_path):
    document = {**recipe(tmp_path), "record": mode, "curriculum": {"order": "random", "full_at": 1.0}}  # still growing
    whole = experiment.train(document, name="whole", root=tmp_path)
    with pytest.raises(Killed):
        experiment.train(document, name="killed", root=tmp_path, tell=at_step(9, die))
    experiment.train(document, name="killed", root=tmp_path)
    assert differences(whole.path, tmp_path / "killed") == []


def test_a_run_killed_in_a_mixed_epoch_goes_on(tmp_path):
    """Pairs, lambdas and layers are drawn again as they were; clean answers between layers draw nothing."""
    mixup = {"pairing": "random", "where": "layer", "layers": [0, 1, 2], "plain_epochs": 1, "consistency": 0.5}
    document = {**recipe(tmp_path), "mixup": mixup, "record": {"under_mixup": True}}
    whole = experiment.train(document, name="whole", root=tmp_path)
    with pytest.raises(Killed):
        experiment.train(document, name="killed", root=tmp_path, tell=at_step(8, die))  # of 5 an epoch
    told = []
    experiment.train(document, name="killed", root=tmp_path, tell=told.append)
    assert [event["step"] for event in told if event["event"] == "resume"] == [7]
    assert differences(whole.path, tmp_path / "killed") == [] and whole.signals.n_epochs == 3


def test_a_kill_during_the_evaluation_costs_no_training(undisturbed, tmp_path):
    document = recipe(undisturbed.parent, early_stopping={"metric": "loss", "patience": 1})

    def tell(event):
        if event["event"] == "best":
            raise Killed

    with pytest.raises(Killed):
        experiment.train(document, name="run", root=tmp_path, tell=tell)
    told = []
    experiment.train(document, name="run", root=tmp_path, tell=told.append)
    assert differences(undisturbed, tmp_path / "run") == [] and not [e for e in told if e["event"] == "step"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_is_a_checkpoint_at_the_next_step(undisturbed, name, tmp_path):
    document = recipe(undisturbed.parent, early_stopping={"metric": "loss", "patience": 1}, checkpoint_minutes=10.0)
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(Interrupted, match="after step 7; a checkpoint is kept") as caught:
        ask = at_step(7, lambda: os.kill(os.getpid(), getattr(signal, name)))
        experiment.train(document, name="run", root=tmp_path, tell=ask)
    assert caught.value.exit_status == 130 and signal.getsignal(getattr(signal, name)) is before
    assert [p.name for p in sorted((tmp_path / "run" / "checkpoints").iterdir())] == ["step_00000005", "step_00000007"]
    experiment.train(document, name="run", root=tmp_path)
    assert differences(undisturbed, tmp_path / "run") == []
    assert not (tmp_path / "run" / "checkpoints").exists() and not (tmp_path / "run" / ".lock").exists()


def test_training_outside_the_main_thread_does_without_signals(tmp_path):
    done = []
    document = recipe(tmp_path, epochs=1)
    thread = threading.Thread(target=lambda: done.append(experiment.train(document, name="t", root=tmp_path)))
    thread.start(), thread.join()
    assert done[0].finished


@pytest.fixture
def killed(tmp_path):
    """(recipe, run directory) of a run killed at step 12, with the checkpoints of steps 10 and 11."""
    document = recipe(tmp_path)
    with pytest.raises(Killed):
        experiment.train(document, name="run", root=tmp_path, tell=at_step(12, die))
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["step_00000010", "step_00000011"]
    return document, tmp_path / "run"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


HARMS = [(file, harm) for file in ("shared.pt", "rank_0.pt", "manifest.json") for harm in (truncate, Path.unlink)]


@pytest.mark.parametrize(("file", "harm"), [*HARMS, ("shared.pt", change), ("rank_0.pt", change)])
def test_a_damaged_checkpoint_is_passed_over(killed, harm, file, tmp_path):
    document, run = killed
    harm(run / "checkpoints" / "step_00000011" / file)
    told = []
    experiment.train(document, name="run", root=tmp_path, tell=told.append)
    whole = experiment.train(document, name="whole", root=tmp_path)
    assert differences(whole.path, run) == []
    assert [e["step"] for e in told if e["event"] == "resume"] == [10]
    assert any("step_00000011" in e.get("says", "") and "the one before it is used" in e["says"] for e in told)


def test_without_a_good_checkpoint_nothing_is_touched(killed, tmp_path):
    document, run = killed
    for path in (run / "checkpoints").iterdir():
        truncate(path / "shared.pt")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(LeadlineError, match="no checkpoint of this unfinished run can be used .*Nothing was changed"):
        experiment.train(document, name="run", root=tmp_path)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_damaged_signals_file_sends_back_before_it(tmp_path):
    document = recipe(tmp_path, checkpoint_minutes=10.0)  # checkpoints at the ends of epochs only: steps 5 and 10
    with pytest.raises(Killed):
        experiment.train(document, name="run", root=tmp_path, tell=at_step(12, die))
    truncate(signals.period_path(tmp_path / "run" / "signals", 2))
    told = []
    experiment.train(document, name="run", root=tmp_path, tell=told.append)
    assert [e["step"] for e in told if e["event"] == "resume"] == [5]
    whole = experiment.train(document, name="whole", root=tmp_path)
    assert differences(whole.path, tmp_path / "run") == []


def test_lines_of_metrics_that_are_gone_are_noticed(killed, tmp_path):
    document, run = killed
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(LeadlineError, match=r"metrics\.jsonl beside it is shorter than it was"):
        experiment.train(document, name="run", root=tmp_path)


def test_a_full_disk_is_one_error_and_the_run_goes_on_afterwards(undisturbed, monkeypatch, tmp_path):
    document = recipe(undisturbed.parent, early_stopping={"metric": "loss", "patience": 1})
    save = checkpoint.torch.save

    def full(value, file):
        if "step_00000008" in file.name:
            with open("/dev/full", "wb") as nowhere:
                return save(value, nowhere)  # what torch makes of a full disk
        return save(value, file)

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(LeadlineError, match="step_00000008: cannot be written .*run the same command again"):
        experiment.train(document, name="run", root=tmp_path)
    kept = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["step_00000006", "step_00000007"]
    monkeypatch.undo()
    experiment.train(document, name="run", root=tmp_path)
    assert differences(undisturbed, tmp_path / "run") == []


def test_signals_that_cannot_be_written_leave_the_checkpoint(undisturbed, monkeypatch, tmp_path):
    document = recipe(undisturbed.parent, early_stopping={"metric": "loss", "patience": 1})
    write = signals.pa.ipc.new_file
    count = []

    def full(*arguments):
        count.append(1)
        if len(count) == 3:  # train 1, validation 1, train 2
            raise OSError(28, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(signals.pa.ipc, "new_file", full)
    with pytest.raises(LeadlineError, match="epoch_002.arrow: cannot be written .No space left on device"):
        experiment.train(document, name="run", root=tmp_path)
    assert not list((tmp_path / "run").rglob("*.partial"))
    monkeypatch.undo()
    experiment.train(document, name="run", root=tmp_path)
    assert differences(undisturbed, tmp_path / "run") == []


def test_a_place_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LeadlineError, match="cannot be written"):
        experiment.train(recipe(tmp_path), name="run", root=tmp_path / "file")


def test_how_often_checkpoints_come_is_no_part_of_the_key(tmp_path):
    first = experiment.train(recipe(tmp_path, checkpoint_minutes=0.0), root=tmp_path / "runs")
    told = []
    second = experiment.train(recipe(tmp_path, checkpoint_minutes=9.0), root=tmp_path / "runs", tell=told.append)
    assert first.path == second.path and [e["event"] for e in told] == ["finished before"]


def test_a_run_begun_by_two_processes_is_not_gone_on_with_by_one(killed, tmp_path):
    document, run = killed
    for path in (run / "checkpoints").glob("*/manifest.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "processes": 2, "sharded": True}))
    with pytest.raises(InputError, match="was begun by 2 processes, with --sharded and can be gone on with"):
        experiment.train(document, name="run", root=tmp_path)


def test_a_run_begun_in_another_precision_is_not_gone_on_with(killed, tmp_path):
    document, run = killed
    text = (run / "recipe.yaml").read_text()
    here = Run(run).about["precision"]
    (run / "recipe.yaml").write_text(text.replace(f"  precision: {here}\n", "  precision: fp16\n"))
    with pytest.raises(InputError, match=f"was begun in fp16, here it would be {here}"):
        experiment.train(document, name="run", root=tmp_path)


@pytest.mark.parametrize("moment", ["between the renames", "before the old one is removed"])
def test_a_kill_while_a_checkpoint_is_written_anew(killed, moment, monkeypatch, tmp_path):
    """At the end of an epoch the same step is written again, after the validation."""
    document, run = killed
    newest = run / "checkpoints" / "step_00000011"
    if moment == "between the renames":
        newest.rename(newest.with_name(newest.name + ".old"))
        newest.with_name(newest.name + ".partial").mkdir()
        shutil.rmtree(run / "checkpoints" / "step_00000010")
    else:
        shutil.copytree(newest, newest.with_name(newest.name + ".old"))
    told = []
    experiment.train(document, name="run", root=tmp_path, tell=told.append)
    whole = experiment.train(document, name="whole", root=tmp_path)
    assert differences(whole.path, run) == []
    assert [e["step"] for e in told if e["event"] == "resume"] == [11]


def test_damaged_checkpoints_of_a_future_that_will_not_come_are_removed(killed, tmp_path):
    document, run = killed
    truncate(run / "checkpoints" / "step_00000011" / "shared.pt")
    seen = []

    def look(event):
        if event["event"] == "resume":
            seen.extend(sorted(p.name for p in (run / "checkpoints").iterdir()))

    experiment.train(document, name="run", root=tmp_path, tell=look)
    assert seen == ["step_00000010"]


def test_a_full_disk_at_the_start_leaves_a_place_that_can_be_used(monkeypatch, tmp_path):
    document = recipe(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml.partial").symlink_to("/dev/full")
    with pytest.raises(LeadlineError, match="recipe.yaml: cannot be written"):
        experiment.train(document, name="run", root=tmp_path)
    assert experiment.train(document, name="run", root=tmp_path).finished


def test_generators_of_all_kinds_are_kept(tmp_path):
    import numpy as np

    def draw():
        return random.random(), float(torch.rand(())), float(np.random.rand())  # noqa: NPY002

    kept = checkpoint.Checkpoints(tmp_path)
    draw()
    kept.write(1, {}, {})
    expected = draw()
    kept.start = tmp_path / "step_00000001"
    kept.read()
    assert draw() == expected
    seconds, size = kept.costs[0]
    assert seconds > 0 and size == sum(f.stat().st_size for f in kept.start.glob("*.pt"))


def kept(run: Path) -> int:
    """The step of the newest checkpoint, whole or half-written; 0 without one."""
    return max((int(path.name[5:13]) for path in (run / "checkpoints").glob("step_*")), default=0)


@pytest.mark.long
def test_kill_nine_at_random_moments(tmp_path):
    """The real thing: a process, SIGKILL, the same command. (bench/kill.py does it twenty times.)"""
    document = recipe(tmp_path, epochs=6)  # 30 steps, a checkpoint after each
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(document))
    command = [sys.executable, "-m", "leadline", "train", str(shutil.copy(file, tmp_path / "r.yaml")), "--name"]
    subprocess.run([*command, "whole", "--root", str(tmp_path)], check=True, capture_output=True)
    dice = random.Random(0)
    for number in range(3):
        name = f"killed-{number}"
        victim = subprocess.Popen([*command, name, "--root", str(tmp_path)], stderr=subprocess.DEVNULL)
        chosen = dice.randint(1, 25)  # before the last epoch: there is always work left to be killed
        # the step is chosen; where in it, or in writing its checkpoint, the kill falls is not
        until(lambda v=victim, r=tmp_path / name, c=chosen: v.poll() is not None or kept(r) >= c)
        victim.kill()
        assert victim.wait() == -signal.SIGKILL, "it was over before it could be killed"
        subprocess.run([*command, name, "--root", str(tmp_path)], check=True, capture_output=True)
        assert differences(tmp_path / "whole", tmp_path / name) == []
