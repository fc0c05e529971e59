"""Colours, sizes, and the two ways a figure leaves the house: as text inside a page, or as a file.

The colours keep apart for people with protanopia, deuteranopia and tritanopia, and they differ in lightness, so that
they also keep apart on a grey printer (tests/test_figures.py computes both).
"""

from __future__ import annotations

import functools
import hashlib
import html
import io
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from leadline.errors import InputError, nearest

P = ParamSpec("P")
T = TypeVar("T")

REGION_COLOURS = {"easy": "#3b82c4", "ambiguous": "#f0a830", "hard": "#5b0f3c", "none": "#d3d3d3"}
REGION_WORDS = {"easy": "easy to learn", "ambiguous": "ambiguous", "hard": "hard to learn", "none": "none of these"}
CLASS_COLOURS = ("#2b2171", "#7cc3e4", "#c95f70", "#117733", "#861f52", "#3fae9c")
OTHER = "#d3d3d3"
INK, FAINT, PAPER = "#222222", "#767676", "#ffffff"
SEQUENCE = ListedColormap(  # lightness rises all the way; without the yellow end, which white paper swallows
    matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, 256)), name="viridis to 0.88"
)
SHARES = "Blues"

FONTS = "'DejaVu Sans', Verdana, Arial, sans-serif"
RASTER_ABOVE = 1500  # a picture of more points than this carries them as pixels: an SVG of 20,000 circles is 2 MB

SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.titlesize": 11,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.6,
    "savefig.dpi": 160,
    "text.parse_math": False,  # a class may be called "$5 and $6"
    "svg.fonttype": "none",
    "svg.hashsalt": "leadline",
}
ONE_AT_A_TIME = threading.RLock()  # matplotlib's settings belong to the process


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Decorator: draws with our settings and leaves the caller's as they were, in a thread as well."""

    @functools.wraps(draw)
    def with_settings(*args: P.args, **kwargs: P.kwargs) -> T:
        with ONE_AT_A_TIME, matplotlib.rc_context(SETTINGS):
            return draw(*args, **kwargs)

    return with_settings


def blank(width: float, height: float, alt: str) -> Figure:
    """An empty figure of width x height inches; `alt` is what a screen reader says of it."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    figure.set_label(alt)
    return figure


def class_colours(names: Sequence[str], counts: Mapping[str, int] | None = None) -> dict[str, str]:
    """{class: colour}: the six most frequent classes (or the first six) have colours of their own, the rest is grey."""
    ranked = sorted(names, key=lambda name: -(counts or {}).get(name, 0))  # stable: ties stay in class order
    first = set(ranked[: len(CLASS_COLOURS)])
    colours = iter(CLASS_COLOURS)
    return {name: next(colours) if name in first else OTHER for name in names}


def region_order(names: Iterable[str]) -> list[str]:
    """Known regions in their usual order, then any other name."""
    present = list(dict.fromkeys(names))
    return [name for name in REGION_COLOURS if name in present] + [
        name for name in present if name not in REGION_COLOURS
    ]


def short(name: str, length: int = 24) -> str:
    """A name that fits beside an axis; cut in the middle, since names of one series differ at the end."""
    line = " ".join(str(name).split())
    end = (length - 1) // 3
    return line if len(line) <= length else f"{line[: length - 1 - end]}…{line[len(line) - end :]}"


@styled
def svg(figure: Figure) -> str:
    """The figure as an <svg> element for a page.

    Text stays text in a generic font stack. Ids carry a hash of the content, so several figures share a page, and the
    same figure gives the same bytes on every day.
    """
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawing = sink.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(
        r"<(metadata|style)\b.*?</\1>", "", drawing, flags=re.DOTALL
    )  # its style would rule the whole page
    prefix = "f" + hashlib.sha256(drawing.encode()).hexdigest()[:10] + "-"
    drawing = re.sub(r"<[^>]+>", lambda tag: _tag(tag.group(), prefix), drawing)
    alt = html.escape(str(figure.get_label()), quote=True)
    look = "max-width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt"
    return drawing.replace("<svg", f'<svg role="img" aria-label="{alt}" style="{look}"', 1).strip()


def _tag(tag: str, prefix: str) -> str:
    """One tag with ids of its own and our fonts. Only tags: a class may be called `id="1"`."""
    tag = re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, tag)
    return re.sub(r'(\bid="|url\(#|href="#)', lambda place: place.group(1) + prefix, tag)


@styled
def save(figure: Figure, path: str | Path) -> Path:
    """The figure as .png, .svg or .pdf, by the suffix; whole or not at all."""
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"png", "svg", "pdf"}:
        wrong = path.suffix or "no suffix"
        raise InputError(f"{path}: cannot draw {wrong}.{nearest(kind, ['png', 'svg', 'pdf'])} Known: .png, .svg, .pdf")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the directory {path.parent} does not exist; create it first")
    partial = path.with_name(path.name + ".partial")
    try:
        if kind == "svg":
            partial.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + svg(figure) + "\n", encoding="utf-8")
        else:
            figure.savefig(partial, format=kind, metadata={"CreationDate": None} if kind == "pdf" else None)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def swatch(colour: str) -> Patch:
    """A colour for a legend."""
    return Patch(facecolor=colour, linewidth=0)
