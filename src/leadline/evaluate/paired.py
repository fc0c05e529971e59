"""What every comparison of two models gives: a difference with interval, p and n; and Holm's correction for several."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError
from leadline.evaluate.checks import in_range


@dataclass(frozen=True)
class Difference:
    """Second minus first: positive where the second has the larger number, which is not always the better one.

    `p` is two-sided. `lowest_p` is the smallest p that this n allows: where it is above the level, no result could be
    significant. `p_holm` is p corrected for all comparisons of a table (`corrected`), NaN before. `detectable` is the
    smallest true difference that the test would find with power 0.8 at level 0.05, NaN where none would be.
    """

    value: float
    low: float
    high: float
    p: float
    n: int
    method: str
    lowest_p: float = 0.0
    p_holm: float = np.nan
    detectable: float = np.nan


def holm(p: ArrayLike) -> np.ndarray:
    """Adjusted p-values (M,) of M comparisons, in [0, 1], in the order given; Holm's step-down (1979).

    The k-th smallest p is multiplied by M - k + 1, never below the one before it. Rejecting what is at most the level
    keeps the chance of any false rejection within the level, whatever the dependence between the comparisons. NaN (a
    comparison that could not be made) stays NaN and does not count.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"holm: one p-value per comparison is needed, shape (M,), not {values.shape}")
    known = np.flatnonzero(~np.isnan(values))
    in_range(values[known], 0, 1, "p")
    adjusted = np.full(values.shape, np.nan)
    ascending = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(factors * values[ascending]))
    return adjusted


def corrected(found: list[Difference]) -> list[Difference]:
    """The same comparisons with `p_holm`, all of them as one family."""
    return [replace(d, p_holm=float(p)) for d, p in zip(found, holm([d.p for d in found]), strict=True)]
