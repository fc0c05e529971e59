"""Where a run goes: its name, what is there already, and who may write there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import yaml

from leadline import evaluate, ood
from leadline.data.examples import Examples
from leadline.data.noise import stresses
from leadline.errors import InputError, cannot_write, nearest, no_locks
from leadline.recipe import Recipe
from leadline.runs import resume
from leadline.runs.files import sha256, write_text
from leadline.runs.run import Run
from leadline.scores import SCORES

State = Literal["new", "unfinished", "finished"]


def check(recipe: Recipe) -> None:
    """Names that the recipe's shape cannot know: metrics, scores."""
    for key, name in _scores_of(recipe).items():
        if name not in SCORES:
            raise InputError(f"{key}: there is no score `{name}`.{nearest(name, SCORES)}")
        if key != "select.score" and SCORES[name].higher_is not in ("harder", "easier"):
            raise InputError(f"{key}: `{name}` does not say what is hard (high is {SCORES[name].higher_is})")
    if recipe.mixup is not None and recipe.mixup.score is not None and recipe.mixup.score not in SCORES:
        words = ("region", "cross-region", "label", "random", "similar", "dissimilar", *SCORES)
        raise InputError(
            f"mixup.pairing: `{recipe.mixup.score}` is no pairing and no score.{nearest(recipe.mixup.score, words)}"
        )
    if recipe.evaluate.robustness is not None:
        stresses(recipe.evaluate.robustness)
    for name in [] if recipe.evaluate.metrics == "auto" else recipe.evaluate.metrics:
        evaluate.find_metric(name)
    stopping = recipe.training.early_stopping
    if stopping is not None and stopping.metric != "loss":
        if evaluate.find_metric(stopping.metric).needs == "each class" and "[" not in stopping.metric:
            raise InputError(
                f"training.early_stopping.metric: `{stopping.metric}` has a value per class; name one, f1[…]"
            )


def _scores_of(recipe: Recipe) -> dict[str, str]:
    """The scores that a recipe reads of its base, by key."""
    parts = {
        "select": recipe.select,
        "curriculum": recipe.curriculum,
        "loss.example_weights": recipe.loss.example_weights,
    }
    return {f"{key}.score": part.score for key, part in parts.items() if part is not None and part.score is not None}


def key(recipe: Recipe, examples: Examples, base: Run | None = None, sha256: Callable[[Path], str] = sha256) -> str:
    """What makes two runs the same: the recipe, the content of its data, of its local model, the signals of its base.

    sha256: of a file; whoever asks for many keys may remember the answers.
    """
    content = {split: source["sha256"] for split, source in examples.sources.items()}
    keys, model = recipe.to_dict(), model_files(recipe.model_name)
    stand_on = [*model, *(sorted((base.path / "signals").glob("*.arrow")) if base else [])]
    stand_on += _read_of(recipe, base) if base else []
    keys["evaluate"]["ood"] = [_read_by(text, sha256) for text in recipe.evaluate.ood]
    keys["training"].pop("checkpoint_minutes")  # changes nothing of what comes out
    if recipe.select is not None and recipe.select.ids is not None:
        keys["select"]["ids"] = _content(Path(recipe.select.ids), sha256)
    if base is not None and (base.path / "signals").is_dir():
        keys["base"].pop("run")  # where it lies is nothing; its signals are in the key
    if model:  # likewise
        keys["model"] = {**(keys["model"] if isinstance(keys["model"], dict) else {}), "name": [p.name for p in model]}
    digest = hashlib.sha256(json.dumps([keys, content], sort_keys=True).encode())
    for path in stand_on:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def _read_of(recipe: Recipe, base: Run) -> list[Path]:
    """What the recipe reads of the base besides its signals: probes as scores, the model for vectors of the texts."""
    scores = {*_scores_of(recipe).values(), *([recipe.mixup.score] if recipe.mixup and recipe.mixup.score else [])}
    probes = [path for score in sorted(scores) if (path := base.path / "probes" / f"{score}.npy").is_file()]
    alike = recipe.mixup is not None and recipe.mixup.order in ("similar", "dissimilar")
    return [*probes, *(model_files(str(base.path / "model")) if alike else [])]


def _read_by(text: str, sha256: Callable[[Path], str]) -> list[object]:
    """A set of evaluate.ood by its name and content, not by where it lies."""
    (one,) = ood.parse(text)
    content = one.file if one.file.startswith("hub:") else _content(Path(one.file), sha256)
    return [one.name, one.kinds, one.columns, content]


def _content(path: Path, sha256: Callable[[Path], str]) -> str:
    """Of a file that a key of the recipe names."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, and the recipe names it")
    return sha256(path)


def model_files(name: str) -> list[Path]:
    """Weights, configuration and tokenizer of a model that is a local directory; nothing for any other."""
    folder = Path(name)
    if name in ("tiny", "minilm") or not folder.is_dir():
        return []
    return sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})


MODEL_FILES = ("*.safetensors", "*.bin", "config.json", "adapter_config.json", "tokenizer.json", "vocab.*", "*.model")


def place(recipe: Recipe, run_key: str, name: str | None, root: Path) -> tuple[Path, State]:
    """Where the run goes, and what is there: nothing, an unfinished run of the same key, or a finished one.

    Raises InputError when `name` is given and holds another recipe: a directory is never overwritten.
    """
    if name is not None:
        path = Path(name) if os.sep in name else root / name
        if not path.exists() or (
            path.is_dir() and not any(p.name != LOCK and p.suffix != ".partial" for p in path.iterdir())
        ):
            return path, "new"
        if _key_of(path) != run_key:
            raise InputError(f"{path}: holds another run (other recipe or data); choose another --name or remove it")
        return path, _state(path)
    stem = default_name(recipe)
    taken = {int(p.name[len(stem) + 1 :]): p for p in root.glob(f"{stem}-*") if p.name[len(stem) + 1 :].isdigit()}
    for _, path in sorted(taken.items()):
        if _key_of(path) == run_key:
            return path, _state(path)
    number = next(n for n in range(1, len(taken) + 2) if n not in taken)
    return root / f"{stem}-{number}", "new"


@dataclass
class Claimed:
    """A run directory that this process may write to."""

    run: Run
    lock: TextIO  # to be closed
    start: Path | None = None  # the checkpoint to go on from
    damaged: Sequence[str] = ()  # what is wrong with newer ones


def create(
    recipe: Recipe,
    examples: Examples,
    about: Mapping[str, Any],
    run_key: str,
    name: str | None,
    root: Path,
    processes: int = 1,
    sharded: bool = False,
) -> Claimed:
    """Claims the directory and writes recipe.yaml and examples.parquet, or goes back to the last good checkpoint.

    What an unfinished run of the same key left without a checkpoint is removed. Two processes never share a directory:
    a name that another takes first is passed over, and a run that another process is training is an InputError.
    """
    while True:
        path, state = place(recipe, run_key, name, root)
        if state == "finished":
            raise InputError(f"{path}: another process has just finished this run")
        try:
            path.mkdir(parents=True, exist_ok=path.exists() and (state == "unfinished" or name is not None))
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(path, error) from None
        lock = _locked(path)
        if (path / "examples.parquet").is_file() and (_key_of(path) != run_key or _state(path) == "finished"):
            (path / LOCK).unlink()  # another process came and went between the look and the lock: look again
            lock.close()
            continue
        try:
            start, damaged = _go_on(path, processes, sharded, about.get("precision"))
            if start is None:
                _begin(path, recipe, examples, about)
        except BaseException:
            lock.close()
            raise
        return Claimed(Run(path), lock, start, damaged)


def _go_on(path: Path, processes: int, sharded: bool, precision: str | None) -> tuple[Path | None, Sequence[str]]:
    """Goes back to the last good checkpoint of an unfinished run, where there is one."""
    start, damaged = resume.latest(path)
    if start is not None:
        count, pieces = resume.way(start)
        if (count, pieces) != (processes, sharded):
            how = f"{count} processes{', with --sharded' if pieces else ''}"
            raise InputError(f"{path}: was begun by {how} and can be gone on with in the same way only")
        before = Run(path).about.get("precision")
        if before != precision:
            raise InputError(f"{path}: was begun in {before}, here it would be {precision}: set training.precision")
        resume.rewind(path, start)
    return start, damaged


def _begin(path: Path, recipe: Recipe, examples: Examples, about: Mapping[str, Any]) -> None:
    try:
        write_text(path / "recipe.yaml", yaml.safe_dump({**recipe.to_dict(), "run": dict(about)}, sort_keys=False))
        for left in path.iterdir():
            if left.name not in (LOCK, "recipe.yaml"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        examples.write(path / "examples.parquet")
    except OSError as error:
        raise cannot_write(path, error) from None


LOCK = ".lock"  # held while a process trains the run; goes with the process, however it ends


def _locked(path: Path) -> TextIO:
    try:
        lock = (path / LOCK).open("w")
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InputError(
            f"{path}: another process is training this run; wait for it, or choose another --name"
        ) from None
    except OSError as error:
        lock.close()
        raise no_locks(path, error) from None
    return lock


def _key_of(path: Path) -> str | None:
    try:
        document = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))
        return document["run"]["key"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None  # no run of ours, or one whose recipe is damaged: never taken for the run that is asked for


def _state(path: Path) -> State:
    whole = (path / "examples.parquet").is_file()
    return "finished" if whole and Run(path).finished else "unfinished"


def default_name(recipe: Recipe) -> str:
    """<data>-<model>: what a run is called, before its number."""
    return f"{_data_name(recipe)}-{_slug(Path(recipe.model_name).name)}"


def _data_name(recipe: Recipe) -> str:
    source = recipe.data.train
    if source.startswith("hub:"):
        return _slug(re.split(r"[:@]", source.removeprefix("hub:"))[0].split("/")[-1])
    path = Path(source)
    stem = path.name.split(".")[0]
    return _slug(path.resolve().parent.name if stem in {"train", "training", "data"} else stem) or "data"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")
