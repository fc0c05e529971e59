"""docs/benchmarks.md says what bench/results/*.json say, and a block without a result says that there is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"


def render(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: bench/ on the path of this one would hide other packages."""
    command = [sys.executable, ROOT / "bench" / "render.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_page_says_what_the_results_say() -> None:
    done = render("--check")
    assert done.returncode == 0, done.stderr


def test_every_bench_has_a_section() -> None:
    parts = {"common", "render", "simulated", "audit_measures", "audit_tables", "audit_peers"}
    scripts = {path.stem for path in (ROOT / "bench").glob("*.py")} - parts
    named = set(re.findall(r"^<!-- bench:(\w+) -->$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert scripts <= named


RUN = {"macro_f1": {"value": 0.5}, "accuracy": {"value": 0.625}, "ece": {"value": 0.0625}}
COSTS = {"seconds": 90.0, "examples_per_second": 100.0}
DATASETS = {
    "precision": "fp32",
    "results": [
        {
            "data": "x",
            "n_train": 1200,
            "n_test": 300,
            "runs": [RUN | COSTS, RUN | COSTS | {"macro_f1": {"value": 0.7}, "seconds": 30.0}],
        }
    ],
}


@pytest.fixture
def page(tmp_path: Path) -> tuple[Path, Path]:
    results = tmp_path / "results"
    results.mkdir()
    shutil.copy(PAGE, tmp_path / "page.md")
    return tmp_path / "page.md", results


def test_results_become_tables_and_a_stale_page_is_found(page: tuple[Path, Path]) -> None:
    path, results = page
    (results / "five_sets.json").write_text(json.dumps(DATASETS), encoding="utf-8")
    arguments = ("--page", path, "--results", results)
    stale = render("--check", *arguments)
    assert stale.returncode == 1 and "run `python bench/render.py`" in stale.stderr
    assert render(*arguments).returncode == render("--check", *arguments).returncode == 0
    text = path.read_text(encoding="utf-8")
    # mean 0.6, s / sqrt 2 = 0.1, t(0.975; 1) = 12.706; one minute a run
    assert "| x | 1,200 | 300 | 2 | 0.600 [-0.671, 1.871] | 0.625 | 0.062 | 1.0 | 100 |" in text
    measured = len(re.findall(r"^<!-- bench:", text, flags=re.MULTILINE)) - text.count("Not measured yet.")
    assert measured == 1


def test_a_bench_that_keeps_a_file_a_trial_is_read_from_its_folder(page: tuple[Path, Path]) -> None:
    path, results = page
    (results / "audit").mkdir()
    (results / "audit.json").write_text("{}", encoding="utf-8")
    filters = {"both (run)": {"flagged": 4, "precision": 0.5, "recall": 0.25, "f1": 1 / 3}}
    kinds = {"uniform": 0.9, "class-pair": 0.9, "by-confusion": 0.9}
    for data, aps in {"two": kinds, "six": kinds | {"class-pair": 0.7, "by-confusion": 0.6}}.items():
        for kind, ap in aps.items():
            measures = {"aum": {"ap": ap, "auroc": 0.8, "precision_at_k": 0.7}}
            trial = {"trial": f"{data}-{kind}-10-s0", "measures": measures, "filters": filters, "seconds": {"aum": 1.0}}
            (results / "audit" / f"{trial['trial']}.json").write_text(json.dumps(trial), encoding="utf-8")
    assert render("--page", path, "--results", results).returncode == 0
    text = path.read_text(encoding="utf-8")
    assert "**Every score, 4 trials**" in text  # with two classes the three kinds are one trial
    assert "| aum | 0.900 | 0.900 (0.900 to 0.900) | 0.700 (0.700 to 0.700) | 0.600 (0.600 to 0.600) |" in text
    means = "0.817 | +0.000 [+0.000, +0.000] | 0.700 | 0.800 | 0.73 0.90"  # of the two sets: (2.2 / 3 + 0.9) / 2
    assert f"| aum | {means} |" in text and "| both (run) | 4 | 4 | 0.500 | 0.250 | 0.333 |" in text


def test_a_result_without_a_section_is_refused_and_an_unknown_one_is_listed(page: tuple[Path, Path]) -> None:
    path, results = page
    (results / "novel.json").write_text(json.dumps({"a": {"b": 0.25, "c": [1, 2]}, "d": "word"}), encoding="utf-8")
    done = render("--page", path, "--results", results)
    assert done.returncode == 1 and "no block for novel" in done.stderr
    path.write_text(path.read_text(encoding="utf-8") + "\n<!-- bench:novel -->\n<!-- end -->\n", encoding="utf-8")
    assert render("--page", path, "--results", results).returncode == 0
    assert "| `a.b` | 0.250 |\n| `a.c` | 1, 2 |\n| `d` | word |" in path.read_text(encoding="utf-8")
