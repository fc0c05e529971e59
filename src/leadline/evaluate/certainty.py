"""How well a classifier knows what it knows, on one set of rows: calibration before and after scaling, selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from leadline.evaluate.answers import Classified
from leadline.evaluate.calibration import BINS, reliability
from leadline.evaluate.checks import distributions
from leadline.evaluate.formulas import METRICS
from leadline.evaluate.measure import Names, full_names, with_intervals
from leadline.evaluate.scaling import Temperature, scaled
from leadline.evaluate.selective import Selective, selective_prediction

SCALED = "scaled_"  # a metric of the probabilities after temperature scaling: scaled_nll
CALIBRATION = tuple(name for name, metric in METRICS.items() if metric.grows_with_noise)  # the gaps of bins
PROPER = ("nll", "brier", "cross_entropy", "kl_divergence", "jensen_shannon")  # no bins
ORDER = ("aurc", "e_aurc")  # of the answers by confidence: of two classes no temperature changes it


@dataclass(frozen=True)
class Certainty:
    """One set of predictions. `after` and `temperature` are None where no temperature was fitted.

    before, after  the table of `reliability`, 15 bins of equal width; of label distributions the share of the
                   predicted class stands for accuracy
    confidence     (N,) before scaling; `right` (N,) 0 or 1, by the largest class of a label
    """

    before: pl.DataFrame
    after: pl.DataFrame | None
    temperature: Temperature | None
    selective: Selective
    confidence: np.ndarray
    right: np.ndarray
    soft: bool  # labels are distributions

    def to_dict(self) -> dict[str, Any]:
        """For JSON: temperature, reliability {bins, scheme, before, after}, selective {accuracy_at_coverage, …}."""
        chosen = self.selective
        return {
            "temperature": self.temperature and self.temperature._asdict(),
            "reliability": {
                "bins": BINS,
                "scheme": "width",
                "before": self.before.to_dicts(),
                "after": None if self.after is None else self.after.to_dicts(),
            },
            "selective": {
                "n": chosen.n,
                "errors": chosen.errors,
                "aurra": chosen.aurra,
                "accuracy_at_coverage": chosen.accuracy.to_dicts(),
                "coverage_at_risk": chosen.coverage.to_dicts(),
                "curve": chosen.curve.to_dicts(),
            },
        }


def certainty_of(labels: ArrayLike, probabilities: ArrayLike, temperature: Temperature | None = None) -> Certainty:
    """labels (N,) class indices or (N, K) distributions, probabilities (N, K) as the model gave them.

    `temperature` as `temperature_with_interval` fits it, on other rows than these: on validation rows.
    """
    p = distributions(probabilities)
    rows = Classified.check(labels, p, p.shape[1])
    share = rows.correct
    if rows.distribution is not None:
        share = np.minimum(rows.distribution[np.arange(len(rows)), rows.predicted], 1.0)
    confidence = np.minimum(p.max(axis=1), 1.0)
    cooled = None if temperature is None else np.minimum(scaled(p, temperature.value).max(axis=1), 1.0)
    return Certainty(
        reliability(confidence, share),
        None if cooled is None else reliability(cooled, share),
        temperature,
        selective_prediction(confidence, rows.correct),
        confidence,
        rows.correct,
        rows.distribution is not None,
    )


def after_scaling(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    temperature: Temperature,
    metrics: Names = "auto",
) -> dict[str, dict[str, float]]:
    """`temperature`, and what it does to the metrics that it can move: {"scaled_nll": {value, low, high, n}, …}.

    Those are all metrics of probabilities, and of more than two classes AURC and E-AURC, because then a temperature
    changes which of two answers is the surer one. No temperature moves an answer, so accuracy, F1 and MCC are not here.
    Arguments as `metrics.with_intervals`, whose resamples are drawn again. Asked for metrics that no temperature moves
    it has nothing but the temperature to say; `n` of that is the number of validation rows.
    """
    p = distributions(probabilities)
    names = full_names(metrics, Classified.check(labels, p, len(classes)), classes)
    movable = (*PROPER, *CALIBRATION, *(ORDER if len(classes) > 2 else ()))
    moved = [name for name in names if name in movable]
    found = with_intervals(labels, scaled(p, temperature.value), classes, moved) if moved else {}
    return temperature_figure(temperature) | {f"{SCALED}{name}": figure for name, figure in found.items()}


def temperature_figure(temperature: Temperature) -> dict[str, dict[str, float]]:
    """As results.json holds it: {"temperature": {value, low, high, n}}."""
    return {"temperature": {key: getattr(temperature, key) for key in ("value", "low", "high", "n")}}
