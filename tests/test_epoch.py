"""plans/epoch.py and plans/weights.py: what an epoch trains on, how it is cut into steps, what each entry weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from leadline.errors import InputError
from leadline.plans.epoch import POOL, Epoch, Step, cut, everything, steps, units
from leadline.plans.weights import class_weights, mass


def matching(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) partner of each row: neighbours 2k and 2k + 1 of a shuffle, the odd one with itself."""
    order, partner = rng.permutation(n), np.arange(n)
    even = n - n % 2
    partner[order[0:even:2]], partner[order[1:even:2]] = order[1:even:2], order[0:even:2]
    return partner


@st.composite
def epochs(draw: st.DrawFn) -> tuple[Epoch, np.ndarray]:
    """Epochs of every kind, and the lengths of their examples: all rows, repeats and gaps, matchings, any partners."""
    n, seed = draw(st.integers(1, 60)), draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, n)
    kind = draw(st.sampled_from(["all", "repeats", "matching", "two rounds", "one way", "mixed"]))
    rows, partners = np.arange(n), None
    if kind == "repeats":
        rows = rng.integers(0, n, draw(st.integers(0, 80)))
    elif kind == "matching":
        partners = matching(n, rng)
    elif kind == "two rounds":  # the same pair may come twice
        rows = np.tile(rows, 2)
        partners = np.concatenate([matching(n, rng), matching(n, rng)])
    elif kind == "one way":
        partners = rng.integers(0, n, n)
    elif kind == "mixed":  # any rows with any partners: some are pairs by chance
        m = draw(st.integers(0, 80))
        rows, partners = rng.integers(0, min(n, 6), m), rng.integers(0, min(n, 6), m)
    shuffled = rng.permutation(len(rows))
    rows, partners = rows[shuffled], None if partners is None else partners[shuffled]
    lam = None if partners is None else rng.random(len(rows))
    return Epoch(rows, partners, lam), lengths


BATCHES = st.tuples(st.integers(1, 17), st.none() | st.integers(1, 17))


def formed(epoch: Epoch, lengths: np.ndarray, batch: int, micro: int | None, seed: int = 0) -> list[Step]:
    return steps(epoch, lengths, batch, micro, np.random.default_rng([seed, 0, 0]))


def pairs(epoch: Epoch) -> list[tuple[int, int]]:
    first, second = units(epoch)
    return [(int(a), int(b)) for a, b in zip(first, second, strict=True) if b >= 0]


@settings(max_examples=200, deadline=None)
@given(made=epochs(), sizes=BATCHES)
def test_every_entry_is_in_exactly_one_micro_batch_of_one_step(
    made: tuple[Epoch, np.ndarray], sizes: tuple[int, int | None]
) -> None:
    (epoch, lengths), (batch, micro) = made, sizes
    cutting = formed(epoch, lengths, batch, micro)
    entries = [int(j) for step in cutting for part in step for j in part]
    assert sorted(entries) == list(range(len(epoch)))
    has_pairs = bool(pairs(epoch))
    for step in cutting:
        assert step and all(len(part) for part in step)
        assert sum(len(part) for part in step) <= max(batch, 2 if has_pairs else 1)
        assert all(len(part) <= max(micro or batch, 2 if has_pairs else 1) for part in step)


@settings(max_examples=200, deadline=None)
@given(made=epochs(), sizes=BATCHES)
def test_whole_pairs_share_a_micro_batch(made: tuple[Epoch, np.ndarray], sizes: tuple[int, int | None]) -> None:
    (epoch, lengths), (batch, micro) = made, sizes
    micro_batches = [part for step in formed(epoch, lengths, batch, micro) for part in step]
    place = {int(j): number for number, part in enumerate(micro_batches) for j in part}
    for one, other in pairs(epoch):
        assert place[one] == place[other]
        assert epoch.partners is not None
        assert (epoch.rows[one], epoch.partners[one]) == (epoch.partners[other], epoch.rows[other])


@settings(max_examples=200, deadline=None)
@given(made=epochs())
def test_no_pair_is_left_apart(made: tuple[Epoch, np.ndarray]) -> None:
    """Counted independently: of a mirrored pair that occurs a times one way and b times the other, min(a, b) pairs."""
    epoch, _ = made
    if epoch.partners is None:
        assert pairs(epoch) == []
        return
    counts: dict[tuple[int, int], int] = {}
    for row, partner in zip(epoch.rows.tolist(), epoch.partners.tolist(), strict=True):
        counts[row, partner] = counts.get((row, partner), 0) + 1
    expected = sum(min(n, counts.get((b, a), 0)) for (a, b), n in counts.items() if a < b)
    assert len(pairs(epoch)) == expected
    first, second = units(epoch)
    assert sorted([*first, *second[second >= 0]]) == list(range(len(epoch)))


@settings(max_examples=200, deadline=None)
@given(made=epochs(), batch=st.integers(1, 17), micros=st.tuples(st.integers(1, 17), st.integers(1, 17)))
def test_which_entries_share_a_step_does_not_depend_on_micro_batches(
    made: tuple[Epoch, np.ndarray], batch: int, micros: tuple[int, int]
) -> None:
    epoch, lengths = made
    whole = [sorted(np.concatenate(step)) for step in formed(epoch, lengths, batch, None)]
    for micro in micros:
        assert [sorted(np.concatenate(step)) for step in formed(epoch, lengths, batch, micro)] == whole


def as_lists(cutting: list[Step]) -> list[list[list[int]]]:
    return [[part.tolist() for part in step] for step in cutting]


@settings(max_examples=50, deadline=None)
@given(made=epochs(), seed=st.integers(0, 99))
def test_the_same_seed_gives_the_same_steps(made: tuple[Epoch, np.ndarray], seed: int) -> None:
    epoch, lengths = made
    assert as_lists(formed(epoch, lengths, 8, 3, seed)) == as_lists(formed(epoch, lengths, 8, 3, seed))


def test_another_seed_gives_other_steps_in_another_order() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 400)
    one, other = (formed(everything(400)(0), lengths, 16, None, seed) for seed in (0, 1))
    together = [{frozenset(np.concatenate(step).tolist()) for step in cutting} for cutting in (one, other)]
    assert not together[0] & together[1]  # small data too: every epoch brings other examples together
    means = np.array([lengths[np.concatenate(step)].mean() for step in one])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5  # not from short to long


@pytest.mark.parametrize("paired", [False, True])
def test_entries_of_one_step_are_of_similar_length(paired: bool) -> None:
    rng = np.random.default_rng(3)
    n, batch = 3000, 16
    lengths = rng.integers(4, 120, n)
    partners = matching(n, rng) if paired else None
    epoch = Epoch(np.arange(n), partners, None if partners is None else np.full(n, 0.5))
    cutting = formed(epoch, lengths, batch, None)
    assert len(cutting) == pytest.approx(n / batch, rel=0.02)
    reach = lengths if partners is None else np.maximum(lengths, lengths[partners])
    padded = sum(reach[np.concatenate(step)].max() * len(np.concatenate(step)) for step in cutting)
    shuffled = rng.permutation(n).reshape(-1, 20)
    assert padded < 1.06 * reach.sum()  # at random 1.5 times
    assert sum(reach[rows].max() * 20 for rows in shuffled) > (1.15 if paired else 1.5) * reach.sum()


def test_only_the_last_step_is_short() -> None:
    sizes = [sum(len(part) for part in step) for step in formed(everything(1003)(0), np.ones(1003, int), 10, 4)]
    assert sorted(sizes) == [3] + [10] * 100
    large = POOL * 10
    assert len(formed(everything(large)(0), np.ones(large, int), 10, None)) == POOL
    (step,) = formed(everything(10)(0), np.arange(10), 10, 4)
    assert [len(part) for part in step] == [4, 4, 2]


def test_a_pair_is_larger_than_a_batch_of_one() -> None:
    epoch = Epoch(np.array([0, 1, 2]), np.array([1, 0, 2]), np.array([0.3, 0.3, 1.0]))
    assert sorted(as_lists(formed(epoch, np.array([5, 6, 7]), 1, 1))) == [[[0, 1]], [[2]]]


def test_nothing_to_train_on_is_no_step() -> None:
    none = np.array([], dtype=np.int64)
    assert formed(Epoch(none), np.arange(4), 8, None) == []
    assert formed(Epoch(none, none, np.array([])), np.arange(4), 8, 2) == []


@given(sizes=st.lists(st.sampled_from([1, 2]), max_size=30), limit=st.integers(1, 7))
def test_cut_fills_its_pieces_in_turn(sizes: list[int], limit: int) -> None:
    pieces = cut(np.arange(len(sizes)), np.array(sizes, dtype=int), limit)
    assert sorted(i for piece in pieces for i in piece) == list(range(len(sizes)))
    for size in (1, 2):  # singles in their order, pairs in theirs
        assert [i for piece in pieces for i in piece if sizes[i] == size] == [
            i for i, s in enumerate(sizes) if s == size
        ]
    taken = [sum(sizes[i] for i in piece) for piece in pieces]
    assert all(len(piece) == 1 or total <= limit for piece, total in zip(pieces, taken, strict=True))
    for number, total in enumerate(taken):  # nothing that comes later would still have fitted
        later = [sizes[i] for piece in pieces[number + 1 :] for i in piece]
        assert all(total + size > limit for size in later)


@pytest.mark.parametrize(("small", "large"), [(10, 90), (30, 270), (100, 900), (660, 1340)])
@pytest.mark.parametrize("batch", [8, 16, 15])
def test_steps_of_pairs_and_single_entries_are_full(small: int, large: int, batch: int) -> None:
    """Easy with ambiguous of unequal numbers: the smaller side's entries are pairs, the others are alone."""
    n = small + large
    partners = np.concatenate([np.arange(small) + small, np.arange(large) % small])
    lengths = np.random.default_rng(1).integers(4, 60, n)
    cutting = formed(Epoch(np.arange(n), partners, np.full(n, 0.5)), lengths, batch, None)
    assert len(cutting) <= np.ceil(n / batch) + 1  # the last of a pool may be short of a single


# Targets and weights of entries, by hand

LABELS = np.array([0, 2, 1, 2])
SOFT = np.array([[1, 0, 0], [0, 0.25, 0.75], [0.5, 0.5, 0], [0, 0, 1.0]])
V = np.array([1.0, 2.0, 0.0, 0.5])
ROWS, PARTNERS, LAM = np.array([1, 1, 3]), np.array([0, 2, 3]), np.array([0.75, 0.5, 0.1])


def test_an_unmixed_entry_has_the_target_and_weight_of_its_row() -> None:
    epoch = Epoch(ROWS)
    assert len(epoch) == 3
    assert epoch.entry_targets(LABELS, 3).tolist() == [2, 2, 2]
    np.testing.assert_array_equal(epoch.entry_targets(SOFT, 3), SOFT[ROWS])
    assert epoch.entry_targets(np.array([0.5, -1.0, 3.0, 8.0]), 0).tolist() == [-1, -1, 8]
    assert epoch.entry_weights(V).tolist() == [2, 2, 0.5]


def test_a_mixed_entry_mixes_targets_and_weights() -> None:
    epoch = Epoch(ROWS, PARTNERS, LAM)
    np.testing.assert_allclose(epoch.entry_targets(LABELS, 3), [[0.25, 0, 0.75], [0, 0.5, 0.5], [0, 0, 1]])
    np.testing.assert_allclose(epoch.entry_targets(SOFT, 3), [[0.25, 0.1875, 0.5625], [0.25, 0.375, 0.375], [0, 0, 1]])
    np.testing.assert_allclose(epoch.entry_targets(np.array([0.0, 4.0, 1.0, 8.0]), 0), [3.0, 2.5, 8.0])  # regression
    np.testing.assert_allclose(epoch.entry_weights(V), [0.75 * 2 + 0.25, 1.0, 0.5])


def test_given_targets_and_weights_override() -> None:
    targets = np.array([[0.1, 0.2, 0.7], [1, 0, 0], [0, 1, 0]])
    epoch = Epoch(ROWS, PARTNERS, LAM, targets=targets, weights=np.array([1, 0, 3]))
    np.testing.assert_array_equal(epoch.entry_targets(LABELS, 3), targets)
    weights = epoch.entry_weights(V)
    assert weights.tolist() == [1, 0, 3] and weights.dtype == np.float64


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"partners": [0, 1], "lam": [0.5, 0.5, 0.5]}, "partners has 2 entries, rows has 3"),
        ({"weights": [1.0]}, "weights has 1 entries"),
        ({"targets": [0]}, "targets has 1 entries"),
        ({"partners": [0, 1, 2]}, "go together"),
        ({"lam": [0.5, 0.5, 0.5]}, "go together"),
        ({"partners": [0, 1, 2], "lam": [0.5, 1.5, 0.5]}, "lam must lie"),
        ({"partners": [0, 1, 2], "lam": [0.5, np.nan, 0.5]}, "lam must lie"),
        ({"weights": [1.0, -1.0, 0.0]}, "not negative"),
        ({"weights": [1.0, np.inf, 0.0]}, "finite"),
    ],
)
def test_an_epoch_that_makes_no_sense_is_refused(arrays: dict[str, Sequence[float]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Epoch(np.arange(3), **{name: np.array(values) for name, values in arrays.items()})


# Weights of classes


@pytest.mark.parametrize("counts", [[900, 90, 10], [5, 5], [1, 2, 3, 4]])
def test_balanced_is_that_of_scikit_learn(counts: list[int]) -> None:
    y, classes = np.repeat(np.arange(len(counts)), counts), [f"c{k}" for k in range(len(counts))]
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=y)
    found = class_weights("balanced", np.array(counts), classes)
    np.testing.assert_allclose(np.ones(len(counts)) if found is None else found, expected)


def test_class_weights_of_the_worked_example() -> None:
    counts, classes = np.array([900, 90, 10]), ("a", "b", "c")
    balanced, effective = (class_weights(kind, counts, classes) for kind in ("balanced", "effective"))
    assert balanced is not None and effective is not None
    np.testing.assert_allclose(balanced, [0.370370, 3.703704, 33.333333], atol=1e-6)
    np.testing.assert_allclose(effective, [0.044430, 0.306283, 2.649288], atol=1e-6)
    number = np.array([593.613377, 86.109968, 9.955120])  # effective numbers: a weight is proportional to one over it
    np.testing.assert_allclose(effective[0] / effective, number / number[0], rtol=1e-6)


def test_weights_by_name_and_gamma() -> None:
    counts, classes = np.array([4, 2, 6]), ("no", "maybe", "yes")
    assert class_weights(None, counts, classes) is None
    assert class_weights({"no": 1.0}, counts, classes) is None  # every class counts 1
    named = class_weights({"yes": 2.5, "no": 0}, counts, classes)
    assert named is not None and named.tolist() == [0, 1, 2.5]
    gamma = class_weights(None, counts, classes, "maybe", 4.0)
    assert gamma is not None and gamma.tolist() == [1, 4, 1]
    both = class_weights("balanced", counts, classes, "maybe", 4.0)
    assert both is not None
    np.testing.assert_allclose(both, [1, 8, 2 / 3])
    assert np.isfinite(class_weights("effective", np.array([3, 0]), ("a", "b"))).all()  # type: ignore[arg-type]


def test_an_unknown_class_is_told_with_the_nearest() -> None:
    counts, classes = np.array([1, 1]), ("accept", "reject")
    with pytest.raises(InputError, match="loss.class_weights: no class `acept`. Did you mean `accept`.*accept, reject"):
        class_weights({"acept": 2.0}, counts, classes)
    with pytest.raises(InputError, match="loss.weighted_class: no class `Reject`. Did you mean `reject`"):
        class_weights(None, counts, classes, "Reject", 2.0)
    with pytest.raises(InputError, match="not negative"):
        class_weights({"accept": -1.0}, counts, classes)
    with pytest.raises(InputError, match="not negative"):
        class_weights({"accept": float("nan")}, counts, classes)
    with pytest.raises(InputError, match="choose balanced, effective"):
        class_weights("balance", counts, classes)


def test_mass_by_hand() -> None:
    w = np.array([0.5, 2.0, 4.0])
    assert mass(LABELS, w).tolist() == [0.5, 4, 2, 4]
    np.testing.assert_allclose(mass(SOFT, w), [0.5, 0.25 * 2 + 0.75 * 4, 1.25, 4])
    assert mass(LABELS, None).tolist() == mass(SOFT, None).tolist() == [1, 1, 1, 1]
