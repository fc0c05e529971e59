"""Where the time of a training went: `leadline train --profile`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

PARTS = ("tokenise", "collate", "forward", "backward", "optimiser", "record", "evaluate", "checkpoint", "wait", "other")


class Clock:
    """Seconds per part. Off by default: reading a GPU's clock waits for it, once at each change of part."""

    def __init__(self, on: bool = False):
        self.on = on
        self.seconds: dict[str, float] = {}
        self.stack: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Time spent inside counts for `part`; a part inside a part counts for the inner one only."""
        if not self.on:
            yield
            return
        self._change(part)
        try:
            yield
        finally:
            self._change(None)

    def _change(self, part: str | None) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self.stack:
            name, since = self.stack[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - since
            self.stack[-1] = (name, now)
        if part is None:
            self.stack.pop()
            if self.stack:
                self.stack[-1] = (self.stack[-1][0], now)
        else:
            self.stack.append((part, now))

    def event(self, total: float) -> dict[str, float]:
        """Seconds of every part of `total`, what was in none of them as `other`."""
        known = {part: self.seconds.get(part, 0.0) for part in PARTS[:-1]}
        return known | {"other": max(0.0, total - sum(known.values()))}
