"""Is this table fit to train on or to judge with? Every problem of one table is found and told at once.

A table that passes comes out with ids, text inputs and text labels (numbers for a regression); nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.data import labels
from leadline.data.findings import ROWS_NAMED, Findings, as_text, kind, numbers
from leadline.data.tables import UNLABELLED, Table
from leadline.errors import all_at_once
from leadline.recipe import Data


@dataclass(frozen=True)
class Checked:
    frame: pl.DataFrame  # the source columns, and _id, _label, _label_distribution, _weight
    classes: tuple[str, ...] = ()  # in the order of the logits; empty for regression and without labels
    told: tuple[str, ...] = ()


def check(
    table: Table,
    data: Data,
    task: str = "classification",
    training: bool = True,
    classes: Sequence[str] | None = None,
    labelled: bool = True,
) -> Checked:
    """The table with ids, text inputs and labels; rows keep their order.

    `training=False`: rows to judge or to join may lack what only training and splitting read (weight, group), and may
    have one label each where the training rows have distributions.
    `classes`: the labels that may occur (of an earlier table or run); None: the table itself says which there are.
    `labelled=False`: labels are not read. Rows whose ClassLabel is -1 are set apart and told.
    Raises InputError with all problems of the table.
    """
    found = _open(table, data.label if labelled and data.label_distribution is None else None)
    columns: dict[str, pl.Series | None] = {"_id": _ids(found, data.id)}
    columns |= {name: _texts(found, name) for name in data.inputs}
    if data.group is not None and (training or data.group in found.frame.columns):
        _groups(found, data.group)
    if data.weight is not None and (training or data.weight in found.frame.columns):
        columns["_weight"] = _weights(found, data.weight)
    names: tuple[str, ...] = ()
    if labelled:
        found_labels, names = labels.read(found, data, task, training, classes)
        columns |= found_labels
    if not found.problems and not len(found.frame):
        found.problems.append("there are no rows")
    if found.problems:
        raise all_at_once(f"{table.origin}: the data cannot be used", found.problems)
    series = [series.alias(name) for name, series in columns.items() if series is not None]
    return Checked(found.frame.with_columns(series), names, tuple(found.told))


def _open(table: Table, label: str | None) -> Findings:
    rows = np.arange(table.frame.height)
    if label not in table.declared:
        return Findings(table, table.frame, rows)
    labelled = (table.frame[label] != UNLABELLED).fill_null(True).to_numpy()
    found = Findings(table, table.frame.filter(labelled), rows[labelled])
    if apart := int((~labelled).sum()):
        what = f"{apart} of {len(rows)} rows are unlabelled (`{label}` is -1) and were set apart"
        found.told.append(f"{table.origin}: {what}")
        if apart == len(rows):
            found.problems.append(f"column `{label}`: every row is unlabelled (-1); try another split (validation)")
    return found


def _ids(found: Findings, name: str | None) -> pl.Series | None:
    """The id column as text, or the number of the row in the source."""
    if name is None:
        return pl.Series(found.numbers, dtype=pl.Int64).cast(pl.String)
    column = found.column(name, "data.id")
    if column is None:
        return None
    if column.dtype.is_float() and (column.is_finite() & (column == column.round())).fill_null(True).all():
        column = column.cast(pl.Int64, strict=False)  # (integers with gaps are floats in pandas)
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        found.problems.append(f"column `{name}`: ids are text or integers, not {kind(column.dtype)}")
        return None
    raw = found.raw(name) or []
    neither = np.array([isinstance(value, bool | float | list | dict) for value in raw], dtype=bool)
    found.rows(name, neither, "an id that is neither text nor integer")
    ids = column.cast(pl.String)
    found.rows(name, (ids.is_null() | (ids == "")).fill_null(True), "no id")
    twice = ids.filter(ids.is_duplicated() & ids.is_not_null()).unique(maintain_order=True)
    if len(twice):
        named = ", ".join(f"`{value}`" for value in twice[:ROWS_NAMED])
        more = f" and {len(twice) - ROWS_NAMED} more" if len(twice) > ROWS_NAMED else ""
        found.problems.append(f"column `{name}`: ids must be unique; several rows have {named}{more}")
        found.rows(name, (ids == twice[0]).fill_null(False), f"id `{twice[0]}`")
    return ids


def _texts(found: Findings, name: str) -> pl.Series | None:
    texts = as_text(found, name, "data.text", "text")
    if texts is not None:
        found.rows(name, (texts.is_null() | (texts.str.strip_chars() == "")).fill_null(True), "no text")
    return texts


def _groups(found: Findings, name: str) -> None:
    groups = as_text(found, name, "data.group", "the name of a group")
    if groups is not None:
        missing = (groups.is_null() | (groups == "")).fill_null(True)
        found.rows(name, missing, "no group (a row that belongs to no other needs a group of its own)")


def _weights(found: Findings, name: str) -> pl.Series | None:
    weights = numbers(found, name, "data.weight", "a weight")
    if weights is None:
        return None
    found.rows(name, (weights < 0).fill_null(False), "a negative weight")
    if len(weights) and (weights == 0).all():
        found.problems.append(f"column `{name}`: all weights are 0")
    return weights
