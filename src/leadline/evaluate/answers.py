"""What was true and what was said, checked once; and the same seen through weights of the rows.

N rows, K classes, B sets of weights (one column of ones for the data themselves, one column per resample).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, special

from leadline.errors import InputError
from leadline.evaluate.calibration import Binning, ClassBins, Scheme
from leadline.evaluate.checks import class_indices, distributions, numbers, same_length
from leadline.evaluate.intervals import TiedBlocks, one_hot
from leadline.evaluate.selective import Ranked

SMALLEST = 1e-12  # probabilities are clipped here before a logarithm: a certain error is 27.6 nats, not infinite


class Counts(NamedTuple):
    """Rows per class: answered rightly, labelled so, predicted so; (K,) or (K, B)."""

    hits: np.ndarray
    labelled: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Classified:
    """Classification: gold (N,) class indices, probabilities (N, K), label distribution (N, K) where there is one."""

    gold: np.ndarray
    probabilities: np.ndarray
    distribution: np.ndarray | None = None

    @staticmethod
    def check(labels: ArrayLike, probabilities: ArrayLike, k: int) -> Classified:
        """From labels (N,) or (N, K); the gold class of a distribution is its largest, the lowest index on ties."""
        p = distributions(probabilities)
        if p.shape[1] != k:
            raise InputError(f"probabilities: {p.shape[1]} columns for {k} classes")
        y = np.asarray(labels)
        soft = distributions(y, "labels") if y.ndim == 2 else None
        if soft is not None and soft.shape[1] != k:
            raise InputError(f"labels: {soft.shape[1]} columns for {k} classes")
        gold = class_indices(y, k) if soft is None else soft.argmax(axis=1)
        same_length(gold, p, "labels and probabilities")
        return Classified(gold, p, soft)

    def __len__(self) -> int:
        return len(self.gold)

    def weighted(self, weights: np.ndarray) -> ClassifiedSample:
        return ClassifiedSample(self, weights)

    @cached_property
    def predicted(self) -> np.ndarray:  # (N,), the lowest index on ties
        return self.probabilities.argmax(axis=1)

    @cached_property
    def correct(self) -> np.ndarray:  # (N,) 0.0 or 1.0
        return (self.predicted == self.gold).astype(np.float64)

    @cached_property
    def nll(self) -> np.ndarray:  # (N,) nats; of a distribution the cross-entropy, which is what it becomes there
        if self.distribution is not None:
            return self.cross_entropy
        return -np.log(np.maximum(self.probabilities[np.arange(len(self)), self.gold], SMALLEST))

    @cached_property
    def brier(self) -> np.ndarray:  # (N,) sum over classes of the squared difference
        if self.distribution is not None:
            return ((self.probabilities - self.distribution) ** 2).sum(axis=1)
        gold = self.probabilities[np.arange(len(self)), self.gold]
        return (self.probabilities**2).sum(axis=1) - 2 * gold + 1

    @cached_property
    def cross_entropy(self) -> np.ndarray:  # (N,) nats
        assert self.distribution is not None
        return -(self.distribution * np.log(np.maximum(self.probabilities, SMALLEST))).sum(axis=1)

    @cached_property
    def kl_divergence(self) -> np.ndarray:  # (N,) nats, from the label distribution to the probabilities
        assert self.distribution is not None
        return special.rel_entr(self.distribution, np.maximum(self.probabilities, SMALLEST)).sum(axis=1)

    @cached_property
    def jensen_shannon(self) -> np.ndarray:  # (N,) nats
        assert self.distribution is not None
        p, y = self.probabilities, self.distribution
        middle = (p + y) / 2
        return (special.rel_entr(p, middle) + special.rel_entr(y, middle)).sum(axis=1) / 2

    @cached_property
    def by_width(self) -> Binning:
        return Binning(self.probabilities.max(axis=1), self.correct, scheme="width")

    @cached_property
    def by_mass(self) -> Binning:
        return Binning(self.probabilities.max(axis=1), self.correct, scheme="mass")

    @cached_property
    def by_share(self) -> Binning:
        assert self.distribution is not None
        share = self.distribution[np.arange(len(self)), self.predicted]
        return Binning(self.probabilities.max(axis=1), share, scheme="width")

    @cached_property
    def by_class(self) -> dict[Scheme, ClassBins]:
        truth = np.eye(self.probabilities.shape[1])[self.gold] if self.distribution is None else self.distribution
        return {
            "width": ClassBins(self.probabilities, truth, scheme="width"),
            "mass": ClassBins(self.probabilities, truth, scheme="mass"),
        }

    @cached_property
    def ranked(self) -> Ranked:
        return Ranked(self.probabilities.max(axis=1), 1 - self.correct)

    @cached_property
    def by_second_class(self) -> tuple[sparse.csr_array, sparse.csr_array]:  # (G, N) each: second class, first class
        blocks, yes = TiedBlocks(self.probabilities[:, 1]), (self.gold == 1).astype(np.float64)
        return blocks.summing(yes), blocks.summing(1 - yes)

    @cached_property
    def indicators(self) -> tuple[sparse.csr_array, ...]:  # three (K, N): answered rightly, labelled, predicted
        k = self.probabilities.shape[1]
        return one_hot(self.gold, k, self.correct), one_hot(self.gold, k), one_hot(self.predicted, k)


@dataclass(frozen=True)
class ClassifiedSample:
    rows: Classified
    weights: np.ndarray  # (N, B)

    @cached_property
    def n(self) -> np.ndarray:  # (B,)
        return np.ones(len(self.rows)) @ self.weights

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(N,) -> (B,)"""
        return values @ self.weights / self.n

    @cached_property
    def counts(self) -> Counts:
        return Counts(*(indicator @ self.weights for indicator in self.rows.indicators))

    @cached_property
    def width_sums(self) -> np.ndarray:  # (3, bins, B)
        return self.rows.by_width.sums(self.weights)

    @cached_property
    def mass_sums(self) -> np.ndarray:  # (3, bins, B)
        return self.rows.by_mass.sums(self.weights)

    @cached_property
    def ranked(self) -> np.ndarray:  # (2, G, B)
        return self.rows.ranked.upto(self.weights)

    @cached_property
    def second_class(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the second and of the first class in each block of equal probability of the second, ascending,
        and the same in this block and all below: (G, B) each."""
        yes, no = (indicator @ self.weights for indicator in self.rows.by_second_class)
        return yes, no, np.cumsum(yes, axis=0), np.cumsum(no, axis=0)


@dataclass(frozen=True)
class Estimated:
    """Regression: the true and the predicted number of each row, (N,) each."""

    truth: np.ndarray
    predicted: np.ndarray

    @staticmethod
    def check(labels: ArrayLike, predicted: ArrayLike) -> Estimated:
        truth, said = numbers(labels, "labels"), numbers(predicted, "predictions")
        same_length(truth, said, "labels and predictions")
        return Estimated(truth, said)

    def __len__(self) -> int:
        return len(self.truth)

    def weighted(self, weights: np.ndarray) -> EstimatedSample:
        return EstimatedSample(self, weights)

    @cached_property
    def error(self) -> np.ndarray:
        return self.predicted - self.truth

    @cached_property
    def blocks(self) -> tuple[TiedBlocks, TiedBlocks]:
        return TiedBlocks(self.truth), TiedBlocks(self.predicted)


@dataclass(frozen=True)
class EstimatedSample:
    rows: Estimated
    weights: np.ndarray  # (N, B)

    @cached_property
    def n(self) -> np.ndarray:  # (B,)
        return np.ones(len(self.rows)) @ self.weights

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(N,) -> (B,)"""
        return values @ self.weights / self.n

    @cached_property
    def ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """Average ranks of truth and predictions among the drawn rows, (N, B) each."""
        truth, predicted = self.rows.blocks
        return truth.mid_ranks(self.weights), predicted.mid_ranks(self.weights)
