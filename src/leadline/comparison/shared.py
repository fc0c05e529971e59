"""Which rows several runs have in common: training examples by id and hash, answers to the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from leadline import runs as runs_room
from leadline.data.examples import join
from leadline.runs import Run


def shared_training(runs: Sequence[Run], labels: str) -> list[np.ndarray]:
    """For each run the rows (n,) of the training examples that all have, in the order of the first run.

    InputError where one of them has other inputs in another run, or another label unless `labels="ignore"`. Of runs
    `without_inputs` id and label decide alone.
    """
    everywhere = set.intersection(*(set(run.train.ids) for run in runs))
    first = runs[0].train
    rows = np.flatnonzero([name in everywhere for name in first.ids])
    common = replace(first, table=first.table[rows])
    return [rows, *(join(common, run.train, labels, where=str(run.path)) for run in runs[1:])]


def without_inputs(run: Run) -> bool:
    """It holds no inputs (an import without texts), so nobody can say whether they are those of another run."""
    return run.train.table["_input_hash"].null_count() == len(run.train) > 0


@dataclass(frozen=True)
class Answers:
    """What one run said of one split, rows in the order of their ids (sorted as text)."""

    run: Run
    table: pl.DataFrame  # id, label, predicted, prob_<class>
    inputs: list[int | None]  # hash of each row's inputs, None where the run stored no inputs
    soft: np.ndarray | None  # (N, K) in the order of the run's classes

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """(N,) class indices, (N, K) distributions, or (N,) numbers without classes; classes in the order given."""
        if not classes:
            return self.table["label"].cast(pl.Float64).to_numpy()
        if self.soft is not None:
            return self.soft[:, [self.run.classes.index(name) for name in classes]]
        index = {name: k for k, name in enumerate(classes)}
        return np.array([index[label] for label in self.table["label"].cast(pl.String)], dtype=np.int64)

    def predictions(self, classes: Sequence[str]) -> np.ndarray:
        """(N, K) probabilities, or (N,) numbers without classes."""
        if not classes:
            return self.table["predicted"].cast(pl.Float64).to_numpy()
        return runs_room.probabilities(self.table, classes)


def answers(run: Run, split: str) -> Answers | None:
    """None where the run has no predictions for the split."""
    if not run.has_predictions(split):
        return None
    part = run.examples.split(split)
    table = run.predictions(split).with_columns(pl.col("id").cast(pl.String)).sort("id")
    row = {name: i for i, name in enumerate(part.ids)}
    if not all(name in row for name in table["id"]):  # predictions of another file: their inputs are not here
        return Answers(run, table, [None] * table.height, None)
    rows = np.array([row[name] for name in table["id"]], dtype=np.int64)
    inputs = part.table["_input_hash"].to_list() if "_input_hash" in part.table.columns else [None] * len(part)
    return Answers(run, table, [inputs[i] for i in rows], part.targets[rows] if part.soft else None)


def differ(a: Answers, b: Answers) -> str | None:
    """Why the two are not answers to the same questions, as the end of a sentence; None if they are."""
    ours, theirs = a.table["id"].to_list(), b.table["id"].to_list()
    if ours != theirs:
        common = len(set(ours) & set(theirs))
        return f"they were tested on other rows ({len(ours):,} and {len(theirs):,}, of which {common:,} ids are shared)"
    if not ours:
        return "they were tested on no rows"
    if sorted(a.run.classes) != sorted(b.run.classes):
        return f"their classes differ ({', '.join(a.run.classes)} and {', '.join(b.run.classes)})"
    texts = [i for i, (x, y) in enumerate(zip(a.inputs, b.inputs, strict=True)) if None not in (x, y) and x != y]
    if texts:
        return f"{len(texts):,} of their test rows have other inputs (first id: {ours[texts[0]]})"
    x, y = a.labels(a.run.classes), b.labels(a.run.classes)
    other = np.flatnonzero(~np.isclose(x, y).reshape(len(ours), -1).all(axis=1)) if x.shape == y.shape else [0]
    if len(other):
        return f"{len(other):,} of their test rows have other labels (first id: {ours[other[0]]})"
    return None
