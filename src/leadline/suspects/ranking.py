"""Suspects: the examples whose label a score doubts, most doubtful first, with the label that the model would give."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from leadline.errors import InputError
from leadline.scores import SCORES, gold_probability, mean_probability, n_obs
from leadline.signals import Signals

BLOCK = 100_000  # rows at a time
SCHEMA = {
    "id": pl.String,
    "label": pl.String,
    "suggested": pl.String,
    "probability": pl.Float64,
    "score": pl.Float64,
    "rank": pl.Int64,
    "reason": pl.String,
}


def rank(signals: Signals, columns: Mapping[str, np.ndarray], by: str = "aum", most: int | None = None) -> pl.DataFrame:
    """One row per scored example, most suspicious first: id, label, suggested, probability, score, rank, reason.

    columns      scores as from `scores.compute`
    by           the score to rank by; hardest first, ties in the order of the rows; NaN is no suspect and left out
    most         only so many rows; what the others would say is not worked out
    suggested    the most probable class other than the label, by its mean probability over epochs (`probability`);
                 null without logits. Where the model agrees with the label, `reason` says so
    rank         from 1
    Raises InputError for a score that is not there or does not say which label is doubtful.
    """
    values = _usable(columns, by)
    doubt = values if SCORES[by].higher_is == "harder" else -values
    return _listed(signals, values, doubt, columns.get("action_mean"), most)


def rank_doubt(
    signals: Signals, doubt: np.ndarray, losses: np.ndarray | None = None, most: int | None = None
) -> pl.DataFrame:
    """As `rank`, by any doubt (N,): higher is more doubtful, and is the column `score`.

    losses  (N,) mean loss, for the reason where there are no probabilities
    """
    return _listed(signals, doubt, doubt, losses, most)


def _listed(
    signals: Signals, values: np.ndarray, doubt: np.ndarray, losses: np.ndarray | None, most: int | None
) -> pl.DataFrame:
    scored = np.flatnonzero(~np.isnan(doubt))
    rows = scored[np.argsort(-doubt[scored], kind="stable")][:most]  # most doubtful first
    losses = np.full(len(signals), np.nan) if losses is None else losses
    parts = [
        _described(signals.rows(block), values[block], losses[block], start + 1)
        for start in range(0, len(rows), BLOCK)
        for block in [rows[start : start + BLOCK]]
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)


def _described(part: Signals, values: np.ndarray, losses: np.ndarray, first: int) -> pl.DataFrame:
    """The table of some suspects (B,), whose first has the rank `first`."""
    suggested, probability, own = _rivals(part)
    table = {
        "id": [str(name) for name in part.ids],
        "label": _labels(part),
        "suggested": suggested,
        "probability": pl.Series(probability, dtype=pl.Float64).fill_nan(None),
        "score": values,
        "rank": np.arange(first, first + len(values)),
        "reason": _reasons(part, losses, suggested, probability, own),
    }
    return pl.DataFrame(table, schema=SCHEMA)


def _usable(columns: Mapping[str, np.ndarray], by: str) -> np.ndarray:
    usable = [name for name in columns if name in SCORES and SCORES[name].higher_is in ("harder", "easier")]
    if by in usable:
        return np.asarray(columns[by], dtype=np.float64)
    what = f"`{by}` does not say which labels are doubtful" if by in columns else f"this run has no score `{by}`"
    raise InputError(f"suspects: {what}; rank by one of {', '.join(usable)}")


def _labels(signals: Signals) -> list[str]:
    if not signals.classes:
        return [str(gold) for gold in signals.gold.tolist()]
    return [signals.classes[gold] for gold in signals.gold.tolist()]


def _rivals(signals: Signals) -> tuple[list[str | None], np.ndarray, np.ndarray]:
    """The strongest class beside the label (N,), its mean probability (N,), and the label's own (N,)."""
    n = len(signals)
    if "logits" not in signals.names or not np.issubdtype(signals.gold.dtype, np.integer):
        return [None] * n, np.full(n, np.nan), np.full(n, np.nan)
    p, at = mean_probability(signals), np.arange(n)  # (N, K)
    own = p[at, signals.gold]
    p[at, signals.gold] = -1.0
    rival = p.argmax(axis=1)
    probability = np.where(np.isnan(own), np.nan, p[at, rival])
    names = signals.classes or tuple(str(k) for k in range(p.shape[1]))
    return [None if np.isnan(o) else names[k] for o, k in zip(own, rival, strict=True)], probability, own


def _reasons(
    signals: Signals,
    losses: np.ndarray,
    suggested: list[str | None],
    probability: np.ndarray,
    own: np.ndarray,
) -> list[str]:
    """A sentence per example, such as "gold probability never above 0.12 in 5 epochs; the model says `spam` (0.91)"."""
    g = gold_probability(signals)  # (E, N)
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
