"""Evaluate: metrics, calibration, slices, intervals. Arrays in, numbers out; no files, no torch.

Order inside the room: checks · intervals · calibration · answers · formulas · measure · breakdown · agreement ·
concord · votes · paired_power · paired · paired_seeds · paired_rows.
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
from leadline.evaluate.concord import Concordance, concordance
from leadline.evaluate.formulas import METRICS, Metric
from leadline.evaluate.intervals import mean_interval, resamples, wilson
from leadline.evaluate.measure import find_metric, metrics, with_intervals
from leadline.evaluate.paired import Difference, corrected, holm
from leadline.evaluate.paired_power import detectable_accuracy, detectable_mean, rows_needed, seeds_needed
from leadline.evaluate.paired_rows import mcnemar, paired_bootstrap, paired_randomisation
from leadline.evaluate.paired_seeds import over_seeds, relabelling, sign_flips
from leadline.evaluate.votes import Disagreement, ceiling, disagreement

__all__ = [
    "METRICS",
    "Agreement",
    "Concordance",
    "Difference",
    "Disagreement",
    "Metric",
    "accuracy_at_coverage",
    "aurc",
    "calibration_error",
    "ceiling",
    "concordance",
    "confusion",
    "corrected",
    "detectable_accuracy",
    "detectable_mean",
    "disagreement",
    "e_aurc",
    "find_metric",
    "fit_temperature",
    "holm",
    "mcnemar",
    "mean_interval",
    "metrics",
    "over_seeds",
    "overlap_of_hardest",
    "paired_bootstrap",
    "paired_randomisation",
    "per_class",
    "rank_agreement",
    "reliability",
    "relabelling",
    "resamples",
    "risk_coverage",
    "rows_needed",
    "seeds_needed",
    "sign_flips",
    "slices",
    "wilson",
    "with_intervals",
]
