"""What stands beside the suspects: their neighbours and duplicates, and the duplicates that contradict each other."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from leadline import runs
from leadline.audit.labels import Audit
from leadline.data.examples import Examples
from leadline.suspects import conflicts, explained, find_duplicates, leak_note, leaks


@dataclass(frozen=True)
class Beside:
    """suspects: the first of the audit's, with neighbours, neighbours_suggested, duplicate_of and text."""

    suspects: pl.DataFrame
    conflicts: pl.DataFrame  # groups of equal or nearly equal texts whose labels differ; see `suspects.conflicts`
    vectors: str  # what the neighbours are of, or why there are none
    note: str  # of test texts that also stand in train; empty where there are none


def beside(found: Audit, top: int, k: int = 10) -> Beside:
    """Explains the `top` suspects by their k nearest neighbours in the same split; k = 0: by equal texts only."""
    run, examples = found.run, runs.split_of(found.run, found.split)
    x, what = runs.vectors(run, found.split) if k else (None, "no neighbours were asked for")
    doubles = find_duplicates(examples, x)
    labels = examples.table["_label"].cast(pl.String).to_list() if run.classes else examples.gold
    table = explained(found.suspects.head(top), examples.ids, labels, x, k, doubles)
    table = table.join(_texts(examples), on="id", how="left", maintain_order="left")
    note = ""
    if found.split != "train":
        note = leak_note(leaks(run.train, examples), len(examples))
    return Beside(table, conflicts(examples, doubles, x), what, note)


def _texts(examples: Examples) -> pl.DataFrame:
    """id and text: the input columns of each example, one after the other; null where none are stored."""
    texts = pl.concat_str(examples.inputs, separator=" | ", ignore_nulls=True) if examples.inputs else pl.lit(None)
    return examples.table.select(pl.col("_id").cast(pl.String).alias("id"), texts.cast(pl.String).alias("text"))
