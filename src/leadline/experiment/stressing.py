"""The same test rows again, mistyped or pushed: what is left of the metrics, and how far they fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import evaluate as metrics_room
from leadline import report, runs
from leadline.data.examples import Examples
from leadline.data.noise import FGSM, Asked, noisy_column, stresses
from leadline.errors import InputError
from leadline.evaluate import Difference, corrected, holm
from leadline.experiment.evaluation import Loaded, subject
from leadline.experiment.job import answers
from leadline.learn import ranks
from leadline.learn.perturb import fgsm
from leadline.learn.predict import predict
from leadline.recipe import Recipe
from leadline.runs import Run

STRESSED = {True: ("accuracy", "macro_f1", "nll", "ece"), False: ("rmse", "mae", "pearson")}  # with classes, without


@dataclass(frozen=True)
class Stress:
    """One kind of disturbance at one rate; differences are disturbed minus clean, on the same rows."""

    kind: str
    rate: float  # of fgsm its epsilon
    changed: int  # rows that are not what they were,
    rows: int  # of so many
    results: Mapping[str, Mapping[str, float]]  # metric -> {value, low, high, n}
    differences: Mapping[str, Difference]

    @property
    def title(self) -> str:
        return f"{self.kind}={self.rate:g}"

    def results_entry(self) -> dict[str, dict[str, Any]]:
        """metric -> {value, low, high, n, difference, difference_low, difference_high, p, p_holm}; `changed`, a share.

        As results.json keeps it under `<split>+<kind>=<rate>`.
        """
        low, high = metrics_room.wilson(self.changed, self.rows)
        share = {"value": self.changed / self.rows, "low": float(low), "high": float(high), "n": self.rows}
        found = {}
        for metric, values in self.results.items():
            d = self.differences[metric]
            ends = {"difference": d.value, "difference_low": d.low, "difference_high": d.high}
            found[metric] = {**values, **ends, "p": d.p, "p_holm": d.p_holm}
        return {**found, "changed": share}


@dataclass(frozen=True)
class Robustness:
    split: str
    clean: Mapping[str, Mapping[str, float]]  # metric -> {value, low, high, n}, of the same pass
    stresses: Sequence[Stress]

    def results(self) -> dict[str, dict[str, dict[str, Any]]]:
        """`<split>+<kind>=<rate>` -> what results.json keeps of it."""
        return {f"{self.split}+{stress.title}": stress.results_entry() for stress in self.stresses}


def robustness(
    model: str | Path,
    data: Any = None,
    *,
    kinds: Asked = (),
    split: str = "test",
    precision: str | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    **settings: Any,
) -> Robustness:
    """Metrics of a trained model on disturbed rows beside those on the rows as they are; arguments as `evaluate`.

    kinds    names of `data.noise.NOISES`, or `fgsm`, each with a rate, several, or none (its default); nothing: all
    metrics  default: accuracy, macro F1, NLL and ECE; for numbers RMSE, MAE and Pearson
    seed     of the noise; with it and a row's id the noise of the row is fixed

    Intervals of values by bootstrap; differences by the paired bootstrap over rows, p corrected for all kinds of a
    metric (Holm). They speak of this trained model. Mistyped texts are written nowhere.
    Raises InputError for an unknown kind, a rate out of range, a run without a model.
    """
    wanted = stresses(kinds)
    recipe, part = subject(model, data, split, **settings)
    if recipe.data.null_input:
        raise InputError(f"{model}: it has read no inputs (data.null_input), so there is nothing to disturb")
    loaded = Loaded.of(recipe, part, precision)
    names = list(metrics) if metrics else list(STRESSED[bool(part.classes)])
    clean = _said(loaded, part, None, 0.0, seed)
    found = []
    for kind, rate in wanted:
        disturbed = part if kind == FGSM else mistyped(part, kind, rate, seed)
        said = _said(loaded, disturbed, kind, rate, seed)
        changed = len(part) * (rate > 0) if kind == FGSM else _changed(part, disturbed)
        results = metrics_room.with_intervals(part.targets, said, part.classes, names)
        differences = metrics_room.paired_bootstrap(part.targets, clean, said, part.classes, names)
        found.append(Stress(kind, rate, int(changed), len(part), results, differences))
    values = metrics_room.with_intervals(part.targets, clean, part.classes, names)
    return Robustness(split, values, _together(found, list(values)))


def keep(run: Run | str | Path, found: Robustness) -> dict[str, dict[str, dict[str, Any]]]:
    """Into results.json of the run, under keys of its own, and into the report where the run has one.

    p is corrected for all that is kept of the split, whether or not it was measured in one go. Returns what
    `found.results()` does, with that p.
    """
    run = Run(run.path if isinstance(run, Run) else run)  # read anew: somebody may have added to it
    before = {key: dict(value) for key, value in run.results.items() if key.startswith(f"{found.split}+")}
    disturbed = before | found.results()
    for metric in {name for values in disturbed.values() for name in values if name != "changed"}:
        of_metric = [values[metric] for values in disturbed.values() if metric in values]
        ps = [np.nan if v["p"] is None else float(v["p"]) for v in of_metric]  # JSON has no NaN
        for values, p in zip(of_metric, holm(ps), strict=True):
            values["p_holm"] = float(p)
    clean = {} if found.split in run.results else {found.split: dict(found.clean)}
    runs.add_results(run, clean | disturbed)
    if (run.path / "report.html").is_file():
        report.write(Run(run.path))
    return {key: disturbed[key] for key in found.results()}


def after_training(recipe: Recipe, examples: Examples, path: Path) -> None:
    """What the recipe asks for, on the test rows (else the validation rows) that it evaluates, into results.json.

    By the saved model, so that training and `leadline evaluate` measure the same. Every process takes part.
    """
    if recipe.evaluate.robustness is None or recipe.data.null_input:
        return
    there = held_out(recipe, examples)
    ranks.gather(None)  # the first process has written the model by then
    found = robustness(path, kinds=recipe.evaluate.robustness, split=there[0], precision=recipe.training.precision)
    if ranks.first():
        keep(path, found)


def held_out(recipe: Recipe, examples: Examples) -> list[str]:
    """The splits that can be disturbed. InputError, before training, where noise is asked for and there is none."""
    there = [
        str(split) for split in ("test", "validation") if split in recipe.evaluate.splits and split in examples.splits
    ]
    if recipe.evaluate.robustness is not None and not there:
        raise InputError(
            "evaluate.robustness needs rows that are not trained on: set data.test or data.validation, and name it in "
            "evaluate.splits"
        )
    return there


def mistyped(part: Examples, kind: str, rate: float, seed: int = 0) -> Examples:
    """The examples with noise in every input column, drawn for each column on its own; nothing else changes."""
    columns = [
        pl.Series(name, noisy_column(part.table[name].cast(pl.String).to_list(), part.ids, kind, rate, seed, name))
        for name in part.inputs
    ]
    return replace(part, table=part.table.with_columns(columns))


def _said(loaded: Loaded, part: Examples, kind: str | None, rate: float, seed: int) -> np.ndarray:
    """(N, K) probabilities or (N,) numbers. Tokens of mistyped texts are not kept."""
    encoded = loaded.task.encode(part.table.select(part.inputs).to_dicts())
    of = (loaded.network, loaded.task, encoded, part.targets, loaded.device)
    return answers(fgsm(*of, rate) if kind == FGSM else predict(*of), part.classes)


def _changed(before: Examples, after: Examples) -> int:
    same = [(before.table[name] == after.table[name]).to_numpy() for name in before.inputs]
    return int((~np.all(same, axis=0)).sum())


def _together(found: list[Stress], names: list[str]) -> list[Stress]:
    """p of each metric corrected for all the kinds that were tried."""
    of_metric = {name: corrected([stress.differences[name] for stress in found]) for name in names}
    return [replace(stress, differences={name: of_metric[name][i] for name in names}) for i, stress in enumerate(found)]
