"""Suspects: the examples whose label is doubted, most doubtful first, with the label that the model would give.

One table, and three ways to it: by a score of the record, by any doubt beside the record, and by probabilities from
elsewhere (of folds, of a model that had not met the example, of a test split).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from leadline.errors import InputError
from leadline.scores import SCORES, gold_probability, mean_probability, n_obs
from leadline.signals import Signals

BLOCK = 100_000  # rows at a time
# The first of these that a run has ranks it where nothing is asked for. By bench/audit.py, over 3 and 10 epochs.
USUAL = ("aum_prob", "aum", "confidence", "action_mean")
SCHEMA = {
    "id": pl.String,
    "label": pl.String,
    "suggested": pl.String,
    "probability": pl.Float64,
    "score": pl.Float64,
    "rank": pl.Int64,
    "reason": pl.String,
}
Said = Callable[[np.ndarray], dict[str, object]]  # rows (B,) -> the columns label, suggested, probability, reason


def rank(
    signals: Signals, columns: Mapping[str, np.ndarray], by: str | None = None, most: int | None = None
) -> pl.DataFrame:
    """One row per scored example, most suspicious first: id, label, suggested, probability, score, rank, reason.

    columns      scores as from `scores.compute`
    by           the score to rank by; None: `usual`. Hardest first, ties in the order of the rows; NaN is no suspect
                 and left out
    most         only so many rows; what the others would say is not worked out
    suggested    the most probable class other than the label, by its mean probability over epochs (`probability`);
                 null without logits. Where the model agrees with the label, `reason` says so
    rank         from 1
    Raises InputError for a score that is not there or does not say which label is doubtful.
    """
    by = by or usual(columns)
    values = _usable(columns, by)
    doubt = values if SCORES[by].higher_is == "harder" else -values
    return _table(signals.ids, doubt, values, _by_record(signals, columns.get("action_mean")), most)


def rank_doubt(
    signals: Signals, doubt: np.ndarray, losses: np.ndarray | None = None, most: int | None = None
) -> pl.DataFrame:
    """As `rank`, by any doubt (N,): higher is more doubtful, and is the column `score`.

    losses  (N,) mean loss, for the reason where there are no probabilities
    """
    return _table(signals.ids, doubt, doubt, _by_record(signals, losses), most)


def rank_probabilities(
    ids: Sequence[str],
    gold: np.ndarray,
    classes: Sequence[str],
    probabilities: np.ndarray,
    doubt: np.ndarray,
    how: str,
    most: int | None = None,
) -> pl.DataFrame:
    """As `rank`, by probabilities that are not the record's.

    gold           (N,) class index
    probabilities  (N, K), rows with NaN had no answer and are left out
    doubt          (N,) higher is more doubtful; the column `score`
    how            where the probabilities come from, for the reason: "by 5 folds"
    """
    if probabilities.shape != (len(ids), len(classes)):
        raise InputError(
            f"suspects: probabilities of shape {probabilities.shape} for {len(ids)} examples of {len(classes)} classes"
        )

    def said(rows: np.ndarray) -> dict[str, object]:
        rival, probability, own = _rivals(probabilities[rows], gold[rows])
        reasons = [
            f"label has {o:.2f} {how}; " + (f"the model says `{classes[k]}` ({p:.2f})" if p > o else "it is kept")
            for o, p, k in zip(own, probability, rival, strict=True)
        ]
        suggested = [classes[k] for k in rival]
        return {
            "label": [classes[k] for k in gold[rows]],
            "suggested": suggested,
            "probability": probability,
            "reason": reasons,
        }

    answered = np.where(np.isnan(probabilities).any(axis=1), np.nan, doubt)
    return _table(ids, answered, answered, said, most)


def usual(columns: Mapping[str, np.ndarray]) -> str:
    """What ranks where nothing is asked for: the first of USUAL that is there, else the first score that can."""
    usable = [name for name in (*USUAL, *_directed(columns)) if name in columns]
    return usable[0] if usable else USUAL[0]


def _table(ids: Sequence[str], doubt: np.ndarray, values: np.ndarray, said: Said, most: int | None) -> pl.DataFrame:
    """The table of the rows with a doubt (N,), block by block; `values` (N,) become the column `score`."""
    scored = np.flatnonzero(~np.isnan(doubt))
    rows = scored[np.argsort(-doubt[scored], kind="stable")][:most]  # most doubtful first
    parts = []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        own = {
            "id": [str(ids[row]) for row in block.tolist()],
            "score": values[block].astype(np.float64),
            "rank": np.arange(start + 1, start + len(block) + 1),
        }
        parts.append(pl.DataFrame({**own, **said(block)}, schema_overrides=SCHEMA).select(list(SCHEMA)))
    return pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)


def _directed(columns: Mapping[str, np.ndarray]) -> list[str]:
    """The scores that say which label is doubtful."""
    return [name for name in columns if name in SCORES and SCORES[name].higher_is in ("harder", "easier")]


def _usable(columns: Mapping[str, np.ndarray], by: str) -> np.ndarray:
    usable = _directed(columns)
    if by in usable:
        return np.asarray(columns[by], dtype=np.float64)
    what = f"`{by}` does not say which labels are doubtful" if by in columns else f"this run has no score `{by}`"
    raise InputError(f"suspects: {what}; rank by one of {', '.join(usable)}")


def _rivals(p: np.ndarray, gold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, K), (B,) -> the strongest class beside the label (B,), its probability (B,), and the label's own (B,)."""
    at, others = np.arange(len(p)), p.copy()
    others[at, gold] = -1.0
    rival = others.argmax(axis=1)
    return rival, others[at, rival], p[at, gold]


# What the record says of its examples


def _by_record(signals: Signals, losses: np.ndarray | None) -> Said:
    """losses (N,): mean loss, for the reason where there are no probabilities."""
    mean_loss = np.full(len(signals), np.nan) if losses is None else losses

    def said(rows: np.ndarray) -> dict[str, object]:
        part = signals.rows(rows)
        suggested, probability, own = _of_record(part)
        return {
            "label": _labels(part),
            "suggested": suggested,
            "probability": pl.Series(probability, dtype=pl.Float64).fill_nan(None),
            "reason": _reasons(part, mean_loss[rows], suggested, probability, own),
        }

    return said


def _labels(signals: Signals) -> list[str]:
    if not signals.classes:
        return [str(gold) for gold in signals.gold.tolist()]
    return [signals.classes[gold] for gold in signals.gold.tolist()]


def _of_record(signals: Signals) -> tuple[list[str | None], np.ndarray, np.ndarray]:
    """The strongest class beside the label (B,), its mean probability (B,), and the label's own (B,); none without."""
    n = len(signals)
    if "logits" not in signals.names or not np.issubdtype(signals.gold.dtype, np.integer):
        return [None] * n, np.full(n, np.nan), np.full(n, np.nan)
    p = mean_probability(signals)  # (B, K)
    rival, probability, own = _rivals(p, signals.gold)
    names = signals.classes or tuple(str(k) for k in range(p.shape[1]))
    suggested = [None if np.isnan(o) else names[k] for o, k in zip(own, rival, strict=True)]
    return suggested, np.where(np.isnan(own), np.nan, probability), own


def _reasons(
    signals: Signals,
    losses: np.ndarray,
    suggested: list[str | None],
    probability: np.ndarray,
    own: np.ndarray,
) -> list[str]:
    """A sentence per example, such as "gold probability never above 0.12 in 5 epochs; the model says `spam` (0.91)"."""
    g = gold_probability(signals)  # (E, B)
    lows, highs, seen = np.fmin.reduce(g, axis=0), np.fmax.reduce(g, axis=0), n_obs(signals)
    reasons = []
    for row in range(len(signals)):
        epochs = f"{seen[row]} epoch{'' if seen[row] == 1 else 's'}"
        if np.isnan(highs[row]):
            parts = [f"mean loss {losses[row]:.3g} in {epochs}"]
        elif seen[row] == 1:
            parts = [f"gold probability {highs[row]:.2f} in {epochs}"]
        elif highs[row] < 0.5:
            parts = [f"gold probability never above {highs[row]:.2f} in {epochs}"]
        else:
            parts = [f"gold probability between {lows[row]:.2f} and {highs[row]:.2f} in {epochs}"]
        if suggested[row] is not None:
            agrees = own[row] >= probability[row]
            says = "the model keeps the label, next comes" if agrees else "the model says"
            parts.append(f"{says} `{suggested[row]}` ({probability[row]:.2f})")
        reasons.append("; ".join(parts))
    return reasons
