"""The directory of a run: name it, create it, open it, list what it holds.

A run is a directory and everything else is a view of it. A minimal run (an import, somebody else's loop) has only
`examples.parquet` and `signals/`; it can be opened, scored and mapped without recipe or model.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import polars as pl
import yaml

from leadline import evaluate, signals
from leadline import scores as scores_room
from leadline.data.examples import SPLITS, Examples, fingerprint
from leadline.data.write import write_table
from leadline.errors import InputError, nearest
from leadline.recipe import Recipe, load
from leadline.scores import regions
from leadline.signals import Signals

State = Literal["new", "unfinished", "finished"]


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
        examples = Examples.read(self.path / "examples.parquet")
        first = signals.period_path(self.path / "signals", 1)
        recorded = tuple(signals.read_period(first).metadata.get("classes", ())) if first.is_file() else ()
        if not recorded or recorded == examples.classes:
            return examples
        if examples.named or not set(examples.table["_label"].cast(pl.String)) <= set(recorded):
            raise InputError(f"{self.path}: signals/ and examples.parquet name different classes")
        return replace(examples, classes=recorded)  # the order of the logits

    @cached_property
    def train(self) -> Examples:
        """The training examples, in the order of the signals' rows."""
        return self.examples.split("train") if "_split" in self.examples.table.columns else self.examples

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty for a regression."""
        return self.examples.classes

    @cached_property
    def signals(self) -> Signals:
        """Outcomes of the training examples, rows in the order of `run.train`."""
        return self._signals(self.train, self.path / "signals")

    @cached_property
    def validation_signals(self) -> Signals | None:
        directory = self.path / "signals" / "validation"
        return self._signals(self.examples.split("validation"), directory) if directory.is_dir() else None

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
            ids=examples.ids,
            gold=examples.gold,
            targets=examples.targets if examples.soft else None,
            classes=examples.classes,
            periods=periods,
            identity=identity,
        )

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
        cut = self._cut(window, rule or RegionRule())
        table = pl.DataFrame({"id": self.train.ids, "label": self.train.table["_label"].cast(pl.String), **columns})
        return Scored(table.with_columns(pl.Series("region", cut.category.tolist(), dtype=pl.String)), cut, left_out)

    def _cut(self, window: Signals, rule: RegionRule) -> regions.Regions:
        columns, _ = scores_room.compute(window, ["confidence", "variability", "aleatoric", "action_mean", "loss_std"])
        if window.n_epochs < 2:
            empty = {name: np.array([], dtype=np.int64) for name in regions.NAMES}
            return regions.Regions("none: one recorded epoch has no variability", empty, np.full(len(window), "none"))
        axes = regions.axes(columns)
        if rule.rule == "proportion":
            return regions.by_proportion(axes.y, axes.x, rule.proportion, tuple(rule.precedence))
        if "confidence" not in columns:
            raise InputError(f"--regions {rule.rule} needs probabilities; this run has none: use --regions proportion")
        if rule.rule == "threshold":
            return regions.by_threshold(axes.y, axes.x, precedence=tuple(rule.precedence))
        return regions.by_data_iq(axes.y, columns["aleatoric"])

    def scores(self, names: str | Sequence[str] = "all", **window: Any) -> pl.DataFrame:
        """polars DataFrame: id, label, one column per score, region. Arguments as `scored`."""
        return self.scored(names, **window).table


def open(path: str | Path) -> Run:
    """The run in the directory `path`. Raises InputError where there is none, naming the nearest or those inside."""
    return Run(path)


def check(recipe: Recipe) -> None:
    """Names that the recipe's shape cannot know: metrics."""
    for name in [] if recipe.evaluate.metrics == "auto" else recipe.evaluate.metrics:
        evaluate.find_metric(name)
    stopping = recipe.training.early_stopping
    if stopping is not None and stopping.metric != "loss":
        if evaluate.find_metric(stopping.metric).needs == "each class" and "[" not in stopping.metric:
            raise InputError(
                f"training.early_stopping.metric: `{stopping.metric}` has a value per class; name one, f1[…]"
            )


# --- naming and creating ---------------------------------------------------------------------------------------------


def key(recipe: Recipe, examples: Examples, base: Run | None = None) -> str:
    """What makes two runs the same: the recipe, the content of its data, the signals of its base."""
    content = {split: source["sha256"] for split, source in examples.sources.items()}
    stand_on = [period.read_bytes() for period in sorted((base.path / "signals").glob("*.arrow"))] if base else []
    digest = hashlib.sha256(json.dumps([recipe.to_dict(), content], sort_keys=True).encode())
    for period in stand_on:
        digest.update(hashlib.sha256(period).digest())
    return digest.hexdigest()


def place(recipe: Recipe, run_key: str, name: str | None, root: Path) -> tuple[Path, State]:
    """Where the run goes, and what is there: nothing, an unfinished run of the same key, or a finished one.

    Raises InputError when `name` is given and holds another recipe: a directory is never overwritten.
    """
    if name is not None:
        path = Path(name) if os.sep in name else root / name
        if not path.exists() or (path.is_dir() and not any(p.name != LOCK for p in path.iterdir())):
            return path, "new"
        if _key_of(path) != run_key:
            raise InputError(f"{path}: holds another run (other recipe or data); choose another --name or remove it")
        return path, _state(path)
    stem = f"{_data_name(recipe)}-{_slug(Path(recipe.model_name).name)}"
    taken = {int(p.name[len(stem) + 1 :]): p for p in root.glob(f"{stem}-*") if p.name[len(stem) + 1 :].isdigit()}
    for _, path in sorted(taken.items()):
        if _key_of(path) == run_key:
            return path, _state(path)
    number = next(n for n in range(1, len(taken) + 2) if n not in taken)
    return root / f"{stem}-{number}", "new"


def create(
    recipe: Recipe, examples: Examples, about: Mapping[str, Any], run_key: str, name: str | None, root: Path
) -> tuple[Run, TextIO]:
    """Claims the directory and writes recipe.yaml and examples.parquet; returns the run and its lock, to be closed.

    What an unfinished run of the same key left is removed. Two processes never share a directory: a name that another
    takes first is passed over, and a run that another process is training is an InputError.
    """
    while True:
        path, state = place(recipe, run_key, name, root)
        if state == "finished":
            raise InputError(f"{path}: another process has just finished this run")
        try:
            path.mkdir(parents=True, exist_ok=path.exists() and (state == "unfinished" or name is not None))
        except FileExistsError:
            continue
        lock = _locked(path)
        if (path / "examples.parquet").is_file() and (_key_of(path) != run_key or _state(path) == "finished"):
            (path / LOCK).unlink()  # another process came and went between the look and the lock: look again
            lock.close()
            continue
        for left in path.iterdir():
            if left.name != LOCK:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        write_text(path / "recipe.yaml", yaml.safe_dump({**recipe.to_dict(), "run": dict(about)}, sort_keys=False))
        examples.write(path / "examples.parquet")
        return Run(path), lock


LOCK = ".lock"  # held while a process trains the run; goes with the process, however it ends


def _locked(path: Path) -> TextIO:
    lock = (path / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise InputError(
            f"{path}: another process is training this run; wait for it, or choose another --name"
        ) from None
    return lock


def _key_of(path: Path) -> str | None:
    try:
        document = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))
        return document["run"]["key"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None  # no run of ours, or one whose recipe is damaged: never taken for the run that is asked for


def _state(path: Path) -> State:
    whole = (path / "examples.parquet").is_file()
    return "finished" if whole and Run(path).finished else "unfinished"


def _data_name(recipe: Recipe) -> str:
    source = recipe.data.train
    if source.startswith("hub:"):
        return _slug(re.split(r"[:@]", source.removeprefix("hub:"))[0].split("/")[-1])
    path = Path(source)
    stem = path.name.split(".")[0]
    return _slug(path.resolve().parent.name if stem in {"train", "training", "data"} else stem) or "data"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")


def _similar(path: Path) -> str:
    parent = path.parent
    return nearest(path.name, [p.name for p in parent.iterdir() if p.is_dir()]) if parent.is_dir() else ""


def _runs_inside(path: Path) -> str:
    inside = [p.parent.name for p in sorted(path.glob("*/examples.parquet"))]
    return f"; it holds the runs {', '.join(inside[:5])}" if inside else ""


# --- writing views ---------------------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    table.write_parquet(partial)
    os.replace(partial, path)


def write_results(path: Path, results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    write_text(path / "results.json", json.dumps(plain(results), indent=1) + "\n")


def plain(value: Any) -> Any:
    """As JSON has it: no NaN or infinity (null), no numbers of numpy's."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_suspects(run: Run, suspects: pl.DataFrame) -> None:
    """suspects.csv: id, label, suggested, probability, score, rank, reason, then the source columns."""
    table = suspects.join(with_ids(run.train.table, suspects.columns), on="id", how="left", maintain_order="left")
    write_table(run.path / "suspects.csv", table)


def with_ids(table: pl.DataFrame, taken: Sequence[str] = ("id",)) -> pl.DataFrame:
    """`id` and the source columns of a table of examples; a column whose name is taken becomes `source_<name>`."""
    sources = [name for name in table.columns if not name.startswith("_")]
    columns, used = [pl.col("_id").alias("id")], {*taken, *sources, "id"}
    for name in sources:
        if name == "id" and (table[name].cast(pl.String) == table["_id"]).all():
            continue
        alias = name
        while alias in taken or (alias != name and alias in used):
            alias = f"source_{alias}"
        used.add(alias)
        columns.append(pl.col(name).alias(alias))
    return table.select(columns)


def predictions_table(
    ids: Sequence[str], labels: Sequence[Any], outcome: Mapping[str, np.ndarray], classes: Sequence[str]
) -> pl.DataFrame:
    """id, label, predicted, confidence, gold_probability and prob_<class>; of a regression id, label, predicted."""
    if not classes:
        return pl.DataFrame({"id": list(ids), "label": labels, "predicted": outcome["prediction"].astype(float)})
    p = signals.softmax(outcome["logits"])  # (N, K)
    best = p.argmax(axis=1)
    columns: dict[str, Any] = {
        "id": list(ids),
        "label": list(labels),
        "predicted": [classes[k] for k in best],
        "confidence": p.max(axis=1),
        "gold_probability": np.exp(outcome["gold_logprob"].astype(np.float64)),
    }
    return pl.DataFrame(columns | {f"prob_{name}": p[:, k] for k, name in enumerate(classes)})


def probabilities(predictions: pl.DataFrame, classes: Iterable[str]) -> np.ndarray:
    """(N, K) from a predictions table."""
    return predictions.select([f"prob_{name}" for name in classes]).to_numpy()


__all__ = ["SPLITS", "RegionRule", "Run", "Scored", "check", "create", "key", "open", "place"]
