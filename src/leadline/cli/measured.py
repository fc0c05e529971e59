"""What `leadline evaluate` prints besides metrics: robustness and slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leadline.cli.output import chance, interval, print_table

if TYPE_CHECKING:
    import polars as pl

SHOWN = 2  # metrics, of those measured: the others are in --json


def print_robustness(entries: Mapping[str, Mapping[str, Mapping[str, Any]]], clean: Mapping[str, Any]) -> None:
    """One row per kind: how many rows changed, each metric, and how far it is from the clean rows."""
    metrics = list(clean)[:SHOWN]
    header = ["rows", "changed"]
    for metric in metrics:
        header += [f"{metric} [95 %]", "minus clean [95 %]", "p (Holm)"]
    rows: list[list[Any]] = [["as they are", "", *(cell for m in metrics for cell in (interval(clean[m]), "", ""))]]
    for title, found in entries.items():
        cells: list[Any] = []
        for metric in metrics:
            f = found[metric]
            ends = {"value": f["difference"], "low": f["difference_low"], "high": f["difference_high"]}
            cells += [interval(f), interval(ends), chance(f["p_holm"])]
        rows.append([title.partition("+")[2], f"{found['changed']['value']:.0%}", *cells])
    n = next(iter(entries.values()))["changed"]["n"]
    print_table(f"robustness (n = {n:,}; paired bootstrap over the rows)", header, rows)


def print_slices(table: pl.DataFrame) -> None:
    """One row per part; parts of few rows are marked."""
    header = ["column", "value", "n", "accuracy [95 % Wilson]", "macro_f1 [95 %]", ""]
    rows = []
    for row in table.to_dicts():
        accuracy = {"value": row["accuracy"], "low": row["low"], "high": row["high"]}
        f1 = {"value": row["macro_f1"], "low": row["macro_f1_low"], "high": row["macro_f1_high"]}
        shown = "" if f1["value"] != f1["value"] else interval(f1)
        few = "few" if row["few"] else ""
        rows.append([row["column"], row["value"], row["n"], interval(accuracy), shown, few])
    print_table("slices (not corrected for their number; `few`: fewer than 30 rows)", header, rows)
