"""Does the model know what it knows? Calibration before and after scaling, and what it risks where it is surest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leadline import evaluate, runs
from leadline.evaluate import METRICS, SCALED, Certainty, Temperature
from leadline.report.facts import answers
from leadline.report.words import count, estimate, number, plural
from leadline.runs import Run


def certainty(run: Run) -> tuple[str, Certainty] | None:
    """(split, what its predictions say) of the best held-out split; None for a run without, and for a regression."""
    found = answers(run)
    if found is None or not run.classes:
        return None
    split, predictions = found
    temperature = None if split == "validation" else runs.kept_temperature(run)
    labels = run.examples.split(split).targets
    return split, evaluate.certainty_of(labels, runs.probabilities(predictions, run.classes), temperature)


def scaling(run: Run, split: str) -> list[dict[str, str]]:
    """One entry per metric that the temperature moved: name, says, before, after."""
    figures = run.results.get(split, {})
    after = {name.removeprefix(SCALED): figure for name, figure in figures.items() if name.startswith(SCALED)}
    return [
        {"name": name, "says": METRICS[name].says, "before": _cell(figures.get(name)), "after": _cell(after[name])}
        for name in METRICS
        if name in after
    ]


def _cell(figure: Mapping[str, Any] | None) -> str:
    return "–" if figure is None else estimate(figure)


def temperature(run: Run) -> str:
    """Which temperature was fitted on what, in a sentence or two; empty without one."""
    found = runs.kept_temperature(run)
    if found is None:
        return ""
    interval = f" (95 % interval {number(found.low)} to {number(found.high)})" if found.low == found.low else ""
    said = f"A temperature of {number(found.value)}{interval} fits the {plural(found.n, 'validation example')} best"
    warning = f" Beware: {found.says}." if found.says else ""
    return f"{said}{_direction(found)}.{warning}"


def _direction(found: Temperature) -> str:
    """What the interval allows to say; nothing without one (at a bound), where the warning speaks."""
    if found.low > 1:
        return ": on them the model was too sure of itself"
    if found.high < 1:
        return ": on them the model was less sure than it could be"
    no_interval = found.low != found.low
    return "" if no_interval else ", but 1 is in the interval: they do not tell whether the model is too sure of itself"


def chosen(found: Certainty) -> dict[str, list[dict[str, str]]]:
    """accuracy and coverage: what, value with interval, n answered, and the confidence to answer from."""
    tables = found.selective
    accuracy = [("coverage", "the surest {} %", row) for row in tables.accuracy.to_dicts()]
    coverage = [("risk", "at most {} % wrong", row) for row in tables.coverage.to_dicts()]
    return {
        what: [
            {
                "what": words.format(f"{100 * row[key]:g}"),
                "value": estimate(row),
                "n": count(row["n"]),
                "threshold": number(row["threshold"]),
            }
            for key, words, row in rows
        ]
        for what, rows in (("accuracy", accuracy), ("coverage", coverage))
    }
