"""The weights of chosen epochs, for probes: `checkpoints/epoch_003/model.safetensors` (`record.checkpoints`).

The model's alone: training goes on from `learn/checkpoint.py`'s, which are gone when the run is finished; these stay.
They are those of the trained model, so a regression's answer in standardised labels here.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from leadline.errors import InputError, cannot_write
from leadline.learn import ranks, sharding

EPOCH = re.compile(r"epoch_(\d{3,})$")
FILE = "model.safetensors"


@dataclass(frozen=True)
class KeptWeights:
    """directory: checkpoints/ of the run; epochs: those to keep, counted from 1."""

    directory: Path
    epochs: Literal["all"] | Sequence[int]

    def write(self, epoch: int, model: nn.Module) -> None:
        """At the end of an epoch, where it was asked for: whole or not at all. All processes call it."""
        if self.epochs != "all" and epoch not in self.epochs:
            return
        weights = sharding.weights(model)  # of a model in pieces on the first process only
        if not ranks.first():
            return
        path = self.directory / f"epoch_{epoch:03d}"
        partial = path.with_name(path.name + ".partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, partial / FILE)
            shutil.rmtree(path, ignore_errors=True)  # of a training that was taken back
            os.replace(partial, path)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise cannot_write(path, error) from None


def kept_epochs(directory: Path) -> list[int]:
    """The epochs whose weights lie in checkpoints/, in order."""
    found = (EPOCH.match(path.name) for path in directory.glob("epoch_*"))
    return sorted(int(name[1]) for name in found if name)


def put_weights(model: nn.Module, directory: Path, epoch: int) -> None:
    """The weights of a kept epoch into a model of the same shape."""
    path = directory / f"epoch_{epoch:03d}" / FILE
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"{path}: cannot be read as weights of this run's model ({reason}); train it again") from None


def clear(directory: Path) -> None:
    """checkpoints/ of a finished run: what only an unfinished one needs goes, kept weights stay."""
    for left in directory.glob("*"):
        if not EPOCH.match(left.name):
            shutil.rmtree(left, ignore_errors=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
