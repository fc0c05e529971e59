"""What the directory of a sweep says of its trials: computed, at work, failed, missing; nothing else is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
import yaml

from leadline import launch, runs
from leadline.data.examples import SPLITS, Examples
from leadline.errors import InputError
from leadline.recipe import Recipe
from leadline.runs import Run
from leadline.sweep.definition import Sweep, Trial, Yaml

WORKPLACE = ".sweep"  # inside the sweep's directory: each trial's recipe, log and exit; a run's directory is its own
State = Literal["finished", "running", "failed", "skipped", "unfinished", "other run", "new"]


def recipe_file(sweep: Sweep, trial: Trial) -> Path:
    return sweep.path / WORKPLACE / f"{trial.title}.yaml"


def log_file(sweep: Sweep, trial: Trial) -> Path:
    return sweep.path / WORKPLACE / f"{trial.title}.log"


@dataclass
class Keys:
    """Keys of recipes, as `leadline train` would note them; the content of a file is hashed once."""

    hashes: dict[str, str] = field(default_factory=dict)

    def of(self, recipe: Recipe, base_as: str | None = None) -> str | None:
        """None where only the run itself can tell: rows of a Hub, or a base that is not there yet.

        base_as: the key that the same recipe has where its base is spelt so (its signals are those of our base).
        Raises InputError where a file is missing.
        """
        given = {split: getattr(recipe.data, split) for split in SPLITS}
        files = {split: source for split, source in given.items() if isinstance(source, str)}
        if any(source.startswith("hub:") for source in files.values()):
            return None
        base = None
        if recipe.base is not None:
            base = opened(Path(recipe.base.run))
            if base is None or not base.finished:
                return None
            if base_as is not None:
                recipe = recipe.model_copy(update={"base": recipe.base.model_copy(update={"run": base_as})})
        sources = {split: {"sha256": self.hash(source)} for split, source in files.items()}
        return runs.key(recipe, Examples(pl.DataFrame(), sources=sources), base)  # a key reads no rows

    def hash(self, source: str) -> str:
        """SHA-256 of a file's bytes."""
        if source not in self.hashes:
            try:
                with open(source, "rb") as file:
                    self.hashes[source] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise InputError(
                    f"{source}: {error.strerror}; paths are relative to where the command is called"
                ) from None
        return self.hashes[source]


def opened(path: Path) -> Run | None:
    """The run in a directory, or None."""
    try:
        return Run(path)
    except InputError:
        return None


@dataclass(frozen=True)
class Noted:
    """What the recipe.yaml of a run says of it."""

    key: str
    base: str | None  # the directory of its base, as it was spelt


def noted(path: Path) -> Noted | None:
    """None where no run of ours is, or one whose recipe is damaged."""
    try:
        document = yaml.load((path / "recipe.yaml").read_text(encoding="utf-8"), Loader=Yaml)
        return Noted(str(document["run"]["key"]), (document.get("base") or {}).get("run"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None


def holds(path: Path, recipe: Recipe, keys: Keys) -> bool | None:
    """Whether the run in `path` is this recipe's, on this data; None where that cannot be known (or no run is there).

    Raises InputError where the data are missing.
    """
    there = noted(path)
    key = keys.of(recipe, there.base) if there is not None else None
    return None if there is None or key is None else there.key == key


def finished(path: Path, recipe: Recipe, keys: Keys) -> bool:
    """A finished run of this recipe is there."""
    run = opened(path)
    return run is not None and run.finished and bool(holds(path, recipe, keys))


def state(sweep: Sweep, trial: Trial, keys: Keys) -> State:
    """Of one trial, from its directory and its log."""
    log = log_file(sweep, trial)
    if launch.held(log):
        return "running"
    run = opened(trial.path)
    if run is not None:
        try:
            ours = holds(trial.path, trial.recipe, keys)
        except InputError:
            ours = None  # the data have gone: what is there stands
        if ours is False:
            return "other run"
        if run.finished:
            return "finished"
    left = launch.noted_exit(log)
    if left is not None and left["status"] is None:
        return "skipped"
    if left is not None and left["status"] > 0 and left["status"] != launch.INTERRUPTED:
        return "failed"
    return "unfinished" if run is not None or left is not None else "new"


@dataclass(frozen=True)
class Elsewhere:
    """Finished runs below a directory that was named, by key."""

    paths: Mapping[str, Path]
    bases: tuple[str | None, ...] = (None,)  # every spelling of a base among them

    @classmethod
    def below(cls, directory: Path) -> Elsewhere:
        """Of two runs with one key the first by name. Raises InputError where there is no such directory."""
        if not directory.is_dir():
            raise InputError(f"--found {directory}: no such directory")
        paths: dict[str, Path] = {}
        bases: set[str | None] = {None}
        for path in sorted(file.parent for file in directory.rglob("examples.parquet")):
            there, run = noted(path), opened(path)
            if there is not None and there.key not in paths and run is not None and run.finished:
                paths[there.key] = path
                bases.add(there.base)
        return cls(paths, tuple(bases))

    def find(self, recipe: Recipe, keys: Keys) -> Path | None:
        """The finished run of this recipe, its base wherever it lay then."""
        for base in self.bases if recipe.base is not None else (None,):
            path = self.paths.get(keys.of(recipe, base) or "")
            if path is not None:
                return path
        return None
