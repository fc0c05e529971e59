"""Class probabilities per example for judging its label: from before it was trained on, or from the whole run.

Out of sample means: by a model that had not been trained on the example. In-sample probabilities of a model that has
learned wrong labels by heart hide them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leadline.errors import InputError
from leadline.scores import mean_probability
from leadline.signals import Signals, softmax

WINDOW = 200  # outcomes of about the same step
LEAST_IN_CLASS = 100  # outcomes of a class below which its rows are compared with those of all classes


def prequential(signals: Signals) -> np.ndarray:
    """(N, K) softmax of each example's latest outcome from before it was first trained on; NaN where it has none.

    Prequential: the outcome is online (read in the training pass, before the step that uses it) and no earlier period
    trained on the example. So all of the first epoch is, and under a curriculum whatever first appears later. Out of
    sample at no cost; `informed` says how to live with early outcomes coming from a model that knew little.
    Raises InputError without logits, or where no outcome is prequential (snapshots, imports).
    """
    _need_logits(signals)
    period = _prequential_period(signals)
    values = np.full((len(signals), signals.epoch(1).logits.shape[1]), np.nan)
    for number in np.unique(period[period > 0]):
        rows = np.flatnonzero(period == number)
        values[rows] = softmax(signals.epoch(int(number)).logits[rows])
    return values


def own(signals: Signals) -> np.ndarray:
    """(N, K) the run's own probabilities: the mean over the observed epochs. In sample; see the module."""
    _need_logits(signals)
    return mean_probability(signals)


def _need_logits(signals: Signals) -> None:
    if "logits" not in signals.names:
        raise InputError("probabilities need logits; this run has none: rank its suspects by a score instead")


def _prequential_period(signals: Signals) -> np.ndarray:
    """(N,) the number of each example's latest period with a prequential outcome, 0 for none; raises if all are 0."""
    latest = np.zeros(len(signals), dtype=np.int64)
    untouched = np.ones(len(signals), dtype=bool)
    for number, period in enumerate(signals.periods, start=1):
        if period.metadata.get("mode") == "online":
            latest[untouched & period.recorded] = number
        untouched &= ~period.trained
    if not latest.any():
        modes = ", ".join(sorted({str(period.metadata.get("mode")) for period in signals.periods})) or "no epoch"
        raise InputError(
            f"no outcome is from before its example was trained on (recorded: {modes}); "
            "use the run's own probabilities or folds, or train with `record.mode: online`"
        )
    return latest


# Doubt from one early outcome


@dataclass(frozen=True)
class Early:
    """Prequential outcomes in the order of training: M of the N examples have one."""

    rows: np.ndarray  # (M,)
    gold: np.ndarray  # (M,)
    margin: np.ndarray  # (M,) gold logit minus the largest other
    correct: np.ndarray  # (M,) 1 or 0
    n: int


def early(signals: Signals) -> Early:
    """The latest prequential outcome of every example that has one, by period and step; needs no logits."""
    if not np.issubdtype(signals.gold.dtype, np.integer):
        raise InputError("a doubt from early outcomes needs a gold class; the answers of this run are no classes")
    period = _prequential_period(signals)
    margin, correct, step = (np.full(len(signals), np.nan) for _ in range(3))
    for number in np.unique(period[period > 0]):
        rows, columns = np.flatnonzero(period == number), signals.epoch(int(number))
        margin[rows], correct[rows], step[rows] = columns.margin[rows], columns.correct[rows], columns.step[rows]
    rows = np.flatnonzero(~np.isnan(margin))
    rows = rows[np.lexsort((step[rows], period[rows]))]
    return Early(rows, signals.gold[rows], margin[rows], correct[rows], len(signals))


def raw(outcomes: Early) -> np.ndarray:
    """Minus the margin: as if all outcomes came from one model. What the others are compared with."""
    return -outcomes.margin


def standardised(outcomes: Early) -> np.ndarray:
    """How many standard deviations the margin lies below the mean of the 200 outcomes nearest in step.

    Among outcomes of the same class where there are at least 100, since early in training a model often prefers one
    class to all others; else among all.
    """
    z = _z(outcomes.margin)
    for k in np.unique(outcomes.gold):
        mine = np.flatnonzero(outcomes.gold == k)
        if len(mine) >= LEAST_IN_CLASS:
            z[mine] = _z(outcomes.margin[mine])
    return -z


def weighted(outcomes: Early) -> np.ndarray:
    """`standardised`, times how informed the model was: its accuracy then, above the share of the largest class.

    (accuracy - share) / (1 - share), at least 0, over the 200 outcomes nearest in step: an outcome of a model that knew
    nothing yet says nothing, and its row comes out as neither doubtful nor sound.
    """
    largest = np.bincount(outcomes.gold).max() / len(outcomes.gold)
    informed_then = (_rolling(outcomes.correct)[0] - largest) / max(1 - largest, 1e-12)
    return standardised(outcomes) * np.clip(informed_then, 0, 1)


INFORMED: dict[str, Callable[[Early], np.ndarray]] = {"raw": raw, "standardised": standardised, "weighted": weighted}


def informed(signals: Signals, variant: str = "standardised") -> np.ndarray:
    """A doubt (N,), higher = more doubtful, from each example's last outcome before it was trained on.

    variant  raw, standardised or weighted, see INFORMED: what is made of outcomes of a model that was still learning
    NaN where there is no such outcome. Costs no pass of the model. Our own, from no paper.
    """
    if variant not in INFORMED:
        raise InputError(f"there is no variant `{variant}`; there are {', '.join(INFORMED)}")
    outcomes = early(signals)
    doubt = np.full(outcomes.n, np.nan)
    doubt[outcomes.rows] = INFORMED[variant](outcomes)
    return doubt


def _rolling(x: np.ndarray, window: int = WINDOW) -> tuple[np.ndarray, np.ndarray]:
    """(M,) mean and (M,) standard deviation of the `window` values around each; at the ends, the first or last ones."""
    m = len(x)
    width = min(window, m)
    start = np.clip(np.arange(m) - width // 2, 0, m - width)
    centred = x - x.mean()  # so that sums of squares lose nothing
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (centred, centred**2))
    mean = (sums[start + width] - sums[start]) / width
    variance = (squares[start + width] - squares[start]) / width - mean**2
    return mean + x.mean(), np.sqrt(np.maximum(variance, 0.0))


def _z(x: np.ndarray) -> np.ndarray:
    mean, sd = _rolling(x)
    return (x - mean) / np.where(sd > 1e-9, sd, np.inf)
