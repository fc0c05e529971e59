"""The shape of a recipe: everything that determines one training run, as one validated YAML document.

Unknown keys are errors that suggest the nearest key; all problems are told at once.
Names of scores and detectors are not checked here (they live in rooms below): `runs.check(recipe)` does that.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from leadline.errors import InputError, all_at_once, nearest

FORMAT = 1
DATAFRAME = "<dataframe>"  # what `data.train` says when the rows came as an object, not as a file

# Keys of format 1 that belong to capabilities this version does not have. Refused by name, never ignored.
LATER = "comes with a later version"
RESERVED: dict[str, tuple[Any, str]] = {  # key: (the value that asks for nothing, what to do instead)
    "select": (None, "use `leadline select RUN --keep … -o FILE` and train on that file"),
    "curriculum": (None, f"a curriculum {LATER}"),
    "mixup": (None, f"mixup {LATER}"),
    "data.positive_class": (None, f"resampling {LATER}"),
    "data.positive_fraction": (None, f"resampling {LATER}"),
    "data.total": (None, f"resampling {LATER}"),
    "data.null_input": (False, f"PVI {LATER}"),
    "base.max_epochs": (None, f"what reads a base's epochs {LATER}"),
    "base.skip_epochs": (0, f"what reads a base's epochs {LATER}"),
    "base.labels": ("same", f"what joins a base's rows {LATER}"),
    "base.regions": (None, f"what reads a base's regions {LATER}"),
    "loss.example_weights": (None, f"weights from a score {LATER}; use `data.weight` for a column"),
    "training.steps": (None, f"equal steps for subsets {LATER}"),
    "record.under_mixup": ("auto", f"mixup {LATER}"),
    "record.checkpoints": (None, f"probes {LATER}"),
    "evaluate.ood": ([], f"out-of-distribution tests {LATER}"),
    "evaluate.features": (None, f"saved features {LATER}"),
}


def _written(value: Any) -> Any:
    """A name that looks like a number or a truth value, as it was written: class 1, column 7."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


Name = Annotated[str, BeforeValidator(_written)]


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
    id: Name | None = None
    text: Name | list[Name] = "text"
    label: Name | None = "label"
    label_distribution: Name | list[Name] | None = None
    weight: Name | None = None
    group: Name | None = None
    sample: Sample | None = None
    corrupt: Corrupt | None = None
    seed: int = Field(0, ge=0, lt=2**32)

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
    checkpoint_minutes: float = Field(10, ge=0)  # besides those at the end of every epoch
    log_every: int = Field(20, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Loss(Part):
    name: Literal["cross-entropy"] = "cross-entropy"
    weighted_class: Name | None = None
    gamma: float = Field(1.0, gt=0)
    class_weights: Literal["balanced", "effective"] | dict[str, Weight] | None = None
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
        whole = 1 / self.every if self.every < 1 else self.every
        if abs(whole - round(whole)) > 0.04:  # 0.33 is a third
            raise ValueError("`every` is a whole number of epochs, or a whole part of one: 1/2, 1/3, 1/4, …")
        return self


class Evaluate(Part):
    metrics: Literal["auto"] | list[str] = "auto"
    calibration: bool = True
    splits: list[Literal["train", "validation", "test"]] = ["validation", "test"]


class Base(Part):
    """An earlier run whose signals later keys read (`corrupt: {kind: by-confusion}`)."""

    run: str


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


class Yaml(yaml.SafeLoader):
    """YAML as people mean it: `no` is a class name (only true and false are truth values), 2e-5 is a number."""

    yaml_implicit_resolvers = {
        first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:bool"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file or a mapping, with `key.path=value` overrides applied.

    Raises InputError that names every wrong key at once, each with the nearest right one.
    """
    where = "recipe" if isinstance(source, Mapping) else str(source)
    document = dict(source) if isinstance(source, Mapping) else _read(Path(source))
    document = copy.deepcopy(document)
    document.pop("run", None)  # what a finished run adds to its own recipe.yaml: versions, device, key
    for override in overrides:
        _set(document, override)
    if isinstance(document.get("format"), int) and document["format"] > FORMAT:
        raise InputError(
            f"{where}: format {document['format']} is newer than this leadline knows ({FORMAT}); upgrade leadline"
        )
    document = json.loads(json.dumps(document, default=str))  # keys of mappings are names, whatever YAML made of them
    asked = {key: _get(document, key) for key in RESERVED}
    reserved = [f"`{key}`: {RESERVED[key][1]}" for key, value in asked.items() if value not in (None, RESERVED[key][0])]
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
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml)
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
        value = yaml.load(text, Loader=Yaml)
    except yaml.YAMLError:
        value = text
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
        if key in Data.model_fields and key != "seed":
            document["data"][key] = value
        elif key in Training.model_fields:
            document.setdefault("training", {})[key] = value
        elif key in Recipe.model_fields:
            document[key] = value
        else:
            known = [*Data.model_fields, *Training.model_fields, *Recipe.model_fields]
            raise InputError(f"unknown setting `{key}`.{nearest(key, known)}")
    return document
