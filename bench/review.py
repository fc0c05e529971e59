"""How quick is the review page with 100,000 examples?

    python bench/review.py [--n 100000] [--decisions 200] [--repeats 5] [--toy]

A simulated run with texts (5 epochs, 4 classes) and the real `leadline review` on it as a process of its own, asked
over HTTP as a browser asks. `start`: from the command to the printed address, when the queue is dealt. `first page`: a
new connection, the whole page. `decision`: the request of one key until the next card has come, the decision on disk
in between. `search`: the first card of a search that no request has made before. With a Chromium also `seen`: from
opening the address until the card stands in the page and its map is drawn. Writes bench/results/review.json.
"""

from __future__ import annotations

import argparse
import html
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from common import machine, write_json
from simulated import write_run

RESULTS = Path(__file__).parent / "results" / "review.json"
TOKEN = "a-token-for-the-bench"
WORDS = "harbour rope lead depth chart sailor deep water trust measured".split()


class Server:
    def __init__(self, run: Path):
        command = [sys.executable, "-m", "leadline", "review", str(run), "--no-browser", "--reviewer", "bench"]
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--token", TOKEN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[1]
        self.seconds = time.perf_counter() - start
        self.port = int(self.address.split(":")[2].split("/")[0])
        self.cookie = f"leadline_{self.port}={TOKEN}"

    def ask(
        self, path: str, fields: dict[str, str] | None = None, line: http.client.HTTPConnection | None = None
    ) -> str:
        used = line or http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{self.port}"}
        headers |= {"Content-Type": "application/x-www-form-urlencoded"} if fields is not None else {}
        used.request("GET" if fields is None else "POST", path, None if fields is None else urlencode(fields), headers)
        answer = used.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {text[:300]}")
        if line is None:
            used.close()
        return text

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def decisions(server: Server, count: int) -> list[float]:
    """Milliseconds of each of `count` decisions, one after the other over one connection."""
    line = http.client.HTTPConnection("127.0.0.1", server.port)
    page, times = server.ask("/", line=line), []
    for i in range(count):
        form = page[page.index('<form class="decide"') :]
        fields = {n: html.unescape(_first(rf'name="{n}" value="([^"]*)"', form)) for n in ("token", "query")}
        fields |= json.loads(html.unescape(_first(r"hx-vals='([^']*)'", form)))  # the id
        start = time.perf_counter()
        page = server.ask("/decide", {**fields, "do": ("keep", "discard")[i % 2]}, line)
        times.append(1000 * (time.perf_counter() - start))
    line.close()
    return times


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"the page has no {pattern}")
    return found[1]


def seen(server: Server, repeats: int) -> list[float] | None:
    """Milliseconds until a Chromium shows the card and the map; None without one."""
    chromium = next((p for name in ("chromium", "google-chrome") if (p := shutil.which(name))), None)
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(repeats):
            page = browser.new_context().new_page()
            start = time.perf_counter()
            page.goto(server.address)
            page.wait_for_selector("#map[data-drawn]")
            times.append(1000 * (time.perf_counter() - start))
        browser.close()
    return times


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--n", type=int, default=100_000)
    arguments.add_argument("--decisions", type=int, default=200)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--toy", action="store_true")
    arguments.add_argument("--out", type=Path, default=RESULTS)
    given = arguments.parse_args()
    n, count, repeats = (400, 5, 2) if given.toy else (given.n, given.decisions, given.repeats)
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        write_run(run, n, classes=4, texts=True)
        server = Server(run)
        result: dict[str, Any] = {
            "machine": machine() | {"load": os.getloadavg()[0]},
            "n": n,
            "start_seconds": server.seconds,
        }
        try:
            result["first_page_ms"] = [timed(lambda: server.ask("/")) for _ in range(repeats)]
            result["decision_ms"] = decisions(server, count)
            result["search_ms"] = [
                timed(lambda word=word: server.ask(f"/card?search={word}")) for word in WORDS[:repeats]
            ]  # type: ignore[misc]
            result["page_bytes"] = len(server.ask("/").encode())
            result["seen_ms"] = None if given.toy else seen(server, repeats)
        finally:
            server.end()
    write_json(given.out, result)
    print({key: value for key, value in result.items() if key not in ("machine", "decision_ms")})


if __name__ == "__main__":
    main()
