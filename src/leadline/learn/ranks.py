"""The processes of one training: which one this is, and what they tell one another.

Objects of the host travel over gloo, whatever the devices use, so that nothing here waits for a GPU.
Without torch.distributed there is one process, and every function is the identity.
"""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

import torch
from torch import distributed

from leadline.errors import LeadlineError

T = TypeVar("T")


def world() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; the first writes the files."""
    return distributed.get_rank() if world() > 1 else 0


def first() -> bool:
    return rank() == 0


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Ends the group of processes that was begun inside, and its threads.

    A thread of the group that lets go of its last tensor while Python ends aborts the process. The threads end with
    the group, and the group with the last object that holds it: a model in a cycle, a frame of the error that leaves.
    Torch's own caches hold on to it for a model in pieces; there collecting gives the threads the time to let go.
    """
    there = distributed.is_available() and distributed.is_initialized()
    try:
        yield
    except BaseException as error:
        if not there and world() > 1:
            traceback.clear_frames(error.__traceback__)
        raise
    finally:
        if not there and distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
            _host.cache_clear()
            gc.collect()


def gather(value: T) -> list[T]:
    """The values of all processes in the order of their ranks, on every process."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, value, group=_host(distributed.group.WORLD))
    return found


def collect(value: T) -> list[T] | None:
    """As `gather`, on the first process only; None elsewhere."""
    if world() == 1:
        return [value]
    found: list[Any] | None = [None] * world() if first() else None
    distributed.gather_object(value, found, dst=0, group=_host(distributed.group.WORLD))
    return found


def from_first(value: T) -> T:
    """What the first process holds, on every process."""
    if world() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0, group=_host(distributed.group.WORLD))
    return box[0]


def on_first(work: Callable[[], T]) -> T:
    """Does `work` on the first process; all have its result, or its error."""
    found: T | LeadlineError | None = None
    if first():
        try:
            found = work()
        except LeadlineError as error:
            found = error
    found = from_first(found)
    if isinstance(found, LeadlineError):
        raise found
    return found  # type: ignore[return-value]


def largest(value: int) -> int:
    """The largest of the processes' numbers: whoever asks for something asks for all."""
    if world() == 1:
        return value
    box = torch.tensor(value)
    distributed.all_reduce(box, op=distributed.ReduceOp.MAX, group=_host(distributed.group.WORLD))
    return int(box)


@cache
def _host(everyone: Any) -> Any:
    """A gloo group of all processes, made once per training."""
    return everyone if distributed.get_backend() == "gloo" else distributed.new_group(backend="gloo")
