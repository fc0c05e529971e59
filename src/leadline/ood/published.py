"""Files under the names that published code reads: Arora, Huang & He 2021, and the mixup code built on theirs.

    output/<model>/<model>_<data>_msp.npy   of the test texts in distribution
    output/msp/<data>_<ood>_msp.npy         of each other set, by the model of <data>

Each holds the largest softmax probability of every text, (N,) float32, in the order of its file: the score is minus it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError, cannot_write


def names(model: str, data: str, sets: Mapping[str, object]) -> dict[str, Path]:
    """{set: where its file lies below the folder}; "" is the set in distribution."""
    found = {"": Path("output") / model / f"{model}_{data}_msp.npy"}
    return found | {name: Path("output") / "msp" / f"{data}_{name}_msp.npy" for name in sets}


def write_npy(
    folder: str | Path, model: str, data: str, id_probabilities: ArrayLike, ood: Mapping[str, ArrayLike]
) -> list[Path]:
    """Writes the files, each whole or not at all, from probabilities (N,) in [0, 1]; returns where they are."""
    for name in (model, data, *ood):
        if not name or name in {".", ".."} or any(c in name for c in "/\\\0"):
            raise InputError(f"--npy: `{name}` cannot be part of a file's name; name the set: NAME=FILE")
    places = names(model, data, ood)
    written = []
    for name, values in {"": id_probabilities, **ood}.items():
        written.append(_write(Path(folder) / places[name], np.asarray(values, dtype=np.float32)))
    return written


def check_folder(folder: str | Path) -> None:
    """LeadlineError where `write_npy` could not write below the folder, which need not be there; makes nothing."""
    there = next(place for place in (Path(folder), *Path(folder).absolute().parents) if place.exists())
    if not there.is_dir():
        raise cannot_write(folder, NotADirectoryError(20, f"{there} is a file"))
    if not os.access(there, os.W_OK | os.X_OK):
        raise cannot_write(folder, PermissionError(13, "Permission denied"))


def _write(path: Path, values: np.ndarray) -> Path:
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as sink:
            np.save(sink, values)
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):  # a file where the folder should be: that is told above
            partial.unlink(missing_ok=True)
    return path


def read_model_out(path: str | Path) -> np.ndarray:
    """(N,) what a .npy file holds; of our own the largest softmax probability of each text.

    Published code also pickles lists of arrays (.pkl); those are refused, because reading a pickle runs what is in it.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise InputError(f"{path}: only .npy files are read, not {path.suffix or 'files without a suffix'}")
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a .npy file of numbers ({str(error).splitlines()[0]})") from None
