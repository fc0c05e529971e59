"""What all tests share: thread settings before torch is imported, where the data lies, a small file to train on."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Two processes of two threads each on two cores can stall each other more than tenfold: one thread each, no spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches the network
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MPLCONFIGDIR", os.path.expanduser("~/.cache/matplotlib"))  # fonts are listed once a machine
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="leadline-cache-")  # the tokens of tests are nobody's cache
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

import csv
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
for number in (signal.SIGINT, signal.SIGHUP):  # ignored where somebody starts the tests in the background
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public data sets: $LEADLINE_DATA, else ../shared/data beside the repository."""
    named = os.environ.get("LEADLINE_DATA")
    path = Path(named) if named else ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real data: {path if named else '../shared/data'} is not there (set LEADLINE_DATA)")
    return path.resolve()


@pytest.fixture
def tiny_csv(tmp_path: Path) -> Callable[..., Path]:
    """`tiny_csv(n=60, seed=0, name="tiny.csv")` writes id, text, label: two classes that are easy to learn."""

    def write(n: int = 60, seed: int = 0, name: str = "tiny.csv") -> Path:
        return write_tiny(tmp_path / name, n, seed)

    return write


def write_tiny(path: Path, n: int = 60, seed: int = 0) -> Path:
    """n rows, half "dry", half "wet", in random order: one word of the class among words that both share."""
    dice = random.Random(seed)
    own = {"dry": ["sand", "dust", "desert", "drought"], "wet": ["rain", "river", "flood", "puddle"]}
    shared = ["the", "morning", "report", "speaks", "of", "much", "in", "north", "again", "today"]
    labels = [("dry", "wet")[i % 2] for i in range(n)]
    dice.shuffle(labels)
    with open(path, "w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(["id", "text", "label"])
        for i, label in enumerate(labels):
            words = [dice.choice(shared) for _ in range(dice.randint(3, 9))]
            words.insert(dice.randint(0, len(words)), dice.choice(own[label]))
            writer.writerow([f"t{i:03d}", " ".join(words), label])
    return path


@pytest.fixture
def leadline(monkeypatch, capsys):
    """Runs a command in this process: (exit status, stdout, stderr)."""
    from leadline import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["leadline", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as leaving:
            status = leaving.code or 0
        return status, *capsys.readouterr()

    return call


def until(true: Callable[[], bool], seconds: float = 240) -> None:
    """Waits for a condition, however long it takes; fails loudly where it never comes."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
