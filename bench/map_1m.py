"""Are map and report of a million examples usable?

    python bench/map_1m.py [--n 1000000] [--repeats 3] [--pictures DIR] [--toy]

A simulated run with texts. Seconds, largest private memory and size of what is written, each command a process of its
own: `leadline score` with every score, then the map as a picture, the map as a page and the report. They read the
scores that the first one wrote; the report is timed without them as well. Where a Chromium is at hand, also how long
the page of the map takes to its first picture. --pictures keeps what was written, to be looked at.
Writes bench/results/map_1m.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, write_json
from scores import watched
from simulated import write_run

RESULTS = Path(__file__).parent / "results" / "map_1m.json"


def commands(run: Path, folder: Path) -> dict[str, tuple[list[str], Path]]:
    """What is timed: its words, and the file that it writes."""
    report = ["report", str(run), "-o", str(folder / "report.html")]
    return {
        "report, scores computed": (report, folder / "report.html"),
        "score": (["score", str(run)], run / "scores.parquet"),
        "map.png": (["map", str(run), "-o", str(folder / "map.png")], folder / "map.png"),
        "map.html": (["map", str(run), "-o", str(folder / "map.html")], folder / "map.html"),
        "report": (report, folder / "report.html"),
    }


def measured(run: Path, folder: Path, toy: bool) -> dict[str, dict[str, float]]:
    (run / "scores.parquet").unlink(missing_ok=True)
    found = {}
    for name, (words, written) in commands(run, folder).items():
        if toy and name not in ("score", "map.html"):
            continue
        found[name] = watched([sys.executable, "-m", "leadline", *words]) | {"bytes": written.stat().st_size}
    return found


def first_draw(page: Path, repeats: int) -> list[float] | None:
    """Milliseconds from opening the page to its first picture; None without Chromium or playwright."""
    browser_path = next((p for name in ("chromium", "chromium-browser") if (p := shutil.which(name))), None)
    try:
        import map_100k
    except ImportError:
        return None
    if browser_path is None:
        return None
    with map_100k.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=map_100k.ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        url, ready = page.resolve().as_uri(), "document.body.dataset.drawn"
        found = [map_100k.first_draw(tab, url, ready) for _ in range(repeats)]
        browser.close()
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--n", type=int, default=1_000_000)
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--pictures", type=Path)
    asked.add_argument("--toy", action="store_true")
    asked.add_argument("--out", type=Path, default=RESULTS)
    given = asked.parse_args()
    n, repeats = (1500, 1) if given.toy else (given.n, given.repeats)
    with tempfile.TemporaryDirectory() as place:
        run, folder = Path(place) / "simulated", given.pictures or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        write_run(run, n, texts=True)
        rounds = [measured(run, folder, given.toy) for _ in range(repeats)]
        drawn = None if given.toy else first_draw(folder / "map.html", repeats)
    result: dict[str, Any] = {"n": n, "repeats": repeats, "rounds": rounds, "first_draw_milliseconds": drawn}
    result["machine"] = machine() | {"load": os.getloadavg()[0]}
    for name in rounds[0]:
        took = ", ".join(f"{found[name]['seconds']:.1f}" for found in rounds)
        most = max(found[name]["private_bytes"] for found in rounds)
        print(f"{name:24} {took} s, {most / 1e6:,.0f} MB private, writes {rounds[0][name]['bytes'] / 1e6:.1f} MB")
    print(f"first picture of the page: {drawn} ms")
    write_json(given.out, result)
    print(f"written to {given.out.name}")


if __name__ == "__main__":
    main()
