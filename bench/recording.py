"""What recording costs: on against off, alternated every 20 steps inside one process.

    python bench/recording.py [--pairs 24] [--toy]

MiniLM on tweets cut at 32 tokens, all of that length, so that every step costs the same. A block is one epoch of 20
steps of 32; on: outcomes of every example, the file of the period written; off: the reduced training loss only. Blocks
come in pairs, on first in every second one. Writes the median ratio on/off with its bootstrap interval, by wall time
and by the time of the processor, and bytes per example and epoch, to bench/results/recording.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import polars as pl
from common import data_directory, machine, markdown, write_json

from leadline.data.examples import Examples, with_hashes
from leadline.experiment import accelerate
from leadline.learn import models
from leadline.learn.loop import Fit, Material
from leadline.learn.recorder import Recorder
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.plans.epoch import everything
from leadline.recipe import Record, Training

STEPS, BATCH, LENGTH = 20, 32, 32


class Alternating(Fit):
    """A Fit that records in some epochs only, and times each."""

    def _whole_epoch(self, number: int) -> None:
        recorder, on = self.recorder, bool(self.schedule_of_blocks[number])
        self.recorder = recorder if on else None
        wall, processor = time.perf_counter(), time.process_time()
        super()._whole_epoch(number)
        self.blocks.append((on, time.perf_counter() - wall, time.process_time() - processor))
        self.recorder = recorder


def alternating(pairs: int) -> list[int]:
    """on, off, off, on, on, off, …: whatever drifts meets both alike. Two blocks first to warm up."""
    return [0, 1, *(block for pair in range(pairs) for block in ((1, 0) if pair % 2 == 0 else (0, 1)))]


def fit(toy: bool, pairs: int, directory: Path) -> Alternating:
    n = (2 if toy else STEPS) * BATCH
    if toy:
        texts, names = ["word " * 40] * n, ["no", "yes"]
        y = np.arange(n) % 2
    else:
        table = pl.read_csv(data_directory() / "disaster" / "train.csv")
        texts, names = table["text"].cast(pl.String).to_list(), ["0", "1"]
        y = table["label"].to_numpy()
    model, tokenizer = models.load("tiny" if toy else "minilm", names, texts[:100], 0, LENGTH)
    task = Classification(TextEncoder(tokenizer, ["text"], LENGTH))
    encoded = task.encode([{"text": text} for text in texts])
    rows = [i for i, row in enumerate(encoded) if task.length(row) == LENGTH][:n]
    assert len(rows) == n, f"only {len(rows)} texts of {LENGTH} tokens"
    columns = {"_id": [str(i) for i in rows], "_split": ["train"] * n, "_label": [names[y[i]] for i in rows]}
    examples = with_hashes(Examples(pl.DataFrame(columns), inputs=(), classes=tuple(names)))
    recorder = Recorder.of(examples, directory / "signals", {"mode": "online"})
    material = Material([encoded[i] for i in rows], y[rows], np.full(n, LENGTH), np.ones(n), 2)
    blocks = alternating(pairs)
    training = Training(epochs=len(blocks), batch_size=BATCH, max_length=LENGTH, log_every=10**9)
    made = Alternating(
        model, task, material, everything(n), training, 1e-6, accelerate("auto"), None, recorder, Record()
    )
    made.schedule_of_blocks, made.blocks = blocks, []
    return made


def ratio(blocks: list[tuple[bool, float, float]], column: int) -> dict[str, float]:
    """Median over pairs of on / off, with a 95 % percentile bootstrap interval over pairs."""
    timed = blocks[2:]
    each = []
    for a, b in zip(timed[::2], timed[1::2], strict=True):
        on, off = (a, b) if a[0] else (b, a)
        each.append(on[column] / off[column])
    rng = np.random.default_rng(0)
    draws = np.median(rng.choice(each, size=(10_000, len(each))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": float(np.median(each)), "low": float(low), "high": float(high), "n": len(each), "each": each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "recording.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trial = fit(options.toy, options.pairs, Path(scratch))
        trial.run()
        files = sorted((Path(scratch) / "signals").glob("*.arrow"))
        size = files[-1].stat().st_size / len(trial.material.lengths)
    found = {"wall": ratio(trial.blocks, 1), "processor": ratio(trial.blocks, 2)}
    seconds = float(np.median([wall for on, wall, _ in trial.blocks[2:] if not on]))
    write_json(options.out, {"machine": machine(), "steps_per_block": STEPS, "batch": BATCH, "tokens": LENGTH,
                             "seconds_per_block_off": seconds, "bytes_per_example_epoch": size, **found})  # fmt: skip
    rows = [[name, f"{r['value']:.4f}", f"{r['low']:.4f} to {r['high']:.4f}", str(r["n"])] for name, r in found.items()]
    print(markdown(["time", "on / off, median", "95 % interval", "pairs"], rows))
    print(f"{size:.1f} bytes per example and epoch; a block takes {seconds:.2f} s without recording")


if __name__ == "__main__":
    main()
