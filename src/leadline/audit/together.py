"""What no fold may tear apart: a model that has read a copy of an example is no judge of its label."""

from __future__ import annotations

import numpy as np
import polars as pl

from leadline import runs
from leadline.data.neighbours import groups
from leadline.runs import Run
from leadline.suspects import find_duplicates


def together(run: Run) -> np.ndarray:
    """(N,) what no fold may tear apart: equal and nearly equal texts, and the groups of `data.group`."""
    x, _ = runs.vectors(run)
    joined = find_duplicates(run.train, x).group
    rows = np.arange(len(joined))
    pairs = [np.column_stack([rows, _first(joined)])]
    column = run.recipe.data.group if run.recipe else None
    if column is not None:
        named = np.unique(run.train.table[column].cast(pl.String).to_numpy(), return_inverse=True)[1]
        pairs.append(np.column_stack([rows, _first(named)]))
    return groups(np.vstack(pairs), len(rows))


def _first(group: np.ndarray) -> np.ndarray:
    """(N,) the first row of each row's group."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    return first[inverse]
