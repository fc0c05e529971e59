"""Are the examples that a score calls hard those on which people disagree?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from leadline.comparison.agreement import harder_up
from leadline.comparison.votes import Asked, Votes, read
from leadline.data import tables
from leadline.errors import InputError
from leadline.evaluate import ceiling, concordance, disagreement
from leadline.runs import Run
from leadline.scores import SCORES

LEAST = 10  # examples with votes; below, a rank correlation means nothing
ID_NAMES = ("id", "idx", "guid")  # of an import, which has no recipe to name its id column


@dataclass(frozen=True)
class WithPeople:
    """One score against how far people disagree: rows of the same examples.

    measure    entropy of the votes (nats), minority (1 - share of the majority), or spread of graded answers
    label_free the score knows nothing of the given label, which one of these people may have given
    overlap    share of the `hardest` by score that are among as many with most disagreement
    """

    score: str
    measure: str
    label_free: bool
    n: int
    spearman: float
    spearman_low: float
    spearman_high: float
    overlap: float
    overlap_low: float
    overlap_high: float


@dataclass(frozen=True)
class Humans:
    """One run beside the people who labelled (some of) its training examples."""

    run: str
    file: str
    n: int  # examples with the answers of at least two people
    people: tuple[int, int]  # the fewest and the most of them
    ceilings: Mapping[str, float]  # measure -> the largest Spearman that an untied score could reach
    hardest: float
    scores: list[WithPeople]
    told: list[str]

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "scores": [asdict(score) for score in self.scores]}


def with_people(title: str, run: Run, columns: Mapping[str, np.ndarray], asked: Asked, hardest: float = 0.1) -> Humans:
    """Spearman of every score of a run (N,), harder = up, with the disagreement of people, and the hardest in common.

    Scores are joined with the file by id, and by the hash of the inputs where both have them. InputError where inputs
    differ or fewer than 10 examples have the answers of two people.
    """
    votes, told = _file(run, asked)
    rows, at, more = _join(run, votes)
    if not len(rows):
        raise InputError(
            f"{votes.origin}: no row has the id of a training example of {title} (the first here is "
            f"`{next(iter(votes.ids), '')}`, there `{run.train.ids[0]}`); name the column of the ids by --humans-id"
        )
    people = votes.people[at]
    enough = people >= 2
    if (~enough).any():
        more.append(f"{int((~enough).sum()):,} examples with fewer than two answers are left out")
    rows, at, people = rows[enough], at[enough], people[enough]
    if len(rows) < LEAST:
        raise InputError(
            f"{votes.origin}: {len(rows)} training examples of {title} have answers of at least two people; {LEAST} "
            "are the least. Train on the examples that people labelled, or name another file"
        )
    measures = _measures(votes, at)
    told += more + _told_constant(measures)
    turned = {name: values[rows] for name, values in harder_up(columns).items()}
    found = [each for name, values in measures.items() for each in _against(turned, name, values, hardest)]
    ceilings = {name: ceiling(values) for name, values in measures.items()}
    spread = (int(people.min()), int(people.max()))
    return Humans(title, votes.origin, len(rows), spread, ceilings, hardest, found, told)


def label_free(name: str) -> bool:
    """The score knows the model's answer only, not the given label: entropies and mutual information."""
    return name in SCORES and SCORES[name].higher_is == "neither"


def _file(run: Run, asked: Asked) -> tuple[Votes, list[str]]:
    """The file, read by the run's own idea of an id; and what must be told of it."""
    table = tables.read(asked.path)
    inputs = [name for name in run.train.inputs if not name.startswith("_")]
    id = _id_column(run, asked, table.frame.columns)
    votes = read(asked, table, id, inputs)
    if votes.hashes is not None:
        return votes, []
    if id is None:
        raise InputError(
            f"{votes.origin}: rows could only be joined by their number, and the file lacks the columns "
            f"{', '.join(inputs) or 'of inputs'} to check that they are the same. Name its id column by --humans-id"
        )
    return votes, [f"joined with {votes.origin} by id alone: one of the two has no texts to compare"]


def _id_column(run: Run, asked: Asked, columns: Sequence[str]) -> str | None:
    if asked.id is not None:
        return asked.id
    if run.recipe is not None:
        return run.recipe.data.id
    return next((name for name in ID_NAMES if name in columns), None)


def _join(run: Run, votes: Votes) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(rows of the run, rows of the file) that are the same examples, and what must be told."""
    place = {name: row for row, name in enumerate(votes.ids)}
    ids = run.train.ids
    rows = np.array([row for row, name in enumerate(ids) if name in place], dtype=np.int64)
    at = np.array([place[ids[row]] for row in rows], dtype=np.int64)
    if votes.hashes is not None and "_input_hash" in run.train.table.columns:
        ours = run.train.table["_input_hash"].to_list()
        differ = [row for row, there in zip(rows, at, strict=True) if ours[row] not in (None, votes.hashes[there])]
        if differ:
            raise InputError(
                f"{votes.origin}: {len(differ)} of {len(rows)} examples have other inputs there (first id: "
                f"{ids[differ[0]]}); give the votes on the texts that the run was trained on"
            )
    told = []
    if len(rows) < len(ids):
        told.append(f"{len(ids) - len(rows):,} of {len(ids):,} training examples are not in {votes.origin}")
    if len(rows) < len(votes.ids):
        told.append(f"{len(votes.ids) - len(rows):,} of {len(votes.ids):,} rows of it are no training examples")
    return rows, at, told


def _measures(votes: Votes, at: np.ndarray) -> dict[str, np.ndarray]:
    """{measure: (n,)}"""
    if votes.counts is None:
        assert votes.spread is not None
        return {"spread": votes.spread[at]}
    found = disagreement(votes.counts[at])
    return {"entropy": found.entropy, "minority": found.minority}


def _told_constant(measures: Mapping[str, np.ndarray]) -> list[str]:
    flat = [name for name, values in measures.items() if (values == values[0]).all()]
    return [f"{name} is the same for all these examples: nothing agrees or disagrees with it" for name in flat]


def _against(turned: Mapping[str, np.ndarray], measure: str, values: np.ndarray, hardest: float) -> list[WithPeople]:
    found = concordance({**turned, "\0people": values}, hardest)
    last = len(found.names) - 1
    return [
        WithPeople(
            name, measure, label_free(name), int(found.n[i, last]),
            *(float(table[i, last]) for table in (found.spearman, found.spearman_low, found.spearman_high)),
            *(float(table[i, last]) for table in (found.overlap, found.overlap_low, found.overlap_high)),
        )
        for i, name in enumerate(found.names[:-1])
    ]  # fmt: skip
