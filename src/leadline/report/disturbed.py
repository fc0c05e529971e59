"""What noise in the texts costs: the keys `<split>+<kind>=<rate>` of results.json as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from leadline.data.noise import FGSM, NOISES
from leadline.figures import robustness as drawing
from leadline.report.words import estimate, number
from leadline.runs import Run

Entries = Mapping[str, Mapping[str, Mapping[str, Any]]]  # `typos=0.05` -> metric -> {value, low, high, difference, …}
BESIDE = "+"  # between the split and the noise
DRAWN = ("accuracy", "macro_f1", "rmse", "mae")


def entries(run: Run) -> tuple[str, Entries]:
    """(the split, its noise in the order in which it was measured); of two splits test; ("", {}) without any."""
    found: dict[str, dict[str, Any]] = {}
    for key, figures in run.results.items():
        split, beside, title = key.partition(BESIDE)
        if beside and split in run.results:
            found.setdefault(split, {})[title] = figures
    split = next((split for split in ("test", "validation", "train") if split in found), "")
    return split, found.get(split, {})


def table(run: Run) -> dict[str, Any]:
    """split, metrics, rows [{name, says, changed, cells}], a cell per metric: (value, difference from clean, p)."""
    split, found = entries(run)
    metrics = _metrics(found)
    rows = []
    for title, figures in found.items():
        kind = title.partition("=")[0]
        says = NOISES[kind].says if kind in NOISES else "embeddings moved along the gradient" if kind == FGSM else ""
        changed = figures.get("changed", {}).get("value")
        cells = [_cells(figures[metric]) for metric in metrics]
        rows.append({"name": title, "says": says, "changed": "–" if changed is None else f"{changed:.0%}",
                     "cells": cells})  # fmt: skip
    return {"split": split, "metrics": metrics, "rows": rows}


def _metrics(found: Entries) -> list[str]:
    return [name for name in next(iter(found.values()), {}) if name != "changed"]


def _cells(figure: Mapping[str, Any]) -> tuple[str, str, str]:
    ends = {"value": figure.get("difference"), "low": figure.get("difference_low"),
            "high": figure.get("difference_high")}  # fmt: skip
    return estimate(figure), estimate(ends), number(figure.get("p_holm"))


def picture(run: Run) -> Figure | None:
    """Two metrics under every kind of noise; None where nothing was measured."""
    split, found = entries(run)
    metrics = [name for name in DRAWN if name in _metrics(found) and name in run.results[split]][:2]
    return drawing.robustness(run.results[split], found, metrics) if metrics else None
