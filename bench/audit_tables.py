"""What the trials of bench/audit.py say together: every score, the choice of a default, and what costs more.

Trials of one data set are alike, so means and intervals are over data sets: the mean of its trials is one number of
each set, and differences are taken within a set (Student's t). With two classes there is one other class to flip to,
and the rows are drawn by the same seed: the kinds of flips are then one and the same trial, which counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from common import interval, markdown

from leadline.scores import SCORES
from leadline.suspects import QUALITY

Results = Sequence[Mapping[str, Any]]
Values = dict[str, dict[str, float]]  # score -> {trial: value}
KINDS = ("uniform", "class-pair", "by-confusion")
DEFAULT = "aum"  # what the others are measured against
EXTRA = "uniform-10-s0"  # the trials that also have folds, snapshots and planted errors
SEVERAL = ("aum", "confidence", "action_mean", "loss_last", "el2n", "correctness", "forgetting", "self_confidence")


def table(results: Results) -> str:
    """All tables, one after the other."""
    if not results:
        return "no trial is finished"
    results = sorted(results, key=lambda result: result["trial"])
    every = [result for result in results if not ({"snapshot", "long"} & set(result["trial"].split("-")))]
    online = distinct(every)
    parts = [
        (f"Every score, {len(online)} trials", every_score(online)),
        ("Average precision by kind of flip, 10 and 20 %", by_kind(online)),
        (
            "The default chosen on the other data sets, judged on this one; 3 and 10 epochs count half each",
            choice(results),
        ),
        (f"One epoch against all, {len(online)} trials", early(online)),
        (f"Online against a snapshot after every epoch, {EXTRA}", beside(results, "snapshot", "snapshot")),
        (f"Three epochs against ten, {EXTRA}", beside(results, "long", "online, 10 epochs")),
        (f"Probabilities of the run, prequential, and of 5 folds, {EXTRA}", sources(online)),
        ("cleanlab's filters, means over the data sets whose trials have the probabilities", filters(online)),
        ("Seconds of computing, median of a trial (training apart)", seconds(online)),
    ]
    return "\n\n".join(f"**{title}**\n\n{body}" for title, body in parts if body)


def distinct(results: Results) -> list[Mapping[str, Any]]:
    """Without the trials that are the uniform one of the same set, share and seed over again."""
    by = {result["trial"]: result["measures"][DEFAULT] for result in results}
    return [
        result for result in results
        if "-uniform-" in result["trial"] or by[result["trial"]] != by.get(uniform_of(result["trial"]))
    ]  # fmt: skip


def uniform_of(trial: str) -> str:
    for kind in KINDS:
        trial = trial.replace(f"-{kind}-", "-uniform-")
    return trial


def values(results: Results, what: str = "ap") -> Values:
    found: Values = defaultdict(dict)
    for result in results:
        for name, measured in result["measures"].items():
            found[name][result["trial"]] = measured[what]
    return found


def of_set(values: Mapping[str, float]) -> dict[str, float]:
    """{data set: mean over its trials}"""
    by: dict[str, list[float]] = defaultdict(list)
    for trial, value in values.items():
        by[trial.split("-")[0]].append(value)
    return {name: float(np.mean(each)) for name, each in sorted(by.items())}


def mean_of_sets(values: Mapping[str, float]) -> float:
    return float(np.mean(list(of_set(values).values())))


def against(mine: Mapping[str, float], other: Mapping[str, float]) -> str:
    """The mean difference, within data sets, with its interval over them."""
    here = of_set({trial: value - other[trial] for trial, value in mine.items() if trial in other})
    return interval(list(here.values()), "+.3f")


def complete(by_score: Values) -> list[str]:
    """The scores that every trial has, the best first."""
    most = max(len(values) for values in by_score.values())
    names = [name for name, values in by_score.items() if len(values) == most]
    return sorted(names, key=lambda name: -mean_of_sets(by_score[name]))


def every_score(results: Results) -> str:
    ap, auroc, at_k = (values(results, what) for what in ("ap", "auroc", "precision_at_k"))
    rows = []
    for name in [name for name in complete(ap) if not name.endswith("@1")]:
        means = [f"{mean_of_sets(part[name]):.3f}" for part in (ap, at_k, auroc)]
        each = " ".join(f"{value:.2f}" for value in of_set(ap[name]).values())
        rows.append([name, means[0], against(ap[name], ap[DEFAULT]), *means[1:], each])
    sets = " ".join(of_set(ap[DEFAULT]))
    return markdown(["score", "average precision (AP)", f"AP minus {DEFAULT} [95 %]", "precision at k", "AUROC",
                     f"AP: {sets}"], rows)  # fmt: skip


def by_kind(results: Results) -> str:
    """Each kind where there are more than two classes, mean and range of the trials; two classes know one kind only."""
    ap = values(results)
    several = {trial.split("-")[0] for trial in ap[DEFAULT] if "-uniform-" not in trial}
    if not several:
        return ""
    rows = []
    for name in candidates(ap):
        of = {kind: [v for t, v in ap[name].items() if t.split("-")[0] in several and f"-{kind}-" in t]
              for kind in KINDS}  # fmt: skip
        two = of_set({t: v for t, v in ap[name].items() if t.split("-")[0] not in several})
        rows.append([name, interval(list(two.values())) if two else "", *map(spread, of.values())])
    where = ", ".join(sorted(several))
    header = ["score", "two classes, all kinds alike [95 % over sets]", *(f"{where}, {kind} (range)" for kind in KINDS)]
    return markdown(header, rows)


def spread(each: Sequence[float]) -> str:
    return f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})"


def candidates(by_score: Values) -> list[str]:
    """What could be the default: our own scores that every run has, and label quality of prequential probabilities."""
    prequential = [f"{quality} (prequential)" for quality in QUALITY]
    return [name for name in complete(by_score) if name in SCORES or name in prequential]


def both_lengths(results: Results) -> dict[str, dict[str, float]]:
    """{score: {data set: mean of short and of long trainings, half each}} of what could be the default."""
    long = ["long" in result["trial"].split("-") for result in results]
    online = ["snapshot" not in result["trial"].split("-") for result in results]
    kinds = [values([r for r, is_long, keep in zip(results, long, online, strict=True) if keep and is_long == wanted])
             for wanted in (False, True)]  # fmt: skip
    parts = [kind for kind in kinds if kind]
    names = [name for name in candidates(parts[0]) if all(name in part for part in parts)]
    means = {name: [of_set(part[name]) for part in parts] for name in names}
    return {name: {s: float(np.mean([part[s] for part in each if s in part])) for s in each[0]}
            for name, each in means.items()}  # fmt: skip


def left_out_choice(results: Results) -> dict[str, dict[str, Any]]:
    """{data set: {chosen, value, best, best_value, mine}}: the best score on all other sets, judged on this one."""
    means, found = both_lengths(results), {}
    for left in means[DEFAULT]:
        elsewhere = {name: float(np.mean([v for s, v in each.items() if s != left] or [each[left]]))
                     for name, each in means.items()}  # fmt: skip
        chosen = max(elsewhere, key=elsewhere.__getitem__)
        best = max(means, key=lambda name: means[name][left])
        found[left] = {"chosen": chosen, "value": means[chosen][left], "best": best, "best_value": means[best][left],
                       "mine": means[DEFAULT][left]}  # fmt: skip
    return found


def choice(results: Results) -> str:
    rows = [[name, one["chosen"], f"{one['value']:.3f}", one["best"], f"{one['best_value']:.3f}", f"{one['mine']:.3f}"]
            for name, one in left_out_choice(results).items()]  # fmt: skip
    return markdown(["data set", "best on the others", "AP here", "best here", "its AP", f"AP of {DEFAULT}"], rows)


def early(results: Results) -> str:
    by_score = values(results)
    rows = [
        [name, f"{mean_of_sets(by_score[name]):.3f}", f"{mean_of_sets(first):.3f}", against(first, by_score[name])]
        for name in SEVERAL if (first := by_score.get(f"{name} @1"))
    ]  # fmt: skip
    return markdown(["score", "AP, all epochs", "AP, first epoch", "difference [95 %]"], rows)


def beside(results: Results, way: str, title: str) -> str:
    """Trials that differ from their namesakes in one thing (`snapshot`, `long`): same rows, same flips."""
    other = {result["trial"].replace(f"-{way}", ""): result["measures"] for result in results
             if way in result["trial"].split("-")}  # fmt: skip
    usual = values([result for result in results if result["trial"] in other])
    rows = []
    for name in [name for name in SEVERAL if name in usual]:
        theirs = {trial: measures[name]["ap"] for trial, measures in other.items() if trial in usual[name]}
        means = [f"{np.mean(list(part.values())):.3f}" for part in (usual[name], theirs)]
        rows.append([name, *means, against(theirs, usual[name])])
    return markdown(["score", "AP, online, 3 epochs", f"AP, {title}", "difference [95 %]"], rows) if rows else ""


def sources(results: Results) -> str:
    by_score = values([result for result in results if result["trial"].endswith(EXTRA)])
    wanted = [name for name in by_score if "(" in name and "cleanlab" not in name]
    wanted += ["combined", "best by --calibrate"]
    rows = [
        [name, f"{np.mean(list(by_score[name].values())):.3f}", against(by_score[name], by_score[DEFAULT]),
         " ".join(f"{value:.2f}" for value in of_set(by_score[name]).values())]
        for name in [DEFAULT, *wanted] if name in by_score
    ]  # fmt: skip
    rows.sort(key=lambda row: -float(row[1]))
    return markdown(["ranked by", "AP", f"AP minus {DEFAULT} [95 %]", "by data set"], rows)


def filters(results: Results) -> str:
    by: dict[str, dict[str, Mapping[str, float]]] = defaultdict(dict)
    for result in results:
        for name, found in result["filters"].items():
            by[name][result["trial"]] = found
    columns = {"flagged": ".0f", "precision": ".3f", "recall": ".3f", "f1": ".3f"}
    rows = [
        [name, str(len(each)), *(f"{mean_of_sets({t: one[c] for t, one in each.items()}):{form}}"
                                 for c, form in columns.items())]
        for name, each in by.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: -float(row[-1]))
    return markdown(["filter (probabilities)", "trials", *columns], rows)


def seconds(results: Results) -> str:
    by: dict[str, list[float]] = defaultdict(list)
    for result in results:
        for name, took in result["seconds"].items():
            by[name].append(took)
    return markdown(["what", "seconds"], [[name, f"{np.median(each):.3f}"] for name, each in by.items()])
