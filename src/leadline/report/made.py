"""How the run was made, and how to go on: data, settings, machine, time, the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from leadline.report.facts import View, million, noted, sizes
from leadline.report.words import count, duration, excerpt, number, plain, plural, share
from leadline.runs import Run

CLASSES_SHOWN = 30
MODEL_WORDS = {"hidden_size": "hidden size", "max_length": "longest input (tokens)"}


def told(run: Run) -> list[str]:
    """What a reader must know of the data: sampled, set apart, corrupted, cut."""
    said = [excerpt(sentence) for sentence in run.examples.told]
    table = run.examples.table
    if "_true_label" in table.columns and not any("_true_label" in sentence for sentence in said):
        differ = table.filter(pl.col("_true_label").cast(pl.String) != pl.col("_label").cast(pl.String)).height
        wrong = f"{plural(differ, 'label')} of {count(table.height)} were made wrong on purpose"
        said.append(f"{wrong}; the truth is in `_true_label`.")
    if run.examples.soft:
        said.append("Labels are distributions over the classes; the tables count the most probable class.")
    if "_weight" in table.columns:
        said.append("Examples carry weights, which count in training and not in the metrics.")
    return said + _lengths(run)


def _lengths(run: Run) -> list[str]:
    table = run.examples.table
    if "_length" not in table.columns or table["_length"].drop_nulls().is_empty():
        return []
    length = table["_length"].drop_nulls()
    middle, longest = int(length.median()), int(length.max())  # type: ignore[arg-type]
    said = f"Inputs have {count(middle)} tokens (median), the longest {count(longest)}"
    limit = noted(run, "model").get("max_length") or (run.recipe.training.max_length if run.recipe else None)
    full = int((length >= limit).sum()) if limit else 0  # lengths are those after cutting
    return [
        f"{said}; {count(full)} ({share(full, len(length))}) fill the limit of {limit} or were cut there."
        if full
        else f"{said}."
    ]


def splits(run: Run) -> list[dict[str, str]]:
    """One entry per split: name, examples, and where its rows came from."""
    rows = []
    for split, n in sizes(run).items():
        source = run.examples.sources.get(split, {})
        read = count(source["rows"]) if source.get("rows") is not None else ""
        rows.append({
            "split": split, "examples": count(n), "source": excerpt(source.get("path", "")), "rows": read,
            "sha256": str(source.get("sha256", ""))[:12],
        })  # fmt: skip
    return rows


def balance(run: Run) -> dict[str, Any]:
    """splits [names]; rows [{name, cells}]: examples of each class per split; `more`: classes that are not shown."""
    if not run.classes:
        return {"splits": [], "rows": [], "more": 0}
    parts = {"train": run.train, **{s: run.examples.split(s) for s in sizes(run) if s != "train"}}
    counts = {
        split: dict(part.table["_label"].cast(pl.String).value_counts().iter_rows()) for split, part in parts.items()
    }
    shown = list(run.classes)
    if len(shown) > CLASSES_SHOWN:
        largest = sorted(shown, key=lambda name: -counts["train"].get(name, 0))[:CLASSES_SHOWN]
        shown = [name for name in shown if name in set(largest)]
    cells = {
        c: [f"{count(n.get(c, 0))} ({share(n.get(c, 0), len(parts[s]))})" for s, n in counts.items()] for c in shown
    }
    rows = [{"name": c, "cells": cells[c]} for c in shown]
    return {"splits": list(parts), "rows": rows, "more": len(run.classes) - len(shown)}


def settings(run: Run) -> list[tuple[str, str]]:
    """Every key of the recipe with its value; where null stands for a choice of leadline's, the choice."""
    if run.recipe is None:
        return []
    pairs = dict(flat(run.recipe.to_dict()))
    chosen = {"training.learning_rate": run.recipe.learning_rate, "model.dropout": noted(run, "model").get("dropout")}
    precision = run.about.get("precision")
    if precision and pairs.get("training.precision") == "auto":
        pairs["training.precision"] = f"auto ({precision})"
    shown = {key: plain(value) for key, value in pairs.items()}
    for key, value in chosen.items():
        if pairs.get(key, "") is None and value is not None:
            shown[key] = f"{plain(value)} (not set, so leadline's choice)"
    return list(shown.items())


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested mappings; an empty mapping is a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def model(run: Run) -> list[tuple[str, str]]:
    """What the run noted of its model: size, layers, hidden size, dropout, longest input."""
    about = noted(run, "model")
    rows = [(MODEL_WORDS.get(key, key), plain(value)) for key, value in flat(about) if key != "parameters"]
    parameters = about.get("parameters")
    return rows + ([("parameters", f"{count(parameters)} ({million(parameters)})")] if parameters else [])


def machine(run: Run) -> list[tuple[str, str]]:
    """What the run noted of where it ran: device, cores, precision, threads, versions, git revision, command."""
    elsewhere = ("key", "learning_rate", "model")  # shown among the settings, or of no use to a reader
    noted_keys = {key: value for key, value in run.about.items() if key not in elsewhere}
    return [(key.replace("_", " "), plain(value)) for key, value in flat(noted_keys) if value is not None]


def times(run: Run) -> list[tuple[str, str]]:
    """How long, how fast, how much memory: the run's `end` event in words."""
    end = (run.events("end") or [{}])[-1]
    words = {
        "seconds": ("whole run", duration),
        "train_seconds": ("training", duration),
        "evaluate_seconds": ("evaluation", duration),
        "steps": ("optimiser steps", count),
        "examples_seen": ("examples seen", count),
        "examples_per_second": ("training speed", _speed),
        "inference_examples_per_second": ("inference speed", _speed),
        "peak_memory_mb": ("peak memory", _megabytes),
        "peak_gpu_memory_mb": ("peak GPU memory", _megabytes),
    }
    return [(what, say(end[name])) for name, (what, say) in words.items() if end.get(name) is not None]


def _speed(value: float) -> str:
    return f"{number(float(value))} examples/s"


def _megabytes(value: float) -> str:
    return f"{count(round(value))} MB"


def next_commands(view: View) -> list[tuple[str, str]]:
    """(command, what it gives), ready to be copied: the run's own path, quoted for a shell."""
    run = shlex.quote(str(view.run.path))
    commands = []
    if view.regions is not None:
        commands += [
            (f"leadline map {run} -o map.html", "the data map with the text of every point"),
            (f"leadline select {run} --keep easy,ambiguous -o subset.csv", "a training file without the hard region"),
        ]
    if view.signals is not None and view.run.classes:
        commands += [
            (f"leadline audit {run}", "the suspects: which labels are doubted, and why"),
            (f"leadline review {run}", "the suspects in the browser: keep, relabel or discard them"),
        ]
    if view.signals is not None:
        commands.append((f"leadline score {run} --scores all", "every score of every example, in scores.parquet"))
    if view.run.results or view.signals is not None:
        commands.append(
            (f"leadline compare {run} OTHER_RUN", "this run beside another: metrics and agreement of the scores")
        )
    if view.signals is not None and "logits" in view.signals.names:
        commands.append(
            (f"leadline export cartography {run} -o dynamics", "the record in the format of Dataset Cartography")
        )
    return commands
