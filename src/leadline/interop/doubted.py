"""What another tool's reviewers are shown of each example: texts, label, what the model says, why it is doubted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import runs
from leadline.data import vectors
from leadline.errors import InputError
from leadline.interop.whole import harmless
from leadline.runs import Run, Scored
from leadline.scores import SCORES
from leadline.suspects import rank, usual

SHOWN = ("confidence", "variability", "correctness", "forgetting", "action_mean", "aum", "el2n", "entropy")
BLOCK = 5000  # rows at a time
NO_TEXT = "text"  # the field of a run without texts: it shows the id
SAID = {"id": pl.String, "label": pl.String, "suggested": pl.String, "reason": pl.String,
        "probability": pl.Float64, "score": pl.Float64, "rank": pl.Int64}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """One example as a reviewer meets it."""

    id: str
    texts: dict[str, str]  # input column -> text
    label: str
    suggested: str | None  # the model's most probable class, the label where it agrees
    probability: float | None  # of `suggested`
    rank: int | None  # 1 is the most doubtful
    doubt: float | None  # the score that ranked
    reason: str | None
    region: str
    scores: dict[str, float]
    vector: list[float] | None


@dataclass(frozen=True)
class Doubted:
    """The training examples of a run, most doubtful first."""

    run: Run
    table: pl.DataFrame  # row, and SAID, own (the label's mean probability), region, scores
    ranked_by: str
    vectors: np.ndarray | None = None  # (N, H) of all training examples
    told: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return self.table.height

    @property
    def inputs(self) -> list[str]:
        """The columns that are shown."""
        return list(self.run.train.inputs) or [NO_TEXT]

    @property
    def scores(self) -> list[str]:
        return [name for name in SCORES if name in self.table.columns]

    def examples(self) -> Iterator[Shown]:
        """One after the other, in blocks, so that memory is bounded by the block."""
        names = self.scores
        for start in range(0, len(self), BLOCK):
            part = self.table[start : start + BLOCK]
            texts = self._texts(part["row"])
            vectors = None if self.vectors is None else self.vectors[part["row"].to_numpy()]
            for i, row in enumerate(part.iter_rows(named=True)):
                vector = None if vectors is None else [float(f"{x:.5g}") for x in vectors[i]]
                scores = {name: row[name] for name in names if row[name] is not None and np.isfinite(row[name])}
                yield _shown(row, {name: column[i] for name, column in texts.items()}, scores, vector)

    def _texts(self, rows: pl.Series) -> dict[str, list[str]]:
        table = self.run.train.table[rows.to_numpy()]
        if not self.run.train.inputs:
            return {NO_TEXT: [f"(no text stored) id {name}" for name in table["_id"]]}
        return {name: [harmless(text or "") for text in table[name].cast(pl.String)] for name in self.inputs}


def _shown(row: dict[str, Any], texts: dict[str, str], scores: dict[str, float], vector: list[float] | None) -> Shown:
    rival, own = row["probability"], row["own"]
    agrees = own is not None and (rival is None or own >= rival)
    suggested, probability = (row["label"], own) if agrees else (row["suggested"], rival)
    return Shown(
        harmless(row["id"]), texts, row["label"], suggested, probability, row["rank"], row["score"], row["reason"],
        row["region"], scores, vector,
    )  # fmt: skip


def doubted(run: Run, by: str | None = None, top: int | None = None, suspects: Path | None = None) -> Doubted:
    """The training examples of a run as they are to be reviewed: a table in the order of doubt.

    by        rank by this score; else in the order of `suspects` (a file of `leadline audit`; default: suspects.csv of
              the run where it has one), else by the usual score
    top       only so many
    Raises InputError for a score that does not say which labels are doubtful, and suspects of other examples.
    """
    scored = runs.kept_scores(run, "all")
    columns = scored.columns()
    listed = suspects or run.path / "suspects.csv"
    if by is None and (suspects is not None or listed.is_file()):
        said, ranked_by = _listed(run, listed).head(len(run.train) if top is None else top), listed.name
    else:
        ranked_by = by or usual(columns)
        said = rank(run.signals, columns, ranked_by, top)
    found = _with_scores(run, said, scored)
    told = []
    if top is None and found.height < len(run.train):
        told.append(f"{len(run.train) - found.height:,} examples have no rank in {ranked_by} and are left out")
    kept = runs.kept_features(run, "train") or runs.kept_features(run, "train", vectors.SOURCE)
    return Doubted(run, found, ranked_by, None if kept is None else kept[0], told)


def _listed(run: Run, path: Path) -> pl.DataFrame:
    """The suspects in a CSV, in the order of their rank."""
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); give --score instead"
        ) from None
    missing = [name for name in SAID if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; is it a file of suspects? `leadline audit` writes one"
        )
    known = set(run.train.ids)
    foreign = [name for name in table["id"] if name not in known]
    if foreign:
        raise InputError(
            f"{path}: {len(foreign)} of {table.height} ids are no training examples of {run.path} (first: "
            f"{foreign[0]}); give the suspects of this run, or --score"
        )
    return table.select(pl.col(name).cast(kind, strict=False) for name, kind in SAID.items()).sort(
        "rank", nulls_last=True
    )


def _with_scores(run: Run, said: pl.DataFrame, scored: Scored) -> pl.DataFrame:
    """The suspects with their row, the label's mean probability, region and the scores that are shown."""
    names = [name for name in SHOWN if name in scored.table.columns]
    own = pl.col("confidence") if "confidence" in names else pl.lit(None, dtype=pl.Float64)
    more = scored.table.select(
        pl.int_range(pl.len()).alias("row"), pl.col("id").cast(pl.String), own.fill_nan(None).alias("own"), "region",
        *(pl.col(name).fill_nan(None) for name in names),
    )  # fmt: skip
    return said.with_columns(pl.col("probability", "score").fill_nan(None)).join(
        more, on="id", how="left", maintain_order="left"
    )
