"""Several processes of one training: the same result, every example once, and one way to stop and go on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from conftest import until, write_tiny
from leadline import processes
from leadline.plans.epoch import Epoch, steps
from leadline.runs import Run
from same_run import differences
from tiny_models import checkpoint

CODE = "import sys; from leadline.cli import main; sys.argv[0] = 'leadline'; main()"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with weighted data and a recipe: float32, no dropout, steps of 16 of 83 rows, so the last has 3."""
    directory = tmp_path_factory.mktemp("processes")
    table = pl.read_csv(write_tiny(directory / "plain.csv", 103))
    weights = np.random.default_rng(0).uniform(0.5, 2, table.height)
    table.with_columns(pl.Series("weight", weights)).write_csv(directory / "train.csv")
    document = {
        "data": {"train": str(directory / "train.csv"), "id": "id", "weight": "weight", "validation": 20 / 103},
        "model": {"name": "tiny", "dropout": 0.0},
        "loss": {"class_weights": {"dry": 2.0, "wet": 0.5}},
        "training": {"epochs": 2, "batch_size": 16, "precision": "fp32", "max_length": 32, "log_every": 1,
                     "micro_batch": 4},
        "record": {"checkpoints": [1]},
    }  # fmt: skip
    (directory / "recipe.yaml").write_text(json.dumps(document))
    return directory


def train(place: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leadline", "train", "recipe.yaml", "--name", name, "--root", ".", *options]
    return subprocess.run(command, cwd=place, capture_output=True, text=True)


@pytest.fixture(scope="module")
def alone(place) -> Run:
    answer = train(place, "alone")
    assert answer.returncode == 0, answer.stderr
    return Run(place / "alone")


def gaps(a: Run, b: Run) -> dict[str, float]:
    signals = {n: np.abs(a.signals.stack(n) - b.signals.stack(n)).max() for n in ("loss", "margin", "logits")}
    steps = zip(a.events("step"), b.events("step"), strict=True)
    for one, other in steps:
        assert (one["step"], one["epoch"], one["examples"], one["lr"]) == tuple(
            other[n] for n in ("step", "epoch", "examples", "lr")
        )
        for name in ("loss", "grad_norm"):
            signals[name] = max(signals.get(name, 0.0), abs(one[name] - other[name]))
    return signals


@pytest.mark.parametrize("options", [(), ("--sharded",)], ids=["copies", "pieces"])
def test_two_processes_change_nothing_but_time(place, alone, options):
    answer = train(place, f"two{''.join(options)}", "--processes", "2", *options)
    assert answer.returncode == 0, answer.stderr
    two = Run(place / f"two{''.join(options)}")
    assert max(gaps(alone, two).values()) < 1e-5
    assert [e["examples"] for e in two.events("step")] == [16, 16, 16, 16, 16, 3] * 2
    for period in two.signals.periods:
        assert period.recorded.all() and period.trained.all()
        assert (period.step == alone.signals.epoch(int(period.metadata["period"])).step).all()
    assert two.predictions("validation")["predicted"].equals(alone.predictions("validation")["predicted"])
    kept = [load_file(run.path / "checkpoints" / "epoch_001" / "model.safetensors") for run in (alone, two)]
    assert kept[0].keys() == kept[1].keys() and all(np.abs(kept[0][n] - kept[1][n]).max() < 1e-5 for n in kept[0])
    end = load_file(two.path / "model" / "model.safetensors")
    assert np.abs(kept[1]["classifier.weight"] - end["classifier.weight"]).max() > 1e-4, "of its epoch, not of the end"
    config = json.loads((two.path / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    again = train(place, two.name, "--processes", "2", *options)
    assert again.returncode == 0 and "not trained again" in again.stderr


@pytest.mark.parametrize(
    "options", [(), pytest.param(("--sharded",), marks=pytest.mark.long)], ids=["copies", "pieces"]
)
def test_a_signal_stops_all_and_the_same_command_goes_on(place, options):
    whole, name = f"whole{''.join(options)}", f"stopped{''.join(options)}"
    assert train(place, whole, "--processes", "2", *options).returncode == 0
    command = [sys.executable, "-m", "leadline", "train", "recipe.yaml", "--name", name, "--root", "."]
    command += ["--processes", "2", *options, "--set", "training.checkpoint_minutes=0"]
    running = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True)
    until(lambda: running.poll() is not None or list((place / name / "checkpoints").glob("step_????????")))
    running.send_signal(signal.SIGTERM)
    said = running.communicate()[1]
    assert running.returncode == 130, said
    assert said.count("a checkpoint is kept, the same command goes on") == 1
    assert not (place / name / "results.json").exists()
    answer = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert answer.returncode == 0 and "going on after step" in answer.stderr, answer.stderr
    assert differences(place / whole, place / name) == []


MIXED = """
import json, os, sys
import numpy as np
from leadline.experiment.device import accelerate
from leadline.learn import models, ranks
from leadline.learn.sharding import weights
from leadline.learn.tasks.classification import Classification
from leadline.plans.epoch import Epoch
from leadline.recipe import Mixup, Model, Record
from pathlib import Path
import tiny_models as tiny

place, (start, *cases) = Path(sys.argv[1]), json.loads(sys.argv[2])
classes, n = ("dry", "neither", "wet"), 20
data = tiny.examples(tiny.sentences(n, seed=9), [i % 3 for i in range(n)], classes)
rows = np.arange(n)
partners = rows ^ 1  # in pairs; 20 entries in steps of 16 and 4
epoch = Epoch(rows, partners, np.random.default_rng(1).uniform(0, 1, n))

def trainings():
    for case in cases:
        model, tokenizer = models.load(Model(name=start, dropout=0.0), classes)
        models.head(model).weight.data.mul_(20)  # answers that differ
        mixup = Mixup(plain_epochs=0, **case["mixup"])
        told = []
        task = Classification(tiny.encoder(model, tokenizer))
        fit = tiny.fit(
            model, task, data, plan=lambda number: epoch, mixup=mixup, accelerator=accelerate("fp32"),
            record=Record(under_mixup=case["record"]), micro_batch=4, epochs=2, sharded=case["sharded"],
            to=place / case["name"] / os.environ["RANK"], learning_rate=3e-3,
            tell=lambda event: told.append(event["loss"]) if event["event"] == "step" else None)
        assert fit.run() == len(told) == 4
        found = {name: tensor.numpy() for name, tensor in weights(model).items()}
        if found:
            np.savez(place / f"{case['name']}.npz", losses=np.array(told), **found)

with ranks.leaving():
    trainings()
"""


def mixed_by(place: Path, count: int, start: Path, sharded: bool, **cases: dict) -> dict[str, dict[str, np.ndarray]]:
    """Losses of the steps and weights at the end, of one training a case, by `count` processes."""
    place.mkdir()
    asked = [{"name": name, "sharded": sharded, **case} for name, case in cases.items()]
    command = [sys.executable, "-c", MIXED, str(place), json.dumps([str(start), *asked])]
    launch = f"import sys; from leadline import processes; sys.exit(processes.start({command!r}, {count}))"
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    ends = 300  # seconds: processes that wait for one another in different passes would wait for half an hour
    answer = subprocess.run(
        [sys.executable, "-c", launch],
        capture_output=True,
        text=True,
        timeout=ends,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert answer.returncode == 0, answer.stderr
    return {name: dict(np.load(place / f"{name}.npz")) for name in cases}


@pytest.mark.parametrize(("family", "sharded"), [("distilbert", False), ("bert", True)], ids=["copies", "pieces"])
def test_mixed_epochs_are_the_same_by_two_processes(tmp_path, family, sharded):
    """The last step is one micro-batch: the second process has nothing of it, and makes as many passes all the same.

    A pass of copies sends their buffers (DistilBERT's, unpacked, are read in it); a pass of pieces gathers them.
    """
    start = checkpoint(family, tmp_path / "start")
    cases = {
        "sentence": {"mixup": {"where": "sentence"}, "record": "auto"},
        "layer": {"mixup": {"where": "layer", "layers": [1]}, "record": True},
        "consistent": {"mixup": {"where": "layer", "layers": [0, 2], "consistency": 0.7}, "record": "auto"},
        "span": {"mixup": {"where": "span", "span": 0.3}, "record": "auto"},
    }
    one = mixed_by(tmp_path / "one", 1, start, False, **cases)
    two = mixed_by(tmp_path / "two", 2, start, sharded, **cases)
    losses = [one[name]["losses"] for name in cases]
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(losses) for b in losses[:i])  # four trainings, not one
    for name in cases:
        assert one[name].keys() == two[name].keys()
        for key, values in one[name].items():
            if key.endswith(("key.bias", "k_lin.bias")):
                continue  # attention does not see it: its gradient is rounding, which AdamW makes a step of
            np.testing.assert_allclose(two[name][key], values, atol=1e-4, err_msg=f"{name}: {key}")


ALIVE = """
import os, pathlib, signal, sys
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(str(os.getpid()))
signal.pause()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux is asked for it")
def test_the_processes_go_with_a_launcher_that_is_killed(tmp_path):
    child = [sys.executable, "-S", "-c", ALIVE, str(tmp_path)]
    code = f"from leadline import processes; processes.start({child!r}, 2)"
    launcher = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: all((tmp_path / rank).exists() and (tmp_path / rank).read_text() for rank in "01"))
    workers = [int((tmp_path / rank).read_text()) for rank in "01"]
    try:
        assert all(alive(worker) for worker in workers)
        launcher.kill()
        launcher.wait()
        until(lambda: not any(alive(worker) for worker in workers))
    finally:
        for process in (*filter(alive, workers), launcher.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def alive(process):
    """It runs; one that has ended and that nobody has asked for its status does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


LEAVING = """
import contextlib, pathlib, sys, torch
from leadline.errors import LeadlineError
from leadline.experiment import Job  # and with it whatever of torch binds the group of all when it is imported late
from leadline.learn import ranks

def threads():
    return [t for t in pathlib.Path("/proc/self/task").iterdir() if "gloo" in (t / "comm").read_text()]

def work(fails):
    torch.distributed.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    model.in_a_cycle = [model]
    assert threads()
    if fails:
        raise LeadlineError("on purpose")

with contextlib.suppress(LeadlineError), ranks.leaving():
    work(sys.argv[1] == "fails")
sys.exit(3 if threads() else 0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux is asked for the threads")
@pytest.mark.parametrize("how", ["ends", "fails"])
def test_no_thread_of_the_group_outlives_it(how, capfd):
    assert processes.start([sys.executable, "-c", LEAVING, how], 2) == 0, capfd.readouterr().err


def test_torchrun_with_another_number_is_refused(place):
    spoofed = "import leadline.processes as p; p.inside = lambda: True\n" + CODE  # as torchrun's children are
    command = ["train", "recipe.yaml", "--name", "odd", "--root", ".", "--processes", "2"]
    answer = subprocess.run([sys.executable, "-c", spoofed, *command], cwd=place, capture_output=True, text=True)
    assert answer.returncode == 1 and "2 processes were asked for, and 1 train" in answer.stderr
    assert not (place / "odd").exists()


def test_the_reason_of_the_process_that_failed_first_is_told(tmp_path, capfd):
    (tmp_path / "worker.py").write_text(
        "import os, pathlib, sys, time\n"
        "note = pathlib.Path(__file__).with_name('pid')\n"
        "if os.environ['RANK'] == '1':\n"
        "    note.with_suffix('.new').write_text(str(os.getpid())); os.replace(note.with_suffix('.new'), note)\n"
        "    sys.exit('no room on my disk')\n"
        "while not note.exists(): time.sleep(0.01)\n"
        "try:\n"
        "    while True: os.kill(int(note.read_text()), 0); time.sleep(0.01)\n"  # until the starter has seen it end
        "except ProcessLookupError: sys.exit('connection closed by peer')\n"
    )
    assert processes.start([sys.executable, str(tmp_path / "worker.py")], 3) == 1
    said = capfd.readouterr().err
    assert "process 1 left first, with status 1:\nno room on my disk" in said


def test_pieces_need_several_processes(place):
    answer = train(place, "alone-in-pieces", "--sharded")
    assert answer.returncode == 2 and "--processes 2, or torchrun" in answer.stderr


def test_a_mistake_is_told_once(place):
    answer = train(place, "wrong", "--processes", "2", "--set", "loss.weighted_class=nobody")
    assert answer.returncode == 2 and answer.stderr.count("no class `nobody`") == 1


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("micro", [1, 3, 16])
def test_the_examples_of_a_step_depend_on_no_process(world, micro):
    """What _mine gives to the processes is the whole step, in as many turns for each."""
    from leadline.learn.loop import Fit

    lengths = np.random.default_rng(0).integers(5, 60, 50)
    whole = steps(Epoch(np.arange(50)), lengths, 16, None, np.random.default_rng(1))
    cut = steps(Epoch(np.arange(50)), lengths, 16, min(micro, -(-16 // world)), np.random.default_rng(1))
    for one, other in zip(whole, cut, strict=True):
        parts = []
        for rank in range(world):
            import leadline.learn.loop as loop

            kept = loop.ranks.rank, loop.ranks.world
            loop.ranks.rank, loop.ranks.world = (lambda rank=rank: rank), (lambda: world)
            try:
                parts.append(Fit._mine(None, other))  # type: ignore[arg-type]
            finally:
                loop.ranks.rank, loop.ranks.world = kept
        assert len({len(part) for part in parts}) == 1
        assert sorted(np.concatenate([m for part in parts for m in part])) == sorted(np.concatenate(one))
