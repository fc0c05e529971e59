"""BACKENDS: where the runs of a sweep are computed. Each is a process of its own, `python -m leadline train RECIPE`.

The folder is the protocol. A work item is a command line and a log; beside the log stands `<title>.exit`, written when
its process has left, and while the process lives it holds a lock on the log (the lock goes with the process, however
that ends, so nothing here needs to be cleaned up after a kill). Whoever looks at the folder sees the same as we do.

A backend is a function `(works, jobs, tell) -> {title: state}` that returns when nothing can be started any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Literal

from leadline.errors import InputError, nearest, no_locks

State = Literal["finished", "there", "failed", "skipped", "interrupted"]
Tell = Callable[[Mapping[str, Any]], None]

POLL = 0.05  # seconds between two looks at the processes
INTERRUPTED = 130


@dataclass(frozen=True)
class Work:
    """One process to start, and the works that must have succeeded before."""

    title: str
    command: tuple[str, ...]
    log: Path  # takes what the process prints
    needs: tuple[str, ...] = ()  # titles
    processes: int = 1  # that it starts itself, each with its share of the threads
    settled: Callable[[], bool] = field(default=lambda: False)  # asked when its turn comes: is its result there?


def train_command(recipe: Path, name: str, root: Path, arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """The command line of one run, with this Python."""
    here = ("train", str(recipe), "--name", name, "--root", str(root))
    return (sys.executable, "-m", "leadline", *here, *arguments)


def backend(name: str) -> Callable[[Sequence[Work], int, Tell], dict[str, State]]:
    """The entry of BACKENDS. Raises InputError that names the known ones."""
    if name not in BACKENDS:
        raise InputError(
            f"--on {name}: there is no such backend.{nearest(name, BACKENDS)} Known: {', '.join(BACKENDS)}"
        )
    return BACKENDS[name]


def local(works: Sequence[Work], jobs: int, tell: Tell) -> dict[str, State]:
    """Computes the works on this machine, `jobs` at a time, in their order; what needs another waits for it.

    A failure stops nothing but what needs its result. Ctrl-C, SIGTERM or a closed terminal ask every process to leave
    (SIGTERM: a training keeps what it has) and wait for it; a second one ends them at once.
    """
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: at least one at a time")
    crew = Crew(list(works), jobs, tell)
    with _asked_to_stop() as asked:
        while crew.waiting or crew.running:
            if asked:
                crew.stop(kill=len(asked) > 1)
            else:
                crew.start()
            if not crew.collect() and (crew.running or crew.waiting):
                time.sleep(POLL)
    return crew.states


BACKENDS: dict[str, Callable[[Sequence[Work], int, Tell], dict[str, State]]] = {"local": local}


def environment(jobs: int) -> dict[str, str]:
    """The environment with threads for each of `jobs` processes: cores / jobs, sleeping while they wait.

    Two processes with as many threads as there are cores can stall each other more than tenfold. A smaller number that
    the caller has set is kept.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // jobs)
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = min(threads, int(given)) if given.isdigit() and int(given) else threads
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass
class Crew:
    """The processes of one call of `local`, and what is known of the works."""

    waiting: list[Work]
    jobs: int
    tell: Tell
    running: dict[str, tuple[Work, subprocess.Popen[bytes], float]] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)  # told once: another process is at it
    stopping: int = 0  # 1: asked to leave, 2: killed

    def start(self) -> None:
        """Starts whatever can be started now."""
        for work in list(self.waiting):
            known = [self.states.get(title) for title in work.needs]
            broken = [t for t, s in zip(work.needs, known, strict=True) if s in ("failed", "skipped", "interrupted")]
            if broken:
                self._settle(work, "skipped", needs=broken)
                note_exit(work.log, None, needs=broken)
            elif len(self.running) < self.jobs and all(known):
                self._start(work)

    def _start(self, work: Work) -> None:
        log = claim(work.log)
        if log is None:  # what another process is computing is waited for, then looked at again
            if work.title not in self.elsewhere:
                self.elsewhere.add(work.title)
                self.tell({"event": "elsewhere", "title": work.title})
            return
        with log:
            if work.settled():
                exit_file(work.log).unlink(missing_ok=True)
                return self._settle(work, "there")
            exit_file(work.log).unlink(missing_ok=True)
            log.truncate(0)
            # Ctrl-C in a terminal, and its closing, reach the whole process group: blocked here, so that a run hears
            # of it once, from us, and as SIGTERM; and yet in our group, so that killing the group kills the runs.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
            try:
                process = subprocess.Popen(
                    work.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment(self.jobs * work.processes),
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.waiting.remove(work)
        self.running[work.title] = work, process, time.perf_counter()
        self.tell({"event": "started", "title": work.title, "log": str(work.log), "pid": process.pid})

    def collect(self) -> bool:
        """Takes in whoever has left; whether somebody had."""
        left = [title for title, (_, process, _) in self.running.items() if process.poll() is not None]
        for title in left:
            work, process, began = self.running.pop(title)
            status, seconds = process.returncode, time.perf_counter() - began
            asked = status == INTERRUPTED or (self.stopping and status)
            state: State = "interrupted" if asked else "failed" if status else "finished"
            note_exit(work.log, status, state=state, seconds=seconds)
            last = last_lines(work.log) if state == "failed" else []
            self._settle(work, state, seconds=seconds, status=status, last=last)
        return bool(left)

    def stop(self, kill: bool) -> None:
        """Nothing more is started; the running are asked to leave, once, or killed."""
        for work in list(self.waiting):
            self._settle(work, "interrupted")
        for _, process, _ in self.running.values():
            if kill and self.stopping < 2:
                process.kill()
            elif not self.stopping:
                process.terminate()
        self.stopping = 2 if kill else max(self.stopping, 1)

    def _settle(self, work: Work, state: State, **more: Any) -> None:
        self.states[work.title] = state
        if work in self.waiting:
            self.waiting.remove(work)
        self.tell({"event": state, "title": work.title, "log": str(work.log), **more})


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """The signals that asked us to stop, in the order in which they came; handlers as before afterwards."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread of a program may handle signals
        return
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in ours}
    try:
        for number in ours:
            if before[number] != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, note)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_file(log: Path) -> Path:
    """Where it stands how the process behind a log left."""
    return log.with_suffix(".exit")


def note_exit(log: Path, status: int | None, **more: Any) -> None:
    """`status` None: never started, because of what `needs` names."""
    path = exit_file(log)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({"status": status, **more}) + "\n", encoding="utf-8")
    os.replace(partial, path)


def noted_exit(log: Path) -> dict[str, Any] | None:
    """{status, state, seconds} or {status: None, needs}; None where no process has left, or where it is no note."""
    try:
        noted = json.loads(exit_file(log).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) and "status" in noted else None


def claim(log: Path) -> BinaryIO | None:
    """The log, open and locked; its lock lives on in every process that inherits it. None: another process has it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        file.close()
        raise no_locks(log.parent, error) from None
    return file


def held(log: Path) -> bool:
    """A process is writing this log."""
    if not log.is_file():
        return False
    with log.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            raise no_locks(log.parent, error) from None
    return False


def last_lines(log: Path, count: int = 5) -> list[str]:
    """The last lines of a log that are not empty."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        text = file.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]
