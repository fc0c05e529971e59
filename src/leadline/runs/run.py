"""What a run directory holds: its recipe, examples, signals, scores, metrics and predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import yaml

from leadline import scores as scores_room
from leadline import signals
from leadline.data.examples import Examples, fingerprint
from leadline.data.ids import Ids
from leadline.errors import InputError, nearest
from leadline.recipe import Recipe, load
from leadline.runs import probes
from leadline.scores import regions
from leadline.signals import Signals

IDENTITY = ("_id", "_split", "_label", "_label_distribution", "_input_hash", "_label_hash")


@dataclass(frozen=True)
class RegionRule:
    """How the data map is cut. `proportion` is the reference's rule (Swayamdipta et al. 2020)."""

    rule: Literal["proportion", "threshold", "data-iq"] = "proportion"
    proportion: float = 0.33
    precedence: Sequence[str] = ("ambiguous", "easy", "hard")


@dataclass(frozen=True)
class Scored:
    """What a run's signals say: one row per training example, and the index sets behind the region column."""

    table: pl.DataFrame  # id, label, one column per score, region
    regions: regions.Regions
    left_out: Mapping[str, str] = field(default_factory=dict)  # score -> why it is not there

    def columns(self) -> dict[str, np.ndarray]:
        """The score columns as arrays (N,)."""
        names = [name for name in self.table.columns if name not in ("id", "label", "region")]
        return {name: self.table[name].to_numpy() for name in names}

    def ids_by_region(self) -> dict[str, list[str]]:
        ids = self.table["id"].to_list()
        return {name: [ids[i] for i in rows] for name, rows in self.regions.sets.items()}


class Run:
    """One run directory. Nothing is loaded before it is asked for."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{self.path}: no such run directory{_similar(self.path)}")
        if not (self.path / "examples.parquet").is_file():
            raise InputError(f"{self.path}: not a run: it has no examples.parquet{_runs_inside(self.path)}")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name

    @cached_property
    def _document(self) -> dict[str, Any]:
        path = self.path / "recipe.yaml"
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: damaged: {' '.join(str(error).split())}") from None
        if not isinstance(document, dict):
            raise InputError(f"{path}: damaged: a recipe is a YAML mapping")
        return document

    @cached_property
    def recipe(self) -> Recipe | None:
        """None for a minimal run."""
        return load(self.path / "recipe.yaml") if self._document else None

    @property
    def about(self) -> dict[str, Any]:
        """What the run noted of itself when it started: versions, device, precision, sizes of model and data."""
        return self._document.get("run", {})

    @cached_property
    def examples(self) -> Examples:
        return self._in_recorded_order(Examples.read(self.path / "examples.parquet"))

    def _in_recorded_order(self, examples: Examples) -> Examples:
        """With the classes in the order of the logits."""
        first = signals.period_path(self.path / "signals", 1)
        recorded = tuple(signals.read_period(first).metadata.get("classes", ())) if first.is_file() else ()
        if not recorded or recorded == examples.classes:
            return examples
        if examples.named or not set(examples.table["_label"].unique().cast(pl.String)) <= set(recorded):
            raise InputError(f"{self.path}: signals/ and examples.parquet name different classes")
        return replace(examples, classes=recorded)

    @cached_property
    def train(self) -> Examples:
        """The training examples, in the order of the signals' rows."""
        return _of_split(self.examples, "train")

    def _identities(self, split: str) -> Examples:
        """The examples of a split without their source columns: ids, labels and hashes, all that a score needs."""
        return _of_split(self._in_recorded_order(Examples.read(self.path / "examples.parquet", IDENTITY)), split)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty for a regression."""
        return self.examples.classes

    @property
    def signals(self) -> Signals:
        """Outcomes of the training examples, rows in the order of `run.train`; with them what probes/ holds now."""
        record = self._train_record[0]
        return replace(record, probes=probes.read_probes(self.path / "probes", record.identity, len(record)))

    @property
    def labels(self) -> pl.Series:
        """(N,) what each training example was trained on, as text of few distinct values; a number for a regression."""
        return self._train_record[1]

    @cached_property
    def _train_record(self) -> tuple[Signals, pl.Series]:
        examples = self._identities("train")
        return self._signals(examples, self.path / "signals"), examples.table["_label"]

    @cached_property
    def validation_signals(self) -> Signals | None:
        directory = self.path / "signals" / "validation"
        return self._signals(self._identities("validation"), directory) if directory.is_dir() else None

    def _signals(self, examples: Examples, directory: Path) -> Signals:
        periods = signals.read_periods(directory)
        if not periods:
            raise InputError(f"{self.path}: nothing was recorded (no signals/epoch_001.arrow); was `record: null` set?")
        for number, period in enumerate(periods, start=1):
            if len(period.columns["loss"]) != len(examples):
                raise InputError(
                    f"{signals.period_path(directory, number)}: {len(period.columns['loss'])} rows, "
                    f"but examples.parquet has {len(examples)}: one of the two is not of this run"
                )
        identity = fingerprint(examples)
        recorded = {name: periods[-1].metadata.get(name) for name in identity}
        if any(there is not None and there != identity[name] for name, there in recorded.items()):
            raise InputError(f"{self.path}: signals/ and examples.parquet are not of the same data (hashes differ)")
        return Signals(
            ids=examples.id_column,
            gold=examples.gold,
            targets=examples.targets if examples.soft else None,
            classes=examples.classes,
            periods=periods,
            identity=identity,
        )

    @property
    def trained_on(self) -> np.ndarray:
        """(N,) bool: an update used the training example in some epoch. Without a record: every one, as far as one can
        tell."""
        try:
            return np.any([period.columns["trained"] for period in self.signals.periods], axis=0)
        except InputError:
            return np.ones(len(self.train), dtype=bool)

    @property
    def has_record(self) -> bool:
        return signals.period_path(self.path / "signals", 1).is_file()

    @property
    def n_trained_on(self) -> int:
        """How many training examples were trained on; without a record as many as the plan chose."""
        plans = [] if self.has_record else self.events("plan")
        return plans[-1]["examples"] if plans else int(self.trained_on.sum())

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The events of metrics.jsonl: step, epoch, check, end."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        events = []
        for number, line in enumerate(lines, start=1):
            try:
                events.append(json.loads(line))
            except ValueError:
                if number < len(lines):
                    raise InputError(f"{path}, line {number}: damaged; it is not a line of JSON") from None
        return events  # a last line that a kill has cut is passed over

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind: start, step, epoch, best, check, end."""
        return [event for event in self.metrics if event.get("event") == kind]

    @cached_property
    def results(self) -> dict[str, dict[str, dict[str, float]]]:
        """{split: {metric: {value, low, high, n}}}"""
        path = self.path / "results.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); `leadline evaluate` measures again") from None

    def predictions(self, split: str = "test") -> pl.DataFrame:
        """id, label, predicted, confidence, gold_probability and prob_<class> (regression: id, label, predicted)."""
        path = self.path / "predictions" / f"{split}.parquet"
        if not path.is_file():
            have = sorted(p.stem for p in (self.path / "predictions").glob("*.parquet"))
            raise InputError(f"{self.path}: no predictions for `{split}`; it has: {', '.join(have) or 'none'}")
        try:
            return pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path}: damaged ({error})") from None

    def has_predictions(self, split: str) -> bool:
        return (self.path / "predictions" / f"{split}.parquet").is_file()

    @property
    def finished(self) -> bool:
        """Training went to its end."""
        return any(event.get("event") == "end" for event in self.metrics)

    def scored(
        self,
        names: str | Sequence[str] = "all",
        max_epochs: int | None = None,
        skip_epochs: int = 0,
        rule: RegionRule | None = None,
    ) -> Scored:
        """Scores and regions, computed from the signals each time."""
        window = self.signals.window(max_epochs, skip_epochs)
        columns, left_out = scores_room.compute(window, names)
        cut = cut_map(window, rule or RegionRule(), columns)
        return Scored(self.as_table(columns, cut), cut, left_out)

    def as_table(self, columns: Mapping[str, np.ndarray], cut: regions.Regions) -> pl.DataFrame:
        """id, label, the columns (N,), region."""
        ids = pl.Series("id", self.signals.ids.column if isinstance(self.signals.ids, Ids) else self.signals.ids)
        label = self.labels.cast(pl.String).alias("label")
        return pl.DataFrame([ids, label, *(pl.Series(name, x) for name, x in columns.items()), cut.column])

    def scores(self, names: str | Sequence[str] = "all", **window: Any) -> pl.DataFrame:
        """polars DataFrame: id, label, one column per score, region. Arguments as `scored`."""
        return self.scored(names, **window).table


def cut_map(window: Signals, rule: RegionRule, have: Mapping[str, np.ndarray]) -> regions.Regions:
    """The regions of a window of the record. `have`: score columns that are computed already."""
    if window.n_epochs < 2:
        return regions.nowhere("none: one recorded epoch has no variability", len(window))
    names = ["confidence", "variability"] + ["aleatoric"] * (rule.rule == "data-iq")
    columns = _columns(window, names, have)
    if "confidence" not in columns:
        columns = _columns(window, ["action_mean", "loss_std"], have)
    axes = regions.axes(columns)
    if rule.rule == "proportion":
        return regions.by_proportion(axes.y, axes.x, rule.proportion, tuple(rule.precedence))
    if "confidence" not in columns:
        raise InputError(f"--regions {rule.rule} needs probabilities; this run has none: use --regions proportion")
    if rule.rule == "threshold":
        return regions.by_threshold(axes.y, axes.x, precedence=tuple(rule.precedence))
    return regions.by_data_iq(axes.y, columns["aleatoric"])


def _columns(window: Signals, names: Sequence[str], have: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found, _ = scores_room.compute(window, [name for name in names if name not in have])
    return {name: have[name] if name in have else found[name] for name in names if name in have or name in found}


def _of_split(examples: Examples, split: str) -> Examples:
    """A table without splits is all training data."""
    return examples.split(split) if "_split" in examples.table.columns else examples


def open(path: str | Path) -> Run:
    """The run in the directory `path`. Raises InputError where there is none, naming the nearest or those inside."""
    return Run(path)


def _similar(path: Path) -> str:
    parent = path.parent
    return nearest(path.name, [p.name for p in parent.iterdir() if p.is_dir()]) if parent.is_dir() else ""


def _runs_inside(path: Path) -> str:
    inside = [p.parent.name for p in sorted(path.glob("*/examples.parquet"))]
    return f"; it holds the runs {', '.join(inside[:5])}" if inside else ""
