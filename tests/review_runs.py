"""Runs made by hand for the tests of review and clean: no training, known places of wrong labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import runs, signals
from leadline.data import load as loading
from leadline.data.examples import Examples, fingerprint, with_hashes
from leadline.recipe import load
from leadline.runs import Run


def logits_of(gold: np.ndarray, k: int, epochs: int = 4) -> np.ndarray:
    """(E, N, K): every fifth example speaks for another class, the more so the earlier it stands; no two are alike."""
    n = len(gold)
    z = np.zeros((epochs, n, k))
    strength = np.linspace(2.0, 1.0, n) * np.where(np.arange(n) % 5 == 0, -1.0, 1.0)
    for epoch in range(epochs):
        z[epoch, np.arange(n), gold] = strength * (1 + 0.3 * epoch)
        z[epoch, np.arange(n), (gold + 1) % k] += 0.05
    return z


def write_signals(path: Path, train: Examples, k: int, logits: bool = True) -> None:
    for number, z in enumerate(logits_of(np.asarray(train.gold, dtype=np.int64), k), start=1):
        more = {"logits": z.astype(np.float32)} if logits else {}
        columns = signals.complete(signals.outcome(z, train.gold), **more)
        signals.write_period(path / "signals", number, columns, {"mode": "online", **fingerprint(train)})


def minimal_run(
    path: Path,
    texts: Mapping[str, Sequence[str]] | None,
    n: int = 30,
    classes: Sequence[str] = ("ham", "junk", "spam"),
    ids: Sequence[str] | None = None,
    logits: bool = True,
) -> Run:
    """Examples and signals without a recipe; texts {column: (n,)} or none."""
    names = [classes[i % len(classes)] for i in range(n)]
    columns: dict[str, Any] = {"_id": list(ids or [f"e{i:03d}" for i in range(n)]), "_split": ["train"] * n}
    columns |= {name: list(values) for name, values in (texts or {}).items()}
    examples = Examples(pl.DataFrame(columns | {"_label": names}), inputs=tuple(texts or ()), classes=tuple(classes))
    path.mkdir(parents=True)
    with_hashes(examples).write(path / "examples.parquet")
    write_signals(path, with_hashes(examples), len(classes), logits)
    return Run(path)


def recipe_run(path: Path, task: str = "classification", **data: Any) -> Run:
    """A run with a recipe over real files, its examples read as training reads them, with predictions of the test."""
    recipe = load({"task": task, "data": data, "model": "tiny"})
    examples = loading.load(recipe.data, recipe.task)
    claimed = runs.create(recipe, examples, {"key": "abc"}, "abc", path.name, path.parent)
    claimed.lock.close()
    write_signals(path, examples.split("train"), len(examples.classes))
    for split in set(examples.splits) - {"train"}:
        part = examples.split(split)
        z = logits_of(part.gold, len(part.classes), epochs=1)[0]
        outcome = {"logits": z, "gold_logprob": signals.outcome(z, part.gold)["gold_logprob"]}
        table = runs.predictions_table(part.ids, part.table["_label"].to_list(), outcome, part.classes)
        runs.write_parquet(path / "predictions" / f"{split}.parquet", table)
    return Run(path)
