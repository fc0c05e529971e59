"""What several runs say of the same data, side by side: rank agreement of scores, metrics with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.data.examples import join
from leadline.errors import InputError, all_at_once
from leadline.evaluate import rank_agreement
from leadline.runs import Run
from leadline.scores import SCORES
from leadline.scores import compute as compute_scores


@dataclass(frozen=True)
class Agreed:
    """Spearman and Kendall of every two columns: scores of one run, or one score of several runs."""

    title: str
    names: list[str]
    n: int
    spearman: np.ndarray  # (M, M)
    kendall: np.ndarray  # (M, M) tau-b


@dataclass(frozen=True)
class Comparison:
    runs: list[str]
    agreements: list[Agreed]
    results: dict[str, dict[str, list[dict[str, float] | None]]]  # split -> metric -> one entry per run
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        tables = [vars(agreed) for agreed in self.agreements]
        return {"runs": self.runs, "agreement": tables, "results": self.results, "notes": self.notes}


def compare(runs: Sequence[Run], names: Sequence[str], labels: str = "same") -> Comparison:
    """One run: do its scores order the examples alike? Several: does each score order them alike in every run?

    Runs are joined by id; every training example of the first must be in the others with the same inputs (and label,
    unless `labels="ignore"`), else InputError that counts and names the first. Metrics are compared by their intervals
    only; they say how each run would do on other rows, not whether two runs differ.
    """
    if labels not in ("same", "ignore"):
        raise InputError(f"--labels {labels}: choose same or ignore")
    unknown = [
        f"there is no score `{name}`; the scores are {', '.join(SCORES)}" for name in names if name not in SCORES
    ]
    if unknown:
        raise all_at_once("compare", unknown)
    notes: list[str] = []
    tables = [_columns(runs[0], names, np.arange(len(runs[0].train)), notes)]
    for other in runs[1:]:
        rows = join(runs[0].train, other.train, labels, where=str(other.path))
        tables.append(_columns(other, names, rows, notes))
    if len(runs) == 1:
        agreements = [_agreed(f"within {runs[0].name}", tables[0])]
    else:
        shared = [name for name in names if all(name in table for table in tables)]
        if not shared:
            raise InputError(f"compare: no score of {', '.join(names)} is defined in all {len(runs)} runs")
        titles = _distinct(runs)
        agreements = [
            _agreed(name, {title: table[name] for title, table in zip(titles, tables, strict=True)}) for name in shared
        ]
    return Comparison(_distinct(runs), agreements, _results(runs), notes)


def _columns(run: Run, names: Sequence[str], rows: np.ndarray, notes: list[str]) -> dict[str, np.ndarray]:
    columns, left_out = compute_scores(run.signals, names)
    notes += [f"{run.name}: {name} left out: {reason}" for name, reason in left_out.items()]
    return {name: column[rows] for name, column in columns.items()}


def _agreed(title: str, columns: dict[str, np.ndarray]) -> Agreed:
    found = rank_agreement(columns)
    return Agreed(title, found.names, int(found.n.max(initial=0)), found.spearman, found.kendall)


def _results(runs: Sequence[Run]) -> dict[str, dict[str, list[dict[str, float] | None]]]:
    splits = [split for split in ("train", "validation", "test") if any(split in run.results for run in runs)]
    table: dict[str, dict[str, list[dict[str, float] | None]]] = {}
    for split in splits:
        metrics = list(dict.fromkeys(name for run in runs for name in run.results.get(split, {}) if "[" not in name))
        table[split] = {name: [run.results.get(split, {}).get(name) for run in runs] for name in metrics}
    return table


def _distinct(runs: Sequence[Run]) -> list[str]:
    """Names of the runs; with the number of the argument where two are called the same."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]
