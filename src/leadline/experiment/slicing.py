"""How a trained model does in the parts of the data: by length, class, region or any column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import evaluate as metrics_room
from leadline import runs
from leadline.data.examples import Examples
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
    precision: str | None = None,
    most: int = 20,
    found: Evaluation | None = None,
    **settings: Any,
) -> tuple[Evaluation, pl.DataFrame]:
    """(the evaluation, `evaluate.slices` of it by the columns asked for); other arguments as `evaluate`.

    columns  of the data file; `length` (tokens, in quartiles), `class`, `region`
    found    the evaluation, if the model has been asked about these rows already
    A region is where an example lies on the map of the run's record: of the training examples by what was recorded
    while they were trained on, of the validation examples by the evaluations after each epoch, cut on a map of their
    own. Test examples are looked at once, so they have no region, and asking for one is an InputError; so is a
    regression, which has no accuracy.
    """
    recipe, part = subject(model, data, split, **settings)
    table, counted = _cuttable(part, columns, most, (model, data, split))
    if found is None or counted:
        loaded = Loaded.of(recipe, part, precision)
        found = found or measure(loaded, part)
    if counted:
        lengths = [loaded.task.length(row) for row in kept_tokens(loaded.task, part)]
        table = table.with_columns(pl.Series(LENGTH, lengths, dtype=pl.Int32))
    index = {name: k for k, name in enumerate(part.classes)}
    predicted = np.array([index[name] for name in found.predictions["predicted"].to_list()])
    return found, metrics_room.slices(table, part.gold, predicted, most, list(columns))


def check_slices(
    model: str | Path, columns: Sequence[str], data: Any = None, *, split: str = "test", most: int = 20, **settings: Any
) -> None:
    """Raises InputError where `sliced` would for want of such columns, before the model is asked anything."""
    _, part = subject(model, data, split, **settings)
    _cuttable(part, columns, most, (model, data, split))


def _cuttable(
    part: Examples, columns: Sequence[str], most: int, where: tuple[str | Path, Any, str]
) -> tuple[pl.DataFrame, bool]:
    """(the rows with a region if it is asked for, whether tokens have to be counted: their lengths are 0 so far)."""
    if not part.classes:
        raise InputError("--slices counts right answers, and a regression has none; `leadline errors` is for numbers")
    table = part.table
    if "region" in columns and "region" not in table.columns:
        table = table.with_columns(pl.Series(REGION, regions_of(*where)))
    counted = "length" in columns and "length" not in table.columns
    counted = counted and (LENGTH not in table.columns or table[LENGTH].null_count() > 0)
    if counted:
        table = table.with_columns(pl.lit(0, dtype=pl.Int32).alias(LENGTH))
    metrics_room.check_slices(table, columns, most)
    return table, counted


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
