"""A simulated run of any size, drawn block by block: what the benches of scale read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leadline import signals
from leadline.data.examples import METADATA_KEY

BLOCK = 200_000
WORDS = "the a of harbour rope lead depth chart sailor not where water deep trust measured weight".split()


def logits_of(n: int, epochs: int = 5, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """((E, N, K) float32, (N,) gold): logits that drift to the label, some slowly, some away from it."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, classes, n)
    drift = rng.normal(1.1, 0.9, n)
    logits = rng.normal(0, 0.35, (epochs, n, classes)).cumsum(axis=0)
    logits[:, np.arange(n), gold] += drift * np.arange(1, epochs + 1)[:, None] * 0.6
    return logits.astype(np.float32), gold


def write_run(path: Path, n: int, epochs: int = 5, classes: int = 2, texts: bool = False, seed: int = 0) -> None:
    """A minimal run directory: examples.parquet and signals/. Ids are row numbers; `texts` adds sentences."""
    names = [chr(ord("a") + k) for k in range(classes)]
    path.mkdir(parents=True)
    gold = np.empty(n, dtype=np.int8)
    records = [_blank(n, classes) for _ in range(epochs)]
    for number, start in enumerate(range(0, n, BLOCK)):
        rows = slice(start, min(start + BLOCK, n))
        logits, gold[rows] = logits_of(rows.stop - start, epochs, classes, seed=1000 * seed + number)
        for record, z in zip(records, logits, strict=True):
            record["logits"][rows] = z
            for name, values in signals.outcome(z, gold[rows]).items():
                record[name][rows] = values
    for epoch, record in enumerate(records, start=1):
        signals.write_period(path / "signals", epoch, record, {"mode": "online", "classes": names})
    _write_examples(path, gold, names, texts, seed)


def _blank(n: int, classes: int) -> dict[str, np.ndarray]:
    record = {name: np.zeros(n, dtype=kind) for name, kind in signals.FIELDS.items()}
    record["trained"][:] = record["recorded"][:] = True
    return record | {"logits": np.zeros((n, classes), dtype=np.float32)}


def _write_examples(path: Path, gold: np.ndarray, names: list[str], texts: bool, seed: int) -> None:
    inputs = ["text"] if texts else []
    about = f'{{"format": 1, "task": "classification", "inputs": {inputs}, "classes": {names}}}'.replace("'", '"')
    fields = [("_id", pa.string()), ("_split", pa.string()), ("_label", pa.string()), ("_input_hash", pa.int64())]
    fields += [("_label_hash", pa.int64()), *((name, pa.string()) for name in inputs)]
    schema = pa.schema(fields, metadata={METADATA_KEY: about.encode()})
    rng, words = np.random.default_rng(seed), np.array(WORDS)
    with pq.ParquetWriter(path / "examples.parquet", schema) as writer:
        for start in range(0, len(gold), BLOCK):
            part = gold[start : start + BLOCK]
            rows, n = np.arange(start, start + len(part)), len(part)
            label = pa.DictionaryArray.from_arrays(pa.array(part), pa.array(names)).cast(pa.string())
            ids, split = pa.array(rows).cast(pa.string()), pa.array(["train"]).take(pa.array(np.zeros(n, dtype=int)))
            hashes = [pa.array(rows * 7919 + 1), pa.array(rows * 104729 + 1)]
            said = (
                [pa.array([" ".join(words[rng.integers(0, 16, k)]) for k in rng.integers(8, 30, n)])] if texts else []
            )
            writer.write_table(pa.table([ids, split, label, *hashes, *said], schema=schema))
