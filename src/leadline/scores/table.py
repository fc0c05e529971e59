"""Many scores at once, in blocks of rows; and their mean over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from leadline.errors import InputError, nearest
from leadline.scores.observed import mean
from leadline.scores.probed import lacking
from leadline.scores.registry import NEEDS, SCORES
from leadline.signals import Signals

BLOCK = 100_000  # rows at a time


def compute(
    signals: Signals, names: str | Iterable[str] = "all", block: int = BLOCK
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """({name: (N,) float64}, {name of a score left out: why}) in the order of SCORES or of `names`.

    Runs over `block` rows at a time, so memory is bounded by the block and the columns. Raises InputError for an
    unknown name, and for a run without examples or without recorded epochs.
    """
    computable, left_out = usable(signals, names)
    return columns(signals, computable, block), left_out


def usable(signals: Signals, names: str | Iterable[str] = "all") -> tuple[list[str], dict[str, str]]:
    """(the scores of `names` that this run can have, {name of one that it cannot: why}). Raises as `compute`."""
    if len(signals) == 0 or signals.n_epochs == 0:
        raise InputError(f"nothing to score: {len(signals)} examples, {signals.n_epochs} recorded epochs")
    missing = {need: reason for need in NEEDS if (reason := _missing(signals, need))}
    found, left_out = [], {}
    for name in known(names):
        reasons = [missing[need] for need in SCORES[name].needs if need in missing]
        if SCORES[name].probe and name not in signals.probes:
            reasons.append(lacking(name))
        if reasons:
            left_out[name] = "; ".join(reasons)
        else:
            found.append(name)
    return found, left_out


def columns(signals: Signals, names: Sequence[str], block: int = BLOCK) -> dict[str, np.ndarray]:
    """{name: (N,) float64} of scores that are known to be `usable`."""
    filled = {name: np.full(len(signals), np.nan) for name in names}
    for rows, part in signals.blocks(block):
        for name, column in filled.items():
            column[rows] = SCORES[name].function(part)
    return filled


def average(runs: Sequence[Signals], names: str | Iterable[str] = "all", block: int = BLOCK) -> dict[str, np.ndarray]:
    """{name: (N,) float64}: the mean of each score over runs of the same data, of the scores that all runs have.

    A run that did not observe an example is passed over. An infinite score stays infinite: an example that one of
    the runs never learned has infinite mean forgetting. Raises InputError naming the first id or identity that differs.
    """
    if not runs:
        raise InputError("no runs to average")
    for number, run in enumerate(runs[1:], start=2):
        _same_examples(runs[0], run, f"run {number} of {len(runs)}")
    tables = [compute(run, names, block)[0] for run in runs]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: mean(np.stack([table[name] for table in tables])) for name in shared}


def known(names: str | Iterable[str]) -> list[str]:
    """The names asked for, "all" spelled out. Raises InputError for one that is no score."""
    chosen = list(SCORES) if names == "all" else [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in SCORES:
            raise InputError(f"there is no score `{name}`.{nearest(name, SCORES)} The scores are {', '.join(SCORES)}")
    return chosen


def _missing(signals: Signals, need: str) -> str | None:
    """Why the run cannot serve a need, or None."""
    if need == "several epochs":
        return f"needs several epochs; this run has {signals.n_epochs}" if signals.n_epochs < 2 else None
    if need == "probe":
        return None  # each has a file of its own: `usable` asks for it
    if need == "gold":
        no_class = not np.issubdtype(signals.gold.dtype, np.integer)
        return "needs a gold class; the answers of this run are no classes" if no_class else None
    if need == "logits":
        if "logits" in signals.names:
            return None
        return "needs logits; this run has none: its answer space is not fixed, or `record.logits` was off"
    return None if _defined(signals, need) else f"needs {need}; the task of this run defines none"


def _defined(signals: Signals, name: str) -> bool:
    if name not in signals.names:
        return False
    columns = (period.columns[name] for period in signals.periods)
    return any(bool((x >= 0).any() if name == "correct" else not np.isnan(x).all()) for x in columns)


def _same_examples(one: Signals, other: Signals, where: str) -> None:
    if len(one) != len(other):
        raise InputError(f"{where} has {len(other)} examples, the first has {len(one)}: average runs of the same data")
    for row, (a, b) in enumerate(zip(one.ids, other.ids, strict=True)):
        if str(a) != str(b):
            raise InputError(f"{where} has id {b} in row {row}, the first has {a}: average runs of the same data")
    for key in one.identity:
        if key in other.identity and one.identity[key] != other.identity[key]:
            what = key.removesuffix("_hash") + "s"
            raise InputError(f"{where} has other {what} than the first ({key} differs): average runs of the same data")
    differ = np.flatnonzero(np.asarray(one.gold) != np.asarray(other.gold))
    if len(differ):
        raise InputError(
            f"{where} has another gold answer for {len(differ)} examples (first id: {one.ids[differ[0]]}): "
            "average runs of the same labels"
        )
