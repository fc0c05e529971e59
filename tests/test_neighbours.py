"""Nearest neighbours and near-duplicates: beside brute force, scikit-learn and cleanlab's Datalab."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from leadline.data import blocks, closest, neighbours
from leadline.data.neighbours import groups, near_duplicates, nearest
from leadline.errors import InputError


def clustered(n: int, d: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(2, n // 20), d))
    return (centres[rng.integers(0, len(centres), n)] + 0.5 * rng.normal(size=(n, d))).astype(dtype)


def with_doubles(n: int, d: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Clusters with a crowd of 15 equal rows, some pairs of equal rows, and rows very near to others."""
    x, rng = clustered(n, d, seed, dtype), np.random.default_rng(seed + 1)
    rows = rng.permutation(n)
    x[rows[:15]] = x[rows[0]]
    x[rows[20:30]] = x[rows[30:40]]
    x[rows[40:60]] = x[rows[60:80]] + (1e-3 * rng.normal(size=(20, d))).astype(dtype)
    return x


def brute(x: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Everything measured in float64 and sorted by distance, then by row."""
    x = x.astype(np.float64)
    if metric == "cosine":
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        x = x / np.where(norm > 0, norm, 1)
        d = ((x[:, None] - x[None]) ** 2).sum(-1) / 2
        empty = norm[:, 0] == 0
        d[empty[:, None] != empty[None]] = 1.0
    else:
        d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    np.fill_diagonal(d, np.inf)
    near = np.array([np.lexsort((np.arange(len(x)), row)) for row in d.round(13)])[:, :k]
    return near, np.take_along_axis(d, near, axis=1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("block", "k"), [(4096, 10), (64, 10), (37, 3), (7, 1), (100, 60)])
def test_nearest_is_brute_force(metric: str, dtype: str, block: int, k: int) -> None:
    x = with_doubles(211, 12, dtype=dtype)
    x[5] = x[77] = x[100] = 0
    near, far = nearest(x, k, metric=metric, block=block)
    expected, distances = brute(x, k, metric)
    assert near.shape == far.shape == (211, k) and near.dtype == np.int64 and far.dtype == np.float64
    np.testing.assert_allclose(far, distances, rtol=0, atol=1e-7 if metric == "euclidean" else 1e-12)
    np.testing.assert_array_equal(near, expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_some_rows_are_those_of_all(metric: str) -> None:
    x = with_doubles(300, 20)
    near, far = nearest(x, 8, metric=metric)
    rows = np.array([299, 3, 3, 150, 0])
    for block in (4096, 2, 90):
        some, distances = nearest(x, 8, rows=rows, metric=metric, block=block)
        np.testing.assert_array_equal(some, near[rows])
        np.testing.assert_array_equal(distances, far[rows])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_is_scikit_learns(metric: str) -> None:
    x = clustered(1500, 48, seed=3, dtype="float64")  # without doubles: no ties that it may break otherwise
    far, near = NearestNeighbors(n_neighbors=12, metric=metric, algorithm="brute").fit(x).kneighbors()
    ours, distances = nearest(x, 12, metric=metric, block=400)
    np.testing.assert_array_equal(ours, near)
    np.testing.assert_allclose(distances, far, rtol=0, atol=1e-7 if metric == "euclidean" else 1e-12)


def test_rounding_of_the_products_decides_nothing() -> None:
    """Rows that differ by less than float32 can tell apart are still ranked rightly."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=64)
    steps = np.array([0, 5, 1, 3, 2, 4]) * 1e-6  # 1 - cos: of the order of 1e-12
    x = base + steps[:, None] * rng.normal(size=64)
    near, far = nearest(x, 5)
    assert near[0].tolist() == [2, 4, 3, 5, 1] and (np.diff(far[0]) > 0).all() and 0 < far[0, 0] < 1e-12


def test_a_far_offset_does_not_hurt() -> None:
    x = clustered(200, 8, dtype="float64")
    near, far = nearest(x, 5, metric="euclidean")
    moved, distances = nearest(x + 1e5, 5, metric="euclidean")
    np.testing.assert_array_equal(moved, near)
    np.testing.assert_allclose(distances, far, atol=1e-8)


def test_equal_rows_come_in_the_order_of_the_rows() -> None:
    x = np.ones((30, 5), dtype=np.float32)
    x[7] = [1, 2, 3, 4, 5]
    near, far = nearest(x, 4)
    assert near[0].tolist() == [1, 2, 3, 4] and near[2].tolist() == [0, 1, 3, 4] and near[29].tolist() == [0, 1, 2, 3]
    assert (far[np.arange(30) != 7] == 0).all() and near[7].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(far[7], 1 - 15 / np.sqrt(5 * 55))
    everyone, none = nearest(np.zeros((6, 3)), 5)
    assert everyone[2].tolist() == [0, 1, 3, 4, 5] and (none == 0).all()


def test_minus_zero_is_zero_and_scaled_rows_are_at_zero() -> None:
    x = np.array([[0.0, 1.0, 2.0, 3.0], [-0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 4.0, 6.0], [1.0, 0.0, 0.0, 0.0]])
    near, far = nearest(x, 2)
    assert near[0].tolist() == [1, 2] and near[1].tolist() == [0, 2]
    assert far[0, 0] == 0 and far[0, 1] < 1e-30 and far[3, 0] == 1.0


def test_the_order_of_the_rows_changes_nothing() -> None:
    x, rng = with_doubles(400, 16, seed=2), np.random.default_rng(9)
    order = rng.permutation(400)
    found, mixed = near_duplicates(x, k=30), near_duplicates(x[order], k=30)
    back = np.sort(order[mixed.pairs], axis=1)
    at = np.lexsort((back[:, 1], back[:, 0]))
    np.testing.assert_array_equal(back[at], found.pairs)
    np.testing.assert_allclose(mixed.distances[at], found.distances, atol=1e-15)
    assert mixed.limit == pytest.approx(found.limit, rel=1e-12) and len(found.pairs) > 100
    _, far = nearest(x, 7)
    _, mixed_far = nearest(x[order], 7)
    np.testing.assert_allclose(mixed_far, far[order], atol=1e-12)


def test_near_duplicates_by_hand() -> None:
    """Median distance to the nearest 1, so the limit is 0.13: two pairs are below it, one stands just above."""
    place = np.array([0.0, 0.1, 5, 5.12, 9, 9.14, 20, 21, 30, 31, 40, 41, 50, 51])[:, None]
    found = near_duplicates(place)
    assert found.metric == "euclidean" and found.median == pytest.approx(1.0) and found.limit == pytest.approx(0.13)
    assert found.pairs.tolist() == [[0, 1], [2, 3]]
    np.testing.assert_allclose(found.distances, [0.1, 0.12])
    assert near_duplicates(place, threshold=0.11).pairs.tolist() == [[0, 1]]
    assert near_duplicates(place[:1]).pairs.shape == (0, 2)


def test_where_most_rows_have_a_double_the_limit_is_not_zero() -> None:
    x = np.repeat(clustered(20, 8), 2, axis=0)
    found = near_duplicates(x)
    assert found.pairs.tolist() == [[i, i + 1] for i in range(0, 40, 2)]
    assert found.limit == pytest.approx(0.13e-6) and (found.distances == 0).all()


def datalab_pairs(x: np.ndarray, **settings: float) -> set[tuple[int, int]]:
    datalab = pytest.importorskip("cleanlab.datalab.datalab")
    lab = datalab.Datalab({"row": list(range(len(x)))}, verbosity=0)
    lab.find_issues(features=x, issue_types={"near_duplicate": settings})
    sets = lab.get_info("near_duplicate")["near_duplicate_sets"]
    return {(min(i, int(j)), max(i, int(j))) for i, one in enumerate(sets) for j in one}


@pytest.mark.parametrize(
    ("x", "settings"),
    [
        (with_doubles(500, 32), {}),
        (with_doubles(500, 32, seed=5, dtype="float64"), {}),
        (with_doubles(500, 32, seed=6, dtype="float64"), {"threshold": 0.5}),
        (clustered(300, 6, seed=7, dtype="float64"), {"threshold": 0.9, "k": 4}),  # no ties: it breaks them as it likes
        (with_doubles(400, 3, seed=8, dtype="float64"), {}),
        (with_doubles(90, 2, seed=8, dtype="float64"), {}),
    ],
)
def test_the_pairs_are_datalabs(x: np.ndarray, settings: dict[str, float]) -> None:
    theirs = datalab_pairs(x, **settings)
    found = near_duplicates(x, **settings)  # type: ignore[arg-type]
    assert {(i, j) for i, j in found.pairs.tolist()} == theirs and len(theirs) > 50
    assert (found.distances < found.limit).all() and (found.pairs[:, 0] < found.pairs[:, 1]).all()


def fading(n: int, d: int, seed: int = 0) -> np.ndarray:
    """As of a sentence encoder: clusters, few directions that count, doubles and near doubles of some rows."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.arange(1, d + 1)
    centres = rng.normal(size=(n // 50, d)) * scale
    x = (centres[rng.integers(0, len(centres), n)] + 0.7 * rng.normal(size=(n, d)) * scale).astype("float32")
    x[:40], x[40:90] = x[100:140], x[200]
    x[90:99] = x[300:309] * (1 + 0.004 * rng.normal(size=(9, d)))
    return x[rng.permutation(n)]


@pytest.mark.parametrize(
    ("x", "settings", "answers"),
    [
        (fading(2500, 48), {}, True),
        (fading(2500, 48, seed=1).astype("float64"), {"threshold": 0.6, "k": 3}, True),
        (clustered(2500, 40, seed=2), {"threshold": 0.95}, True),  # no direction counts more than another
        (np.random.default_rng(3).normal(size=(2001, 30)), {"threshold": 0.9}, True),
        (np.repeat(fading(1300, 20), 2, axis=0), {}, True),  # the median is 0
        (np.vstack([fading(1000, 20), fading(1000, 20)[::-1][:950]]), {}, True),  # the middle is next to 0, or at it
        (np.vstack([np.eye(600), 2 * np.eye(600)]), {}, False),  # all are equally far from their nearest
        (np.ones((600, 9)) + 1e-4 * clustered(600, 9), {"threshold": 9.0}, False),  # everything is near
    ],
)
def test_bounds_find_what_measuring_all_pairs_finds(
    x: np.ndarray, settings: dict[str, float], answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = near_duplicates(x, **settings)  # type: ignore[arg-type]
    found: list[bool] = []
    monkeypatch.setattr(neighbours, "MANY", 0)
    monkeypatch.setattr(closest, "BLOCK", 300)
    monkeypatch.setattr(closest, "WINDOW", 128)
    look = closest.closest
    monkeypatch.setattr(neighbours, "closest", lambda *given: found.append((y := look(*given)) is not None) or y)
    quick = near_duplicates(x, **settings)  # type: ignore[arg-type]
    assert found == [answers]
    np.testing.assert_array_equal(quick.pairs, plain.pairs)
    np.testing.assert_allclose(quick.distances, plain.distances, rtol=0, atol=1e-15)
    assert quick.limit == pytest.approx(plain.limit, rel=1e-12) and len(plain.pairs) > 5


def test_groups() -> None:
    pairs = np.array([[4, 1], [7, 4], [2, 6]])
    assert groups(pairs, 8).tolist() == [0, 1, 2, 3, 1, 4, 2, 1]
    assert groups(np.zeros((0, 2), dtype=int), 3).tolist() == [0, 1, 2]


def test_a_crowd_of_equal_rows_is_one_group_although_not_every_pair_is_named() -> None:
    x = clustered(200, 16, seed=4)
    x[50:90] = x[50]
    found = near_duplicates(x)
    assert len(found.pairs) < 40 * 39 / 2
    assert len(set(groups(found.pairs, 200)[50:90].tolist())) == 1


def test_memory_is_bounded_by_the_block() -> None:
    """Not even the bytes of all pairs are ever there; a smaller block needs less."""
    n, d = 3000, 8
    x = clustered(n, d)
    peaks = {}
    for block in (250, 1000):
        tracemalloc.start()
        nearest(x, 5, block=block)
        peaks[block] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[250] < peaks[1000] < n * n * 4
    assert peaks[1000] - peaks[250] > (1000**2 - 250**2) * 4 * 0.5  # the block is what makes the difference


def test_candidates_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows within rounding of each other are all candidates: the nearest are found and the list stays short."""
    rng = np.random.default_rng(0)
    x = np.ones((300, 4)) + 1e-4 * rng.normal(size=(300, 4))
    longest: list[int] = []
    keep = blocks.Candidates._keep

    def small(self, *arrays):  # type: ignore[no-untyped-def]
        self.most = 5000
        keep(self, *arrays)
        longest.append(self.count)

    monkeypatch.setattr(blocks.Candidates, "_keep", small)
    monkeypatch.setattr(blocks, "GATHERED", 500)
    monkeypatch.setattr(blocks, "CROWDED", 2.0)  # never sort a block
    near, far = nearest(x, 3, block=50)
    assert max(longest) < 5000 + 500 * 64 and (np.diff(far, axis=1) >= 0).all()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    d = ((unit[:, None] - unit[None]) ** 2).sum(-1) / 2
    np.fill_diagonal(d, np.inf)
    np.testing.assert_allclose(far, np.sort(d, axis=1)[:, :3], rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_in_sparse_data_most_rows_are_equally_far(metric: str) -> None:
    """One word each of few: nearly all distances are equal, so the order of the rows decides."""
    x = np.zeros((400, 150), dtype=np.float32)
    rng = np.random.default_rng(0)
    x[np.arange(400), rng.integers(0, 150, 400)] = 1
    x[np.arange(0, 400, 3), rng.integers(0, 150, 134)] += 1
    expected, distances = brute(x, 12, metric)
    for block in (4096, 100):
        near, far = nearest(x, 12, metric=metric, block=block)
        np.testing.assert_array_equal(near, expected)
        np.testing.assert_allclose(far, distances, atol=1e-7)
    some, _ = nearest(x, 12, rows=np.array([7, 399, 0]), metric=metric)
    np.testing.assert_array_equal(some, expected[[7, 399, 0]])


def test_bad_input_is_one_sentence() -> None:
    x = clustered(20, 4)
    with pytest.raises(InputError, match=r"k = 20 of 20 rows"):
        nearest(x, 20)
    with pytest.raises(InputError, match=r"k = 0 of 20 rows"):
        nearest(x, 0)
    with pytest.raises(InputError, match="array of numbers"):
        nearest(np.array([["a"], ["b"]]), 1)
    with pytest.raises(InputError, match=r"shape \(20,\)"):
        nearest(x[:, 0], 1)
    with pytest.raises(InputError, match="no metric `cosin`.*Did you mean `cosine`"):
        nearest(x, 1, metric="cosin")
    x[3, 2] = np.nan
    x[9, 0] = np.inf
    for metric in ("cosine", "euclidean"):
        with pytest.raises(InputError, match=r"2 of 20 vectors hold NaN.*row 3"):
            nearest(x, 2, metric=metric)


def test_whole_numbers_and_half_precision_are_taken() -> None:
    x = np.arange(24).reshape(8, 3) % 7
    np.testing.assert_array_equal(nearest(x, 3)[1], nearest(x.astype(float), 3)[1])
    half = clustered(30, 6).astype(np.float16)
    np.testing.assert_array_equal(nearest(half, 3)[0], nearest(half.astype(np.float32), 3)[0])
