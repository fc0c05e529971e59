"""What the benches share: where the data lie, which machine this is, how results are written."""

from __future__ import annotations

import json
import os
import platform
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


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
