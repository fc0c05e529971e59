"""Calibration, temperature and selective prediction: by hand, by plain loops, against torchmetrics."""

from itertools import permutations
from math import log

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import evaluate
from leadline.errors import InputError
from leadline.evaluate import intervals
from leadline.evaluate.calibration import ClassBins
from leadline.evaluate.selective import Ranked, area, covered, perfect_area
from leadline.signals import softmax
from worked_example import CONFIDENCE, CORRECT, LABELS, LOGITS


def near(value, atol=1e-9):
    return pytest.approx(value, abs=atol, rel=0)


def answers(n, k, seed, digits=None, signal=1.5):
    """Labels (N,), logits (N, K) and probabilities (N, K) of a middling model."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    z = rng.normal(size=(n, k)) + signal * np.eye(k)[y]
    z = z if digits is None else np.round(z, digits)
    return y, z, softmax(z)


# --- gaps of bins ---


def test_rms_by_hand():
    """Five bins of two rows: gaps .075, .325, .315, .42, .01 (right 1, 1/2, 1, 0, 1/2 of .925 .825 .685 .58 .51)."""
    gaps = [1 - 0.925, 0.5 - 0.825, 1 - 0.685, 0 - 0.58, 0.5 - 0.51]
    assert evaluate.rms_calibration_error(CONFIDENCE, CORRECT, bins=5) == near(np.sqrt(np.mean(np.square(gaps))))
    assert evaluate.calibration_error(CONFIDENCE, CORRECT, 5, "mass")[0] == near(np.mean(np.abs(gaps)))


@pytest.mark.long  # torchmetrics takes half a minute to import
@pytest.mark.parametrize(("n", "k"), [(300, 2), (1000, 5), (40, 3)])
def test_as_torchmetrics(n, k):
    torch = pytest.importorskip("torch")
    other = pytest.importorskip("torchmetrics.functional.classification").multiclass_calibration_error
    y, _, p = answers(n, k, seed=n)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    ece, mce = evaluate.calibration_error(confidence, right)
    rms = evaluate.rms_calibration_error(confidence, right, scheme="width")
    for norm, value in {"l1": ece, "max": mce, "l2": rms}.items():
        want = other(torch.tensor(p), torch.tensor(y), num_classes=k, n_bins=15, norm=norm)
        assert value == near(float(want), 1e-6), norm  # theirs are float32


def classwise_by_loops(p, truth, bins, mass):
    n, k = p.shape
    total = 0.0
    for c in range(k):
        edges = [(b / bins, (b + 1) / bins) for b in range(bins)]
        parts = [np.flatnonzero((p[:, c] > low) & (p[:, c] <= high)) for low, high in edges]
        for part in np.array_split(np.argsort(p[:, c]), bins) if mass else parts:
            total += abs(truth[part, c].sum() - p[part, c].sum()) / n
    return total / k


@pytest.mark.parametrize(("n", "k", "bins"), [(200, 3, 15), (97, 2, 4), (8, 5, 15)])
@pytest.mark.parametrize("scheme", ["width", "mass"])
def test_classwise_and_adaptive_as_plain_loops(n, k, bins, scheme):
    y, _, p = answers(n, k, seed=n)
    truth = np.eye(k)[y]
    assert evaluate.classwise_error(p, y, bins, scheme) == near(classwise_by_loops(p, truth, bins, scheme == "mass"))
    soft = softmax(np.random.default_rng(1).normal(size=(n, k)))
    assert evaluate.classwise_error(p, soft, bins, scheme) == near(classwise_by_loops(p, soft, bins, scheme == "mass"))
    if bins == 15:
        name = {"width": "ece_classwise", "mass": "ece_adaptive"}[scheme]
        assert evaluate.metrics(y, p, [str(c) for c in range(k)], name)[name] == near(
            evaluate.classwise_error(p, y, scheme=scheme)
        )


def test_equal_probabilities_are_shared_out_over_bins():
    """Any order of tied rows gives one of several values of ACE; ours is that of their mean assignment, the same for
    every order of the rows."""
    p = np.array([0.3, 0.3, 0.3, 0.6, 0.6, 0.9])
    y = np.array([0, 1, 0, 1, 0, 1])
    both = np.c_[1 - p, p]
    # bins of two: {.3 .3} {.3 .6} {.6 .9}; a .3 is 1/3 of class 1, a .6 one half
    gaps = [abs(2 / 3 - 0.6), abs(1 / 3 + 1 / 2 - 0.9), abs(1 / 2 + 1 - 1.5)]
    assert evaluate.classwise_error(both, y, bins=3, scheme="mass") == near(sum(gaps) / 6)
    order = [3, 0, 5, 2, 4, 1]
    assert evaluate.classwise_error(both[order], y[order], 3, "mass") == near(sum(gaps) / 6)


def test_interval_of_the_adaptive_error_keeps_its_bins():
    y, _, p = answers(60, 3, seed=4, digits=1)
    w = np.hstack(list(evaluate.resamples(60, 200, seed=0)))
    draws = ClassBins(p, np.eye(3)[y], scheme="mass").gap(w)
    assert draws[:5] == near([ClassBins(p, np.eye(3)[y], scheme="mass").gap(w[:, [b]])[0] for b in range(5)])
    got = evaluate.with_intervals(y, p, "abc", "ece_adaptive", repeats=200)["ece_adaptive"]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (got["low"], got["high"]) == (
        near(max(0, min(2 * got["value"] - high, got["value"]))),
        near(max(2 * got["value"] - low, got["value"])),
    )


def test_sums_at_ranks_as_interpolation():
    rng = np.random.default_rng(0)
    size = rng.integers(0, 4, size=(30, 7)).astype(float)  # blocks without rows, too
    size[0] += 60 - size.sum(axis=0)
    totals = np.cumsum(rng.normal(size=(2, 30, 7)) * (size > 0), axis=1)
    rank, cuts = np.cumsum(size, axis=0), np.array([0, 1, 7, 30, 59, 60])
    got = intervals.at_ranks(rank, cuts, totals)
    for m in range(2):
        for b in range(7):
            assert got[m, :, b] == near(np.interp(cuts, np.r_[0, rank[:, b]], np.r_[0, totals[m, :, b]]))


def test_soft_gaps_by_hand():
    """Two rows in one bin: said .8 and .75 for the first class, which people chose with .5 and .9."""
    y, p = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.8, 0.2], [0.75, 0.25]])
    got = evaluate.metrics(y, p, "ab", ["ece_soft", "kl_divergence", "cross_entropy", "ece"])
    assert got["ece_soft"] == near((0.8 + 0.75 - 0.5 - 0.9) / 2)
    assert got["ece"] == near((0.2 + 0.25) / 2)  # by the largest class both are right
    first = 0.5 * log(0.5 / 0.8) + 0.5 * log(0.5 / 0.2)
    second = 0.9 * log(0.9 / 0.75) + 0.1 * log(0.1 / 0.25)
    assert got["kl_divergence"] == near((first + second) / 2)
    entropy = (2 * 0.5 * log(2) - 0.9 * log(0.9) - 0.1 * log(0.1)) / 2
    assert got["cross_entropy"] - entropy == near(got["kl_divergence"])
    perfect = evaluate.metrics(y, y, "ab", ["ece_soft", "kl_divergence", "jensen_shannon", "brier"])
    assert perfect == {name: near(0) for name in perfect}
    table = evaluate.certainty_of(y, p).before.filter(pl.col("n") > 0)
    assert table["accuracy"].to_list() == near([0.7])  # both lie in (11/15, 12/15]


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_bins_of_equal_mass_add_up_where_confidences_tie(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 120))
    c = np.round(rng.uniform(0.4, 1, n), 1)
    counts = evaluate.reliability(c, rng.random(n) < c, 5, "mass")["n"].to_list()
    assert counts == [len(part) for part in np.array_split(np.arange(n), 5)]


# --- temperature ---


def test_temperature_of_the_worked_example_with_its_interval():
    found = evaluate.temperature_with_interval(LOGITS, LABELS)
    assert (found.value, found.says, found.n) == (near(0.58385, 1e-6), None, 5)
    assert found.low < found.value < found.high
    cooled = evaluate.scaled(softmax(LOGITS), found.value)
    assert evaluate.metrics(LABELS, cooled, "abc", "nll")["nll"] == near(0.36079, 1e-6)


def test_scaled_probabilities_are_those_of_scaled_logits():
    y, z, p = answers(80, 4, seed=2)
    for t in (0.05, 0.7, 1.0, 20.0):
        assert evaluate.scaled(p, t) == near(softmax(z / t), 1e-12)
    assert evaluate.scaled(p, 1.0).argmax(axis=1).tolist() == evaluate.scaled(p, 7.0).argmax(axis=1).tolist()
    assert evaluate.scaled([[0.0, 0.2, 0.8]], 5.0)[0, 0] == 0
    from_logits = evaluate.temperature_with_interval(z, y)
    assert evaluate.temperature_with_interval(evaluate.log_probabilities(p), y)[:3] == near(from_logits[:3])
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="above 0"):
            evaluate.scaled(p, wrong)


def test_interval_of_the_temperature_holds_the_truth():
    """Labels drawn from softmax(z): T is 1, and of 300 intervals of 200 rows about 95 % hold it."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        z = rng.normal(size=(200, 3)) * 2
        y = (rng.random((200, 1)) > softmax(z).cumsum(axis=1)).sum(axis=1)
        found = evaluate.temperature_with_interval(z, y)
        held += found.low <= 1 <= found.high
    assert 0.91 <= held / 300 <= 0.985


@pytest.mark.parametrize(
    ("logits", "labels", "value"),
    [([[3.0, 0.0], [0.0, 2.0]], [0, 1], 0.05), ([[3.0, 0.0], [0.0, 2.0]], [1, 0], 20.0), ([[1.0, 1.0]], [0], 1.0)],
)
def test_temperature_at_a_bound_has_a_warning_and_no_interval(logits, labels, value):
    found = evaluate.temperature_with_interval(logits, labels)
    assert found.value == value and found.says and np.isnan([found.low, found.high]).all()


def test_the_interval_of_a_temperature_keeps_to_its_bounds():
    """Logits that say next to nothing: 21 of 40 alike answers are right, and nearly any temperature would do."""
    found = evaluate.temperature_with_interval([[1.0, 0.0]] * 40, [0] * 21 + [1] * 19)
    assert found.value == near(1 / np.log(21 / 19), 1e-4) and (found.low, found.high) == (near(0.05), near(20.0))


def test_after_scaling_says_what_moved():
    y, z, p = answers(300, 3, seed=5)
    over = softmax(3 * z)
    fitted = evaluate.temperature_with_interval(*(a[:150] for a in (3 * z, y)))
    got = evaluate.after_scaling(y[150:], over[150:], "abc", fitted)
    before = evaluate.metrics(y[150:], over[150:], "abc")
    names = {name.removeprefix("scaled_") for name in got} - {"temperature"}
    gaps = {"ece", "ece_mass", "mce", "rms_calibration", "ece_classwise", "ece_adaptive"}
    assert names == {"nll", "brier", "aurc", "e_aurc", *gaps}
    assert got["scaled_aurc"]["value"] != near(before["aurc"], 1e-4)  # of two answers another one is the surer now
    assert got["temperature"] == {"value": fitted.value, "low": fitted.low, "high": fitted.high, "n": 150}
    assert got["scaled_nll"]["value"] < before["nll"] and got["scaled_ece"]["value"] < before["ece"]
    by_hand = evaluate.metrics(y[150:], softmax(3 * z[150:] / fitted.value), "abc")
    assert {name: got[f"scaled_{name}"]["value"] for name in names} == {name: near(by_hand[name]) for name in names}
    assert set(evaluate.after_scaling(y, p, "abc", fitted, ["nll", "accuracy"])) == {"temperature", "scaled_nll"}
    assert set(evaluate.after_scaling(y, p, "abc", fitted, ["macro_f1"])) == {"temperature"}
    y, _, p = answers(300, 2, seed=5)  # of two classes the order of the answers stays
    assert {"scaled_aurc", "scaled_e_aurc"}.isdisjoint(evaluate.after_scaling(y, p, "ab", fitted))
    assert evaluate.metrics(y, evaluate.scaled(p, 2.0), "ab", "aurc") == near(evaluate.metrics(y, p, "ab", "aurc"))


def test_of_distributions_a_temperature_lowers_what_it_was_fitted_to():
    _, z, people = answers(400, 3, seed=9)
    over = softmax(3 * z)
    fitted = evaluate.temperature_with_interval(np.log(over), people)
    got = evaluate.after_scaling(people, over, "abc", fitted, ["nll", "kl_divergence", "ece_soft", "ece_adaptive"])
    names = {"nll", "kl_divergence", "ece_soft", "ece_adaptive"}
    assert set(got) == {"temperature", *(f"scaled_{name}" for name in names)}
    assert fitted.value == near(3, 1e-6)  # people and model agree, but for the factor
    assert got["scaled_nll"]["value"] == near(-(people * np.log(people)).sum(axis=1).mean())
    assert got["scaled_kl_divergence"]["value"] == near(0) and got["scaled_ece_adaptive"]["value"] == near(0)


# --- selective prediction ---


def curve_over_orders(confidence, wrong):
    """The mean risk at every k over all orders of tied rows."""
    levels = [np.flatnonzero(confidence == c) for c in sorted(set(confidence), reverse=True)]
    curves = [np.empty(0)]
    for level in levels:
        curves = [np.r_[curve, wrong[list(order)]] for curve in curves for order in permutations(level)]
    return np.mean([np.cumsum(curve) / np.arange(1, len(curve) + 1) for curve in curves], axis=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_selective_prediction_over_all_orders_of_ties(rows):
    confidence, right = np.array([c for c, _ in rows]), np.array([a for _, a in rows], dtype=float)
    n, risk = len(rows), curve_over_orders(confidence, 1 - right)
    assert evaluate.risk_coverage(confidence, right)[1] == near(risk)
    assert evaluate.aurc(confidence, right) == near(risk.mean())
    assert evaluate.aurra(confidence, right) == near(1 - risk.mean())
    upto = Ranked(confidence, 1 - right).upto(np.ones((n, 1)))
    assert area(upto)[0] == near(risk.mean())
    assert (area(upto) - perfect_area(upto))[0] == near(evaluate.e_aurc(confidence, right))
    ends = np.diff(-np.sort(-confidence), append=-1) != 0  # where no tie is cut: what a threshold can do
    for bound in (0.0, 0.2, 0.25, 0.5):
        fits = np.flatnonzero((risk <= bound + 1e-12) & ends)
        assert evaluate.coverage_at_risk(confidence, right, bound) == near((fits[-1] + 1) / n if len(fits) else 0)


def test_areas_of_resamples_are_those_of_repeated_rows():
    y, _, p = answers(25, 3, seed=8, digits=1)
    confidence, right = p.max(axis=1), (p.argmax(axis=1) == y).astype(float)
    w = np.hstack(list(evaluate.resamples(25, 30, seed=1)))
    upto = Ranked(confidence, 1 - right).upto(w)
    for b in range(30):
        rows = np.repeat(np.arange(25), w[:, b].astype(int))
        assert area(upto)[b] == near(evaluate.aurc(confidence[rows], right[rows]))
        assert perfect_area(upto)[b] == near(
            evaluate.aurc(confidence[rows], right[rows]) - evaluate.e_aurc(confidence[rows], right[rows])
        )
        for bound in (0.1, 0.3):
            want = evaluate.coverage_at_risk(confidence[rows], right[rows], bound)
            assert covered(upto, bound)[b] == near(want)


def test_selective_prediction_of_the_worked_example():
    found = evaluate.selective_prediction(CONFIDENCE, CORRECT)
    assert (found.n, found.errors, found.aurra) == (10, 4, near(1 - 0.201071, 1e-6))
    assert found.curve["risk"].to_list() == near(
        [0.0, 0.0, 0.0, 0.25, 0.2, 0.166667, 0.285714, 0.375, 0.333333, 0.4], 1e-6
    )
    half = found.accuracy.row(0, named=True)
    low, high = evaluate.wilson(4, 5)
    assert half == {
        "coverage": 0.5,
        "value": near(0.8),
        "low": near(low),
        "high": near(high),
        "n": 5,
        "threshold": 0.72,
    }
    tenth = found.coverage.row(2, named=True)  # three right answers, then errors: 10 % is never reached again
    assert (tenth["risk"], tenth["value"], tenth["n"], tenth["threshold"]) == (0.1, near(0.3), 3, 0.85)
    assert tenth["low"] <= tenth["value"] <= tenth["high"]
    hopeless = evaluate.selective_prediction([0.9, 0.8], [0, 0]).coverage.row(0, named=True)
    assert (hopeless["value"], hopeless["n"]) == (0, 0) and np.isnan(hopeless["threshold"])
    alone = evaluate.selective_prediction([0.9], [1])
    assert alone.coverage["value"].to_list() == [1.0] * 3 and np.isnan(alone.coverage["low"].to_numpy()).all()


def test_a_threshold_gives_the_coverage_beside_it():
    """Of eight answers that are equally sure one is wrong: a threshold takes all eight or none."""
    confidence, right = np.array([0.9] * 2 + [0.5] * 8), np.array([1] * 2 + [0] + [1] * 7)
    found = evaluate.selective_prediction(confidence, right, risks=(0.05, 0.1)).coverage
    assert found["value"].to_list() == [0.2, 1.0] and found["n"].to_list() == [2, 10]
    for risk, n, threshold in found.select("risk", "n", "threshold").rows():
        answered = confidence >= threshold
        assert answered.sum() == n and (1 - right[answered]).mean() <= risk
    wrong_first = evaluate.selective_prediction([0.7] * 3, [1, 0, 1], risks=(0.1,)).coverage
    assert wrong_first["value"].to_list() == [0.0] and np.isnan(wrong_first["threshold"][0])


def test_of_many_rows_the_curve_has_few_points():
    y, _, p = answers(3000, 2, seed=6)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    curve = evaluate.selective_prediction(confidence, right, repeats=2).curve
    assert len(curve) == 200 and curve["coverage"][-1] == 1
    coverage, risk = evaluate.risk_coverage(confidence, right)
    assert curve["risk"].to_list() == near(risk[14::15]) and curve["coverage"].to_list() == near(coverage[14::15])


def test_selective_errors():
    for risk in (-0.1, 1.0):
        with pytest.raises(InputError, match="risk"):
            evaluate.coverage_at_risk(CONFIDENCE, CORRECT, risk)
    for scheme, bins, words in [("height", 5, "width or mass"), ("width", 0, "at least 1 bin")]:
        with pytest.raises(InputError, match=words):
            evaluate.classwise_error([[0.5, 0.5]], [1], bins, scheme)
    with pytest.raises(InputError, match="3 columns for 2 classes"):
        evaluate.classwise_error([[0.5, 0.5]], [[0.2, 0.3, 0.5]])
    with pytest.raises(InputError, match=r"row 1 .*outside \[0, 1\]; leave out"):
        evaluate.reliability([0.5, 0.6], [0.3, 1.2])
