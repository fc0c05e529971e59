"""Renumics Spotlight: one Parquet file with texts, labels, predictions, scores and vectors, a row per example.

Spotlight reads it through pandas: a list of numbers becomes an embedding, text and numbers what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline import runs
from leadline.data import vectors
from leadline.interop.doubted import Doubted
from leadline.interop.whole import slug
from leadline.runs import Run
from leadline.runs.files import whole
from leadline.scores import mean_probability

BLOCK = 20_000  # rows of a row group: what is in memory at a time
FILE = "spotlight.parquet"
OURS = ("id", "split", "label", "true_label", "predicted", "predicted_probability", "suggested", "probability", "rank",
        "doubt", "reason", "region", "vector")  # fmt: skip


def write(run: Run, output: Path, doubted: Doubted | None = None) -> tuple[Path, int]:
    """Writes every example of the run, whole or not at all; returns (file, rows). `output`: a .parquet, or a folder.

    Training examples have their scores, place among the suspects (where `doubted` ranks them), and the model's answer
    by its mean probabilities over the epochs; validation and test rows the final model's answer. An infinite score
    (never learned) is null, since Spotlight knows no infinity.
    """
    path = output if output.suffix == ".parquet" else output / FILE
    runs.refuse_sources(run, [path])
    schema, n = None, 0
    with whole(path) as partial:
        writer = None
        try:
            for part in _parts(run, doubted):
                schema = schema or part.schema
                writer = writer or pq.ParquetWriter(partial, schema)
                writer.write_table(part.select(schema.names).cast(schema))
                n += part.num_rows
        finally:
            if writer is not None:
                writer.close()
    return path, n


def _parts(run: Run, doubted: Doubted | None) -> Iterator[pa.Table]:
    names = _inputs(run)
    train = _training(run, doubted)
    kept = runs.kept_features(run, "train") or runs.kept_features(run, "train", vectors.SOURCE)
    for start in range(0, len(run.train), BLOCK):
        rows = slice(start, start + BLOCK)
        table = _texts(run, run.train.table[rows], names).hstack(_answers(run, rows)).hstack(train[rows])
        yield _with_vectors(table, None if kept is None else kept[0][rows], kept is not None)
    for split in ("validation", "test"):
        if split in run.examples.splits and run.has_predictions(split):
            other = _other(run, split, names, train.schema)
            yield _with_vectors(other, _vectors_of(run, split, kept), kept is not None)


def _inputs(run: Run) -> dict[str, str]:
    """{input column: its name in the file}: its own, unless a column of ours has it."""
    taken = {*OURS, *runs.kept_scores(run, "all").table.columns}
    return {name: name if name not in taken else slug(f"{name} text", taken, "_") for name in run.train.inputs}


def _texts(run: Run, table: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """id, split, the texts, label and, where labels were corrupted on purpose, true_label."""
    split = pl.col("_split").cast(pl.String) if "_split" in table.columns else pl.lit("train")
    truth = [pl.col("_true_label").cast(pl.String).alias("true_label")] if "_true_label" in table.columns else []
    return table.select(
        pl.col("_id").alias("id"), split.alias("split"),
        *(pl.col(name).cast(pl.String).alias(alias) for name, alias in names.items()),
        pl.col("_label").cast(pl.String).alias("label"), *truth,
    )  # fmt: skip


def _answers(run: Run, rows: slice) -> pl.DataFrame:
    """What the model says of training rows by its mean probabilities over the epochs; null without logits."""
    part = run.signals.rows(rows)
    if "logits" not in part.names or not run.classes:
        kinds = {"predicted": pl.String, "predicted_probability": pl.Float64}
        return pl.DataFrame({name: [None] * len(part) for name in kinds}, schema=kinds)
    p = mean_probability(part)  # (n, K)
    seen = ~np.isnan(p).any(axis=1)
    best = np.nan_to_num(p).argmax(axis=1)
    return pl.DataFrame({
        "predicted": [run.classes[k] if there else None for k, there in zip(best, seen, strict=True)],
        "predicted_probability": pl.Series(np.where(seen, p.max(axis=1), np.nan)).fill_nan(None),
    })  # fmt: skip


def _training(run: Run, doubted: Doubted | None) -> pl.DataFrame:
    """The columns of doubt, region and every score, a row per training example."""
    scored = runs.kept_scores(run, "all").table
    names = [name for name in scored.columns if name not in ("id", "label", "region")]
    scores = scored.select("region", *(_finite(name) for name in names))
    kinds = {
        "suggested": pl.String,
        "probability": pl.Float64,
        "score": pl.Float64,
        "rank": pl.Int64,
        "reason": pl.String,
    }
    found = pl.DataFrame(schema={"row": pl.Int64, **kinds}) if doubted is None else doubted.table.select("row", *kinds)
    rows = pl.DataFrame({"row": np.arange(len(run.train))})
    return (
        rows.join(found, on="row", how="left", maintain_order="left")
        .drop("row")
        .rename({"score": "doubt"})
        .hstack(scores)
    )


def _finite(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)


def _other(run: Run, split: str, names: dict[str, str], training: Any) -> pl.DataFrame:
    """Validation or test rows with the final model's answers; what only training examples have is null."""
    said = run.predictions(split).with_columns(pl.col("id").cast(pl.String))
    sure = pl.col("confidence") if "confidence" in said.columns else pl.lit(None, dtype=pl.Float64)
    said = said.select("id", pl.col("predicted").cast(pl.String), sure.alias("predicted_probability"))
    texts = _texts(run, run.examples.split(split).table, names)
    rest = [pl.lit(None, dtype=kind).alias(name) for name, kind in training.items()]
    return texts.join(said, on="id", how="left", maintain_order="left").with_columns(rest)


def _vectors_of(run: Run, split: str, kept: Any) -> np.ndarray | None:
    """Of the model that made those of the training examples, else none: vectors of texts have a space per split."""
    if kept is None or kept[1] == vectors.SOURCE:
        return None
    found = runs.kept_features(run, split, kept[1])
    return found[0] if found is not None and found[0].shape[1] == kept[0].shape[1] else None


def _with_vectors(table: pl.DataFrame, x: np.ndarray | None, some: bool) -> pa.Table:
    """As Arrow; with a column `vector` of float32 lists where `some` rows of the file have them, null in the others."""
    arrow = table.to_arrow()
    if not some:
        return arrow
    if x is None:
        return arrow.append_column("vector", pa.nulls(table.height, pa.large_list(pa.float32())))
    ends = pa.array(np.arange(0, x.size + 1, x.shape[1], dtype=np.int64))
    flat = pa.array(np.ascontiguousarray(x, dtype=np.float32).reshape(-1))
    return arrow.append_column("vector", pa.LargeListArray.from_arrays(ends, flat))
