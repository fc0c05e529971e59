"""Decisions applied to labels: what stays, under which label, and the trail of who decided what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.errors import InputError
from leadline.suspects.reviewers import TIE

DONE = {"relabel": "relabelled", "discard": "dropped", "keep": "unchanged", "ambiguous": "unchanged",
        "skip": "unchanged", TIE: "unchanged: tie"}  # fmt: skip


@dataclass(frozen=True)
class Applied:
    """What the decisions make of N rows: `stays` (N,) bool, `label` (N,) the labels after the decisions."""

    stays: np.ndarray
    label: list[str | None]
    relabelled: tuple[int, ...]  # rows that have another label now
    ambiguous: tuple[str, ...]  # ids that a person could not decide; they stay as they are
    ties: tuple[str, ...]  # ids without a majority among their reviewers; they stay as they are

    @property
    def dropped(self) -> int:
        return int((~self.stays).sum())


def apply(ids: Sequence[str], labels: Sequence[str | None], together: pl.DataFrame) -> Applied:
    """Relabel changes the label, discard drops the row; keep, ambiguous and ties change nothing.

    ids, labels  (N,) of the rows; `together` as `reviewers.verdicts` gives it
    Raises InputError where a decision is on an id that no row has.
    """
    place = {name: row for row, name in enumerate(ids)}
    unknown = [name for name in together["id"] if name not in place]
    if unknown:
        raise InputError(f"decisions: {len(unknown)} are on ids that the data do not have (first: {unknown[0]})")
    stays, label, relabelled = np.ones(len(place), dtype=bool), list(labels), []
    named: dict[str, list[str]] = {"ambiguous": [], TIE: []}
    for name, action, to in together.select("id", "action", "to").iter_rows():
        row = place[name]
        if action == "discard":
            stays[row] = False
        elif action == "relabel":
            label[row] = to
            relabelled.append(row)
        elif action in named:
            named[action].append(name)
    return Applied(stays, label, tuple(relabelled), tuple(named["ambiguous"]), tuple(named[TIE]))


def trail(current: pl.DataFrame, together: pl.DataFrame) -> pl.DataFrame:
    """Who decided what, and what was done: id, who, when, from, to, action, reviewers, done; one row per decision.

    `done` is what the majority made of the row: relabelled, dropped, unchanged, or unchanged: tie.
    """
    done = together.select(
        "id", "reviewers", pl.col("action").replace_strict(DONE, return_dtype=pl.String).alias("done")
    )
    table = current.join(done, on="id", how="left", maintain_order="left")
    return table.select(
        "id",
        pl.col("reviewer").alias("who"),
        pl.col("time").alias("when"),
        "from",
        "to",
        "action",
        pl.col("reviewers").fill_null(0),
        pl.col("done").fill_null("unchanged"),
    )
