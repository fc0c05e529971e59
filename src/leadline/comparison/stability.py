"""Would another seed call the same examples hard? Scores of runs that differ in nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.comparison.agreement import harder_up
from leadline.evaluate import concordance


@dataclass(frozen=True)
class Stability:
    """One score over the seeds of one recipe: means over all pairs of runs, and the least and largest pair."""

    of: str
    score: str
    runs: int
    pairs: int
    n: int  # rows that the pairs have in common, at least
    spearman: float
    spearman_low: float
    spearman_high: float
    hardest: float
    overlap: float  # share of the hardest rows in common; by chance `hardest`
    overlap_low: float
    overlap_high: float


def stability(of: str, tables: Sequence[Mapping[str, np.ndarray]], hardest: float = 0.1) -> list[Stability]:
    """A row for each score that all runs have. tables: per run {score: (N,)}, rows of the same examples in one order.

    The spread over pairs is no interval: pairs share runs.
    """
    names = [name for name in harder_up(tables[0]) if all(name in table for table in tables)]
    above = np.triu_indices(len(tables), k=1)
    found = []
    for name in names:
        runs = {str(i): harder_up({name: table[name]})[name] for i, table in enumerate(tables)}
        between = concordance(runs, hardest, repeats=0)
        rho, overlap = between.spearman[above], between.overlap[above]
        found.append(
            Stability(of, name, len(tables), len(rho), int(between.n[above].min()),
                      float(rho.mean()), float(rho.min()), float(rho.max()),
                      hardest, float(overlap.mean()), float(overlap.min()), float(overlap.max()))
        )  # fmt: skip
    return found
