"""Which texts `leadline ood` looks at: those in distribution, those trained on, and the other sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from leadline import ood as ood_room
from leadline import recipe as recipes
from leadline import runs
from leadline.data import load as loading
from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.ood import OodSet
from leadline.runs import Run


@dataclass(frozen=True)
class Texts:
    """What is compared with what."""

    inside: Examples  # in distribution, not trained on
    others: Mapping[str, Examples]
    train: Examples | None  # labelled, that the model was trained on; None where nobody knows
    told: tuple[str, ...] = ()  # of texts that are on two sides, a sentence each


def gather(
    run: Run | None,
    recipe: recipes.Recipe,
    classes: tuple[str, ...],
    sets: Sequence[OodSet],
    id: str | None,
    fit: str | None,
    max_rows: int | None,
) -> Texts:
    """All texts of `experiment.detect`, read and compared.

    Raises InputError: a file or column that is not there, sets of single texts for a model of pairs, and --id texts of
    which more than half are training texts.
    """
    inside = _inside(run, recipe, id, max_rows)
    others = {found.name: read_set(found, recipe, max_rows) for found in sets}
    learned = None if run is None else _rows(run.train, run.trained_on)
    train = learned if fit is None else _fit(recipe, fit, classes)
    named = {f"--id {id}": inside, **others} | ({f"--fit {fit}": train} if train is not None else {})
    same_inputs(named, run.examples.inputs if run is not None else inside.inputs)
    known = {text for part in (learned, train) if part is not None for text in runs.joined_texts(part)}
    shared = _shared(inside, known)
    if id is not None and shared > len(inside) / 2:
        raise InputError(
            f"--id {id}: {shared:,} of its {len(inside):,} texts are training texts; texts in distribution are "
            "others of the same kind, which the model did not learn from"
        )
    return Texts(inside, others, train, tuple(on_two_sides(inside, others, known)))


def on_two_sides(inside: Examples, others: Mapping[str, Examples], known: Iterable[str]) -> list[str]:
    """A sentence for every set that shares texts with one that it is compared with; known: the training texts."""
    known, told = set(known), []
    if shared := _shared(inside, known):
        told.append(
            f"{shared:,} of {len(inside):,} texts in distribution are training texts, too: the model knows them"
        )
    ours = known | set(runs.joined_texts(inside))
    for name, part in others.items():
        if shared := _shared(part, ours):
            told.append(
                f"{shared:,} of {len(part):,} texts of {name} are also among those in distribution or trained on"
            )
    return told


def _shared(part: Examples, known: set[str]) -> int:
    """How many rows have a text that is among the known ones."""
    return sum(text in known for text in runs.joined_texts(part))


def same_inputs(parts: Mapping[str, Examples], inputs: Sequence[str]) -> None:
    """InputError where a set has more or fewer text columns than the model reads."""
    for name, part in parts.items():
        if len(part.inputs) != len(inputs):
            columns = "FILE#ONE,TWO" if len(inputs) == 2 else "FILE#COLUMN"
            raise InputError(
                f"{name}: {len(part.inputs)} text column(s), {', '.join(part.inputs)}, where the model reads "
                f"{len(inputs)} ({', '.join(inputs)}); name as many: {columns}"
            )


def read_set(found: OodSet, recipe: recipes.Recipe, max_rows: int | None = None) -> Examples:
    """The texts of a set, without labels; row numbers are its ids."""
    examples = loading.load_one(found.file, _columns(recipe, found), recipe.task, (), "test", labelled=False)
    if max_rows is None or len(examples) <= max_rows:
        return examples
    return _drawn(examples, max_rows)


def parsed(option: str, text: str) -> OodSet:
    """The one set that --id or --fit names."""
    found = ood_room.parse(text)[0]
    if found.kinds:
        raise InputError(f"{option} {text}: texts in distribution have no kind of shift")
    return found


def _inside(run: Run | None, recipe: recipes.Recipe, id: str | None, max_rows: int | None) -> Examples:
    if id is not None:
        return read_set(parsed("--id", id), recipe, max_rows)
    if run is None:
        raise InputError("a plain checkpoint does not know its own kind of texts: name some with --id FILE")
    held = [split for split in ("test", "validation") if split in run.examples.splits]
    if not held:
        raise InputError(f"{run.path}: all its texts were trained on; name others in distribution with --id FILE")
    whole = run.examples.split(held[0])
    return whole if max_rows is None or len(whole) <= max_rows else _drawn(whole, max_rows)


def _fit(recipe: recipes.Recipe, fit: str, classes: tuple[str, ...]) -> Examples:
    found = parsed("--fit", fit)
    return loading.load_one(found.file, _columns(recipe, found), recipe.task, classes, "train")


def _columns(recipe: recipes.Recipe, found: OodSet) -> recipes.Data:
    """How a file is read: as the run's, with its own text columns, and row numbers for ids."""
    own: dict[str, Any] = {"id": None, "group": None, "weight": None}
    if found.columns:
        own["text"] = found.columns[0] if len(found.columns) == 1 else list(found.columns)
    return recipe.data.model_copy(update=own)


def _drawn(examples: Examples, n: int) -> Examples:
    return _rows(examples, np.sort(np.random.default_rng(0).permutation(len(examples))[:n]))


def _rows(examples: Examples, rows: np.ndarray) -> Examples:
    """Those of the row numbers, or of the mask (N,)."""
    return replace(examples, table=examples.table[np.flatnonzero(rows) if rows.dtype == bool else rows])
