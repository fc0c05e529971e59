"""What is written for other tools appears whole or not at all; texts that no database takes are made harmless."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline.errors import InputError


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A new directory beside `destination` that takes its name only when the block has succeeded."""
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(f"{destination}: there already and not empty; choose another name or remove it")
    destination = Path(os.path.abspath(destination))
    partial = destination.with_name(destination.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_array(path: Path, items: Iterable[Any]) -> int:
    """A JSON array in ASCII, an item a line, written as they come: memory holds one at a time. Returns how many."""
    n = 0
    with open(path, "w", encoding="ascii") as sink:
        sink.write("[")
        for item in items:
            sink.write(("\n" if n == 0 else ",\n") + json.dumps(item, allow_nan=False))
            n += 1
        sink.write("\n]\n")
    return n


def harmless(text: str) -> str:
    """Without NUL, which PostgreSQL refuses: it becomes U+FFFD."""
    return text.replace("\0", "\ufffd")


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """Without what JSON or the other tool cannot hold: null, NaN, infinity."""
    return {k: v for k, v in values.items() if v is not None and not (isinstance(v, float) and not math.isfinite(v))}


def slug(name: str, taken: Container[str], separator: str = "-") -> str:
    """A name of lower-case letters, digits and the separator that is not taken yet, as like `name` as it can be."""
    plain = re.sub(r"[^a-z0-9]+", separator, name.lower()).strip(separator) or "text"
    plain = plain[:60].strip(separator)
    if plain[0].isdigit():
        plain = f"c{separator}{plain}"
    found, number = plain, 2
    while found in taken:
        found, number = f"{plain}{separator}{number}", number + 1
    return found
