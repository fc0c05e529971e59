"""Pairings: who is mixed with whom, against plain counting on random data."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from leadline.plans import mix
from leadline.plans.epoch import Epoch, every, steps

SEEDS = range(12)


def material(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
    """(rows kept, labels (N,), regions (N,), scores (N,) with ties and NaN, a generator) of random sizes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 60))
    rows = np.sort(rng.choice(n, size=int(rng.integers(1, n + 1)), replace=False))
    score = rng.integers(0, 8, n).astype(float)
    score[rng.random(n) < 0.1] = np.nan
    return rows, rng.integers(0, 4, n), rng.choice(["easy", "ambiguous"], n), score, rng


def is_matching(pairs: mix.Pairs) -> bool:
    """The partner of the partner is the row itself."""
    partner = dict(zip(pairs.anchors.tolist(), pairs.partners.tolist(), strict=True))
    return all(partner[partner[row]] == row for row in partner)


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_split_the_rows_by_all_keys(seed: int) -> None:
    rows, labels, regions, _, _ = material(seed)
    found = mix.groups(rows, labels, np.unique(regions, return_inverse=True)[1])
    assert Counter(np.concatenate(found).tolist()) == Counter(rows.tolist())
    kinds = [{(labels[row], regions[row]) for row in group} for group in found]
    assert all(len(kind) == 1 for kind in kinds)
    assert len(set.union(*kinds)) == len(kinds)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_matching_uses_every_row_once(seed: int) -> None:
    rows, *_, rng = material(seed)
    pairs = mix.shuffled(rows, rng)
    assert Counter(pairs.anchors.tolist()) == Counter(rows.tolist())
    assert is_matching(pairs)
    assert pairs.alone == len(rows) % 2


def test_a_random_matching_is_uniform() -> None:
    """Of 4 rows the three matchings are equally likely: 3,000 draws, 1,000 each, give or take 4 standard deviations."""
    rng = np.random.default_rng(0)
    partner_of_0 = Counter(
        int(pairs.partners[pairs.anchors == 0][0]) for pairs in (mix.shuffled(np.arange(4), rng) for _ in range(3000))
    )
    assert all(abs(partner_of_0[other] - 1000) < 4 * np.sqrt(3000 * 2 / 9) for other in (1, 2, 3))


@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_are_reversed(seed: int) -> None:
    rows, _, _, score, _ = material(seed)
    pairs = mix.ranked(rows, score)
    order = sorted(rows.tolist(), key=lambda row: (np.isnan(score[row]), np.nan_to_num(score[row]), row))
    rank = {row: at for at, row in enumerate(order)}
    assert Counter(pairs.anchors.tolist()) == Counter(rows.tolist())
    for anchor, partner in zip(pairs.anchors.tolist(), pairs.partners.tolist(), strict=True):
        assert rank[anchor] + rank[partner] == len(rows) - 1
    assert is_matching(pairs) and pairs.alone == len(rows) % 2


@pytest.mark.parametrize("by_score", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_across_regions(seed: int, by_score: bool) -> None:
    rows, _, regions, score, rng = material(seed)
    easy, ambiguous = rows[regions[rows] == "easy"], rows[regions[rows] == "ambiguous"]
    pairs = mix.crossed(easy, ambiguous, rng, score if by_score else None)
    assert Counter(pairs.anchors.tolist()) == Counter(rows.tolist())
    if not len(easy) or not len(ambiguous):
        assert (pairs.anchors == pairs.partners).all()
        return
    assert (regions[pairs.anchors] != regions[pairs.partners]).all()
    sizes = Counter(pairs.unit.tolist())
    assert Counter(sizes.values())[2] == min(len(easy), len(ambiguous))  # matched pairs
    small = easy if len(easy) <= len(ambiguous) else ambiguous
    met = Counter(pairs.partners[np.isin(pairs.partners, small)].tolist())
    assert set(met) == set(small.tolist()) and max(met.values()) - min(met.values()) <= 1
    if by_score and len(easy) == len(ambiguous) and not np.isnan(score[rows]).any():
        low_to_high = [score[row] for row in sorted(easy, key=lambda row: (score[row], row))]
        partner = dict(zip(pairs.anchors.tolist(), pairs.partners.tolist(), strict=True))
        meets = [score[partner[row]] for row in sorted(easy, key=lambda row: (score[row], row))]
        assert low_to_high == sorted(low_to_high) and meets == sorted(meets, reverse=True)


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_most_and_least_similar(seed: int, far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mix, "BLOCK", 7)
    rows, *_, rng = material(seed)
    vectors = rng.normal(size=(60, 5))
    pairs = mix.closest(rows, vectors, far)
    assert pairs.anchors.tolist() == rows.tolist()
    if len(rows) == 1:
        assert pairs.partners.tolist() == rows.tolist()
        return
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for anchor, partner in zip(rows, pairs.partners, strict=True):
        likeness = {int(other): float(unit[anchor] @ unit[other]) for other in rows if other != anchor}
        best = (min if far else max)(likeness.values())
        assert partner != anchor and likeness[int(partner)] == pytest.approx(best, abs=1e-6)


def test_the_reference_shuffles_against_itself() -> None:
    pairs = mix.permuted(np.arange(40), np.random.default_rng(1))
    assert sorted(pairs.partners.tolist()) == list(range(40)) and not is_matching(pairs)


@pytest.mark.parametrize("size", [7, 30, 31, 95])
@pytest.mark.parametrize("seed", range(4))
def test_the_size_is_reached_by_rounds_of_whole_pairs(seed: int, size: int) -> None:
    rows = np.arange(3, 3 + 13 + seed)
    plan = mix.mixing(lambda rng: mix.shuffled(rows, rng), mix.Lambda(), size, every(rows), 1, seed)
    assert plan(0).partners is None
    epoch = plan(1)
    assert epoch.partners is not None and size - 1 <= len(epoch) <= size
    seen = Counter(epoch.rows.tolist())
    assert set(seen) <= set(rows.tolist()) and max(seen.values()) - min(seen[row] for row in rows.tolist()) <= 1
    mixed = epoch.rows != epoch.partners
    directed = Counter(zip(epoch.rows[mixed].tolist(), epoch.partners[mixed].tolist(), strict=True))
    assert all(directed[b, a] == count for (a, b), count in directed.items())


def test_an_epoch_can_be_drawn_again_and_the_next_differs() -> None:
    rows = np.arange(20)
    first, again = (
        mix.mixing(lambda rng: mix.shuffled(rows, rng), mix.Lambda(), 20, every(rows), 0, seed=3) for _ in range(2)
    )
    assert np.array_equal(first(4).partners, again(4).partners) and np.array_equal(first(4).lam, again(4).lam)
    assert not np.array_equal(first(4).lam, first(5).lam)


def test_lambda() -> None:
    rng = np.random.default_rng(0)
    drawn = mix.Lambda(alpha=0.4).draw(20_000, rng)
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.03)  # of Beta(a, a)
    folded = mix.Lambda(fold=True).draw(20_000, rng)
    assert folded.min() >= 0.5 and folded.mean() == pytest.approx(0.75, abs=0.01)
    assert (mix.Lambda(fixed=0.3).draw(5, rng) == 0.3).all()
    assert (mix.Lambda(fixed=0.3, fold=True).draw(5, rng) == 0.7).all()


def test_one_lambda_a_step() -> None:
    rows = np.arange(30)
    plan = mix.mixing(lambda rng: mix.shuffled(rows, rng), mix.Lambda(shared=True), 30, every(rows), 0, seed=0)
    formed = steps(plan(0), np.ones(30), 8, 3, np.random.default_rng(0))
    epoch = mix.per_step(plan(0), formed)
    assert epoch.lam is not None
    each = [set(epoch.lam[np.concatenate(step)].tolist()) for step in formed]
    assert all(len(lam) == 1 for lam in each) and len(set.union(*each)) == len(formed)
    own = Epoch(rows, rows, np.linspace(0, 1, 30))
    assert mix.per_step(own, formed) is own
