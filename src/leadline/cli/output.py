"""What commands print: results to stdout, as a table for a person or as JSON; messages to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

NUMBERS = (int, float)
SCALED = "scaled_"  # as evaluate.SCALED, which takes a second to import


def say(text: str) -> None:
    """A message for the person at the terminal."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Stable keys, numbers unrounded; NaN and infinity become null and "inf" (JSON has neither)."""
    print(json.dumps(_plain(value), ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None = None) -> None:
    """Numbers to the right, words to the left, as wide as the terminal allows; at least `width` where that is more."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not sys.stdout.isatty():
        width = max(width or 0, 160)
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(header):
        numbers = bool(rows) and all(isinstance(row[i], NUMBERS) or row[i] is None for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    Console(width=width, highlight=False, markup=False).print(table)


def chance(p: float) -> str:
    """A p-value for a person: never 0."""
    return "undefined" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return (
            "inf"
            if math.isinf(value)
            else ""
            if math.isnan(value)
            else f"{value:.4g}"
            if abs(value) >= 1000
            else f"{value:.3f}"
        )
    return f"{value:,}" if isinstance(value, int) else str(value)


def interval(metric: Mapping[str, float | None]) -> str:
    """0.812 [0.790, 0.833]"""
    value, low, high = (metric.get(key) for key in ("value", "low", "high"))
    if "value" not in metric:
        return ""
    if value is None or math.isnan(value):
        return "undefined"
    if low is None or high is None or math.isnan(low):
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def print_results(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Metrics of each split side by side with their intervals, then precision, recall and F1 of each class."""
    splits = [split for split in results if results[split]]
    if not splits:
        return
    plain = {
        split: {name: v for name, v in results[split].items() if name != "temperature" and not name.startswith(SCALED)}
        for split in splits
    }
    overall = list(dict.fromkeys(name for split in splits for name in plain[split] if "[" not in name))
    counts = {split: max(metric["n"] for metric in plain[split].values()) for split in splits}
    rows = [[name, *(interval(results[split].get(name, {})) for split in splits)] for name in overall]
    print_table("value [95 % bootstrap interval]", ["metric", *(f"{s} (n = {counts[s]:,})" for s in splits)], rows)
    for split in splits:
        print_scaling(split, results[split])
    last = results[splits[-1]]
    shown = [metric for metric in ("precision", "recall", "f1") if any(name.startswith(f"{metric}[") for name in last)]
    if shown:
        classes = [name[len(shown[0]) + 1 : -1] for name in last if name.startswith(f"{shown[0]}[")]
        per_class = [
            [c, *(interval(last.get(f"{m}[{c}]", {})) for m in shown), last[f"{shown[0]}[{c}]"]["n"]] for c in classes
        ]
        print_table(f"per class, {splits[-1]}", ["class", *shown, "n"], per_class)


def print_scaling(split: str, figures: Mapping[str, Any]) -> None:
    """What the temperature, fitted on validation rows, did to the metrics of a split."""
    after = {name.removeprefix(SCALED): value for name, value in figures.items() if name.startswith(SCALED)}
    if not after:
        return
    fitted = figures["temperature"]
    title = f"{split}: temperature {interval(fitted)}, fitted on {fitted['n']:,} validation rows"
    rows = [[name, interval(figures.get(name, {})), interval(value)] for name, value in after.items()]
    print_table(title, ["metric", "before", "after scaling"], rows)


def split_list(values: Sequence[str] | str | None) -> list[str]:
    """`--keep easy,ambiguous` and `--keep easy --keep ambiguous` alike."""
    given = [values] if isinstance(values, str) else list(values or [])
    return [part.strip() for value in given for part in value.split(",") if part.strip()]
