"""Duplicates: the same text twice, or nearly; where their labels differ, one of them is wrong or the text is ambiguous.

Exactly the same means: in every input column the same text once letters are lowered, runs of white space are one blank
and the ends are cut. Nearly the same means: vectors closer together than `near_duplicates` asks for.
Everything is of one split: training and test data are never mixed. `leaks` only tells which test texts are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.data.examples import Examples
from leadline.data.neighbours import METRICS, THRESHOLD, NearDuplicates, groups, near_duplicates
from leadline.errors import InputError

COLUMNS = ("group", "id", "label", "distance", "exact")


@dataclass(frozen=True)
class Duplicates:
    """What belongs together among the N rows of one split."""

    same: np.ndarray  # (N,) int64: the first row with the same text; itself where there is none before
    near: NearDuplicates | None  # None without vectors
    group: np.ndarray  # (N,) int64: rows joined by either, directly or through others: what no split may tear apart

    def members(self, row: int) -> np.ndarray:
        """(G,) the rows of this row's group, itself among them, in order."""
        return np.flatnonzero(self.group == self.group[row])


def find_duplicates(examples: Examples, x: np.ndarray | None = None, threshold: float = THRESHOLD) -> Duplicates:
    """The duplicates among the examples of one split: exact ones by their texts, near ones by their vectors.

    x          (N, H) vectors in the order of the examples, from `runs.vectors`; None: exact ones only
    threshold  of the median distance to the nearest, as `near_duplicates` takes it
    Raises InputError for examples of several splits, and for vectors of another number of rows.
    """
    _one_split(examples)
    if x is not None and len(x) != len(examples):
        raise InputError(f"duplicates: {len(x)} vectors for {len(examples)} examples; give one each, in their order")
    same = same_text(examples)
    near = near_duplicates(x, threshold) if x is not None else None
    pairs = np.column_stack([np.arange(len(same)), same])
    return Duplicates(same, near, groups(pairs if near is None else np.vstack([pairs, near.pairs]), len(same)))


def same_text(examples: Examples) -> np.ndarray:
    """(N,) int64: the first row whose input columns all hold the same text; without inputs every row is its own."""
    rows = np.arange(len(examples), dtype=np.int64)
    if not examples.inputs:
        return rows
    columns = _plain_texts(examples)
    first = pl.col("row").min().over(columns.columns)
    return columns.with_columns(row=pl.Series(rows)).select(first).to_series().to_numpy()


def conflicts(examples: Examples, found: Duplicates, x: np.ndarray | None = None) -> pl.DataFrame:
    """The groups of duplicates whose labels differ: group, id, label, the input columns, distance, exact.

    A row per member, whatever its label. `distance` is to the nearest member with another label (0 for the same text,
    null where no vectors say it), `exact` whether one of those has the same text. Groups are numbered from 1, those of
    the same text first, then the closest.
    """
    code = np.unique(_answers(examples), return_inverse=True)[1]
    rows = np.flatnonzero(_differs(found.group, code))
    exact = _differs(found.same, code)[rows]
    distance = np.where(exact, 0.0, np.nan)
    order = np.argsort(found.group[rows], kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(found.group[rows][order])) + 1):
        if x is not None and found.near is not None and len(part):
            open_ = part[~exact[part]]
            distance[open_] = _to_other_label(rows[open_], rows[part], code, found, x)
    table = _shown(examples, rows).with_columns(
        pl.Series("distance", distance).fill_nan(None), pl.Series("exact", exact), group=pl.Series(found.group[rows])
    )
    return _numbered(table)


def _differs(group: np.ndarray, code: np.ndarray) -> np.ndarray:
    """(N,) bool: the group of the row has more than one label."""
    kind = np.unique(group, return_inverse=True)[1]
    labels = np.unique(np.column_stack([kind, code]), axis=0)[:, 0]
    return np.bincount(labels, minlength=kind.max(initial=-1) + 1)[kind] > 1


def _to_other_label(
    asked: np.ndarray, members: np.ndarray, code: np.ndarray, found: Duplicates, x: np.ndarray
) -> np.ndarray:
    """(Q,) the distance of each row asked for to the nearest member of its group that has another label."""
    assert found.near is not None
    one_each = np.unique(np.column_stack([found.same[members], code[members]]), axis=0, return_index=True)[1]
    members = members[one_each]  # a text that stands there a thousand times is measured once
    everyone = np.unique(np.concatenate([asked, members]))
    space = METRICS[found.near.metric](x[everyone])
    at = np.searchsorted(everyone, members)
    nearest = np.full(len(asked), np.nan)
    for number, row in enumerate(asked):
        others = at[code[members] != code[row]]
        if len(others):
            nearest[number] = space.measure(np.full(len(others), np.searchsorted(everyone, row)), others).min()
    return nearest


def _shown(examples: Examples, rows: np.ndarray) -> pl.DataFrame:
    """id, label and the input columns; a column whose name is ours becomes source_<name>."""
    table = examples.table[rows]
    label = (
        table["_label"].cast(pl.String) if "_label" in table.columns else pl.Series([None] * len(rows), dtype=pl.String)
    )
    texts = {f"source_{name}" if name in COLUMNS else name: table[name] for name in examples.inputs}
    return pl.DataFrame({"id": table["_id"].cast(pl.String), "label": label, **texts})


def _numbered(table: pl.DataFrame) -> pl.DataFrame:
    """Groups in the order of their smallest distance, then of their first row; numbered from 1."""
    closest = pl.col("distance").min().over("group")
    table = table.with_row_index("row").with_columns(closest.alias("closest"))
    table = table.sort("closest", "group", "row", nulls_last=True)
    names = [name for name in table.columns if name not in (*COLUMNS, "row", "closest")]
    number = pl.col("group").rle_id().cast(pl.Int64) + 1
    return table.select(number.alias("group"), "id", "label", *names, "distance", "exact")


def leaks(train: Examples, test: Examples) -> pl.DataFrame:
    """The test examples whose text also stands in the training data: id, label, train_id, train_label, times, other.

    train_id  a training example with the same text: the first with another label, else the first
    times     how many training examples have this text
    other     whether one of them has another label
    """
    empty = {"id": pl.String, "label": pl.String, "train_id": pl.String, "train_label": pl.String, "times": pl.Int64}
    if not train.inputs or train.inputs != test.inputs:
        return pl.DataFrame(schema=empty | {"other": pl.Boolean})
    key = [f"text{number}" for number in range(len(train.inputs))]
    known = _keyed(train, key).select(*key, pl.col("id").alias("train_id"), pl.col("label").alias("train_label"))
    known = known.with_row_index("train_row")
    met = _keyed(test, key).with_row_index("row").join(known, on=key, how="inner")
    met = met.with_columns(other=pl.col("label") != pl.col("train_label")).sort(
        "row", "other", "train_row", descending=[False, True, False]
    )
    found = met.group_by("row", maintain_order=True).agg(
        pl.col("id", "label", "train_id", "train_label").first(), pl.len().cast(pl.Int64).alias("times"),
        pl.col("other").any(),
    )  # fmt: skip
    return found.select(*empty, "other")


def leak_note(found: pl.DataFrame, n_test: int) -> str:
    """The sentence about `leaks`, or nothing where there is none."""
    if not found.height:
        return ""
    other = int(found["other"].sum())
    told = f", {other} of them with another label" if other else ""
    return (
        f"{found.height:,} of {n_test:,} test examples have the same text as a training example{told}: "
        "figures on them say little about new texts"
    )


def _keyed(examples: Examples, key: Sequence[str]) -> pl.DataFrame:
    texts = _plain_texts(examples)
    label = examples.table["_label"].cast(pl.String)
    return texts.rename(dict(zip(texts.columns, key, strict=True))).with_columns(
        examples.table["_id"].cast(pl.String).alias("id"), label.alias("label")
    )


def _plain_texts(examples: Examples) -> pl.DataFrame:
    """The input columns as they are compared, under the names 0, 1, …"""
    return pl.DataFrame(
        [
            examples.table[name].cast(pl.String).fill_null("").str.to_lowercase().str.replace_all(r"\s+", " ")
            .str.strip_chars().alias(str(number))
            for number, name in enumerate(examples.inputs)
        ]
    )  # fmt: skip


def _answers(examples: Examples) -> np.ndarray:
    """(N,) what two labels are compared by: the class, or the number of a regression."""
    return examples.gold


def _one_split(examples: Examples) -> None:
    splits: Iterable[str] = examples.splits if "_split" in examples.table.columns else []
    if len(list(splits)) > 1:
        raise InputError(
            f"duplicates: these examples are of several splits ({', '.join(splits)}); audit one at a time: "
            "examples.split('train')"
        )
