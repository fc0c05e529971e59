"""What the directory of a sweep says of its trials: computed, at work, failed, missing; nothing else is asked."""

from __future__ import annotations

import os
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

    hashes: dict[tuple[str, int, int], str] = field(default_factory=dict)  # (path, bytes, time of its last change)

    def of(self, recipe: Recipe) -> str | None:
        """None where only the run itself can tell: rows of a Hub, a base or a model that is not there yet.

        Raises InputError where a file is missing.
        """
        if _is_path(recipe.model_name) and not Path(recipe.model_name).is_dir():
            return None
        given = {split: getattr(recipe.data, split) for split in SPLITS}
        files = {split: source for split, source in given.items() if isinstance(source, str)}
        if any(source.startswith("hub:") for source in files.values()):
            return None
        base = None
        if recipe.base is not None:
            base = opened(Path(recipe.base.run))
            if base is None or not base.finished:
                return None
        sources = {split: {"sha256": self.hash(source)} for split, source in files.items()}
        examples = Examples(pl.DataFrame(), sources=sources)  # a key reads no rows
        return runs.key(recipe, examples, base, self.hash)

    def hash(self, source: str | Path) -> str:
        """SHA-256 of a file's bytes."""
        try:
            found = os.stat(source)
            known = str(source), found.st_size, found.st_mtime_ns
            if known not in self.hashes:
                self.hashes[known] = runs.sha256(Path(source))
        except OSError as error:
            raise InputError(f"{source}: {error.strerror}; paths are relative to where the command is called") from None
        return self.hashes[known]


def _is_path(model: str) -> bool:
    """It can be no name on a Hub (`name` or `owner/name`)."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def opened(path: Path) -> Run | None:
    """The run in a directory, or None."""
    try:
        return Run(path)
    except InputError:
        return None


def noted(path: Path) -> str | None:
    """The key in the recipe.yaml of a run; None where no run of ours is, or one whose recipe is damaged."""
    try:
        document = yaml.load((path / "recipe.yaml").read_text(encoding="utf-8"), Loader=Yaml)
        return str(document["run"]["key"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None


def holds(path: Path, recipe: Recipe, keys: Keys) -> bool | None:
    """Whether the run in `path` is this recipe's, on this data; None where that cannot be known (or no run is there).

    Raises InputError where the data are missing.
    """
    there = noted(path)
    key = keys.of(recipe) if there is not None else None
    return None if there is None or key is None else there == key


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
    if left is not None and left.get("state") == "failed":
        return "failed"
    return "unfinished" if run is not None or left is not None else "new"


@dataclass(frozen=True)
class Elsewhere:
    """Finished runs below a directory that was named, by key."""

    paths: Mapping[str, Path]

    @classmethod
    def below(cls, directory: Path) -> Elsewhere:
        """Of two runs with one key the first by name. Raises InputError where there is no such directory."""
        if not directory.is_dir():
            raise InputError(f"--found {directory}: no such directory")
        paths: dict[str, Path] = {}
        for path in sorted(file.parent for file in directory.rglob("examples.parquet")):
            there, run = noted(path), opened(path)
            if there is not None and there not in paths and run is not None and run.finished:
                paths[there] = path
        return cls(paths)

    def find(self, recipe: Recipe, keys: Keys) -> Path | None:
        """The finished run of this recipe, its base wherever it lay then."""
        return self.paths.get(keys.of(recipe) or "")
