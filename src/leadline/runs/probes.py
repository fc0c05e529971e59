"""probes/<name>.npy of a run: (N,) numbers that needed the model again, or another model, in the order of `run.train`.

Beside each lies <name>.json: settings, checkpoints, date, versions, and the identity of the examples. Numbers of other
examples are refused; an array without its JSON is a half of one that was being written, and is passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from leadline.errors import InputError, cannot_write
from leadline.signals import Signals

FORMAT = 1
LIBRARIES = ("leadline", "torch", "transformers", "numpy")


class Recorded(Protocol):
    """A run, as far as a probe knows it."""

    path: Path

    @property
    def signals(self) -> Signals: ...


def write_probe(run: Recorded, name: str, values: np.ndarray, settings: Mapping[str, Any]) -> Path:
    """Writes probes/<name>.npy and <name>.json, whole or not at all; what was there before is replaced.

    values    (N,) in the order of the run's training examples
    settings  everything that a reader must know to make the numbers again
    """
    record = run.signals
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(record),):
        raise ValueError(f"probe {name}: {len(record)} training examples, but values of shape {values.shape}")
    path = run.path / "probes" / f"{name}.npy"
    about = {
        "format": FORMAT,
        "probe": name,
        "n": len(values),
        "settings": dict(settings),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {library: version(library) for library in LIBRARIES},
        "identity": dict(record.identity),
    }
    text = json.dumps(about, indent=1, default=str) + "\n"
    try:
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)  # never the settings of one beside the numbers of another
        _replace(path, lambda partial: _save(partial, values))
        _replace(path.with_suffix(".json"), lambda partial: partial.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise cannot_write(path, error) from None
    return path


def read_probes(directory: Path, identity: Mapping[str, str], n: int) -> dict[str, np.ndarray]:
    """{name: (N,) memory-mapped} of every probe in the directory; {} where there is none.

    Raises InputError for one that was taken of other examples, or is damaged.
    """
    return {about["probe"]: _read(path, about, identity, n) for path, about in _described(directory)}


def _described(directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            newer, name = about["format"] > FORMAT, about["probe"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); {_again(path)}") from None
        if newer or name != path.stem:
            what = f"format {about['format']} is newer than this leadline knows" if newer else f"is of `{name}`"
            raise InputError(f"{path}: {what}; {_again(path)}")
        found.append((path.with_suffix(".npy"), about))
    return found


def _read(path: Path, about: Mapping[str, Any], identity: Mapping[str, str], n: int) -> np.ndarray:
    there = about.get("identity", {})
    if any(there.get(key) != value for key, value in identity.items()):
        raise InputError(f"{path}: taken of other examples than this run's (hashes differ); {_again(path)}")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged ({error}); {_again(path)}") from None
    if values.shape != (n,):
        raise InputError(f"{path}: shape {values.shape} instead of ({n},); {_again(path)}")
    return values


def _again(path: Path) -> str:
    return f"remove {path.stem}.npy and {path.stem}.json in {path.parent} and take the probe again"


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _save(path: Path, values: np.ndarray) -> None:
    with open(path, "wb") as sink:
        np.save(sink, values)
