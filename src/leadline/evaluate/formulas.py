"""METRICS: every metric once, as a formula over weighted rows.

A metric's function takes a sample (rows and B sets of weights) and returns (B,), or (K, B) where it has a value per
class. Where a share is undefined (a class that is never predicted has no precision) it is 0, as scikit-learn's
zero_division=0; where a whole metric is undefined (a correlation with a constant, AUROC with one class) it is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from leadline.evaluate.answers import ClassifiedSample, Counts, EstimatedSample
from leadline.evaluate.calibration import expected_gap, largest_gap, rms_gap
from leadline.evaluate.selective import area, perfect_area

Needs = Literal["classes", "each class", "two classes", "soft targets", "numbers"]
INF = float("inf")


@dataclass(frozen=True)
class Metric:
    """A number about predictions. `needs`: classes (labels and probabilities), each class (the same; one value per
    class, named f1[class]), two classes, soft targets (label distributions), numbers (regression)."""

    function: Callable[[Any], np.ndarray]
    needs: Needs
    higher_is_better: bool
    range: tuple[float, float]
    says: str
    grows_with_noise: bool = False  # resamples lie above the value; its interval is the basic bootstrap's


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=b > 0)


def precision(c: Counts) -> np.ndarray:
    return ratio(c.hits, c.predicted)


def recall(c: Counts) -> np.ndarray:
    return ratio(c.hits, c.labelled)


def f1(c: Counts) -> np.ndarray:
    return ratio(2 * c.hits, c.labelled + c.predicted)


def macro(metric: Callable[[Counts], np.ndarray], c: Counts) -> np.ndarray:
    """The mean over the classes that occur among the labels or the predictions (scikit-learn's labels=None).

    A class that nobody mentions says nothing; one that is labelled and never found, or found and never labelled, is 0.
    """
    return metric(c).sum(axis=0) / (c.labelled + c.predicted > 0).sum(axis=0)


def micro_f1(c: Counts) -> np.ndarray:
    return ratio(2 * c.hits.sum(axis=0), c.labelled.sum(axis=0) + c.predicted.sum(axis=0))


def mcc(c: Counts) -> np.ndarray:
    """R_K of Gorodkin 2004: the correlation of labels and predictions; 0 where either is constant."""
    n = c.labelled.sum(axis=0)
    together = n * c.hits.sum(axis=0) - (c.labelled * c.predicted).sum(axis=0)
    spread = (n**2 - (c.labelled**2).sum(axis=0)) * (n**2 - (c.predicted**2).sum(axis=0))
    return ratio(together, np.sqrt(spread))


def auroc(s: ClassifiedSample) -> np.ndarray:
    """P(a row of the second class has the higher probability of it) + 1/2 P(equal)."""
    yes, no, upto_yes, upto_no = s.second_class  # (G, B), ascending
    return _defined(_dot(yes, upto_no - no / 2), upto_yes[-1] * upto_no[-1])


def average_precision(s: ClassifiedSample) -> np.ndarray:
    """Sum over thresholds of (recall gained) x precision: the step function, no interpolation."""
    yes, no, upto_yes, upto_no = s.second_class  # (G, B), ascending
    caught, wrong = upto_yes[-1] - upto_yes + yes, upto_no[-1] - upto_no + no  # at or above each threshold
    return _defined(_dot(yes, ratio(caught, caught + wrong)), upto_yes[-1])


def rmse(s: EstimatedSample) -> np.ndarray:
    return np.sqrt(s.mean(s.rows.error**2))


def pearson(s: EstimatedSample) -> np.ndarray:
    return _correlation(s, s.rows.truth[:, None], s.rows.predicted[:, None])


def spearman(s: EstimatedSample) -> np.ndarray:
    return _correlation(s, *s.ranks)


def r2(s: EstimatedSample) -> np.ndarray:
    _, total = _deviations(s, s.rows.truth[:, None])
    return 1 - _defined(s.mean(s.rows.error**2), total)


def _correlation(s: EstimatedSample, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N, 1) or (N, B) -> (B,)"""
    (dx, variance_x), (dy, variance_y) = _deviations(s, x), _deviations(s, y)
    together = _dot(s.weights, dx * dy) / s.n
    return np.clip(_defined(together, np.sqrt(variance_x) * np.sqrt(variance_y)), -1, 1)


def _deviations(s: EstimatedSample, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deviations from the weighted mean (N, B), and their mean square (B,): exactly 0 if all drawn rows are equal."""
    drawn = s.weights > 0
    first = x[drawn.argmax(axis=0), np.arange(s.weights.shape[1]) if x.shape[1] > 1 else 0]  # (B,) a drawn row's value
    d = x - first  # against a value of its own a constant is 0 without a rounding error
    d = d - _dot(s.weights, d) / s.n
    return d, _dot(s.weights, d**2) / s.n


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, B), (N, B) -> (B,)"""
    return np.einsum("nb,nb->b", a, b)


def _defined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b > 0)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        lambda s: s.mean(s.rows.correct),
        "classes",
        True,
        (0, 1),
        "Share of rows whose most probable class is the label.",
    ),
    "macro_f1": Metric(
        lambda s: macro(f1, s.counts),
        "classes",
        True,
        (0, 1),
        "Mean of the classes' F1, each class counting the same; over classes that occur in labels or predictions.",
    ),
    "micro_f1": Metric(
        lambda s: micro_f1(s.counts),
        "classes",
        True,
        (0, 1),
        "F1 of all decisions pooled; with one label per row it is the accuracy.",
    ),
    "macro_precision": Metric(
        lambda s: macro(precision, s.counts), "classes", True, (0, 1), "Mean of the classes' precision."
    ),
    "macro_recall": Metric(lambda s: macro(recall, s.counts), "classes", True, (0, 1), "Mean of the classes' recall."),
    "f1": Metric(
        lambda s: f1(s.counts), "each class", True, (0, 1), "Harmonic mean of a class's precision and recall."
    ),
    "precision": Metric(
        lambda s: precision(s.counts),
        "each class",
        True,
        (0, 1),
        "Share of the rows predicted as a class that are labelled so; 0 for a class never predicted.",
    ),
    "recall": Metric(
        lambda s: recall(s.counts),
        "each class",
        True,
        (0, 1),
        "Share of the rows labelled as a class that are predicted so; 0 for a class without rows.",
    ),
    "mcc": Metric(
        lambda s: mcc(s.counts),
        "classes",
        True,
        (-1, 1),
        "Matthews correlation of labels and predictions; 0 is chance, and a constant answer.",
    ),
    "nll": Metric(
        lambda s: s.mean(s.rows.nll),
        "classes",
        False,
        (0, INF),
        "Mean of -log p(label) in nats, probabilities clipped at 1e-12; of label distributions the cross-entropy.",
    ),
    "brier": Metric(
        lambda s: s.mean(s.rows.brier),
        "classes",
        False,
        (0, 2),
        "Squared distance of probabilities and label, summed over classes (for two, twice scikit-learn's number).",
    ),
    "ece": Metric(
        lambda s: expected_gap(s.width_sums),
        "classes",
        False,
        (0, 1),
        "Mean gap of confidence and accuracy over 15 equal-width bins; biased upward for few rows.",
        grows_with_noise=True,
    ),
    "ece_mass": Metric(
        lambda s: expected_gap(s.mass_sums),
        "classes",
        False,
        (0, 1),
        "Mean gap of confidence and accuracy over 15 bins of equal mass; biased upward for few rows.",
        grows_with_noise=True,
    ),
    "mce": Metric(
        lambda s: largest_gap(s.width_sums),
        "classes",
        False,
        (0, 1),
        "Largest gap of confidence and accuracy of 15 equal-width bins; one row alone in a bin can decide it.",
        grows_with_noise=True,
    ),
    "rms_calibration": Metric(
        lambda s: rms_gap(s.mass_sums),
        "classes",
        False,
        (0, 1),
        "Root mean square gap of confidence and accuracy over 15 bins of equal mass; biased upward for few rows.",
        grows_with_noise=True,
    ),
    "ece_classwise": Metric(
        lambda s: s.rows.by_class["width"].gap(s.weights),
        "classes",
        False,
        (0, 1),
        "Mean over classes of the gap of a class's probability and its share, 15 equal-width bins each (static).",
        grows_with_noise=True,
    ),
    "ece_adaptive": Metric(
        lambda s: s.rows.by_class["mass"].gap(s.weights),
        "classes",
        False,
        (0, 1),
        "Mean over classes of the gap of a class's probability and its share, 15 bins of equal mass each (ACE).",
        grows_with_noise=True,
    ),
    "aurc": Metric(
        lambda s: area(s.ranked),
        "classes",
        False,
        (0, 1),
        "Mean share of errors among the k surest answers over k = 1 to N: errors, and whether they are unsure.",
    ),
    "e_aurc": Metric(
        lambda s: area(s.ranked) - perfect_area(s.ranked),
        "classes",
        False,
        (0, 1),
        "AURC minus that of as many errors that are all less sure than the right answers: the order alone.",
    ),
    "auroc": Metric(
        auroc,
        "two classes",
        True,
        (0, 1),
        "Chance that a row of the second class gets the higher probability of it; ties count half.",
    ),
    "average_precision": Metric(
        average_precision,
        "two classes",
        True,
        (0, 1),
        "Area under the precision-recall steps of the second class; chance is the class's share.",
    ),
    "cross_entropy": Metric(
        lambda s: s.mean(s.rows.cross_entropy),
        "soft targets",
        False,
        (0, INF),
        "Mean of -sum Y log p in nats; at its lowest it is the entropy of the labels, not 0.",
    ),
    "kl_divergence": Metric(
        lambda s: s.mean(s.rows.kl_divergence),
        "soft targets",
        False,
        (0, INF),
        "Mean of sum Y log(Y / p) in nats: the cross-entropy without the entropy of the labels; 0 is a perfect fit.",
    ),
    "jensen_shannon": Metric(
        lambda s: s.mean(s.rows.jensen_shannon),
        "soft targets",
        False,
        (0, float(np.log(2))),
        "Mean Jensen-Shannon divergence of probabilities and label distribution, in nats.",
    ),
    "ece_soft": Metric(
        lambda s: expected_gap(s.rows.by_share.sums(s.weights)),
        "soft targets",
        False,
        (0, 1),
        "Mean gap of confidence and the labels' share of the predicted class over 15 equal-width bins.",
        grows_with_noise=True,
    ),
    "rmse": Metric(rmse, "numbers", False, (0, INF), "Root of the mean squared error, in the label's unit."),
    "mae": Metric(
        lambda s: s.mean(np.abs(s.rows.error)), "numbers", False, (0, INF), "Mean absolute error, in the label's unit."
    ),
    "pearson": Metric(pearson, "numbers", True, (-1, 1), "Linear correlation; undefined when either side is constant."),
    "spearman": Metric(
        spearman, "numbers", True, (-1, 1), "Correlation of average ranks; undefined when either side is constant."
    ),
    "r2": Metric(
        r2, "numbers", True, (-INF, 1), "1 - squared error / variance of the labels; 0 is a constant at their mean."
    ),
}
