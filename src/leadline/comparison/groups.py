"""Runs that differ in nothing but the seed of training belong together: a group is one recipe, tried several times."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from leadline.runs import Run


@dataclass(frozen=True)
class Group:
    """One recipe and its runs, a seed each; a run that stands alone is a group of one."""

    name: str
    runs: list[int]  # indices of the runs compared
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.runs)


def grouped(runs: Sequence[Run], titles: Sequence[str]) -> tuple[list[Group], list[str]]:
    """The groups in the order in which their first runs were named, and notes of runs that only seem to belong to one.

    Runs belong together that lie in one directory and are called `<name>-s<seed>`, as a sweep calls them, and whose
    recipes and data do not differ in more than their seeds; or whose recipes and data are equal but for training.seed.
    A seed that a group already has starts a group of its own.
    """
    found: dict[tuple[Any, ...], tuple[list[int], list[int]]] = {}
    notes = []
    for i, run in enumerate(runs):
        key, seed = _key(run)
        if key is not None and key[0] == "name":
            like = found.get((*key, 0), ([i],))[0][0]
            apart = differing(runs[like], run)
            variants = ((*key, number) for number in count())
            key = next(k for k in variants if k not in found or not differing(runs[found[k][0][0]], run))
            if apart and key not in found:
                where = ", ".join(apart[:3]) + (f" and {len(apart) - 3} more" if len(apart) > 3 else "")
                notes.append(f"{titles[i]} is not taken for another seed of {titles[like]}: they differ in {where}")
        if key is None or seed in found.get(key, ([], []))[1]:
            key = ("alone", i)
        members, seeds = found.setdefault(key, ([], []))
        members.append(i)
        seeds.append(seed)
    groups = [Group(_name(key, members, titles), members, seeds) for key, (members, seeds) in found.items()]
    names = distinct([group.name for group in groups])
    return [Group(name, group.runs, group.seeds) for name, group in zip(names, groups, strict=True)], notes


def differing(a: Run, b: Run) -> list[str]:
    """The keys of two recipes, and the data, that differ in more than the seed; nothing where a run has no recipe.

    A value follows the seed where it is the seed of its run, or a path that names a run of that seed (a base's).
    """
    if a.recipe is None or b.recipe is None:
        return []
    ours, theirs = (_flat(run.recipe.to_dict()) | _content(run) for run in (a, b) if run.recipe)
    seeds = a.recipe.training.seed, b.recipe.training.seed
    keys = [key for key in {**ours, **theirs} if key not in ("base.run", "training.checkpoint_minutes")]
    return [key for key in keys if not _same(ours.get(key), theirs.get(key), *seeds)]


def _same(x: Any, y: Any, seed: int, other: int) -> bool:
    if isinstance(x, str) and isinstance(y, str):
        return re.sub(rf"-s{seed}(?!\d)", "-s", x) == re.sub(rf"-s{other}(?!\d)", "-s", y)
    return x == y or (x is not None and (x, y) == (seed, other))


def _flat(document: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{dotted key: value}"""
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return found


def _content(run: Run) -> dict[str, Any]:
    sources = run.examples.sources.items()
    return {f"the content of data.{split}": source.get("sha256") for split, source in sources}


def distinct(names: Sequence[str]) -> list[str]:
    """With its number behind it where a name occurs twice."""
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]


def _key(run: Run) -> tuple[tuple[Any, ...] | None, int]:
    """What the runs of a group have in common (None: nothing is known of this one), and the seed."""
    seed = run.recipe.training.seed if run.recipe else 0
    named = re.fullmatch(r"(.+)-s(\d+)", run.name)
    if named:
        return ("name", str(run.path.resolve().parent), named[1]), seed if run.recipe else int(named[2])
    if run.recipe is None:
        return None, seed
    recipe = run.recipe.to_dict()
    recipe["training"].pop("seed")
    return ("recipe", json.dumps([recipe, _content(run)], sort_keys=True)), seed


def _name(key: tuple[Any, ...], members: Sequence[int], titles: Sequence[str]) -> str:
    first = titles[members[0]]
    if len(members) == 1:
        return first
    return key[2] if key[0] == "name" else f"{first} and {len(members) - 1} more seeds"
