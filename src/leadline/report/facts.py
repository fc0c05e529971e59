"""What the report says of a run, as plain data: testable without HTML, the same for page and model card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from leadline import evaluate, scores
from leadline.errors import InputError
from leadline.report.maps import with_axes
from leadline.report.words import count, estimate, excerpt, listing, number, plural, share
from leadline.runs import Run, kept_scores
from leadline.signals import Signals

MAIN = ("macro_f1", "accuracy", "rmse", "pearson")  # of the headline, those that the results have
SPOKEN = {"macro_f1": "macro-F1", "rmse": "root mean squared error", "pearson": "correlation with the truth (Pearson)"}
HELD_OUT = ("test", "validation")
PER_CLASS = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)
NO_INTERVAL = {"value": float("nan")}

PLACE = {  # of a region on the map: where the axes are probabilities, where they are losses
    "easy": (
        "The highest probabilities of the label, in nearly every epoch.",
        "The lowest loss, in nearly every epoch.",
    ),
    "ambiguous": (
        "The probability of the label moves most between the epochs.",
        "The loss moves most between the epochs.",
    ),
    "hard": ("The lowest probabilities of the label.", "The highest loss."),
    "none": ("Between the three, and examples without an outcome.",) * 2,
}
USE = {
    "easy": "They help training to converge, and their labels are seldom wrong.",
    "ambiguous": "They tend to teach the model most.",
    "hard": "Rare, difficult and wrongly labelled examples gather here: read them.",
    "none": "",
}


@dataclass(frozen=True)
class View:
    """A run read once. `table` and `regions` are None where the run has nothing to make them from."""

    run: Run
    signals: Signals | None = None
    table: pl.DataFrame | None = None  # id, label, scores, region; the columns `x` and `y` of the map
    regions: scores.regions.Regions | None = None
    axes: tuple[str, str] = ("variability", "confidence")
    left_out: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""  # why there are no signals, or no map

    @property
    def names(self) -> list[str]:
        """The scores that the run has."""
        return [name for name in self.table.columns if name in scores.SCORES] if self.table is not None else []

    @property
    def correct(self) -> np.ndarray | None:
        """(E, N) 1, 0, -1; None where the task does not define it."""
        return self.signals.correct if self.signals is not None and "correctness" in self.names else None

    @property
    def n_epochs(self) -> int:
        """Recorded periods: more or fewer than epochs where `record.every` is not 1."""
        return self.signals.n_epochs if self.signals is not None else 0

    @property
    def n_trained(self) -> int:
        """Epochs that were trained; the recorded periods where nobody noted them."""
        return len(self.run.events("epoch")) or self.n_epochs


def read(run: Run) -> View:
    """Reads signals, scores and regions; what cannot be had is left out and explained, never an error."""
    try:
        signals, scored = run.signals, kept_scores(run)
    except InputError as error:
        return View(run, missing=str(error).removeprefix(f"{run.path}: "))
    table, x, y, _ = with_axes(scored)
    missing = "one recorded epoch does not show how an example was learned." if signals.n_epochs < 2 else ""
    regions = None if missing else scored.regions
    left_out = {name: why for name, why in scored.left_out.items() if not scores.SCORES[name].probe}  # nobody asked
    return View(run, signals, table, regions, (x, y), left_out, missing)


# --- the headline -----------------------------------------------------------------------------------------------------


def things(run: Run, n: int) -> str:
    """ "3,467 texts", "1 pair of texts", "120 examples"."""
    kinds = {0: ("example", "examples"), 1: ("text", "texts")}
    return plural(n, *kinds.get(len(run.examples.inputs), ("pair of texts", "pairs of texts")))


def sizes(run: Run) -> dict[str, int]:
    """{split: examples}; a table without splits is all training data."""
    if "_split" not in run.examples.table.columns:
        return {"train": len(run.examples)}
    return {split: len(run.examples.split(split)) for split in run.examples.splits}


def headline(view: View) -> str:
    """One paragraph in plain words: what was trained on what, and how well it does on data it has not seen."""
    run, n = view.run, sizes(view.run)
    sentences = [_trained(view, n), _apart(run, n), *_stopped(view), main_result(run)]
    return " ".join(sentence for sentence in sentences if sentence)


def _trained(view: View, n: Mapping[str, int]) -> str:
    run, texts = view.run, things(view.run, n.get("train", 0))
    epochs = plural(view.n_trained, "epoch")
    names = [excerpt(name, 80) for name in run.classes]
    classes = f"{plural(len(run.classes), 'class', 'classes')}: {listing(names)}"
    if run.recipe is None:
        kinds = f"{classes}." if run.classes else "the answers are numbers."
        told = "It has no recipe: how the model was trained is not told."
        return f"This record says how {texts} were learned over {epochs}; {kinds} {told}"
    model = run.recipe.model_name
    parameters = noted(run, "model").get("parameters")
    size = f" ({million(parameters)} parameters)" if parameters else ""
    goal = f"to tell apart {classes}" if run.classes else "to predict a number"
    length = f" for {epochs}" if view.n_trained else ""
    return f"The model {model}{size} was trained on {texts}{length} {goal}."


def noted(run: Run, name: str) -> Mapping[str, Any]:
    """A part of what the run noted of itself (model, versions); empty where it noted nothing."""
    part = run.about.get(name)
    return part if isinstance(part, Mapping) else {}


def million(parameters: float) -> str:
    return f"{parameters / 1e6:.1f} million" if parameters >= 1e6 else count(parameters)


def _apart(run: Run, n: Mapping[str, int]) -> str:
    roles = {"validation": "validation", "test": "the test"}
    held = [f"{things(run, n[split])} for {role}" for split, role in roles.items() if n.get(split)]
    return f"Set apart were {listing(held)}." if held else ""


def _stopped(view: View) -> list[str]:
    run, said = view.run, []
    if run.metrics and not run.finished:
        planned = f" of {run.recipe.training.epochs} planned epochs" if run.recipe else ""
        said.append(f"The run did not finish: {view.n_trained}{planned} are there.")
    for sentence in (sentence for event in run.events("plan")[:1] for sentence in event.get("says", [])):
        said.append(f"{sentence[:1].upper()}{sentence[1:]}.")
    for best in run.events("best"):
        said.append(f"Of all epochs the weights of epoch {best.get('epoch')} were kept, the best on validation data.")
    return said


def main_result(run: Run) -> str:
    """The main metrics on the best held-out split there is, each with its interval and n, beside a constant answer."""
    split = next((split for split in HELD_OUT if run.results.get(split)), None)
    if split is None:
        return "Nothing was measured on data that the model has not seen." if run.recipe else ""
    figures = run.results[split]
    chosen = [name for name in MAIN if name in figures][:2] or list(figures)[:1]
    values = [f"{SPOKEN.get(name, name)} {_with_interval(figures[name])}" for name in chosen]
    n = figures[chosen[0]].get("n")
    held = f"the {things(run, int(n))} of the {split} data" if n else f"the {split} data"
    said = [f"On {held} it reaches: {listing(values)}.", *_constant(run, split)]
    if split == "validation":
        said.append("There is no test data; these were also used to follow the training.")
    return " ".join(said)


def _constant(run: Run, split: str) -> list[str]:
    """What one would reach without a model; and whether the model is one that gives the same answer to everything."""
    counts = Counter(str(label) for label in run.examples.split(split).table["_label"].to_list())
    if not run.classes or not counts:
        return []
    largest = max(run.classes, key=lambda name: counts[name])  # the first of equals
    said = [f"Always answering {excerpt(largest, 80)} would reach accuracy {number(counts[largest] / counts.total())}."]
    given = run.predictions(split)["predicted"].unique().to_list() if run.has_predictions(split) else []
    if len(given) == 1:
        said.append(f"The model gives one answer, {excerpt(given[0], 80)}, to every one of them.")
    return said


def _with_interval(figure: Mapping[str, float]) -> str:
    low, high = number(figure.get("low")), number(figure.get("high"))
    return number(figure["value"]) + (f" (95 % interval {low} to {high})" if low != "–" else "")


# --- does training work? ----------------------------------------------------------------------------------------------


def checks(view: View) -> list[dict[str, Any]]:
    """name, passed, says: what the run noted of itself, or what its signals show."""
    noted = [check for event in view.run.events("check") for check in event.get("checks", [])]
    if noted or view.signals is None:
        return [
            {"name": str(c.get("name", "")), "passed": bool(c.get("passed")), "says": str(c.get("says", ""))}
            for c in noted
        ]
    missing = int((scores.n_obs(view.signals) == 0).sum())
    without = f"{count(missing)} of {plural(len(view.signals), 'example')} have no outcome in any epoch"
    found = [
        {"name": "outcomes", "passed": missing == 0, "says": without if missing else "every example has an outcome"}
    ]
    loss = [float(np.nanmean(loss)) if not np.isnan(loss).all() else float("nan") for loss in view.signals.loss]
    if len(loss) > 1:
        says = f"mean loss {number(loss[0])} in the first recorded epoch, {number(loss[-1])} in the last"
        found.insert(0, {"name": "loss falls", "passed": loss[-1] < loss[0], "says": says})
    return found


# --- regions ----------------------------------------------------------------------------------------------------------


def regions(view: View) -> list[dict[str, Any]]:
    """One entry per region: how many examples, what it means, and how the last epoch does there."""
    if view.regions is None or view.table is None:
        return []
    correct, rows = view.correct, []
    for name, place in PLACE.items():
        inside = view.regions.category == name  # (N,)
        n = int(inside.sum())
        last = correct[-1, inside] if correct is not None else np.array([])
        seen = last[last >= 0]
        rows.append({
            "name": name, "n": n, "share": share(n, len(inside)),
            "meaning": f"{place['loss_std' in view.axes]} {USE[name]}".strip(),
            "confidence": _mean(view, "confidence", inside), "variability": _mean(view, "variability", inside),
            "accuracy": number(float(seen.mean())) if len(seen) else "–",
        })  # fmt: skip
    return rows


def _mean(view: View, name: str, inside: np.ndarray) -> str:
    assert view.table is not None
    if name not in view.table.columns or not inside.any():
        return "–"
    values = view.table[name].to_numpy()[inside]
    return number(float(np.nanmean(values))) if not np.isnan(values).all() else "–"


def overlaps(view: View) -> list[dict[str, Any]]:
    """The table of how the three sets overlap: region, in_set, also_easy, also_ambiguous, also_hard, category."""
    return view.regions.overlaps.to_dicts() if view.regions is not None else []


# --- metrics ----------------------------------------------------------------------------------------------------------


def metrics(run: Run) -> dict[str, Any]:
    """splits: [{name, n}]; rows: [{name, says, better, cells}], a cell per split with value, interval, n if another."""
    results = {
        split: {k: v for k, v in figures.items() if not PER_CLASS.fullmatch(k) and not _of_scaling(k)}
        for split, figures in run.results.items()
        if "+" not in split  # with noise: `disturbed`
    }
    results = {split: figures for split, figures in results.items() if figures}
    n = {split: max(int(figure.get("n", 0)) for figure in figures.values()) for split, figures in results.items()}
    known = [name for name in evaluate.METRICS if any(name in figures for figures in results.values())]
    names = [*known, *dict.fromkeys(k for figures in results.values() for k in figures if k not in known)]
    return {
        "splits": [{"name": split, "n": n[split]} for split in results],
        "rows": [
            {"name": name, **_about(name), "cells": [_cell(results[split].get(name), n[split]) for split in results]}
            for name in names
        ],
    }


def _of_scaling(name: str) -> bool:
    """Told apart from the others, by `sure`."""
    return name == "temperature" or name.startswith(evaluate.SCALED)


def _about(name: str) -> dict[str, str]:
    metric = evaluate.METRICS.get(name)
    return (
        {"says": metric.says, "better": "higher" if metric.higher_is_better else "lower"}
        if metric
        else {"says": "", "better": ""}
    )


def _cell(figure: Mapping[str, Any] | None, n: int) -> str:
    if figure is None:
        return "–"
    return estimate(figure) + (f", n = {count(figure['n'])}" if figure.get("n", n) != n else "")


def per_class(run: Run) -> list[dict[str, Any]]:
    """Per split: split, metrics [names], rows [{name, n, cells}] in class order."""
    tables = []
    for split, figures in run.results.items():
        if "+" in split:
            continue
        found: dict[str, dict[str, Mapping[str, Any]]] = {}
        for full, figure in figures.items():
            if match := PER_CLASS.fullmatch(full):
                found.setdefault(match[2], {})[match[1]] = figure
        order = [c for c in run.classes if c in found] + [c for c in found if c not in run.classes]
        names = [m for m in evaluate.METRICS if any(m in found[c] for c in order)]
        names += [m for m in dict.fromkeys(m for c in order for m in found[c]) if m not in names]
        rows = [
            {
                "name": c,
                "n": max(int(figure.get("n", 0)) for figure in found[c].values()),
                "cells": [estimate(found[c].get(m, NO_INTERVAL)) for m in names],
            }
            for c in order
        ]
        if rows:
            tables.append({"split": split, "metrics": names, "rows": rows})
    return tables


def answers(run: Run) -> tuple[str, pl.DataFrame] | None:
    """(split, predictions) of the best held-out split that has any; None for a run without."""
    split = next((split for split in HELD_OUT if run.has_predictions(split)), None)
    return (split, run.predictions(split)) if split else None


def confusion_matrix(run: Run, predictions: pl.DataFrame) -> np.ndarray:
    """(K, K) rows are labels, columns predictions."""
    index = {name: k for k, name in enumerate(run.classes)}
    labels, predicted = ([index[str(v)] for v in predictions[c].to_list()] for c in ("label", "predicted"))
    return evaluate.confusion(labels, predicted, len(run.classes))


def confusions(matrix: np.ndarray, classes: Sequence[str], most: int = 8) -> list[dict[str, Any]]:
    """The most frequent confusions, largest first: label, predicted, n, share of the label's examples."""
    off = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-off, axis=None, kind="stable")[:most]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, off.shape), strict=True) if off[i, j]]
    return [
        {"label": classes[i], "predicted": classes[j], "n": int(off[i, j]), "share": share(off[i, j], matrix[i].sum())}
        for i, j in pairs
    ]
