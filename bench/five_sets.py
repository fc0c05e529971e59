"""MiniLM on five real data sets: macro F1 over seeds with an interval, and minutes.

    python bench/five_sets.py [--seeds 3] [--only sarcasm,trec] [--runs build/bench] [--toy]

Writes bench/results/five_sets.json. Runs that are finished are not trained again; their minutes are those measured
then.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from common import data_directory, machine, markdown, write_json

from leadline import experiment
from leadline.demo import write_demo
from leadline.evaluate import mean_interval

SETS = {  # train file, test file, text columns, label column, longest input
    "sarcasm": ("sarcasm/train.csv", "sarcasm/test.csv", "text", "label", 64),
    "spam": ("spam/train.csv", "spam/test.csv", "text", "label", 64),
    "trec": ("trec/train.csv", "trec/test.csv", "text", "coarse", 64),
    "mrpc": ("mrpc/train.csv.gz", "mrpc/test.csv", ["sentence1", "sentence2"], "label", 128),
    "disaster": ("disaster/train.csv", "disaster/test.csv", "text", "label", 64),
}


def recipes(toy: bool, only: list[str], directory: Path) -> dict[str, dict]:
    if toy:
        truth = write_demo(directory / "toy.csv", n=200, n_test=100)
        data = {"train": str(truth.train), "test": str(truth.test), "text": "text", "label": "label", "id": "id"}
        return {"toy": {"data": data, "model": "tiny", "training": {"epochs": 2, "max_length": 32}}}
    root, chosen = data_directory(), {}
    for name in only or SETS:
        train, test, text, label, length = SETS[name]
        data = {"train": str(root / train), "test": str(root / test), "text": text, "label": label, "id": "idx"}
        chosen[name] = {"data": data, "model": "minilm", "training": {"epochs": 3, "max_length": length}}
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=Path, default=Path("build/bench"))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "five_sets.json")
    options = parser.parse_args()
    results = []
    for name, recipe in recipes(options.toy, [n for n in options.only.split(",") if n], options.runs).items():
        runs = []
        for seed in range(options.seeds):
            seeded = {**recipe, "training": {**recipe["training"], "seed": seed}}
            run = experiment.train(seeded, name=f"{name}-s{seed}", root=options.runs)
            end = run.events("end")[-1]
            test = run.results["test"]
            print(
                f"{name} seed {seed}: macro F1 {test['macro_f1']['value']:.4f}, {end['seconds'] / 60:.2f} min",
                flush=True,
            )
            measured = {name: test[name] for name in ("macro_f1", "accuracy", "ece")}
            costs = {name: end[name] for name in ("train_seconds", "seconds", "examples_per_second", "peak_memory_mb")}
            runs.append({"seed": seed, **measured, **costs})
        results.append({"data": name, "n_train": len(run.train), "n_test": test["macro_f1"]["n"], "runs": runs})
    write_json(options.out, {"machine": machine(), "precision": run.about["precision"], "results": results})
    print(table(results))


def table(results: list[dict]) -> str:
    rows = []
    for entry in results:
        mean, low, high = mean_interval([r["macro_f1"]["value"] for r in entry["runs"]])
        spread = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
        accuracy = sum(r["accuracy"]["value"] for r in entry["runs"]) / len(entry["runs"])
        minutes = sum(r["seconds"] for r in entry["runs"]) / len(entry["runs"]) / 60
        speed = sum(r["examples_per_second"] for r in entry["runs"]) / len(entry["runs"])
        sizes = [f"{entry['n_train']:,}", f"{entry['n_test']:,}"]
        rows.append([entry["data"], *sizes, f"{mean:.3f}{spread}", f"{accuracy:.3f}", f"{minutes:.1f}", f"{speed:.0f}"])
    header = [
        "data",
        "n train",
        "n test",
        "macro F1 [95 % t-interval over seeds]",
        "accuracy",
        "minutes a run",
        "examples/s",
    ]
    return markdown(header, rows)


if __name__ == "__main__":
    main()
