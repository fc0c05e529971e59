"""The data map as one HTML file that needs nothing else: hover, colour by any score, select, list.

The page is map.html and map.js beside this file. Numbers travel as base64 of typed arrays (a float32 is 5.3
characters; as JSON text it is about 20 and must be parsed one by one), texts as JSON in which no `<` is left, so that
no text can end the script it stands in.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from plotly.offline import get_plotlyjs

from leadline.errors import InputError
from leadline.figures import style
from leadline.figures.data_map import DENSE, HIGHER_IS, Box, Key, axis_values, axis_words, colour_key, region_boxes
from leadline.scores import SCORES

HARDEST = MOST_AMBIGUOUS = 5_000  # points of a map of more than DENSE examples, beside its density
AT_RANDOM = 10_000
CELLS = (160, 110)  # of the density, across and up
LENGTH = 140  # characters of a text that hover and table show
SAYS = {
    "label": "the answer that it was trained on",
    "region": "where it lies on the map: easy, ambiguous or hard to learn",
}
HERE = Path(__file__).parent


def interactive_map(
    table: pl.DataFrame,
    texts: Sequence[str] | pl.Series,
    classes: Sequence[str] = (),
    x: str = "variability",
    y: str = "confidence",
    title: str = "",
    scores: Mapping[str, str] | None = None,
    color: str | None = None,
) -> str:
    """The page as a string of HTML, coloured at first by `color` (default: correctness).

    `table` as `Run.scores()` gives it, `texts` (N,) beside it; `classes` gives the order of the labels (empty for a
    regression); `scores` a line of explanation per column (default: what SCORES says). The colour menu holds every
    column but the id. Size: 4.8 MB for plotly.js, and per example about 5.4 bytes for each column of many values,
    1.4 for each of few, and its text. Of more than 100,000 examples the page shows the density, and as points that can
    be read and selected the hardest, the most ambiguous and a random few thousand.
    Raises InputError for a column that is missing or no number on an axis, and for texts of another number.
    """
    if len(texts) != table.height:
        raise InputError(f"{len(texts)} texts for {table.height} rows of scores: give one text per row")
    says = SAYS | {name: score.says for name, score in SCORES.items()} | dict(scores or {})
    across, up = axis_values(table, x), axis_values(table, y)
    placed = np.isfinite(across) & np.isfinite(up)
    if not placed.any():
        raise InputError(f"no example has a finite `{x}` and a finite `{y}`; choose other columns for the map")
    n, dense = int(placed.sum()), int(placed.sum()) > DENSE
    kept, chosen = _choice(across, up, placed, x, y) if dense else (placed, "")
    # in random order no class lies on top of another because of its row
    rows = np.random.default_rng(0).permutation(np.flatnonzero(kept))
    boxes = region_boxes(across, up, table["region"].cast(pl.String).to_numpy()) if "region" in table.columns else {}
    left_out = int((~placed).sum())
    page = {
        "x": _axis(x, across[rows]),
        "y": _axis(y, up[rows]),
        "ids": [_clean(str(table["id"][int(i)])) for i in rows],
        "texts": [_cut(texts[int(i)]) for i in rows],
        "columns": [_column(table, name, classes, rows, placed, says.get(name, "")) for name in _menu(table)],
        "colour": color or next(name for name in ("correctness", "region", *_menu(table)) if name in table.columns),
        "boxes": [_box(name, box, across[placed], n) for name, box in boxes.items()],
        "density": _density(across[placed], up[placed]) if dense else None,
        "shades": [_css(style.SEQUENCE(k / 63)) for k in range(64)],
        "other": style.OTHER,
        "note": f"n = {n:,}" + (f" · {left_out:,} without a value left out" if left_out else "") + chosen,
    }
    return _fill(
        (HERE / "map.html").read_text(encoding="utf-8"),
        title=html.escape(_clean(title or "Data map")),
        data=_json(page),
        plotly=get_plotlyjs(),
        script=(HERE / "map.js").read_text(encoding="utf-8"),
    )


def _menu(table: pl.DataFrame) -> list[str]:
    """The columns a map can be coloured by: label and region first."""
    first = [name for name in ("label", "region") if name in table.columns]
    return first + [name for name in table.columns if name not in {"id", *first}]


def _axis(name: str, values: np.ndarray) -> dict[str, Any]:
    return {"name": name, "words": axis_words(name), "data": _array(values.astype(np.float32), "f4")}


def _choice(across: np.ndarray, up: np.ndarray, placed: np.ndarray, x: str, y: str) -> tuple[np.ndarray, str]:
    """(N,) which of many examples are points, and how they were chosen."""
    there = np.flatnonzero(placed)
    highest = HIGHER_IS.get(y) == "harder"
    hardness = up[there] if highest else -up[there]
    kept = np.zeros(len(placed), dtype=bool)
    kept[there[np.argpartition(-hardness, HARDEST)[:HARDEST]]] = True
    kept[there[np.argpartition(-across[there], MOST_AMBIGUOUS)[:MOST_AMBIGUOUS]]] = True
    kept[np.random.default_rng(0).choice(there, AT_RANDOM, replace=False)] = True
    ends = f"the {HARDEST:,} of {'highest' if highest else 'lowest'} {y}, the {MOST_AMBIGUOUS:,} of highest {x}"
    return kept, f" · points: {ends} and {AT_RANDOM:,} at random · grey: where all examples lie"


def _density(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """How many examples lie in each cell: float32 log10 of the count, row by row from below; NaN where none does."""
    count, left, low = np.histogram2d(x, y, bins=CELLS)  # (across, up)
    with np.errstate(divide="ignore"):
        shade = np.where(count > 0, np.log10(count), np.nan).T
    data = _array(shade.astype(np.float32).ravel(), "f4")
    return {
        "x0": (left[0] + left[1]) / 2, "dx": left[1] - left[0], "y0": (low[0] + low[1]) / 2, "dy": low[1] - low[0],
        "across": CELLS[0], "most": float(np.log10(count.max())), "data": data,
    }  # fmt: skip


def _column(
    table: pl.DataFrame, name: str, classes: Sequence[str], rows: np.ndarray, placed: np.ndarray, says: str
) -> dict[str, Any]:
    key = colour_key(table, name, classes if name == "label" else ())
    value = key.value[rows]
    if not key.levels:
        return {"name": name, "says": says, "limits": key.limits, "data": _array(value.astype(np.float32), "f4")}
    kind = "u1" if len(key.levels) < 2**8 - 1 else "u2"
    codes = np.where(np.isnan(value), np.iinfo(kind).max, value).astype(kind)
    return {"name": name, "says": says, "levels": _levels(key, key.value[placed]), "data": _array(codes, kind)}


def _levels(key: Key, value: np.ndarray) -> list[dict[str, Any]]:
    """`own` is false for the classes that share the grey colour."""
    counts = [int((value == k).sum()) for k in range(len(key.levels))]
    return [
        {"word": _clean(word), "colour": colour, "n": n, "own": colour != style.OTHER or key.name == "region"}
        for (word, colour), n in zip(key.levels, counts, strict=True)
    ]


def _array(values: np.ndarray, dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "base64": base64.b64encode(values.astype("<" + dtype).tobytes()).decode()}


def _box(name: str, box: Box, values: np.ndarray, n: int) -> dict[str, Any]:
    """The frame, and its name beside it: hard at the lower end, the rest at the upper; inside if there is no room."""
    low, high = values.min(), values.max()
    room = box.x1 < low + 0.6 * (high - low)
    lower = name == "hard"
    return {
        "words": f"{style.REGION_WORDS.get(name, name)} {box.n:,} ({100 * box.n / n:.0f} %)",
        "colour": style.REGION_COLOURS.get(name, style.INK),
        "x0": box.x0, "x1": box.x1, "y0": box.y0, "y1": box.y1,
        "at": {"x": box.x1, "xanchor": "left" if room else "right", "xshift": 4 if room else -4}
        | {"y": box.y0 if lower else box.y1, "yanchor": "bottom" if lower else "top"},
    }  # fmt: skip


def _cut(text: str) -> str:
    line = " ".join(_clean(str(text)).split())
    return line if len(line) <= LENGTH else line[: LENGTH - 1] + "…"


def _clean(text: str) -> str:
    """Half of a surrogate pair cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _css(rgba: Sequence[float]) -> str:
    return "#" + "".join(f"{round(part * 255):02x}" for part in rgba[:3])


def _json(value: Any) -> str:
    """JSON that stays inside its <script> element whatever the texts say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _fill(template: str, **parts: str) -> str:
    """All places in one pass: what was filled in is not read again for places."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place.group(1)], template)
