"""What the benches share: where the data lie, which machine this is, how results are written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("leadline", "torch", "transformers", "accelerate", "numpy", "polars", "pyarrow")


def data_directory() -> Path:
    """LEADLINE_DATA, or shared/data beside the repository."""
    given = os.environ.get("LEADLINE_DATA")
    path = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        raise SystemExit(f"{path}: no data there; set LEADLINE_DATA to the folder with the data sets")
    return path


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
