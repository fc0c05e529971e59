"""From where an unfinished run goes on: the newest checkpoint that is whole, with everything beside it whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline import signals
from leadline.errors import InputError, LeadlineError


def latest(path: Path) -> tuple[Path | None, list[str]]:
    """(the checkpoint of the run at `path` to go on from, or None; a sentence for each newer one that is damaged).

    Raises LeadlineError where there are checkpoints and none can be used; nothing is changed then.
    """
    damaged: list[str] = []
    there = [p for p in (path / "checkpoints").glob("step_*") if p.suffix != ".partial"]
    for checkpoint in sorted(there, reverse=True):
        reason = _damage(path, checkpoint)
        if reason is None:
            return checkpoint, damaged
        damaged.append(f"{checkpoint}: {reason}")
    if damaged:
        raise LeadlineError(
            f"{path}: no checkpoint of this unfinished run can be used ({'; '.join(damaged)}). Nothing was changed; "
            "bring the files back, or remove the directory to train anew"
        )
    return None, []


def rewind(path: Path, checkpoint: Path) -> None:
    """Takes back what was written after the checkpoint: later signals, later lines of metrics.jsonl."""
    manifest = _manifest(checkpoint)
    signals.drop_after(path / "signals", manifest["periods"])
    signals.drop_after(path / "signals" / "validation", manifest["validation_periods"])
    os.truncate(path / "metrics.jsonl", manifest["metrics_bytes"])
    for other in (path / "checkpoints").iterdir():
        if other.name > checkpoint.name:  # damaged, and of a future that will be another
            shutil.rmtree(other)


def way(checkpoint: Path) -> tuple[int, bool]:
    """By how many processes it was written, and whether the model lay in pieces over them."""
    manifest = _manifest(checkpoint)
    return int(manifest["processes"]), bool(manifest["sharded"])


def _manifest(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))


def _damage(path: Path, checkpoint: Path) -> str | None:
    try:
        manifest = _manifest(checkpoint)
        for name, known in manifest["files"].items():
            if reason := _file_damage(checkpoint / name, known):
                return reason
        if (path / "metrics.jsonl").stat().st_size < manifest["metrics_bytes"]:
            return "metrics.jsonl beside it is shorter than it was"
        for directory, number in (("signals", "periods"), ("signals/validation", "validation_periods")):
            for period in range(1, manifest[number] + 1):
                signals.read_period(signals.period_path(path / directory, period))
    except InputError as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"damaged ({error})"
    return None


def _file_damage(path: Path, known: Mapping[str, Any]) -> str | None:
    if path.stat().st_size != known["bytes"]:
        return f"{path.name} has {path.stat().st_size:,} bytes instead of {known['bytes']:,}"
    with open(path, "rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == known["sha256"]
    return None if same else f"{path.name} was changed"
