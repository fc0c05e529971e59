"""Checkpoints: all that a training needs to go on as if nothing had happened.

Each is one directory, written under another name and renamed: `checkpoints/step_00000120/` with shared.pt (model,
optimiser, schedule, early stopping), rank_0.pt … (random generators and the recorder of every process) and
manifest.json (what must lie beside it, sizes and SHA-256 of the files). Two are kept, so that a damaged one is not the
end. `runs/resume.py` finds the one to go on from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leadline.errors import cannot_write
from leadline.learn import ranks

FORMAT = 1
KEPT = 2
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")
NOTHING, DUE, LEAVE = 0, 1, 2


@dataclass
class Checkpoints:
    """Where a training keeps its state, and what it goes on from.

    directory  checkpoints/ of the run
    minutes    a checkpoint is due when the last is so old; those at the end of an epoch and on signals come anyway
    beside     what must lie beside a checkpoint: recorded periods, bytes of metrics.jsonl; goes into its manifest
    start      the checkpoint to go on from
    """

    directory: Path
    minutes: float = 10.0
    beside: Callable[[], Mapping[str, int]] = dict
    start: Path | None = None
    sharded: bool = False
    leaving: bool = False  # a signal has asked for it
    last: float = field(default_factory=time.monotonic)
    costs: list[tuple[float, int]] = field(default_factory=list)  # (seconds, bytes) of each written

    def asked(self) -> int:
        """NOTHING, DUE or LEAVE: the same on every process."""
        mine = LEAVE if self.leaving else DUE if time.monotonic() - self.last >= 60 * self.minutes else NOTHING
        return ranks.largest(mine)

    def write(self, step: int, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Whole or not at all. `own` is this process's; all processes call it, the first writes `shared`."""
        began = time.monotonic()
        path = self.directory / f"step_{step:08d}"
        partial = path.with_name(path.name + ".partial")
        try:
            if ranks.first():
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            ranks.gather(None)  # nobody writes before the directory is there
            sizes = {f"rank_{ranks.rank()}.pt": _save({**own, "generators": _generators()}, partial, ranks.rank())}
            if ranks.first():
                sizes["shared.pt"] = _save(shared, partial, None)
            files = {name: size for part in ranks.gather(sizes) for name, size in part.items()}
            if ranks.first():
                beside = {
                    "format": FORMAT,
                    "step": step,
                    "processes": ranks.world(),
                    "sharded": self.sharded,
                    **self.beside(),
                }
                _finish(partial, path, {**beside, "files": files})
                _forget(self.directory)
        except (OSError, RuntimeError) as error:  # torch tells a full disk in its own way
            shutil.rmtree(partial, ignore_errors=True)
            raise cannot_write(path, error) from None
        self.last = time.monotonic()
        self.costs.append((self.last - began, sum(int(size["bytes"]) for size in files.values())))

    def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(shared, own) of the checkpoint to go on from; the random generators are set as they were."""
        assert self.start is not None
        parts = [  # mapped, not read: every process opens it, and of a model in pieces only the first needs it
            torch.load(self.start / f"{name}.pt", map_location="cpu", mmap=True, weights_only=True)
            for name in ("shared", f"rank_{ranks.rank()}")
        ]
        _set_generators(parts[1].pop("generators"))
        return parts[0], parts[1]

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGUSR1 ask for a checkpoint at the next step; a second SIGINT leaves at once."""

        def ask(number: int, frame: Any) -> None:
            if self.leaving and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.leaving = True

        if threading.current_thread() is not threading.main_thread():  # Python hears signals in the main thread only
            yield
            return
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        before = {number: signal.signal(number, ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _save(value: Any, directory: Path, rank: int | None) -> dict[str, Any]:
    path = directory / ("shared.pt" if rank is None else f"rank_{rank}.pt")
    with open(path, "wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _finish(partial: Path, path: Path, manifest: Mapping[str, Any]) -> None:
    with open(partial / "manifest.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(manifest, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    old = path.with_name(path.name + ".old")
    if path.exists():  # the same step again: before the validation at the end of an epoch, and after it
        os.replace(path, old)
    os.replace(partial, path)
    shutil.rmtree(old, ignore_errors=True)


def _forget(directory: Path) -> None:
    """All but the newest two, and what a kill left half-written."""
    left = [path for end in ("partial", "old") for path in directory.glob(f"*.{end}")]
    for path in [*sorted(directory.glob("step_????????"))[:-KEPT], *left]:
        shutil.rmtree(path, ignore_errors=True)


def _generators() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - somebody else's layers may use it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def _set_generators(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
