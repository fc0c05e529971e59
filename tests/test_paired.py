"""Tests of differences: against scipy, published examples, brute force, and by how often they are wrong."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leadline import evaluate
from leadline.errors import InputError
from leadline.evaluate import paired_seeds


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
    assert evaluate.relabelling(a, b[:6]).p == near(want.pvalue)


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
