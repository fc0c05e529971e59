"""Which score agrees with which: Spearman, Kendall and the hardest examples in common, directions made alike.

Scores that say "harder" or "easier" are turned so that harder is up. The others say something else (ambiguous; or
uncertain whatever the label) and stand apart, as they are: how far they go with the first is a finding, not a sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leadline.evaluate import Concordance, concordance, rank_agreement
from leadline.scores import SCORES

KENDALL_ROWS = 5000  # of which tau is computed unless all are asked for: 435 pairs of 67,000 rows take a minute
FEW = 20  # rows of a class below which its agreement says nothing


@dataclass(frozen=True)
class ScoreAgreement:
    """Pairwise tables (M, M) of the scores of one run, or their means over the seeds of one recipe.

    names        those that say harder or easier first, then those `apart`; in the order of SCORES
    turned       scores whose sign was changed so that harder is up
    low, high    of spearman and overlap: 95 % bootstrap intervals over examples; over seeds the least and the largest
    overlap      share of the `hardest` rows in common; for a score apart the rows where it is highest
    classes      the same per class of the label, without Kendall: {class: {n, spearman, overlap, …}}
    """

    of: str
    runs: int  # seeds that the tables are means over
    names: list[str]
    turned: list[str]
    apart: list[str]
    hardest: float
    n: np.ndarray
    spearman: np.ndarray
    spearman_low: np.ndarray
    spearman_high: np.ndarray
    overlap: np.ndarray
    overlap_low: np.ndarray
    overlap_high: np.ndarray
    jaccard: np.ndarray
    kendall: np.ndarray
    kendall_n: int
    interval: str = "bootstrap over examples"
    left_out: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def as_recorded(self, table: np.ndarray) -> np.ndarray:
        """A table of correlations of the scores as they are, not turned."""
        sign = np.array([-1.0 if name in self.turned else 1.0 for name in self.names])
        return table * np.outer(sign, sign)


TABLES = ("spearman", "spearman_low", "spearman_high", "overlap", "overlap_low", "overlap_high")


def agreement(
    of: str,
    columns: Mapping[str, np.ndarray],
    hardest: float = 0.1,
    left_out: Mapping[str, str] | None = None,
    labels: tuple[Sequence[str], np.ndarray] | None = None,
    all_of_kendall: bool = False,
) -> ScoreAgreement:
    """The scores of one run, `columns` {name: (N,)} as from `scores.compute`.

    labels  class names and the class of each row (N,): also within each class of at least 20 rows
    """
    turned = harder_up(columns)
    whole = concordance(turned, hardest)
    ranks = rank_agreement(turned, None if all_of_kendall else KENDALL_ROWS)
    classes = {}
    for number, name in enumerate(labels[0] if labels else ()):
        rows = np.flatnonzero(np.asarray(labels[1]) == number) if labels else np.zeros(0, dtype=int)
        if len(rows) >= FEW:
            part = concordance({score: values[rows] for score, values in turned.items()}, hardest)
            classes[name] = {"n": part.n, **_tables(part), "jaccard": part.jaccard}
    return ScoreAgreement(
        of=of, runs=1, names=whole.names, turned=[name for name in whole.names if _says(name) == "easier"],
        apart=[name for name in whole.names if no_direction(name)], hardest=hardest, n=whole.n, **_tables(whole),
        jaccard=whole.jaccard, kendall=ranks.kendall, kendall_n=ranks.kendall_n,
        left_out=dict(left_out or {}), classes=classes,
    )  # fmt: skip


def harder_up(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns with the sign of "easier" ones changed; those apart (ambiguous, neither) come last, as they are."""
    order = sorted(columns, key=no_direction)
    return {name: -columns[name] if _says(name) == "easier" else columns[name] for name in order}


def over_seeds(of: str, parts: Sequence[ScoreAgreement]) -> ScoreAgreement:
    """The mean over several runs of the scores that all have; low and high are the least and the largest of them."""
    names = [name for name in parts[0].names if all(name in part.names for part in parts)]
    at = [[part.names.index(name) for name in names] for part in parts]

    def each(table: str, source: Sequence[Any]) -> np.ndarray:  # (R, M, M)
        return np.stack([np.asarray(one[table])[np.ix_(i, i)] for one, i in zip(source, at, strict=True)])

    found = _mean_and_range(each, [vars(part) for part in parts])
    shared = [name for name in parts[0].classes if all(name in part.classes for part in parts)]
    classes = {name: _mean_and_range(each, [part.classes[name] for part in parts]) for name in shared}
    first = parts[0]
    return ScoreAgreement(
        of=of, runs=len(parts), names=names, turned=[n for n in first.turned if n in names],
        apart=[n for n in first.apart if n in names], hardest=first.hardest, **found,
        kendall=each("kendall", [vars(part) for part in parts]).mean(axis=0), kendall_n=first.kendall_n,
        interval="least and largest over seeds", left_out=_merged(parts), classes=classes,
    )  # fmt: skip


def _mean_and_range(each: Any, source: Sequence[Any]) -> dict[str, Any]:
    tables = {"n": each("n", source).min(axis=0), "jaccard": each("jaccard", source).mean(axis=0)}
    for name in ("spearman", "overlap"):
        values = each(name, source)
        tables |= {name: values.mean(axis=0), f"{name}_low": values.min(axis=0), f"{name}_high": values.max(axis=0)}
    return tables


def _merged(parts: Sequence[ScoreAgreement]) -> dict[str, str]:
    return {name: why for part in parts for name, why in part.left_out.items()}


def _tables(found: Concordance) -> dict[str, Any]:
    return {name: getattr(found, name) for name in TABLES}


def _says(name: str) -> str:
    return SCORES[name].higher_is if name in SCORES else "neither"


def no_direction(name: str) -> bool:
    """High says neither harder nor easier: ambiguous, or unsure whatever the label."""
    return _says(name) not in ("harder", "easier")
