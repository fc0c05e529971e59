"""Hub datasets: `hub:<dataset>[:<config>][@<split>]`, a name on the Hugging Face Hub or a directory laid out like one.

`datasets` is imported only when such a source is read. Tables come with the ClassLabel names that the dataset declares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from leadline.data import tables
from leadline.errors import InputError, nearest

PREFIX = "hub:"
PARQUET = (
    "refs/convert/parquet"  # the Hub's own conversion of datasets that are scripts, which `datasets` 4 and later refuse
)


def parts(source: str) -> tuple[str, str | None, str]:
    """hub:<dataset>[:<config>][@<split>] -> dataset, config or None, split (train when none is given)."""
    body = source.removeprefix(PREFIX)
    split = "train"
    if "@" in body and not Path(body).is_dir():
        body, _, split = body.rpartition("@")
    name, _, config = body.partition(":")
    if not name or not split:
        raise InputError(f"{source}: write hub:<dataset>[:<config>][@<split>], for example hub:nyu-mll/glue:sst2@train")
    return name, config or None, split


def read(source: str, label: str | None = None) -> tables.Table:
    """One split of a Hub dataset. `label`: the column that must not be unlabelled (-1) throughout.

    Raises InputError when the dataset, config or split does not exist, when no Hub is reachable, and when the split is
    wholly unlabelled (naming one that is not).
    """
    name, config, split = parts(source)
    splits = _load(source, name, config)
    if split not in splits:
        raise InputError(
            f"{source}: there is no split `{split}`; there are: {', '.join(splits)}.{nearest(split, splits)}"
        )
    table = tables.from_dataset(splits[split], source)
    if label is not None and _unlabelled(table, label):
        others = sorted((other for other in splits if other != split), key=lambda other: other != "validation")
        labelled = [other for other in others if not _unlabelled(tables.from_dataset(splits[other], source), label)]
        place = source.removesuffix(f"@{split}")
        advice = f"try {place}@{labelled[0]}" if labelled else "no split of this dataset has labels"
        raise InputError(
            f"{source}: every `{label}` of split `{split}` is -1: it is published without labels; {advice}"
        )
    return table


def _unlabelled(table: tables.Table, label: str) -> bool:
    """Every row has the ClassLabel -1."""
    if label not in table.declared or not len(table.frame):
        return False
    return bool((table.frame[label] == tables.UNLABELLED).fill_null(False).all())


def _load(source: str, name: str, config: str | None) -> Any:
    """A DatasetDict of all splits."""
    import datasets

    directory = Path(name).expanduser()
    is_path = name.startswith((".", "/", "~")) or directory.is_dir()
    if is_path and not directory.is_dir():
        raise InputError(f"{source}: no such directory: {name}")
    quiet = not sys.stderr.isatty() and not datasets.are_progress_bars_disabled()
    if quiet:
        datasets.disable_progress_bars()
    path = str(directory.resolve()) if is_path else name  # (resolved: datasets takes a dataset's name from its path)
    try:
        try:
            return datasets.load_dataset(path, config)
        except RuntimeError as error:
            if is_path or "scripts are no longer supported" not in str(error):
                raise
            return datasets.load_dataset(path, config, revision=PARQUET)
    except ConnectionError as error:
        fetch = f"hf download {name} --repo-type dataset --local-dir DIR"
        raise InputError(
            f"{source}: the Hugging Face Hub cannot be reached ({_first_line(error)}). Unset HF_HUB_OFFLINE or check "
            f"the network; or fetch the dataset elsewhere ({fetch}) and give hub:DIR"
        ) from None
    except Exception as error:  # datasets raises many kinds: unknown name or config, gated, broken files
        raise InputError(f"{source}: the dataset cannot be loaded: {_first_line(error)}") from None
    finally:
        if quiet:
            datasets.enable_progress_bars()


def _first_line(error: Exception) -> str:
    cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" and error.__cause__ else error
    text = " ".join(str(cause).split())
    return text[:300] or type(cause).__name__
