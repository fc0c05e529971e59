"""Regions of the data map: which examples are easy, ambiguous or hard.

A rule gives three sets, which may overlap; `category` files each example once, by precedence. Most hard examples of a
selection by proportion are ambiguous as well, so with the usual precedence few stay hard: look at `overlaps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.errors import InputError

NAMES = ("easy", "ambiguous", "hard")
CATEGORIES = (*NAMES, "none")  # in the order of their codes
AMBIGUOUS_FIRST = ("ambiguous", "easy", "hard")  # the published categories of the TD-mixup project
HARD_FIRST = ("hard", "ambiguous", "easy")  # keeps every hard example hard


@dataclass(frozen=True)
class Axes:
    """Where examples lie on the data map: x and y (N,), and what they are."""

    x: np.ndarray
    y: np.ndarray
    x_name: str
    y_name: str


def axes(columns: Mapping[str, np.ndarray]) -> Axes:
    """Variability and confidence; where the gold answer has no probability, std of the loss and minus its mean.

    `columns` as from `scores.compute`. Raises InputError where a run of one recorded epoch has neither.
    """
    if "confidence" in columns and "variability" in columns:
        return Axes(columns["variability"], columns["confidence"], "variability", "confidence")
    if "confidence" not in columns and "action_mean" in columns and "loss_std" in columns:
        x, y = columns["loss_std"], -columns["action_mean"]
        return Axes(x, y, "standard deviation of the loss", "minus the mean loss")
    raise InputError(
        "a data map needs outcomes of at least two recorded epochs: train longer, or record within the epoch "
        "(record.every: 0.5)"
    )


@dataclass(frozen=True)
class Regions:
    """`sets`: row indices of easy, ambiguous, hard, the most typical first; `code` (N,) int8: where a row is filed."""

    rule: str
    sets: dict[str, np.ndarray]
    code: np.ndarray  # of CATEGORIES

    @property
    def category(self) -> np.ndarray:
        """(N,) text: easy, ambiguous, hard or none. 36 bytes a row: for many rows use `column` or `code`."""
        return np.array(CATEGORIES)[self.code]

    @property
    def column(self) -> pl.Series:
        """(N,) the same as a column of text."""
        return pl.Series("region", CATEGORIES).gather(self.code.astype(np.uint32))

    @property
    def overlaps(self) -> pl.DataFrame:
        """One row per region: rows in its set, rows that it shares with each set, rows filed there after precedence."""
        inside = {name: np.zeros(len(self.code), dtype=bool) for name in NAMES}
        for name, members in self.sets.items():
            inside[name][members] = True
        none = ~(inside["easy"] | inside["ambiguous"] | inside["hard"])
        rows = []
        for number, (name, here) in enumerate({**inside, "none": none}.items()):
            also = {f"also_{other}": int((here & inside[other]).sum()) for other in NAMES}
            filed = int((self.code == number).sum())
            rows.append({"region": name, "in_set": int(here.sum()), **also, "category": filed})
        return pl.DataFrame(rows)


def nowhere(rule: str, n: int) -> Regions:
    """No example is in a region."""
    empty = {name: np.array([], dtype=np.int64) for name in NAMES}
    return Regions(rule, empty, np.full(n, CATEGORIES.index("none"), dtype=np.int8))


def by_proportion(
    confidence: np.ndarray,
    variability: np.ndarray,
    proportion: float = 0.33,
    precedence: Sequence[str] = AMBIGUOUS_FIRST,
) -> Regions:
    """The k = int(proportion N) lowest confidences are hard, the k highest easy, the k highest variabilities ambiguous.

    Ties go to the earlier row (rows lie in the order of their ids in a run made by leadline). Rows with NaN are in no
    region and not counted in N. Swayamdipta et al. 2020; proportion and precedence of the TD-mixup project.
    """
    confidence, variability = _checked(confidence, variability)
    if not 0 < proportion <= 1:
        raise InputError(f"proportion: a share of the examples above 0 and at most 1 is needed, not {proportion}")
    rows = np.flatnonzero(~np.isnan(confidence) & ~np.isnan(variability))
    k = int(proportion * len(rows))
    sets = {
        "easy": _highest(confidence, rows, k),
        "ambiguous": _highest(variability, rows, k),
        "hard": _highest(-confidence, rows, k),
    }
    return _regions(f"proportion {proportion:g}: {k} of {len(rows)} examples each", sets, len(confidence), precedence)


def by_threshold(
    confidence: np.ndarray,
    variability: np.ndarray,
    easy: float = 0.75,
    hard: float = 0.25,
    ambiguous: float = 0.2,
    precedence: Sequence[str] = AMBIGUOUS_FIRST,
) -> Regions:
    """Confidence >= `easy` is easy, confidence <= `hard` is hard, variability >= `ambiguous` is ambiguous.

    0.75 and 0.25 are Data-IQ's; no paper fixes a threshold on variability: 0.2 is two fifths of its largest value.
    """
    confidence, variability = _checked(confidence, variability)
    if not hard < easy:
        raise InputError(f"thresholds: hard ({hard}) must lie below easy ({easy})")
    seen = ~np.isnan(confidence) & ~np.isnan(variability)
    sets = {
        "easy": _highest(confidence, np.flatnonzero(seen & (confidence >= easy))),
        "ambiguous": _highest(variability, np.flatnonzero(seen & (variability >= ambiguous))),
        "hard": _highest(-confidence, np.flatnonzero(seen & (confidence <= hard))),
    }
    rule = f"confidence >= {easy:g} easy, <= {hard:g} hard, variability >= {ambiguous:g} ambiguous"
    return _regions(rule, sets, len(confidence), precedence)


def by_data_iq(
    confidence: np.ndarray, aleatoric: np.ndarray, upper: float = 0.75, lower: float = 0.25, percentile: float = 50.0
) -> Regions:
    """Aleatoric uncertainty up to its percentile and high confidence: easy; and low confidence: hard; else ambiguous.

    Seedat et al. 2022 (Data-IQ) with its thresholds. The groups do not overlap; only rows with NaN are in none.
    """
    confidence, aleatoric = _checked(confidence, aleatoric)
    seen = ~np.isnan(confidence) & ~np.isnan(aleatoric)
    low = seen & (aleatoric <= (np.percentile(aleatoric[seen], percentile) if seen.any() else np.nan))
    is_easy, is_hard = low & (confidence >= upper), low & (confidence <= lower)
    sets = {
        "easy": _highest(confidence, np.flatnonzero(is_easy)),
        "ambiguous": _highest(aleatoric, np.flatnonzero(seen & ~is_easy & ~is_hard)),
        "hard": _highest(-confidence, np.flatnonzero(is_hard)),
    }
    rule = f"Data-IQ: confidence {upper:g} and {lower:g}, aleatoric percentile {percentile:g}"
    return _regions(rule, sets, len(confidence), AMBIGUOUS_FIRST)


def _checked(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    checked = tuple(np.asarray(array, dtype=np.float64) for array in arrays)
    if len({array.shape for array in checked}) != 1 or checked[0].ndim != 1:
        raise ValueError(f"arrays of the same shape (N,) are needed, not {[array.shape for array in checked]}")
    return checked


def _highest(values: np.ndarray, rows: np.ndarray, most: int | None = None) -> np.ndarray:
    """`rows` by falling value, at most so many; ties in the order of the rows."""
    low = -values[rows]
    if most is not None and most < len(rows):  # sort only those that can be among them
        edge = np.partition(low, most - 1)[most - 1] if most else -np.inf
        below, at = np.flatnonzero(low < edge), np.flatnonzero(low == edge)
        chosen = np.sort(np.concatenate([below, at[: most - len(below)]]))
        rows, low = rows[chosen], low[chosen]
    return rows[np.argsort(low, kind="stable")]


def _regions(rule: str, sets: dict[str, np.ndarray], n: int, precedence: Sequence[str]) -> Regions:
    if sorted(precedence) != sorted(NAMES):
        raise InputError(f"precedence: easy, ambiguous and hard, each once, are needed, not {', '.join(precedence)}")
    code = np.full(n, CATEGORIES.index("none"), dtype=np.int8)
    for name in reversed(precedence):
        code[sets[name]] = CATEGORIES.index(name)
    return Regions(f"{rule}; {' over '.join(precedence)}", sets, code)
