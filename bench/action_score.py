"""What the action score is good for on sentiment: wrong labels, agreement with VoG and with training dynamics.

    python bench/action_score.py [--only sst2] [--seeds 3] [--n 2000] [--jobs 1] [--runs build/bench] [--toy]

SST-2 and TweetEval sentiment (three classes), 2,000 rows of each, MiniLM, 3 epochs, weights kept after each; as they
are and with 10 % of the labels flipped uniformly. VoG is taken from the kept weights (raw, and normalised within
classes). As they are: Spearman of the action score with every other score and the hardest tenth in common, over the
seeds; and how far two seeds agree. Flipped: average precision and AUROC of each score. Curricula are measured by
bench/learn_from_it.py.
Writes bench/results/action_score.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from audit_measures import measure
from common import (
    MINILM,
    TINY,
    arguments,
    chosen,
    data_directory,
    interval,
    machine,
    markdown,
    seeds,
    trained,
    workplace,
    write_json,
)

from leadline import experiment, runs, scores
from leadline.comparison.agreement import harder_up
from leadline.comparison.stability import stability
from leadline.demo import write_demo
from leadline.evaluate import concordance
from leadline.suspects.planted import doubts

SETS = {  # train, text, label
    "sst2": ("sst2/train.csv.gz", "sentence", "label"),
    "tweeteval": ("tweeteval_sentiment/val.csv", "text", "label"),
}
ACTION = "action_mean"
SHOWN = (ACTION, "vog", "vog_raw", "vog_early", "vog_late", "aum", "confidence", "variability", "correctness",
         "forgetting", "el2n", "entropy", "loss_last")  # fmt: skip


def recipe(name: str, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    if options.toy:
        truth = write_demo(place / "toy.csv", n=80, n_test=20)
        data = {"train": str(truth.train), "id": "id", "validation": None}
        model = {**TINY, "training": {**TINY["training"], "epochs": 3}}
    else:
        train, text, label = SETS[name]
        data = {"train": str(data_directory() / train), "text": text, "label": label, "id": "idx", "validation": None,
                "sample": {"n": options.n}}  # fmt: skip
        model = MINILM
    return {"data": data, **model, "record": {"checkpoints": "all"}, "evaluate": {"splits": []}}


def probed(name: str, place: Path, options: argparse.Namespace) -> dict[str, list[runs.Run]]:
    """{clean, flipped: a run per seed}, each with its VoG."""
    flips = {"data.corrupt": {"kind": "uniform", "rate": 0.1}, "data.seed": "{seed}"}
    document = {"name": f"action-{name}", "recipe": recipe(name, place, options), "seeds": seeds(options),
                "trials": [{"name": "clean"}, {"name": "flipped", "set": flips}]}  # fmt: skip
    found: dict[str, list[runs.Run]] = {"clean": [], "flipped": []}
    for trial in trained(document, place, options.jobs).trials:
        run = runs.open(trial.path)
        if not (run.path / "probes" / "vog.npy").is_file():
            experiment.probe(run, ["vog"])
        found[trial.name].append(run)
    return found


def columns(run: runs.Run) -> dict[str, np.ndarray]:
    """{score: (N,)} of those that the study speaks of."""
    every = scores.compute(run.signals)[0]
    return {name: every[name] for name in SHOWN if name in every}


def agreeing(tables: list[dict[str, np.ndarray]], hardest: float = 0.1) -> list[dict[str, Any]]:
    """The action score beside each other score: Spearman and the hardest in common, per seed; and seed beside seed."""
    each = [concordance(harder_up(table), hardest) for table in tables]
    between = {row.score: row for row in stability("", tables, hardest)} if len(tables) > 1 else {}
    rows = []
    for name in each[0].names:
        at = [(c, c.names.index(ACTION), c.names.index(name)) for c in each]
        rows.append({
            "score": name, "spearman": [float(c.spearman[i, j]) for c, i, j in at],
            "overlap": [float(c.overlap[i, j]) for c, i, j in at],
            "between_seeds": [between[name].spearman, between[name].spearman_low, between[name].spearman_high]
            if name in between else None,
        })  # fmt: skip
    return rows


def finding(run: runs.Run) -> dict[str, dict[str, float]]:
    wrong = (run.train.table["_label"] != run.train.table["_true_label"]).to_numpy()
    return {name: measure(doubt, wrong) for name, doubt in doubts(columns(run)).items()}


def main() -> None:
    options = arguments("action_score", __doc__, only="", seeds=3, n=2000).parse_args()
    results = []
    with workplace(options) as place:
        for name in chosen(options, SETS):
            by = probed(name, place, options)
            results.append({"data": name, "n": len(by["clean"][0].signals), "seeds": len(seeds(options)),
                            "agreement": agreeing([columns(run) for run in by["clean"]]),
                            "finding": [finding(run) for run in by["flipped"]]})  # fmt: skip
    write_json(options.out, {"machine": machine(), "results": results})
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Per data set: how the action score agrees with the others, then how each finds flipped labels."""
    agree, find = [], []
    for entry in results:
        for row in entry["agreement"]:
            between = row["between_seeds"]
            seeds = f"{between[0]:.2f} [{between[1]:.2f}, {between[2]:.2f}]" if between else ""
            spread = [interval(row["spearman"]), interval(row["overlap"])]
            agree.append([entry["data"], row["score"], *spread, seeds])
        for name in sorted(entry["finding"][0], key=lambda n: -np.mean([f[n]["ap"] for f in entry["finding"]])):
            values = [f[name] for f in entry["finding"]]
            parts = [interval([v[what] for v in values]) for what in ("ap", "auroc")]
            find.append([entry["data"], name, *parts])
    head = ["data", "score", "Spearman with the action score", "hardest tenth in common", "seed with seed"]
    first = markdown(head, agree)
    return f"{first}\n\n{markdown(['data, 10 % flipped', 'score', 'average precision', 'AUROC'], find)}"


if __name__ == "__main__":
    main()
