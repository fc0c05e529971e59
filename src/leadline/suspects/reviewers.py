"""Several reviewers: what they decided together, and how far they agree.

Tables as `Decisions.current` gives them, one row per id and reviewer. A verdict is an action, with its class where it
is a relabel. A skip is no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.errors import InputError
from leadline.suspects.decisions import WRONG

TIE = "tie"
VERDICT = pl.concat_str(pl.col("action"), pl.col("to").fill_null(""), separator="\x1f")
TOGETHER = {"id": pl.String, "action": pl.String, "to": pl.String, "reviewers": pl.Int64, "votes": pl.Int64}


@dataclass(frozen=True)
class Agreement:
    """How far reviewers agree beyond chance: 1 fully, 0 as by chance; NaN where chance alone would agree fully."""

    kind: str  # Cohen or Fleiss
    kappa: float
    n: int  # examples that it was computed from
    raters: int  # decisions on each of them
    says: str  # which examples were used


def verdicts(current: pl.DataFrame) -> pl.DataFrame:
    """One row per decided example: id, action, to, reviewers (how many decided), votes (for this verdict).

    More than half of those who decided it must say the same; otherwise the action is `tie`.
    """
    decided = current.filter(pl.col("action") != "skip")
    if decided.is_empty():
        return pl.DataFrame(schema=TOGETHER)
    votes = decided.group_by("id", "action", "to", maintain_order=True).agg(pl.len().alias("votes"))
    most = votes.sort("votes", descending=True, maintain_order=True).group_by("id", maintain_order=True).first()
    counts = decided.group_by("id", maintain_order=True).agg(pl.len().alias("reviewers"))
    together = counts.join(most, on="id", how="left", maintain_order="left")
    majority = pl.col("votes") * 2 > pl.col("reviewers")
    return together.select(
        "id",
        pl.when(majority).then("action").otherwise(pl.lit(TIE)).alias("action"),
        pl.when(majority).then("to").otherwise(None).alias("to"),
        pl.col("reviewers").cast(pl.Int64),
        pl.col("votes").cast(pl.Int64),
    )


def wrong(together: pl.DataFrame, ids: Sequence[str]) -> np.ndarray:
    """(m,) of each id: 1 its label is wrong (relabel, discard), 0 it is not (keep, ambiguous), NaN undecided or tie."""
    found = {
        name: float(action in WRONG) for name, action in zip(together["id"], together["action"], strict=True)
        if action != TIE
    }  # fmt: skip
    return np.array([found.get(name, np.nan) for name in ids], dtype=np.float64)


def precision(together: pl.DataFrame) -> tuple[int, int]:
    """(labels found wrong, examples decided): of the suspects looked at so far, how many were errors."""
    decided = together.filter(pl.col("action") != TIE)
    return decided.filter(pl.col("action").is_in(WRONG)).height, decided.height


def agreement(current: pl.DataFrame) -> Agreement | None:
    """Cohen's kappa of two reviewers, Fleiss' kappa of more; None for one, or where nobody decided the same example.

    Cohen: the examples that both decided. Fleiss needs equally many decisions on each example: those decided by n
    reviewers are used, with the n from 2 on that most examples have (the larger of two).
    """
    decided = current.filter(pl.col("action") != "skip").with_columns(VERDICT.alias("verdict"))
    names = sorted(set(decided["reviewer"]))
    by_id = decided.group_by("id", maintain_order=True).agg("reviewer", "verdict").to_dicts()
    shared = [row for row in by_id if len(row["reviewer"]) > 1]
    if not shared:
        return None
    if len(names) == 2:
        pairs = [dict(zip(row["reviewer"], row["verdict"], strict=True)) for row in shared]
        kappa = cohen_kappa([pair[names[0]] for pair in pairs], [pair[names[1]] for pair in pairs])
        return Agreement("Cohen", kappa, len(pairs), 2, f"the {len(pairs):,} examples that both decided")
    sizes = Counter(len(row["reviewer"]) for row in shared)
    raters = max(sizes, key=lambda n: (sizes[n], n))
    used = [row["verdict"] for row in shared if len(row["reviewer"]) == raters]
    kappa = fleiss_kappa(_counts(used))
    others = f"; {len(shared) - len(used):,} decided by another number left out" if len(used) < len(shared) else ""
    says = f"the {len(used):,} examples decided by {raters} of the {len(names)} reviewers{others}"
    return Agreement("Fleiss", kappa, len(used), raters, says)


def _counts(verdicts: Sequence[Sequence[str]]) -> np.ndarray:
    """(N, C): how many gave example i the verdict c."""
    place = {name: c for c, name in enumerate(sorted({verdict for row in verdicts for verdict in row}))}
    counts = np.zeros((len(verdicts), len(place)), dtype=np.int64)
    for i, row in enumerate(verdicts):
        for verdict in row:
            counts[i, place[verdict]] += 1
    return counts


def cohen_kappa(one: Sequence[str], other: Sequence[str]) -> float:
    """(p_o - p_e) / (1 - p_e) of two raters' verdicts (N,), in [-1, 1]; NaN for p_e = 1. Cohen 1960."""
    if len(one) != len(other) or not len(one):
        raise InputError(f"Cohen's kappa: two verdicts on each example are needed, not {len(one)} and {len(other)}")
    n = len(one)
    p_o = sum(a == b for a, b in zip(one, other, strict=True)) / n
    first, second = Counter(one), Counter(other)
    p_e = sum(first[verdict] * second[verdict] for verdict in first) / n**2
    return (p_o - p_e) / (1 - p_e) if p_e < 1 else float("nan")


def fleiss_kappa(counts: np.ndarray) -> float:
    """(P - P_e) / (1 - P_e) of counts (N, C) with equal row sums n >= 2, in [-1 / (n - 1), 1]; NaN for P_e = 1.

    P = mean_i (sum_c n_ic^2 - n) / (n (n - 1)), P_e = sum_c p_c^2 with p_c the share of verdict c. Fleiss 1971.
    """
    counts = np.asarray(counts, dtype=np.float64)
    raters = counts.sum(axis=1)
    if counts.ndim != 2 or not len(counts) or (raters != raters[0]).any() or raters[0] < 2:
        raise InputError("Fleiss' kappa: equally many verdicts on each example are needed, at least two")
    n = raters[0]
    p = ((counts**2).sum(axis=1) - n).mean() / (n * (n - 1))
    p_e = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float((p - p_e) / (1 - p_e)) if p_e < 1 else float("nan")
