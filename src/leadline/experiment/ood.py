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
from leadline.data.examples import Examples
from leadline.errors import InputError, LeadlineError, nearest
from leadline.experiment.device import accelerate, usual
from leadline.experiment.evaluation import trained
from leadline.experiment.job import Job
from leadline.experiment.language import Language
from leadline.experiment.reading import Reader
from leadline.experiment.texts import Texts, gather, on_two_sides, parsed, read_set, same_inputs
from leadline.learn import density, models, other_detectors, ranks, represent
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

    def mean_auroc(self, detector: str, kind: str) -> dict[str, float]:
        """{value, low, high, n} over the sets of a kind, which share the texts in distribution."""
        scores = self.scores[detector]
        return ood_room.mean_auroc(scores[IN], {one.name: scores[one.name] for one in self.sets if kind in one.kinds})

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
    precision: str | None = None,
    tell: Tell = silent,
) -> Detected:
    """How well a run's model, or any checkpoint, tells texts of its own kind from others.

    against    sets of other texts, [KIND:][NAME=]FILE[#COLUMN] each; see `leadline.ood.parse`
    id         texts in distribution, [NAME=]FILE[#COLUMN]; default: the run's test split, else its validation split
    fit        labelled training texts, for distances, ViM and language models; default: those the run was trained on
    text       text columns of all these files; default: those of the run, else `text`
    detectors  names, "default" (all that need no language model) or "all"
    lm         a causal language model for perplexity and density, Hub id or directory; default: a small one made here
    fine_tune  train that one on the training texts before it is asked
    features   what the distances read, as evaluate.features; default: what the decision layer reads
    max_rows   at most so many rows of each set, drawn at random with seed 0
    precision  auto, bf16, fp16 or fp32: of the model, and of the training of a language model; default: as the run
    Raises InputError: a file or column that is not there, no texts in distribution or more than half of them trained
    on, an unknown detector, a layer that the model does not have, no detector that can be computed.
    """
    sets, names = ood_room.parse(against), chosen(detectors, lm)
    if not sets:
        raise InputError("no texts to tell apart: name files with --against FILE")
    _check_tools(names, lm)
    columns: dict[str, Any] = {name: value for name, value in (("text", text), ("label", label)) if value}
    run, recipe, checkpoint, classes = trained(model, **columns)
    if recipe.data.null_input:
        raise InputError(f"{model}: it has read no inputs (data.null_input), so it tells no texts apart")
    texts = gather(run, recipe, classes, sets, id, fit, max_rows)
    longest = recipe.training.max_length
    network, tokenizer = models.load(str(checkpoint), classes, max_length=longest, new_head=False)
    if features is None and run is not None:
        features = recipe.evaluate.features
    represent.check(features, network)
    precision = precision or usual(recipe.training.precision)
    accelerator = accelerate(precision)
    network = accelerator.prepare_model(network, evaluation_mode=True)
    reader = Reader(network, tokenizer, classes, longest, accelerator.device, features)
    language = Language(lm, fine_tune, texts.train, longest, run, tell, precision, tokenizer)
    known = parsed("--id", id).name if id is not None else name_of(recipe.data.train)
    who = Path(run.recipe.model_name if run is not None and run.recipe is not None else checkpoint).name
    return compared(reader, texts, sets, names, language, (who, known), tell)


def check_npy(model: str | Path, folder: str | Path) -> None:
    """InputError or LeadlineError where MSP of this model could not be written there; asked before anything is read."""
    if not trained(model)[3]:
        raise InputError("--npy: a regression has no softmax probabilities to write")
    ood_room.check_folder(folder)


def _check_tools(names: Sequence[str], lm: str | None) -> None:
    """What is not installed, and a language model that is not there: before texts are read, which takes long."""
    if set(names) != set(ALL) and set(names) & set(other_detectors.NAMES):
        other_detectors.library()
    if lm is not None:
        density.check(lm)


def after_training(job: Job, path: Path, tell: Tell = silent) -> None:
    """evaluate.ood of a recipe: the run's test split (else validation) against each set.

    Adds to results.json and writes ood/scores.parquet. Every process takes part; the first one writes. Where no
    detector can be computed there is a note, because the run is trained and everything else of it is there.
    """
    recipe, examples = job.recipe, job.examples
    sets = ood_room.parse(recipe.evaluate.ood)
    if not sets or recipe.data.null_input:
        return
    texts = _texts_of(job, sets)
    longest, classes = recipe.training.max_length, examples.classes
    reader = Reader(job.model, job.tokenizer, classes, longest, job.accelerator.device, recipe.evaluate.features)
    language = Language(None, False, texts.train, longest, reader=job.tokenizer)
    who = (Path(recipe.model_name).name, name_of(recipe.data.train))
    try:
        found = compared(reader, texts, sets, DEFAULT, language, who, tell)
    except InputError as error:
        tell({"event": "note", "says": f"evaluate.ood: {error}"})
        return
    for says in [*found.told, *(f"left out {name}: {why}" for name, why in found.left_out.items())]:
        tell({"event": "note", "says": f"evaluate.ood: {says}"})
    if ranks.first():
        runs.write_parquet(path / "ood" / "scores.parquet", found.table())
        runs.write_results(path, Run(path).results | found.splits())


def _texts_of(job: Job, sets: Sequence[OodSet]) -> Texts:
    """Held-out examples, the other sets, and the examples that were trained on."""
    examples, whole = job.examples, job.examples.split("train")
    others = {found.name: read_set(found, job.recipe) for found in sets}
    train = replace(whole, table=whole.table[job.chosen.rows])
    inside = examples.split(next(split for split in ("test", "validation") if split in examples.splits))
    return Texts(inside, others, train, tuple(on_two_sides(inside, others, runs.joined_texts(train))))


def check(recipe: recipes.Recipe, examples: Examples) -> None:
    """evaluate.ood before training: every file can be read, and there are texts in distribution to compare with."""
    sets = ood_room.parse(recipe.evaluate.ood)
    if sets and not {"test", "validation"} & set(examples.splits):
        raise InputError(
            "evaluate.ood needs texts in distribution that are not trained on: set data.test or validation"
        )
    same_inputs({found.name: read_set(found, recipe) for found in sets}, examples.inputs)


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
    texts: Texts,
    sets: Sequence[OodSet],
    names: Sequence[str],
    language: Language,
    who: tuple[str, str],
    tell: Tell,
) -> Detected:
    """Every set through the model once; every detector over all of them together; every set against those in
    distribution. InputError where no detector can be computed."""
    parts = {IN: texts.inside, **texts.others}
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    evidence = _evidence(reader, parts, texts.train, names, tell)
    evidence, told, unmeasured = _measured(evidence, language, parts, names)
    found, left_out = ood_room.strangeness(evidence, [name for name in names if name in DETECTORS])
    theirs = [name for name in names if name in other_detectors.NAMES]
    more, why = _others(evidence, theirs, optional=set(names) == set(ALL))
    found, left_out = found | more, left_out | unmeasured | why
    if not found:
        raise InputError(
            f"no detector can be computed: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}"
        )
    scores = {d: dict(zip(parts, np.split(values, ends), strict=True)) for d, values in found.items()}
    results = {
        name: {d: ood_room.told_apart(values[IN], values[name]) for d, values in scores.items()}
        for name in texts.others
    }
    msp = {}
    if evidence.logits is not None:
        largest = signals.softmax(evidence.logits).max(axis=1)
        msp = dict(zip(parts, np.split(largest, ends), strict=True))
    told = [*texts.told, *told]
    return Detected(*who, len(texts.inside), list(sets), scores, results, msp, left_out, told)


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
    tell: Tell,
) -> Evidence:
    """What the model says of all parts, one after the other."""
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
    return Evidence(**columns)


def _measured(
    evidence: Evidence, language: Language, parts: Mapping[str, Examples], names: Sequence[str]
) -> tuple[Evidence, list[str], dict[str, str]]:
    """(the evidence with what a language model says, sentences on it, {detector: why it cannot be asked})."""
    asked = [name for name in names if name in LANGUAGE]
    if not asked:
        return evidence, [], {}
    try:
        columns, told = language.measure([text for part in parts.values() for text in runs.joined_texts(part)])
    except InputError as error:
        return evidence, [], dict.fromkeys(asked, str(error))
    return replace(evidence, **columns), told, {}
