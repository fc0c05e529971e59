"""What the benches share: where the data lie, which machine this is, sweeps of trainings, how results are written."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leadline import launch, sweep
from leadline.evaluate import mean_interval

RESULTS = Path(__file__).resolve().parent / "results"
MINILM = {"model": "minilm", "training": {"epochs": 3, "max_length": 64}}
TINY = {"model": "tiny", "training": {"epochs": 2, "max_length": 32, "batch_size": 16}}
TESTED = {  # train, test, text, label
    "trec": ("trec/train.csv", "trec/test.csv", "text", "coarse"),
    "disaster": ("disaster/train.csv", "disaster/test.csv", "text", "label"),
    "sst2": ("sst2/train.csv.gz", "sst2/dev.csv", "sentence", "label"),
}
LIBRARIES = ("leadline", "torch", "transformers", "accelerate", "numpy", "polars", "pyarrow")


def data_directory() -> Path:
    """LEADLINE_DATA, or shared/data beside the repository."""
    given = os.environ.get("LEADLINE_DATA")
    path = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        raise SystemExit(f"{path}: no data there; set LEADLINE_DATA to the folder with the data sets")
    return path


def tested(name: str, n: int) -> dict[str, Any]:
    """The `data` of a recipe: n rows of one of TESTED, and its test file."""
    root, (train, test, text, label) = data_directory(), TESTED[name]
    data = {"train": str(root / train), "test": str(root / test), "text": text, "label": label, "id": "idx"}
    return {**data, "validation": None, "sample": {"n": n}}


def arguments(name: str, about: str | None, **further: str | int) -> argparse.ArgumentParser:
    """--jobs, --runs, --toy, --out of a bench that trains, and `further` options by their defaults."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in {**further, "jobs": 1}.items():
        parser.add_argument(f"--{option}", type=type(default), default=default)
    parser.add_argument("--runs", type=Path, default=Path("build/bench"))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    return parser


@contextlib.contextmanager
def workplace(options: argparse.Namespace) -> Iterator[Path]:
    """Where the runs lie: those of a toy are gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) if options.toy else options.runs


def chosen(options: argparse.Namespace, sets: Iterable[str]) -> list[str]:
    """The data sets that --only names; without it all."""
    return ["toy"] if options.toy else [name for name in options.only.split(",") if name] or list(sets)


def seeds(options: argparse.Namespace) -> list[int]:
    return list(range(1 if options.toy else options.seeds))


def trained(document: dict[str, Any], place: Path, jobs: int, refusable: bool = False) -> sweep.Sweep:
    """The sweep with all its trials finished; what is there already is not trained again.

    refusable  a trial that the data do not allow (an InputError, exit status 2) may be missing; others may not
    """
    trials = sweep.load(document, place)
    states = sweep.run(trials, jobs=jobs, tell=told)
    logs = {trial.title: sweep.log_file(trials, trial) for trial in trials.trials}
    refused = {title for title, log in logs.items() if refusable and (launch.noted_exit(log) or {}).get("status") == 2}
    bad = [title for title, state in states.items() if state not in ("finished", "there") and title not in refused]
    if bad:
        raise SystemExit(f"{trials.path}: not finished: {', '.join(bad)}")
    return trials


def told(event: Any) -> None:
    if event["event"] in ("finished", "failed", "skipped"):
        print(event["event"], event["title"], flush=True)


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions: what every figure is to be read with."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text()
        cpu = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), cpu)
        cpu += " with avx512_bf16" if "avx512_bf16" in text else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory), "versions": versions}


def watched(command: list[str]) -> dict[str, float]:
    """A command as a process: seconds, and its largest private and resident memory in bytes, seen every 20 ms."""
    began = time.perf_counter()
    peak = {"RssAnon": 0, "VmRSS": 0}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        for name, value in memory_of(process.pid).items():
            peak[name] = max(peak[name], value)
        time.sleep(0.02)
    took = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed: {process.stderr.read() if process.stderr else ''}")
    return {"seconds": took, "private_bytes": peak["RssAnon"], "resident_bytes": peak["VmRSS"]}


def memory_of(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    found = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "VmRSS")))
    return {name: int(value.split()[0]) * 1024 for name, value in found.items()}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def interval(values: Sequence[float], form: str = ".3f") -> str:
    """The mean with its 95 % t interval, where there are several."""
    mean, low, high = mean_interval(values)
    return f"{mean:{form}}" + (f" [{low:{form}}, {high:{form}}]" if low == low else "")
