"""How a trained model does in the parts of the data: by length, class, region or any column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import evaluate as metrics_room
from leadline import runs
from leadline.errors import InputError
from leadline.evaluate.breakdown import LENGTH
from leadline.experiment.evaluation import Evaluation, Loaded, measure, subject
from leadline.learn.tokens import kept_tokens
from leadline.runs import Run

REGION = "_region"


def sliced(
    model: str | Path,
    columns: Sequence[str],
    data: Any = None,
    *,
    split: str = "test",
    precision: str = "auto",
    most: int = 20,
    **settings: Any,
) -> tuple[Evaluation, pl.DataFrame]:
    """(the evaluation, `evaluate.slices` of it by the columns asked for); other arguments as `evaluate`.

    columns  of the data file; `length` (tokens, in quartiles), `class`, `region`
    A region is where an example lies on the map of the run's record: of the training examples by what was recorded
    while they were trained on, of the validation examples by the evaluations after each epoch, cut on a map of their
    own. Test examples are looked at once, so they have no region, and asking for one is an InputError; so is a
    regression, which has no accuracy.
    """
    recipe, part = subject(model, data, split, **settings)
    if not part.classes:
        raise InputError("--slices counts right answers, and a regression has none; `leadline errors` is for numbers")
    table = part.table
    if "region" in columns and "region" not in table.columns:
        table = table.with_columns(pl.Series(REGION, regions_of(model, data, split)))
    loaded = Loaded.of(recipe, part, precision)
    if LENGTH not in table.columns or table[LENGTH].null_count():
        lengths = [loaded.task.length(row) for row in kept_tokens(loaded.task, part)]
        table = table.with_columns(pl.Series(LENGTH, lengths, dtype=pl.Int32))
    found = measure(loaded, part)
    index = {name: k for k, name in enumerate(part.classes)}
    predicted = np.array([index[name] for name in found.predictions["predicted"].to_list()])
    return found, metrics_room.slices(table, part.gold, predicted, most, list(columns))


def regions_of(model: str | Path, data: Any, split: str) -> list[str]:
    """(N,) the region of every example of a split of the run, in the split's order."""
    if data is not None or split == "test" or not (Path(model) / "examples.parquet").is_file():
        raise InputError(
            "--slices region: only what was recorded in every epoch has a region, and test examples were not; "
            "`--split train` has those of the data map, `--split validation` those of its own record"
        )
    run = Run(model)
    record = run.signals if split == "train" else run.validation_signals
    if record is None:
        raise InputError(f"{run.path}: nothing was recorded of its {split} examples, so they have no region")
    cut = runs.cut_map(record, runs.RegionRule(), {})
    return [str(name) for name in cut.category]
