"""Scores of the whole predicted distribution; all but `entropy` and its mean need logits over fixed classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import entr

from leadline.scores.observed import last, mean, observed
from leadline.scores.registry import score
from leadline.signals import Signals, softmax

SQRT2 = float(np.sqrt(2))
INF = float("inf")
EARLY = 2  # epochs; fine-tuning has learned most of what it learns by then


def probabilities(signals: Signals) -> Iterator[np.ndarray]:
    """E times (N, K) float64, one epoch in memory at a time; a row of NaN is not observed."""
    for period in signals.periods:
        yield softmax(period.logits)


def mean_probability(signals: Signals) -> np.ndarray:
    """mean_e p, (N, K) float64 over the observed epochs."""
    p_sum = np.zeros((len(signals), signals.epoch(1).logits.shape[1]))
    n = np.zeros(len(signals))
    for p in probabilities(signals):
        seen = ~np.isnan(p[:, 0])
        p_sum += np.where(seen[:, None], p, 0.0)
        n += seen
    return p_sum / np.where(n > 0, n, np.nan)[:, None]


# EL2N


def _targets(signals: Signals, k: int) -> np.ndarray:
    """(N, K): the label distribution, or one-hot."""
    return np.eye(k)[signals.gold] if signals.targets is None else signals.targets


def _error_norms(signals: Signals) -> np.ndarray:
    """(E, N): || p - Y ||_2, the root, as in the paper and its code (Datagnosis leaves the square)."""
    return np.stack([np.linalg.norm(p - _targets(signals, p.shape[1]), axis=1) for p in probabilities(signals)])


@score(
    "harder",
    range=(0.0, SQRT2),
    needs=("logits", "gold"),
    paper="paul2021",
    says="length of the error of the predicted probabilities, mean over epochs",
)
def el2n(signals: Signals, epoch: int | None = None) -> np.ndarray:
    """|| p - Y ||_2, (N,) in [0, sqrt 2], higher is harder: mean over epochs, or at one recorded epoch counted from 1.

    Y is one-hot or the label distribution. With two classes it is sqrt 2 (1 - g): ranks like the gold probability.
    Paul et al. 2021, who average over about ten initialisations early in training (`el2n_early`, `scores.average`).
    """
    if epoch is None:
        return mean(_error_norms(signals))
    signals.epoch(epoch)  # refuses a number that is not there
    return _error_norms(signals.window(max_epochs=epoch, skip_epochs=epoch - 1))[0]


@score(
    "harder",
    range=(0.0, SQRT2),
    needs=("logits", "gold"),
    paper="paul2021",
    says=f"EL2N, mean over the first {EARLY} epochs",
)
def el2n_early(signals: Signals) -> np.ndarray:
    """Mean of || p - Y ||_2 over the first 2 recorded epochs, (N,) in [0, sqrt 2], higher is harder."""
    return mean(_error_norms(signals.window(max_epochs=EARLY)))


@score("harder", range=(0.0, SQRT2), needs=("logits", "gold"), paper="paul2021", says="EL2N in the last epoch")
def el2n_last(signals: Signals) -> np.ndarray:
    """|| p - Y ||_2 in the last observed epoch, (N,) in [0, sqrt 2], higher is harder."""
    return last(_error_norms(signals))


# Probability margins


def _margin(p: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """p_y - max_{c != y} p_c, (N,) in [-1, 1]."""
    n = np.arange(len(p))
    others = p.copy()
    others[n, gold] = -1.0
    return p[n, gold] - others.max(axis=1)


def _margins(signals: Signals) -> np.ndarray:
    return np.stack([_margin(p, signals.gold) for p in probabilities(signals)])  # (E, N)


@score(
    "easier",
    range=(-1.0, 1.0),
    needs=("logits", "gold"),
    paper="pleiss2020",
    says="AUM of probabilities instead of logits: mean over epochs, comparable between models",
)
def aum_prob(signals: Signals) -> np.ndarray:
    """mean_e (p_y - max_{c != y} p_c), (N,) in [-1, 1], higher is easier. After Pleiss et al. 2020."""
    return mean(_margins(signals))


@score(
    "easier",
    range=(0.0, 1.0),
    needs=("logits", "gold"),
    paper="northcutt2021",
    says="probability margin of the label in the last epoch, scaled to [0, 1]",
)
def normalised_margin(signals: Signals) -> np.ndarray:
    """(p_y - max_{c != y} p_c + 1) / 2 in the last observed epoch, (N,) in [0, 1], higher is easier.

    cleanlab's normalized_margin; in sample here, like `self_confidence`.
    """
    return (last(_margins(signals)) + 1) / 2


@score(
    "easier",
    range=(0.0, 1.0),
    needs=("logits", "gold"),
    paper="northcutt2021",
    says="probability margin of the label in the mean over epochs, scaled to [0, 1]",
)
def normalised_margin_of_mean(signals: Signals) -> np.ndarray:
    """The same margin of mean_e p, (N,) in [0, 1], higher is easier.

    Sees a wrong label that the last epoch has memorised. (aum_prob + 1) / 2 where the strongest rival never changes.
    """
    return (_margin(mean_probability(signals), signals.gold) + 1) / 2


# Entropy: uncertainty, blind to the label


@score("neither", range=(0.0, INF), needs=("entropy",), paper="shannon1948", says="entropy in the last epoch, nats")
def entropy(signals: Signals) -> np.ndarray:
    """H(p) = -sum_c p log p in the last observed epoch, (N,) nats in [0, log K]; knows nothing of the label."""
    return last(observed(signals, "entropy"))


@score("neither", range=(0.0, INF), needs=("entropy",), paper="shannon1948", says="mean entropy over epochs, nats")
def entropy_mean(signals: Signals) -> np.ndarray:
    """mean_e H(p), (N,) nats in [0, log K]."""
    return mean(observed(signals, "entropy"))


@score(
    "neither",
    range=(0.0, 1.0),
    needs=("entropy", "logits"),
    paper="shannon1948",
    says="entropy in the last epoch as a share of the largest possible",
)
def entropy_normalised(signals: Signals) -> np.ndarray:
    """H / log K in the last observed epoch, (N,) in [0, 1]; K counts the options of the row (logit above -inf)."""
    options = np.stack([np.isfinite(period.logits).sum(axis=1) for period in signals.periods])  # (E, N)
    return last(observed(signals, "entropy") / np.log(np.maximum(options, 2)))


@score(
    "neither",
    range=(0.0, INF),
    needs=("logits",),
    paper="shannon1948",
    says="entropy of the mean probabilities over epochs, nats",
)
def entropy_of_mean(signals: Signals) -> np.ndarray:
    """H(mean_e p), (N,) nats in [0, log K]: `entropy_mean` + `mutual_information`."""
    return entr(mean_probability(signals)).sum(axis=1)


@score(
    "neither",
    range=(0.0, INF),
    needs=("logits", "several epochs"),
    paper="houlsby2011",
    says="how much the epochs disagree in what they predict, nats",
)
def mutual_information(signals: Signals) -> np.ndarray:
    """H(mean_e p) - mean_e H(p), (N,) nats in [0, log K]; 0 where all epochs predict the same. Houlsby et al. 2011."""
    mean_entropy = mean(np.stack([entr(p).sum(axis=1) for p in probabilities(signals)]))
    return np.maximum(entropy_of_mean(signals) - mean_entropy, 0.0)  # below 0 only by rounding
