"""What mixing costs: a step, an epoch, and a whole training beside the reference's shape.

    python bench/mixup_speed.py [--n 800] [--repeats 30] [--data spam] [--only steps|epochs|training] [--toy]

Step: the same 32 texts, plain and mixed in turns, in one run, MiniLM in the precision of the machine; mixed at the
sentence vector, the embeddings and between layers, without a record and with one of clean outcomes; and by two
passes, one for the anchors and one for the partners. Only the optimiser step is timed, once with texts of equal
length, once with texts as they come: a text mixed of two has the tokens of the longer one. Epoch: all rows, plain and
mixed in turns, packed as the engine does on a processor, and in buckets of similar length. Training: a mixed epoch of
the engine, in its own precision and in float32, in turns with a plain loop in the shape of the reference (two passes,
every text padded to max_length, float32, torch's AdamW). Ratios of times, medians over pairs with 95 % bootstrap
intervals. Writes bench/results/mixup_speed.json; with --only a part of it anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import machine, markdown, write_json
from throughput import BATCH, LENGTH, Data, network

from leadline import Recorder
from leadline.experiment import accelerate
from leadline.learn import loop, models
from leadline.learn.interpolate import Mixed, Pairing, Run
from leadline.learn.loop import Fit, Material
from leadline.learn.mixing import Mixing
from leadline.learn.tasks.batch import Batch
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.plans import mix
from leadline.plans.epoch import Epoch
from leadline.recipe import Mixup, Record, Training

EQUAL = 32  # tokens of each text where all have the same length
WARM = 2  # pairs that are not counted


class Timed(Fit):
    """Notes how long every optimiser step takes."""

    def _step(self, *args: Any) -> Any:
        began = time.perf_counter()
        done = super()._step(*args)
        self.__dict__.setdefault("step_seconds", []).append(time.perf_counter() - began)
        return done


class TwoPasses:
    """The obvious way: anchors through the model, then partners, then the head on what is between."""

    free = False

    def __init__(self, model: Any):
        self.head, self.heard = models.head(model), []
        self.hook = self.head.register_forward_pre_hook(lambda module, args: self.heard.append(args[0].float()))

    def __call__(self, run: Run, batch: Batch, pairing: Pairing, step: int, clean: str) -> Mixed:
        self.heard = []
        for rows in (pairing.anchor, pairing.partner):
            run(Batch({name: value[rows] for name, value in batch.inputs.items()}, None))
        first, second = self.heard
        lam = pairing.lam.float().view(-1, *[1] * (first.ndim - 1))
        return Mixed(self.head(lam * first + (1 - lam) * second), None)

    def close(self) -> None:
        self.hook.remove()


class TwoPassFit(Timed):
    def _mixing(self) -> Mixing:
        return Mixing(TwoPasses(self.model), self.task, consistency=0.0, recorded=False, packer=self.packer)


def in_turns(n: int, seed: int = 0) -> Callable[[int], Epoch]:
    """Even epochs plain, odd ones mixed: the same rows."""
    rows = np.arange(n)

    def plan(number: int) -> Epoch:
        if number % 2 == 0:
            return Epoch(rows)
        rng = np.random.default_rng([seed, number])
        pairs = mix.shuffled(rows, rng)
        return Epoch(pairs.anchors, pairs.partners, rng.beta(1, 1, len(rows)))

    return plan


def timed(
    data: Data,
    options: argparse.Namespace,
    where: str,
    epochs: int,
    *,
    length: int = LENGTH,
    recorded: bool = False,
    precision: str = "auto",
    packed: bool = True,
) -> np.ndarray:
    """(epochs,) seconds that the steps of plain and mixed epochs took, in turns."""
    model, tokenizer = network("tiny" if options.toy else "minilm", data, 0, ours=True)
    task = Classification(TextEncoder(tokenizer, ["text"], length))
    encoded, n = task.encode([{"text": text} for text in data.texts]), len(data.texts)
    lengths = np.array([task.length(row) for row in encoded])
    kind = TwoPassFit if where == "two passes" else Timed
    with tempfile.TemporaryDirectory() as scratch, layout(packed):
        labels = [data.classes[k] for k in data.y]
        recorder = Recorder(range(n), labels, classes=data.classes, to=Path(scratch) / "r") if recorded else None
        fit = kind(
            model, task, Material(encoded, data.y, lengths, np.ones(n), len(data.classes)), in_turns(n),
            Training(epochs=epochs, batch_size=BATCH, max_length=LENGTH, log_every=10**6), 5e-5, accelerate(precision),
            recorder=recorder, record=Record(under_mixup=True) if recorded else None,
            mixup=None if where in ("sentence", "two passes") else Mixup(where=where, pairing=["random"]),
        )  # fmt: skip
        fit.run()
    return np.array(fit.step_seconds).reshape(epochs, -1).sum(1)


@contextlib.contextmanager
def layout(packed: bool) -> Iterator[None]:
    """Inside, texts are packed where the engine packs, or padded to those of similar length."""
    own = loop.packing.packed
    try:
        if not packed:
            loop.packing.packed = lambda *_: contextlib.nullcontext()
        yield
    finally:
        loop.packing.packed = own


def ratio(seconds: np.ndarray) -> dict[str, Any]:
    """Mixed over plain, pair by pair: the median and its bootstrap interval."""
    each = (seconds[1::2] / seconds[::2])[WARM:]
    drawn = np.median(np.random.default_rng(0).choice(each, (2000, len(each))), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"ratio": float(np.median(each)), "low": float(low), "high": float(high), "pairs": len(each),
            "plain_seconds": float(np.median(seconds[::2][WARM:]))}  # fmt: skip


def reference(data: Data, options: argparse.Namespace) -> float:
    """Seconds of a mixed epoch in the reference's shape."""
    model, tokenizer = network("tiny" if options.toy else "minilm", data, 0, ours=False)
    tokens = tokenizer(data.texts, truncation=True, max_length=LENGTH, padding="max_length", return_tensors="pt")
    y, two = torch.from_numpy(data.y), TwoPasses(model.train())
    optimiser, rng = torch.optim.AdamW(model.parameters(), lr=5e-5), np.random.default_rng(0)
    order = rng.permutation(len(y))
    began = time.perf_counter()
    for at in range(0, len(y) - BATCH + 1, BATCH):
        rows, others = order[at : at + BATCH], rng.permutation(len(y))[:BATCH]
        lam = float(rng.beta(1, 1))
        both = Batch({name: value[np.concatenate([rows, others])] for name, value in tokens.items()}, None)
        place = torch.arange(BATCH)
        logits = two(
            lambda b: model(**b.inputs), both, Pairing(place, place + BATCH, torch.full((BATCH,), lam)), 0, "no"
        )
        loss = torch.nn.functional.cross_entropy
        (lam * loss(logits.logits, y[rows]) + (1 - lam) * loss(logits.logits, y[others])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return (time.perf_counter() - began) / (len(y) // BATCH * BATCH) * len(y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--data", default="spam")
    parser.add_argument("--only", choices=list(PARTS), default=None)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mixup_speed.json")
    options = parser.parse_args()
    if options.toy:
        options.n, options.repeats = 64, 1
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as scratch:
        data = Data(options, Path(scratch))
        found = json.loads(options.out.read_text()) if options.only and options.out.is_file() else {}
        for part in [options.only] if options.only else PARTS:
            found[part] = PARTS[part](data, options)
    write_json(options.out, found | {"machine": machine(), "n": options.n, "batch": BATCH, "max_length": LENGTH})
    print(table(found | {"n": options.n}))


def steps(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    found = {}
    ways = [("sentence", False), ("sentence", True), ("embedding", False), ("embedding", True), ("layer", False),
            ("layer", True), ("two passes", False)]  # fmt: skip
    kinds = {"equal": (equal(data), EQUAL), "as they come": (data.head(BATCH), LENGTH)}
    for lengths, (few, length) in kinds.items():
        for where, recorded in ways if not options.toy else [ways[0], ways[5], ways[6]]:
            seconds = timed(few, options, where, 2 * (options.repeats + WARM), recorded=recorded, length=length)
            found[f"{where}{', clean outcomes recorded' if recorded else ''}; lengths {lengths}"] = ratio(seconds)
            print(where, recorded, lengths, flush=True)
    return found


def equal(data: Data) -> Data:
    """32 texts that are all longer than EQUAL tokens, to be cut there."""
    few = data.head(BATCH)
    few.texts = [" ".join(data.texts[i * 8 % len(data.texts) :][:8] * 4) for i in range(BATCH)]
    return few


def epochs(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    found, pairs = {}, 1 if options.toy else 5
    for where in ("sentence",) if options.toy else ("sentence", "embedding", "layer"):
        for packed in (True, False):
            name = f"{where}, {'packed' if packed else 'in buckets'}"
            found[name] = ratio(timed(data, options, where, 2 * (pairs + WARM), packed=packed))
            print(name, flush=True)
    return found


def training(data: Data, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of a mixed epoch, the ways in turns: {way: a value per round}."""
    times: dict[str, list[float]] = {"reference": [], "auto": [], "fp32": []}
    for _ in range(1 if options.toy else 4):
        times["reference"].append(reference(data, options))
        for precision in ("auto", "fp32"):
            seconds = timed(data, options, "sentence", 4, precision=precision)
            times[precision].append(float(seconds[3]))  # the second mixed epoch
    return times


PARTS: dict[str, Callable[[Data, argparse.Namespace], dict[str, Any]]] = {
    "steps": steps,
    "epochs": epochs,
    "training": training,
}


def _range(x: np.ndarray) -> str:
    return f"{np.median(x):.1f} ({x.min():.1f} to {x.max():.1f})"


def table(found: dict[str, Any]) -> str:
    def line(name: str, r: dict[str, Any], n: int) -> list[str]:
        spread = f"{r['ratio']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"
        return [name, spread, str(r["pairs"]), f"{n / r['plain_seconds']:.0f}"]

    head = ["one step of 32, mixed at", "mixed / plain", "pairs", "plain examples/s"]
    steps = markdown(head, [line(name, r, BATCH) for name, r in found["steps"].items()])
    n = found.get("n", 0)
    epochs = [line(name, r, n) for name, r in found["epochs"].items()] if n else []
    second = markdown(["a whole epoch, mixed at", *head[1:]], epochs) if epochs else ""
    reference = np.array(found["training"]["reference"])
    third = markdown(
        ["a mixed epoch", "rounds", "seconds, median", "times faster than the reference's shape, median (range)"],
        [
            [name, str(len(t)), f"{np.median(t):.1f}", _range(reference / np.array(t))]
            for name, t in found["training"].items()
        ],
    )
    return "\n\n".join(part for part in (steps, second, third) if part)


if __name__ == "__main__":
    main()
