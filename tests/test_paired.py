"""Tests of differences: against scipy, published examples, brute force, and by how often they are wrong."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from leadline import evaluate
from leadline.errors import InputError
from leadline.evaluate import paired_seeds
from leadline.signals import softmax


def near(value, atol=1e-9):
    return pytest.approx(value, abs=atol, rel=0, nan_ok=True)


VALUES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=9)

# --- over seeds ---

# Darwin's maize (Fisher, The Design of Experiments, 1935, section 21): crossed minus self-fertilised, 1/8 inch
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_three_seeds_by_hand():
    """Differences .02, .02, .045: the t interval leaves 0 in by little, and no p below 2/8 exists."""
    got = evaluate.sign_flips([0.80, 0.81, 0.805], [0.82, 0.83, 0.85])
    d = np.array([0.02, 0.02, 0.045])
    half = 4.302652729911275 * d.std(ddof=1) / np.sqrt(3)  # t(2), 97.5 %
    assert (got.value, got.low, got.high) == (near(d.mean()), near(d.mean() - half), near(d.mean() + half))
    assert (got.p, got.lowest_p, got.n) == (0.25, 0.25, 3)
    assert got.method == "sign flips over seeds, exact"


def test_darwins_maize_as_fisher_counted(monkeypatch):
    """Fisher: of the 2^15 sign patterns 863 have a sum of at least 314, 863 of at most -314; two-sided p = 0.0527."""
    monkeypatch.setattr(paired_seeds, "EXACT", 2**15)
    got = evaluate.sign_flips(np.zeros(15), DARWIN)
    assert got.p == near(2 * 863 / 2**15) and got.lowest_p == near(2 / 2**15)
    assert got.value * 15 == near(314)


def test_random_signs_come_near_and_count_the_observed():
    got = evaluate.sign_flips(np.zeros(15), DARWIN)  # 2^15 is beyond the limit
    assert got.method == "sign flips over seeds, 9,999 random"
    assert abs(got.p - 2 * 863 / 2**15) < 4 * np.sqrt(0.0527 * 0.9473 / 9999)
    far = evaluate.sign_flips(np.zeros(40), np.ones(40))
    assert far.p == near(1 / 10_000) == far.lowest_p


@pytest.mark.parametrize("seed", range(4))
def test_seeds_as_scipy(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=8), rng.normal(0.4, 1, size=8)

    def difference(x, y, axis):
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    want = stats.permutation_test((a, b), difference, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    t = stats.ttest_rel(b, a).confidence_interval()
    got = evaluate.sign_flips(a, b)
    assert (got.p, got.low, got.high) == (near(want.pvalue), near(t.low), near(t.high))
    a = a[:6]
    want = stats.permutation_test(
        (a, b), difference, permutation_type="independent", n_resamples=np.inf, vectorized=True
    )
    t = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    got = evaluate.relabelling(a, b)
    both, size = np.concatenate([a, b]), abs(b.mean() - a.mean())
    brute = [abs(both[list(m)].mean() - both[[not x for x in m]].mean()) >= size - 1e-12
             for m in (np.array(m, dtype=bool) for m in product((0, 1), repeat=14)) if m.sum() == 8]  # fmt: skip
    assert got.p == near(np.mean(brute)) and (got.low, got.high) == (near(t.low), near(t.high))
    assert got.n == 6 and got.lowest_p == near(1 / 3003)
    # scipy doubles the smaller tail; with equal sizes the two rules are one
    want = stats.permutation_test(
        (a, b[:6]), difference, permutation_type="independent", n_resamples=np.inf, vectorized=True
    )
    got = evaluate.relabelling(a, b[:6])
    assert got.p == near(want.pvalue) and got.lowest_p == near(2 / 924)


@given(VALUES, st.floats(-5, 5), st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_seeds_do_not_care_for_sign_order_origin_and_unit(d, origin, unit):
    a = np.linspace(0, 1, len(d)) * 0
    got = evaluate.sign_flips(a, d)
    back = evaluate.sign_flips(d, a)
    assert (back.value, back.low, back.high, back.p) == (near(-got.value), near(-got.high), near(-got.low), near(got.p))
    assert evaluate.sign_flips(a, d[::-1]).p == near(got.p)
    moved = evaluate.sign_flips(a + origin, np.array(d) * unit + origin)
    assert moved.p == near(got.p) and moved.value == near(got.value * unit, 1e-7)
    assert got.lowest_p <= got.p <= 1 and got.lowest_p == 2 / 2 ** len(d)


def test_over_seeds_pairs_what_it_can_and_says_what_it_did():
    table = {
        "base": {0: 0.80, 1: 0.81, 2: 0.805, 3: 0.79, 4: 0.80, 5: 0.8, 6: 0.8},
        "better": {6: 0.9, 5: 0.82, 4: 0.83, 3: 0.84, 2: 0.85, 1: 0.86, 0: 0.87},
        "partly": {1: 0.82, 2: float("nan"), 9: 0.1},
        "others": {11: 0.7, 12: 0.72},
        "failed": {},
    }
    got = evaluate.over_seeds(table, "base")
    assert list(got) == ["better", "partly", "others", "failed"]
    assert got["better"].p == 2 / 2**7 and got["better"].p_holm == near(3 * 2 / 2**7)  # three could be tested
    assert got["better"].value == near(np.mean([0.07, 0.05, 0.045, 0.05, 0.03, 0.02, 0.1]))
    assert (got["partly"].n, got["partly"].value, got["partly"].p) == (1, near(0.01), 1) and np.isnan(got["partly"].low)
    assert got["others"].method.startswith("relabelled seeds") and got["others"].n == 2
    assert got["others"].p == near(1 / 36) == got["others"].lowest_p
    assert got["failed"].n == 0 and np.isnan(got["failed"].p) and np.isnan(got["failed"].p_holm)
    with pytest.raises(InputError, match="no trial `bas`.* Did you mean `base`"):
        evaluate.over_seeds(table, "bas")


def test_nothing_is_detectable_with_too_few_seeds():
    d = np.array([0.01, 0.03, 0.02, 0.04, 0.025, 0.015])
    five, six = (evaluate.sign_flips(np.zeros(n), d[:n]) for n in (5, 6))
    assert five.lowest_p == 1 / 16 and np.isnan(five.detectable)
    assert six.lowest_p == 1 / 32 and six.detectable == near(evaluate.detectable_mean(d.std(ddof=1), 6))


def test_equal_runs_do_not_differ():
    got = evaluate.sign_flips([0.5, 0.6], [0.5, 0.6])
    assert (got.value, got.low, got.high, got.p) == (0, 0, 0, 1)
    got = evaluate.relabelling([0.5, 0.5], [0.5, 0.5, 0.5])
    assert (got.value, got.low, got.high, got.p) == (0, 0, 0, 1)


# --- Holm ---


def test_holm_by_hand():
    """p .01 .04 .03 .005 of four: .005 x 4, .01 x 3, .03 x 2, and .04 x 1 raised to the one before."""
    assert evaluate.holm([0.01, 0.04, 0.03, 0.005]) == near([0.03, 0.06, 0.06, 0.02])
    assert evaluate.holm([0.01, float("nan"), 0.04]) == near([0.02, np.nan, 0.04])
    assert evaluate.holm([0.9, 0.8]).tolist() == [1, 1] and evaluate.holm([]).tolist() == []
    for bad in ([0.1, 1.2], [-0.1], [[0.1]]):
        with pytest.raises(InputError):
            evaluate.holm(bad)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
@settings(max_examples=100, deadline=None)
def test_holm_rejects_what_the_step_down_rejects(p, level):
    ascending = sorted(p)
    rejected = 0
    while rejected < len(p) and ascending[rejected] * (len(p) - rejected) <= level:
        rejected += 1
    adjusted = evaluate.holm(p)
    assert (adjusted <= level).sum() == rejected
    assert (adjusted >= np.array(p)).all() and (adjusted <= np.minimum(1, np.array(p) * len(p))).all()


# --- the same rows ---


def right(lost, won, both=0, neither=0):
    """Who was right, (N,) each: rows that only the first got right, only the second, both, neither."""
    first = [1] * lost + [0] * won + [1] * both + [0] * neither
    second = [0] * lost + [1] * won + [1] * both + [0] * neither
    return first, second


def two_models(n, seed, k=2, gain=0.0, shared=0.7):
    """Labels and two models' probabilities (N, K) that err on the same rows in part; the second knows `gain` more."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    common = rng.normal(size=(n, k)) * shared

    def model(signal):
        own = rng.normal(size=(n, k)) * np.sqrt(1 - shared**2)
        return softmax(np.round(signal * np.eye(k)[y] + common + own, 1))

    return y, model(1.2), model(1.2 + gain)


def test_mcnemar_of_published_tables():
    """Agresti, Categorical Data Analysis: approval of the prime minister, 794 and 150 / 86 and 570; z^2 = 17.36."""
    got = evaluate.mcnemar(*right(150, 86, 794, 570), continuity=False)
    assert got.p == near(stats.chi2.sf((150 - 86) ** 2 / 236, 1)) and got.p == near(3.1e-5, 1e-6)
    assert got.value == near(-0.04) and got.n == 1600
    # the book's Wald interval is -0.040 -+ 1.96 x 0.0095 = (-0.059, -0.021)
    assert (got.low, got.high) == (near(-0.059, 6e-4), near(-0.021, 6e-4))
    corrected = evaluate.mcnemar(*right(150, 86, 794, 570))
    assert corrected.p == near(stats.chi2.sf(63**2 / 236, 1)) and corrected.method == "McNemar, chi-square"


@given(st.integers(0, 25), st.integers(0, 25), st.integers(0, 30))
@settings(max_examples=80, deadline=None)
def test_mcnemar_with_few_discordant_rows_is_the_binomial_test(lost, won, both):
    if lost + won > 25 or lost + won + both == 0:
        return
    got = evaluate.mcnemar(*right(lost, won, both))
    want = stats.binomtest(won, lost + won).pvalue if lost + won else 1.0
    assert got.p == near(want) and got.method == "McNemar, exact"
    assert got.lowest_p == near(min(1, 2 / 2 ** (lost + won))) and got.lowest_p <= got.p + 1e-12
    back = evaluate.mcnemar(*right(won, lost, both))
    assert (back.value, back.low, back.high, back.p) == (near(-got.value), near(-got.high), near(-got.low), near(got.p))


def test_paired_bootstrap_by_brute_force():
    """Rows really repeated, metrics computed anew for both models on each resample."""
    y, a, b = two_models(40, 1, k=3, gain=0.5)
    names, classes = ["accuracy", "macro_f1", "nll", "ece", "f1[y]"], ["x", "y", "z"]
    got = evaluate.paired_bootstrap(y, a, b, classes, names, repeats=99, seed=4)
    draws = {name: [] for name in names}
    for w in np.hstack(list(evaluate.resamples(40, 99, seed=4))).T.astype(int):
        rows = np.repeat(np.arange(40), w)
        one, other = (evaluate.metrics(y[rows], p[rows], classes, names) for p in (a, b))
        for name in names:
            draws[name].append(other[name] - one[name])
    one, other = (evaluate.metrics(y, p, classes, names) for p in (a, b))
    for name, found in got.items():
        d = other[name] - one[name]
        error = np.sort(np.abs(np.array(draws[name]) - d))
        assert found.value == near(d)
        assert found.p == near((1 + (error >= abs(d) - 1e-9).sum()) / 100)
        assert (found.low, found.high) == (near(d - error[94]), near(d + error[94]))  # the 95th of 99
        assert found.detectable == near((1.959964 + 0.841621) * np.std(draws[name]), 1e-6)
    assert len({round(found.value, 6) for found in got.values()}) == 5


@given(st.integers(0, 10**6), st.floats(0, 2), st.integers(30, 80))
@example(3297, 0.0, 30)  # an end of an interval at 0 but for rounding
@settings(max_examples=25, deadline=None)
def test_interval_and_p_agree_and_turn_with_the_models(seed, gain, n):
    y, a, b = two_models(n, seed, gain=gain)
    got = evaluate.paired_bootstrap(y, a, b, "ab", ["accuracy", "macro_f1", "brier"], repeats=199)
    back = evaluate.paired_bootstrap(y, b, a, "ab", ["accuracy", "macro_f1", "brier"], repeats=199)
    for name, d in got.items():
        assert (d.p <= 0.05) == (d.low > 0 or d.high < 0) or d.lowest_p > 0.05
        r = back[name]
        assert (r.value, r.low, r.high, r.p) == (near(-d.value), near(-d.high), near(-d.low), near(d.p))


def test_several_runs_are_averaged():
    y, a, b = two_models(80, 3)
    _, c, d = two_models(80, 3, gain=1.0)
    got = evaluate.paired_bootstrap(y, [a, b], [c, d, d], "ab", ["nll"], repeats=50, seed=2)["nll"]
    nll = [evaluate.metrics(y, p, "ab", ["nll"])["nll"] for p in (a, b, c, d)]
    assert got.value == near((nll[2] + 2 * nll[3]) / 3 - (nll[0] + nll[1]) / 2)
    twice = evaluate.paired_bootstrap(y, [a, a], [c, c, c], "ab", ["nll"], repeats=50, seed=2)["nll"]
    once = evaluate.paired_bootstrap(y, a, c, "ab", ["nll"], repeats=50, seed=2)["nll"]
    assert (twice.low, twice.high, twice.p) == (near(once.low), near(once.high), near(once.p))


def test_a_model_does_not_differ_from_itself():
    y, a, _ = two_models(50, 5)
    for d in evaluate.paired_bootstrap(y, a, a, "ab", repeats=50).values():
        assert (d.value, d.low, d.high, d.p) == (0, 0, 0, 1)
    assert {d.p for d in evaluate.paired_randomisation(y, a, a, "ab", repeats=50).values()} == {1.0}
    x = np.arange(6.0)
    assert evaluate.paired_bootstrap(x, x + 1, x + 1, metrics="rmse", repeats=20)["rmse"].p == 1


def test_few_rows_cannot_give_a_small_p():
    """All five rows won: each resample wins all five too, but by chance that happens once in sixteen."""
    y, lose, win = np.zeros(5, dtype=int), [[0.3, 0.7]] * 5, [[0.8, 0.2]] * 5
    got = evaluate.paired_bootstrap(y, lose, win, "ab", "accuracy")["accuracy"]
    assert (got.value, got.p, got.lowest_p) == (1, 1 / 16, 1 / 16)
    assert evaluate.mcnemar([0] * 5, [1] * 5).p == 1 / 16
    exact = evaluate.paired_randomisation(y, lose, win, "ab", "accuracy")["accuracy"]
    assert (exact.p, exact.method) == (1 / 16, "randomisation, exact")
    one = evaluate.paired_bootstrap(y[:1], lose[:1], win[:1], "ab", "accuracy")["accuracy"]
    assert one.value == 1 and np.isnan([one.low, one.high, one.p]).all()


def test_only_rows_that_can_move_a_metric_count():
    """Every probability differs, the predicted class in two rows only: two rows cannot give an accuracy p below 1/2."""
    y = np.zeros(30, dtype=int)
    p = np.linspace(0.6, 0.9, 30)
    q = np.where(np.arange(30) < 2, 0.4, p - 0.05)
    one, two = np.stack([p, 1 - p], axis=1), np.stack([q, 1 - q], axis=1)
    got = evaluate.paired_bootstrap(y, one, two, "ab", ["accuracy", "nll"], repeats=500)
    assert got["accuracy"].lowest_p == 0.5 <= got["accuracy"].p and got["nll"].p == got["nll"].lowest_p == 1 / 501
    assert set(evaluate.paired_bootstrap(y, one, two, "ab", repeats=5)) - set(
        evaluate.paired_randomisation(y, one, two, "ab", repeats=5)
    ) == {"ece_mass", "rms_calibration", "ece_adaptive"}


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "nll", "auroc"])
def test_randomisation_by_brute_force(name):
    y, a, b = two_models(9, 2, gain=1.5)
    d = []
    for swap in product((False, True), repeat=9):
        swap = np.array(swap)[:, None]
        one, other = np.where(swap, b, a), np.where(swap, a, b)
        d.append(evaluate.metrics(y, other, "ab", [name])[name] - evaluate.metrics(y, one, "ab", [name])[name])
    got = evaluate.paired_randomisation(y, a, b, "ab", name)[name]
    assert got.value == near(d[0]) and got.p == near(np.mean(np.abs(d) >= abs(d[0]) - 1e-12))
    y, a, b = two_models(14, 2, gain=1.5)
    exact = evaluate.paired_randomisation(y, a, b, "ab", name)[name].p
    y2, a2, b2 = (np.concatenate([x, x[:1]]) for x in (y, a, b))
    assert evaluate.paired_randomisation(y2, a2, b2, "ab", name)[name].method == "randomisation, 9,999 exchanges"
    assert 0 < exact <= 1


def test_randomisation_of_accuracy_is_mcnemars_test():
    y, a, b = two_models(60, 8, gain=1.2)
    want = evaluate.mcnemar(a.argmax(axis=1) == y, b.argmax(axis=1) == y)
    assert want.method == "McNemar, exact" and 0.001 < want.p < 0.5
    got = evaluate.paired_randomisation(y, a, b, "ab", "accuracy", seed=1)["accuracy"]
    assert abs(got.p - want.p) < 4 * np.sqrt(want.p * (1 - want.p) / 9999) and got.value == near(want.value)


def test_regression_is_compared_too():
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    a, b = x + rng.normal(size=100), x + 0.5 * rng.normal(size=100)
    got = evaluate.paired_bootstrap(x, a, b, metrics=["rmse", "mae", "pearson"], repeats=500)
    want = stats.bootstrap((x, a, b), lambda x, a, b: np.sqrt(np.mean((b - x) ** 2)) - np.sqrt(np.mean((a - x) ** 2)),
                           paired=True, vectorized=False, n_resamples=2000, method="percentile", rng=1)  # fmt: skip
    low, high = want.confidence_interval
    assert got["rmse"].low == near(low, 0.06) and got["rmse"].high == near(high, 0.06)
    assert got["rmse"].value < 0 < got["pearson"].value and got["rmse"].p == got["rmse"].lowest_p == 1 / 501
    mae = evaluate.paired_randomisation(x, a, b, metrics="mae", repeats=999)["mae"]
    assert mae.p == 1 / 1000 and mae.value == near(np.mean(abs(b - x)) - np.mean(abs(a - x)))


def test_what_cannot_be_compared_is_told():
    y, a, b = two_models(10, 0)
    for call, words in (
        (lambda: evaluate.paired_bootstrap(y, a, b[:9], "ab"), "labels and probabilities: 10 and 9 rows"),
        (lambda: evaluate.paired_bootstrap(y, a, b, "ab", ["acuracy"]), "Did you mean `accuracy`"),
        (lambda: evaluate.paired_bootstrap(y, np.zeros((0, 10, 2)), b, "ab"), "at least one run"),
        (lambda: evaluate.paired_randomisation(y, [a, a], b, "ab"), "not several runs"),
        (lambda: evaluate.mcnemar([1, 0], [1, 0, 1]), "first and second: 2 and 3 rows"),
        (lambda: evaluate.mcnemar([1, 0], [1, 2]), "second: row 1 .* is 2"),
        (lambda: evaluate.mcnemar([], []), "no rows"),
        (lambda: evaluate.sign_flips([1, 2], [1]), "first and second: 2 and 1 rows"),
        (lambda: evaluate.relabelling([], [1]), "first: no rows"),
    ):
        with pytest.raises(InputError, match=words):
            call()


# --- what n can see ---


def test_detectable_and_needed_against_tables():
    """Cohen (1988), and R's power.t.test(type = "paired"): 10 pairs find d = 0.996; d = 0.5 needs 34 pairs."""
    assert evaluate.detectable_mean(1, 10) == near(0.99600, 1e-5) and evaluate.seeds_needed(1, 0.5) == 34
    assert evaluate.seeds_needed(0.02, -0.01) == 34 and evaluate.seeds_needed(1, 1) == 10
    assert np.isnan(evaluate.detectable_mean(1, 1)) and evaluate.detectable_mean(0, 3) == 0
    # Connor's formula by hand: psi = 0.3, d = 0.1: (1.959964 sqrt(0.3) + 0.841621 sqrt(0.29))^2 / 0.01
    assert evaluate.rows_needed(0.3, 0.1) == 234 == evaluate.rows_needed(0.3, -0.1)
    assert evaluate.detectable_accuracy(0.3, 233) == near(0.1, 3e-4)
    # all discordant rows won by one model: (1.959964 sqrt(d) + 0.841621 sqrt(d - d^2))^2 / d^2 = 20 at d = 0.3483
    assert [evaluate.detectable_accuracy(psi, 20) for psi in (0, 0.1)] == near([0.3483, 0.3483], 5e-5)
    assert np.isnan(evaluate.detectable_accuracy(0.1, 3))
    for call in (
        lambda: evaluate.rows_needed(0.1, 0.2),
        lambda: evaluate.rows_needed(1.1, 0.2),
        lambda: evaluate.seeds_needed(1, 0),
        lambda: evaluate.detectable_mean(-1, 5),
        lambda: evaluate.detectable_accuracy(0.1, 0),
        lambda: evaluate.detectable_accuracy(0.1, 10, power=1.2),
    ):
        with pytest.raises(InputError):
            call()


@given(st.floats(0.02, 1), st.integers(30, 5000))
@settings(max_examples=40, deadline=None)
def test_detectable_and_needed_are_inverse(discordant, n):
    d = evaluate.detectable_accuracy(discordant, n)
    if d <= discordant:
        assert abs(evaluate.rows_needed(discordant, d) - n) <= 1
    assert evaluate.detectable_accuracy(discordant, 2 * n) < d <= evaluate.detectable_accuracy(1, n) + 1e-9


# --- how often they are wrong, and how often they find what is there ---


def at_most(rejected, repeats, level=0.05, chance=1e-4):
    """Whether so many false positives are credible of a test that holds its level (one-sided binomial bound)."""
    return stats.binom.sf(rejected - 1, repeats, level) > chance


def false_positives(n, repeats, seed):
    """Of `repeats` pairs of models that are equally good: how often each test says that they differ."""
    found = dict.fromkeys(("accuracy", "macro_f1", "nll", "mcnemar", "randomisation"), 0)
    for i in range(repeats):
        y, a, b = two_models(n, seed + i, shared=(0.5, 0.9)[i % 2])
        names = ["accuracy", "macro_f1", "nll"]
        for name, d in evaluate.paired_bootstrap(y, a, b, "ab", names, repeats=199, seed=i).items():
            found[name] += d.p <= 0.05
        found["mcnemar"] += evaluate.mcnemar(a.argmax(axis=1) == y, b.argmax(axis=1) == y).p <= 0.05
        found["randomisation"] += evaluate.paired_randomisation(y, a, b, "ab", "nll", 199, i)["nll"].p <= 0.05
    return found


def test_false_positives_on_the_same_rows():
    for name, rejected in false_positives(80, 300, 0).items():
        assert at_most(rejected, 300), (name, rejected)
        assert rejected or name == "mcnemar", name  # a test that never rejects holds every level


@pytest.mark.long
@pytest.mark.parametrize("n", [50, 100, 400])
def test_false_positives_on_the_same_rows_long(n):
    for name, rejected in false_positives(n, 2000, 10_000).items():
        # a bootstrap holds its level only as n grows: one point above it is allowed, two at 50 rows
        assert at_most(rejected, 2000, 0.07 if n == 50 else 0.06), (n, name, rejected)
        assert rejected > 2000 * 0.005, (n, name, rejected)


def test_false_positives_over_seeds_and_of_a_family():
    """Five trials that equal their baseline: with Holm's correction hardly one table in twenty shows any difference."""
    rng = np.random.default_rng(7)
    single = family = alone = 0
    for _ in range(400):
        table = {name: dict(enumerate(rng.normal(0.8, 0.02, size=8))) for name in "abcdef"}
        got = list(evaluate.over_seeds(table, "a").values())
        single += got[0].p <= 0.05
        family += any(d.p_holm <= 0.05 for d in got)
        alone += evaluate.relabelling(rng.normal(size=5), rng.normal(size=4)).p <= 0.05
    assert at_most(single, 400) and at_most(family, 400) and at_most(alone, 400), (single, family, alone)
    assert min(single, alone) > 3  # and neither sleeps


def test_power_is_what_the_detectable_difference_promises():
    """True differences of the detectable size are found about four times in five."""
    rng = np.random.default_rng(11)
    n, psi = 400, 0.2
    d = evaluate.detectable_accuracy(psi, n)
    found = 0
    for _ in range(400):
        u = rng.random(n)
        won, lost = u < (psi + d) / 2, (u >= (psi + d) / 2) & (u < psi)
        found += evaluate.mcnemar(~won, ~lost, continuity=False).p <= 0.05
    assert abs(found / 400 - 0.8) < 0.08, found
    size, found = evaluate.detectable_mean(0.02, 10), 0
    for _ in range(400):
        got = evaluate.sign_flips(np.zeros(10), rng.normal(size, 0.02, size=10))
        found += got.p <= 0.05
    assert abs(found / 400 - 0.8) < 0.08, found
