"""Which rows a selection keeps."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.errors import InputError
from leadline.plans import subset

CATEGORY = np.array(["easy", "hard", "none", "ambiguous", "easy", "none"])
SCORE = np.array([0.3, np.nan, 2.0, np.inf, 0.1, 0.3, -1.0, 0.3, 5.0])  # eight scored rows


def test_regions_in_the_order_of_the_data() -> None:
    assert subset.keep_regions(CATEGORY, ["easy", "ambiguous"]).tolist() == [0, 3, 4]
    assert subset.keep_regions(CATEGORY, ["hard"]).tolist() == [1]
    assert subset.keep_regions(CATEGORY, ["none", "hard", "ambiguous", "easy"]).tolist() == list(range(6))
    assert subset.keep_regions(CATEGORY, []).tolist() == []
    with pytest.raises(InputError, match="no region `ambigous`. Did you mean `ambiguous`"):
        subset.keep_regions(CATEGORY, ["easy", "ambigous"])


def test_highest_and_lowest() -> None:
    assert subset.keep_highest(SCORE, 0.25).tolist() == [3, 8]  # infinite, then 5
    assert subset.keep_highest(SCORE, 0.34).tolist() == [3, 8]  # int(.34 * 8): a row without a score does not count
    assert subset.keep_highest(SCORE, 0.5).tolist() == [0, 2, 3, 8]  # of three ties the first
    assert subset.keep_lowest(SCORE, 0.25).tolist() == [4, 6]
    assert subset.keep_lowest(SCORE, 0.5).tolist() == [0, 4, 5, 6]
    assert subset.keep_lowest(SCORE, 1.0).tolist() == [0, 2, 3, 4, 5, 6, 7, 8]  # never the row without a score
    assert subset.keep_highest(SCORE, 0.0).tolist() == []


def test_drop_highest_is_the_rest_and_keeps_what_has_no_score() -> None:
    assert subset.drop_highest(SCORE, 0.25).tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert subset.drop_highest(SCORE, 0.0).tolist() == list(range(9))
    assert subset.drop_highest(SCORE, 1.0).tolist() == [1]
    assert subset.drop_highest(np.arange(100.0), 0.05).tolist() == list(range(95))


def test_random_shares_have_the_size_of_a_region() -> None:
    rows = subset.random(3467, share=0.33, seed=1)
    assert len(rows) == 1144 == len(np.unique(rows)) and (np.diff(rows) > 0).all()
    assert rows.min() >= 0 and rows.max() < 3467
    assert (subset.random(3467, share=0.33, seed=1) == rows).all()
    assert (subset.random(3467, count=1144, seed=1) == rows).all()
    assert (subset.random(3467, share=0.33, seed=2) != rows).any()
    drawn = np.concatenate([subset.random(10, count=5, seed=seed) for seed in range(400)])
    assert np.bincount(drawn).min() > 150  # every row about 200 times of 400


@pytest.mark.parametrize("arguments", [{}, {"share": 0.5, "count": 3}, {"count": 11}, {"count": -1}, {"share": 1.1}])
def test_a_random_subset_that_cannot_be(arguments: dict) -> None:
    with pytest.raises(InputError):
        subset.random(10, **arguments)


@pytest.mark.parametrize("share", [-0.1, 1.01, 5, float("nan")])
def test_a_share_lies_between_0_and_1(share: float) -> None:
    for select in (subset.keep_highest, subset.keep_lowest, subset.drop_highest):
        with pytest.raises(InputError, match="between 0 and 1"):
            select(SCORE, share)
