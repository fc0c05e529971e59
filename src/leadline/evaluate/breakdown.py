"""Where the errors are: between which classes, and in which part of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from leadline.errors import all_at_once, nearest
from leadline.evaluate.answers import Counts
from leadline.evaluate.checks import class_indices, same_length
from leadline.evaluate.formulas import f1, precision, recall
from leadline.evaluate.intervals import wilson
from leadline.evaluate.measure import with_intervals

LENGTH = "_length"  # tokens, of examples.parquet
WORDS = {"length": LENGTH, "class": "_label", "region": "_region"}  # what one asks for -> our column
FEW = 30  # rows of a part, below which its numbers say little


def confusion(labels: ArrayLike, predicted: ArrayLike, k: int) -> np.ndarray:
    """(K, K) int64: rows are labels, columns are predictions; labels and predicted (N,) class indices."""
    y, p = class_indices(labels, k), class_indices(predicted, k, "predicted")
    same_length(y, p, "labels and predicted")
    return np.bincount(y * k + p, minlength=k * k).reshape(k, k)


def per_class(labels: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> pl.DataFrame:
    """Columns class, precision, recall, f1, support (rows labelled so), predicted (rows predicted so)."""
    c = _counts(confusion(labels, predicted, len(classes)))
    return pl.DataFrame(
        {
            "class": list(classes),
            "precision": precision(c),
            "recall": recall(c),
            "f1": f1(c),
            "support": c.labelled,
            "predicted": c.predicted,
        }
    )


def slices(
    table: pl.DataFrame, labels: ArrayLike, predicted: ArrayLike, most: int = 20, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Accuracy and macro-F1 in every part of the data that a column names.

    table: N rows, one column per question (where does the text come from? who labelled it?); labels, predicted: (N,).
    A column is cut by its values when it has 2 to `most` of them, and half as many as there are rows at most (else it
    is a text or an id); null is a value of its own, (none). Columns that begin with _ are leadline's and left out, but
    `_length` is cut at its quartiles (equal lengths stay together).
    columns: only these, whatever their values: `length`, `class` and `region` mean `_length`, `_label` and `_region`
    where the table has no such column; numbers of more than `most` values are cut at their quartiles. Raises InputError
    for one that is not there, or has too many values to be parts.
    Columns: column, value, n, accuracy, low, high (95 % Wilson interval), macro_f1 (over the classes that occur in the
    part) with macro_f1_low, macro_f1_high (percentile bootstrap; all three NaN where every part of the column is of one
    class, as the parts by the label are), few (fewer than 30 rows). With many parts some differ by chance.
    """
    y, p = np.asarray(labels), np.asarray(predicted)
    k = int(max(y.max(), p.max())) + 1 if len(y) and len(p) else 2
    y, p = class_indices(y, k), class_indices(p, k, "predicted")
    same_length(y, p, "labels and predicted")
    same_length(y, table, "labels and table")
    parts = {name: _parts(table[name], most) for name in table.columns} if columns is None else _asked(
        table, columns, most)  # fmt: skip
    rows = []
    for name, found in parts.items():
        cut = list(found)
        one_class = all(len(np.unique(y[part])) == 1 for _, part in cut)  # the label itself, under whatever name
        rows += [{"column": name, "value": value, **_part(y[part], p[part], k, one_class)} for value, part in cut]
    numbers = ("accuracy", "low", "high", "macro_f1", "macro_f1_low", "macro_f1_high")
    kinds = {"column": pl.String, "value": pl.String, "n": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
    return pl.DataFrame(rows, schema={**kinds, "few": pl.Boolean})


def check_slices(table: pl.DataFrame, columns: Sequence[str], most: int = 20) -> None:
    """Raises InputError where `slices` would, before anybody has asked a model."""
    _asked(table, columns, most)


def _asked(table: pl.DataFrame, columns: Sequence[str], most: int) -> dict[str, Iterator[tuple[str, np.ndarray]]]:
    """{column: its parts} of the columns that a person names; all that cannot be cut is told at once."""
    problems, parts = [], {}
    for name in dict.fromkeys(columns):
        column = name if name in table.columns else WORDS.get(name, name)
        if column not in table.columns:
            known = [*WORDS, *(c for c in table.columns if not c.startswith("_"))]
            problems.append(f"there is no column `{name}`.{nearest(name, known)} Known: {', '.join(known)}")
            continue
        found = table[column]
        if found.dtype.is_nested() or (found.n_unique() > most and not found.dtype.is_numeric()):
            problems.append(f"`{name}` has {found.n_unique():,} values: too many to be parts (at most {most})")
        elif column == LENGTH or (found.dtype.is_numeric() and found.n_unique() > most):
            parts[name] = _quartiles(found.to_numpy())
        else:
            parts[name] = _values(found)
    if problems:
        raise all_at_once("slices", problems)
    return parts


def _part(y: np.ndarray, p: np.ndarray, k: int, one_class: bool) -> dict[str, float | bool]:
    right, n = int((y == p).sum()), len(y)
    low, high = wilson(right, n)
    f = {"value": np.nan, "low": np.nan, "high": np.nan}
    if not one_class:
        f = with_intervals(y, np.eye(max(k, 2))[p], [str(c) for c in range(max(k, 2))], "macro_f1")["macro_f1"]
    return {
        "n": n, "accuracy": right / n, "low": float(low), "high": float(high),
        "macro_f1": f["value"], "macro_f1_low": f["low"], "macro_f1_high": f["high"], "few": n < FEW,
    }  # fmt: skip


def _parts(column: pl.Series, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """The values of a column, in their order, each with its rows (N,) bool."""
    if column.name == LENGTH:
        yield from _quartiles(column.to_numpy())
    elif not column.name.startswith("_") and not column.dtype.is_nested():
        if 2 <= column.n_unique() <= min(most, len(column) // 2):
            yield from _values(column)


def _values(column: pl.Series) -> Iterator[tuple[str, np.ndarray]]:
    for value in column.unique().sort(nulls_last=True):
        yield "(none)" if value is None else str(value), column.eq_missing(value).to_numpy()


def _quartiles(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    known = ~np.isnan(values.astype(np.float64))  # a column may have holes
    quarter = np.full(len(values), 4)
    quarter[known] = np.searchsorted(np.quantile(values[known], [0.25, 0.5, 0.75]), values[known], side="left")  # 0..3
    for q in np.unique(quarter):
        part = quarter == q
        yield ("(none)" if q == 4 else f"{values[part].min():g} to {values[part].max():g}"), part


def _counts(table: np.ndarray) -> Counts:
    return Counts(table.diagonal(), table.sum(axis=1), table.sum(axis=0))
