"""Progress of a training: a bar with examples/s and time left on a terminal, a line per epoch everywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from leadline.cli.output import say


class Watch:
    """Listens to the events of a training. Bars vanish when stderr is no terminal."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("{task.fields[speed]:.0f} examples/s"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self.task: TaskID | None = None
        self.epochs = 0
        self.examples = 0
        self.began = 0.0

    def __enter__(self) -> Watch:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        handler = getattr(self, f"_{event['event'].replace(' ', '_')}", None)
        if handler:
            handler(event)

    def _note(self, event: Mapping[str, Any]) -> None:
        say(event["says"])

    def _plan(self, event: Mapping[str, Any]) -> None:
        for sentence in event["says"]:
            say(sentence)

    def _start(self, event: Mapping[str, Any]) -> None:
        self.epochs, self.examples, self.began = event["epochs"], 0, time.perf_counter()
        self.task = self.bar.add_task("epoch 1", total=event["steps"], speed=0.0)

    def _resume(self, event: Mapping[str, Any]) -> None:
        self._start(event)
        self.bar.update(self.task or TaskID(0), completed=event["step"])
        say(f"going on after step {event['step']} of {event['steps']}, where this run was interrupted")

    def _step(self, event: Mapping[str, Any]) -> None:
        if self.task is None:
            return
        self.examples += event["examples"]
        speed = self.examples / max(time.perf_counter() - self.began, 1e-9)
        self.bar.update(self.task, completed=event["step"], description=f"epoch {event['epoch']}", speed=speed)

    def _epoch(self, event: Mapping[str, Any]) -> None:
        parts = [f"{split} {_metrics(event[split])}" for split in ("train", "validation") if event.get(split)]
        say(f"epoch {event['epoch']}/{self.epochs}  {'  |  '.join(parts)}  ({event['seconds']:.1f} s)")

    def _best(self, event: Mapping[str, Any]) -> None:
        say(f"best epoch {event['epoch']} ({event['metric']} {event['value']:.4f}); its weights are kept")

    def _check(self, event: Mapping[str, Any]) -> None:
        for check in event["checks"]:
            say(f"  {'ok  ' if check['passed'] else 'LOOK'}  {check['name']}: {check['says']}")

    def _profile(self, event: Mapping[str, Any]) -> None:
        say(f"where {event['total']:.1f} s went:")
        for part, seconds in sorted(event["seconds"].items(), key=lambda item: -item[1]):
            say(f"  {part:<10} {seconds:8.2f} s  {seconds / event['total']:6.1%}")

    def _finished_before(self, event: Mapping[str, Any]) -> None:
        say(f"{event['path']}: finished before with the same recipe and data; not trained again")


def _metrics(values: Mapping[str, float]) -> str:
    shown = [name for name in ("loss", "accuracy", "macro_f1", "rmse", "pearson") if name in values]
    return " ".join(f"{name} {values[name]:.4f}" for name in shown)
