"""The trials of a sweep as the arms of an ablation: what each was trained on, how it does, what one claim is worth.

`study` gathers it from the finished runs; `drawn.write_study` makes files of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import runs
from leadline.comparison.groups import Group
from leadline.comparison.shared import Answers, answers
from leadline.comparison.tested import Test, comparable, tests
from leadline.errors import InputError, nearest
from leadline.evaluate import corrected, mean_interval
from leadline.launch import last_lines, noted_exit
from leadline.runs import Run
from leadline.sweep.definition import Sweep
from leadline.sweep.state import Keys, log_file, opened, state

ROWS = ("accuracy", "macro_precision", "macro_recall", "macro_f1")  # as the published table has them
CALIBRATION = ("nll", "brier", "ece")
REGIONS = ("easy", "ambiguous", "hard", "none")
FULL = "full"  # the trial that the others are compared with, where one is called so
METHOD = {"region", "label", "entropy"}  # the pairing that the claim is about


@dataclass(frozen=True)
class Arm:
    """One trial over its seeds. Counts are means over the seeds.

    values   metric, or `<metric>+<kind>=<rate>` with noise -> {value, low, high, n}: mean over seeds with Student's t
             interval; of a single seed the bootstrap interval over the rows
    tests    this arm minus the one compared with, over rows and over seeds
    curve    per epoch: {epoch, value, low, high} of the accuracy on validation data
    """

    name: str
    mixed: bool
    seeds: tuple[int, ...]
    trained_on: float
    discarded: float
    steps: float
    examples_seen: float
    values: Mapping[str, Mapping[str, float]]
    regions: Mapping[str, float]  # of the examples trained on; empty where no trial has a base
    curve: Sequence[Mapping[str, float]]
    tests: Sequence[Test] = ()

    def to_dict(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if name != "tests"}
        return {**plain, "seeds": list(self.seeds), "tests": [test.to_dict() for test in self.tests]}


@dataclass(frozen=True)
class Study:
    sweep: str
    split: str
    against: str
    claimed: str | None  # the arm that the claim is about
    arms: Sequence[Arm]
    claim: Sequence[Test]  # macro F1 of the claimed arm minus that of `against`, over rows and over seeds
    changed: pl.DataFrame  # kind, id, label, right_before, right_after, entropy_before, entropy_after, region, inputs
    notes: Sequence[str] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """As `leadline sweep summary --arms --json` prints it."""
        head = {"sweep": self.sweep, "split": self.split, "against": self.against, "claimed": self.claimed}
        claim = [test.to_dict() for test in self.claim]
        arms = [arm.to_dict() for arm in self.arms]
        return {**head, "claim": claim, "arms": arms, "changed": self.changed.to_dicts(), "notes": list(self.notes)}

    def table(self) -> pl.DataFrame:
        """One row per arm: counts, then every metric with its interval, and the difference with both p-values."""
        return pl.DataFrame([_row(arm) for arm in self.arms], infer_schema_length=None)


def study(sweep: Sweep, split: str | None = None, against: str | None = None, claimed: str | None = None) -> Study:
    """The finished trials of a sweep of classifiers as the arms of an ablation.

    split    default: test, or validation where no trial has predictions for test
    against  default: the trial `full`, or the first
    claimed  default: the first trial that mixes by region, label and entropy
    Differences over rows hold the trained models fixed (paired bootstrap of the mean over seeds), those over seeds hold
    the rows fixed (sign flips); p is corrected for all arms of a metric, the claim's stands alone: it was named before.
    Raises InputError where nothing is finished, for a name that no trial has, and for a regression.
    """
    names = _names(sweep, against, claimed)
    found = _finished(sweep)
    if names[0] not in found:
        raise InputError(f"{sweep.path}: `{names[0]}`, which the others are compared with, is not finished")
    everything = [run for by_seed in found.values() for run in by_seed.values()]
    if not everything[0].classes:
        raise InputError(f"{sweep.path}: a regression; arms are compared by accuracy and F1, which need classes")
    split = _split(sweep, everything, split)
    said = {name: {seed: answers(run, split) for seed, run in by_seed.items()} for name, by_seed in found.items()}
    notes = _unfinished(sweep, found)
    base, claimed_name = names[0], names[1] if names[1] in found else None
    compared = {name: _tested(base, name, said, split, notes) for name in found if name != base}
    claim = [test for test in compared.get(claimed_name or "", []) if test.metric == "macro_f1"]
    notes += _unclaimed(base, *names[1:], claim, found)
    regions = _Regions(found)
    arms = [_arm(name, found[name], split, regions, tests) for name, tests in _with_holm({base: [], **compared}, found)]
    changed = _changed(base, claimed_name, said, found, split) if claimed_name and claim else pl.DataFrame()
    return Study(sweep.name, split, base, claimed_name, arms, claim, changed, tuple(notes))


def _names(sweep: Sweep, against: str | None, claimed: str | None) -> tuple[str, str | None]:
    for option, name in (("--against", against), ("--claim", claimed)):
        if name is not None and name not in sweep.names:
            known = ", ".join(sweep.names)
            raise InputError(
                f"{option} {name}: there is no trial of that name.{nearest(name, sweep.names)} Trials: {known}"
            )
    mixing = [trial.name for trial in sweep.trials if trial.recipe.mixup and set(trial.recipe.mixup.pairing) == METHOD]
    base = against or (FULL if FULL in sweep.names else sweep.names[0])
    return base, claimed or next(iter(mixing), None)


def _split(sweep: Sweep, everything: Sequence[Run], asked: str | None) -> str:
    have = [split for split in ("test", "validation", "train") if any(run.has_predictions(split) for run in everything)]
    if asked is not None and asked not in have:
        there = ", ".join(have) or "none"
        raise InputError(f"{sweep.path}: no trial has predictions for `{asked}`; there are: {there} (evaluate.splits)")
    return asked or next(iter(have), "test")


def _unclaimed(base: str, claimed: str | None, claim: Sequence[Test], found: Mapping[str, Any]) -> list[str]:
    """Why there is no claim, where there is none."""
    if claim:
        return []
    if claimed is None:
        return ["no claim: no trial mixes by region, label and entropy; name one with --claim"]
    if claimed == base:
        return [f"no claim: {claimed} is what the others are compared with; see --against"]
    return [f"no claim: {claimed} is not finished" if claimed not in found else f"no claim about {claimed}: see above"]


def _finished(sweep: Sweep) -> dict[str, dict[int, Run]]:
    """Trial -> seed -> its run, in the order of the definition."""
    keys, found = Keys(), dict[str, dict[int, Run]]()
    for trial in sweep.trials:
        run = opened(trial.path) if state(sweep, trial, keys) == "finished" else None
        if run is not None:
            found.setdefault(trial.name, {})[trial.seed] = run
    if not found:
        raise InputError(f"{sweep.path}: no trial is finished; `leadline sweep status {sweep.path}` tells of each")
    return found


def _unfinished(sweep: Sweep, found: Mapping[str, Mapping[int, Run]]) -> list[str]:
    """How many trials are finished, where not all are, and what was the end of an arm that is not there at all."""
    n = sum(map(len, found.values()))
    notes = [] if n == len(sweep) else [f"{n} of {len(sweep)} trials are finished"]
    for trial in {trial.name: trial for trial in sweep.trials if trial.name not in found}.values():
        log = log_file(sweep, trial)
        last = last_lines(log) if (noted_exit(log) or {}).get("state") == "failed" else []
        notes += [f"{trial.name} is not there: {last[-1].removeprefix('leadline: ')}"] if last else []
    return notes


# --- one arm ----------------------------------------------------------------------------------------------------------


def _arm(name: str, by_seed: Mapping[int, Run], split: str, regions: _Regions, compared: Sequence[Test]) -> Arm:
    n_trained = {seed: run.n_trained_on for seed, run in by_seed.items()}
    ends = [(run.events("end") or [{}])[-1] for run in by_seed.values()]
    recipe = next(iter(by_seed.values())).recipe
    return Arm(
        name, bool(recipe and recipe.mixup), tuple(by_seed),
        trained_on=_mean(n_trained.values()),
        discarded=_mean(len(by_seed[seed].train) - n for seed, n in n_trained.items()),
        steps=_mean(end.get("steps", math.nan) for end in ends),
        examples_seen=_mean(end.get("examples_seen", math.nan) for end in ends),
        values=_values(list(by_seed.values()), split),
        regions=regions.counts(name), curve=_curve(list(by_seed.values())), tests=compared,
    )  # fmt: skip


def _mean(values: Iterator[float] | Any) -> float:
    return float(np.mean(list(values)))


def _values(several: Sequence[Run], split: str) -> dict[str, dict[str, float]]:
    """Metrics of the split, and of the split with noise where it was measured."""
    keys = [key for run in several for key in run.results if key == split or key.startswith(f"{split}+")]
    values = {}
    for key in dict.fromkeys(keys):
        beside = key.removeprefix(split)
        for metric in ROWS + CALIBRATION:
            entries = [run.results[key][metric] for run in several if metric in run.results.get(key, {})]
            numbers = [entry["value"] for entry in entries if entry["value"] is not None]
            if len(numbers) > 1:
                mean, low, high = mean_interval(numbers)
                values[metric + beside] = {"value": mean, "low": low, "high": high, "n": len(numbers)}
            elif numbers:
                values[metric + beside] = {**{k: entries[0][k] for k in ("value", "low", "high")}, "n": 1}
    return values


def _curve(several: Sequence[Run]) -> list[dict[str, float]]:
    """Accuracy on validation data after every epoch; mean over the seeds that got so far."""
    by_epoch: dict[int, list[float]] = {}
    for event in (event for run in several for event in run.events("epoch")):
        if "accuracy" in event.get("validation", {}):
            by_epoch.setdefault(event["epoch"], []).append(event["validation"]["accuracy"])
    points = {epoch: mean_interval(values) for epoch, values in sorted(by_epoch.items())}
    return [{"epoch": e, "value": mean, "low": low, "high": high} for e, (mean, low, high) in points.items()]


class _Regions:
    """Where the examples lie on the base's map: by an arm's own rule, or by that of the first arm that has a base."""

    def __init__(self, found: Mapping[str, Mapping[int, Run]]):
        self.found = found
        self.usual: dict[int, Run] = {}
        for seed, run in ((seed, run) for by_seed in found.values() for seed, run in by_seed.items()):
            if run.recipe and run.recipe.base:
                self.usual.setdefault(seed, run)

    def counts(self, name: str) -> dict[str, float]:
        """Region -> how many of the examples trained on lie there; of a run without a record one cannot know which."""
        known = {seed: run for seed, run in self.found[name].items() if run.trained_on.sum() == run.n_trained_on}
        several = [self._of(run, seed, run.trained_on) for seed, run in known.items()]
        there = [category for category in several if category is not None]
        return {region: _mean((category == region).sum() for category in there) for region in REGIONS} if there else {}

    def _of(self, run: Run, seed: int, rows: np.ndarray) -> np.ndarray | None:
        asks = run if run.recipe and run.recipe.base else self.usual.get(seed)
        if asks is None or asks.recipe is None or asks.recipe.base is None or _base(asks) is None:
            return None
        try:
            return runs.Standing(Run(asks.recipe.base.run), run.train, asks.recipe.base).category[rows]
        except InputError:  # an arm on other data than the base of another arm
            return None


def _base(run: Run) -> Run | None:
    """The run that a run stands on, where it is still there."""
    return opened(Path(run.recipe.base.run)) if run.recipe and run.recipe.base else None


# --- comparisons ------------------------------------------------------------------------------------------------------

Said = Mapping[str, Mapping[int, Answers | None]]


def _tested(base: str, name: str, said: Said, split: str, notes: list[str]) -> list[Test]:
    """`name` minus `base`, on the rows, and over the seeds that both have."""
    seeds = [s for s in said[base] if said[base][s] is not None and said[name].get(s) is not None]
    if not seeds:
        notes.append(f"{name} is not compared: it shares no finished seed with {base}")
        return []
    several = [said[which][s] for which in (base, name) for s in seeds]
    a = Group(base, list(range(len(seeds))), seeds)
    b = Group(name, list(range(len(seeds), 2 * len(seeds))), seeds)
    reason = comparable(a, b, several, [f"{which}-s{s}" for which in (base, name) for s in seeds], split)
    if reason:
        notes.append(reason)
        return []
    return tests(a, b, several, split, ROWS)


def _with_holm(compared: Mapping[str, Sequence[Test]], found: Mapping[str, Any]) -> Iterator[tuple[str, list[Test]]]:
    """p of one metric and one question (rows, seeds) corrected for all arms."""
    flat = [(name, test) for name, several in compared.items() for test in several]
    holm: dict[int, Test] = {}
    for kind in dict.fromkeys((test.over, test.metric) for _, test in flat):
        family = [test for _, test in flat if (test.over, test.metric) == kind]
        for test, difference in zip(family, corrected([test.difference for test in family]), strict=True):
            holm[id(test)] = replace(test, difference=difference)
    for name in found:
        yield name, [holm[id(test)] for test in compared[name]]


def _changed(base: str, claimed: str, said: Said, found: Mapping[str, Mapping[int, Run]], split: str) -> pl.DataFrame:
    """The rows that most seeds of one arm get right and most of the other wrong: repaired, then broken."""
    seeds = [s for s in said[base] if said[base][s] is not None and said[claimed].get(s) is not None]
    if not seeds:
        return pl.DataFrame()
    sides = {which: _each(said[name], seeds) for which, name in (("before", base), ("after", claimed))}
    run = found[base][seeds[0]]
    first = said[base][seeds[0]]
    assert first is not None
    before, after = sides["before"][0], sides["after"][0]
    kind = np.where((before < 0.5) & (after > 0.5), "repaired", np.where((before > 0.5) & (after < 0.5), "broken", ""))
    table = first.table.select("id", "label").with_columns(
        pl.Series("kind", kind), pl.Series("right_before", before), pl.Series("right_after", after),
        pl.Series("entropy_before", sides["before"][1]), pl.Series("entropy_after", sides["after"][1]),
    )  # fmt: skip
    part = run.examples.split(split)
    texts = part.table.select(pl.col("_id").cast(pl.String).alias("id"), *part.inputs, *_region(run, split))
    table = table.filter(pl.col("kind") != "").join(texts, on="id", how="left", maintain_order="left")
    order = ["kind", "id", "label", "right_before", "right_after", "entropy_before", "entropy_after", "region"]
    table = table.select(*order, *part.inputs)
    return table.sort(["kind", "entropy_before", "id"], descending=[True, True, False])


def _each(by_seed: Mapping[int, Answers | None], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(share of the seeds that are right (N,), mean entropy of the answer in nats (N,)), rows by id."""
    right, entropy = [], []
    for seed in seeds:
        one = by_seed[seed]
        assert one is not None
        p = one.predictions(one.run.classes)
        right.append((one.table["label"].cast(pl.String) == one.table["predicted"].cast(pl.String)).to_numpy())
        entropy.append(-np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1))
    return np.mean(right, axis=0), np.mean(entropy, axis=0)


def _region(run: Run, split: str) -> list[pl.Series]:
    """Validation examples have a region by their own record; test examples are looked at once and have none."""
    record = run.validation_signals if split == "validation" else None
    if record is None:
        return [pl.Series("region", [None] * len(run.examples.split(split)), dtype=pl.String)]
    return [pl.Series("region", runs.cut_map(record, runs.RegionRule(), {}).category.astype(str))]


def _row(arm: Arm) -> dict[str, Any]:
    row: dict[str, Any] = {
        "arm": arm.name, "seeds": len(arm.seeds), "trained_on": arm.trained_on, "discarded": arm.discarded,
        "steps": arm.steps, "examples_seen": arm.examples_seen,
        **{f"trained_{region}": arm.regions.get(region) for region in REGIONS},
    }  # fmt: skip
    for metric, figure in arm.values.items():
        row |= {metric: figure["value"], f"{metric}_low": figure["low"], f"{metric}_high": figure["high"]}
    for test in arm.tests:
        if test.metric == "macro_f1":
            d = asdict(test.difference)
            row |= {f"macro_f1_difference_{test.over}_{k}": d[k] for k in ("value", "low", "high", "p", "p_holm")}
    return row
