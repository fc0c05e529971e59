"""How long a sweep of 1,000 definitions takes to expand, name and check, before anything runs.

    python bench/sweep_1000.py            three ways of writing 1,000 trials, 20 repeats each
    python bench/sweep_1000.py --toy      the same with 24 trials and 2 repeats

From the YAML file to 1,000 checked recipes in one process, in rotation; and the whole command, from an empty process to
the printed table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from common import machine, write_json

from leadline import sweep

RECIPE = {"data": {"train": "train.csv", "test": "test.csv"}, "model": "tiny", "training": {"epochs": 3}}


def definitions(n: int) -> dict[str, dict[str, Any]]:
    """n trials as one grid; as grids over five seeds that stand on a base of the same seed; and listed one by one."""
    side = n // 4
    grid = {
        "name": "g{gamma:.1f}_p{patience}",
        "axes": {"gamma": [2, 4, 6, 8], "patience": list(range(1, side + 1))},
        "set": {
            "loss.weighted_class": "a",
            "loss.gamma": "{gamma}",
            "training.early_stopping": {"metric": "macro_f1", "patience": "{patience}"},
        },
    }
    noisy = {
        "name": "noise{rate:.4f}",
        "axes": {"rate": [k / (n + 1) for k in range(1, n // 5)]},
        "set": {"base.run": "trial:base", "data.corrupt": {"rate": "{rate}", "kind": "by-confusion"}},
    }
    listed = [{"name": f"trial{k:04d}", "set": {"training.epochs": k + 1, "training.warmup": 0.1}} for k in range(n)]
    return {
        "one grid of two axes": {"trials": [grid]},
        "five seeds, each standing on a base": {"seeds": list(range(5)), "trials": [{"name": "base"}, noisy]},
        "listed one by one": {"trials": listed},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sweep_1000.json")
    options = parser.parse_args()
    n, repeats = (20, 2) if options.toy else (1000, options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), n, repeats)
    write_json(options.out, {"machine": machine(), "n": n, "ways": found})
    for name, way in found.items():
        print(f"{name}: {way['trials']} trials, median {sorted(way['seconds'])[repeats // 2]:.3f} s")


def measured(folder: Path, n: int, repeats: int) -> dict[str, dict[str, Any]]:
    files = {}
    for data in ("train.csv", "test.csv"):  # the command looks whether they are there
        (folder / data).write_text("id,text,label\n1,a,x\n", encoding="utf-8")
    for number, (name, rest) in enumerate(definitions(n).items()):
        files[name] = folder / f"sweep{number}.yaml"
        document = {"name": f"bench{number}", "recipe": RECIPE, **rest}
        files[name].write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    found: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        trials = sweep.load(file).trials  # also warms the caches of pydantic
        distinct = len({trial.title for trial in trials})
        found[name] = {"trials": len(trials), "distinct_names": distinct, "seconds": [], "command_seconds": []}
    for _ in range(repeats):
        for name, file in files.items():
            began = time.perf_counter()
            sweep.load(file)
            found[name]["seconds"].append(time.perf_counter() - began)
    for _ in range(max(1, repeats // 4)):
        for name, file in files.items():
            began = time.perf_counter()
            command = [sys.executable, "-m", "leadline", "sweep", str(file), "--dry-run", "--json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
            found[name]["command_seconds"].append(time.perf_counter() - began)
    return found


if __name__ == "__main__":
    main()
