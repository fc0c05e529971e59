"""Vectors of a run's examples: features/<split>.npy (N, H) with a JSON beside it that says what they are of.

Kept vectors are used only where the JSON names this model and these examples; else they are as if not there.
`leadline.experiment.features` makes those of the run's model; `vectors` takes what is kept, or makes them of the texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.data import vectors as texts_room
from leadline.data.examples import Examples, fingerprint
from leadline.errors import InputError, LeadlineError
from leadline.runs.files import whole, write_text
from leadline.runs.run import Run

FORMAT = 1


def vectors(run: Run, split: str = "train") -> tuple[np.ndarray | None, str]:
    """((N, H) float32 of the examples of a split, what they are) or (None, why there are none). Without torch.

    Those of the run's model where they were computed (`leadline.experiment.features`), memory-mapped; else of the
    texts, which are kept too; else none.
    """
    examples = split_of(run, split)
    for source in (None, texts_room.SOURCE):
        kept = kept_features(run, split, source)
        if kept is not None:
            return kept
    if not examples.inputs:
        return None, "no neighbours: this run holds no texts and no vectors (import it with --data to store the texts)"
    x = texts_room.text_vectors(joined_texts(examples))
    with contextlib.suppress(LeadlineError):  # a run that cannot be written to can still be read
        write_features(run, split, x, texts_room.SOURCE, of_model=False)
    return x, texts_room.SOURCE


def kept_features(run: Run, split: str, source: str | None = None) -> tuple[np.ndarray, str] | None:
    """The vectors on disk with what they are, memory-mapped, where they are of these examples and this model.

    source  what they must be; None: vectors of the run's model, whichever
    """
    path = _path(run, split)
    note = _note(path)
    from_texts = note.get("model") is None
    if not note or (note.get("source") != source if source else from_texts):
        return None
    examples = split_of(run, split)
    if note.get("examples") != _identity(examples) or not (from_texts or _same_model(run, note["model"])):
        return None
    try:
        x = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return (x, note["source"]) if x.shape == tuple(note["shape"]) and len(x) == len(examples) else None


def write_features(run: Run, split: str, x: np.ndarray, source: str, of_model: bool = True) -> Path:
    """features/<split>.npy and, last, the JSON without which it does not count."""
    path = _path(run, split)
    note = {
        "format": FORMAT,
        "source": source,
        "shape": list(x.shape),
        "examples": _identity(split_of(run, split)),
        "model": _model_sign(run) if of_model else None,
        "leadline": version("leadline"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.with_suffix(".json").unlink(missing_ok=True)
    with whole(path, shared=True) as partial, open(partial, "wb") as sink:  # trials that share a base may meet here
        np.save(sink, np.asarray(x, dtype=np.float32))
    write_text(path.with_suffix(".json"), json.dumps(note, indent=1) + "\n", shared=True)
    return path


def split_of(run: Run, split: str) -> Examples:
    """The examples of a split, in the order of the run. Raises InputError where it has none."""
    if split == "train":
        return run.train
    if split not in run.examples.splits:
        raise InputError(f"{run.path}: no `{split}` examples; it has: {', '.join(run.examples.splits)}")
    return run.examples.split(split)


def joined_texts(examples: Examples) -> list[str]:
    """(N,) the input columns of each example, a line each."""
    columns = [examples.table[name].cast(pl.String).fill_null("") for name in examples.inputs]
    return pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator="\n")).to_series().to_list()


def _path(run: Run, split: str) -> Path:
    return run.path / "features" / f"{split}.npy"


def _note(path: Path) -> dict[str, Any]:
    """What the JSON says; nothing where it is not there, damaged or newer."""
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and note.get("format", FORMAT + 1) <= FORMAT else {}


def _identity(examples: Examples) -> str:
    """Of ids and inputs in their order; labels do not change what a text is."""
    return fingerprint(examples)["input_hash"]


def _model_sign(run: Run) -> dict[str, Any]:
    """The files of the model with size and time, and the SHA-256 of their contents."""
    files = _model_files(run)
    digest = hashlib.sha256()
    for name in files:
        digest.update(name.encode())
        with open(run.path / "model" / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {"sha256": digest.hexdigest(), "files": files}


def _same_model(run: Run, sign: Mapping[str, Any]) -> bool:
    """By size and time, which is quick; where these differ (a copied run) by content."""
    files = _model_files(run)
    return bool(files) and (files == sign.get("files") or _model_sign(run)["sha256"] == sign.get("sha256"))


def _model_files(run: Run) -> dict[str, list[int]]:
    """Everything that decides the vectors: weights, configuration, tokenizer; not the model card."""
    folder = run.path / "model"
    paths = sorted(path for path in folder.glob("*") if path.is_file() and path.suffix != ".md")
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
