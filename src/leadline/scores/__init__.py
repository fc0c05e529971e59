"""Scores: signals -> one number per example, and regions of the data map.

A score is a pure function of `signals.Signals`, row by row, float64, NaN where nothing was observed. Its entry in
SCORES says direction, range, paper and what it needs; the CLI, the map's menus and the audit iterate SCORES.

Order inside the room: registry · observed · gold · predicted · table · regions.
"""

from leadline.scores import regions
from leadline.scores.gold import (
    action,
    action_mean,
    aleatoric,
    aum,
    confidence,
    correct_count,
    correctness,
    epistemic,
    first_learned,
    forgetting,
    gold_probability,
    learned_for_good,
    loss_drop,
    loss_last,
    loss_max,
    loss_min,
    loss_slope,
    loss_std,
    never_learned,
    self_confidence,
    threshold_closeness,
    variability,
)
from leadline.scores.observed import n_obs
from leadline.scores.predicted import (
    EARLY,
    aum_prob,
    el2n,
    el2n_early,
    el2n_last,
    entropy,
    entropy_mean,
    entropy_normalised,
    entropy_of_mean,
    mean_probability,
    mutual_information,
    normalised_margin,
    normalised_margin_of_mean,
)
from leadline.scores.regions import Axes, Regions, axes, by_data_iq, by_proportion, by_threshold
from leadline.scores.registry import NEEDS, SCORES, Score
from leadline.scores.table import average, compute

__all__ = [
    "Axes",
    "Regions",
    "EARLY",
    "NEEDS",
    "SCORES",
    "Score",
    "action",
    "action_mean",
    "aleatoric",
    "aum",
    "aum_prob",
    "average",
    "axes",
    "by_data_iq",
    "by_proportion",
    "by_threshold",
    "compute",
    "confidence",
    "correct_count",
    "correctness",
    "el2n",
    "el2n_early",
    "el2n_last",
    "entropy",
    "entropy_mean",
    "entropy_normalised",
    "entropy_of_mean",
    "epistemic",
    "first_learned",
    "forgetting",
    "gold_probability",
    "learned_for_good",
    "loss_drop",
    "loss_last",
    "loss_max",
    "loss_min",
    "loss_slope",
    "loss_std",
    "mean_probability",
    "mutual_information",
    "n_obs",
    "never_learned",
    "normalised_margin",
    "normalised_margin_of_mean",
    "regions",
    "self_confidence",
    "threshold_closeness",
    "variability",
]
