"""Wrong labels on purpose: exactly as many as asked, each different, drawn as the kind says."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.data.corruption import corrupt
from leadline.errors import InputError

RNG = np.random.default_rng


@pytest.mark.parametrize("kind", ["uniform", "class-pair", "by-confusion"])
@pytest.mark.parametrize(("n", "rate", "changed"), [(1000, 0.2, 200), (7, 0.3, 2), (10, 0.99, 10), (3, 0.01, 0)])
def test_exactly_so_many_labels_change(kind: str, n: int, rate: float, changed: int) -> None:
    labels = RNG(0).integers(0, 4, size=n)
    before = labels.copy()
    confusion = RNG(1).integers(0, 5, size=(4, 4))
    new = corrupt(labels, 4, rate, kind, RNG(2), confusion)
    assert (new != labels).sum() == changed
    assert (labels == before).all()
    assert ((new >= 0) & (new < 4)).all()
    assert (new == corrupt(labels, 4, rate, kind, RNG(2), confusion)).all()


def test_uniform_reaches_every_other_class_equally() -> None:
    labels = np.repeat([0, 1, 2, 3], 30_000)
    new = corrupt(labels, 4, 0.9, "uniform", RNG(0))
    counts = np.histogram2d(labels, new, bins=4)[0]  # (from, to)
    off = counts[~np.eye(4, dtype=bool)]
    assert np.abs(off / 9000 - 1).max() < 0.05  # 9,000 expected each; 5 % is more than four standard deviations


def test_class_pair_goes_to_the_next_class() -> None:
    labels = np.array([0, 1, 2] * 100)
    new = corrupt(labels, 3, 0.5, "class-pair", RNG(0))
    moved = new != labels
    assert (new[moved] == (labels[moved] + 1) % 3).all()
    assert moved.sum() == 150


def test_by_confusion_follows_the_matrix() -> None:
    confusion = np.array([[50, 30, 10], [0, 9, 0], [7, 0, 0]])
    labels = np.repeat([0, 1, 2], 20_000)
    new = corrupt(labels, 3, 0.95, "by-confusion", RNG(0), confusion)
    counts = np.histogram2d(labels, new, bins=3)[0]
    assert counts[0, 1] / counts[0, 2] == pytest.approx(3, rel=0.08)
    assert counts[1, 0] / counts[1, 2] == pytest.approx(1, rel=0.08)  # no mistakes known: uniform
    assert counts[2, 1] == 0


def test_wrong_arguments() -> None:
    labels = np.array([0, 1, 1])
    with pytest.raises(ValueError, match="at least two classes"):
        corrupt(labels, 1, 0.5, "uniform", RNG(0))
    with pytest.raises(ValueError, match="unknown kind"):
        corrupt(labels, 2, 0.5, "pair", RNG(0))
    for confusion in (None, np.eye(3), np.array([[1, -1], [0, 1]]), np.full((2, 2), np.nan)):
        with pytest.raises((ValueError, InputError), match="confusion"):
            corrupt(labels, 2, 0.5, "by-confusion", RNG(0), confusion)
