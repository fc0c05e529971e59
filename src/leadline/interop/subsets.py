"""A subset of a run's training data as a file, for any tool to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from leadline.data import load as loading
from leadline.data.examples import join
from leadline.data.write import write_table
from leadline.errors import InputError
from leadline.plans import subset
from leadline.runs import Run, Scored, refuse_sources, with_ids


@dataclass(frozen=True)
class Choice:
    """Which examples: by region, by score (with one of the three shares), or a random share."""

    keep: Sequence[str] = ()
    score: str | None = None
    drop_highest: float | None = None
    keep_highest: float | None = None
    keep_lowest: float | None = None
    random: float | None = None
    seed: int = 0

    @property
    def _by_score(self) -> dict[str, float]:
        shares = {"drop_highest": self.drop_highest, "keep_highest": self.keep_highest, "keep_lowest": self.keep_lowest}
        return {name: share for name, share in shares.items() if share is not None}

    @property
    def says(self) -> str:
        if self.keep:
            return f"regions {', '.join(self.keep)}"
        if self.random is not None:
            return f"a random {self.random:g}, seed {self.seed}"
        return "; ".join(f"{self.score}: {name.replace('_', ' ')} {share:g}" for name, share in self._by_score.items())

    def rows(self, scored: Scored) -> np.ndarray:
        """(M,) rows to keep, in the order of the data. Raises InputError unless one way of choosing is given."""
        ways = [bool(self.keep), self.score is not None, self.random is not None]
        if sum(ways) != 1 or (self.score is not None) != (len(self._by_score) == 1):
            raise InputError(
                "select: give one of --keep REGIONS, --random SHARE, or --score NAME with one of --drop-highest, "
                "--keep-highest, --keep-lowest SHARE"
            )
        if self.keep:
            return subset.keep_regions(scored.regions.category, self.keep)
        if self.random is not None:
            return subset.random(scored.table.height, share=self.random, seed=self.seed)
        columns = scored.columns()
        if self.score not in columns:
            reason = scored.left_out.get(str(self.score), f"known: {', '.join(columns)}")
            raise InputError(f"select: this run has no score `{self.score}` ({reason})")
        (way, share), values = next(iter(self._by_score.items())), columns[self.score]
        return getattr(subset, way)(values, share)


def write_subset(run: Run, scored: Scored, choice: Choice, output: Path, data: str | None = None) -> tuple[int, int]:
    """Writes `id` and the source columns of the chosen training examples; returns (kept, of how many).

    data  take the rows from this copy of the training file, joined by id; refused where inputs or labels differ
    The source is never written to.
    """
    refuse_sources(run, [output], data)
    rows = choice.rows(scored)
    if not len(rows):
        raise InputError(f"select: no example left ({choice.says})")
    examples = run.train
    if data is not None:
        if run.recipe is None:
            raise InputError(f"{run.path}: has no recipe that names the columns of {data}; leave --data away")
        copy = loading.load_one(data, run.recipe.data, run.recipe.task, run.classes, split="train")
        rows = join(examples, copy, where=data)[rows]
        examples = copy
    table = examples.table[rows]
    if not examples.source_columns:  # an import without its data: ids and labels are all there is
        table = table.with_columns(pl.col("_label").alias("label"))
    elif "_true_label" in table.columns and run.recipe and run.recipe.data.label:
        # wrong labels put in on purpose: the scores speak of them, so they are what is selected and trained on next
        label = run.recipe.data.label
        table = table.with_columns(pl.col(label).alias("true_label"), pl.col("_label").alias(label))
    write_table(output, with_ids(table))
    return len(rows), len(run.train)
