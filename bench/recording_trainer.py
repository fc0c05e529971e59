"""What the two lines in transformers.Trainer cost: recording on against off, within one training.

    python bench/recording_trainer.py [--pairs 24] [--toy]

MiniLM on the spam set, batches of 32 padded to their longest text. Every block of 20 batches is trained twice in a row,
once with and once without record, the order swapped from pair to pair: both members of a pair see the same batches, one
right after the other. Off = the loss of transformers' own Trainer, no row index in the batch. The first pair warms up
and is left out. Processor time stands beside wall time; the ratio on / off is a median over pairs with a 95 % bootstrap
interval. Writing the period at the end of an epoch is timed apart. Writes bench/results/recording_trainer.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import polars as pl
import transformers
from common import data_directory, machine, markdown, write_json

from leadline.demo import write_demo
from leadline.integrations.recording import Observer
from leadline.integrations.rows import ROWS, Collate, Fetched, read
from leadline.learn import models

BLOCK = 20  # steps
BATCH = 32
SWAPPED = (False, True, True, False)  # is the record on: pairs (off, on), (on, off), and again


def is_on(step: int) -> bool:
    return SWAPPED[step // BLOCK % len(SWAPPED)]


class Alternating:
    """The observer's collator in the blocks that record, the user's own in the others."""

    def __init__(self, collate: Collate):
        self.collate = collate
        self.batches = 0

    def __call__(self, fetched: Fetched) -> Any:
        on = is_on(self.batches)
        self.batches += 1
        return self.collate(fetched) if on else self.collate.collator(fetched.data)


class Timed(Observer):
    """The observer of `record`, which lets batches without rows pass, and a clock at the end of every step."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.clock: list[tuple[float, float]] = []  # (wall, processor) at the end of each step
        self.writing = 0.0

    def get_dataloader(self, *given: Any, **named: Any) -> Any:
        loader = super().get_dataloader(*given, **named)
        loader.base_dataloader.collate_fn = Alternating(loader.base_dataloader.collate_fn)
        return loader

    def training_step(self, inner: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        if ROWS not in inputs:
            return inner(model, inputs, *rest, **named)
        return super().training_step(inner, model, inputs, *rest, **named)

    def on_train_begin(self, *given: Any, **named: Any) -> None:
        self.clock.append((time.perf_counter(), time.process_time()))

    def on_step_end(self, *given: Any, **named: Any) -> None:
        self.clock.append((time.perf_counter(), time.process_time()))

    def on_epoch_end(self, *given: Any, **named: Any) -> None:
        began = time.perf_counter()
        super().on_epoch_end(*given, **named)
        self.writing = time.perf_counter() - began


def train(options: argparse.Namespace, directory: Path) -> Timed:
    """One epoch over the blocks, each twice in a row."""
    if options.toy:
        file, name = Path(write_demo(directory / "toy.csv", n=300).train), "tiny"
    else:
        file, name = data_directory() / "spam" / "train.csv", "minilm"
    table = pl.read_csv(file)
    texts, labels = table["text"].to_list(), table["label"].cast(pl.String).to_list()
    classes = sorted(set(labels))
    network, tokenizer = models.load(name, classes, texts, max_length=64)
    order = np.random.default_rng(0).permutation(len(texts))
    chosen = np.resize(order, (options.pairs + 1, BLOCK * options.batch)).repeat(2, axis=0).reshape(-1)
    encoded = dict(tokenizer(texts, truncation=True, max_length=64))
    whole = datasets.Dataset.from_dict({**encoded, "label": [classes.index(label) for label in labels]})
    arguments = transformers.TrainingArguments(
        output_dir=str(directory / "out"), num_train_epochs=1, per_device_train_batch_size=options.batch,
        train_sampling_strategy="sequential", save_strategy="no", logging_strategy="no", report_to="none",
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, learning_rate=5e-5,
    )  # fmt: skip
    trainer = transformers.Trainer(network, arguments, train_dataset=whole.select(chosen), processing_class=tokenizer)
    observer = Timed(trainer, read(trainer.train_dataset, network, classes=classes), directory / "run")
    observer.attach()
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return observer


def ratios(seconds: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """seconds (pairs, 2, BLOCK) of the steps, off and on: on / off of whole blocks and of single steps."""
    blocks = seconds.sum(-1)
    by_block = blocks[:, 1] / blocks[:, 0]
    by_step = np.median(seconds[:, 1] / seconds[:, 0], axis=-1)
    rng = np.random.default_rng(seed)
    found = {}
    for name, values in (("by_block", by_block), ("by_step", by_step)):
        drawn = np.median(rng.choice(values, (10_000, len(values))), axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        found[name] = {
            "median": float(np.median(values)),
            "low": float(low),
            "high": float(high),
            "pairs": values.tolist(),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "recording_trainer.json")
    options = parser.parse_args()
    if options.toy:
        options.pairs, options.batch = 3, 4
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        observer = train(options, Path(scratch))
        size = sum(file.stat().st_size for file in (Path(scratch) / "run" / "signals").glob("*.arrow"))
    steps = np.diff(np.array(observer.clock), axis=0)  # (steps, 2)
    pairs = steps.reshape(-1, 2, BLOCK, 2)[1:]  # the first warms up
    for pair in range(len(pairs)):
        if is_on(2 * BLOCK * (pair + 1)):
            pairs[pair] = pairs[pair, ::-1]
    result: dict[str, Any] = {
        "machine": machine(), "block": BLOCK, "batch": options.batch, "pairs": len(pairs),
        "seconds_off": float(pairs[:, 0, :, 0].sum()), "seconds_on": float(pairs[:, 1, :, 0].sum()),
        "wall": ratios(pairs[..., 0]), "processor": ratios(pairs[..., 1]),
        "end_epoch_seconds": observer.writing, "examples_in_epoch": len(observer.rows), "signal_bytes": size,
    }  # fmt: skip
    write_json(options.out, result)
    rows = [
        [clock, way, *(f"{result[clock][way][name]:.4f}" for name in ("median", "low", "high"))]
        for clock in ("processor", "wall")
        for way in ("by_block", "by_step")
    ]
    print(markdown(["time", "compared", "on / off", "95 % from", "to"], rows))
    print(f"{len(pairs)} pairs; the period of {len(observer.rows):,} examples was written in {observer.writing:.3f} s")


if __name__ == "__main__":
    main()
