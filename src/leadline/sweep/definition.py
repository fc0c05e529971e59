"""A sweep as it is written: a recipe, seeds and a union of grids -> trials, each with its whole recipe, all checked.

Everything that is wrong is told at once, before anything runs; nothing here needs torch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leadline import recipe as recipes
from leadline import runs
from leadline.errors import InputError, all_at_once, nearest
from leadline.recipe import Recipe
from leadline.sweep.template import fields, filled, references, resolved

DEFINITION = "sweep.yaml"  # the definition that a sweep's directory keeps
SAFE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.+=,@-]*$")  # a name that is a directory anywhere, and no option or glob


class Grid(BaseModel):
    """Every combination of the axes' values, as a trial each."""

    model_config = ConfigDict(extra="forbid")
    name: str
    axes: dict[str, list[Any]] = {}
    set: dict[str, Any] = {}


class Definition(BaseModel):
    """The YAML of a sweep."""

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    recipe: dict[str, Any]
    seeds: list[int] | None = Field(None, min_length=1)  # None: the recipe's own
    trials: list[Grid] = Field([Grid(name="base")], min_length=1)
    requests: dict[str, Any] | None = None


@dataclass(frozen=True)
class Trial:
    """One run of a sweep: `python -m leadline train` with this recipe, in the directory `path`."""

    index: int
    name: str  # the same for all seeds
    seed: int
    recipe: Recipe
    path: Path
    needs: tuple[str, ...] = ()  # titles of the trials that its recipe names as trial:NAME
    differs: Mapping[str, Any] = field(default_factory=dict)  # the keys of `set`, filled in

    @property
    def title(self) -> str:
        """The name of its directory: unique in the sweep."""
        return f"{self.name}-s{self.seed}"


@dataclass(frozen=True)
class Sweep:
    name: str
    path: Path
    trials: tuple[Trial, ...]
    document: Mapping[str, Any]  # the definition with its recipe inside: what path/sweep.yaml keeps

    def __len__(self) -> int:
        return len(self.trials)

    def trial(self, title: str) -> Trial:
        return self._by_title[title]

    @property
    def _by_title(self) -> dict[str, Trial]:
        return {trial.title: trial for trial in self.trials}

    @property
    def names(self) -> list[str]:
        """The names of the trials, seeds apart, in the order of the definition."""
        return list(dict.fromkeys(trial.name for trial in self.trials))

    def ordered(self) -> list[Trial]:
        """The trials in their order, but each after those that it needs."""
        done: dict[str, Trial] = {}
        by_title = self._by_title

        def add(trial: Trial) -> None:
            for title in trial.needs:
                if title not in done:
                    add(by_title[title])
            done.setdefault(trial.title, trial)

        for trial in self.trials:
            add(trial)
        return list(done.values())


def load(source: str | Path | Mapping[str, Any], root: str | Path = "runs") -> Sweep:
    """The sweep of a YAML file, of a mapping, or of the directory of a sweep that has been started.

    The trials lie in `root`/<name of the sweep>/<name>-s<seed>; a sweep's own directory says where it lies itself.
    Paths in the recipe, and `recipe: FILE`, are relative to where the command is called; a recipe that is not there is
    looked for beside the sweep's file. Raises InputError that tells all that is wrong.
    """
    if isinstance(source, Mapping):
        where, document, beside, stem = "sweep", dict(source), None, ""
    else:
        file = Path(source)
        if file.is_dir():
            file = file / DEFINITION
        where, document, beside = str(file), _read(file), file.parent
        stem = beside.resolve().name if file.name == DEFINITION else file.stem
        if Path(source).is_dir():
            document["name"] = Path(source).resolve().name  # a directory that was renamed is called what it is called
    if isinstance(document.get("recipe"), str):
        document["recipe"] = _recipe_file(document["recipe"], beside)
    definition = _checked(document, where)
    name = definition.name or stem
    if not SAFE.match(name):
        raise InputError(f"{where}: `name`: a sweep needs a name of letters, digits and _.-, not `{name}`")
    path = Path(root) / name if isinstance(source, Mapping) or not Path(source).is_dir() else Path(source)
    trials = _expanded(definition, path, where)
    return Sweep(name, path, trials, {**definition.model_dump(exclude_none=True), "name": name})


def kept(sweep: Sweep) -> Sweep | None:
    """As it was last run, by the definition that its directory keeps; None where that is missing or damaged."""
    try:
        return load(sweep.path) if (sweep.path / DEFINITION).is_file() else None
    except InputError:
        return None  # of another version perhaps: never taken for ours


class Yaml(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The recipes' YAML, several times faster where libyaml is there: a sweep may list a thousand trials."""

    yaml_implicit_resolvers = recipes.Yaml.yaml_implicit_resolvers


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        inside = path.parent.name if path.name == DEFINITION else ""
        raise InputError(f"{path.parent}: no sweep was started there" if inside else f"{path}: no such sweep file")
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: a sweep is a YAML mapping with name, recipe, seeds and trials")
    return document


def _recipe_file(given: str, beside: Path | None) -> dict[str, Any]:
    places = [Path(given), *([beside / given] if beside is not None else [])]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise InputError(f"recipe: {' and '.join(dict.fromkeys(map(str, places)))}: no such recipe file")
    document = _read(file)
    document.pop("run", None)  # what a finished run adds to its own recipe.yaml
    return document


def _checked(document: Mapping[str, Any], where: str) -> Definition:
    """The definition, its shape checked: keys and types."""
    if "data" in document and "recipe" not in document:
        raise InputError(
            f"{where}: this is a recipe, not a sweep; a sweep has it under `recipe:`, and `trials:` beside"
        )
    try:
        return Definition.model_validate(document)
    except ValidationError as error:
        raise all_at_once(f"{where}: the sweep is not valid", [_sentence(e) for e in error.errors()]) from None


def _sentence(error: Any) -> str:
    place = [part if isinstance(part, str) else str(part + 1) for part in error["loc"]]
    key = ".".join(place)
    if error["type"] == "extra_forbidden":
        shape = Definition if len(place) == 1 else Grid
        return f"`{key}`: unknown key.{nearest(place[-1], shape.model_fields)}"
    if error["type"] == "missing":
        return f"`{key}`: required"
    return f"`{key}`: {error['msg']} (given: {str(error['input'])[:80]})"


def _expanded(definition: Definition, path: Path, where: str) -> tuple[Trial, ...]:
    """All trials, in the order of the definition, the seeds of a name together."""
    problems = Problems()
    seeds = definition.seeds or [_own_seed(definition.recipe)]
    for seed in sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        problems.add(f"`seeds`: {seed} stands there more than once")
    cells = [cell for i, grid in enumerate(definition.trials, start=1) for cell in _cells(grid, i, problems)]
    for name, places in _gathered((cell.name, cell.place) for cell in cells).items():
        if len(places) > 1:
            also = " and ".join(dict.fromkeys(places))
            problems.add(f"`{name}` is the name of {len(places)} trials ({also}); let the name tell every axis")
    names = {cell.name for cell in cells}
    circle = _circle(_name_needs(cells, definition.recipe))
    if circle:
        problems.add(f"the trials wait for each other in a circle: {' -> '.join(circle)}")
    trials: list[Trial] = []
    for cell, seed in itertools.product(cells, seeds):
        trial = _trial(cell, seed, len(trials), definition.recipe, path, names, problems)
        if trial is not None:
            trials.append(trial)
    problems.raise_any(f"{where}: the sweep is not valid; nothing was run")
    return tuple(trials)


def _own_seed(recipe: Mapping[str, Any]) -> int:
    training = recipe.get("training")
    seed = training.get("seed", 0) if isinstance(training, Mapping) else 0
    return seed if isinstance(seed, int) else 0


@dataclass(frozen=True)
class Cell:
    """One combination of a grid: a name, and the values of its axes."""

    name: str
    place: str  # where it is defined
    values: Mapping[str, Any]
    set: Mapping[str, Any]


@dataclass
class Problems:
    """Sentences; one that holds for many trials is told once, with how many."""

    found: dict[str, list[str]] = field(default_factory=dict)  # sentence -> the trials that it holds for

    def add(self, sentence: str, trial: str = "") -> None:
        self.found.setdefault(sentence, []).append(trial)

    def raise_any(self, headline: str) -> None:
        if self.found:
            raise all_at_once(headline, [self._told(s, trials) for s, trials in self.found.items()])

    @staticmethod
    def _told(sentence: str, trials: Sequence[str]) -> str:
        if not trials[0]:
            return sentence
        more = f" and {len(trials) - 1} more" if len(trials) > 1 else ""
        return f"{trials[0]}{more}: {sentence}"


def _cells(grid: Grid, number: int, problems: Problems) -> Iterator[Cell]:
    place = f"entry {number}"
    for axis in [axis for axis, values in grid.axes.items() if not values]:
        problems.add(f"{place} (`{grid.name}`): the axis `{axis}` is empty")
    if "seed" in grid.axes or "training.seed" in grid.set:
        problems.add(f"{place} (`{grid.name}`): seeds are no axis and no key of `set`; use `seeds: […]`")
    known = [*grid.axes, "seed"]
    unknown = [f"`{field}` in its name" for field in fields(grid.name) if field not in grid.axes]
    unknown += [
        f"`{field}` in `set: {key}`"
        for key, value in grid.set.items()
        for field in dict.fromkeys(fields(value))
        if field not in known
    ]
    for what in unknown:
        word = what.split("`")[1]
        problems.add(f"{place} (`{grid.name}`): no axis is called {what}.{nearest(word, known)}")
    if unknown:
        return
    for combination in itertools.product(*grid.axes.values()):
        values = dict(zip(grid.axes, combination, strict=True))
        try:
            name = str(filled(grid.name, values, text=True))
        except ValueError as error:
            problems.add(f"{place} (`{grid.name}`): {error}")
            return
        if not SAFE.match(name):
            problems.add(f"{place}: `{name}` is no name of a directory; use letters, digits and _.+=,@-")
        yield Cell(name, place, values, grid.set)


def _gathered(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    gathered: dict[str, list[str]] = {}
    for key, value in pairs:
        gathered.setdefault(key, []).append(value)
    return gathered


def _name_needs(cells: Sequence[Cell], recipe: Mapping[str, Any]) -> dict[str, list[str]]:
    """{trial: the trials that its recipe names}; values that cannot be filled in are told by `_trial`."""
    needs = {}
    for cell in cells:
        try:
            values = filled(dict(cell.set), {**cell.values, "seed": 0})
            needs[cell.name] = references(_with(recipe, values))
        except (ValueError, InputError):
            continue
    return needs


def _circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """A circle of names that wait for each other, or nothing."""
    clear: set[str] = set()
    for start in needs:
        path: list[str] = []
        stack = [(start, iter(needs[start]))]
        path.append(start)
        while stack:
            name, rest = stack[-1]
            after = next((other for other in rest if other in needs and other not in clear), None)
            if after is None:
                clear.add(name)
                stack.pop()
                path.pop()
            elif after in path:
                return [*path[path.index(after) :], after]
            else:
                stack.append((after, iter(needs[after])))
                path.append(after)
    return []


def _trial(
    cell: Cell, seed: int, index: int, recipe: Mapping[str, Any], path: Path, names: set[str], problems: Problems
) -> Trial | None:
    try:
        differs = filled(dict(cell.set), {**cell.values, "seed": seed})
        document = _with(recipe, {**differs, "training.seed": seed})
        needs = references(document)
        unknown = [name for name in needs if name not in names]
        for name in unknown:
            problems.add(f"`trial:{name}`: there is no trial of that name.{nearest(name, names)}", cell.name)
        document = resolved(document, {name: str(path / f"{name}-s{seed}") for name in needs})
        checked = recipes.load(document)
        runs.check(checked)
    except ValueError as error:
        problems.add(str(error), cell.name)
        return None
    except InputError as error:
        for line in _lines(error):
            problems.add(line, cell.name)
        return None
    title = f"{cell.name}-s{seed}"
    return Trial(index, cell.name, seed, checked, path / title, tuple(f"{n}-s{seed}" for n in needs), differs)


def _lines(error: InputError) -> list[str]:
    headline, *problems = str(error).splitlines()
    return [line.removeprefix("  - ") for line in problems] or [headline.removeprefix("recipe: ")]


def _with(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with dotted keys set; what is not changed is shared, never copied.

    Raises InputError where a key leads through a value that has no keys.
    """
    document = dict(recipe)
    for key, value in values.items():
        here = document
        *parents, last = key.split(".")
        for depth, name in enumerate(parents):
            inner = here.get(name)
            if isinstance(inner, str) and name == "model":
                inner = {"name": inner}
            if inner is not None and not isinstance(inner, Mapping):
                raise InputError(
                    f"`{key}`: `{'.'.join(parents[: depth + 1])}` is a single value, it has no key `{last}`"
                )
            here[name] = dict(inner or {})
            here = here[name]
        here[last] = value
    return document
