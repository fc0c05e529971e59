"""Is the model right where it is sure? Answer only the most confident rows, and see how many answers are wrong.

Risk is the share of errors among the answered rows, coverage the share of rows that are answered. Within rows of equal
confidence the curve, its areas and the accuracy at a coverage are the mean over their orders, so row order is moot. The
coverage at a risk takes such rows all or none, as a threshold of the confidence does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy import sparse

from leadline.errors import InputError
from leadline.evaluate.checks import confidence_and_correct
from leadline.evaluate.intervals import TiedBlocks, percentiles, resamples, wilson

COVERAGES = (0.5, 0.8, 0.9, 0.95)
RISKS = (0.01, 0.05, 0.1)
POINTS = 200  # of the curve that is drawn


@dataclass(frozen=True)
class Ranked:
    """N answers in blocks of equal confidence, the surest first, ready to be summed with any weights of the rows."""

    confidence: np.ndarray  # (N,)
    wrong: np.ndarray  # (N,) 0.0 or 1.0

    def upto(self, weights: np.ndarray) -> np.ndarray:
        """(N, B) -> (2, G, B): rows and errors up to the end of each block."""
        return np.array([np.cumsum(blocks @ weights, axis=0) for blocks in self._by_block])

    @cached_property
    def _by_block(self) -> list[sparse.csr_array]:
        blocks = TiedBlocks(-self.confidence)
        return [blocks.summing(values) for values in (None, self.wrong)]


def area(upto: np.ndarray) -> np.ndarray:
    """(2, G, B) -> (B,): AURC. In a block from R rows with E errors on, the risk at k is (E + (k - R) r) / k, r the
    share of errors in the block: its sum over k needs harmonic numbers only."""
    rows, errors = upto
    n, wrong = (np.diff(x, axis=0, prepend=0.0) for x in (rows, errors))
    rate = np.divide(wrong, n, out=np.zeros(n.shape), where=n > 0)
    harmonic = _harmonic(rows[-1])
    spent = harmonic[rows.astype(np.int64)] - harmonic[(rows - n).astype(np.int64)]
    total = ((errors - wrong - (rows - n) * rate) * spent + wrong).sum(axis=0)
    return total / rows[-1]


def perfect_area(upto: np.ndarray) -> np.ndarray:
    """(2, G, B) -> (B,): AURC of as many errors, all of them last."""
    rows, errors = upto[:, -1]
    harmonic, right = _harmonic(rows), (rows - errors)
    return (errors - right * (harmonic[rows.astype(np.int64)] - harmonic[right.astype(np.int64)])) / rows


def _harmonic(rows: np.ndarray) -> np.ndarray:
    """H_0, H_1, … as far as they are needed."""
    return np.r_[0.0, np.cumsum(1 / np.arange(1, round(rows.max()) + 1))]


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Coverage k / N and risk (N,) for k = 1..N: the share of errors among the k most confident rows.

    Within rows of equal confidence: the mean over their orders, so row order is moot. El-Yaniv & Wiener, JMLR 2010.
    """
    c, a = confidence_and_correct(confidence, correct)
    k = np.arange(1, len(c) + 1)
    blocks = TiedBlocks(-c)
    rows = np.r_[0, np.cumsum(np.bincount(blocks.block))]
    errors = np.r_[0, np.cumsum(np.bincount(blocks.block, weights=1 - a))]
    return k / len(c), np.interp(k, rows, errors) / k


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean risk over k = 1..N, in [0, 1], lower is better (Geifman, Uziel, El-Yaniv, ICLR 2019)."""
    return float(risk_coverage(confidence, correct)[1].mean())


def e_aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """AURC minus that of the perfect order (all right answers first), >= 0, lower is better.

    Tells a model's ranking of its own answers from its accuracy. Geifman, Uziel, El-Yaniv, ICLR 2019.
    """
    _, a = confidence_and_correct(confidence, correct)
    k = np.arange(1, len(a) + 1)
    perfect = np.maximum(0, k - a.sum()) / k
    return aurc(confidence, correct) - float(perfect.mean())


def accuracy_at_coverage(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Accuracy over the ceil(coverage N) most confident rows, in [0, 1]; coverage in (0, 1].

    Where rows of equal confidence are cut: the mean over the orders in which they could stand.
    """
    if not 0 < coverage <= 1:
        raise InputError(f"coverage {coverage}: a share above 0 and at most 1 is needed")
    risk = risk_coverage(confidence, correct)[1]
    return float(1 - risk[rows_covered(coverage, len(risk)) - 1])


def aurra(confidence: ArrayLike, correct: ArrayLike) -> float:
    """1 - AURC, the mean accuracy over all coverages, in [0, 1], higher is better (Hendrycks et al., CVPR 2021)."""
    return 1 - aurc(confidence, correct)


def coverage_at_risk(confidence: ArrayLike, correct: ArrayLike, risk: float) -> float:
    """The largest coverage whose share of errors is at most `risk`, in [0, 1]; 0 where no threshold keeps to it.

    Rows of equal confidence are answered all or none, so that a threshold of the confidence reaches just this coverage.
    Found on the rows that it is told of, so it flatters: choose a threshold on validation rows.
    """
    if not 0 <= risk < 1:
        raise InputError(f"risk {risk}: a share of at least 0 and below 1 is needed")
    c, a = confidence_and_correct(confidence, correct)
    return float(covered(Ranked(c, 1 - a).upto(np.ones((len(c), 1))), risk)[0])


def covered(upto: np.ndarray, risk: float) -> np.ndarray:
    """(2, G, B) -> (B,): the largest coverage of whole blocks with at most that risk."""
    rows, errors = upto
    return np.where(errors <= risk * rows + 1e-9, rows, 0.0).max(axis=0) / rows[-1]


@dataclass(frozen=True)
class Selective:
    """Selective prediction of one set of answers: tables with 95 % intervals.

    curve     coverage, risk, low, high (Wilson, of the rows answered): at most 200 points, evenly spread
    accuracy  coverage, value, low, high (Wilson), n (rows answered), threshold (the confidence of the last of them;
              whoever answers from it on also answers the others that are as sure, and so more than n where rows tie)
    coverage  risk, value, low, high (bootstrap over rows), n, threshold: answering from it on answers just these n
    """

    curve: pl.DataFrame
    accuracy: pl.DataFrame
    coverage: pl.DataFrame
    n: int
    errors: int
    aurra: float  # 1 - AURC


def selective_prediction(
    confidence: ArrayLike,
    correct: ArrayLike,
    coverages: Sequence[float] = COVERAGES,
    risks: Sequence[float] = RISKS,
    repeats: int = 1000,
    seed: int = 0,
) -> Selective:
    """Curve, accuracy at coverages, coverage at risks. confidence (N,) in [0, 1], correct (N,) 0 or 1.

    Coverage at a risk is found on the rows that it is told of, so it flatters; its interval is no guarantee.
    """
    c, a = confidence_and_correct(confidence, correct)
    n, risk = len(c), risk_coverage(c, a)[1]
    ends = np.unique([rows_covered(q, n) for q in np.linspace(1 / POINTS, 1, POINTS)])
    low, high = wilson(risk[ends - 1] * ends, ends)
    asked = np.array([rows_covered(q, n) for q in coverages], dtype=np.int64)
    right = 1 - risk[asked - 1]
    least, most = wilson(right * asked, asked)
    accuracy = {"coverage": coverages, "value": right, "low": least, "high": most}
    ranked = Ranked(c, 1 - a)
    share = np.array([covered(ranked.upto(np.ones((n, 1))), r)[0] for r in risks])
    drawn = [[covered(upto, r) for r in risks] for upto in map(ranked.upto, resamples(n, repeats, seed))]
    bounds = np.array([percentiles(draws, 0.95) for draws in np.concatenate(drawn, axis=1)])
    bounds = bounds if n > 1 else np.full(bounds.shape, np.nan)
    coverage = {"risk": risks, "value": share, "low": bounds[:, 0], "high": bounds[:, 1]}
    answered = np.round(share * n).astype(np.int64)
    return Selective(
        pl.DataFrame({"coverage": ends / n, "risk": risk[ends - 1], "low": low, "high": high}),
        pl.DataFrame(accuracy | {"n": asked, "threshold": _thresholds(c, asked)}),
        pl.DataFrame(coverage | {"n": answered, "threshold": _thresholds(c, answered)}),
        n,
        int(n - a.sum()),
        1 - float(risk.mean()),
    )


def rows_covered(coverage: float, n: int) -> int:
    """ceil(coverage n), at least 1; 0.07 x 100 is 7.000000000000001 in floating point."""
    return max(1, int(np.ceil(coverage * n - 1e-9)))


def _thresholds(confidence: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The confidence of the last of so many surest rows; NaN of none."""
    return np.where(rows > 0, -np.sort(-confidence)[np.maximum(rows, 1) - 1], np.nan)
