"""How well the model tells other texts from its own kind: the keys `ood+<set>` of results.json, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from leadline.figures.strangeness import strangeness
from leadline.ood import DETECTORS, IN, MEASURES, SPLIT
from leadline.report.words import estimate
from leadline.runs import Run

HEADLINE = "msp"
SHOWN = ("auroc", "aupr_out", "aupr_in", "fpr95_id_positive", "fpr95")
assert set(SHOWN) == set(MEASURES)


def entries(run: Run) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """{set: {"auroc[msp]": {value, low, high, n}, …}}; {} where nothing was measured."""
    return {key.removeprefix(SPLIT): found for key, found in run.results.items() if key.startswith(SPLIT)}


def table(run: Run) -> dict[str, Any]:
    """measures [{name, says}], rows [{set, kinds, n, detector, says, cells}], as many as sets times detectors."""
    scores, rows = _scores(run), []
    for name, found in entries(run).items():
        part = scores.filter(pl.col("set") == name) if scores is not None else pl.DataFrame()
        kinds = part["kinds"][0].replace("+", " and ") if len(part) else ""
        detectors = dict.fromkeys(key[:-1].partition("[")[2] for key in found if key.endswith("]"))
        for place, detector in enumerate(detectors):
            rows.append({
                "set": name if place == 0 else "", "span": len(detectors), "kinds": kinds, "n": len(part),
                "detector": detector, "says": DETECTORS[detector].says if detector in DETECTORS else "",
                "cells": [estimate(found.get(f"{measure}[{detector}]", {"value": None})) for measure in SHOWN],
            })  # fmt: skip
    return {"measures": [{"name": name, "says": MEASURES[name]} for name in SHOWN], "rows": rows}


def picture(run: Run) -> Figure | None:
    """Histograms of the headline detector, a panel per set; None where nothing was measured."""
    scores = _scores(run)
    if scores is None or HEADLINE not in scores.columns:
        return None
    values = {str(name): part[HEADLINE].to_numpy() for (name,), part in scores.group_by(["set"], maintain_order=True)}
    found = entries(run)
    notes = {
        name: f"AUROC {estimate(found[name][f'auroc[{HEADLINE}]'])}"
        for name in values
        if f"auroc[{HEADLINE}]" in found.get(name, {})
    }
    inside = values.pop(IN)
    return strangeness(HEADLINE, inside, values, notes)


def _scores(run: Run) -> pl.DataFrame | None:
    path = run.path / "ood" / "scores.parquet"
    return pl.read_parquet(path) if entries(run) and path.is_file() else None
