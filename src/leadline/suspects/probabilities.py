"""Class probabilities per example for judging its label: from before it was trained on, or from the whole run.

Out of sample means: by a model that had not been trained on the example. In-sample probabilities of a model that has
learned wrong labels by heart hide them.
"""

from __future__ import annotations

import numpy as np

from leadline.errors import InputError
from leadline.scores import mean_probability
from leadline.signals import Signals, softmax
from leadline.suspects import platt


def prequential(signals: Signals, comparable: bool = True) -> np.ndarray:
    """(N, K) from each example's latest outcome from before it was first trained on; NaN where it has none.

    Prequential: the outcome is online (read in the training pass, before the step that uses it) and no earlier period
    trained on the example. So all of the first epoch is, and under a curriculum whatever first appears later. Out of
    sample at no cost, by a model that knew more with every step.
    comparable  True: scaled along the steps (`platt.comparable`), so that early and late ones mean the same.
                False: the softmax as it was
    Raises InputError without logits, or where no outcome is prequential (snapshots, imports).
    """
    _need_logits(signals)
    period = _prequential_period(signals)
    logits, step = np.full((len(signals), signals.epoch(1).logits.shape[1]), np.nan), np.full(len(signals), np.nan)
    for number in np.unique(period[period > 0]):
        rows, columns = np.flatnonzero(period == number), signals.epoch(int(number))
        logits[rows], step[rows] = columns.logits[rows], columns.step[rows]
    if not comparable:
        return softmax(logits)
    rows = np.flatnonzero(period)
    rows = rows[np.lexsort((step[rows], period[rows]))]  # in the order of training
    values = np.full(logits.shape, np.nan)
    values[rows] = platt.comparable(logits[rows], signals.gold[rows])
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
