"""Paired tests of two groups of runs: would other test rows say the same, would other seeds?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from leadline.comparison.groups import Group
from leadline.comparison.shared import Answers, differ
from leadline.evaluate import (
    Difference,
    find_metric,
    mcnemar,
    metrics,
    over_seeds,
    paired_bootstrap,
)

MAIN = {"classification": ["accuracy", "macro_f1"], "regression": ["rmse", "mae", "pearson"]}


@dataclass(frozen=True)
class Test:
    """One comparison of two groups by one metric, over rows (the models held fixed) or over seeds (the rows fixed)."""

    over: str  # rows | seeds
    split: str
    metric: str
    first: str
    second: str
    difference: Difference  # second minus first
    bootstrap_p: float | None = None  # where p is McNemar's

    __test__ = False  # pytest collects classes of this name

    def to_dict(self) -> dict[str, Any]:
        better = find_metric(self.metric).higher_is_better
        head = {name: getattr(self, name) for name in ("over", "split", "metric", "first", "second")}
        tail = {"higher_is_better": better, "bootstrap_p": self.bootstrap_p}
        return head | asdict(self.difference) | tail


def comparable(a: Group, b: Group, said: Sequence[Answers | None], titles: Sequence[str], split: str) -> str | None:
    """Why the two groups cannot be tested against each other, as a sentence; None if they can."""
    if not (len(a) and len(b)):
        return f"{a.name} and {b.name} are not tested: no predictions for `{split}` of {b.name if len(a) else a.name}"
    members = [*a.runs, *b.runs]
    first = said[members[0]]
    for i in members[1:]:
        other = said[i]
        assert first is not None and other is not None
        reason = differ(first, other)
        if reason:
            advice = "`leadline evaluate RUN --data FILE` measures each on one file"
            return f"{titles[members[0]]} and {titles[i]} are not tested against each other: {reason}; {advice}"
    return None


def tests(a: Group, b: Group, said: Sequence[Answers | None], split: str, names: Sequence[str] | None) -> list[Test]:
    """b minus a on the rows of `split`, metric by metric, and over seeds where both have several; p uncorrected."""
    ours, theirs = ([x for x in (said[i] for i in group.runs) if x is not None] for group in (a, b))
    classes = ours[0].run.classes
    labels = ours[0].labels(classes)
    first, second = (np.stack([x.predictions(classes) for x in several]) for several in (ours, theirs))
    asked = list(names) if names else MAIN["classification" if classes else "regression"]
    found = []
    for name, difference in paired_bootstrap(labels, first, second, classes, asked).items():
        if name == "accuracy" and len(a) == len(b) == 1:
            gold = labels if labels.ndim == 1 else labels.argmax(axis=1)
            exact = mcnemar(first[0].argmax(axis=1) == gold, second[0].argmax(axis=1) == gold)
            p = {key: getattr(exact, key) for key in ("p", "method", "lowest_p", "detectable")}
            found.append(Test("rows", split, name, a.name, b.name, replace(difference, **p), difference.p))
        else:
            found.append(Test("rows", split, name, a.name, b.name, difference))
    if min(len(a), len(b)) > 1:
        measured = [[metrics(labels, run, classes, asked) for run in runs] for runs in (first, second)]
        for name in measured[0][0]:
            values = {
                which: {seed: result[name] for seed, result in zip(group.seeds, results, strict=True)}
                for which, group, results in (("first", a, measured[0]), ("second", b, measured[1]))
            }
            found.append(Test("seeds", split, name, a.name, b.name, over_seeds(values, "first")["second"]))
    return found
