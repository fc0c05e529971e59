"""Which score finds wrong labels? Planted errors of three kinds in five data sets, beside the peers' own code.

    python bench/audit.py [--only trec] [--seeds 2] [--n 2000] [--jobs 1] [--runs build/bench] [--peers DIR] [--toy]

Every trial is a run of one sweep (`leadline sweep status build/bench/audit`), so what is finished is never computed
again, and the measures of a trial lie in bench/results/audit/<trial>.json. MiniLM, 3 epochs; 10 and 20 % of the labels
uniform, class-pair and by-confusion. At uniform 10 % and seed 0 also a snapshot after every epoch, 5 folds, and 10
epochs instead of 3.
--n 0 takes all rows (for a GPU). Writes bench/results/audit.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import audit_measures
import audit_tables
from common import data_directory, machine, write_json

from leadline import audit, runs, sweep
from leadline.demo import write_demo
from leadline.sweep import Sweep

SETS = {  # train file, text, label
    "sarcasm": ("sarcasm/train.csv", "text", "label"),
    "spam": ("spam/train.csv", "text", "label"),
    "disaster": ("disaster/train.csv", "text", "label"),
    "sst2": ("sst2/train.csv.gz", "sentence", "label"),
    "trec": ("trec/train.csv", "text", "coarse"),
}
KINDS, RATES = ["uniform", "class-pair", "by-confusion"], [10, 20]
EXTRA = "{data}-uniform-10"  # also as a snapshot, and with folds
LONG = 10  # epochs


def definitions(sets: dict[str, dict], base: dict[str, Any], seeds: int) -> list[dict[str, Any]]:
    """Sweeps: all trials over the seeds; of one seed those with snapshots, and those trained longer."""
    first = next(iter(sets.values()))
    recipe = {**base, "data": {**base["data"], **{key.removeprefix("data."): value for key, value in first.items()}}}
    trials, snapshots, longer = [], [], []
    for name, columns in sets.items():
        own = {**columns, "data.seed": "{seed}"}
        trials.append({"name": f"{name}-clean", "set": own})
        for kind in KINDS if recipe["model"] != "tiny" else KINDS[:1]:
            confused = {"base.run": f"trial:{name}-clean"} if kind == "by-confusion" else {}
            for rate in RATES if recipe["model"] != "tiny" else RATES[:1]:
                flips = {"data.corrupt": {"kind": kind, "rate": rate / 100}}
                trials.append({"name": f"{name}-{kind}-{rate}", "set": {**own, **confused, **flips}})
        snapshot = {"data.corrupt": {"kind": "uniform", "rate": 0.1}, "record.mode": "snapshot"}
        snapshots.append({"name": f"{name}-uniform-10-snapshot", "set": {**own, **snapshot}})
        flips = {"data.corrupt": {"kind": "uniform", "rate": 0.1}, "training.epochs": LONG}
        longer.append({"name": f"{name}-uniform-10-long", "set": {**own, **flips}})
    return [
        {"name": "audit", "recipe": recipe, "seeds": list(range(seeds)), "trials": trials},
        {"name": "audit-snapshot", "recipe": recipe, "seeds": [0], "trials": snapshots},
        *(
            [{"name": "audit-long", "recipe": recipe, "seeds": [0], "trials": longer}]
            if recipe["model"] != "tiny"
            else []
        ),
    ]


def recipe(options: argparse.Namespace, directory: Path) -> tuple[dict[str, dict], dict[str, Any]]:
    """(what differs by data set, the recipe of all)."""
    if options.toy:
        truth = write_demo(directory / "toy.csv", n=160, n_test=20)
        data = {"validation": 0.2, "id": "id"}
        training = {"epochs": 2, "max_length": 32, "batch_size": 16}
        sets = {"toy": {"data.train": str(truth.train), "data.text": "text", "data.label": "label"}}
        return sets, {"data": data, "model": "tiny", "training": training}
    root = data_directory()
    chosen = [name for name in options.only.split(",") if name] or list(SETS)
    sets = {
        name: {"data.train": str(root / SETS[name][0]), "data.text": SETS[name][1], "data.label": SETS[name][2]}
        for name in chosen
    }
    data = {"validation": 0.1, "id": "idx", **({"sample": {"n": options.n}} if options.n else {})}
    return sets, {"data": data, "model": "minilm", "training": {"epochs": 3, "max_length": 64}}


def told(event: Any) -> None:
    if event.get("event") in ("finished", "failed", "skipped"):
        print(event["event"], event.get("trial", ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("build/bench"))
    parser.add_argument("--peers", type=Path, default=None, help="a folder with aum, cartography and datagnosis")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "audit.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if options.toy else options.runs
        sets, base = recipe(options, place)
        sweeps = [
            sweep.load(document, place) for document in definitions(sets, base, 1 if options.toy else options.seeds)
        ]
        for trials in sweeps:
            sweep.run(trials, jobs=options.jobs, tell=told)
        results = [measured(trials, title, options) for trials in sweeps for title in titles(trials)]
    results = [result for result in results if result]
    write_json(options.out, {"machine": machine(), "results": results})
    print(audit_tables.table(results))


def titles(trials: Sweep) -> list[str]:
    return [trial.title for trial in trials.trials if "-clean" not in trial.name]


def measured(trials: Sweep, title: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """The measures of one trial, from the file that has them already where it is of the same code."""
    path = trials.trial(title).path
    file = options.out.parent / "audit" / f"{title}.json"
    if file.is_file() and not options.toy:
        return json.loads(file.read_text())
    if not path.is_dir() or not runs.open(path).finished:
        return None
    run = runs.open(path)
    whole = title == f"{EXTRA.format(data=title.split('-')[0])}-s0"  # folds and planted errors cost six trainings more
    folds = audit.out_of_sample(run, 2 if options.toy else 5, jobs=options.jobs) if whole else None
    found = {"trial": title, **audit_measures.of(run, folds, options.peers, calibrated=whole)}
    if not options.toy:
        write_json(file, found)
    return found


if __name__ == "__main__":
    main()
