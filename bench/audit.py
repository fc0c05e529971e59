"""Which score finds wrong labels? Planted errors of three kinds in five data sets, beside the peers' own code.

    python bench/audit.py [--only trec] [--seeds 2] [--n 2000] [--jobs 1] [--runs build/bench] [--peers DIR] [--toy]

Every trial is a run of one sweep (`leadline sweep status build/bench/audit`), so what is finished is never computed
again. MiniLM, 3 epochs; 10 and 20 % of the labels uniform, class-pair and by-confusion. At uniform 10 % and seed 0
also a snapshot after every epoch, 5 folds, and 10 epochs instead of 3. With two classes all kinds flip the same rows to
the same label: such trials are measured, and count once in the tables.
--n 0 takes all rows (for a GPU). Writes bench/results/audit/<trial>.json, and of the machine bench/results/audit.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import audit_measures
import audit_tables
from common import MINILM, TINY, arguments, chosen, data_directory, machine, told, workplace, write_json

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
        sets = {"toy": {"data.train": str(truth.train), "data.text": "text", "data.label": "label"}}
        return sets, {"data": data, **TINY}
    root = data_directory()
    sets = {
        name: {"data.train": str(root / SETS[name][0]), "data.text": SETS[name][1], "data.label": SETS[name][2]}
        for name in chosen(options, SETS)
    }
    data = {"validation": 0.1, "id": "idx", **({"sample": {"n": options.n}} if options.n else {})}
    return sets, {"data": data, **MINILM}


def main() -> None:
    parser = arguments("audit", __doc__, only="", seeds=2, n=2000)
    parser.add_argument("--peers", type=Path, default=None, help="a folder with aum, cartography and datagnosis")
    options = parser.parse_args()
    with workplace(options) as place:
        sets, base = recipe(options, place)
        sweeps = [
            sweep.load(document, place) for document in definitions(sets, base, 1 if options.toy else options.seeds)
        ]
        for trials in sweeps:
            sweep.run(trials, jobs=options.jobs, tell=told)
        results = [measured(trials, title, options) for trials in sweeps for title in titles(trials)]
    write_json(options.out, {"machine": machine()})
    print(audit_tables.table([result for result in results if result]))


def titles(trials: Sweep) -> list[str]:
    return [trial.title for trial in trials.trials if "-clean" not in trial.name]


def measured(trials: Sweep, title: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """The measures of one trial, from its file where it was measured before; None where it is not finished."""
    path = trials.trial(title).path
    file = options.out.with_suffix("") / f"{title}.json"
    if file.is_file():
        return json.loads(file.read_text())
    if not path.is_dir() or not runs.open(path).finished:
        return None
    run = runs.open(path)
    whole = title == f"{EXTRA.format(data=title.split('-')[0])}-s0"  # folds and planted errors cost six trainings more
    folds = audit.out_of_sample(run, 2 if options.toy else 5, jobs=options.jobs) if whole else None
    found = {"trial": title, **audit_measures.of(run, folds, options.peers, calibrated=whole)}
    write_json(file, found)
    return found


if __name__ == "__main__":
    main()
