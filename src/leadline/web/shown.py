"""Other people's texts and our numbers, as a page shows them. Jinja escapes; nothing here is marked as safe."""

from __future__ import annotations

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
FOLD = 2000  # characters of a text that a card shows before it is unfolded

# Characters that a browser drops or acts on: control characters as the pictures that Unicode has for them; the two that
# force a direction on letters (U+202D, U+202E), so that a text reads as the model read it; unpaired surrogates.
PICTURES: dict[int, str] = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"}
PICTURES |= {0x7F: "\u2421"} | dict.fromkeys(
    [*range(0x80, 0xA0), 0x202D, 0x202E, *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}"
)
del PICTURES[0x0D]


def visible(text: str) -> str:
    """The text with control characters made visible; line ends become \\n."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(PICTURES)


def folded(text: str) -> tuple[str, int]:
    """(the beginning of a text, made visible; how many characters it has in all)."""
    return visible(text[:FOLD]), len(text)


# As in report/words.py, which would draw matplotlib in: a third of the time until the page answers.


def percent(value: float | None) -> str:
    """0.914 as "91 %"; a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value:.1f} %" if 0 < value < 0.01 or 0.99 < value < 1 else f"{100 * value:.0f} %"


def count(n: float) -> str:
    """1,204"""
    return f"{int(n):,}"


def number(value: float) -> str:
    """0.607"""
    return f"{value:.3f}".replace("-", "−")


def templates() -> Environment:
    """The pages. Everything that is filled in is escaped; a name that is missing is an error."""
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"count": count, "number": number, "percent": percent, "visible": visible}
    return pages
