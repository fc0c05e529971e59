"""One recipe over several seeds of training: the smallest sweep, and what `leadline train --seeds` makes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from leadline import runs
from leadline.errors import InputError
from leadline.recipe import Recipe
from leadline.sweep.definition import Sweep, kept, load
from leadline.sweep.state import Keys, state


def over(recipe: Recipe, count: int, name: str | None = None, root: str | Path = "runs") -> Sweep:
    """`count` trials of a recipe, training.seed = its own seed and those that follow; data.seed stays.

    Without a name the sweep is <data>-<model>-seeds, or the next -2, -3, … whose directory does not hold another recipe
    or other data; so the same call finds what it made before, and more or other seeds add to those that are there.
    """
    if count < 1:
        raise InputError(f"--seeds {count}: at least one")
    document = recipe.to_dict()
    first = document["training"].pop("seed")
    stem, seeds = runs.default_name(recipe), range(first, first + count)
    if name is not None:
        place = Path(name) if os.sep in name else Path(root) / name
        return _with_those_there(load(_definition(place.name, place.name, document, seeds), place.parent))
    number = 1
    while True:
        found = load(_definition(f"{stem}-seeds" + (f"-{number}" if number > 1 else ""), stem, document, seeds), root)
        if _free(found):
            return _with_those_there(found)
        number += 1


def _definition(name: str, trial: str, recipe: Mapping[str, Any], seeds: Iterable[int]) -> dict[str, Any]:
    return {"name": name, "recipe": recipe, "seeds": sorted(seeds), "trials": [{"name": trial}]}


def _with_those_there(sweep: Sweep) -> Sweep:
    """With the seeds that its directory has already."""
    there = kept(sweep)
    if there is None or not _alike(there, sweep):
        return sweep
    seeds = {trial.seed for trial in (*there.trials, *sweep.trials)}
    return load(_definition(sweep.name, sweep.names[0], sweep.document["recipe"], seeds), sweep.path.parent)


def _alike(a: Sweep, b: Sweep) -> bool:
    return bool(a.document["recipe"] == b.document["recipe"]) and a.names == b.names


def _free(sweep: Sweep) -> bool:
    """Nothing stands there, or what does is this sweep's."""
    if not sweep.path.exists():
        return True
    there, keys = kept(sweep), Keys()
    return (
        there is not None
        and _alike(there, sweep)
        and all(state(sweep, trial, keys) != "other run" for trial in sweep.trials)
    )
