"""Are two runs the same to the bit? What a resumed run is held against: an undisturbed one."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

TIMES = {  # fields that say how long something took, or how much memory the process had
    "seconds", "examples_per_second", "train_seconds", "evaluate_seconds", "inference_examples_per_second",
    "peak_memory_mb", "peak_gpu_memory_mb", "total",
}  # fmt: skip


def differences(a: Path, b: Path) -> list[str]:
    """A sentence for everything in which the runs at `a` and `b` differ; time fields apart."""
    found = []
    files = {path.relative_to(a) for path in a.rglob("*") if path.is_file()}
    others = {path.relative_to(b) for path in b.rglob("*") if path.is_file()}
    found += [f"{name} is in one of the two only" for name in sorted(files ^ others)]
    for name in sorted(files & others):
        if name.suffix in (".arrow", ".safetensors") and (a / name).read_bytes() != (b / name).read_bytes():
            found.append(f"{name}: other bytes")
        if name.suffix == ".parquet" and not pl.read_parquet(a / name).equals(pl.read_parquet(b / name)):
            found.append(f"{name}: other rows")
    if json.loads((a / "results.json").read_text()) != json.loads((b / "results.json").read_text()):
        found.append("results.json: other results")
    if events(a) != events(b):
        found.append("metrics.jsonl: other events")
    return found


def events(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in event.items() if name not in TIMES} for event in lines]
