"""The shape of a recipe: everything that determines one training run, as one validated YAML document.

Unknown keys are errors that suggest the nearest key; all problems are told at once.
Names of scores and detectors are not checked here (they live in rooms below): `runs.check(recipe)` does that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from leadline.errors import InputError, all_at_once, nearest

FORMAT = 1
DATAFRAME = "<dataframe>"  # what `data.train` says when the rows came as an object, not as a file

# Keys of format 1 that belong to capabilities this version does not have. Refused by name, never ignored.
RESERVED = {
    "select": "use `leadline select RUN --keep … -o FILE` and train on that file",
    "curriculum": "curricula come with a later version",
    "mixup": "mixup comes with a later version",
    "data.positive_class": "resampling comes with a later version",
    "data.positive_fraction": "resampling comes with a later version",
    "data.total": "resampling comes with a later version",
    "data.null_input": "PVI comes with a later version",
    "loss.example_weights": "weights from a score come with a later version; use `data.weight` for a column",
    "training.steps": "equal steps for subsets come with a later version",
    "training.checkpoint_minutes": "checkpoints come with a later version",
    "record.under_mixup": "mixup comes with a later version",
    "record.checkpoints": "probes come with a later version",
    "evaluate.ood": "out-of-distribution tests come with a later version",
    "evaluate.features": "saved features come with a later version",
}


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class Sample(Part):
    """A random part of the training rows: `n` in all, or `per_class` of each class."""

    n: int | None = Field(None, gt=0)
    per_class: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def one_of_two(self) -> Sample:
        if (self.n is None) == (self.per_class is None):
            raise ValueError("give either `n` or `per_class`")
        return self


class Corrupt(Part):
    """Wrong labels put in on purpose, for benchmarks; the truth is kept in `_true_label`."""

    rate: float = Field(gt=0, lt=1)
    kind: Literal["uniform", "class-pair", "by-confusion"] = "uniform"


class Data(Part):
    train: str
    validation: str | float | None = 0.1
    test: str | None = None
    id: str | None = None
    text: str | list[str] = "text"
    label: str | None = "label"
    label_distribution: str | list[str] | None = None
    weight: str | None = None
    group: str | None = None
    sample: Sample | None = None
    corrupt: Corrupt | None = None
    seed: int = Field(0, ge=0)

    @field_validator("validation")
    @classmethod
    def fraction(cls, value: str | float | None) -> str | float | None:
        if isinstance(value, float | int) and not 0 < value < 1:
            raise ValueError("a fraction must lie between 0 and 1 (null for no validation data)")
        return value

    @field_validator("text")
    @classmethod
    def one_or_two(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and not 1 <= len(value) <= 2:
            raise ValueError("one or two text columns")
        return value

    @property
    def inputs(self) -> list[str]:
        return [self.text] if isinstance(self.text, str) else list(self.text)


class Model(Part):
    """`name` is a Hub id or a local directory, `minilm` (PyPI package), or `tiny` (built from the training texts)."""

    name: str
    revision: str | None = None
    dropout: float | None = Field(None, ge=0, lt=1)


class EarlyStopping(Part):
    metric: str = "macro_f1"
    patience: int = Field(2, ge=1)


class Training(Part):
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.06, ge=0, lt=1)
    schedule: Literal["linear", "cosine", "constant", "step"] = "linear"
    step_factor: float = Field(0.5, gt=0, le=1)  # schedule: step multiplies the rate by this after every epoch
    max_length: int = Field(256, ge=8)
    max_grad_norm: float | None = Field(1.0, gt=0)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    early_stopping: EarlyStopping | None = None
    log_every: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)


class Loss(Part):
    name: Literal["cross-entropy"] = "cross-entropy"
    weighted_class: str | None = None
    gamma: float = Field(1.0, gt=0)
    class_weights: Literal["balanced", "effective"] | dict[str, float] | None = None
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    focal_gamma: float | None = Field(None, ge=0)

    @property
    def plain(self) -> bool:
        return self == Loss()


class Record(Part):
    mode: Literal["online", "snapshot"] = "online"
    every: float = Field(1.0, gt=0)
    logits: bool = True

    @model_validator(mode="after")
    def fractions_are_snapshots(self) -> Record:
        if self.every < 1 and self.mode == "online":
            self.mode = "snapshot"  # within an epoch not every row has been met online
        elif self.every > 1 and self.every != int(self.every):
            raise ValueError("`every` is a fraction of an epoch or a whole number of epochs")
        return self


class Evaluate(Part):
    metrics: Literal["auto"] | list[str] = "auto"
    calibration: bool = True
    splits: list[Literal["train", "validation", "test"]] = ["validation", "test"]


class Base(Part):
    """An earlier run whose signals later keys read (`corrupt: {kind: by-confusion}`)."""

    run: str
    labels: Literal["same", "ignore"] = "same"


class Recipe(Part):
    format: Literal[1] = 1
    task: Literal["classification", "regression"] = "classification"
    data: Data
    model: str | Model = "minilm"
    base: Base | None = None
    training: Training = Training()
    loss: Loss = Loss()
    record: Record | None = Record()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def consistent(self) -> Recipe:
        if self.task == "regression":
            if not self.loss.plain:
                raise ValueError(
                    "loss: class weights, gamma, focal and smoothing need fixed classes; regression has none"
                )
            if self.data.label_distribution is not None:
                raise ValueError("data.label_distribution: regression has no classes to distribute over")
            if self.data.corrupt is not None:
                raise ValueError("data.corrupt: regression has no classes to confuse")
            if self.data.sample is not None and self.data.sample.per_class is not None:
                raise ValueError("data.sample.per_class: regression has no classes; use n")
        if self.training.early_stopping is not None and self.data.validation is None:
            raise ValueError("training.early_stopping needs validation data: set data.validation")
        if self.data.corrupt is not None and self.data.corrupt.kind == "by-confusion" and self.base is None:
            raise ValueError("data.corrupt: by-confusion needs `base: {run: …}`, whose validation confusions it copies")
        if self.loss.gamma != 1.0 and self.loss.weighted_class is None:
            raise ValueError("loss.gamma needs loss.weighted_class, the class that it weights")
        return self

    @property
    def model_name(self) -> str:
        return self.model if isinstance(self.model, str) else self.model.name

    @property
    def learning_rate(self) -> float:
        """The default: 5e-4 for tiny (random weights), 5e-5 for minilm, else 2e-5."""
        return self.training.learning_rate or {"tiny": 5e-4, "minilm": 5e-5}.get(self.model_name, 2e-5)

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file or a mapping, with `key.path=value` overrides applied.

    Raises InputError that names every wrong key at once, each with the nearest right one.
    """
    where = "recipe" if isinstance(source, Mapping) else str(source)
    document = dict(source) if isinstance(source, Mapping) else _read(Path(source))
    document = json.loads(json.dumps(document, default=str))  # a deep copy of plain values
    document.pop("run", None)  # what a finished run adds to its own recipe.yaml: versions, device, key
    for override in overrides:
        _set(document, override)
    if isinstance(document.get("format"), int) and document["format"] > FORMAT:
        raise InputError(
            f"{where}: format {document['format']} is newer than this leadline knows ({FORMAT}); upgrade leadline"
        )
    reserved = [f"`{key}`: {advice}" for key, advice in RESERVED.items() if _get(document, key) is not None]
    if reserved:
        raise all_at_once(f"{where}: not in this version of leadline", reserved)
    for key in RESERVED:
        _drop(document, key)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise all_at_once(f"{where}: the recipe is not valid", [_sentence(e) for e in error.errors()]) from None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such recipe file")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: a recipe is a YAML mapping with at least `data: {{train: FILE}}`")
    return document


def _set(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write KEY=VALUE, for example --set training.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 2e-5 as text
        except ValueError:
            pass
    *parents, last = key.split(".")
    for name in parents:
        inner = document.setdefault(name, {})
        if inner is None:
            inner = document[name] = {}
        if not isinstance(inner, dict):
            if name != "model":
                raise InputError(f"--set {override}: `{name}` is a single value, it has no key `{last}`")
            inner = document[name] = {"name": inner}
        document = inner
    document[last] = value


def _get(document: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _drop(document: Any, key: str) -> None:
    *parents, last = key.split(".")
    for name in parents:
        document = document.get(name) if isinstance(document, dict) else None
    if isinstance(document, dict):
        document.pop(last, None)


def _sentence(error: Any) -> str:
    place = [str(part) for part in error["loc"] if not _is_union_branch(str(part))]
    key = ".".join(place) or "recipe"
    if error["type"] == "extra_forbidden":
        return f"`{key}`: unknown key.{nearest(place[-1], _keys_at(place[:-1]))}"
    if error["type"] == "missing":
        return f"`{key}`: required"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] == "value_error" else f" (given: {json.dumps(error['input'], default=str)[:80]})"
    return f"`{key}`: {message}{given}" if place else message + given


def _is_union_branch(part: str) -> bool:
    """pydantic puts the tried type of a union into the place of an error: not a key of the user's."""
    return part in {"str", "float", "int", "Model", "constrained-float"} or part.startswith(
        ("literal[", "list[", "dict[")
    )


def _keys_at(place: Sequence[str]) -> list[str]:
    part: Any = Recipe
    for name in place:
        field = part.model_fields.get(name)
        if field is None:
            return []
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        part = next((o for o in options if isinstance(o, type) and issubclass(o, Part)), None)
        if part is None:
            return []
    return list(part.model_fields)


def quick(
    data: str,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    model: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The mapping of a recipe from what one types at once: `leadline train reviews.csv --text … --label … --model …`.

    `more`: any of task, test, validation, id, group, weight, epochs, batch_size, learning_rate, max_length, … that
    lies in `data` or `training`; None means the default.
    """
    document: dict[str, Any] = {"data": {"train": data}}
    given = {
        "text": text if text is None or isinstance(text, str) else list(text),
        "label": label,
        "model": model,
        **more,
    }
    for key, value in given.items():
        if value is None:
            continue
        if key in Data.model_fields:
            document["data"][key] = value
        elif key in Training.model_fields and key != "seed":
            document.setdefault("training", {})[key] = value
        elif key in Recipe.model_fields:
            document[key] = value
        else:
            known = [*Data.model_fields, *Training.model_fields, *Recipe.model_fields]
            raise InputError(f"unknown setting `{key}`.{nearest(key, known)}")
    return document
