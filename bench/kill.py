"""kill -9 at random moments, each followed by the same command: is the result that of an undisturbed run, to the bit?

    python bench/kill.py [--kills 20] [--toy]

Real processes, `leadline train` with a tiny BERT, dropout, early stopping and a checkpoint every 0.3 seconds, so that
many moments lie inside the writing of one. Compared: signals of training and validation data, metrics (time fields
apart), predictions, scores, results and weights, byte by byte. Then the price: megabytes and seconds per checkpoint of
MiniLM. Writes bench/results/kill.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine, markdown, write_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from leadline.demo import write_demo
from same_run import differences

MINUTES = 0.005


def command(recipe: Path, name: str, root: Path) -> list[str]:
    return [sys.executable, "-m", "leadline", "train", str(recipe), "--name", name, "--root", str(root)]


def recipe(directory: Path, toy: bool) -> Path:
    truth = write_demo(directory / "demo.csv", n=120 if toy else 600, n_test=60)
    training = {"epochs": 2 if toy else 6, "max_length": 48, "checkpoint_minutes": MINUTES, "log_every": 1,
                "early_stopping": {"metric": "loss", "patience": 2}}  # fmt: skip
    data = {"train": str(truth.train), "test": str(truth.test), "id": "id", "validation": 0.2}
    path = directory / "recipe.yaml"
    path.write_text(json.dumps({"data": data, "model": "tiny", "training": training}))  # JSON is YAML
    return path


def kill(args: list[str], run: Path, wait: float) -> dict:
    """Kills the command `wait` seconds after its first checkpoint; says what it left."""
    victim = subprocess.Popen(args, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while victim.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.002)
    time.sleep(wait)
    victim.kill()
    status = victim.wait()
    kept = sorted((run / "checkpoints").glob("step_????????"))
    partial = [str(p.relative_to(run)) for p in run.rglob("*.partial")]
    steps = sum('"event": "step"' in line for line in (run / "metrics.jsonl").read_text().splitlines())
    age = time.time() - kept[-1].stat().st_mtime if kept else None
    return {"status": status, "after_seconds": wait, "steps_told": steps, "half_written": partial,
            "kept": kept[-1].name if kept else None, "seconds_since_checkpoint": age}  # fmt: skip


def price(directory: Path, toy: bool) -> dict:
    """Megabytes and seconds per checkpoint of MiniLM, and of the tiny model."""
    from leadline import experiment
    from leadline.learn import checkpoint

    costs, write = [], checkpoint.Checkpoints.write

    def timed(self: checkpoint.Checkpoints, *arguments: object) -> None:
        write(self, *arguments)
        costs.append(self.costs[-1])

    checkpoint.Checkpoints.write = timed
    truth = write_demo(directory / "price.csv", n=100, n_test=20)
    training = {"epochs": 5, "max_length": 32}
    data = {"train": str(truth.train), "validation": None}
    name = "tiny" if toy else "minilm"
    try:
        experiment.train({"data": data, "model": name, "training": training}, name="price", root=directory)
    finally:
        checkpoint.Checkpoints.write = write
    seconds = [cost[0] for cost in costs]
    return {"model": name, "megabytes": costs[0][1] / 1e6, "seconds": statistics.median(seconds),
            "slowest": max(seconds), "n": len(costs)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kill.json")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    dice, results = random.Random(0), []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        file = recipe(root, options.toy)
        subprocess.run(command(file, "undisturbed", root), check=True, capture_output=True)
        events = [json.loads(line) for line in (root / "undisturbed" / "metrics.jsonl").read_text().splitlines()]
        whole = events[-1]["train_seconds"]
        for number in range(options.kills):
            run = root / f"killed-{number}"
            found = kill(command(file, run.name, root), run, dice.uniform(0, whole))
            again = subprocess.run(command(file, run.name, root), capture_output=True, text=True)
            found |= {"second_status": again.returncode, "resumed": "going on after step" in again.stderr}
            found["differences"] = ["failed"] if again.returncode else differences(root / "undisturbed", run)
            results.append(found)
            print(json.dumps(found), flush=True)
        cost = price(root, options.toy)
    equal = sum(not found["differences"] for found in results)
    write_json(options.out, {"machine": machine(), "kills": len(results), "equal": equal, "checkpoint": cost,
                             "checkpoint_minutes": MINUTES, "training_seconds": whole, "results": results})  # fmt: skip
    killed = sum(found["status"] == -9 for found in results)
    rows = [[str(len(results)), str(killed), str(sum(f["resumed"] for f in results)),
             str(sum(bool(f["half_written"]) for f in results)), str(equal)]]  # fmt: skip
    print(markdown(["trials", "killed in time", "resumed from a checkpoint", "with half-written files", "equal"], rows))
    print(f"a checkpoint of {cost['model']}: {cost['megabytes']:.0f} MB, {cost['seconds']:.2f} s (n = {cost['n']})")


if __name__ == "__main__":
    main()
