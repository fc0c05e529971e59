"""What the scores of one or several runs say of each other: within runs, between runs, over seeds, beside people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leadline.comparison.agreement import KENDALL_ROWS, ScoreAgreement, agreement, over_seeds
from leadline.comparison.groups import Group
from leadline.comparison.humans import Humans, with_people
from leadline.comparison.shared import shared_training, without_inputs
from leadline.comparison.stability import Stability, stability
from leadline.comparison.votes import Asked
from leadline.evaluate import rank_agreement
from leadline.runs import Run
from leadline.scores import compute as compute_scores


@dataclass(frozen=True)
class Agreed:
    """Spearman and Kendall of every two columns, as they are: scores of one run, or one score of several runs.

    The table of scores with harder = up, with overlaps and intervals, is `ScoreAgreement`.
    """

    title: str
    names: list[str]
    n: int
    spearman: np.ndarray  # (M, M)
    kendall: np.ndarray  # (M, M) tau-b
    kendall_n: int  # rows that tau is of


@dataclass(frozen=True)
class How:
    """What of the scores is asked for."""

    names: Sequence[str]
    labels: str = "same"
    hardest: float = 0.1
    per_class: bool = False
    all_of_kendall: bool = False
    people: Asked | None = None


@dataclass(frozen=True)
class OfScores:
    agreements: list[Agreed] = field(default_factory=list)
    scores: list[ScoreAgreement] = field(default_factory=list)  # of each recipe: its run, or the mean over its seeds
    stability: list[Stability] = field(default_factory=list)
    humans: list[Humans] = field(default_factory=list)
    shared: dict[str, Any] = field(default_factory=dict)


def of_one(run: Run, how: How, notes: list[str]) -> OfScores:
    """The scores of one run with each other, on all its training examples."""
    columns, left_out = _columns(run, how.names, np.arange(len(run.train)), notes)
    found = _agreement(run, run.name, np.arange(len(run.train)), columns, left_out, how)
    order = [found.names.index(name) for name in columns]  # as they were asked for
    spearman, kendall = (found.as_recorded(t)[np.ix_(order, order)] for t in (found.spearman, found.kendall))
    n = int(found.n.max(initial=0))
    agreed = Agreed(f"within {run.name}", list(columns), n, spearman, kendall, found.kendall_n)
    _tell_sample(found.kendall_n, n, how, notes)
    return OfScores([agreed], [found], humans=_humans([run], [run.name], [columns], how))


def of_several(
    runs: Sequence[Run], titles: Sequence[str], groups: Sequence[Group], how: How, notes: list[str]
) -> OfScores:
    """Each score between all runs and over seeds; the scores of each recipe with each other; on the rows all share."""
    rows = shared_training(runs, how.labels)
    shared = _shared(runs, titles, len(rows[0]), notes)
    if not _recorded(runs, titles, len(rows[0]), notes):
        return OfScores(shared=shared)
    read = [_columns(run, how.names, at, notes) for run, at in zip(runs, rows, strict=True)]
    tables = [columns for columns, _ in read]
    defined = [name for name in how.names if all(name in table for table in tables)]
    if not defined:
        notes.append(f"no score of {', '.join(how.names)} is defined in all {len(runs)} runs")
    between = {name: {t: table[name] for t, table in zip(titles, tables, strict=True)} for name in defined}
    agreements = [_between(name, columns, how) for name, columns in between.items()]
    each = [_agreement(runs[i], titles[i], rows[i], *read[i], how) for i in range(len(runs))]
    scores = [
        over_seeds(group.name, [each[i] for i in group.runs]) if len(group) > 1 else each[group.runs[0]]
        for group in groups
    ]
    _tell_sample(scores[0].kendall_n, len(rows[0]), how, notes)
    seeds = [group for group in groups if len(group) > 1]
    stable = [row for g in seeds for row in stability(g.name, [tables[i] for i in g.runs], how.hardest)]
    whole = [_columns(run, how.names, np.arange(len(run.train)), [])[0] for run in runs] if how.people else []
    return OfScores(agreements, scores, stable, _humans(runs, titles, whole, how), shared)


def _agreement(
    run: Run, title: str, rows: np.ndarray, columns: Mapping[str, np.ndarray], left_out: Mapping[str, str], how: How
) -> ScoreAgreement:
    classed = how.per_class and bool(run.classes) and np.issubdtype(run.signals.gold.dtype, np.integer)
    labels = (run.classes, run.signals.gold[rows]) if classed else None
    return agreement(title, columns, how.hardest, left_out, labels, how.all_of_kendall)


def _between(name: str, columns: Mapping[str, np.ndarray], how: How) -> Agreed:
    found = rank_agreement(columns, None if how.all_of_kendall else KENDALL_ROWS)
    n = int(found.n.max(initial=0))
    return Agreed(name, found.names, n, found.spearman, found.kendall, found.kendall_n)


def _humans(
    runs: Sequence[Run], titles: Sequence[str], columns: Sequence[Mapping[str, np.ndarray]], how: How
) -> list[Humans]:
    if how.people is None:
        return []
    return [with_people(t, run, c, how.people, how.hardest) for t, run, c in zip(titles, runs, columns, strict=True)]


def _columns(
    run: Run, names: Sequence[str], rows: np.ndarray, notes: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """({score: (n,)}, {score left out: why}); the notes name those of one reason together."""
    columns, left_out = compute_scores(run.signals, names)
    for reason in dict.fromkeys(left_out.values()):
        without = ", ".join(name for name, why in left_out.items() if why == reason)
        notes.append(f"{run.name}: {without} left out: {reason}")
    return {name: column[rows] for name, column in columns.items()}, left_out


def _shared(runs: Sequence[Run], titles: Sequence[str], n: int, notes: list[str]) -> dict[str, Any]:
    textless = [title for title, run in zip(titles, runs, strict=True) if without_inputs(run)]
    if textless:
        notes.append(f"joined by id and label alone, as there are no texts in {', '.join(textless)}")
    others = {title: len(run.train) - n for title, run in zip(titles, runs, strict=True)}
    if any(others.values()):
        alone = ", ".join(f"{title} {count:,}" for title, count in others.items())
        notes.append(f"{n:,} training rows are in all runs; not in all: {alone}")
    return {"train": {"n": n, "only": others}}


def _recorded(runs: Sequence[Run], titles: Sequence[str], n: int, notes: list[str]) -> bool:
    """Is there anything to compare scores of? A note where not."""
    silent = [
        t for t, run in zip(titles, runs, strict=True) if not (run.path / "signals" / "epoch_001.arrow").is_file()
    ]
    if not silent and n:
        return True
    why = f"{', '.join(silent)} recorded nothing" if silent else "the runs share no training row"
    notes.append(f"no agreement of scores: {why}; only metrics are compared")
    return False


def _tell_sample(kendall_n: int, n: int, how: How, notes: list[str]) -> None:
    if kendall_n < n:
        notes.append(f"Kendall's tau is of {kendall_n:,} random rows of {n:,}; --kendall takes all")
