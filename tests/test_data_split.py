"""Drawing and holding out: sizes, strata, groups, seeds."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.data import split
from leadline.errors import InputError

RNG = np.random.default_rng


def test_a_sample_is_drawn_without_replacement_and_sorted() -> None:
    strata = np.array([0] * 50 + [1] * 5 + [2] * 45)
    rows = split.sample(strata, RNG(0), n=30)
    assert len(np.unique(rows)) == 30 and (np.diff(rows) > 0).all()
    assert (rows != split.sample(strata, RNG(1), n=30)).any()
    assert split.sample(strata, RNG(0), n=1000).tolist() == list(range(100))
    rows = split.sample(strata, RNG(0), per_class=10)
    assert (np.diff(rows) > 0).all()
    assert np.bincount(strata[rows]).tolist() == [10, 5, 10]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_held_out_rows_are_stratified(fraction: float) -> None:
    strata = RNG(0).choice(4, size=1000, p=[0.6, 0.3, 0.08, 0.02])
    rows = split.hold_out(strata, fraction, RNG(1))
    assert len(rows) == round(fraction * 1000) and (np.diff(rows) > 0).all()
    share = np.bincount(strata[rows], minlength=4) / np.bincount(strata)
    assert (np.abs(share - fraction) * np.bincount(strata) < 1).all()  # each within one row of its share
    assert (rows == split.hold_out(strata, fraction, RNG(1))).all()


def test_every_class_that_can_be_on_both_sides_is() -> None:
    strata = np.array([0] * 100 + [1] * 2 + [2])
    for fraction in (0.01, 0.5, 0.99):
        rows = split.hold_out(strata, fraction, RNG(0))
        held = np.bincount(strata[rows], minlength=3)
        assert 1 <= held[0] <= 99 and held[1] == 1 and held[2] == 0
    with pytest.raises(InputError, match="no class has two"):
        split.hold_out(np.array([0, 1, 2]), 0.5, RNG(0))


def test_quantile_bins_spread_a_regression() -> None:
    values = RNG(0).lognormal(size=500)
    bins = split.quantile_bins(values, 0.1)
    assert np.bincount(bins).tolist() == [50] * 10
    assert all(values[bins == k].max() <= values[bins == k + 1].min() for k in range(9))
    rows = split.hold_out(bins, 0.1, RNG(1))
    assert np.bincount(bins[rows]).tolist() == [5] * 10
    few = split.quantile_bins(np.arange(20.0), 0.1)  # two rows to hold out: two bins
    assert np.bincount(few).tolist() == [10, 10]
    assert len(split.hold_out(few, 0.1, RNG(0))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_groups_never_lie_on_two_sides(seed: int) -> None:
    rng = RNG(seed)
    groups = np.repeat(np.arange(200), rng.integers(1, 12, size=200)).astype(str)
    groups = rng.permutation(groups)
    strata = rng.choice(3, size=len(groups), p=[0.7, 0.25, 0.05])
    rows = split.hold_out_groups(groups, strata, 0.2, RNG(seed))
    held = np.zeros(len(groups), dtype=bool)
    held[rows] = True
    assert not set(groups[held]) & set(groups[~held])
    share = np.bincount(strata[held], minlength=3) / np.bincount(strata)
    assert np.abs(share - 0.2).max() < 0.06
    size, held_size = np.bincount(groups.astype(int)), np.bincount(groups[held].astype(int), minlength=200)
    assert 0.7 < size[held_size > 0].mean() / size.mean() < 1.3  # not only the large groups, not only the small ones
    assert (rows == split.hold_out_groups(groups, strata, 0.2, RNG(seed))).all()


def test_groups_never_take_the_last_rows_of_a_class() -> None:
    groups = np.array(["a", "a", "b", "b", "c", "c", "d"])
    strata = np.array([0, 0, 0, 1, 0, 0, 1])
    for seed in range(10):
        rows = split.hold_out_groups(groups, strata, 0.5, RNG(seed))
        kept = np.delete(strata, rows)
        assert set(kept) == {0, 1} and set(strata[rows]) == {0, 1}
    with pytest.raises(InputError, match="with whole groups"):
        split.hold_out_groups(np.array(["a", "a", "a"]), np.array([0, 1, 1]), 0.5, RNG(0))


def test_streams_are_independent_of_each_other() -> None:
    draws = {name: split.generator(3, name).integers(1 << 40) for name in split.STREAMS}
    assert len(set(draws.values())) == len(draws)
    assert draws["split"] == np.random.default_rng([3, 2]).integers(1 << 40)
