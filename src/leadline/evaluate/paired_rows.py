"""Would other test rows say the same? Differences of two models on the same rows: bootstrap, McNemar, randomisation.

The trained models are held fixed: these tests speak of other rows, not of training again (that is `paired_seeds`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from leadline.errors import InputError
from leadline.evaluate import intervals
from leadline.evaluate.answers import Classified, Estimated
from leadline.evaluate.checks import same_length, zero_or_one
from leadline.evaluate.intervals import resamples
from leadline.evaluate.measure import Names, checked, find_metric, full_names, values_of
from leadline.evaluate.paired import Difference
from leadline.evaluate.paired_power import detectable_accuracy, detectable_from_error

Rows = Classified | Estimated
FEW = 25  # discordant rows up to which McNemar's test counts exactly
EXACT = 20_000  # ways to exchange rows up to which all are counted
TIE = 1e-9  # of the metric's own size: differences that rounding parts are equal
BY_MASS = ("ece_mass", "rms_calibration", "ece_adaptive")  # metrics whose bins depend on all rows at once
# metrics that see the predicted class only: rows that both models put in one class cannot move their difference
OF_CLASS = ("accuracy", "macro_f1", "micro_f1", "macro_precision", "macro_recall", "f1", "precision", "recall", "mcc")


def mcnemar(first: ArrayLike, second: ArrayLike, continuity: bool = True, level: float = 0.95) -> Difference:
    """Second minus first accuracy on the same rows, from who was right, (N,) 0 or 1 each.

    Only the discordant rows (one right, the other wrong) speak. McNemar (1947): up to 25 of them the exact binomial
    test, beyond it chi-square with one degree of freedom, with the continuity correction of Edwards (1948) as in
    Dietterich (1998) unless `continuity` is false. Exact and corrected p are rather too large than too small. The
    interval is Agresti and Min's (2005): Wald's after half a row is added to each cell.
    """
    a, b = zero_or_one(first, "first"), zero_or_one(second, "second")
    same_length(a, b, "first and second")
    n, lost, won = len(a), int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    differ = lost + won
    if differ <= FEW:
        p, method = min(1.0, 2 * float(special.bdtr(min(lost, won), differ, 0.5))), "McNemar, exact"
    else:
        square = max(0, abs(won - lost) - continuity) ** 2 / differ
        p, method = float(special.chdtrc(1, square)), "McNemar, chi-square" + ("" if continuity else " uncorrected")
    half = float(special.ndtri((1 + level) / 2)) * np.sqrt(differ + 1 - (won - lost) ** 2 / (n + 2)) / (n + 2)
    centre = (won - lost) / (n + 2)
    low, high = max(-1.0, float(centre - half)), min(1.0, float(centre + half))
    detectable = detectable_accuracy(differ / n, n)
    return Difference((won - lost) / n, low, high, p, n, method, _lowest(differ), detectable=detectable)


def paired_bootstrap(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    classes: Sequence[str] = (),
    metrics: Names = "auto",
    repeats: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Name -> second minus first. Arguments as `with_intervals`; first and second are probabilities of the same rows.

    Either may be several runs of one recipe, (S, N, K) or for a regression (S, N): then the mean of the metric over the
    runs is compared. Both models get the same resamples, so what is hard for both cancels. The resampled differences
    D* scatter around the observed D as D does around the truth, so p is the share with |D* - D| >= |D| (Efron and
    Tibshirani 1993, section 16.4: the null is reached by shifting, not by taking D* as if it were null), the data
    themselves counted with them. The interval is D -+ the quantile of |D* - D| (Hall 1988), so it leaves out 0 where
    p <= 1 - level. Too sure of itself on few rows, or few rows on which the models differ (below about 50 and 10; for
    accuracy take `mcnemar`); p is never below `lowest_p`, the least that an exact test of these rows could reach.
    """
    models = [_models(labels, predictions, classes) for predictions in (first, second)]
    n, names = len(models[0][0]), full_names(metrics, models[0][0], classes)

    def differences(weights: np.ndarray) -> np.ndarray:  # (N, B) -> (M, B)
        a, b = (
            np.mean([values_of(names, rows.weighted(weights), classes) for rows in runs], axis=0) for runs in models
        )
        return b - a

    value = differences(np.ones((n, 1)))[:, 0]  # (M,)
    draws = np.concatenate([differences(weights) for weights in resamples(n, repeats, seed)], axis=1)  # (M, repeats)
    method = f"paired bootstrap, {repeats:,} resamples"
    return {
        name: _from_draws(float(value[i]), draws[i], n, _floor(name, models), method, name, level)
        for i, name in enumerate(names)
    }


def paired_randomisation(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    classes: Sequence[str] = (),
    metrics: Names = "auto",
    repeats: int = 9999,
    seed: int = 0,
) -> dict[str, Difference]:
    """Name -> second minus first, with p only: approximate randomisation (Noreen 1989; Yeh 2000). No interval.

    If the two models are interchangeable, their answers to a row may be exchanged; p is the share of exchanges whose
    difference is at least as large: all 2^N of them where they are few, else random ones, the observed counted with
    them. Exact at any N for the hypothesis that nothing distinguishes the models, which is more than equal metrics.
    `ece_mass`, `rms_calibration` and `ece_adaptive` are left out: bins of equal mass depend on all rows at once.
    """
    a, b = (_models(labels, predictions, classes) for predictions in (first, second))
    if len(a) > 1 or len(b) > 1:
        raise InputError("paired_randomisation: one set of predictions of each model is needed, not several runs")
    n, names = len(a[0]), [name for name in full_names(metrics, a[0], classes) if name not in BY_MASS]
    both = _stacked(a[0], b[0])

    def differences(exchanged: np.ndarray) -> np.ndarray:  # (N, B) bool -> (M, B)
        taken = exchanged.astype(np.float64)
        first_of, second_of = np.concatenate([1 - taken, taken]), np.concatenate([taken, 1 - taken])  # (2N, B) each
        one, other = (values_of(names, both.weighted(weights), classes) for weights in (first_of, second_of))
        return other - one

    exact = n < 64 and 2**n <= EXACT
    value = differences(np.zeros((n, 1), dtype=bool))[:, 0]  # (M,)
    draws = np.concatenate([differences(e) for e in _exchanges(n, repeats, seed, exact)], axis=1)  # (M, R)
    method = "randomisation, " + ("exact" if exact else f"{repeats:,} exchanges")
    found = {}
    for i, name in enumerate(names):
        extreme = int((abs(draws[i]) >= abs(value[i]) - TIE).sum())
        p = extreme / draws.shape[1] if exact else (extreme + 1) / (repeats + 1)
        lowest = _lowest(n) if exact else max(_lowest(n), 1 / (repeats + 1))
        p = np.nan if np.isnan(value[i]) else p
        found[name] = Difference(float(value[i]), np.nan, np.nan, p, n, method, lowest)
    return found


def _from_draws(
    value: float, draws: np.ndarray, n: int, floor: float, method: str, name: str, level: float
) -> Difference:
    defined = draws[~np.isnan(draws)]
    if n < 2 or np.isnan(value) or not len(defined):
        return Difference(value, np.nan, np.nan, np.nan, n, method, np.nan)
    error = np.sort(abs(defined - value))
    tie = TIE * max(1.0, abs(value)) if np.isfinite(find_metric(name).range).all() else TIE * abs(value)
    p = (1 + int((error >= abs(value) - tie).sum())) / (len(error) + 1)
    half = error[min(len(error), int(np.ceil(level * (len(error) + 1) - 1e-9))) - 1]
    half = abs(value) if abs(half - abs(value)) <= tie else half  # as p counts them: 0 is then an end of the interval
    low, high = find_metric(name).range
    span = high - low
    lowest = max(floor, 1 / (len(error) + 1))
    ends = float(max(value - half, -span)), float(min(value + half, span))
    detectable = detectable_from_error(float(defined.std())) or np.nan
    return Difference(value, *ends, max(p, lowest), n, method, lowest, detectable=detectable)


def _models(labels: ArrayLike, predictions: ArrayLike, classes: Sequence[str]) -> list[Rows]:
    """One entry per run of a model: a run alone has one axis less."""
    array = np.asarray(predictions)
    runs = array if array.ndim == (3 if len(classes) else 2) else array[None]
    if not len(runs):
        raise InputError("a comparison needs at least one run of each model")
    return [checked(labels, run, classes) for run in runs]


def _stacked(a: Rows, b: Rows) -> Rows:
    """The answers of both models to all rows, (2N,): weights choose whose answer to a row is taken."""
    if isinstance(a, Estimated) and isinstance(b, Estimated):
        return Estimated(np.concatenate([a.truth, b.truth]), np.concatenate([a.predicted, b.predicted]))
    assert isinstance(a, Classified) and isinstance(b, Classified)
    soft = np.concatenate([a.distribution] * 2) if a.distribution is not None else None
    return Classified(
        np.concatenate([a.gold, b.gold]), np.concatenate([a.probabilities, b.probabilities]), distribution=soft
    )


def _exchanges(n: int, repeats: int, seed: int, exact: bool) -> Iterator[np.ndarray]:
    """Which rows are exchanged, in blocks (N, b)."""
    if exact:
        yield np.array(list(product((False, True), repeat=n))).T
        return
    dice, size = np.random.default_rng(seed), max(1, intervals.CELLS // (2 * n))
    for start in range(0, repeats, size):
        yield dice.random((min(size, repeats - start), n)).T < 0.5


def _floor(name: str, models: Sequence[Sequence[Rows]]) -> float:
    """2 / 2^m for the m rows that can move the difference."""
    runs = [rows for several in models for rows in several]
    of_class = name.partition("[")[0] in OF_CLASS
    answers = [_answers(rows, of_class) for rows in runs]
    moved = np.any([(answer != answers[0]).reshape(len(runs[0]), -1).any(axis=1) for answer in answers], axis=0)
    return _lowest(int(moved.sum()))


def _answers(rows: Rows, of_class: bool) -> np.ndarray:
    if isinstance(rows, Estimated) or of_class:
        return rows.predicted
    return rows.probabilities


def _lowest(m: int) -> float:
    """The smallest two-sided p of m rows that can go either way."""
    return min(1.0, 2.0 ** (1 - m))
