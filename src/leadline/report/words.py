"""How numbers, durations and other people's texts are written for a reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# What a browser or a terminal would act on instead of showing: C0 and C1 controls, DEL, unpaired surrogates.
UNSHOWN = dict.fromkeys([*range(0x20), 0x7F, *range(0x80, 0xA0), *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}")
UNSHOWN |= {ord(space): " " for space in "\t\n\r\f\v\x85"}


def number(value: float | None) -> str:
    """Three decimals, fewer for large numbers, never a rounded-off integer part: 0.607, 12.35, 1,204, 4.2e-05."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int):
        return count(value)
    size = abs(value)
    if 0 < size < 0.001:
        return ("−" if value < 0 else "") + f"{size:.2g}"
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{value:,.{decimals}f}".replace("-", "−")


def count(n: int | float) -> str:
    """1,204"""
    return f"{int(n):,}"


def share(part: float, whole: float) -> str:
    """ "33 %", "0.4 %"; a dash where there is no whole."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.1f} %" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.0f} %"


def estimate(figure: Mapping[str, Any]) -> str:
    """ "0.607 (0.581 to 0.633)"; the value alone where nobody computed an interval."""
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return number(figure.get("value"))
    return f"{number(figure.get('value'))} ({number(low)} to {number(high)})"


def duration(seconds: float) -> str:
    """ "0.84 s", "25 s", "2 min 5 s", "3 h 20 min"."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def listing(words: Sequence[str], show: int = 6) -> str:
    """ "a, b and c"; with more than `show` words "a, b, c and 97 more"."""
    if len(words) > show:
        return f"{', '.join(words[: show - 1])} and {count(len(words) - show + 1)} more"
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def plural(n: int, one: str, many: str | None = None) -> str:
    """ "1 example", "3,467 examples"."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def excerpt(text: Any, length: int = 300) -> str:
    """The beginning of somebody's text on one line, without characters that act instead of showing."""
    whole = "" if text is None else str(text)
    start = " ".join(whole[: 4 * length].translate(UNSHOWN).split())
    if len(start) <= length and len(whole) <= 4 * length:
        return start
    return f"{start[:length].rstrip()}… ({count(len(whole))} characters)"


def plain(value: Any) -> str:
    """A value of a recipe: null is "none", true is "yes", lists and mappings on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain(inner) for inner in value) or "none"
    return excerpt(value)
