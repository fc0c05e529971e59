"""Speed of training beside transformers.Trainer: same model, data, epochs, optimiser step and longest input; without
evaluation.

    python bench/throughput.py [--n 800] [--seeds 3] [--only minilm] [--data spam] [--toy]

Every training is a process of its own, warmed up by 64 rows in the same way; the ways take turns seed by seed.
`Trainer`: its defaults (float32, dynamic padding, random order, fused AdamW). `Trainer, padded`: every text padded to
max_length, as the run_classification example does by default. leadline as it comes, and once without each of its
levers and without all. Macro F1 on held-out rows says whether the faster way learns as well. Models: MiniLM (6 layers
of 384), and a BERT of 4 layers of 384 with random weights and MiniLM's tokenizer.
Writes bench/results/throughput.json.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import polars as pl
import torch
import transformers
from common import data_directory, machine, markdown, write_json

from leadline.demo import write_demo
from leadline.evaluate import mean_interval, metrics
from leadline.experiment import accelerate
from leadline.learn import loop, models
from leadline.learn.loop import Fit, Material
from leadline.learn.predict import predict
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.plans.epoch import everything
from leadline.recipe import Training
from leadline.signals import softmax

LENGTH, BATCH = 128, 32
LEVERS = {  # what is on in each way of ours
    "leadline": {"packing", "bf16", "dropout", "memory"},
    "leadline, similar lengths instead of packing": {"buckets", "bf16", "dropout", "memory"},
    "leadline, similar lengths, torch's dropout": {"buckets", "bf16", "memory"},
    "leadline, memory given back": {"packing", "bf16", "dropout"},
    "leadline, random order, padded": {"bf16", "dropout", "memory"},
    "leadline, float32": {"packing", "dropout", "memory"},
    "leadline without any of these": set(),
}
PEERS = {"Trainer": False, "Trainer, padded": True}


class Data:
    """Train and test texts with labels, tokenised once for our side."""

    def __init__(self, options: argparse.Namespace, scratch: Path):
        if options.toy:
            truth = write_demo(scratch / "toy.csv", n=options.n, n_test=100)
            train, test = pl.read_csv(truth.train), pl.read_csv(truth.test)
        else:
            folder = data_directory() / options.data
            train = pl.read_csv(folder / "train.csv").sample(options.n, seed=0, shuffle=True)
            test = pl.read_csv(folder / "test.csv").head(600)
        self.classes = sorted(set(train["label"].cast(pl.String)))
        self.texts, self.test_texts = (t["text"].cast(pl.String).to_list() for t in (train, test))
        index = {name: k for k, name in enumerate(self.classes)}
        self.y, self.test_y = (np.array([index[v] for v in t["label"].cast(pl.String)]) for t in (train, test))

    def head(self, n: int) -> Data:
        few = copy.copy(self)
        few.texts, few.y = self.texts[:n], self.y[:n]
        return few


def network(name: str, data: Data, seed: int, ours: bool) -> tuple[Any, Any]:
    """(model, tokenizer); ours with its head in float32, the Trainer's as transformers has it."""
    model, tokenizer = models.load("tiny" if name == "tiny" else "minilm", data.classes, data.texts, seed, LENGTH)
    torch.manual_seed(seed)
    labels = models._labels(data.classes)
    if name == "bert4":
        config = transformers.BertConfig(
            vocab_size=len(tokenizer), hidden_size=384, num_hidden_layers=4, num_attention_heads=12,
            intermediate_size=1536, pad_token_id=tokenizer.pad_token_id, **labels,
        )  # fmt: skip
        model = transformers.BertForSequenceClassification(config)
        if ours:
            models.head_in_float32(model)
    elif not ours:
        fresh = transformers.AutoModelForSequenceClassification
        state = model.state_dict()
        model = fresh.from_config(model.config)
        model.load_state_dict(state)
    return model, tokenizer


def score(model: Any, tokenizer: Any, data: Data) -> float:
    task = Classification(TextEncoder(tokenizer, ["text"], LENGTH))
    found = predict(model, task, task.encode([{"text": t} for t in data.test_texts]), data.test_y, torch.device("cpu"))
    return metrics(data.test_y, softmax(found["logits"]), data.classes, ["macro_f1"])["macro_f1"]


def ours(name: str, data: Data, seed: int, epochs: int, rate: float, levers: set[str]) -> tuple[float, float]:
    model, tokenizer = network(name, data, seed, ours=True)
    task = Classification(TextEncoder(tokenizer, ["text"], LENGTH))
    encoded = task.encode([{"text": text} for text in data.texts])
    n = len(encoded)
    lengths = np.array([task.length(row) for row in encoded]) if "buckets" in levers else np.ones(n, dtype=int)
    training = Training(epochs=epochs, batch_size=BATCH, max_length=LENGTH, seed=seed, warmup=0.0, weight_decay=0.0)
    accelerator = accelerate("bf16" if "bf16" in levers else "fp32")
    material = Material(encoded, data.y, lengths, np.ones(n), len(data.classes))
    fit = Fit(model, task, material, everything(n), training, rate, accelerator)
    with contextlib.ExitStack() as around:
        if "memory" not in levers:
            kept, loop.memory.kept = loop.memory.kept, lambda *_: contextlib.nullcontext()
            around.callback(setattr, loop.memory, "kept", kept)
        if "packing" not in levers:
            packed, loop.packing.packed = loop.packing.packed, lambda *_: contextlib.nullcontext()
            around.callback(setattr, loop.packing, "packed", packed)
        if "dropout" not in levers:
            quick, loop.dropout.quick = loop.dropout.quick, lambda *_: contextlib.nullcontext()
            around.callback(setattr, loop.dropout, "quick", quick)
        began = time.perf_counter()
        fit.run()
        seconds = time.perf_counter() - began
    return epochs * n / seconds, score(model.float(), tokenizer, data)


def peer(name: str, data: Data, seed: int, epochs: int, rate: float, padded: bool) -> tuple[float, float]:
    model, tokenizer = network(name, data, seed, ours=False)
    how = {"truncation": True, "max_length": LENGTH, "padding": "max_length" if padded else False}
    encoded = tokenizer(data.texts, **how)
    rows = [
        {**{key: values[i] for key, values in encoded.items()}, "labels": int(data.y[i])}
        for i in range(len(data.texts))
    ]
    with tempfile.TemporaryDirectory() as directory:
        arguments = transformers.TrainingArguments(
            output_dir=directory, num_train_epochs=epochs, per_device_train_batch_size=BATCH, learning_rate=rate,
            seed=seed, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    return epochs * len(rows) / seconds, score(model, tokenizer, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default="spam")
    parser.add_argument("--only", default="minilm,bert4")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "throughput.json")
    options = parser.parse_args()
    if options.toy:
        options.n, options.only, options.epochs, options.seeds = 96, "tiny", 1, 1
    transformers.logging.set_verbosity_error()
    if options.work:
        name, way, seed = options.work
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(trained(name, way, int(seed), Data(options, Path(scratch)), options.epochs)))
        return
    results = []
    for name in options.only.split(","):
        for seed in range(options.seeds):
            for way in ["leadline", "Trainer"] if options.toy else ways(seed):
                results.append({"model": name, "way": way, "seed": seed, **alone(name, way, seed, options)})
                print(json.dumps(results[-1]), flush=True)
    found = {"machine": machine(), "data": options.data, "n": options.n, "epochs": options.epochs, "batch": BATCH,
             "max_length": LENGTH, "bf16_native": models.precision("auto", torch.device("cpu")) == "bf16"}  # fmt: skip
    write_json(options.out, {**found, "results": results, "ratios": ratios(results)})
    print(table(results))


def ways(seed: int) -> list[str]:
    """The ways of training, in an order that turns round from seed to seed; what a lever brings is measured once."""
    chosen = [*LEVERS, *PEERS] if seed == 0 else ["leadline", *PEERS]
    return chosen[::-1] if seed % 2 else chosen


def trained(name: str, way: str, seed: int, data: Data, epochs: int) -> dict[str, float]:
    """One training, after a short one of the same kind."""
    rate = 5e-5 if name == "minilm" else 5e-4

    def train(part: Data, epochs: int) -> tuple[float, float]:
        if way in PEERS:
            return peer(name, part, seed, epochs, rate, PEERS[way])
        return ours(name, part, seed, epochs, rate, LEVERS[way])

    train(data.head(64), 1)
    speed, f1 = train(data, epochs)
    return {"examples_per_second": speed, "macro_f1": f1}


def alone(name: str, way: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """`trained` in a process of its own."""
    numbers = {"--n": options.n, "--epochs": options.epochs, "--data": options.data}
    arguments = [str(x) for pair in numbers.items() for x in pair] + (["--toy"] if options.toy else [])
    command = [sys.executable, __file__, *arguments, "--work", name, way, str(seed)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def ratios(results: list[dict]) -> dict[str, dict[str, float]]:
    """leadline's examples per second over those of every other way: the median over seeds, each paired in its seed."""
    found: dict[str, dict[str, float]] = {}
    speeds = {(r["model"], r["way"], r["seed"]): r["examples_per_second"] for r in results}
    for model, way in dict.fromkeys((r["model"], r["way"]) for r in results):
        seeds = [r["seed"] for r in results if (r["model"], r["way"]) == (model, way)]
        each = [speeds[model, "leadline", s] / speeds[model, way, s] for s in seeds]
        found.setdefault(model, {})[way] = statistics.median(each)
    return found


def table(results: list[dict]) -> str:
    rows, quotients = [], ratios(results)
    for model, way in dict.fromkeys((r["model"], r["way"]) for r in results):
        mine = [r for r in results if (r["model"], r["way"]) == (model, way)]
        speeds = [r["examples_per_second"] for r in mine]
        mean, low, high = mean_interval([r["macro_f1"] for r in mine])
        f1 = f"{mean:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low == low else "")
        spread = f"{statistics.median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f})"
        rows.append([model, way, spread, f"{quotients[model][way]:.2f}", f1])
    return markdown(
        ["model", "way", "examples/s, median (range)", "leadline is faster by", "macro F1 [95 % t-interval]"], rows
    )


if __name__ == "__main__":
    main()
