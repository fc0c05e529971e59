"""Figures: what is drawn is what was given, readable by everyone, harmless inside a page."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from leadline import evaluate, scores, signals
from leadline.errors import InputError
from leadline.figures import data_map as maps
from leadline.figures import distributions as shapes
from leadline.figures import interactive, learning, quality, style

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<!-- <script> <b>bold</b> &amp; <img src=x onerror='window.hacked = 2'>",
    "{{plotly}} {{data}} \\u003c \u2028 line\nbreak\ttab",
    "\u202eright to left \u0645\u0631\u062d\u0628\u0627 \u202e",
    "lonely \ud800 surrogate and \x00 nul",
]


def simulated(n: int = 400, seed: int = 0) -> pl.DataFrame:
    """Scores of n examples over 4 epochs: half drift to their label, some stay away from it."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 3, n)
    logits = rng.normal(0, 0.4, (4, n, 3)).cumsum(axis=0)
    logits[:, np.arange(n), gold] += rng.normal(0.8, 1.0, n) * np.arange(1, 5)[:, None] * 0.6
    record = signals.from_logits([f"x{i}" for i in range(n)], logits, gold, ("a", "b", "c"))
    columns, _ = scores.compute(record)
    region = scores.regions.by_proportion(columns["confidence"], columns["variability"]).category
    label = ["abc"[k] for k in gold]
    return pl.DataFrame({"id": record.ids, "label": label, **columns, "region": region.tolist()})


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return simulated()


def words_of(figure: Figure) -> str:
    """All words of a figure."""
    root = ElementTree.fromstring(style.svg(figure))
    words = " | ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
    return re.sub(r" +", " ", words)


# --- style -----------------------------------------------------------------------------------------------------------

SEEN_BY = {  # Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB
    "everybody": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(colour: str, matrix: Any) -> np.ndarray:
    """CIE L*a*b* of a colour after a way of seeing."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(matrix) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = (float(np.cbrt(v)) for v in xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("colours", [tuple(style.REGION_COLOURS.values()), (*style.CLASS_COLOURS, style.OTHER)])
def test_colours_keep_apart_for_the_colour_blind_and_on_a_grey_printer(colours: tuple[str, ...]) -> None:
    for matrix in SEEN_BY.values():
        seen = [lab(colour, matrix) for colour in colours]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 12
    lightness = [lab(colour, np.eye(3))[0] for colour in colours]
    assert min(abs(a - b) for a, b in itertools.combinations(lightness, 2)) > 8


def test_scale_rises_in_lightness() -> None:
    lightness = [lab(matplotlib.colors.to_hex(style.SEQUENCE(k / 20)), np.eye(3))[0] for k in range(21)]
    assert np.all(np.diff(lightness) > 0)


def test_classes_beyond_six_share_grey_and_the_most_frequent_have_colours() -> None:
    names = [f"c{k}" for k in range(9)]
    colours = style.class_colours(names, {name: k for k, name in enumerate(names)})
    assert [name for name in names if colours[name] == style.OTHER] == ["c0", "c1", "c2"]
    assert len(set(colours.values())) == 7


def test_svg_is_the_same_every_time_and_fits_beside_others_on_a_page(table: pl.DataFrame) -> None:
    first, again = style.svg(maps.data_map(table)), style.svg(maps.data_map(table))
    assert first == again
    other = style.svg(quality.confusion(np.array([[3, 1], [2, 4]]), ('id="p" url(#q)$5$', "no")))
    ids = [re.findall(r'\bid="([^"]+)"', drawing) for drawing in (first, re.sub(r">[^<]*<", "><", other))]
    assert len(ids[0]) == len(set(ids[0])) > 10
    assert not set(ids[0]) & set(ids[1])
    for drawing, known in zip((first, re.sub(r">[^<]*<", "><", other)), ids, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", drawing) + re.findall(r'href="#([^"]+)"', drawing)) <= set(known)
    assert "<style" not in first and "dc:date" not in first
    assert set(re.findall(r"font-family: ([^;]+);", first)) == {style.FONTS}
    assert "<text" in first and "easy to learn" in words_of(maps.data_map(table))
    ElementTree.fromstring(other)
    assert 'id="p" url(#q)$5$' in words_of(quality.confusion(np.eye(2, dtype=int), ('id="p" url(#q)$5$', "no")))


def test_drawing_leaves_the_settings_of_the_caller(table: pl.DataFrame) -> None:
    before = dict(matplotlib.rcParams)
    style.svg(maps.data_map(table))
    assert dict(matplotlib.rcParams) == before


def test_save_writes_each_format_whole_or_not_at_all(
    table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = maps.data_map(table)
    for name, magic in (("a.png", b"\x89PNG"), ("b.svg", b"<?xml"), ("c.pdf", b"%PDF"), ("d.PNG", b"\x89PNG")):
        assert style.save(figure, tmp_path / name).read_bytes().startswith(magic)
    ElementTree.parse(tmp_path / "b.svg")
    with pytest.raises(InputError, match=r"Did you mean `png`\?"):
        style.save(figure, tmp_path / "a.pngg")
    with pytest.raises(InputError, match="does not exist"):
        style.save(figure, tmp_path / "nowhere" / "a.png")

    def fails(self: Figure, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fails)
    whole = (tmp_path / "a.png").read_bytes()
    with pytest.raises(OSError):
        style.save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.svg", "c.pdf", "d.PNG"]


# --- data map --------------------------------------------------------------------------------------------------------


def scatter_of(figure: Figure) -> PathCollection:
    main = figure.axes[0]
    return next(c for c in main.collections if isinstance(c, PathCollection))


def test_map_draws_every_example_once_in_the_colour_of_its_level(table: pl.DataFrame) -> None:
    points = scatter_of(maps.data_map(table))
    drawn = {
        (round(x, 12), round(y, 12), matplotlib.colors.to_hex(c))
        for (x, y), c in zip(np.asarray(points.get_offsets()), points.get_facecolor(), strict=True)
    }
    key = maps.colour_key(table, "correctness")
    assert [word for word, _ in key.levels] == ["0", "0.25", "0.5", "0.75", "1"]
    colour = {float(word): shade for word, shade in key.levels}
    rows = table.select("variability", "confidence", "correctness").iter_rows()
    assert drawn == {(round(x, 12), round(y, 12), colour[c]) for x, y, c in rows}


def test_map_says_what_its_ends_mean_and_how_many(table: pl.DataFrame) -> None:
    broken = table.with_columns(
        pl.when(pl.col("id") == "x3").then(None).otherwise(pl.col("confidence")).alias("confidence")
    )
    words = words_of(maps.data_map(broken, title="Mine $x$ <b>"))
    for phrase in (
        "hard to learn",
        "easy to learn",
        "ambiguous",
        "n = 399",
        "1 without a value left out",
        "Mine $x$ <b>",
    ):
        assert phrase in words
    counts = dict(table["region"].value_counts().iter_rows())
    assert f"ambiguous {counts['ambiguous']:,} (33 %)" in words


def test_region_names_stay_inside_and_off_each_other(table: pl.DataFrame) -> None:
    for x, y in (("variability", "confidence"), ("aum", "entropy"), ("confidence", "el2n")):
        figure = maps.data_map(table, x=x, y=y)
        figure.draw_without_rendering()
        frame = figure.axes[0].get_window_extent()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert len(boxes) == 3
        assert all(frame.x0 <= b.x0 and b.x1 <= figure.bbox.x1 and frame.y0 <= b.y0 for b in boxes)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_region_boxes_hold_the_middle_of_each_region() -> None:
    x, y = np.arange(201.0), np.arange(201.0) / 2
    region = np.array(["easy"] * 101 + ["none"] * 100)
    assert maps.region_boxes(x, y, region) == {"easy": maps.Box(1.0, 99.0, 0.5, 49.5, 101)}


def test_large_map_counts_every_example_in_a_hexagon(table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    many = pl.concat([table] * 3)
    monkeypatch.setattr(maps, "POINTS", 1000)
    figure = maps.data_map(many, color="region")
    hexagons = scatter_of(figure)
    area = np.asarray(hexagons.get_sizes())
    assert len(hexagons.get_offsets()) < len(many)
    largest = int(re.search(r"largest ([\d,]+)", words_of(figure)).group(1).replace(",", ""))  # type: ignore[union-attr]
    count = (area / area.max()) ** 2 * largest
    assert count.sum() == pytest.approx(len(many)) and np.allclose(count, np.round(count))
    colours = {matplotlib.colors.to_hex(c) for c in hexagons.get_facecolor()}
    assert colours <= set(style.REGION_COLOURS.values())


def test_map_of_a_regression_and_of_a_single_epoch(table: pl.DataFrame) -> None:
    regression = table.select(
        "id", pl.Series("label", [f"{k / 7:.3f}" for k in range(len(table))]), "loss_std", "region",
        minus_mean_loss=-pl.col("action_mean"),
    )  # fmt: skip
    assert "easy to learn" in words_of(maps.data_map(regression, "loss_std", "minus_mean_loss", "label"))
    assert maps.colour_key(regression, "label").levels == ()
    flat = table.with_columns(variability=0.0, confidence=0.5)
    maps.data_map(flat).draw_without_rendering()


def test_columns_that_cannot_be_drawn_are_named(table: pl.DataFrame) -> None:
    with pytest.raises(InputError, match=r"no column `confidense` to draw. Did you mean `confidence`\?"):
        maps.data_map(table, y="confidense")
    with pytest.raises(InputError, match="Did you mean `correctness`"):
        maps.data_map(table, color="corectness")
    with pytest.raises(InputError, match="`region` is not a number"):
        maps.data_map(table, x="region")
    with pytest.raises(InputError, match="no example has a finite"):
        maps.data_map(table.with_columns(aum=float("nan")), x="aum")


def test_colour_key_knows_levels_scales_and_what_is_missing() -> None:
    frame = pl.DataFrame({"forgetting": [0.0, 1.0, float("inf"), float("nan")], "aum": [0.0, 1.0, 2.0, 3.0]})
    key = maps.colour_key(frame, "forgetting")
    assert [word for word, _ in key.levels] == ["0", "1", "never"]
    assert matplotlib.colors.to_hex(key.colours()[3]) == style.OTHER
    wide = pl.DataFrame({"aum": np.arange(101.0)})
    assert maps.colour_key(wide, "aum").limits == (1.0, 99.0)
    labels = pl.DataFrame({"label": ["10", "2", "9", "2"]})
    assert [word for word, _ in maps.colour_key(labels, "label", ("2", "9", "10")).levels] == ["2", "9", "10"]


# --- interactive map -------------------------------------------------------------------------------------------------


def payload(page: str) -> dict[str, Any]:
    """What the page's script reads, with its arrays decoded."""
    found = re.search(r'<script type="application/json" id="map">(.*?)</script>', page, flags=re.DOTALL)
    assert found
    data = json.loads(found.group(1))
    for part in (data["x"], data["y"], *data["columns"]):
        part["values"] = np.frombuffer(base64.b64decode(part["data"]["base64"]), "<" + part["data"]["dtype"])
    return data


def test_interactive_map_carries_the_table(table: pl.DataFrame) -> None:
    texts = [f"text of {name}" for name in table["id"]]
    page = payload(interactive.interactive_map(table, texts, ("a", "b", "c"), scores={"aum": "my own words"}))
    assert sorted(page["ids"]) == sorted(table["id"]) and page["ids"] != table["id"].to_list()
    assert page["texts"] == [f"text of {name}" for name in page["ids"]]
    order = [table["id"].to_list().index(name) for name in page["ids"]]
    np.testing.assert_array_equal(page["x"]["values"], table["variability"].to_numpy()[order].astype(np.float32))
    columns = {column["name"]: column for column in page["columns"]}
    assert list(columns) == ["label", "region", *(c for c in table.columns if c not in ("id", "label", "region"))]
    np.testing.assert_array_equal(columns["aum"]["values"], table["aum"].to_numpy()[order].astype(np.float32))
    assert columns["aum"]["says"] == "my own words" and columns["el2n"]["says"] == scores.SCORES["el2n"].says
    for name in ("label", "region"):
        words = [columns[name]["levels"][code]["word"] for code in columns[name]["values"]]
        assert words == table[name][order].to_list()
        assert {level["word"]: level["n"] for level in columns[name]["levels"]} == dict(
            table[name].value_counts().iter_rows()
        )
    assert {box["words"].rsplit(" ", 3)[0] for box in page["boxes"]} == {"easy to learn", "ambiguous", "hard to learn"}


def test_hostile_texts_stay_texts(table: pl.DataFrame) -> None:
    few = table.head(len(HOSTILE)).with_columns(id=pl.Series([f"</script>{k}" for k in range(len(HOSTILE))]))
    few = few.with_columns(label=pl.lit("<i>a</i>"))
    page = interactive.interactive_map(few, HOSTILE, ("<i>a</i>",), title="<script>alert(1)</script> {{data}}")
    assert page.count("</script>") == page.count("<script") == 3  # data, plotly, ours
    body = re.search(r'id="map">(.*?)</script>', page, flags=re.DOTALL).group(1)  # type: ignore[union-attr]
    assert "<" not in body
    assert f"<h1>{html.escape('<script>alert(1)</script> {{data}}')}</h1>" in page
    data = payload(page)
    shown = dict(zip(data["ids"], data["texts"], strict=True))
    assert shown["</script>0"] == HOSTILE[0] and shown["</script>3"] == HOSTILE[3].strip()
    assert shown["</script>2"] == "{{plotly}} {{data}} \\u003c line break tab"
    page.encode("utf-8")


def test_interactive_map_refuses_texts_that_do_not_fit(table: pl.DataFrame) -> None:
    with pytest.raises(InputError, match="3 texts for 400 rows"):
        interactive.interactive_map(table, ["a", "b", "c"], ())
    with pytest.raises(InputError, match="Did you mean `confidence`"):
        interactive.interactive_map(table, ["a"] * 400, (), y="confidenc")


def test_interactive_map_drops_what_has_no_place_and_cuts_long_texts(table: pl.DataFrame) -> None:
    holes = table.with_columns(
        confidence=pl.when(pl.col("id") == "x7").then(float("nan")).otherwise(pl.col("confidence"))
    )
    data = payload(interactive.interactive_map(holes, ["word " * 100] * 400, ()))
    assert "x7" not in data["ids"] and data["note"] == "n = 399 · 1 without a value left out"
    assert {len(text) for text in data["texts"]} == {interactive.LENGTH}


def test_interactive_map_grows_by_its_arrays(table: pl.DataFrame) -> None:
    def size(frame: pl.DataFrame) -> int:
        return len(interactive.interactive_map(frame, ["t" * 100] * len(frame), ()).encode())

    columns = len(table.columns) - 1 + 2  # the menu, and x and y once more
    per_example = (size(pl.concat([table] * 5)) - size(table)) / (4 * len(table))
    assert per_example < 5.4 * columns + 100 + 12


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 1,000 examples are many."""
    for module, name, value in [
        (interactive, "DENSE", 1000), (maps, "DENSE", 1000), (maps, "POINTS", 500),
        (interactive, "HARDEST", 30), (interactive, "MOST_AMBIGUOUS", 20), (interactive, "AT_RANDOM", 40),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(("y", "hardest"), [("confidence", "lowest"), ("action", "highest")])
def test_of_many_examples_the_map_shows_the_density_and_a_choice(dense: None, y: str, hardest: str) -> None:
    table = simulated(2000)
    table = table.with_columns(pl.when(pl.col("id") == table["id"][3]).then(None).otherwise(pl.col(y)).alias(y))
    page = payload(interactive.interactive_map(table, pl.Series(table["id"]), ("a", "b", "c"), y=y))
    shown, known = set(page["ids"]), table.filter(pl.col(y).is_not_null())
    ends = known.sort(y, descending=hardest == "highest")["id"].head(30), known.sort("variability")["id"].tail(20)
    assert shown >= {*ends[0], *ends[1]} and 50 < len(shown) <= 90 and len(page["ids"]) == len(shown)
    assert page["note"].startswith("n = 1,999 · 1 without a value left out · points: the 30 of " + hardest)
    cells = np.frombuffer(base64.b64decode(page["density"]["data"]["base64"]), "<f4").reshape(
        -1, page["density"]["across"]
    )
    assert np.nansum(10.0**cells) == pytest.approx(1999, rel=1e-4) and page["density"]["most"] == np.nanmax(cells)
    middle = known[y].arg_sort()[1000]
    row, column = (
        (known[axis][middle] - page["density"][f"{at}0"]) / page["density"][f"d{at}"]
        for axis, at in ((y, "y"), ("variability", "x"))
    )
    assert np.isfinite(cells[round(row), round(column)])
    levels = next(column for column in page["columns"] if column["name"] == "label")["levels"]
    assert sum(level["n"] for level in levels) == 1999  # of all examples, not of the points


def test_few_examples_have_no_density(table: pl.DataFrame) -> None:
    assert payload(interactive.interactive_map(table, table["id"].to_list(), ()))["density"] is None


def test_hexagons_of_many_examples_say_that_areas_are_logarithms(dense: None) -> None:
    figure = maps.data_map(simulated(2000))
    title = next(axes.get_title(loc="left") for axes in figure.axes if "n = " in axes.get_title(loc="left"))
    assert "logarithm of the number" in title and "median correctness" in title
    sizes = max((c.get_sizes() for axes in figure.axes for c in axes.collections if hasattr(c, "get_sizes")), key=len)
    largest = int(re.search(r"largest ([\d,]+)", title).group(1).replace(",", ""))  # type: ignore[union-attr]
    assert sizes.max() == pytest.approx(56) and sizes.min() == pytest.approx(56 * np.log(2) / np.log1p(largest))


# --- the map in a browser --------------------------------------------------------------------------------------------

BROWSER = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()


@pytest.fixture
def browser_page(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (looked for chromium, chromium-browser, google-chrome)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `test`)")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        try:
            yield browser.new_page(viewport={"width": 1100, "height": 900})
        finally:
            browser.close()


def test_map_in_a_browser(browser_page: Any, tmp_path: Path) -> None:
    table = simulated(2000)
    texts = [HOSTILE[k % len(HOSTILE)] for k in range(len(table))]
    path = tmp_path / "map.html"
    path.write_text(interactive.interactive_map(table, texts, ("a", "b", "c"), title="Two thousand"), encoding="utf-8")
    page, problems, fetched = browser_page, [], []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: fetched.append(asked.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn]")
    hovering_shows_the_text_as_text(page)
    the_colour_menu_repaints(page, table)
    boxes_come_and_go(page)
    a_box_selection_lists_its_rows(page, table)
    a_tap_on_a_phone_shows_the_text(page.context.browser, path)
    assert page.evaluate("window.hacked") is None
    assert problems == []
    assert [url for url in fetched if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_map_of_many_in_a_browser(browser_page: Any, tmp_path: Path, dense: None) -> None:
    table, path = simulated(2000), tmp_path / "map.html"
    path.write_text(interactive.interactive_map(table, table["id"], ("a", "b", "c")), encoding="utf-8")
    page, problems = browser_page, []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn]")
    drawn = page.evaluate("() => document.getElementById('plot').data.map((t) => [t.type, t.x?.length ?? t.z.length])")
    assert drawn[0][0] == "scattergl" and drawn[1] == ["heatmap", interactive.CELLS[1]]
    assert page.locator(".heatmaplayer image").count() == 1 and "examples" in page.locator(".infolayer").text_content()
    page.select_option("#colour", "label")
    assert page.evaluate("() => new Set(document.getElementById('plot').data[0].marker.color).size") == 3
    assert problems == []


AT_THE_RIGHT = """() => {
  const plot = document.getElementById("plot"), { x, y } = plot.data[0], { xaxis, yaxis } = plot._fullLayout;
  const i = x.indexOf(Math.max(...x)), area = plot.querySelector(".nsewdrag").getBoundingClientRect();
  return [i, area.left + xaxis.d2p(x[i]), area.top + yaxis.d2p(y[i])];
}"""


def hovering_shows_the_text_as_text(page: Any) -> None:
    """Over the example of highest variability, which lies free at the edge of the cloud."""
    i, x, y = page.evaluate(AT_THE_RIGHT)
    data = json.loads(page.locator("#map").text_content())
    page.mouse.move(x, y)
    page.wait_for_function(
        "(id) => document.querySelector('#tip:not([hidden]) dd')?.textContent === id", arg=data["ids"][i]
    )
    assert page.locator("#tip p").text_content() == data["texts"][i]
    assert page.locator("#tip b, #tip script, #tip img").count() == 0


def the_colour_menu_repaints(page: Any, table: pl.DataFrame) -> None:
    names = page.locator("#colour option").all_text_contents()
    assert set(names) == set(table.columns) - {"id"}
    colours = "() => [...new Set(document.getElementById('plot').data[0].marker.color)].sort()"
    page.select_option("#colour", "region")
    present = {style.REGION_COLOURS[name] for name in table["region"].unique()}
    assert page.evaluate(colours) == sorted(present)
    n = dict(table["region"].value_counts().iter_rows())["hard"]
    assert f"hard ({n:,})" in page.locator("#legend").text_content()
    page.select_option("#colour", "aum")
    assert len(page.evaluate(colours)) > 50
    assert page.locator("#says").text_content() == scores.SCORES["aum"].says


def boxes_come_and_go(page: Any) -> None:
    drawn = "() => document.getElementById('plot').layout.shapes.length"
    assert page.evaluate(drawn) == 3
    page.uncheck("#boxes")
    assert page.evaluate(drawn) == 0
    page.check("#boxes")


def a_box_selection_lists_its_rows(page: Any, table: pl.DataFrame) -> None:
    area = page.locator("#plot .nsewdrag").bounding_box()
    page.mouse.move(area["x"] + 2, area["y"] + area["height"] * 0.7)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] - 2, area["y"] + area["height"] - 2, steps=4)
    page.mouse.up()
    page.locator("#rows").wait_for(state="visible")
    lowest, highest = page.evaluate("() => document.getElementById('plot')._fullLayout.yaxis.range")
    at = lowest + 0.3 * (highest - lowest)
    expected = table.filter(pl.col("confidence") < at).sort("confidence")["id"].to_list()
    assert page.locator("#chosen").text_content().startswith(f"{len(expected):,} selected")
    listed = page.locator("#rows tbody tr td:first-child").all_text_contents()
    assert listed == expected[: len(listed)] and len(listed) == min(200, len(expected)) > 10
    assert page.locator("#rows tbody b, #rows tbody script, #rows tbody img").count() == 0


def a_tap_on_a_phone_shows_the_text(browser: Any, path: Path) -> None:
    phone = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page = phone.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    i, x, y = page.evaluate(AT_THE_RIGHT)
    page.touchscreen.tap(x, y)
    page.locator("#tip").wait_for(state="visible")
    assert page.locator("#tip p").text_content() == json.loads(page.locator("#map").text_content())["texts"][i]
    phone.close()


@pytest.mark.long
def test_the_measurement_of_the_map_at_toy_size(tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (looked for chromium, chromium-browser, google-chrome)")
    script = Path(__file__).parents[1] / "bench" / "map_100k.py"
    command = [sys.executable, str(script), "--n", "300", "--repeats", "1", "--out", str(tmp_path / "toy.json")]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "toy.json").read_text())
    assert result["n"] == 300 and len(result["ours"]["colour"]) == result["columns"]
    assert {"first_draw", "zoom", "pan", "hover", "pan_script"} <= set(result["ours"]) & set(result["plain"])
    assert 0 < result["ours"]["selected"][0] < 300


# --- learning --------------------------------------------------------------------------------------------------------


def event(epoch: int, train_loss: float, right: float, **validation: float) -> dict[str, Any]:
    told = {"event": "epoch", "epoch": epoch, "train": {"loss": train_loss, "accuracy": right}, "seconds": 1.0}
    return told | ({"validation": validation} if validation else {})


def lines(figure: Figure, panel: int = 0) -> dict[str, list[float]]:
    return {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in figure.axes[panel].lines}


def test_curves_draw_what_the_events_say() -> None:
    events = [
        event(1, 0.7, 0.5, loss=0.6, accuracy=0.55, macro_f1=0.4),
        event(2, 0.4, 0.8),
        event(3, 0.2, 0.9, loss=0.5),
    ]
    figure = learning.curves(events)
    loss, accuracy = lines(figure, 0), lines(figure, 1)
    assert loss["training"] == [0.7, 0.4, 0.2]
    np.testing.assert_array_equal(loss["validation"], [0.6, np.nan, 0.5])
    np.testing.assert_array_equal(accuracy["validation macro F1"], [0.4, np.nan, np.nan])
    assert list(lines(learning.curves([event(1, 0.7, 0.5)]))) == ["training"]


def test_curves_of_a_regression_and_of_nothing() -> None:
    events = [{"epoch": e, "train": {"loss": 1 / e}, "validation": {"loss": 2 / e, "rmse": 3 / e}} for e in (1, 2)]
    figure = learning.curves(events)
    assert lines(figure, 1) == {"validation": [3.0, 1.5]} and "RMSE" in words_of(figure)
    assert len(learning.curves([{"epoch": 1, "train": {"loss": 1.0}}]).axes) == 1
    with pytest.raises(InputError, match="no epoch event"):
        learning.curves([])


def test_region_accuracy_leaves_undefined_rows_out_and_bands_are_wilson() -> None:
    correct = np.array([[1, 0, -1, 1, 0], [1, 1, 0, 1, 0]], dtype=np.int8)  # (E, N)
    category = np.array(["easy", "easy", "easy", "hard", "hard"])
    figure = learning.region_accuracy(correct, category)
    drawn = lines(figure)
    assert drawn == {"easy to learn (n = 3)": [0.5, 2 / 3], "hard to learn (n = 2)": [0.5, 0.5]}
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    low, high = evaluate.wilson([1, 2], [2, 3])
    assert {round(y, 9) for y in band[:, 1]} == {round(float(v), 9) for v in (*low, *high)}


def test_spark_places_probabilities_between_floor_and_ceiling() -> None:
    root = ElementTree.fromstring(learning.spark(np.array([0.0, 1.0, np.nan, 0.25])))
    height = float(root.attrib["height"])
    y = [float(dot.attrib["cy"]) for dot in root.iter("circle")]
    assert y[0] == height - 2 and y[1] == 2 and 2 < y[2] < y[0]
    assert root.findall("path")[1].attrib["d"].count("M") == 2  # the missing epoch is a gap
    assert "0.00, 1.00, not recorded, 0.25" in root.attrib["aria-label"]
    ElementTree.fromstring(learning.spark(np.array([0.5])))


# --- distributions ---------------------------------------------------------------------------------------------------


def bars(axes: Any) -> float:
    return sum(patch.get_height() for patch in axes.patches)


def test_every_finite_value_is_in_a_bar(table: pl.DataFrame) -> None:
    names = ["confidence", "forgetting", "correctness", "aum"]
    frame = table.with_columns(aum=pl.when(pl.col("id") == "x1").then(float("nan")).otherwise(pl.col("aum")))
    figure = shapes.distributions(frame, names)
    never = int(np.isinf(frame["forgetting"].to_numpy()).sum())
    assert never > 0
    assert [bars(axes) for axes in figure.axes[:4]] == [400, 400 - never, 400, 399]
    words = words_of(figure)
    assert f"forgetting ({never} infinite)" in words and "1 undefined" in words
    assert f"ambiguous ({(table['region'] == 'ambiguous').sum()})" in words


@pytest.mark.parametrize("by", ["region", "label", None])
def test_distributions_stack_or_not(table: pl.DataFrame, by: str | None) -> None:
    figure = shapes.distributions(table, ["confidence"], by)
    assert bars(figure.axes[0]) == len(table)
    colours = {matplotlib.colors.to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches}
    assert len(colours) == (1 if by is None else table[by].n_unique())


def test_distributions_of_many_classes_and_wrong_names(table: pl.DataFrame) -> None:
    many = table.with_columns(label=pl.Series([f"class {k % 20}" for k in range(len(table))]))
    figure = shapes.distributions(many, ["aum"], "label")
    assert "14 other (280)" in words_of(figure) and bars(figure.axes[0]) == 400
    with pytest.raises(InputError, match="Did you mean `aum`"):
        shapes.distributions(table, ["aumm"])
    with pytest.raises(InputError, match="Did you mean `region`"):
        shapes.distributions(table, ["aum"], "regio")
    with pytest.raises(InputError, match="no scores"):
        shapes.distributions(table, [])


# --- quality ---------------------------------------------------------------------------------------------------------


def test_confusion_shows_counts_and_shares_of_rows() -> None:
    figure = quality.confusion(np.array([[1234, 66], [0, 50]]), ("dry", "wet"))
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(0, 0): "1,234\n95 %", (1, 0): "66\n5 %", (1, 1): "50\n100 %"}  # nothing is written for 0
    assert "dry (1,300)" in words_of(figure) and "n = 1,350" in words_of(figure)
    with pytest.raises(InputError, match="does not fit 3 classes"):
        quality.confusion(np.eye(2), ("a", "b", "c"))


def test_confusion_of_many_classes_keeps_the_most_confused() -> None:
    matrix = np.diag(np.full(30, 100))
    wrong = [3, 8, 29, *range(10, 27)]  # 20 classes make mistakes
    for i, j in zip(wrong, wrong[1:] + wrong[:1], strict=True):
        matrix[i, j] = 7
    figure = quality.confusion(matrix, [f"class-{k}" for k in range(30)])
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == [f"class-{k} (107)" for k in sorted(wrong)]
    assert "20 most confused of 30 classes" in words_of(figure) and "n = 3,140" in words_of(figure)


def test_reliability_agrees_with_the_calibration_error() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.5, 1, 500)
    correct = (rng.random(500) < confidence**2).astype(int)
    figure = quality.reliability(evaluate.reliability(confidence, correct))
    error, _ = evaluate.calibration_error(confidence, correct)
    assert f"ECE {error:.3f} (15 bins), n = 500" in words_of(figure)
    lower = figure.axes[1]
    assert bars(lower) == 500
    assert sum(int(text.get_text().replace(",", "")) for text in lower.texts) == 500
    with pytest.raises(InputError, match="no predictions"):
        quality.reliability(evaluate.reliability(confidence, correct).head(0))


# --- real data -------------------------------------------------------------------------------------------------------


def test_map_of_real_dynamics(data_dir: Path) -> None:
    """roberta-base on sarcasm, the first 4 epochs: the counts are those of the published categories."""
    logits, gold = [], {}
    for epoch in range(4):
        path = data_dir / "sarcasm" / "roberta_base_dynamics" / f"dynamics_epoch_{epoch}.jsonl"
        rows = {int(row["guid"]): row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        logits.append([rows[i][f"logits_epoch_{epoch}"] for i in sorted(rows)])
        gold = {i: rows[i]["gold"] for i in sorted(rows)}
    record = signals.from_logits([str(i) for i in gold], np.array(logits), np.array(list(gold.values())), ("0", "1"))
    columns, _ = scores.compute(record, ["confidence", "variability", "correctness"])
    region = scores.regions.by_proportion(columns["confidence"], columns["variability"], 0.33).category
    label = [str(k) for k in gold.values()]
    table = pl.DataFrame({"id": record.ids, "label": label, **columns, "region": region.tolist()})
    words = words_of(maps.data_map(table))
    for phrase in ("n = 3,467", "easy to learn 1,144 (33 %)", "ambiguous 1,144 (33 %)", "hard to learn 201 (6 %)"):
        assert phrase in words


def test_no_figure_needs_pyplot() -> None:
    assert all("pyplot" not in Path(str(m.__file__)).read_text() for m in (style, maps, shapes, learning, quality))
    assert "leadline.figures.style" in sys.modules
