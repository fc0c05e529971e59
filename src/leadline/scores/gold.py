"""Scores of the gold answer: its probability, loss, margin and correctness over the epochs; no logits needed."""

from __future__ import annotations

import numpy as np

from leadline.scores.observed import first, last, mean, n_obs, observed, slope, std, total
from leadline.scores.registry import score
from leadline.signals import Signals

INF = float("inf")


def gold_probability(signals: Signals) -> np.ndarray:
    """(E, N) float64 in [0, 1]; for sequences the geometric mean over gold tokens."""
    return np.exp(observed(signals, "gold_logprob"))


# Data maps


@score(
    "easier",
    range=(0.0, 1.0),
    needs=("gold_logprob",),
    paper="swayamdipta2020",
    says="mean probability of the gold answer over epochs",
)
def confidence(signals: Signals) -> np.ndarray:
    """mu = mean_e g, (N,) in [0, 1], higher is easier. Swayamdipta et al. 2020. The y axis of the data map."""
    return mean(gold_probability(signals))


@score(
    "ambiguous",
    range=(0.0, 0.5),
    needs=("gold_logprob", "several epochs"),
    paper="swayamdipta2020",
    says="standard deviation of the gold probability over epochs",
)
def variability(signals: Signals, include_ci: bool = False) -> np.ndarray:
    """sqrt(mean_e (g - mu)^2), (N,) in [0, 0.5], higher is more ambiguous; 0 for one epoch. Swayamdipta et al. 2020.

    The x axis of the data map. Online records add dropout noise and drift within the epoch.
    `include_ci`: sqrt(v + v^2 / (E - 1)), v the variance: the option of that name in cartography; NaN for one epoch.
    """
    sigma = std(gold_probability(signals))
    if not include_ci:
        return sigma
    more = np.where(n_obs(signals) > 1, n_obs(signals) - 1, np.nan)
    return np.sqrt(sigma**2 + sigma**4 / more)


@score(
    "easier",
    range=(0.0, 1.0),
    needs=("correct",),
    paper="swayamdipta2020",
    says="share of epochs in which the prediction was right",
)
def correctness(signals: Signals) -> np.ndarray:
    """mean_e a, (N,) in [0, 1], higher is easier. Swayamdipta et al. 2020 (their code gives `correct_count`)."""
    return mean(observed(signals, "correct"))


@score(
    "easier",
    range=(0.0, INF),
    needs=("correct",),
    paper="swayamdipta2020",
    says="number of epochs in which the prediction was right",
)
def correct_count(signals: Signals) -> np.ndarray:
    """sum_e a, (N,) from 0 to E, higher is easier. Comparable only where every example has E observations."""
    return total(observed(signals, "correct"))


@score(
    "ambiguous",
    range=(0.0, 0.25),
    needs=("gold_logprob",),
    paper="chang2017",
    says="how close the mean gold probability is to one half",
)
def threshold_closeness(signals: Signals) -> np.ndarray:
    """mu (1 - mu), (N,) in [0, 0.25], higher is more ambiguous. Chang et al. 2017 (Active Bias)."""
    mu = confidence(signals)
    return mu * (1 - mu)


# Data-IQ: mu (1 - mu) = aleatoric + epistemic^2


@score(
    "ambiguous",
    range=(0.0, 0.25),
    needs=("gold_logprob",),
    paper="seedat2022",
    says="uncertainty that lies in the data: stays however long one trains",
)
def aleatoric(signals: Signals) -> np.ndarray:
    """mean_e g (1 - g), (N,) in [0, 0.25], higher is more ambiguous. Seedat et al. 2022 (Data-IQ)."""
    g = gold_probability(signals)
    return mean(g * (1 - g))


@score(
    "ambiguous",
    range=(0.0, 0.5),
    needs=("gold_logprob", "several epochs"),
    paper="seedat2022",
    says="uncertainty that lies in the model: how much the gold probability moves while training",
)
def epistemic(signals: Signals) -> np.ndarray:
    """std_e g as in Data-IQ's code, (N,) in [0, 0.5]: the same number as `variability`. Seedat et al. 2022.

    The paper's decomposition has the variance, its square.
    """
    return std(gold_probability(signals))


@score(
    "easier",
    range=(0.0, 1.0),
    needs=("gold_logprob",),
    paper="northcutt2021",
    says="gold probability in the last epoch",
)
def self_confidence(signals: Signals) -> np.ndarray:
    """g in the last observed epoch, (N,) in [0, 1], higher is easier. Northcutt et al. 2021 (confident learning).

    In sample here: a model that has memorised its labels is sure of the wrong ones too.
    """
    return last(gold_probability(signals))


# Loss


@score(
    "harder",
    range=(0.0, INF),
    needs=("loss",),
    paper="arriaga2023",
    says="sum of the losses over epochs",
)
def action(signals: Signals) -> np.ndarray:
    """sum_e l, (N,) nats from 0, higher is harder. Arriaga et al. 2023 (action score).

    Not comparable where the number of epochs differs: `action_mean` is.
    """
    return total(observed(signals, "loss"))


@score(
    "harder",
    range=(0.0, INF),
    needs=("loss",),
    paper="arriaga2023",
    says="mean loss over epochs: the action score per observation",
)
def action_mean(signals: Signals) -> np.ndarray:
    """mean_e l, (N,) nats from 0, higher is harder. Ranks as `action` where all examples have as many observations."""
    return mean(observed(signals, "loss"))


@score("harder", range=(0.0, INF), needs=("loss",), paper="seedat2024", says="loss in the last epoch")
def loss_last(signals: Signals) -> np.ndarray:
    """l in the last observed epoch, (N,) nats from 0, higher is harder."""
    return last(observed(signals, "loss"))


@score("harder", range=(0.0, INF), needs=("loss",), paper="seedat2024", says="smallest loss of any epoch")
def loss_min(signals: Signals) -> np.ndarray:
    """min_e l, (N,) nats from 0, higher is harder."""
    return np.fmin.reduce(observed(signals, "loss"), axis=0)


@score("harder", range=(0.0, INF), needs=("loss",), paper="seedat2024", says="largest loss of any epoch")
def loss_max(signals: Signals) -> np.ndarray:
    """max_e l, (N,) nats from 0, higher is harder."""
    return np.fmax.reduce(observed(signals, "loss"), axis=0)


@score(
    "ambiguous",
    range=(0.0, INF),
    needs=("loss", "several epochs"),
    paper="seedat2024",
    says="standard deviation of the loss over epochs",
)
def loss_std(signals: Signals) -> np.ndarray:
    """std_e l, (N,) nats from 0, higher is more ambiguous. The x axis of the map of a regression."""
    return std(observed(signals, "loss"))


@score(
    "easier",
    range=(-INF, INF),
    needs=("loss", "several epochs"),
    paper="seedat2024",
    says="how far the loss fell from the first epoch to the last",
)
def loss_drop(signals: Signals) -> np.ndarray:
    """l in the first minus l in the last observed epoch, (N,) nats, higher is easier; negative where the loss rose."""
    x = observed(signals, "loss")
    return first(x) - last(x)


@score(
    "harder",
    range=(-INF, INF),
    needs=("loss", "several epochs"),
    paper="seedat2024",
    says="trend of the loss, nats per epoch",
)
def loss_slope(signals: Signals) -> np.ndarray:
    """Least-squares slope of l against e, (N,) nats per epoch, higher is harder; positive where the loss rises."""
    return slope(observed(signals, "loss"))


# Margin


@score(
    "easier",
    range=(-INF, INF),
    needs=("margin",),
    paper="pleiss2020",
    says="mean logit margin of the label over epochs; low where the label is doubtful",
)
def aum(signals: Signals) -> np.ndarray:
    """mean_e (z_y - max_{c != y} z_c), (N,) in logits, higher is easier. Pleiss et al. 2020 (area under the margin).

    Shift-invariant but not scale-invariant: not comparable between models.
    """
    return mean(observed(signals, "margin"))


# Forgetting


@score(
    "harder",
    range=(0.0, INF),
    needs=("correct", "several epochs"),
    paper="toneva2019",
    says="how often a right prediction became wrong; infinite if it was never right",
)
def forgetting(signals: Signals) -> np.ndarray:
    """#{e >= 1: right at e - 1, wrong at e}, (N,) from 0, inf if never right, higher is harder. Toneva et al. 2019.

    The first observation cannot be a forgetting event; unobserved epochs are passed over.
    """
    events, previous = np.zeros(len(signals)), np.full(len(signals), -1)
    right_once = np.zeros(len(signals), dtype=bool)
    for right in signals.correct:  # (N,) 1, 0, -1
        events += (previous == 1) & (right == 0)
        right_once |= right == 1
        previous = np.where(right < 0, previous, right)
    return np.where(previous < 0, np.nan, np.where(right_once, events, np.inf))


@score("harder", range=(0.0, 1.0), needs=("correct",), paper="toneva2019", says="1 if no epoch got it right, else 0")
def never_learned(signals: Signals) -> np.ndarray:
    """1 where a = 0 in every observed epoch, else 0, (N,), higher is harder. Toneva et al. 2019."""
    count = correct_count(signals)
    return np.where(np.isnan(count), np.nan, count == 0)


@score(
    "harder",
    range=(0.0, INF),
    needs=("correct", "several epochs"),
    paper="toneva2019",
    says="epochs before the first right prediction; none if never right",
)
def first_learned(signals: Signals) -> np.ndarray:
    """min{e: a = 1} with e counted from 0, (N,) from 0 to E - 1, NaN if never right, higher is harder."""
    right = signals.correct == 1  # (E, N)
    return np.where(right.any(axis=0), right.argmax(axis=0), np.nan)


@score(
    "harder",
    range=(0.0, INF),
    needs=("correct", "several epochs"),
    paper="toneva2019",
    says="epochs before the prediction stayed right; none if it was wrong in the end",
)
def learned_for_good(signals: Signals) -> np.ndarray:
    """1 + the last wrong epoch, counted from 0 (0: never wrong), (N,), NaN if wrong in the end, higher is harder."""
    wrong = signals.correct == 0  # (E, N)
    since = np.where(wrong, np.arange(1, len(wrong) + 1)[:, None], 0).max(axis=0)
    return np.where(last(observed(signals, "correct")) == 1, since, np.nan)
