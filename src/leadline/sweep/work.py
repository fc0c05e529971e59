"""Runs the trials of a sweep that are not there yet, each after what it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from leadline import launch, runs
from leadline.errors import InputError, all_at_once, nearest
from leadline.launch import Tell, Work
from leadline.sweep.definition import DEFINITION, Sweep, Trial, kept
from leadline.sweep.state import Elsewhere, Keys, finished, holds, log_file, noted, opened, recipe_file

Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def silent(event: Mapping[str, Any]) -> None:
    """Nobody listens."""


def run(
    sweep: Sweep,
    only: str | Sequence[str] = (),
    jobs: int = 1,
    on: str = "local",
    found: str | Path | None = None,
    arguments: Sequence[str] = (),
    processes: int = 1,
    tell: Tell = silent,
) -> dict[str, launch.State]:
    """{title: finished | there | failed | skipped | interrupted}, when nothing can be started any more.

    only       indices, ranges, names or globs: "0-6,9", "base", "accept_*"; what they need and is missing comes along
    jobs       how many at a time
    found      a finished run of the same recipe and data anywhere below this directory is taken (as a link)
    arguments  further ones for every `leadline train`
    processes  of each training (data-parallel)
    A trial whose finished run is there already ("there") is not started. Raises InputError before anything runs: data
    that are missing, a trial's directory that holds another run.
    """
    chosen, elsewhere, keys = planned(sweep, only, on, found)
    sweep.path.mkdir(parents=True, exist_ok=True)
    runs.write_text(sweep.path / DEFINITION, _yaml(sweep.document))
    further = [*arguments, *(["--processes", str(processes)] if processes > 1 else [])]
    works = [replace(_work(sweep, trial, keys, elsewhere, further), processes=processes) for trial in chosen]
    return launch.backend(on)(works, jobs, tell)


def planned(
    sweep: Sweep, only: str | Sequence[str] = (), on: str = "local", found: str | Path | None = None
) -> tuple[list[Trial], Elsewhere, Keys]:
    """The trials that `run` would look at, each after what it needs, and what it could take from elsewhere.

    Writes nothing. Raises what `run` raises before anything runs.
    """
    launch.backend(on)
    chosen, keys = with_needs(sweep, choose(sweep, only)), Keys()
    elsewhere = Elsewhere.below(Path(found)) if found is not None else Elsewhere({})
    _refuse(sweep, chosen, keys)
    return chosen, elsewhere, keys


def choose(sweep: Sweep, only: str | Sequence[str] = ()) -> list[Trial]:
    """The trials that indices, ranges, names, titles or globs say; without any all, in the order of the definition.

    Raises InputError for every word that names none.
    """
    words = [part.strip() for word in ([only] if isinstance(only, str) else only) for part in word.split(",")]
    words = [word for word in words if word]
    if not words:
        return list(sweep.trials)
    picked: set[int] = set()
    problems = []
    for word in words:
        indices = _indices(word, sweep)
        if not indices:
            known = [*sweep.names, *(trial.title for trial in sweep.trials)]
            problems.append(f"`{word}` is no trial (0 to {len(sweep) - 1}, a name or a glob).{nearest(word, known)}")
        picked |= indices
    if problems:
        raise all_at_once(f"--only: {sweep.name}", problems)
    return [trial for trial in sweep.trials if trial.index in picked]


def _indices(word: str, sweep: Sweep) -> set[int]:
    first, dash, last = word.partition("-")
    if first.isdigit() and (last.isdigit() or not dash):
        return {t.index for t in sweep.trials if int(first) <= t.index <= int(last or first)}
    return {t.index for t in sweep.trials if fnmatchcase(t.name, word) or fnmatchcase(t.title, word)}


def with_needs(sweep: Sweep, chosen: Sequence[Trial]) -> list[Trial]:
    """The chosen trials and all that they need, each after what it needs."""
    wanted = {trial.title for trial in chosen}
    ordered = sweep.ordered()
    for trial in reversed(ordered):  # what is needed stands before
        if trial.title in wanted:
            wanted |= set(trial.needs)
    return [trial for trial in ordered if trial.title in wanted]


def _refuse(sweep: Sweep, chosen: Sequence[Trial], keys: Keys) -> None:
    """Before anything runs: are the data there, is every directory free or ours, and is nothing left behind?"""
    problems = _left_behind(sweep)
    for trial in chosen:
        try:
            for source in (trial.recipe.data.train, trial.recipe.data.validation, trial.recipe.data.test):
                if isinstance(source, str) and not source.startswith("hub:"):
                    keys.hash(source)  # also where the key has to wait for a base
            ours = holds(trial.path, trial.recipe, keys)
        except InputError as error:
            problems.append(str(error))
            continue
        base = trial.recipe.base
        if base is not None and not trial.needs and opened(Path(base.run)) is None:
            problems.append(f"{base.run}: no run there, and {trial.title} has it as its base")
        if ours is False:
            problems.append(f"{trial.path}: a run of another recipe or of other data; remove it, or rename the sweep")
        elif noted(trial.path) is None and opened(trial.path) is not None:
            problems.append(f"{trial.path}: a run that is none of this sweep's; remove it, or rename the sweep")
    if problems:
        raise all_at_once(f"{sweep.name}: nothing was run", list(dict.fromkeys(problems)))


def _left_behind(sweep: Sweep) -> list[str]:
    """What would silently drop out of the sweep, or be buried under it."""
    if (sweep.path / "examples.parquet").exists():
        return [f"{sweep.path}: an ordinary run, not a sweep; give the sweep another name"]
    titles, there = {trial.title for trial in sweep.trials}, kept(sweep)
    lost = [trial.title for trial in there.trials if trial.title not in titles and trial.path.exists()] if there else []
    if not lost:
        return []
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return [
        f"{sweep.path}: runs lie there that this definition lacks ({', '.join(lost[:3])}{more}); put their trials or "
        "seeds back, remove their directories, or rename the sweep"
    ]


def _work(sweep: Sweep, trial: Trial, keys: Keys, elsewhere: Elsewhere, arguments: Sequence[str]) -> Work:
    file, log = recipe_file(sweep, trial), log_file(sweep, trial)
    file.parent.mkdir(exist_ok=True)
    runs.write_text(file, _yaml(trial.recipe.to_dict()))

    def settled() -> bool:
        try:
            if finished(trial.path, trial.recipe, keys):
                return True
            there = elsewhere.find(trial.recipe, keys)
        except InputError:
            return False  # its process says what is wrong
        return there is not None and _linked(trial.path, there)

    return Work(
        trial.title, launch.train_command(file, trial.title, sweep.path, arguments), log, trial.needs, settled=settled
    )


def _linked(path: Path, there: Path) -> bool:
    """Makes `path` a link to a run that lies elsewhere; False where something stands already."""
    if path.is_symlink() and not path.exists():
        path.unlink()  # a link of an earlier time, to a run that has gone
    if path.exists():
        return False
    path.symlink_to(os.path.relpath(there.resolve(), path.parent.resolve()), target_is_directory=True)
    return True


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(dict(document), Dumper=Dumper, sort_keys=False, allow_unicode=True)
