"""Runs that differ in nothing but the seed of training belong together: a group is one recipe, tried several times."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
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


def grouped(runs: Sequence[Run], titles: Sequence[str]) -> list[Group]:
    """In the order in which their first runs were named.

    Runs belong together that lie in one directory and are called `<name>-s<seed>`, as a sweep calls them, or whose
    recipes and data are equal but for training.seed. A seed that a group already has starts a group of its own.
    """
    found: dict[tuple[Any, ...], tuple[list[int], list[int]]] = {}
    for i, run in enumerate(runs):
        key, seed = _key(run)
        if key is None or seed in found.get(key, ([], []))[1]:
            key = ("alone", i)
        members, seeds = found.setdefault(key, ([], []))
        members.append(i)
        seeds.append(seed)
    groups = [Group(_name(key, members, titles), members, seeds) for key, (members, seeds) in found.items()]
    names = distinct([group.name for group in groups])
    return [Group(name, group.runs, group.seeds) for name, group in zip(names, groups, strict=True)]


def distinct(names: Sequence[str]) -> list[str]:
    """With its number behind it where a name occurs twice."""
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]


def _key(run: Run) -> tuple[tuple[Any, ...] | None, int]:
    """What the runs of a group have in common (None: nothing is known of this one), and the seed."""
    seed = run.recipe.training.seed if run.recipe else 0
    named = re.fullmatch(r"(.+)-s(\d+)", run.name)
    if named:
        return ("name", str(run.path.resolve().parent), named[1]), int(named[2])
    if run.recipe is None:
        return None, seed
    recipe = run.recipe.to_dict()
    recipe["training"].pop("seed")
    content = {split: source.get("sha256") for split, source in run.examples.sources.items()}
    return ("recipe", json.dumps([recipe, content], sort_keys=True)), seed


def _name(key: tuple[Any, ...], members: Sequence[int], titles: Sequence[str]) -> str:
    first = titles[members[0]]
    if len(members) == 1:
        return first
    return key[2] if key[0] == "name" else f"{first} and {len(members) - 1} more seeds"
