"""One recipe over several seeds of training: the smallest sweep, and what `leadline train --seeds` makes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline import runs
from leadline.errors import InputError
from leadline.recipe import Recipe
from leadline.sweep.definition import DEFINITION, Sweep, load
from leadline.sweep.state import Keys, state


def over(recipe: Recipe, count: int, name: str | None = None, root: str | Path = "runs") -> Sweep:
    """`count` trials of a recipe, training.seed = its own seed and those that follow; data.seed stays.

    Without a name the sweep is <data>-<model>-seeds, or the next -2, -3, … whose directory does not hold another recipe
    or other data; so the same call finds what it made before, and more seeds add to it.
    """
    if count < 1:
        raise InputError(f"--seeds {count}: at least one")
    document = recipe.to_dict()
    first = document["training"].pop("seed")
    stem = runs.default_name(recipe)
    if name is not None:
        place = Path(name) if os.sep in name else Path(root) / name
        return load(_definition(place.name, place.name, document, first, count), place.parent)
    number = 1
    while True:
        found = load(
            _definition(f"{stem}-seeds" + (f"-{number}" if number > 1 else ""), stem, document, first, count), root
        )
        if _free(found):
            return found
        number += 1


def _definition(name: str, trial: str, recipe: Mapping[str, Any], first: int, count: int) -> dict[str, Any]:
    return {"name": name, "recipe": recipe, "seeds": list(range(first, first + count)), "trials": [{"name": trial}]}


def _free(sweep: Sweep) -> bool:
    """Nothing stands there, or what does is this sweep's."""
    if not sweep.path.exists():
        return True
    if not (sweep.path / DEFINITION).is_file():
        return False
    try:
        there = load(sweep.path)
    except InputError:
        return False  # a definition of another version, or a damaged one: never taken for ours
    keys = Keys()
    same = there.document["recipe"] == sweep.document["recipe"] and there.names == sweep.names
    return same and all(state(sweep, trial, keys) != "other run" for trial in sweep.trials)
