"""Evaluate: metrics, calibration, slices, intervals. Arrays in, numbers out; no files, no torch.

Order inside the room: checks · intervals · calibration · scaling · selective · answers · formulas · measure ·
certainty · breakdown · agreement · concord · votes · paired_power · paired · paired_seeds · paired_rows.
"""

from leadline.evaluate.agreement import Agreement, overlap_of_hardest, rank_agreement
from leadline.evaluate.breakdown import check_slices, confusion, per_class, slices
from leadline.evaluate.calibration import calibration_error, classwise_error, reliability, rms_calibration_error
from leadline.evaluate.certainty import CALIBRATION, SCALED, Certainty, after_scaling, certainty_of, temperature_figure
from leadline.evaluate.concord import Concordance, concordance
from leadline.evaluate.formulas import METRICS, Metric
from leadline.evaluate.intervals import mean_interval, resamples, wilson
from leadline.evaluate.measure import find_metric, metrics, with_intervals
from leadline.evaluate.paired import Difference, corrected, holm
from leadline.evaluate.paired_power import detectable_accuracy, detectable_mean, rows_needed, seeds_needed
from leadline.evaluate.paired_rows import mcnemar, paired_bootstrap, paired_randomisation
from leadline.evaluate.paired_seeds import over_seeds, relabelling, sign_flips
from leadline.evaluate.scaling import (
    Temperature,
    fit_temperature,
    log_probabilities,
    scaled,
    temperature_with_interval,
)
from leadline.evaluate.selective import (
    Selective,
    accuracy_at_coverage,
    aurc,
    aurra,
    coverage_at_risk,
    e_aurc,
    risk_coverage,
    selective_prediction,
)
from leadline.evaluate.votes import Disagreement, ceiling, disagreement

__all__ = [
    "CALIBRATION",
    "METRICS",
    "SCALED",
    "Agreement",
    "Certainty",
    "Concordance",
    "Difference",
    "Disagreement",
    "Metric",
    "Selective",
    "Temperature",
    "accuracy_at_coverage",
    "after_scaling",
    "aurc",
    "aurra",
    "calibration_error",
    "ceiling",
    "check_slices",
    "certainty_of",
    "classwise_error",
    "concordance",
    "confusion",
    "corrected",
    "coverage_at_risk",
    "detectable_accuracy",
    "detectable_mean",
    "disagreement",
    "e_aurc",
    "find_metric",
    "temperature_figure",
    "fit_temperature",
    "holm",
    "log_probabilities",
    "mcnemar",
    "mean_interval",
    "metrics",
    "over_seeds",
    "overlap_of_hardest",
    "paired_bootstrap",
    "paired_randomisation",
    "per_class",
    "rank_agreement",
    "relabelling",
    "reliability",
    "resamples",
    "risk_coverage",
    "rms_calibration_error",
    "rows_needed",
    "scaled",
    "seeds_needed",
    "selective_prediction",
    "sign_flips",
    "slices",
    "temperature_with_interval",
    "wilson",
    "with_intervals",
]
