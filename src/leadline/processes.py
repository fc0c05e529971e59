"""Several processes of one training on this machine: `leadline train … --processes N`.

What torchrun does, and what it does not: every signal reaches every process, so that all write their checkpoint
together, and the threads are shared out. On several machines torchrun starts `python -m leadline train` itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

PASSED_ON = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
OF_ALL = (2, 130)  # a mistake of the user, an interruption: every process leaves so, and the first has said why
GRACE = 60.0  # seconds that the others have to end after one has failed


def inside() -> bool:
    """This process is one of several that torchrun, or `start`, began."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return int(os.environ.get("RANK", "0"))


def start(command: Sequence[str], count: int) -> int:
    """Runs `count` processes of the command as one training and returns its exit status.

    The first process prints; what the others say on stderr is shown when one of them fails by itself.
    """
    shared = {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()), "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
    }  # fmt: skip
    said = [tempfile.TemporaryFile() for _ in range(1, count)]
    workers: list[subprocess.Popen[bytes]] = []
    before = _listen(workers)
    try:
        for rank in range(count):
            place = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": said[rank - 1]} if rank else {}
            end = _ends_with(os.getpid())
            workers.append(subprocess.Popen(command, env=place, start_new_session=True, preexec_fn=end, **quiet))
        status, culprit = _wait(workers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if culprit and not (status[culprit] == status[0] and status[0] in OF_ALL):
        _tell(culprit, status[culprit], said[culprit - 1])
    for file in said:
        file.close()
    return status[culprit] if status[culprit] >= 0 else 128 - status[culprit]


def _ends_with(launcher: int) -> Callable[[], None] | None:
    """What a new process does first so that Linux kills it when its launcher, us, is killed; elsewhere nothing.

    Left alone it would train on, and hold the lock of a run that nobody waits for.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork: afterwards as little as possible may happen

    def first() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # killed before we could ask
            os._exit(128 + signal.SIGKILL)

    return first


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listen(workers: Sequence[subprocess.Popen[bytes]]) -> dict[int, Any]:
    """Signals go on to the workers. Each is a session of its own, so a terminal's Ctrl-C reaches them once, by us."""

    def pass_on(number: int, frame: Any) -> None:
        for worker in workers:  # a closed terminal asks for a checkpoint like anybody who wants them to end
            worker.send_signal(signal.SIGTERM if number == getattr(signal, "SIGHUP", None) else number)

    numbers = [getattr(signal, name) for name in PASSED_ON if hasattr(signal, name)]
    return {number: signal.signal(number, pass_on) for number in numbers}


def _wait(workers: Sequence[subprocess.Popen[bytes]]) -> tuple[list[int], int]:
    """Exit statuses, and who failed first. The others, who would wait for it for ever, are ended then."""
    running, culprit = list(workers), 0
    while running:
        for worker in list(running):
            try:
                code = worker.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            running.remove(worker)
            if code:
                culprit = workers.index(worker)
                _end(running)
                running = []
                break
    return [worker.wait() for worker in workers], culprit


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """They have the same reason to end, and some seconds to do it by themselves; then they are made to."""
    for worker in workers:
        try:
            worker.wait(timeout=GRACE if worker is workers[0] else 1.0)
        except subprocess.TimeoutExpired:
            worker.kill()


def _tell(rank: int, code: int, file: BinaryIO) -> None:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()[-15:]
    print(f"process {rank} left first, with status {code}:", *lines, sep="\n", file=sys.stderr)  # noqa: T201
