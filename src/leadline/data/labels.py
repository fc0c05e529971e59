"""Labels: one class per row, a number, or a distribution over the classes; and the order of the classes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from leadline.data.examples import natural
from leadline.data.findings import Findings, kind, numbers, short
from leadline.data.tables import Table, label_text
from leadline.errors import nearest
from leadline.recipe import Data

SUM_TOLERANCE = 1e-3  # a distribution may miss 1 by so much (rounded votes); then it is renormalised
LABELS_NAMED = 5  # unknown labels that are named one by one
FRACTION = "a fraction (this looks like regression: set `task: regression`; fractions that name classes must be words)"


def read(
    found: Findings, data: Data, task: str, training: bool, classes: Sequence[str] | None
) -> tuple[dict[str, pl.Series | None], tuple[str, ...]]:
    """_label (and _label_distribution), and the classes in the order of the logits."""
    wanted = [data.label_distribution] if isinstance(data.label_distribution, str) else data.label_distribution
    if task == "regression":
        if data.label is None:
            found.problems.append("data.label: name the column of the numbers to predict")
            return {}, ()
        return {"_label": numbers(found, data.label, "data.label", "a label")}, ()
    if wanted and (training or any(name in found.frame.columns for name in wanted) or data.label is None):
        return _soft_labels(found, data, wanted, classes)
    if data.label is None:
        found.problems.append("data.label: name the column of the labels")
        return {}, ()
    before = len(found.problems)
    labels = class_labels(found, data.label)
    if labels is None:
        return {}, ()
    if classes is not None:
        _only_known(found, data.label, labels, classes)
        return {"_label": labels}, tuple(classes)
    names = class_order(found.table, data.label, set(labels.drop_nulls()) - {""})
    if idle := [name for name in _declared_order(found.table, data.label) if name not in names]:
        found.told.append(f"{found.table.origin}: declared classes that no row has were left out: {', '.join(idle)}")
    if len(labels) and len(names) < 2 and len(found.problems) == before:
        what = f"one class (`{names[0]}`)" if names else "no class"
        found.problems.append(f"column `{data.label}`: {what}; at least two classes are needed")
    return {"_label": labels}, names


def class_order(table: Table, column: str, present: Iterable[str]) -> tuple[str, ...]:
    """The classes that occur, as the data declares them (ClassLabel, categories), else in natural order."""
    present = set(present)
    order = _declared_order(table, column) or sorted(present, key=natural)
    return tuple(name for name in order if name in present)


def _declared_order(table: Table, column: str) -> list[str]:
    if column in table.declared:
        return list(dict.fromkeys(table.declared[column]))
    dtype = table.frame[column].dtype
    return dtype.categories.to_list() if isinstance(dtype, pl.Enum) else []


def class_labels(found: Findings, name: str) -> pl.Series | None:
    """Labels as text: text as it stands, integers and whole floats (1.0 is "1"), "false", "true", ClassLabel names."""
    column = found.column(name, "data.label")
    if column is None:
        return None
    raw, dtype = found.raw(name), column.dtype
    if raw is not None:
        labels = _mixed(found, name, raw)
    elif name in found.table.declared:
        labels = _declared(found, name, column)
    elif dtype.is_float() or dtype.is_decimal():
        labels = _whole(found, name, column.cast(pl.Float64))
    elif dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null):
        labels = column.cast(pl.String)
        if dtype == pl.String:
            _not_fractions(found, name, labels)
    else:
        found.problems.append(f"column `{name}`: a label is text, an integer or a boolean, not {kind(dtype)}")
        return None
    found.rows(name, (column.fill_nan(None) if dtype.is_float() else column).is_null(), "no label")
    found.rows(name, (labels.str.strip_chars() == "").fill_null(False), "an empty label")
    return labels


def _mixed(found: Findings, name: str, raw: list[Any]) -> pl.Series:
    """Values of several types, as JSON and Python allow."""
    nested = np.array([isinstance(value, list | dict) for value in raw], dtype=bool)
    broken = np.array([isinstance(value, float) and not value.is_integer() for value in raw], dtype=bool)
    found.rows(name, nested, "a list or object, not a label,")
    found.rows(name, broken, FRACTION)
    texts = [None if value is None or nested[i] or broken[i] else label_text(value) for i, value in enumerate(raw)]
    return pl.Series(texts, dtype=pl.String)


def _declared(found: Findings, name: str, column: pl.Series) -> pl.Series:
    names = found.table.declared[name]
    index = column.cast(pl.Int64, strict=False)
    outside = ~index.is_between(0, len(names) - 1).fill_null(column.is_null())
    found.rows(name, outside, f"no index of the {len(names)} declared classes")
    texts = [names[i] if i is not None and 0 <= i < len(names) else None for i in index.to_list()]
    return pl.Series(texts, dtype=pl.String)


def _whole(found: Findings, name: str, numbers: pl.Series) -> pl.Series:
    numbers = numbers.fill_nan(None)
    found.rows(name, (~numbers.is_finite()).fill_null(False), "an infinite label")
    found.rows(name, (numbers.is_finite() & (numbers != numbers.round())).fill_null(False), FRACTION)
    texts = [label_text(x) if x is not None and np.isfinite(x) else None for x in numbers.to_list()]
    return pl.Series(texts, dtype=pl.String)


def _not_fractions(found: Findings, name: str, labels: pl.Series) -> None:
    """Text columns (CSV) hold fractions when all their labels write numbers and one of them is no whole number."""
    distinct = labels.drop_nulls().unique()
    numbers = distinct.cast(pl.Float64, strict=False)
    if numbers.null_count() or not len(distinct):
        return
    broken = distinct.filter(numbers.is_finite() & (numbers != numbers.round()))
    found.rows(name, labels.is_in(broken.implode()).fill_null(False), FRACTION)


def _only_known(found: Findings, name: str, labels: pl.Series, classes: Sequence[str]) -> None:
    unknown = labels.filter(~labels.is_in(list(classes)) & (labels.str.strip_chars() != "")).unique(maintain_order=True)
    known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
    for label in unknown[:LABELS_NAMED]:
        hint = nearest(label, classes).strip()
        what = (
            f"label `{short(label)}`, which the training data lacks (they have: {known}{'. ' + hint if hint else ''}),"
        )
        found.rows(name, (labels == label).fill_null(False), what)
    if len(unknown) > LABELS_NAMED:
        more = len(unknown) - LABELS_NAMED
        found.problems.append(f"column `{name}`: {more} more labels that the training data lacks")


def _soft_labels(
    found: Findings, data: Data, wanted: list[str], classes: Sequence[str] | None
) -> tuple[dict[str, pl.Series | None], tuple[str, ...]]:
    """Distributions (N, K), each summing to 1; `_label` is the class with the largest share, the first of equals."""
    as_list = isinstance(data.label_distribution, str)
    shares = _share_lists(found, wanted[0]) if as_list else _share_columns(found, wanted)  # (N, K)
    if shares is None:
        return {}, ()
    given = _label_column(found, data.label)
    names = _class_names(found, data, wanted, shares.shape[1], given) if classes is None else tuple(classes)
    where = wanted[0] if as_list else ", ".join(wanted)
    if not as_list and classes is not None and set(wanted) == set(names):
        shares = shares[:, [wanted.index(name) for name in names]]  # columns that bear the classes' names, in any order
    if shares.shape[1] != len(names):
        what = f"{shares.shape[1]} shares a row, the training data have {len(names)} classes"
        found.problems.append(f"column `{where}`: {what}")
        return {}, ()
    total = shares.sum(axis=1)  # (N,), NaN where a share is; such rows were told
    found.rows(where, (shares < 0).any(axis=1), "a negative share")
    off = (shares >= 0).all(axis=1) & (np.abs(total - 1) > SUM_TOLERANCE)
    found.rows(where, off, "shares that do not sum to 1 (divide votes by their number)")
    if found.problems or not len(shares):
        return {}, ()
    if classes is None and ((shares > 0).any(axis=0)).sum() < 2:
        found.problems.append(f"column `{where}`: all shares belong to one class; at least two classes are needed")
    shares = shares / total[:, None]
    labels = pl.Series([names[k] for k in shares.argmax(axis=1)], dtype=pl.String)
    if given is not None and (differ := int((given != labels).sum())):
        what = f"in {differ} of {len(labels)} rows `{data.label}` is not the class with the largest share"
        found.told.append(f"{found.table.origin}: {what}; the distribution is what counts")
    return {"_label": labels, "_label_distribution": pl.Series(shares).cast(pl.List(pl.Float64))}, names


def _share_columns(found: Findings, wanted: list[str]) -> np.ndarray | None:
    if len(wanted) < 2:
        found.problems.append("data.label_distribution: name one column of lists or at least two columns of shares")
        return None
    columns = [numbers(found, name, "data.label_distribution", "a share") for name in wanted]
    kept = [column for column in columns if column is not None]
    if len(kept) < len(wanted) or not len(found.frame):
        return None
    shares = np.column_stack([column.fill_null(np.nan).to_numpy() for column in kept])
    return np.where(np.isfinite(shares), shares, np.nan)


def _share_lists(found: Findings, name: str) -> np.ndarray | None:
    """A column of lists of numbers, or of text that writes them as JSON."""
    column = found.column(name, "data.label_distribution")
    if column is None or not len(column):
        return None
    if column.dtype == pl.String:
        lists = [_json_list(text) for text in column.to_list()]
    elif isinstance(column.dtype, pl.List | pl.Array) and column.dtype.inner.is_numeric():
        lists = column.to_list()
    else:
        found.problems.append(f"column `{name}`: lists of numbers are needed, the column holds {kind(column.dtype)}")
        return None
    absent = np.array([values is None for values in lists], dtype=bool)
    lengths = np.array([0 if values is None else len(values) for values in lists])  # (N,)
    k = int(np.bincount(lengths[~absent]).argmax()) if (~absent).any() else 0  # the length that most rows have
    found.rows(name, absent, "no list of numbers")
    found.rows(name, ~absent & (lengths != k), f"a list of another length than {k}")
    if k < 2:
        found.problems.append(f"column `{name}`: at least two classes are needed, the lists have length {k}")
        return None
    blank = [None] * k
    shares = np.array([values if len(values or ()) == k else blank for values in lists], dtype=np.float64)
    finite = np.isfinite(shares)
    found.rows(name, (lengths == k) & ~finite.all(axis=1), "a share that is missing or not finite")
    return np.where(finite, shares, np.nan)


def _json_list(text: str | None) -> list[float | None] | None:
    try:
        values = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    numbers = isinstance(values, list) and all(x is None or type(x) in (int, float) for x in values)
    return values if numbers else None


def _label_column(found: Findings, name: str | None) -> pl.Series | None:
    """The label beside a distribution, where there is a whole one: it only names the classes."""
    if name is None or name not in found.frame.columns:
        return None
    aside = Findings(found.table, found.frame, found.numbers)
    labels = class_labels(aside, name)
    return None if aside.problems else labels


def _class_names(found: Findings, data: Data, wanted: list[str], k: int, given: pl.Series | None) -> tuple[str, ...]:
    if not isinstance(data.label_distribution, str):
        return tuple(wanted)
    if data.label in found.table.declared and len(found.table.declared[data.label]) == k:
        return tuple(found.table.declared[data.label])
    if given is not None and data.label is not None:
        names = class_order(found.table, data.label, set(given))
        if len(names) == k:
            return names
    return tuple(str(i) for i in range(k))
