"""bfloat16 against float32: how many distinct gold probabilities, and does every score rank the examples alike?

    python bench/precision.py [--n 2000] [--toy]

Trains MiniLM on n rows of the spam set in both precisions, same seed, and once more in float32 with another seed: what
two seeds differ by is the yardstick for what two precisions differ by. Writes bench/results/precision.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import data_directory, machine, markdown, write_json

from leadline import experiment
from leadline.demo import write_demo
from leadline.evaluate import rank_agreement
from leadline.runs import Run
from leadline.scores import compute


def recipe(options: argparse.Namespace, directory: Path, precision: str, seed: int) -> dict:
    if options.toy:
        truth = write_demo(directory / "toy.csv", n=300)
        data, model, training = {"train": str(truth.train)}, "tiny", {"epochs": 2, "max_length": 32}
    else:
        data = {"train": str(data_directory() / "spam" / "train.csv"), "sample": {"n": options.n}}
        model, training = "minilm", {"epochs": 3, "max_length": 64}
    data |= {"validation": None, "text": "text", "label": "label"}
    return {"data": data, "model": model, "training": {**training, "precision": precision, "seed": seed}}


def distinct(run: Run) -> list[float]:
    """Share of distinct gold probabilities in each recorded epoch."""
    epochs = run.signals.periods
    return [len(np.unique(np.exp(e.gold_logprob))) / len(e.gold_logprob) for e in epochs]


def agreement(a: Run, b: Run) -> dict[str, float]:
    """Spearman of every score between two runs of the same rows."""
    first, second = compute(a.signals)[0], compute(b.signals)[0]
    return {name: float(rank_agreement({"a": first[name], "b": second[name]}).spearman[0, 1]) for name in first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "precision.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        runs = {
            name: experiment.train(recipe(options, root, precision, seed), name=name, root=root / "runs")
            for name, precision, seed in (("bf16", "bf16", 0), ("fp32", "fp32", 0), ("fp32-other-seed", "fp32", 1))
        }
        shares = {name: distinct(run) for name, run in runs.items()}
        between = agreement(runs["bf16"], runs["fp32"])
        yardstick = agreement(runs["fp32"], runs["fp32-other-seed"])
        seconds = {name: run.events("end")[-1]["train_seconds"] for name, run in runs.items()}
        n = len(runs["bf16"].train)
    result = {"machine": machine(), "n": n, "distinct_share_by_epoch": shares, "spearman_bf16_fp32": between,
              "spearman_fp32_two_seeds": yardstick, "train_seconds": seconds}  # fmt: skip
    write_json(options.out, result)
    for name, values in shares.items():
        print(f"{name}: distinct gold probabilities by epoch, of {n}: {', '.join(f'{v:.1%}' for v in values)}")
    rows = [[name, f"{value:.3f}", f"{yardstick[name]:.3f}"] for name, value in between.items()]
    print(markdown(["score", "Spearman bf16, fp32 (same seed)", "Spearman fp32, fp32 (two seeds)"], rows))


if __name__ == "__main__":
    main()
