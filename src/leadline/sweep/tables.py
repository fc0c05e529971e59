"""What the trials of a sweep found: one table per trial, one averaged over seeds, with paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from leadline.errors import InputError, all_at_once, nearest
from leadline.evaluate import mean_interval, over_seeds
from leadline.sweep.definition import Sweep, Trial
from leadline.sweep.state import Keys, opened, state

USUAL = ("macro_f1", "accuracy", "rmse", "pearson")  # shown where nothing else is asked for
Found = dict[str, dict[str, float]]  # title -> metric -> value


@dataclass(frozen=True)
class Summary:
    """Of the finished trials. Differences are trial minus `against`, paired by seed."""

    sweep: str
    split: str
    metrics: tuple[str, ...]
    against: str
    trials: pl.DataFrame  # index, trial, seed, state, one column per metric, minutes, examples_per_second
    averages: pl.DataFrame  # trial, metric, n, mean, low, high, difference, …, p, p_holm, one row per trial and metric
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As `leadline sweep summary --json` prints it."""
        tables = {"trials": self.trials.to_dicts(), "averages": self.averages.to_dicts()}
        head = {"sweep": self.sweep, "split": self.split, "metrics": list(self.metrics), "against": self.against}
        return {**head, **tables, "notes": list(self.notes)}


def summary(
    sweep: Sweep, metrics: str | Sequence[str] = (), split: str | None = None, against: str | None = None
) -> Summary:
    """The metrics of every trial, and of every name over its seeds.

    metrics  names, "all", or nothing for macro F1 and accuracy (regression: RMSE and Pearson)
    split    default: test, or validation where no trial has test data
    against  the trial that the others are compared with; default the first
    Means have Student's t interval over seeds; differences are paired by seed, p by flipping signs, Holm's correction
    over the trials of a metric (`evaluate.over_seeds`). They speak of other seeds, not of other test data.
    Raises InputError where nothing is finished, and for a metric, split or trial that no one has.
    """
    keys = Keys()
    states = {trial.title: state(sweep, trial, keys) for trial in sweep.trials}
    finished = [trial for trial in sweep.trials if states[trial.title] == "finished"]
    results = {trial.title: run.results for trial in finished if (run := opened(trial.path)) is not None}
    if not results:
        raise InputError(f"{sweep.path}: no trial is finished; `leadline sweep status {sweep.path}` tells of each")
    split = split or ("test" if any("test" in found for found in results.values()) else "validation")
    have = sorted({name for found in results.values() for name in found})
    if split not in have:
        raise InputError(f"{sweep.path}: no trial has results for `{split}`; there are: {', '.join(have) or 'none'}")
    values: Found = {title: _values(found.get(split, {})) for title, found in results.items()}
    chosen = _metrics(values, [metrics] if isinstance(metrics, str) else metrics)
    base = against or sweep.names[0]
    if base not in sweep.names:
        known = ", ".join(sweep.names)
        raise InputError(
            f"--against {base}: there is no trial of that name.{nearest(base, sweep.names)} Trials: {known}"
        )
    rows = [_row(trial, states[trial.title], values.get(trial.title, {}), chosen) for trial in sweep.trials]
    table = pl.DataFrame(rows, infer_schema_length=None)
    averages = [row for metric in chosen for row in _averages(sweep, finished, values, metric, base)]
    return Summary(
        sweep.name, split, tuple(chosen), base, table, pl.DataFrame(averages, infer_schema_length=None),
        tuple(_notes(sweep, finished, averages)),
    )  # fmt: skip


def _values(results: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    return {name: math.nan if (value := r["value"]) is None else float(value) for name, r in results.items()}


def _metrics(values: Found, asked: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(name for found in values.values() for name in found))
    overall = [name for name in known if "[" not in name]
    words = [part.strip() for word in asked for part in word.split(",") if part.strip()]
    if words == ["all"]:
        return overall
    missing = [f"`{word}`: no trial has it.{nearest(word, known)}" for word in words if word not in known]
    if missing:
        raise all_at_once(f"--metric: there are {', '.join(overall)}, and those of each class", missing)
    return words or [name for name in USUAL if name in known] or overall[:2]


def _row(trial: Trial, what: str, values: Mapping[str, float], metrics: Sequence[str]) -> dict[str, Any]:
    run = opened(trial.path) if what == "finished" else None
    ends = run.events("end") if run is not None else []
    end = ends[-1] if ends else {}
    seconds = end.get("seconds")
    return {
        "index": trial.index, "trial": trial.name, "seed": trial.seed, "state": what,
        **{metric: values.get(metric) for metric in metrics},
        "minutes": None if seconds is None else seconds / 60, "examples_per_second": end.get("examples_per_second"),
    }  # fmt: skip


def _averages(sweep: Sweep, finished: Sequence[Trial], values: Found, metric: str, base: str) -> list[dict[str, Any]]:
    by_seed: dict[str, dict[int, float]] = {name: {} for name in sweep.names}
    for trial in finished:
        value = values[trial.title].get(metric, math.nan)
        if not math.isnan(value):
            by_seed[trial.name][trial.seed] = value
    differences = over_seeds(by_seed, base)
    rows = []
    for name, found in by_seed.items():
        mean, low, high = mean_interval(list(found.values())) if found else (math.nan,) * 3
        d = differences.get(name)
        rows.append({
            "trial": name, "metric": metric, "n": len(found), "mean": mean, "low": low, "high": high,
            "difference": d.value if d else None, "difference_low": d.low if d else None,
            "difference_high": d.high if d else None, "p": d.p if d else None, "p_holm": d.p_holm if d else None,
            "lowest_p": d.lowest_p if d else None, "pairs": d.n if d else None, "method": d.method if d else None,
        })  # fmt: skip
    return rows


def _notes(sweep: Sweep, finished: Sequence[Trial], averages: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if len(finished) < len(sweep):
        notes.append(f"{len(finished)} of {len(sweep)} trials are finished; the averages are over those")
    lowest = [row["lowest_p"] for row in averages if row["lowest_p"] is not None and row["pairs"]]
    if lowest and min(lowest) > 0.05:
        notes.append(
            f"with so few seeds p cannot fall below {min(lowest):.3g}: no difference can be significant at 0.05"
        )
    return notes
