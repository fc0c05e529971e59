"""The examples that the report shows one by one: hardest, most ambiguous, suspected of a wrong label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from leadline.report.facts import View
from leadline.report.words import excerpt, number, plain
from leadline.runs import Run
from leadline.scores import gold_probability
from leadline.suspects import rank, usual
from leadline.suspects.ranking import USUAL


@dataclass(frozen=True)
class Case:
    """One example as the report shows it."""

    id: str
    notes: Sequence[tuple[str, str]]  # (what, value) in the order of reading
    texts: Sequence[tuple[str, str]]  # (column, excerpt)
    row: int | None = None  # of the training examples
    course: np.ndarray | None = field(default=None, compare=False)  # (E,) probability of the label


def hardest(view: View, most: int = 10) -> list[Case]:
    """Lowest confidence first; without a map, highest mean loss first."""
    if view.regions is not None:
        return _cases(view, view.regions.sets["hard"][:most])
    if view.table is None or "action_mean" not in view.table.columns:
        return []
    loss = view.table["action_mean"].to_numpy()
    return _cases(view, np.argsort(-np.nan_to_num(loss, nan=-np.inf), kind="stable")[:most])


def ambiguous(view: View, most: int = 10) -> list[Case]:
    """Highest variability first; none without a map."""
    return _cases(view, view.regions.sets["ambiguous"][:most]) if view.regions is not None else []


def suspects(view: View, most: int = 20) -> tuple[list[Case], int]:
    """The first rows of suspects.csv, else by the usual score, and their number; ([], 0) for a run with neither."""
    path = view.run.path / "suspects.csv"
    if path.is_file():
        rows = pl.scan_csv(path, infer_schema=False)  # ids are text
        table, n = rows.head(most).collect(), rows.select(pl.len()).collect().item()
    elif view.signals is not None and view.table is not None and set(USUAL) & set(view.names):
        columns: dict[str, np.ndarray] = {name: view.table[name].to_numpy() for name in view.names if name in USUAL}
        table, n = rank(view.signals, columns, most=most), int((~np.isnan(columns[usual(columns)])).sum())
    else:
        return [], 0
    ids = view.run.train.table["_id"].cast(pl.String)
    found = [(row, ids.index_of(str(row.get("id")))) for row in table.to_dicts()]
    return [_suspect(view, row, place) for row, place in found], n


def _suspect(view: View, listed: Mapping[str, Any], row: int | None) -> Case:
    notes = [("label", excerpt(listed.get("label"), 80)), ("suggested", excerpt(listed.get("suggested"), 80))]
    for name in ("probability", "score"):
        if listed.get(name) is not None:
            notes.append((name, _figure(listed[name])))
    notes += [("reason", excerpt(listed.get("reason"), 160))] + _truth(view.run, row)
    texts = texts_of(view.run, row) if row is not None else []
    texts = texts or [(k, excerpt(v)) for k, v in listed.items() if k in view.run.examples.inputs]
    return Case(str(listed.get("id")), [n for n in notes if n[1]], texts, row, _course(view, row))


def _figure(value: str | float) -> str:
    try:
        return number(float(value))
    except ValueError:
        return excerpt(value, 80)


def _cases(view: View, rows: Iterable[int]) -> list[Case]:
    return [_case(view, int(row)) for row in rows]


def _case(view: View, row: int) -> Case:
    assert view.table is not None
    scored = view.table.row(row, named=True)
    notes = [("label", excerpt(scored["label"], 80))]
    answer = predicted(view, row)
    if answer is not None:
        notes.append(("predicted", excerpt(answer, 80)))
    for name in ("confidence", "variability") if "confidence" in scored else ("action_mean", "loss_std"):
        if scored.get(name) is not None:
            notes.append(
                ({"action_mean": "mean loss", "loss_std": "spread of the loss"}.get(name, name), number(scored[name]))
            )
    right = scored.get("correct_count")
    if right is not None and not np.isnan(right):
        notes.append(("right", f"{int(right)} of {view.n_epochs}"))
    return Case(scored["id"], notes + _truth(view.run, row), texts_of(view.run, row), row, _course(view, row))


def predicted(view: View, row: int) -> str | None:
    """The class with the largest logit in the last epoch that has an outcome of the example."""
    if view.signals is None or "logits" not in view.signals.names or not view.run.classes:
        return None
    for period in reversed(view.signals.periods):
        logits = period.logits[row]
        if not np.isnan(logits).any():
            return view.run.classes[int(logits.argmax())]
    return None


def _truth(run: Run, row: int | None) -> list[tuple[str, str]]:
    """The right label, where labels were corrupted on purpose and this one was."""
    if row is None or "_true_label" not in run.train.table.columns:
        return []
    true, label = run.train.table["_true_label"][row], run.train.table["_label"][row]
    return [("true label", excerpt(plain(true), 80))] if true is not None and str(true) != str(label) else []


def texts_of(run: Run, row: int) -> list[tuple[str, str]]:
    """(column, excerpt) of what the model read."""
    table = run.train.table
    return [(name, excerpt(table[name][row])) for name in run.examples.inputs if name in table.columns]


def _course(view: View, row: int | None) -> np.ndarray | None:
    """(E,) probability of the label; None for one epoch, and where it is never defined."""
    if row is None or view.signals is None or "confidence" not in view.names or view.n_epochs < 2:
        return None
    course = gold_probability(view.signals.rows(np.array([row])))[:, 0]
    return None if np.isnan(course).all() else course
