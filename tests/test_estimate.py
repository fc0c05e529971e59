"""How many labels are wrong: the draw by rank, the estimate, its interval, and what planted errors say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn.metrics import average_precision_score

from leadline.errors import InputError
from leadline.suspects import planted
from leadline.suspects.combined import combine, normal_scores
from leadline.suspects.estimate import Draw, draw, errors, interval, reviewed, where_reviewing_stops


def answers(one: Draw, wrong: np.ndarray) -> np.ndarray:
    """What a reviewer who is right says of the draw."""
    return wrong[one.rows].astype(float)


# The draw


def test_a_draw_spreads_over_all_ranks_and_knows_its_probabilities():
    order = np.random.default_rng(1).permutation(2000) + 7  # row numbers need not begin at 0
    one = draw(order, 200, seed=3)
    assert len(one) == 200 == len(np.unique(one.rows)) and one.sizes.sum() == 2000
    assert one.sizes.tolist() == [16, 15, 31, 63, 125, 250, 500, 1000]
    counts = np.bincount(one.stratum)
    assert (counts >= 2).all() and (np.diff(counts / one.sizes)[2:] < 0).all()  # the top more densely
    np.testing.assert_allclose(one.probability, (counts / one.sizes)[one.stratum])
    rank = np.argsort(order)[one.rows - 7]  # from 0
    assert (np.searchsorted(np.cumsum(one.sizes), rank, side="right") == one.stratum).all()
    assert (1 / one.probability).max() <= 2 * 2000 / 200 * 1.05  # twice a plain sample's weight, and rounding
    assert (draw(order, 200, seed=3).rows == one.rows).all() and (draw(order, 200, seed=4).rows != one.rows).any()


def test_every_row_is_drawn_as_often_as_its_probability_says():
    order, times = np.arange(120)[::-1], np.zeros(120)
    for seed in range(500):
        times[draw(order, 60, seed).rows] += 1
    one = draw(order, 60)
    chance = np.repeat(np.bincount(one.stratum) / one.sizes, one.sizes)[::-1]  # by row
    assert chance.sum() == pytest.approx(60)
    spread = np.sqrt(500 * chance * (1 - chance))
    assert (np.abs(times - 500 * chance) <= 4.5 * spread + 1e-9).all()


@pytest.mark.parametrize(("n", "count"), [(1, 1), (3, 3), (51, 50), (60, 60), (64, 50), (1000, 999), (100_000, 50)])
def test_odd_sizes(n: int, count: int):
    one = draw(np.arange(n), count)
    counts = np.bincount(one.stratum, minlength=len(one.sizes))
    assert len(np.unique(one.rows)) == count and one.sizes.sum() == n
    assert (counts >= np.minimum(one.sizes, 2)).all() and (counts <= one.sizes).all()


def test_whoever_stops_early_has_reviewed_all_ranks():
    one = draw(np.arange(5000), 300)
    assert np.bincount(one.stratum[: 2 * len(one.sizes)]).tolist() == [2] * len(one.sizes)
    half, whole = (np.bincount(one.stratum[:m]) for m in (150, 300))
    assert (np.abs(half - whole / 2) <= 2).all()


@pytest.mark.parametrize(
    ("order", "count", "says"),
    [(np.arange(1000), 49, "at least 50"), (np.arange(60), 61, "61 of 60"), (np.zeros(80, dtype=int), 50, "once")],
)
def test_impossible_draws(order: np.ndarray, count: int, says: str):
    with pytest.raises(InputError, match=says):
        draw(order, count)


# The estimate


def by_hand() -> Draw:
    """20 of the top 40 rows and 40 of the 160 below."""
    stratum = np.repeat([0, 1], [20, 40])
    return Draw(np.arange(60), stratum, np.array([0.5, 0.25])[stratum], np.array([40, 160]))


def test_every_wrong_row_counts_for_one_over_its_chance():
    wrong = np.zeros(60)
    wrong[:8] = wrong[20:23] = 1
    got = errors(by_hand(), wrong)
    assert got.value == pytest.approx(8 * 2 + 3 * 4) and (got.n_reviewed, got.n, got.level) == (60, 200, 0.9)
    assert 11 <= got.low < 20 and 38 < got.high < 60
    wrong[55:] = np.nan  # five of the second stratum are not decided: 3 of 35 instead of 3 of 40
    got = errors(by_hand(), wrong)
    assert got.value == pytest.approx(16 + 160 * 3 / 35) and got.n_reviewed == 55


def value(one: Draw, wrong: np.ndarray, m: int) -> float:
    """The estimate from the first m rows of a draw, by hand."""
    found = [wrong[one.rows[:m]][one.stratum[:m] == s].mean() for s in range(len(one.sizes))]
    return float((one.sizes * found).sum())


def test_the_estimate_is_unbiased_also_of_a_part_of_the_draw():
    rng = np.random.default_rng(0)
    wrong = rng.random(800) < np.linspace(0.5, 0, 800)
    draws = [draw(np.arange(800), 120, seed) for seed in range(250)]
    whole, part = (np.array([value(one, wrong, m) for one in draws]) for m in (120, 70))
    one, said = draws[0], answers(draws[0], wrong)
    assert errors(one, said).value == pytest.approx(whole[0])
    said[70:] = np.nan
    assert errors(one, said).value == pytest.approx(part[0])
    for values in (whole, part):
        assert abs(values.mean() - wrong.sum()) < 4 * values.std() / np.sqrt(len(values))
    assert np.std(part) > np.std(whole)


def test_nothing_is_uncertain_once_all_rows_are_reviewed():
    wrong = np.arange(70) % 3 == 0
    one = draw(np.arange(70), 70)
    got = errors(one, answers(one, wrong))
    assert got.value == pytest.approx(24) and (got.low, got.high) == (pytest.approx(24), pytest.approx(24))


def test_no_error_found_still_leaves_room():
    """Nothing wrong among 100 of 5,000: the limit lies by the one that Clopper and Pearson give, 3 in 100."""
    low, high = interval(np.array([0.0]), np.array([100]), np.array([5000]))
    assert low == 0 and 0.018 < high / 5000 < stats.beta(1, 100).ppf(0.95)


def test_ranks_that_were_never_wrong_do_not_widen_the_interval_by_their_number():
    """The event that may have been missed is counted once, not in each of the strata."""
    x, n = np.array([40.0, 0, 0, 0, 0]), np.full(5, 50.0)
    few = interval(x[:2], n[:2], np.array([100, 2000]))
    many = interval(x, n, np.array([100, 500, 500, 500, 500]))
    assert many[1] - many[0] < 0.6 * (few[1] - few[0])


COUNTS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 400)), min_size=1, max_size=8)


@given(COUNTS)
@settings(max_examples=30, deadline=None)
def test_the_interval_stays_within_what_is_known_and_is_the_same_seen_from_the_right_rows(counts):
    n = np.array([c[0] for c in counts], dtype=float)
    x = np.minimum(np.array([c[1] for c in counts], dtype=float), n)
    sizes = (n + [c[2] for c in counts]).astype(int)
    low, high = interval(x, n, sizes)
    value = (sizes * x / n).sum()
    assert x.sum() - 1e-6 <= low <= value + 1e-6 and value - 1e-6 <= high <= sizes.sum() - (n - x).sum() + 1e-6
    other_low, other_high = interval(n - x, n, sizes)
    assert abs(other_low - (sizes.sum() - high)) <= 1 and abs(other_high - (sizes.sum() - low)) <= 1  # rounding
    assert low == np.round(low) and high == np.round(high)
    grown = np.minimum(x + (np.arange(len(x)) == len(x) // 2), n)  # one wrong row more, and no limit falls
    more_low, more_high = interval(grown, n, sizes)
    assert more_low >= low and more_high >= high


def test_one_stratum_is_wilsons_interval_with_two_corrections():
    """A sample of 50 from a large population: p - q = z sqrt(q (1 - q) / 49) + (z^2 - 1) / 6 (1 - 2 q) / 50."""
    z = stats.norm.ppf(0.95)

    def beyond(q: float, p: float, sign: int) -> float:
        shift = (z**2 - 1) / 6 * (1 - 2 * q) / 50
        return sign * (p - q) - z * np.sqrt(q * (1 - q) / 49) - sign * shift

    for x in (3, 25, 41):
        low, high = interval(np.array([float(x)]), np.array([50]), np.array([10**9]))
        assert low / 1e9 == pytest.approx(optimize.brentq(beyond, 1e-4, x / 50, args=(x / 50, 1)), abs=1e-6)
        assert high / 1e9 == pytest.approx(optimize.brentq(beyond, x / 50, 1 - 1e-4, args=(x / 50, -1)), abs=1e-6)


def test_the_ends_of_the_interval_are_where_the_test_turns():
    """Two strata: maximise the likelihood for each total by brute force, and look where the statistic crosses z."""
    x, n, sizes = np.array([6.0, 2.0]), np.array([20.0, 30.0]), np.array([80, 600])
    total = (sizes * x / n).sum()
    q = np.linspace(1e-6, 1 - 1e-6, 40_001)  # rate of the second stratum
    inside, totals = [], np.linspace(20, 220, 401)
    for at in totals:
        p = (at - sizes[1] * q) / sizes[0]
        there = (p > 0) & (p < 1)
        rate = np.stack([p[there], q[there]], axis=1)
        likelihood = (x * np.log(rate) + (n - x) * np.log(1 - rate)).sum(axis=1)
        best = rate[likelihood.argmax()]
        variance = sizes * (sizes - n) * best * (1 - best) / (n - 1)
        third = variance * (1 - 2 * best) * (sizes / n - 2)
        z = stats.norm.ppf(0.95)
        shift = (z**2 - 1) / 6 * third.sum() / variance.sum()
        low_kept = total - at <= z * np.sqrt(variance.sum()) + shift
        inside.append(low_kept if at < total else at - total <= z * np.sqrt(variance.sum()) - shift)
    kept = totals[inside]
    low, high = interval(x, n, sizes)
    assert low == pytest.approx(kept.min(), abs=1.5) and high == pytest.approx(kept.max(), abs=1.5)


def test_a_higher_level_is_a_wider_interval():
    x, n, sizes = np.array([6.0, 0.0]), np.array([20.0, 30.0]), np.array([80, 600])
    ends = [interval(x, n, sizes, level) for level in (0.5, 0.8, 0.9, 0.99)]
    assert all(a[0] > b[0] and a[1] < b[1] for a, b in zip(ends[:-1], ends[1:], strict=True))


@pytest.mark.parametrize("where", ["top", "anywhere", "bottom"])
def test_nine_intervals_of_ten_hold_the_truth(where: str):
    """200 simulated data sets each; `bench/how_many.py` has more of them, and other settings."""
    rng, found = np.random.default_rng(11), []
    chance = {"top": np.exp(-np.arange(1000) / 80), "anywhere": np.ones(1000), "bottom": np.arange(1000) ** 4.0}
    for seed in range(200):
        wrong = np.zeros(1000, dtype=bool)
        wrong[rng.choice(1000, 80, replace=False, p=chance[where] / chance[where].sum())] = True
        one = draw(np.arange(1000), 150, seed)
        found.append(reviewed(one, answers(one, wrong)))
    x, n = (np.array(part, dtype=float) for part in zip(*found, strict=True))  # (200, S)
    low, high = interval(x, n, one.sizes)
    assert errors(one, answers(one, wrong)).high == high[-1]
    assert 0.84 <= np.mean((low <= 80) & (high >= 80)) <= 0.96


def test_what_cannot_be_estimated_says_why():
    one = draw(np.arange(1000), 200)
    said = np.full(200, np.nan)
    said[:49] = 0
    with pytest.raises(InputError, match="49 rows of the draw are reviewed; .* at least 50"):
        errors(one, said)
    with pytest.raises(InputError, match="at least 50"):
        where_reviewing_stops(one, said, np.arange(1000))
    said[:] = 0
    said[one.stratum == 1] = np.nan
    with pytest.raises(InputError, match="no row of ranks 9 to 16 is reviewed"):
        errors(one, said)
    with pytest.raises(InputError, match="True .wrong., False .right. or NaN"):
        errors(one, np.full(200, 0.5))
    with pytest.raises(InputError, match="shape .200.*, not .3.*"):
        errors(one, [True, False, True])


# Where to stop


def test_reviewing_stops_where_the_errors_stop():
    order = np.random.default_rng(2).permutation(4000)
    wrong = np.zeros(4000, dtype=bool)
    wrong[order[:400]] = np.arange(400) % 4 > 0  # three in four of the first 400 ranks
    one = draw(order, 400, seed=1)
    got = where_reviewing_stops(one, answers(one, wrong), order)
    assert 300 <= got.rank <= 480
    table = got.table
    assert table["first"][0] == 1 and table["last"][-1] == 4000 and table["reviewed"].sum() == 400
    assert (table["first"][1:] == table["last"][:-1] + 1).all()
    assert (table["precision"][:4] > 0.5).all() and (table["precision"][-2:] == 0).all()
    assert ((table["low"] <= table["precision"] + 1e-9) & (table["precision"] <= table["high"] + 1e-9)).all()
    assert where_reviewing_stops(one, np.zeros(400), order).rank == 0
    assert where_reviewing_stops(one, np.ones(400), order).rank == 4000
    assert where_reviewing_stops(one, answers(one, wrong), order, share=0.9).rank < got.rank
    with pytest.raises(InputError, match="not the order"):
        where_reviewing_stops(one, answers(one, wrong), order[::-1])


# Planted errors


def test_precision_and_recall_at_every_cutoff():
    doubt = np.array([0.1, 0.9, np.nan, 0.5, 0.7, 0.3])
    got = planted.calibrate(doubt, [False, True, True, False, False, True])
    assert got.found.tolist() == [1, 1, 1, 2, 2, 3]  # 0.9* 0.7 0.5 0.3* 0.1 NaN*
    np.testing.assert_allclose(got.precision, [1, 1 / 2, 1 / 3, 1 / 2, 2 / 5, 1 / 2])
    np.testing.assert_allclose(got.recall, [1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])


def test_the_bound_is_clopper_and_pearsons():
    k, found = np.array([100]), np.array([40])
    low = stats.binomtest(40, 80).proportion_ci(0.9, method="exact").low  # one-sided 0.95
    assert planted.bound(found, k, 80, 10_000)[0] == pytest.approx((100 / low - 80) * 10_000 / 9920)
    low = stats.binomtest(20, 25).proportion_ci(0.9, method="exact").low
    assert planted.bound(np.array([20]), np.array([25]), 80, 10_000)[0] == pytest.approx(
        (80 / low - 80) * 10_000 / 9920
    )
    assert planted.bound(np.array([0]), k, 80, 10_000)[0] == pytest.approx(10_000)  # nothing found, nothing known


def simulated(natural_shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """2,000 rows of which 200 are wrong and 100 are planted (shift 2); doubts with variance 1."""
    rng = np.random.default_rng(seed)
    marks = np.zeros(2000, dtype=bool)
    marks[rng.choice(2000, 100, replace=False)] = True
    return rng.normal(size=2000) + np.where(marks, 2.0, np.where(np.arange(2000) < 200, natural_shift, 0.0)), marks


def test_the_bound_holds_if_natural_errors_rank_like_planted_ones_and_not_if_they_are_hidden():
    alike, hidden = ([planted.calibrate(*simulated(shift, seed)).high for seed in range(200)] for shift in (2.0, 0.0))
    assert np.mean(np.array(alike) >= 200) >= 0.95 and np.median(alike) < 3 * 200
    assert np.mean(np.array(hidden) >= 200) < 0.5  # the assumption carries the bound


def test_all_cutoffs_share_one_error_probability():
    """Natural and planted errors fill the top, in random order: the hardest case, and one bound for all cut-offs."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        marks = np.zeros(1000, dtype=bool)
        marks[rng.choice(150, 50, replace=False)] = True
        got = planted.calibrate(np.arange(1000)[::-1], marks)
        held += got.high >= 100 * 1000 / 950 - 1e-6
    assert held / 400 >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 400)


def test_equal_doubts_are_ordered_at_random():
    marks = np.arange(400) < 100  # the planted ones come first in the data
    got = planted.calibrate(np.zeros(400), marks, seed=1)
    assert 0.1 < got.precision[99] < 0.4 and (planted.calibrate(np.zeros(400), marks, seed=2).found != got.found).any()


@pytest.mark.parametrize("marks", [np.zeros(5, dtype=bool), np.ones(5, dtype=bool), np.ones(4, dtype=bool)])
def test_planted_marks_must_be_some_of_the_rows(marks: np.ndarray):
    with pytest.raises(InputError, match="planted"):
        planted.calibrate(np.arange(5), marks)


def test_scores_are_compared_on_planted_rows_as_scikit_learn_does():
    doubt, marks = simulated(2.0, 0)
    columns = {
        "aum": -doubt,  # low is doubtful
        "action_mean": np.round(doubt, 1),  # ties
        "variability": doubt,  # no direction
        "mine": np.where(np.arange(2000) % 50 == 0, np.nan, doubt),
    }
    table = planted.best_score(columns, marks)
    assert set(table["score"]) == {"aum", "action_mean", "mine"} and table["average_precision"].is_sorted(
        descending=True
    )
    row = {name: values for name, *values in table.iter_rows()}
    assert row["aum"][0] == pytest.approx(average_precision_score(marks, doubt))
    assert row["action_mean"][0] == pytest.approx(average_precision_score(marks, np.round(doubt, 1)))
    assert row["mine"][0] == pytest.approx(average_precision_score(marks, np.nan_to_num(columns["mine"], nan=-99)))
    assert (table["low"] < table["average_precision"]).all() and (table["average_precision"] < table["high"]).all()
    assert row["aum"][3:] == [2000, 100]


def test_the_threshold_of_the_aum_paper():
    samples = np.append(np.arange(1, 101), np.nan)
    cut = planted.aum_threshold(samples)
    assert cut == pytest.approx(99.01) and planted.aum_threshold(samples, q=0.5) == 50.5
    with pytest.raises(InputError, match="0 threshold samples"):
        planted.aum_threshold([np.nan])


# The combination


def test_two_half_blind_scores_see_more_together():
    rng = np.random.default_rng(4)
    marks = np.zeros(3000, dtype=bool)
    marks[rng.choice(3000, 150, replace=False)] = True
    columns = {name: rng.normal(size=3000) + 1.3 * marks for name in ("one", "other")}
    columns |= {"noise": rng.normal(size=3000), "aum": np.full(3000, 2.0), "variability": rng.normal(size=3000)}
    got = combine(columns, marks)
    single = planted.best_score(columns, marks).filter(planted.pl.col("score") == "one")
    assert got.average_precision > single["high"][0]
    assert got.weights["one"] > 0.5 and got.weights["other"] > 0.5 and abs(got.weights["noise"]) < 0.3
    assert set(got.left_out) == {"aum", "variability"} and list(got.weights) == ["one", "other", "noise"]
    again = got.apply(columns)
    assert np.corrcoef(again, got.doubt)[0, 1] > 0.99
    assert average_precision_score(marks, got.doubt) == pytest.approx(got.average_precision)
    with pytest.raises(InputError, match="needs the scores other"):
        got.apply({"one": columns["one"], "noise": columns["noise"]})


def test_a_combination_of_noise_does_not_flatter_itself():
    """Forty scores that know nothing: fitted in sample they would look good; cross-fitted they are at chance."""
    rng = np.random.default_rng(6)
    marks = np.arange(400) < 40
    columns = {f"noise{i}": rng.normal(size=400) for i in range(40)}
    got = combine(columns, marks)
    in_sample = average_precision_score(marks, got.apply(columns))
    assert in_sample > 0.25 and got.average_precision < 0.17  # chance: 0.1


def test_normal_scores_have_no_scale():
    x = np.array([3.0, np.nan, -np.inf, 3.0, np.inf])
    np.testing.assert_allclose(normal_scores(x), stats.norm.ppf([0.5, 0.5, 0.125, 0.5, 0.875]), atol=1e-12)
    assert not normal_scores(np.full(4, 7.0)).any() and not normal_scores(np.full(3, np.nan)).any()


def test_too_few_planted_rows_teach_nothing():
    with pytest.raises(InputError, match="4 of 100 rows are planted; plant at least 5"):
        combine({"one": np.arange(100)}, np.arange(100) < 4)
