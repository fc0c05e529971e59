"""The metrics of one set of predictions by name, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError, all_at_once, nearest
from leadline.evaluate.answers import Classified, ClassifiedSample, Estimated, EstimatedSample
from leadline.evaluate.formulas import METRICS, Metric
from leadline.evaluate.intervals import basic, percentiles, resamples

Names = str | Sequence[str]  # "auto", one name, or several


def find_metric(name: str) -> Metric:
    """The entry of METRICS for `macro_f1`, or for `f1[spam]`; InputError with the nearest name otherwise."""
    base, bracket, _ = name.partition("[")
    if base not in METRICS or (bracket and (METRICS[base].needs != "each class" or not name.endswith("]"))):
        raise InputError(f"unknown metric `{name}`.{nearest(base, METRICS)} Known: {', '.join(METRICS)}")
    return METRICS[base]


def metrics(
    labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str] = (), metrics: Names = "auto"
) -> dict[str, float]:
    """Name -> value. "auto": every metric that the data allow; a metric per class is named `f1[class]`.

    labels (N,) class indices or (N, K) distributions, probabilities (N, K), classes K names in column order.
    Without classes: regression, labels and "probabilities" are true and predicted numbers (N,).
    An undefined metric is NaN. InputError for N = 0, a bad row (named), an unknown metric or one that the data lack.
    """
    rows = checked(labels, probabilities, classes)
    names = full_names(metrics, rows, classes)
    values = values_of(names, rows.weighted(np.ones((len(rows), 1))), classes)
    return {name: float(value[0]) for name, value in zip(names, values, strict=True)}


def with_intervals(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str] = (),
    metrics: Names = "auto",
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Name -> {value, low, high, n}; arguments and names as `metrics`.

    Percentile bootstrap over rows (Efron & Tibshirani 1993), the same resamples for every metric; resamples in which a
    metric is undefined are left out; one row has a NaN interval. n is the number of rows, of a metric per class the
    number labelled so. The interval speaks of other rows from the same source, not of another training seed.
    The bootstrap serves accuracy too, so that all rows of a table mean the same. With fewer than about five errors (or
    five right answers) its interval is too short; `wilson` is not, and slices and the reliability table use it.
    The gaps of calibration bins (all in METRICS with `grows_with_noise`: ECE of every kind, MCE, RMS) grow with noise:
    their resamples lie above the value, and they get the basic interval instead (2 value - percentile), still short
    below a few hundred rows.
    """
    rows = checked(labels, probabilities, classes)
    names = full_names(metrics, rows, classes)
    value = values_of(names, rows.weighted(np.ones((len(rows), 1))), classes)[:, 0]  # (M,)
    if len(rows) > 1:
        blocks = [values_of(names, rows.weighted(weights), classes) for weights in resamples(len(rows), repeats, seed)]
        draws = np.concatenate(blocks, axis=1)  # (M, repeats)
        intervals = [_interval(name, value[i], draws[i], level) for i, name in enumerate(names)]
    else:
        intervals = [(np.nan, np.nan)] * len(names)
    return {
        name: {"value": float(value[i]), "low": intervals[i][0], "high": intervals[i][1], "n": _n(name, rows, classes)}
        for i, name in enumerate(names)
    }


def _interval(name: str, value: float, draws: np.ndarray, level: float) -> tuple[float, float]:
    metric = find_metric(name)
    return basic(value, draws, level, metric.range) if metric.grows_with_noise else percentiles(draws, level)


def checked(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> Classified | Estimated:
    """The rows, fit to be measured, or InputError; arguments as `metrics`."""
    if not len(classes):
        return Estimated.check(labels, probabilities)
    if len(set(classes)) < len(classes):
        raise InputError(f"classes: a name occurs twice in {list(classes)}")
    return Classified.check(labels, probabilities, len(classes))


def full_names(wanted: Names, rows: Classified | Estimated, classes: Sequence[str]) -> list[str]:
    """The full names, `f1` spelled out per class; every name that cannot be computed is told at once."""
    problems, names = [], []
    for name in METRICS if wanted == "auto" else ([wanted] if isinstance(wanted, str) else wanted):
        try:
            metric = find_metric(name)
        except InputError as error:
            problems.append(str(error))
            continue
        if not _has(metric, rows):
            if wanted != "auto":
                problems.append(f"`{name}` needs {metric.needs}, which these predictions do not have")
        elif metric.needs == "each class" and "[" not in name:
            names += [f"{name}[{c}]" for c in classes]
        elif "[" in name and _class_of(name) not in classes:
            advice = nearest(_class_of(name), classes) + f" Classes: {', '.join(classes)}"
            problems.append(f"`{name}`: no such class.{advice}")
        else:
            names.append(name)
    if problems:
        raise all_at_once("metrics: some cannot be computed", problems)
    return list(dict.fromkeys(names))


def _has(metric: Metric, rows: Classified | Estimated) -> bool:
    if isinstance(rows, Estimated):
        return metric.needs == "numbers"
    return {
        "classes": True,
        "each class": True,
        "two classes": rows.probabilities.shape[1] == 2,
        "soft targets": rows.distribution is not None,
        "numbers": False,
    }[metric.needs]


def values_of(names: Sequence[str], sample: ClassifiedSample | EstimatedSample, classes: Sequence[str]) -> np.ndarray:
    """(M, B): each metric on each set of weights; a metric per class is computed once for all classes."""
    computed = {base: METRICS[base].function(sample) for base in dict.fromkeys(n.partition("[")[0] for n in names)}
    index = {name: k for k, name in enumerate(classes)}
    values = []
    for name in names:
        value = computed[name.partition("[")[0]]
        values.append(value[index[_class_of(name)]] if value.ndim == 2 else value)
    return np.array(values)


def _class_of(name: str) -> str:
    return name.partition("[")[2][:-1]


def _n(name: str, rows: Classified | Estimated, classes: Sequence[str]) -> int:
    if "[" in name and isinstance(rows, Classified):
        return int((rows.gold == list(classes).index(_class_of(name))).sum())
    return len(rows)
