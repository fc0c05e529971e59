"""How fluid is the interactive data map with 100,000 examples?

    python bench/map_100k.py [--n 100000] [--repeats 5] [--screenshots DIR]

Opens the page of `figures.interactive_map`, with every score of a simulated run, in a headless Chromium and measures
there: the first draw, a change of colour, a zoom, movements while panning and hovering, a box selection. In the same
run the plain plotly way (one scattergl trace with a hover text per point, `Figure.to_html`) does what it can of it.
Times are to the second animation frame after the work, so the picture is on the screen. Without a graphics processor
most of a time is drawing in software; `script`, the part on the main thread, is what stays where there is one.
Writes bench/results/map_100k.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from common import machine, write_json
from playwright.sync_api import CDPSession, Page, sync_playwright

from leadline import scores, signals
from leadline.figures.interactive import interactive_map

RESULTS = Path(__file__).parent / "results" / "map_100k.json"
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()
SHOWN = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"
RENDERER = """() => {
  const gl = document.createElement("canvas").getContext("webgl");
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
}"""
MOVES = 20
HOME = (0, 0.4, 0, 1)
ZOOM = """{"xaxis.range": [%s, %s], "yaxis.range": [%s, %s]}"""


def simulated(n: int, seed: int = 0) -> tuple[pl.DataFrame, list[str]]:
    """Scores of n examples whose logits drift to the label, some slowly, some away; texts of 60 to 300 characters."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 4, n)
    drift = rng.normal(1.1, 0.9, n)
    logits = rng.normal(0, 0.35, (5, n, 4)).cumsum(axis=0)  # (E, N, K)
    logits[:, np.arange(n), gold] += drift * np.arange(1, 6)[:, None] * 0.6
    record = signals.from_logits([f"example-{i}" for i in range(n)], logits, gold, ("a", "b", "c", "d"))
    columns, _ = scores.compute(record)
    region = scores.regions.by_proportion(columns["confidence"], columns["variability"]).category
    words = np.array("the a of harbour rope lead depth chart sailor not where water deep trust measured weight".split())
    texts = [" ".join(words[rng.integers(0, len(words), size)]) for size in rng.integers(12, 60, n)]
    label = [record.classes[k] for k in gold]
    return pl.DataFrame({"id": record.ids, "label": label, **columns, "region": region.tolist()}), texts


def plain(table: pl.DataFrame, texts: list[str]) -> str:
    """The same map as most people would write it with plotly."""
    rows = zip(table["id"], table["label"], texts, strict=True)
    hover = [f"{name}<br>{label}<br>{text[:140]}" for name, label, text in rows]
    marker = {"color": table["correctness"].to_numpy(), "colorscale": "Viridis", "size": 4}
    x, y = table["variability"].to_numpy(), table["confidence"].to_numpy()
    figure = go.Figure(go.Scattergl(x=x, y=y, mode="markers", text=hover, hoverinfo="text", marker=marker))
    return figure.to_html(include_plotlyjs=True, div_id="plot").replace(
        "Plotly.newPlot(", "window.made = Plotly.newPlot("
    )


def first_draw(page: Page, url: str, ready: str) -> float:
    page.goto("about:blank")
    page.goto(url)
    page.wait_for_function(ready)
    return page.evaluate(f"async () => {{ {SHOWN} return performance.now(); }}")


def timed(page: Page, prepare: str, work: str) -> tuple[float, float]:
    """Milliseconds until the work is on the screen, and until its call returns: script, and waiting for the drawing."""
    shown, script = page.evaluate(f"""async () => {{
      const plot = document.getElementById("plot"); {prepare};
      const start = performance.now(), drawn = {work}, script = performance.now() - start;
      await drawn; {SHOWN} return [performance.now() - start, script]; }}""")
    return shown, script


def relayout(page: Page, change: str) -> tuple[float, float]:
    return timed(page, "", f"Plotly.relayout(plot, {change})")


def per_move(page: Page, moves: list[tuple[float, float]]) -> tuple[float, float]:
    """Milliseconds per mouse movement until it is on the screen, and how many of them are script on the main thread."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    before, start = script_seconds(cdp), page.evaluate("() => performance.now()")
    for x, y in moves:
        page.mouse.move(x, y)
        page.evaluate(f"async () => {{ {SHOWN.replace('requestAnimationFrame(done)', 'done()')} }}")
    end = page.evaluate("() => performance.now()")
    script = 1000 * (script_seconds(cdp) - before)
    cdp.detach()
    return (end - start) / len(moves), script / len(moves)


def script_seconds(cdp: CDPSession) -> float:
    return next(m["value"] for m in cdp.send("Performance.getMetrics")["metrics"] if m["name"] == "ScriptDuration")


def area_of(page: Page) -> tuple[float, float, float, float]:
    box = page.locator("#plot .nsewdrag").bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def pan(page: Page) -> tuple[float, float]:
    relayout(page, "{dragmode: 'pan'}")
    left, top, width, height = area_of(page)
    x, y = left + width / 2, top + height / 2
    page.mouse.move(x, y)
    page.mouse.down()
    found = per_move(page, [(x + 4 * k, y + 2 * k) for k in range(1, MOVES + 1)])
    page.mouse.up()
    page.wait_for_timeout(500)
    relayout(page, "{dragmode: 'select'}")
    relayout(page, ZOOM % HOME)
    return found


def hover(page: Page) -> tuple[float, float]:
    left, top, width, height = area_of(page)
    return per_move(page, [(left + width * (0.2 + 0.02 * k), top + height * 0.5) for k in range(MOVES)])


def select(page: Page) -> tuple[float, int]:
    """(milliseconds from letting go of the mouse to the list, how many were selected)"""
    left, top, width, height = area_of(page)
    page.mouse.move(left + width * 0.3, top + height * 0.1)
    page.mouse.down()
    page.mouse.move(left + width * 0.7, top + height * 0.9, steps=4)
    page.evaluate("""() => { const plot = document.getElementById("plot");
      window.chosen = new Promise(done => plot.once("plotly_selected", e => requestAnimationFrame(() =>
        requestAnimationFrame(() => done([performance.now(), e.points.length])))));
      const released = () => { window.released = performance.now(); };
      window.addEventListener("mouseup", released, {once: true, capture: true}); }""")
    page.mouse.up()
    shown, n = page.evaluate("() => window.chosen")
    milliseconds = shown - page.evaluate("() => window.released")
    page.mouse.dblclick(left + 5, top + 5)
    page.wait_for_timeout(600)
    return milliseconds, n


Found = dict[str, list[float]]


def measure_ours(page: Page, url: str, names: list[str], shots: Path | None) -> Found:
    found: Found = {"first_draw": [first_draw(page, url, "document.body.dataset.drawn")]}
    if shots:
        page.screenshot(path=str(shots / "map_100k.png"))
    for name in names:
        choose = f'const menu = document.getElementById("colour"); menu.value = "{name}"'
        change = (
            'new Promise(done => { plot.once("plotly_afterplot", done); menu.dispatchEvent(new Event("change")); })'
        )
        add(found, "colour", timed(page, choose, change))
    measure_moves(page, found)
    milliseconds, n = select(page)
    if shots:
        page.screenshot(path=str(shots / "map_100k_after.png"))
    return found | {"select": [milliseconds], "selected": [n]}


def measure_plain(page: Page, url: str) -> Found:
    found: Found = {"first_draw": [first_draw(page, url, "window.made && document.querySelector('#plot .nsewdrag')")]}
    measure_moves(page, found)
    return found


def measure_moves(page: Page, found: Found) -> None:
    for corner in ((0.1, 0.2, 0.4, 0.6), HOME):
        add(found, "zoom", relayout(page, ZOOM % corner))
    add(found, "pan", pan(page))
    add(found, "hover", hover(page))


def add(found: Found, name: str, measured: tuple[float, float]) -> None:
    for key, value in zip((name, f"{name}_script"), measured, strict=True):
        found.setdefault(key, []).append(value)


def merged(rounds: list[Found]) -> Found:
    return {name: [value for found in rounds for value in found.get(name, [])] for name in rounds[0]}


def line(name: str, ours: list[float], theirs: list[float] | None) -> str:
    def told(ms: list[float]) -> str:
        below = f"95 % below {np.percentile(ms, 95):.0f}"
        return f"{np.median(ms):7.0f}  ({min(ms):.0f} to {max(ms):.0f}, {below}, n = {len(ms)})"

    return f"{name:28} {told(ours):52} {told(theirs) if theirs else '       –'}"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--n", type=int, default=100_000)
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--screenshots", type=Path)
    asked.add_argument("--out", type=Path, default=RESULTS)
    given = asked.parse_args()
    browser_path = next(
        (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None
    )
    if browser_path is None:
        sys.exit("no Chromium found (looked for chromium, chromium-browser, google-chrome on the PATH)")
    table, texts = simulated(given.n)
    start = time.perf_counter()
    pages = {"ours": interactive_map(table, texts, ("a", "b", "c", "d"), title=f"{given.n:,} simulated examples")}
    built = time.perf_counter() - start
    pages["plain"] = plain(table, texts)
    names = [name for name in table.columns if name != "id"]
    result: dict[str, Any] = {"n": given.n, "columns": len(names), "build_seconds": built, "repeats": given.repeats}
    result["megabytes"] = {name: len(text.encode()) / 1e6 for name, text in pages.items()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        urls = {}
        for name, text in pages.items():
            path = Path(folder) / f"{name}.html"
            path.write_text(text, encoding="utf-8")
            urls[name] = path.as_uri()
        browser = play.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        ours, theirs = [], []
        for k in range(given.repeats):  # in turns, so that both meet the same load of the machine
            ours.append(measure_ours(page, urls["ours"], names[k :: given.repeats], given.screenshots))
            theirs.append(measure_plain(page, urls["plain"]))
        result["ours"], result["plain"] = merged(ours), merged(theirs)
        here = {"browser": f"Chromium {browser.version}", "webgl": page.evaluate(RENDERER), "load": os.getloadavg()[0]}
        result["machine"] = machine() | here | {"plotly": version("plotly")}
        browser.close()
    report(result)
    write_json(given.out, result)
    print(f"written to {given.out.name}")


def report(result: dict[str, Any]) -> None:
    ours, theirs, size = result["ours"], result["plain"], result["megabytes"]
    here = result["machine"]
    print(f"n = {result['n']:,}, {result['columns']} columns in the colour menu; {here['browser']}, {here['webgl']}")
    print(f"{here['cpu']}, {here['cores']} cores, load {here['load']:.1f}")
    print(f"{'milliseconds, median':28} {'this map':52} plain plotly (1 colour, no menu)")
    print(f"{'file, MB':28} {size['ours']:7.1f} {'':44} {size['plain']:7.1f}")
    for name in (name for name in ours if name != "selected"):
        print(line(name.replace("_", " "), ours[name], theirs.get(name)))
    print(
        f"selected {ours['selected'][0]:,} examples at a time; building the page took {result['build_seconds']:.2f} s"
    )


if __name__ == "__main__":
    main()
