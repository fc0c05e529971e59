"""One optimiser step of 16 as micro-batches of 16, 4 and 1, by one process and by two, whole and in pieces (FSDP):
the same loss, gradient and signals?

    python bench/accumulation.py [--n 203] [--toy]

A tiny BERT in float32 without dropout, two epochs with an unequal last step, with and without class weights and
weights of examples. Every way is compared with one process and whole steps: the largest absolute difference of the
loss of a step, of any element of its gradient (before clipping), of any signal. Writes bench/results/accumulation.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import machine, markdown, write_json

from leadline import processes
from leadline.demo import write_demo

WAYS = [(1, 16, ""), (1, 4, ""), (1, 1, ""), (2, 16, ""), (2, 4, ""), (2, 1, ""), (2, 4, "sharded")]
WEIGHTS = ["none", "classes", "examples", "classes and examples"]


def work(directory: Path, micro: int, weights: str, sharded: bool, out: Path) -> None:
    """One process of one training; the first writes losses (S,), gradients (S, P) and signals."""
    import torch

    from leadline import recipe as recipes
    from leadline.data import load
    from leadline.experiment import Job
    from leadline.learn import ranks, sharding
    from leadline.signals import read_periods

    data = {"train": str(directory / "train.csv"), "validation": None, "id": "id"}
    if "examples" in weights:
        data["weight"] = "weight"
    document = {
        "data": data,
        "model": {"name": "tiny", "dropout": 0.0},
        "loss": {"class_weights": "balanced"} if "classes" in weights else {},
        "training": {"epochs": 2, "batch_size": 16, "micro_batch": micro, "precision": "fp32", "max_length": 32,
                     "log_every": 1, "max_grad_norm": None},
    }  # fmt: skip
    recipe = recipes.load(document)
    job = Job.prepare(recipe, load.load(recipe.data, recipe.task))
    losses, gradients = [], []
    fit = job.fit(out, lambda e: losses.append(e["loss"]) if e["event"] == "step" else None, sharded=sharded)
    fit.checkpoints = None

    def look(optimizer: torch.optim.Optimizer, *arguments: object) -> None:
        parts = [sharding.whole_tensor(p.grad).flatten() for group in optimizer.param_groups for p in group["params"]]
        gradients.append(torch.cat(parts).numpy().copy())

    prepare = fit._prepare

    def prepared(counts: list[int]) -> None:
        prepare(counts)
        fit.optimizer.optimizer.register_step_pre_hook(look)

    fit._prepare = prepared
    fit.run()
    if ranks.first():
        periods = read_periods(out / "signals")
        signals = {f"{n}_{e}": p.columns[n] for e, p in enumerate(periods) for n in ("loss", "margin", "logits")}
        covered = [int(p.recorded.sum()) for p in periods]
        np.savez(out / "found.npz", losses=losses, gradients=np.stack(gradients), covered=covered, **signals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=203)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "accumulation.json")
    options = parser.parse_args()
    if options.work:
        from leadline.learn import ranks

        directory, micro, weights, sharded, out = options.work
        with ranks.leaving():
            work(Path(directory), int(micro), weights, sharded == "sharded", Path(out))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    ways, weightings = (WAYS[:2] + WAYS[4:5], WEIGHTS[3:]) if options.toy else (WAYS, WEIGHTS)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        weighted(directory / "train.csv", 51 if options.toy else options.n)
        results = []
        for weights in weightings:
            found = {}
            for number, (count, micro, sharded) in enumerate(ways):
                out = directory / f"{weights}-{number}"
                out.mkdir()
                arguments = [str(directory), str(micro), weights, sharded or "whole", str(out)]
                if processes.start([sys.executable, __file__, "--work", *arguments], count):
                    raise SystemExit(f"{count} processes, micro-batch {micro}, weights {weights}: failed")
                found[number] = dict(np.load(out / "found.npz"))
            for number, (count, micro, sharded) in enumerate(ways):
                results.append({"weights": weights, "processes": count, "micro_batch": micro, "sharded": bool(sharded),
                                **compare(found[0], found[number])})  # fmt: skip
                print(json.dumps(results[-1]), flush=True)
    n = results[0]["examples"]
    worst = {name: max(r[name] for r in results) for name in ("loss", "gradient", "signals")}
    write_json(options.out, {"machine": machine(), "n": n, "results": results, "worst": worst})
    print(table(results))


def weighted(path: Path, n: int) -> None:
    """The built-in example with a column of weights between 0.5 and 2."""
    import polars as pl

    truth = write_demo(path.parent / "demo.csv", n=n)
    table = pl.read_csv(truth.train)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, table.height).round(3)
    table.with_columns(pl.Series("weight", weights)).write_csv(path)


def compare(one: dict, other: dict) -> dict:
    signals = [name for name in one if name[-1].isdigit()]
    gaps = {name: float(np.abs(one[name] - other[name]).max()) for name in ("losses", "gradients")}
    return {
        "steps": len(one["losses"]), "examples": int(other["covered"].min()),
        "every_example_once": bool((other["covered"] == len(one[signals[0]])).all()),
        "loss": gaps["losses"], "gradient": gaps["gradients"],
        "largest_gradient": float(np.abs(one["gradients"]).max()),
        "signals": max(float(np.abs(one[name] - other[name]).max()) for name in signals),
    }  # fmt: skip


def table(results: list[dict]) -> str:
    rows = []
    for _, group in itertools.groupby(results, key=lambda r: r["weights"]):
        for r in group:
            how = f"{r['processes']}{', in pieces' if r['sharded'] else ''}"
            gaps = [f"{r[name]:.1e}" for name in ("loss", "gradient", "signals")]
            rows.append([r["weights"], how, str(r["micro_batch"]), *gaps, "yes" if r["every_example_once"] else "NO"])
    return markdown(["weights", "processes", "micro-batch", "loss", "gradient", "signals", "every example once"], rows)


if __name__ == "__main__":
    main()
