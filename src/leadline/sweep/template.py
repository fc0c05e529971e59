"""Templates of a sweep: `{gamma:.1f}` stands for the value of an axis, `trial:NAME` for the directory of a trial.

Python's format specs, without its access to attributes and items.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

TRIAL = "trial:"


class _Yaml(string.Formatter):
    """Values as YAML writes them: true, false and null, not True, False and None."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if not format_spec and (value is None or isinstance(value, bool)):
            return {None: "null", True: "true", False: "false"}[value]
        try:
            return str(super().format_field(value, format_spec))
        except (ValueError, TypeError):
            raise ValueError(f"`{value}` cannot be written as `{{…:{format_spec}}}`") from None


_FORMATTER = _Yaml()


def _parsed(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"`{template}`: {error}; a brace that is meant is written twice") from None


def strings(value: Any) -> Iterator[str]:
    """Every string inside a value, those of lists and mappings too; keys are not values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)


def fields(value: Any) -> list[str]:
    """The names between braces, in every string of a value; a template that is none names itself."""
    names: list[str] = []
    for text in strings(value):
        if "{" in text or "}" in text:
            try:
                names += [name for _, name, _, _ in _parsed(text) if name is not None]
            except ValueError:
                continue  # told by `filled`
    return names


def filled(value: Any, values: Mapping[str, Any], text: bool = False) -> Any:
    """A value with its templates filled in. A string that is one template and nothing else keeps the value's type.

    `text`: always a string. Raises ValueError for a format that the value does not have, or a lonely brace.
    """
    if isinstance(value, Mapping):
        return {key: filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, values) for inner in value]
    if not isinstance(value, str) or ("{" not in value and "}" not in value):
        return value
    parts = _parsed(value)
    if not text and len(parts) == 1:
        before, name, spec, conversion = parts[0]
        if name in values and not before and not spec and not conversion:
            return values[str(name)]
    return _FORMATTER.vformat(value, (), values)


def references(value: Any) -> list[str]:
    """The names after `trial:`, in every string of a value, once each. `trial:base/model` lies inside the trial's."""
    found = [text[len(TRIAL) :].partition("/")[0] for text in strings(value) if text.startswith(TRIAL)]
    return list(dict.fromkeys(found))


def resolved(value: Any, places: Mapping[str, str]) -> Any:
    """A value in which `trial:NAME` is the directory of that trial."""
    if isinstance(value, str) and value.startswith(TRIAL):
        name, slash, rest = value[len(TRIAL) :].partition("/")
        return places.get(name, value) + slash + rest if name in places else value
    if isinstance(value, Mapping):
        return {key: resolved(inner, places) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(inner, places) for inner in value]
    return value
