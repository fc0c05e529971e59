"""What is wrong with one table: problems are collected, each with its column and rows, and told at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from leadline.data.tables import Table
from leadline.errors import nearest

ROWS_NAMED = 5  # rows that one problem names

# What people call these columns: suggested, never taken, when the recipe's name is missing.
USUAL_NAMES = {
    "data.text": (
        "text",
        "sentence",
        "content",
        "review",
        "tweet",
        "question",
        "message",
        "comment",
        "document",
        "body",
    ),
    "data.label": ("label", "labels", "class", "category", "target", "gold", "sentiment"),
    "data.id": ("id", "idx", "guid", "uid", "index"),
}


@dataclass
class Findings:
    """One table under examination. Rows are known to the user by their number in the source."""

    table: Table
    frame: pl.DataFrame  # without unlabelled rows
    numbers: np.ndarray  # (N,) the row of the source that each row of the frame is
    problems: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def column(self, name: str, key: str) -> pl.Series | None:
        """The column, or None and a problem that lists what there is."""
        if name in self.frame.columns:
            return self.frame[name]
        columns = self.frame.columns
        usual = [usual for usual in columns if usual.lower() in USUAL_NAMES.get(key, ())]
        if not columns:
            return None  # no rows of JSON: said once, by `check`
        hint = nearest(name, columns) or (f" Did you mean `{usual[0]}`?" if len(usual) == 1 else "")
        if len(columns) == 1 and any(separator in columns[0] for separator in ";\t|"):
            hint = " Are the columns separated by something other than commas?"
        listed = ", ".join(columns[:30]) + (", …" if len(columns) > 30 else "")
        self.problems.append(f"there is no column `{name}` ({key}); there are: {listed}.{hint}")
        return None

    def rows(self, column: str, wrong: Any, what: str) -> None:
        """A problem, if `wrong`, (N,) booleans, is true somewhere."""
        places = np.flatnonzero(np.asarray(wrong))
        if len(places):
            named = [self.table.place(int(self.numbers[i])) for i in places[:ROWS_NAMED]]
            more = f" and {len(places) - ROWS_NAMED} more" if len(places) > ROWS_NAMED else ""
            self.problems.append(f"column `{column}`: {what} in {', '.join(named)}{more}")

    def raw(self, name: str) -> list[Any] | None:
        values = self.table.raw.get(name)
        return None if values is None else [values[i] for i in self.numbers]


SINGLE = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Date, pl.Datetime, pl.Time, pl.Null)


def as_text(found: Findings, name: str, key: str, what: str) -> pl.Series | None:
    """A column of single values (texts, numbers, booleans, dates) as text; null where there is none."""
    column = found.column(name, key)
    if column is None:
        return None
    if not (column.dtype.is_numeric() or column.dtype in SINGLE):
        found.problems.append(f"column `{name}`: holds {kind(column.dtype)}, not {what}")
        return None
    raw = found.raw(name)
    if raw is not None:
        nested = np.array([isinstance(value, list | dict) for value in raw], dtype=bool)
        found.rows(name, nested, f"a list or object, not {what},")
    return (column.fill_nan(None) if column.dtype.is_float() else column).cast(pl.String)


def numbers(found: Findings, name: str, key: str, what: str) -> pl.Series | None:
    """A column of finite numbers, from numbers or from text that writes them."""
    column = found.column(name, key)
    if column is None:
        return None
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        found.problems.append(f"column `{name}`: {what} is a number, the column holds {kind(column.dtype)}")
        return None
    missing = column.is_null()
    if not column.dtype.is_numeric():
        column = column.cast(pl.String).str.strip_chars()
        missing = missing | (column == "").fill_null(False)
    raw = found.raw(name)
    values = column.cast(pl.Float64, strict=False)
    wrong = values.is_null() & ~missing
    if raw is not None:  # mixed: true and [1] are no numbers although their text might be
        wrong = wrong | pl.Series([isinstance(value, bool | list | dict) for value in raw], dtype=pl.Boolean)
    found.rows(name, missing, f"{what} is missing")
    found.rows(name, wrong, f"{what} is no number")
    found.rows(name, (~values.is_finite()).fill_null(False), f"{what} is not finite")
    return values


def short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"


def kind(dtype: pl.DataType) -> str:
    if dtype.is_nested():
        return "lists or objects"
    if dtype.is_temporal():
        return "dates or times"
    return {pl.Boolean: "booleans", pl.Binary: "bytes", pl.Object: "Python objects"}.get(type(dtype), f"{dtype} values")
