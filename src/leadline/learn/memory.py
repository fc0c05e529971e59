"""Freed memory is kept while a model trains on a processor, instead of being given back to the system at every step.

glibc maps large arrays one by one and unmaps them when they are freed, so that every step pays for fresh pages again:
some percent of a training step. Elsewhere than with glibc nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # names of mallopt's parameters in malloc.h
TRAINING = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, MMAP_THRESHOLD: 2**30}
# Where glibc's own adjustment ends once a process has freed large arrays; it is off for good after any call of mallopt.
USUAL = {MMAP_MAX: 65_536, TRIM_THRESHOLD: 2**26, MMAP_THRESHOLD: 2**25}


@contextlib.contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """Inside, the process keeps what it frees; afterwards it gives it back."""
    libc = _glibc() if device.type == "cpu" else None
    if libc is None:
        yield
        return
    try:
        for name, value in TRAINING.items():
            libc.mallopt(name, value)
        yield
    finally:
        for name, value in USUAL.items():
            libc.mallopt(name, value)
        libc.malloc_trim(0)


def give_back() -> None:
    """What is free goes back to the system: batches of many shapes leave holes between them, and the process grows."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:
        return None
