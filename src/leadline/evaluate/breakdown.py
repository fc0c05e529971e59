"""Where the errors are: between which classes, and in which part of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from leadline.evaluate.answers import Counts
from leadline.evaluate.checks import class_indices, same_length
from leadline.evaluate.formulas import f1, macro, precision, recall
from leadline.evaluate.intervals import wilson

LENGTH = "_length"  # tokens, of examples.parquet


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


def slices(table: pl.DataFrame, labels: ArrayLike, predicted: ArrayLike, most: int = 20) -> pl.DataFrame:
    """Accuracy and macro-F1 in every part of the data that a column names.

    table: N rows, one column per question (where does the text come from? who labelled it?); labels, predicted: (N,).
    A column is cut by its values when it has 2 to `most` of them, and half as many as there are rows at most (else it
    is a text or an id); null is a value of its own, (none). Columns that begin with _ are leadline's and left out, but
    `_length` is cut at its quartiles (equal lengths stay together). Columns: column, value, n, accuracy, low, high
    (95 % Wilson interval), macro_f1 (over the classes that occur in the part). With many parts some differ by chance.
    """
    y, p = np.asarray(labels), np.asarray(predicted)
    k = int(max(y.max(), p.max())) + 1 if len(y) and len(p) else 2
    y, p = class_indices(y, k), class_indices(p, k, "predicted")
    same_length(y, p, "labels and predicted")
    same_length(y, table, "labels and table")
    rows = [
        {"column": name, "value": value, **_part(y[part], p[part], k)}
        for name in table.columns
        for value, part in _parts(table[name], most)
    ]
    kinds = {"column": pl.String, "value": pl.String, "n": pl.Int64}
    return pl.DataFrame(rows, schema={**kinds, **dict.fromkeys(("accuracy", "low", "high", "macro_f1"), pl.Float64)})


def _part(y: np.ndarray, p: np.ndarray, k: int) -> dict[str, float]:
    right, n = int((y == p).sum()), len(y)
    low, high = wilson(right, n)
    c = _counts(confusion(y, p, k))
    return {"n": n, "accuracy": right / n, "low": float(low), "high": float(high), "macro_f1": float(macro(f1, c))}


def _parts(column: pl.Series, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """The values of a column, in their order, each with its rows (N,) bool."""
    if column.name == LENGTH:
        yield from _quartiles(column.to_numpy())
    elif not column.name.startswith("_") and not column.dtype.is_nested():
        values = column.unique().sort(nulls_last=True)
        if 2 <= len(values) <= min(most, len(column) // 2):
            for value in values:
                yield "(none)" if value is None else str(value), column.eq_missing(value).to_numpy()


def _quartiles(lengths: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    quarter = np.searchsorted(np.quantile(lengths, [0.25, 0.5, 0.75]), lengths, side="left")  # (N,) 0..3
    for q in np.unique(quarter):
        part = quarter == q
        yield f"{lengths[part].min():g} to {lengths[part].max():g}", part


def _counts(table: np.ndarray) -> Counts:
    return Counts(table.diagonal(), table.sum(axis=1), table.sum(axis=0))
