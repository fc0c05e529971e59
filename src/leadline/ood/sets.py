"""How a set of texts is named on the command line and in a recipe: [KIND:][NAME=]FILE[#COLUMN]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leadline.errors import InputError, nearest

KINDS = ("near", "far", "semantic", "background")
MARKS = "/\\:+[]"  # of paths, kinds, results
IN = "in"  # what tables call the set in distribution
SPLIT = "ood+"  # before the name of a set in results.json


@dataclass(frozen=True)
class OodSet:
    """A set of texts to be told from those in distribution."""

    name: str
    file: str  # as data.train: a path or hub:…
    kinds: tuple[str, ...] = ()  # of KINDS, as somebody judged it
    columns: tuple[str, ...] = ()  # text columns where they are not the run's


def parse(given: str | Sequence[str]) -> list[OodSet]:
    """Sets by their text, each with a name of its own.

    `trec.csv`, `questions=trec.csv`, `far:trec.csv`, `far+semantic:questions=trec.csv#text`; a pair of columns is
    `#premise,hypothesis`. Without a name the file's, or its folder's where the file is called train, test, dev, …
    """
    sets = [_one(text) for text in ([given] if isinstance(given, str) else given)]
    names = [found.name for found in sets]
    for found in sets:
        if any(mark in found.name for mark in MARKS):
            raise InputError(f"`{found.name}` cannot name a set ({' '.join(MARKS)} mean something); write NAME=FILE")
    if IN in names:
        raise InputError(f"`{IN}` names the texts in distribution; give the set another name: NAME=FILE")
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            files = ", ".join(found.file for found in sets if found.name == name)
            raise InputError(f"two sets are called `{name}` ({files}); name them: NAME=FILE")
    return sets


def _one(text: str) -> OodSet:
    rest, kinds = _kinds(text)
    name, equals, file = rest.partition("=")
    if not equals or "/" in name or name.startswith("hub:") or Path(rest).is_file():
        name, file = "", rest
    columns: tuple[str, ...] = ()
    if "#" in file and not Path(file).is_file():
        file, _, chosen = file.rpartition("#")
        columns = tuple(part.strip() for part in chosen.split(",") if part.strip())
        if not columns:
            raise InputError(f"{text}: after # the text column is named, for example {file}#text")
    if not file:
        raise InputError(f"{text}: no file; write [KIND:][NAME=]FILE[#COLUMN]")
    if equals and not name and file != rest:
        raise InputError(f"{text}: no name before =; write NAME=FILE")
    return OodSet(name.strip() or name_of(file), file, kinds, columns)


def _kinds(text: str) -> tuple[str, tuple[str, ...]]:
    """(what follows the kinds, the kinds). A hub: source and a path with a colon have none."""
    before, colon, after = text.partition(":")
    if not colon or before == "hub" or "/" in before or "=" in before or "." in before:
        return text, ()
    kinds = tuple(part.strip() for part in before.split("+"))
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"{text}: `{kind}` is no kind of shift.{nearest(kind, KINDS)} Known: {', '.join(KINDS)}")
    return after, kinds


def name_of(file: str) -> str:
    """trec of trec.csv.gz, of trec/test.csv, of hub:trec@test; of a table in memory, <dataframe>, without brackets."""
    if file.startswith("hub:"):
        return file.removeprefix("hub:").partition("@")[0].partition(":")[0].rpartition("/")[2] or file
    path = Path(file.strip("<>"))
    stem = path.name.split(".")[0]
    plain = stem in {"train", "training", "test", "dev", "val", "validation", "data"}
    return (path.resolve().parent.name if plain else stem) or stem
