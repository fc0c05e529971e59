"""A file in which several people answered the same examples: ids, and how many gave each answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.data.examples import natural, row_hashes
from leadline.data.tables import Table, label_text
from leadline.errors import InputError, all_at_once, nearest


@dataclass(frozen=True)
class Asked:
    """Where the answers stand. One of the three ways; a column may hold one value or a list (JSON text in a CSV).

    votes    columns of answers: one per person, or one with lists of answers
    counts   columns that count: one per answer, or one with lists of equal length or {answer: count}
    graded   columns of numbers on a scale: one per person, or one with lists
    """

    path: Path
    votes: Sequence[str] = ()
    counts: Sequence[str] = ()
    graded: Sequence[str] = ()
    id: str | None = None

    @property
    def way(self) -> str:
        given = [way for way in ("votes", "counts", "graded") if getattr(self, way)]
        if len(given) != 1:
            raise InputError(
                f"--humans {self.path}: say where the answers stand, by one of --votes COLUMNS (each person's answer, "
                "or lists of answers), --counts COLUMNS (how many gave each answer) and --graded COLUMNS (numbers)"
            )
        return given[0]


@dataclass(frozen=True)
class Votes:
    """The rows of the file. `counts` of votes and counts, `spread` (standard deviation) of graded answers."""

    origin: str
    ids: list[str]
    answers: tuple[str, ...] = ()
    counts: np.ndarray | None = None  # (N, K)
    spread: np.ndarray | None = None  # (N,) NaN with fewer than two people
    people: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    hashes: list[int] | None = None  # over id and inputs, where the file has the inputs


def read(asked: Asked, table: Table, id: str | None, inputs: Sequence[str]) -> Votes:
    """The votes in a table; ids of the column `id` (None: row numbers), hashes where it has all the `inputs`.

    Raises InputError for columns that are not there, ids that are missing or repeat, and cells that cannot be read: all
    of one kind at once, with their lines.
    """
    way = asked.way
    names = list(getattr(asked, way))
    for name in [*names, *([id] if id else [])]:
        if name not in table.frame.columns:
            raise InputError(
                f"{table.origin}: there is no column `{name}`.{nearest(name, table.frame.columns)} There are: "
                f"{', '.join(table.frame.columns)}"
            )
    ids = _ids(table, id)
    cells = [[_opened(value) for value in _values(table, name)] for name in names]  # C lists of N
    found = {"votes": _from_votes, "counts": _from_counts, "graded": _from_grades}[way](table, names, cells)
    hashed = inputs and all(name in table.frame.columns for name in inputs)
    texts = [_texts(table, name) for name in inputs] if hashed else []
    return Votes(table.origin, ids, hashes=row_hashes(ids, *texts) if hashed else None, **found)


def _ids(table: Table, name: str | None) -> list[str]:
    if name is None:
        return [str(row) for row in range(table.frame.height)]
    column = table.frame[name]
    if column.dtype.is_float() and (column.is_finite() & (column == column.round())).fill_null(True).all():
        column = column.cast(pl.Int64, strict=False)
    ids = column.cast(pl.String).to_list()
    missing = [row for row, value in enumerate(ids) if value in (None, "")]
    if missing:
        raise InputError(f"{table.origin}, column `{name}`: no id in {table.place(missing[0])}")
    seen: dict[str, int] = {}
    twice = [(row, value) for row, value in enumerate(ids) if seen.setdefault(value, row) != row]
    if twice:
        raise InputError(
            f"{table.origin}, column `{name}`: id `{twice[0][1]}` a second time in {table.place(twice[0][0])}; one row "
            "per example is needed, with the answers of all people in it"
        )
    return ids


def _values(table: Table, name: str) -> list[Any]:
    return table.raw[name] if name in table.raw else table.frame[name].to_list()


def _texts(table: Table, name: str) -> list[str | None]:
    """As `data.check` reads inputs: single values as text."""
    column = table.frame[name]
    return (column.fill_nan(None) if column.dtype.is_float() else column).cast(pl.String).to_list()


def _opened(value: Any) -> Any:
    """A cell; a list or object that a CSV holds as JSON text is opened."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _given(cell: Any) -> list[Any]:
    """The answers in a cell; empty ones are people who gave none."""
    several = cell if isinstance(cell, list) else [cell]
    return [value for value in several if value is not None and value == value and value != ""]


def _rows(cells: Sequence[Sequence[Any]]) -> Iterable[list[Any]]:
    """N times all the answers of a row."""
    for row in zip(*cells, strict=True):
        yield [answer for cell in row for answer in _given(cell)]


def _from_votes(table: Table, names: Sequence[str], cells: Sequence[Sequence[Any]]) -> dict[str, Any]:
    rows, problems = [], []
    for number, row in enumerate(_rows(cells)):
        if any(isinstance(answer, list | dict) for answer in row):
            problems.append(f"{table.place(number)}: a list or object where one person's answer is meant")
        rows.append([label_text(answer) for answer in row])
    _refuse(table, names, problems)
    answers = tuple(sorted({answer for row in rows for answer in row}, key=natural))
    place = {answer: k for k, answer in enumerate(answers)}
    counts = np.zeros((len(rows), len(answers)))
    for number, row in enumerate(rows):
        for answer in row:
            counts[number, place[answer]] += 1
    return _counted(table, counts, answers)


def _from_counts(table: Table, names: Sequence[str], cells: Sequence[Sequence[Any]]) -> dict[str, Any]:
    rows: list[dict[str, float]] = []
    problems = []
    for number, row in enumerate(zip(*cells, strict=True)):
        try:
            rows.append(_count(names, row))
        except (TypeError, ValueError):
            problems.append(f"{table.place(number)}: no counts in {str(list(row))[:80]}")
    if not problems and len({len(row) for row in rows}) > 1 and not any(isinstance(c, dict) for c in cells[0]):
        problems.append("lists of counts must be equally long; of lists of answers say --votes")
    _refuse(table, names, problems)
    answers = tuple(dict.fromkeys(answer for row in rows for answer in row))
    counts = np.array([[row.get(answer, 0.0) for answer in answers] for row in rows]).reshape(len(rows), -1)
    if ((counts < 0) | (counts != np.round(counts))).any():
        number = int(np.flatnonzero(((counts < 0) | (counts != np.round(counts))).any(axis=1))[0])
        raise InputError(
            f"{table.origin}, {table.place(number)}: {counts[number].tolist()} are no counts of people (whole numbers "
            "from 0); of numbers on a scale say --graded"
        )
    return _counted(table, counts, answers)


def _count(names: Sequence[str], row: Sequence[Any]) -> dict[str, float]:
    """{answer: how many people} of one row; ValueError where a cell is no count."""
    found: dict[str, float] = {}
    for name, cell in zip(names, row, strict=True):
        if isinstance(cell, dict):
            found |= {str(answer): _number(count) for answer, count in cell.items() if count is not None}
        elif isinstance(cell, list):
            found |= {str(k): _number(count) for k, count in enumerate(cell)}
        else:
            found[name] = 0.0 if cell in (None, "") else _number(cell)
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool | list | dict):
        raise ValueError("not a number")
    number = float(value)
    if not np.isfinite(number):
        raise ValueError("not finite")
    return number


def _counted(table: Table, counts: np.ndarray, answers: tuple[str, ...]) -> dict[str, Any]:
    people = counts.sum(axis=1).astype(np.int64)
    if len(answers) < 2 or not (people >= 2).any():
        what = f"one answer only (`{answers[0]}`)" if len(answers) == 1 else "nowhere two answers"
        raise InputError(f"{table.origin}: {what}, so nobody could disagree; do the columns hold the votes?")
    return {"answers": answers, "counts": counts, "people": people}


def _from_grades(table: Table, names: Sequence[str], cells: Sequence[Sequence[Any]]) -> dict[str, Any]:
    rows, problems = [], []
    for number, row in enumerate(_rows(cells)):
        try:
            rows.append([_number(value) for value in row])
        except (TypeError, ValueError):
            problems.append(f"{table.place(number)}: not all answers are numbers: {str(row)[:80]}")
    _refuse(table, names, problems)
    people = np.array([len(row) for row in rows], dtype=np.int64)
    if not (people >= 2).any():
        raise InputError(f"{table.origin}: nowhere two answers, so nobody could disagree")
    spread = np.array([np.std(row) if len(row) >= 2 else np.nan for row in rows])
    spread = spread.round(9)  # 1, 2, 2 and 4, 5, 5 differ in the last bits otherwise, and three times 0.1 is not 0
    return {"spread": spread, "people": people}


def _refuse(table: Table, names: Sequence[str], problems: Sequence[str]) -> None:
    if problems:
        raise all_at_once(f"{table.origin}, {', '.join(names)}: not answers of people", problems)
