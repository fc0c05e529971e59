"""leadline ood: how well a model tells texts of its own kind from others, by every detector, from one pass a set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import ood as ood_room
from leadline import recipe as recipes
from leadline import runs, signals
from leadline.data import load as loading
from leadline.data.examples import Examples
from leadline.errors import InputError, LeadlineError, nearest
from leadline.experiment.device import accelerate
from leadline.experiment.job import Job
from leadline.experiment.language import Language
from leadline.learn import models, other_detectors, ranks, represent
from leadline.learn.predict import predict
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.learn.tokens import kept_tokens
from leadline.ood import DETECTORS, Evidence, OodSet
from leadline.ood.sets import IN, name_of
from leadline.runs import Run

Tell = Callable[[Mapping[str, Any]], None]
LANGUAGE = tuple(name for name, entry in DETECTORS.items() if "nll" in entry.needs)
DEFAULT = tuple(name for name in DETECTORS if name not in LANGUAGE)
ALL = (*DETECTORS, *other_detectors.NAMES)


def silent(event: Mapping[str, Any]) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Detected:
    """What every detector made of the texts in distribution and of each other set."""

    model: str  # short name
    data: str  # name of the set in distribution
    n: int  # its rows
    sets: list[OodSet]
    scores: dict[
        str, dict[str, np.ndarray]
    ]  # {detector: {set: (rows,)}}, higher is stranger; ood.sets.IN: in distribution
    results: dict[str, dict[str, dict[str, dict[str, float]]]]  # {set: {detector: {measure: {value, low, high, n}}}}
    msp: dict[str, np.ndarray]  # {set: (rows,)} the largest softmax probability; empty for a regression
    left_out: dict[str, str] = field(default_factory=dict)  # {detector: why}
    told: list[str] = field(default_factory=list)

    def rows(self, name: str) -> int:
        """Of a set."""
        return len(next(iter(self.scores.values()))[name])

    def prevalence(self, name: str) -> float:
        """The share of the rows that is out of distribution: the AUPR-out of a guess."""
        return self.rows(name) / (self.n + self.rows(name))

    def splits(self) -> dict[str, dict[str, dict[str, float]]]:
        """As results.json has it: {"ood+trec": {"auroc[msp]": {value, low, high, n}, …, "prevalence": …}}."""
        found = {}
        for name, detectors in self.results.items():
            share = {"value": self.prevalence(name), "low": np.nan, "high": np.nan, "n": self.n + self.rows(name)}
            values = {f"{m}[{d}]": figure for d, measures in detectors.items() for m, figure in measures.items()}
            found[f"{ood_room.SPLIT}{name}"] = {**values, "prevalence": share}
        return found

    def table(self) -> pl.DataFrame:
        """set, kinds, then a column per detector: a row per text, those in distribution first."""
        kinds = {IN: ""} | {found.name: "+".join(found.kinds) for found in self.sets}
        names = [name for name, kind in kinds.items() for _ in range(self.n if name == IN else self.rows(name))]
        columns = {d: np.concatenate([values[name] for name in kinds]) for d, values in self.scores.items()}
        return pl.DataFrame({"set": names, "kinds": [kinds[name] for name in names], **columns})


@dataclass(frozen=True)
class Reader:
    """A trained model that reads texts: logits and features in one pass."""

    network: Any
    tokenizer: Any
    classes: Sequence[str]
    max_length: int
    device: Any
    features: represent.Where = None

    def read(self, examples: Examples) -> dict[str, np.ndarray]:
        """logits (N, K), penultimate (N, D) and features (N, H), of those that the model has."""
        length = models.max_tokens(self.network, self.tokenizer, self.max_length)
        encoder = TextEncoder(self.tokenizer, examples.inputs, length, models.takes_positions(self.network))
        task: Task = Classification(encoder) if self.classes else Regression(encoder)
        nothing = np.zeros(len(examples), dtype=np.int64 if self.classes else np.float64)
        with represent.watched(self.network, self.features) as also:
            encoded = kept_tokens(task, examples)
            found = predict(self.network, task, encoded, nothing, self.device, also=also)
        read = {str(name): found[name] for name in ("logits", "penultimate", "features") if name in found}
        if "features" not in read and "penultimate" in read:
            read["features"] = read["penultimate"]
        return read

    def head(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """weight (K, D) and bias (K,) of the decision layer; a layer without bias has zeros."""
        layer = represent.decision(self.network) if self.classes else None
        if layer is None:
            return None, None
        weight = layer.weight.detach().float().cpu().numpy()
        return weight, np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().cpu().numpy()


def detect(
    model: str | Path | Run,
    against: str | Sequence[str],
    *,
    id: str | None = None,
    fit: str | None = None,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    detectors: str | Sequence[str] = "default",
    lm: str | None = None,
    fine_tune: bool = False,
    features: represent.Where = None,
    max_rows: int | None = None,
    precision: str = "auto",
    tell: Tell = silent,
) -> Detected:
    """How well a run's model, or any checkpoint, tells texts of its own kind from others.

    against    sets of other texts, [KIND:][NAME=]FILE[#COLUMN] each; see `leadline.ood.parse`
    id         texts in distribution, [NAME=]FILE[#COLUMN]; default: the run's test split, else its validation split
    fit        labelled training texts, for distances, ViM and language models; default: those of the run
    text       text columns of all these files; default: those of the run, else `text`
    detectors  names, "default" (all that need no language model) or "all"
    lm         a causal language model for perplexity and density, Hub id or directory; default: a small one made here
    fine_tune  train that one on the training texts before it is asked
    features   what the distances read, as evaluate.features; default: what the decision layer reads
    max_rows   at most so many rows of each set, drawn at random with seed 0
    Raises InputError: a file or column that is not there, no texts in distribution, an unknown detector.
    """
    sets, names = ood_room.parse(against), chosen(detectors, lm)
    if not sets:
        raise InputError("no texts to tell apart: name files with --against FILE")
    run, recipe, checkpoint, classes = _model(model, text, label)
    inside = _inside(run, recipe, id, max_rows)
    others = {found.name: _read_set(found, recipe, max_rows) for found in sets}
    train = _train(run, recipe, fit, classes)
    longest = recipe.training.max_length
    network, tokenizer = models.load(str(checkpoint), classes, max_length=longest, new_head=False)
    accelerator = accelerate(precision)
    network = accelerator.prepare_model(network, evaluation_mode=True)
    if features is None and run is not None:
        features = recipe.evaluate.features
    reader = Reader(network, tokenizer, classes, longest, accelerator.device, features)
    language = Language(lm, fine_tune, train, longest, run, tell)
    known = parsed(id).name if id is not None else name_of(recipe.data.train)
    who = Path(run.recipe.model_name if run is not None and run.recipe is not None else checkpoint).name
    return compared(reader, inside, others, sets, train, names, language, (who, known), tell)


def after_training(job: Job, path: Path, tell: Tell = silent) -> None:
    """evaluate.ood of a recipe: the run's test split (else validation) against each set.

    Adds to results.json and writes ood/scores.parquet. Every process takes part; the first one writes.
    """
    recipe, examples = job.recipe, job.examples
    sets = ood_room.parse(recipe.evaluate.ood)
    if not sets:
        return
    others = {found.name: _read_set(found, recipe, None) for found in sets}
    held = next(split for split in ("test", "validation") if split in examples.splits)
    network, features = job.model, recipe.evaluate.features
    reader = Reader(
        network, job.tokenizer, examples.classes, recipe.training.max_length, job.accelerator.device, features
    )
    train = examples.split("train")
    language = Language(None, False, train, recipe.training.max_length)
    who = (Path(recipe.model_name).name, name_of(recipe.data.train))
    found = compared(reader, examples.split(held), others, sets, train, DEFAULT, language, who, tell)
    if ranks.first():
        runs.write_parquet(path / "ood" / "scores.parquet", found.table())
        runs.write_results(path, Run(path).results | found.splits())


def check(recipe: recipes.Recipe, examples: Examples) -> None:
    """evaluate.ood before training: every file can be read, and there are texts in distribution to compare with."""
    sets = ood_room.parse(recipe.evaluate.ood)
    if sets and not {"test", "validation"} & set(examples.splits):
        raise InputError(
            "evaluate.ood needs texts in distribution that are not trained on: set data.test or validation"
        )
    for found in sets:
        _read_set(found, recipe, None)


def chosen(detectors: str | Sequence[str], lm: str | None = None) -> tuple[str, ...]:
    """Names of detectors; a language model that is named is asked, whether or not they are."""
    if detectors in ("all", ["all"]):
        return ALL
    if not detectors or detectors in ("default", ["default"]):
        return (*DEFAULT, *(LANGUAGE if lm is not None else ()))
    names = [detectors] if isinstance(detectors, str) else list(detectors)
    for name in names:
        if name not in ALL:
            raise InputError(f"no such detector: `{name}`.{nearest(name, ALL)} Known: {', '.join(ALL)}")
    return tuple(dict.fromkeys([*names, *(LANGUAGE if lm is not None else ())]))


def compared(
    reader: Reader,
    inside: Examples,
    others: Mapping[str, Examples],
    sets: Sequence[OodSet],
    train: Examples | None,
    names: Sequence[str],
    language: Language,
    who: tuple[str, str],
    tell: Tell,
) -> Detected:
    """Every set through the model once; every detector over all of them together; every set against `inside`."""
    parts = {IN: inside, **others}
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    evidence = _evidence(reader, parts, train, names, language, tell)
    found, left_out = ood_room.strangeness(evidence, [name for name in names if name in DETECTORS])
    theirs = [name for name in names if name in other_detectors.NAMES]
    more, why = _others(evidence, theirs, optional=set(names) == set(ALL))
    found, left_out = found | more, left_out | why
    if not found:
        raise InputError(f"no detector can be computed: {'; '.join(f'{name} {why}' for name, why in left_out.items())}")
    scores = {d: dict(zip(parts, np.split(values, ends), strict=True)) for d, values in found.items()}
    results = {
        name: {d: ood_room.told_apart(values[IN], values[name]) for d, values in scores.items()} for name in others
    }
    told = [f"perplexity and density by {language.says}"] if set(names) & set(LANGUAGE) else []
    msp = {}
    if evidence.logits is not None:
        largest = signals.softmax(evidence.logits).max(axis=1)
        msp = dict(zip(parts, np.split(largest, ends), strict=True))
    return Detected(*who, len(inside), list(sets), scores, results, msp, left_out, told)


def _others(evidence: Evidence, names: Sequence[str], optional: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Those of pytorch-ood; where everything was asked for and it is not there, it is left out."""
    try:
        return other_detectors.strangeness(evidence, names)
    except LeadlineError as error:
        if not optional:
            raise
        return {}, dict.fromkeys(names, str(error))


def _evidence(
    reader: Reader,
    parts: Mapping[str, Examples],
    train: Examples | None,
    names: Sequence[str],
    language: Language,
    tell: Tell,
) -> Evidence:
    """Of all parts, one after the other."""
    told = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    tell({"event": "note", "says": f"reading texts: {told}"})
    read = [reader.read(part) for part in parts.values()]
    columns: dict[str, Any] = {name: np.concatenate([found[name] for found in read]) for name in read[0]}
    if not reader.classes:
        columns.pop("logits", None)
    needs = {
        need for name in names for need in (DETECTORS[name].needs if name in DETECTORS else other_detectors.OF_HEAD)
    }
    if train is not None and any(need.startswith("train_") for need in needs):
        tell({"event": "note", "says": f"reading {len(train):,} training texts"})
        columns |= {f"train_{name}": values for name, values in reader.read(train).items() if name != "logits"}
        columns["train_labels"] = train.gold if reader.classes else None
    columns["weight"], columns["bias"] = reader.head()
    if "nll" in needs:
        columns |= language.measure([text for part in parts.values() for text in runs.joined_texts(part)])
    return Evidence(**columns)


def _model(
    model: str | Path | Run, text: str | Sequence[str] | None, label: str | None
) -> tuple[Run | None, recipes.Recipe, Path, tuple[str, ...]]:
    """(run or None, a recipe that says how files are read, the checkpoint, classes)."""
    path = model.path if isinstance(model, Run) else Path(model)
    columns: dict[str, Any] = {name: value for name, value in (("text", text), ("label", label)) if value}
    if (path / "examples.parquet").is_file():
        run = model if isinstance(model, Run) else Run(path)
        if run.recipe is None or not (path / "model").is_dir():
            raise InputError(f"{path}: this run has no model (an import, or somebody else's loop); name a checkpoint")
        changed = recipes.quick("", **columns)["data"] | {"train": run.recipe.data.train}
        recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update=changed)})
        return run, recipe, path / "model", run.classes
    classes = models.classes_of(path)
    task = "classification" if classes else "regression"
    return None, recipes.load(recipes.quick("<texts>", model=str(path), task=task, **columns)), path, classes


def _inside(run: Run | None, recipe: recipes.Recipe, id: str | None, max_rows: int | None) -> Examples:
    if id is not None:
        return _read_set(parsed(id), recipe, max_rows)
    if run is None:
        raise InputError("a plain checkpoint does not know its own kind of texts: name some with --id FILE")
    held = [split for split in ("test", "validation") if split in run.examples.splits]
    if not held:
        raise InputError(f"{run.path}: all its texts were trained on; name others in distribution with --id FILE")
    return _some(run.examples.split(held[0]), max_rows)


def parsed(id: str) -> OodSet:
    """The one set in distribution."""
    found = ood_room.parse(id)[0]
    if found.kinds:
        raise InputError(f"--id {id}: texts in distribution have no kind of shift")
    return found


def _train(run: Run | None, recipe: recipes.Recipe, fit: str | None, classes: tuple[str, ...]) -> Examples | None:
    if fit is not None:
        found = parsed(fit)
        return loading.load_one(found.file, _columns(recipe, found), recipe.task, classes, "train")
    return None if run is None else run.train


def _read_set(found: OodSet, recipe: recipes.Recipe, max_rows: int | None) -> Examples:
    """The texts of a set, without labels; row numbers are its ids."""
    examples = loading.load_one(found.file, _columns(recipe, found), recipe.task, (), "test", labelled=False)
    return _some(examples, max_rows)


def _columns(recipe: recipes.Recipe, found: OodSet) -> recipes.Data:
    """How a file is read: as the run's, with its own text columns, and row numbers for ids."""
    own: dict[str, Any] = {"id": None, "group": None, "weight": None}
    if found.columns:
        own["text"] = found.columns[0] if len(found.columns) == 1 else list(found.columns)
    return recipe.data.model_copy(update=own)


def _some(examples: Examples, max_rows: int | None) -> Examples:
    if max_rows is None or len(examples) <= max_rows:
        return examples
    rows = np.sort(np.random.default_rng(0).permutation(len(examples))[:max_rows])
    return replace(examples, table=examples.table[rows])
