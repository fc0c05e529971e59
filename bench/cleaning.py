"""Is the classifier better after a review? 20 % of the labels flipped; the top suspects get their true label back.

    python bench/cleaning.py [--only trec] [--seeds 3] [--n 2000] [--shares 0.1,0.2,0.3] [--runs build/bench] [--toy]

For every seed: train on the noisy data, rank the suspects (the default of `leadline audit`), and let the known truth
play the reviewer of the first 10, 20 and 30 % of the list; the control reviews as many rows at random. Both are trained
again from the beginning; so is the clean data. Test macro F1 before, after, and of the control. MiniLM, 3 epochs.
Writes bench/results/cleaning.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import (
    MINILM,
    TESTED,
    TINY,
    arguments,
    chosen,
    interval,
    machine,
    markdown,
    seeds,
    tested,
    trained,
    workplace,
    write_json,
)

from leadline import runs, suspects
from leadline.demo import write_demo
from leadline.evaluate import over_seeds

NOISE = 0.2


def reviewed(run: runs.Run, share: float, seed: int, at_random: bool) -> tuple[pl.DataFrame, int, int]:
    """(id, text, label after the review; rows reviewed; wrong labels found among them)."""
    train = run.train.table
    count = round(share * train.height)
    if at_random:
        rows = np.random.default_rng([seed, 21]).choice(train.height, size=count, replace=False)
    else:
        order = suspects.rank(run.signals, runs.kept_scores(run).columns(), most=count)["id"]
        place = {name: i for i, name in enumerate(run.train.ids)}
        rows = np.array([place[name] for name in order])
    truth, label = train["_true_label"].to_numpy(), train["_label"].to_numpy().copy()
    found = int((truth[rows] != label[rows]).sum())
    label[rows] = truth[rows]
    text = run.train.inputs[0]
    return train.select(pl.col("_id").alias("id"), pl.col(text).alias("text"), pl.Series("label", label)), count, found


def main() -> None:
    options = arguments("cleaning", __doc__, only="", seeds=3, n=2000, shares="0.1,0.2,0.3").parse_args()
    shares = [0.2] if options.toy else [float(x) for x in options.shares.split(",")]
    with workplace(options) as place:
        results = [measured(name, shares, place, options) for name in chosen(options, TESTED)]
    write_json(options.out, {"machine": machine(), "noise": NOISE, "results": results})
    print(table(results))


def recipe(name: str, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    if not options.toy:
        return {"data": tested(name, options.n), **MINILM, "evaluate": {"splits": ["test"]}}
    truth = write_demo(place / "toy.csv", n=80, n_test=40)
    data = {"train": str(truth.train), "test": str(truth.test), "id": "id", "validation": None}
    return {"data": data, **TINY, "evaluate": {"splits": ["test"]}}


def measured(name: str, shares: list[float], place: Path, options: argparse.Namespace) -> dict[str, Any]:
    whole = recipe(name, place, options)
    noisy = {"data.seed": "{seed}", "data.corrupt": {"kind": "uniform", "rate": NOISE}}
    trials = [{"name": "noisy", "set": noisy}, {"name": "clean", "set": {"data.seed": "{seed}"}}]
    document = {"name": f"cleaning-{name}", "recipe": whole, "seeds": seeds(options), "trials": trials}
    first = trained(document, place, options.jobs)
    again, found = [], {}
    for share in shares:
        for way in ("suspects", "random"):
            arm = f"{way}-{share * 100:g}"
            again.append(
                {"name": arm, "set": {"data.train": str(first.path / "reviewed" / f"{arm}-s{{seed}}.parquet")}}
            )
            for seed in seeds(options):
                run = runs.open(first.trial(f"noisy-s{seed}").path)
                rows, count, right = reviewed(run, share, seed, way == "random")
                path = first.path / "reviewed" / f"{arm}-s{seed}.parquet"
                path.parent.mkdir(exist_ok=True)
                if not path.is_file():
                    runs.write_parquet(path, rows)
                found[f"{arm}-s{seed}"] = {"reviewed": count, "wrong": right}
    copied = {
        **whole,
        "data": test_as_copied(whole["data"], first.path),
        **{k: whole[k] for k in ("model", "training")},
    }
    document = {**document, "name": f"cleaning-{name}-again", "recipe": copied, "trials": again}
    second = trained(document, place, options.jobs)
    scored = {t.title: runs.open(t.path).results["test"]["macro_f1"] for s in (first, second) for t in s.trials}
    arms = [*first.names, *second.names]
    return {"data": name, "seeds": seeds(options), "arms": arms, "macro_f1": scored, "reviews": found}


def test_as_copied(data: dict[str, Any], place: Path) -> dict[str, Any]:
    """The test file with the columns of the reviewed files."""
    path = place / "reviewed" / "test.parquet"
    if not path.is_file():
        names = {data["id"]: "id", data.get("text", "text"): "text", data.get("label", "label"): "label"}
        runs.write_parquet(path, pl.read_csv(data["test"], infer_schema=False).select(*names).rename(names))
    return {"train": "", "test": str(path), "id": "id", "validation": None}


def table(results: list[dict[str, Any]]) -> str:
    rows = []
    for entry in results:
        by_arm = {arm: {s: entry["macro_f1"][f"{arm}-s{s}"]["value"] for s in entry["seeds"]} for arm in entry["arms"]}
        against = over_seeds(by_arm, "noisy")
        for arm, values in by_arm.items():
            reviews = [entry["reviews"][f"{arm}-s{s}"] for s in entry["seeds"] if f"{arm}-s{s}" in entry["reviews"]]
            found = f"{np.mean([r['wrong'] for r in reviews]):.0f} of {reviews[0]['reviewed']}" if reviews else ""
            d = against.get(arm)
            gain = f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}], p {d.p:.2f}" if d and d.low == d.low else ""
            rows.append([entry["data"], arm, found, interval(list(values.values())), gain])
    return markdown(["data", "labels", "wrong among the reviewed", "macro F1", "minus noisy"], rows)


if __name__ == "__main__":
    main()
