"""`leadline compare`: which scores agree, metrics of runs side by side, means over seeds, paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

from leadline.comparison.agreement import ScoreAgreement
from leadline.comparison.groups import Group, distinct, grouped
from leadline.comparison.humans import Humans
from leadline.comparison.scored import Agreed, How, of_one, of_several
from leadline.comparison.shared import Answers, answers
from leadline.comparison.stability import Stability
from leadline.comparison.tested import Test, comparable, tests
from leadline.comparison.votes import Asked
from leadline.errors import InputError, all_at_once, nearest
from leadline.evaluate import corrected, find_metric, mean_interval
from leadline.runs import SPLITS, Run
from leadline.scores import SCORES

Table = dict[str, dict[str, list[dict[str, float] | None]]]  # split -> metric -> one entry per run or group
FEW_ROWS = 50  # below, a bootstrap's interval is too short


@dataclass(frozen=True)
class Comparison:
    """`shared` counts training rows: n that all runs have, and for each run those that not all have."""

    runs: list[str]
    agreements: list[Agreed]
    results: Table  # one entry per run
    notes: list[str]
    shared: dict[str, Any] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    means: Table = field(default_factory=dict)  # one entry per group: mean over its seeds, None for a run alone
    tests: list[Test] = field(default_factory=list)
    scores: list[ScoreAgreement] = field(default_factory=list)  # of the run; of each group
    stability: list[Stability] = field(default_factory=list)  # a row per score and group of several seeds
    humans: list[Humans] = field(default_factory=list)  # per run, where votes were given

    def to_dict(self) -> dict[str, Any]:
        groups = [asdict(group) | {"runs": [self.runs[i] for i in group.runs]} for group in self.groups]
        return {
            "runs": self.runs,
            "agreement": [vars(agreed) for agreed in self.agreements],
            "results": self.results,
            "notes": self.notes,
            "shared": self.shared,
            "groups": groups,
            "means": self.means,
            "tests": [test.to_dict() for test in self.tests],
            "scores": [found.to_dict() for found in self.scores],
            "stability": [asdict(found) for found in self.stability],
            "humans": [found.to_dict() for found in self.humans],
        }


def compare(
    runs: Sequence[Run],
    names: Sequence[str],
    labels: str = "same",
    against: str | None = None,
    all_pairs: bool = False,
    metrics: Sequence[str] | None = None,
    hardest: float = 0.1,
    per_class: bool = False,
    all_of_kendall: bool = False,
    people: Asked | None = None,
) -> Comparison:
    """One run: do its scores order the examples alike? Several: in every run alike, and do their metrics differ?

    Scores are compared on the training examples that all runs have, joined by id: their inputs must be the same (and
    their labels, unless `labels="ignore"`), else InputError that counts and names the first. Metrics are tested on the
    test rows (validation, where no run has a test set), only between runs that answered the very same rows; a note says
    where they did not. Runs that differ in the seed only form one group, unless all do. Every group is tested against
    `against` (a run or group; default: the first), or every two with `all_pairs`; p-values are corrected for all tests.
    A run called like a seed of another whose recipe differs in more is no seed of it; a note says in what.
    metrics         those to test, default accuracy and macro F1, for a regression RMSE, MAE and Pearson's r
    hardest         share of the examples whose overlap between scores is counted, in (0, 1)
    per_class       the agreement of scores within each class, too
    all_of_kendall  Kendall's tau of all rows; else of at most 5,000 random ones
    people          a file with the answers of several people: agreement of every score with their disagreement
    """
    if not runs:
        raise InputError("compare: name at least one run")
    _check(names, labels, metrics)
    titles, notes = distinct([run.name for run in runs]), list[str]()
    if len(runs) == 1 and against is not None:
        raise InputError(f"--against {against}: there is one run only; name the others too")
    how = How(names, labels, hardest, per_class, all_of_kendall, people)
    if len(runs) == 1:
        one = of_one(runs[0], how, notes)
        return Comparison(titles, one.agreements, _results(runs), notes, scores=one.scores, humans=one.humans)
    groups, odd = grouped(runs, titles)
    found = of_several(runs, titles, groups, how, notes)
    notes += odd
    means = _means(groups, _results(runs)) if len(groups) < len(runs) else {}
    opposed = groups if len(groups) > 1 else [Group(t, [i], groups[0].seeds[i : i + 1]) for i, t in enumerate(titles)]
    pairs = list(combinations(opposed, 2)) if all_pairs else _pairs(opposed, titles, against)
    tested = _tested(runs, titles, pairs, metrics, notes)
    return Comparison(
        titles, found.agreements, _results(runs), notes, found.shared, groups, means, tested,
        found.scores, found.stability, found.humans,
    )  # fmt: skip


def _check(names: Sequence[str], labels: str, metrics: Sequence[str] | None) -> None:
    if labels not in ("same", "ignore"):
        raise InputError(f"--labels {labels}: choose same or ignore")
    unknown = [
        f"there is no score `{name}`; the scores are {', '.join(SCORES)}" for name in names if name not in SCORES
    ]
    if unknown:
        raise all_at_once("compare", unknown)
    for name in metrics or []:
        find_metric(name)


def _results(runs: Sequence[Run]) -> Table:
    splits = [split for split in SPLITS if any(split in run.results for run in runs)]
    table: Table = {}
    for split in splits:
        metrics = list(dict.fromkeys(name for run in runs for name in run.results.get(split, {}) if "[" not in name))
        table[split] = {name: [run.results.get(split, {}).get(name) for run in runs] for name in metrics}
    return table


def _means(groups: Sequence[Group], results: Table) -> Table:
    """Mean over the seeds of each group with Student's t interval; None for a run alone. n counts runs that have it."""

    def mean(group: Group, entries: Sequence[dict[str, float] | None]) -> dict[str, float] | None:
        values = [entry["value"] for entry in (entries[i] for i in group.runs) if entry and entry["value"] is not None]
        if len(group) < 2 or not values:
            return None
        value, low, high = mean_interval(values)
        return {"value": value, "low": low, "high": high, "n": len(values)}

    return {
        split: {metric: [mean(group, entries) for group in groups] for metric, entries in table.items()}
        for split, table in results.items()
    }


def _pairs(groups: Sequence[Group], titles: Sequence[str], against: str | None) -> list[tuple[Group, Group]]:
    named = {group.name: group for group in groups} | {titles[i]: group for group in groups for i in group.runs}
    if against is not None and against not in named:
        raise InputError(f"--against {against}: no such run here.{nearest(against, named)} Runs: {', '.join(named)}")
    baseline = groups[0] if against is None else named[against]
    return [(baseline, group) for group in groups if group is not baseline]


def _tested(
    runs: Sequence[Run],
    titles: Sequence[str],
    pairs: Sequence[tuple[Group, Group]],
    metrics: Sequence[str] | None,
    notes: list[str],
) -> list[Test]:
    split = "test" if any(run.has_predictions("test") for run in runs) else "validation"
    said = [answers(run, split) for run in runs]
    silent = [title for title, answer in zip(titles, said, strict=True) if answer is None]
    if pairs and silent:
        notes.append(f"no predictions for `{split}`, so left out of the tests: {', '.join(silent)}")
    found: list[Test] = []
    for a, b in ((_speaking(a, said), _speaking(b, said)) for a, b in pairs):
        reason = comparable(a, b, said, titles, split)
        if reason:
            notes.append(reason)
        else:
            found += tests(a, b, said, split, metrics)
    holm = corrected([test.difference for test in found])
    found = [replace(test, difference=difference) for test, difference in zip(found, holm, strict=True)]
    notes += _remarks(found, split)
    return found


def _speaking(group: Group, said: Sequence[Answers | None]) -> Group:
    """The group without the runs that have no predictions."""
    kept = [k for k, i in enumerate(group.runs) if said[i] is not None]
    return replace(group, runs=[group.runs[k] for k in kept], seeds=[group.seeds[k] for k in kept])


def _remarks(found: Sequence[Test], split: str) -> list[str]:
    """What a reader of these tests must know."""
    remarks = []
    if found and split == "validation":
        remarks.append("tested on validation rows: whatever was chosen on them makes the differences look too good")
    rows = [test.difference for test in found if test.over == "rows"]
    if rows and rows[0].n < FEW_ROWS:
        remarks.append(f"{rows[0].n} test rows are few: bootstrap intervals are too short here")
    if found:
        remarks.append(
            "`detectable` is the smallest true difference that such a test finds four times in five (level 0.05, "
            "uncorrected); a larger p does not show that two runs are equal"
        )
    seeds = [test.difference for test in found if test.over == "seeds"]
    for n, lowest in sorted({(d.n, d.lowest_p) for d in seeds if d.lowest_p > 0.05}):
        remarks.append(
            f"with {n} seeds no p below {lowest:.3g} is possible: so few can show nothing, whatever the difference; "
            "paired, at least 6 are needed"
        )
    if rows and not seeds:
        remarks.append(
            "one seed of each: the tests say how these trained models do on other rows, not how others would"
        )
    return remarks
