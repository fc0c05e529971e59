"""plans/curriculum.py, and the weights and epochs that read a difficulty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import InputError
from leadline.plans import subset
from leadline.plans.curriculum import bucket_sizes, curriculum, drawn, easiest_first, pacing
from leadline.plans.epoch import steps
from leadline.plans.weights import of_examples

KINDS = ["linear", "root", "step", "baby-steps"]


def test_pacing_of_the_worked_example():
    at = [0, 2, 5, 10, 12]
    for kind, root, expected in [
        ("linear", 1.0, [0.2, 0.36, 0.6, 1.0, 1.0]),
        ("root", 2.0, [0.2, 0.481664, 0.72111, 1.0, 1.0]),
        ("root", 5.0, [0.2, 0.724965, 0.870606, 1.0, 1.0]),
    ]:
        share = pacing(kind, 0.2, root)
        assert [share(t / 10) for t in at] == pytest.approx(expected, abs=1e-6)
    assert bucket_sizes(10, 3) == [4, 3, 3]


def test_steps_and_baby_steps():
    share = pacing("step", 0.1, factor=2.0)  # 0.1, 0.2, 0.4, 0.8, then all: four equal distances
    assert [share(t) for t in (0, 0.24, 0.25, 0.5, 0.75, 0.99, 1.0)] == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8, 0.8, 1])
    assert [share(step / (0.1 * 3 * 10)) for step in (2, 3)] == [0.4, 1.0]  # 0.1 x 3 x 10 is a little more than 3
    share = pacing("baby-steps", 0.3, buckets=3, n=10)
    assert [share(t) for t in (0, 0.33, 0.34, 0.67, 1.0)] == pytest.approx([0.4, 0.4, 0.7, 1.0, 1.0])


@given(st.sampled_from(KINDS), st.floats(0.01, 1.0), st.floats(0.5, 6), st.floats(1.05, 4), st.integers(2, 9))
@settings(deadline=None)
def test_a_pacing_never_falls_and_ends_with_all(kind, start, root, factor, buckets):
    share = pacing(kind, start, root, factor, buckets)
    values = [share(t) for t in np.linspace(0, 1.2, 200)]
    assert all(0 < a <= b + 1e-12 for a, b in zip(values, values[1:], strict=False))
    assert values[-1] == 1.0 and share(1.0) == 1.0
    if kind != "baby-steps":
        assert values[0] == pytest.approx(start)


def test_the_order_is_easiest_first_with_the_unknown_last():
    difficulty = np.array([0.5, np.nan, 0.1, np.inf, 0.1, 0.3])
    assert easiest_first(difficulty).tolist() == [2, 4, 5, 0, 3, 1]


@given(st.integers(4, 60), st.integers(2, 4), st.integers(0, 1000))
@settings(deadline=None)
def test_a_balanced_prefix_has_the_shares_of_the_whole(n, k, seed):
    rng = np.random.default_rng(seed)
    groups, difficulty = rng.integers(0, k, n), rng.random(n)
    order = easiest_first(difficulty, groups)
    assert sorted(order.tolist()) == list(range(n))
    for group in range(k):
        own = order[groups[order] == group]
        assert (np.diff(difficulty[own]) >= 0).all()  # easy first inside the class
    for m in range(1, n + 1):
        counts = np.bincount(groups[order[:m]], minlength=k)
        assert (abs(counts - m * np.bincount(groups, minlength=k) / n) <= k).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_draws_from_what_is_available(kind):
    n, batch, epochs = 200, 16, 3
    order = np.random.default_rng(1).permutation(n)
    place = np.argsort(order)  # how early a row comes
    share = pacing(kind, 0.2, n=n)
    plan = curriculum(order, share, 0.5, epochs, n, batch, seed=7)
    per_epoch = -(-n // batch)
    reached = 0.0
    for number in range(epochs):
        epoch = plan(number)
        assert len(epoch) == n and (np.diff(epoch.stage) >= 0).all()
        formed = steps(epoch, np.ones(n), batch, None, np.random.default_rng(0))
        assert len(formed) == per_epoch  # as many as plain training
        for i, step in enumerate(formed):
            rows = epoch.rows[np.concatenate(step)]
            c = share((number * per_epoch + i) / (0.5 * epochs * per_epoch))
            assert place[rows].max() < max(1, np.ceil(c * n - 1e-9))
            reached = max(reached, place[rows].max())
        again = plan(number)
        assert (again.rows == epoch.rows).all()
    assert reached > 0.95 * n  # in the end everything comes
    first = plan(0).rows[:batch]
    assert place[first].max() < share(0.0) * n


def test_drawn_takes_all_alike():
    counts = np.bincount(drawn(np.arange(7), 17, np.random.default_rng(0)), minlength=7)
    assert counts.sum() == 17 and counts.min() == 2 and counts.max() == 3


def test_a_subset_is_gone_through_as_often_as_the_full_data():
    rows = np.array([3, 5, 8, 9, 11, 20, 31])
    plan = subset.as_many_as(rows, 24, seed=3)
    all_rows = np.concatenate([plan(e).rows for e in range(7)])
    assert all(len(plan(e)) == 24 for e in range(7))
    assert (np.bincount(all_rows)[rows] == 24).all()  # 7 epochs of 24 are 24 rounds of 7
    assert (plan(2).rows == plan(2).rows).all() and not (plan(2).rows == plan(3).rows).all()


def test_weights_of_examples():
    difficulty = np.array([3.0, 1.0, 2.0, np.nan, 2.0])
    v = of_examples(difficulty, "rank", "easy", lowest=0.2)
    plain = np.array([0.2, 1.0, 0.6, 1.0, 0.6])
    assert v == pytest.approx(plain / plain.mean()) and v.mean() == pytest.approx(1)
    hard = of_examples(difficulty, "rank", "hard", lowest=0.2)
    assert hard[0] == hard.max() and hard[1] == hard.min()
    dropped = of_examples(np.arange(10.0), "drop", "easy", drop=0.3)
    assert dropped.tolist() == pytest.approx([10 / 7] * 7 + [0] * 3)
    assert of_examples(np.array([0.0, np.inf, 1.0]), "rank").argmin() == 1  # never learned is hardest
    assert of_examples(np.full(4, 2.0), "rank") == pytest.approx(np.ones(4))


def test_random_control_needs_no_score():
    from leadline import recipe

    document = {"data": {"train": "x.csv"}}
    recipe.load({**document, "curriculum": {"order": "random"}})
    with pytest.raises(InputError, match="curriculum needs `base:"):
        recipe.load({**document, "curriculum": {"score": "action_mean"}})
    with pytest.raises(InputError, match="need a `score`"):
        recipe.load({**document, "curriculum": {"order": "easy-first"}})
    with pytest.raises(InputError, match="give one of `keep`"):
        recipe.load({**document, "select": {"keep": ["easy"], "random": 0.3}, "base": {"run": "b"}})
