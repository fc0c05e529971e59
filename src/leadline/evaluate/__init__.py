"""Evaluate: metrics, calibration, slices, intervals. Arrays in, numbers out; no files, no torch.

Order inside the room: checks · intervals · calibration · answers · formulas · measure · breakdown · agreement.
(Paired tests of two models on the same rows stand on `intervals.resamples`, beside `measure`.)
"""

from leadline.evaluate.agreement import Agreement, overlap_of_hardest, rank_agreement
from leadline.evaluate.breakdown import confusion, per_class, slices
from leadline.evaluate.calibration import (
    accuracy_at_coverage,
    aurc,
    calibration_error,
    e_aurc,
    fit_temperature,
    reliability,
    risk_coverage,
)
from leadline.evaluate.formulas import METRICS, Metric
from leadline.evaluate.intervals import mean_interval, resamples, wilson
from leadline.evaluate.measure import find_metric, metrics, with_intervals

__all__ = [
    "METRICS",
    "Agreement",
    "Metric",
    "accuracy_at_coverage",
    "aurc",
    "calibration_error",
    "confusion",
    "e_aurc",
    "find_metric",
    "fit_temperature",
    "mean_interval",
    "metrics",
    "overlap_of_hardest",
    "per_class",
    "rank_agreement",
    "reliability",
    "resamples",
    "risk_coverage",
    "slices",
    "wilson",
    "with_intervals",
]
