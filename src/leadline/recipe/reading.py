"""A recipe from YAML, from a mapping, from what one types at once; with overrides, and all problems told at once."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from leadline.errors import InputError, all_at_once, nearest
from leadline.recipe.parts import Data, Part, Training
from leadline.recipe.whole import Recipe

FORMAT = 1
DATAFRAME = "<dataframe>"  # what `data.train` says when the rows came as an object, not as a file

# Keys of format 1 that belong to capabilities this version does not have. Refused by name, never ignored.
LATER = "comes with a later version"
RESERVED: dict[str, tuple[Any, str]] = {  # key: (the value that asks for nothing, what to do instead)
    "data.positive_class": (None, f"resampling {LATER}"),
    "data.positive_fraction": (None, f"resampling {LATER}"),
    "data.total": (None, f"resampling {LATER}"),
}


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
    if error["type"] == "model_type":
        return f"`{key}`: its keys are needed: {', '.join(_keys_at(place))}{_given(error)}"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] == "value_error" else _given(error)
    return f"`{key}`: {message}{given}" if place else message + given


def _given(error: Any) -> str:
    return f" (given: {json.dumps(error['input'], default=str)[:80]})"


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
