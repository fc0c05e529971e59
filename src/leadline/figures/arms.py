"""Pictures of an ablation: one metric of every arm, accuracy over the epochs, what each arm was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leadline.errors import InputError
from leadline.figures import style

BAR, MIXED, BASE = "#9db8d6", "#e3b07a", "#1f5fa8"


@style.styled
def bars(names: Sequence[str], figures: Sequence[Mapping[str, float]], mixed: Sequence[bool], base: str) -> Figure:
    """Macro F1 of every arm with its interval; the line is the arm that the others are compared with.

    figures: {value, low, high} per arm (low and high may be NaN); mixed: whether the arm mixes examples.
    """
    if not names:
        raise InputError("no arms to draw")
    value, low, high = (_numbers(figures, key) for key in ("value", "low", "high"))
    figure = style.blank(6.6, 0.3 * len(names) + 1.2, f"Macro F1 of {len(names)} arms")
    axes = figure.subplots()
    y = np.arange(len(names))[::-1]
    axes.barh(y, value, color=[MIXED if m else BAR for m in mixed], height=0.72)
    axes.errorbar(
        value, y, xerr=np.maximum([value - low, high - value], 0), fmt="none", ecolor=style.INK, lw=1, capsize=2
    )
    if base in names:
        axes.axvline(value[list(names).index(base)], color=BASE, lw=1, ls="--")
    left = np.nanmin([value, low])
    axes.set_xlim(max(0.0, np.floor(20 * left - 1) / 20), None)
    for at, v in zip(y, value, strict=True):  # in a column of their own, where no bar and no line runs through them
        axes.annotate(
            f"{v:.3f}", (1, at), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=7.5
        )
    axes.set_yticks(y, [style.short(name, 48) for name in names])
    axes.set_xlabel("macro F1, 95 % interval (the axis does not begin at 0)")
    handles = [style.swatch(BAR), style.swatch(MIXED)]
    figure.legend(handles, ["trained on examples", "trained on mixed examples"], loc="outside upper right", ncols=2)
    return figure


def _numbers(figures: Sequence[Mapping[str, float | None]], key: str) -> np.ndarray:
    return np.array([np.nan if f.get(key) is None else f[key] for f in figures], dtype=np.float64)


@style.styled
def curves(arms: Sequence[Mapping[str, Any]], base: str) -> Figure:
    """Accuracy on validation data after every epoch: plain arms to the left, mixed ones to the right, the base in both.

    Each side has its own axis: one arm that fails would press all others into a line.

    arms: name, mixed, curve [{epoch, value, low, high}]; an arm without a curve is left out.
    """
    drawn = [arm for arm in arms if arm["curve"]]
    if not drawn:
        raise InputError("no accuracy by epoch to draw: no arm was evaluated on validation data")
    sides = [[a for a in drawn if not a["mixed"]], [a for a in drawn if a["mixed"]]]
    shown = [side for side in sides if side]
    lines = -(-max(map(len, shown)) // 2)  # of the legend below
    figure = style.blank(4.9 * len(shown) + 0.4, 3.6 + 0.16 * lines, f"Accuracy by epoch of {len(drawn)} arms")
    for axes, side in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _panel(axes, side, next((a for a in drawn if a["name"] == base), None))
    return figure


def _panel(axes: Axes, side: Sequence[Mapping[str, Any]], base: Mapping[str, Any] | None) -> None:
    others = [arm for arm in side if base is None or arm["name"] != base["name"]]
    colours = colormaps["viridis"](np.linspace(0, 0.9, max(len(others), 1)))
    looks = [
        (arm, colour, "o^sDvP*X"[i % 8], 1.4) for i, (arm, colour) in enumerate(zip(others, colours, strict=False))
    ]
    for arm, colour, marker, width in [*looks, *([(base, style.INK, "o", 2.4)] if base else [])]:
        epochs, value = ([point[key] for point in arm["curve"]] for key in ("epoch", "value"))
        axes.plot(epochs, value, color=colour, marker=marker, ms=4, lw=width, label=style.short(arm["name"], 48))
    axes.set_xlabel("epoch")
    axes.set_title(f"{'mixed' if side[0]['mixed'] else 'plain'}: accuracy, validation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#ececec")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=6.5, ncols=2)


@style.styled
def regions(names: Sequence[str], counts: Sequence[Mapping[str, float]]) -> Figure:
    """How many examples of each region every arm was trained on; an arm of unknown regions has no bar."""
    if not names:
        raise InputError("no arms to draw")
    figure = style.blank(6.6, 0.28 * len(names) + 1.2, f"Examples per region in {len(names)} arms")
    axes = figure.subplots()
    y, start = np.arange(len(names))[::-1], np.zeros(len(names))
    for region, colour in style.REGION_COLOURS.items():
        n = np.array([count.get(region, 0.0) for count in counts])
        axes.barh(y, n, left=start, color=colour, height=0.72, label=style.REGION_WORDS[region])
        start += n
    axes.set_yticks(y, [style.short(name, 48) for name in names])
    axes.set_xlabel("examples trained on")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=4)
    return figure
