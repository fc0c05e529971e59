"""The data of a run with the reviewers' decisions applied, as a file, and beside it who decided what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from leadline.data import load as loading
from leadline.data.examples import Examples, join
from leadline.data.write import FORMATS, write_table
from leadline.errors import InputError
from leadline.runs import Run, refuse_sources, with_ids
from leadline.suspects.apply import Applied, apply, trail
from leadline.suspects.decisions import Decisions
from leadline.suspects.reviewers import verdicts


@dataclass(frozen=True)
class Cleaned:
    """What was written, and what the decisions did."""

    path: Path
    trail: Path  # of the decisions, as CSV
    n: int  # rows written
    of: int  # rows before
    decisions: int  # standing decisions
    applied: Applied


def write_cleaned(
    run: Run,
    output: Path,
    data: str | None = None,
    split: str = "train",
    reviewer: str | None = None,
    label: str | None = None,
) -> Cleaned:
    """Writes the source of a split with the decisions on it applied, and `<output>.audit.csv` with the trail.

    Rows that were held out of the training file for validation are written with it. With `data` the rows come from this
    copy, joined by id (input and label hashes must match), in its order, those that the run did not sample too.
    `reviewer`: only this person's decisions; else the majority, and ties change nothing. `label`: the column with the
    labels, where a run without recipe does not say. The source is never written to.
    """
    trail_path = output.with_suffix(".audit.csv")
    part, splits = source_of(run, split)
    if output.suffix not in FORMATS:  # before the trail is written
        raise InputError(f"-o {output}: the ending says the format; choose {', '.join(FORMATS)}")
    refuse_sources(run, [output, trail_path], data)
    current = standing(run, part, splits, reviewer)
    together = verdicts(current)
    applied = apply(part.ids, part.table["_label"].cast(pl.String).to_list(), together)
    examples, rows = part, np.arange(len(part))
    if data is not None:
        examples, rows = _copy(run, part, data, split)
    table = _relabelled(run, examples, rows, applied, label)
    stays = np.ones(len(examples), dtype=bool)
    stays[rows[~applied.stays]] = False
    kept = table.filter(stays)
    write_table(trail_path, trail(current, together))
    write_table(output, with_ids(kept))
    return Cleaned(output, trail_path, kept.height, len(examples), current.height, applied)


def source_of(run: Run, split: str) -> tuple[Examples, list[str]]:
    """The examples that come from the source of a split, and the splits that they lie in.

    Rows held out of the training file for validation belong to that file. Raises InputError for a split without rows.
    """
    held_out = run.recipe is not None and isinstance(run.recipe.data.validation, float)
    splits = ["train", "validation"] if split == "train" and held_out else [split]
    if split == "validation" and held_out:
        raise InputError(f"{run.path}: validation was held out of the training file; give --split train for both")
    if split == "train" and "_split" not in run.examples.table.columns:
        return run.train, ["train"]
    parts = [run.train if name == "train" else run.examples.split(name) for name in splits]
    table = pl.concat([part.table for part in parts])
    if not table.height:
        raise InputError(f"{run.path}: has no {split} rows; it has {', '.join(run.examples.splits)}")
    if run.recipe is not None and run.recipe.data.id is None and table["_id"].str.contains(r"^\d+$").all():
        table = table.sort(pl.col("_id").cast(pl.Int64))  # numbers of rows: the order of the file
    examples = run.train if split == "train" else parts[0]
    return Examples(table, examples.task, examples.inputs, examples.classes, named=examples.named), splits


def standing(run: Run, part: Examples, splits: Sequence[str], reviewer: str | None) -> pl.DataFrame:
    """The decisions that hold on these rows, each made on the label that the row has now."""
    path = run.path / "decisions.sqlite"
    if not path.is_file():
        raise InputError(f"{run.path}: no decisions yet; make them with `leadline review {run.path}`")
    labels = dict(zip(part.ids, part.table["_label"].cast(pl.String).to_list(), strict=True))
    tables = []
    for split in splits:
        with Decisions(path, split, labels, part.classes) as decisions:
            tables.append(decisions.current())
    current = pl.concat(tables)
    if reviewer is not None:
        names = sorted(set(current["reviewer"]))
        if reviewer not in names:
            raise InputError(f"--reviewer {reviewer}: decided nothing here; there are decisions by {', '.join(names)}")
        current = current.filter(pl.col("reviewer") == reviewer)
    if current.is_empty():
        raise InputError(f"{path}: no decisions on {splits[0]} rows; make them with `leadline review {run.path}`")
    other = [id for id, label in current.select("id", "from").iter_rows() if id in labels and labels[id] != label]
    if other:
        raise InputError(
            f"{path}: {len(other)} decisions were made on another label than the run has now (first id: {other[0]}): "
            "the file belongs to another run"
        )
    return current


def _copy(run: Run, part: Examples, data: str, split: str) -> tuple[Examples, np.ndarray]:
    """The file `data` as examples, and for each row of `part` its row there."""
    if run.recipe is None:
        raise InputError(f"{run.path}: has no recipe that names the columns of {data}; leave --data away")
    copy = loading.load_one(data, run.recipe.data, run.recipe.task, run.classes, split=split)
    return copy, join(part, copy, where=data)


def _relabelled(run: Run, examples: Examples, rows: np.ndarray, applied: Applied, label: str | None) -> pl.DataFrame:
    """The table with the labels after the decisions in its label column, which keeps its type."""
    table = examples.table
    texts = table["_label"].cast(pl.String).to_list()
    for row in applied.relabelled:
        texts[rows[row]] = applied.label[row]
    changed = {int(rows[row]): str(applied.label[row]) for row in applied.relabelled}
    data = run.recipe.data if run.recipe is not None else None
    if data is not None and examples.soft and data.label_distribution is not None:
        table = _with_shares(table, data.label_distribution, examples.classes, changed)
        if data.label not in table.columns:
            return table
    column = label or (data.label if data is not None else _label_column(run, table, examples.inputs))
    if column is None or column not in table.columns:
        return table.with_columns(pl.Series(column or "label", texts))
    if "_true_label" in table.columns:  # wrong labels put in on purpose are what was trained on and reviewed
        table = table.with_columns(pl.col(column).alias("true_label"))
        changed = {row: text for row, text in enumerate(texts) if text is not None}
    return table.with_columns(_with_labels(table, column, changed))


def _label_column(run: Run, table: pl.DataFrame, inputs: Sequence[str]) -> str | None:
    """The source column that holds the labels of a run without recipe; None where no column does."""
    sources = [name for name in table.columns if not name.startswith("_") and name not in inputs]
    labels = table["_label"].cast(pl.String)
    same = [name for name in sources if table[name].dtype != pl.Object and not table[name].dtype.is_nested()]
    same = [name for name in same if table[name].cast(pl.String).equals(labels)]
    if "label" in same or not sources or (not same and "label" not in sources):
        return "label" if "label" in same else None
    if len(same) != 1:
        which = f"several do: {', '.join(same)}" if same else "the column `label` holds others"
        raise InputError(f"{run.path}: which column holds the labels? {which}. Name it with --label")
    return same[0]


def _with_labels(table: pl.DataFrame, column: str, changed: dict[int, str]) -> pl.Series:
    """The label column with some rows changed; a class becomes the value that stands for it elsewhere."""
    before, values = table[column], table[column].to_list()
    names = table["_true_label" if "_true_label" in table.columns else "_label"].cast(pl.String).to_list()
    value_of = dict(zip(reversed(names), reversed(values), strict=True))  # the first of several spellings
    for row, name in changed.items():
        if name not in value_of:
            written = pl.Series([name]).cast(before.dtype, strict=False)[0]
            if written is None:
                raise InputError(f"column `{column}`: no row has class `{name}`, so its value there is not known")
            value_of[name] = written
        values[row] = value_of[name]
    return pl.Series(column, values, dtype=before.dtype)


def _with_shares(
    table: pl.DataFrame, columns: str | list[str], classes: Sequence[str], changed: dict[int, str]
) -> pl.DataFrame:
    """Label distributions with all of the share on the class that a row was relabelled to."""
    one_hot = {row: [float(name == k) for k in classes] for row, name in changed.items()}
    if isinstance(columns, str):
        shares = table[columns].to_list()
        as_text = table[columns].dtype == pl.String  # lists written as JSON
        for row, share in one_hot.items():
            shares[row] = json.dumps(share) if as_text else share
        return table.with_columns(pl.Series(columns, shares, dtype=None if as_text else pl.List(pl.Float64)))
    result = []
    for k, name in enumerate(columns):
        values = table[name].cast(pl.Float64).to_list()
        for row, share in one_hot.items():
            values[row] = share[k]
        result.append(pl.Series(name, values))
    return table.with_columns(result)
