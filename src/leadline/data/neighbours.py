"""Nearest neighbours and near-duplicates of many vectors: exact, in bounded memory. Arrays in, arrays out.

`nearest` finds the k nearest of every row, or of some rows; `near_duplicates` the pairs that lie much closer together
than rows usually lie to their nearest; `groups` joins pairs into groups, so that a split can keep a group on one side.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from leadline.data.blocks import BLOCK, Cosine, Euclidean, among_all, among_rows, first_of_each
from leadline.data.closest import closest
from leadline.errors import InputError
from leadline.errors import nearest as nearest_word

METRICS: dict[str, type[Cosine] | type[Euclidean]] = {"cosine": Cosine, "euclidean": Euclidean}
THRESHOLD = 0.13  # of the median distance to the nearest: Datalab's default (cleanlab 2.9.0)
NEIGHBOURS = 10  # of each row that are looked at: likewise
SMALLEST_MEDIAN = 1e-6  # likewise: where most rows have a double, the rest is still compared with something
FLAT = 3  # columns up to which Datalab measures the Euclidean distance, and the cosine above
MANY = 8192  # rows from which the pairs are looked for by bounds first


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows that lie closer together than `limit`."""

    pairs: np.ndarray  # (P, 2) int64 rows, the smaller first, in order
    distances: np.ndarray  # (P,) float64, all below `limit`; 0 where the vectors are the same
    limit: float  # threshold times the median distance to the nearest
    median: float  # of all rows, at least SMALLEST_MEDIAN
    metric: str


def nearest(
    x: np.ndarray, k: int, *, rows: np.ndarray | None = None, metric: str = "cosine", block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of each row: indices (N, k) int64 and distances (N, k) float64, the nearest first.

    x        (N, D) numbers, all finite, k < N
    rows     (M,) only the neighbours of these rows, among all N: (M, k)
    metric   cosine: 1 - cos, [0, 2]; euclidean: [0, inf)
    block    rows and columns compared at a time: 4 block^2 bytes (euclidean 8), beside a copy of x that is ready to be
             multiplied (with `rows`: of a block) and about 70 k bytes a row

    Exact in float64, whatever x is. The row itself is left out; equal distances are in the order of the rows. A vector
    of zeros has the cosine distance 1 from every other and 0 from another of zeros.
    Raises InputError for anything else than finite numbers in two dimensions, and for k outside [1, N - 1].
    """
    x = _numbers(x)
    n = len(x)
    if not 1 <= k < n:
        raise InputError(f"neighbours: k = {k} of {n} rows; k must be between 1 and {max(n - 1, 1)}")
    if rows is not None:
        return among_rows(_space(x, metric), n, np.asarray(rows, dtype=np.int64), k, block)
    first, kind = _distinct(x)
    if len(first) == n:
        return among_all(_space(x, metric), n, k, block)
    m, few = len(first), min(k, len(first) - 1)
    near, far = np.zeros((m, 0), dtype=np.int64), np.zeros((m, 0))
    if few:
        near, far = among_all(_space(x[first], metric, first), m, few, block)
    every = np.arange(m)
    owner, vector = np.concatenate([every, np.repeat(every, few)]), np.concatenate([every, near.ravel()])
    _, found, distance = _of_rows(owner, vector, np.concatenate([np.zeros(m), far.ravel()]), kind, k)
    return found.reshape(n, k), distance.reshape(n, k)


def near_duplicates(
    x: np.ndarray,
    threshold: float = THRESHOLD,
    k: int = NEIGHBOURS,
    metric: str | None = None,
    block: int = BLOCK,
) -> NearDuplicates:
    """The pairs closer than `threshold` times the median distance of a row to its nearest.

    metric  None: cosine, and euclidean where x has 3 columns or fewer
    The rule of cleanlab's Datalab (2.9.0, issue type `near_duplicate`), pair by pair: of each row the k nearest are
    looked at, so of a crowd of more than k + 1 not every pair is named, but all of the crowd are. Datalab rounds as the
    data do; here distances are exact, so a pair within rounding of the limit can differ. Beside a crowd of more than k
    equal rows Datalab names any k of them, this the first. Arguments as `nearest`.
    """
    x = _numbers(x)
    metric = metric or ("cosine" if x.shape[1] > FLAT else "euclidean")
    if len(x) < 2:
        return NearDuplicates(np.zeros((0, 2), dtype=np.int64), np.zeros(0), 0.0, SMALLEST_MEDIAN, metric)
    found = _by_bounds(x, threshold, k) if metric == "cosine" and len(x) >= MANY else None
    if found is None:
        near, far = nearest(x, min(k, len(x) - 1), metric=metric, block=block)
        median = max(float(np.median(far[:, 0])), SMALLEST_MEDIAN)
        i, place = np.nonzero(far < threshold * median)
        found = i, near[i, place], far[i, place], median
    i, j, distance, median = found
    key, at = np.unique(np.minimum(i, j) * len(x) + np.maximum(i, j), return_index=True)
    pairs = np.column_stack([key // len(x), key % len(x)])
    return NearDuplicates(pairs, distance[at], threshold * median, median, metric)


def _by_bounds(x: np.ndarray, threshold: float, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float] | None:
    """(row, near row, distance) below the limit, the k nearest of each row at most, and the median; None: not found."""
    first, kind = _distinct(x)
    single = np.bincount(kind) == 1
    doubles = len(x) - int(single.sum())  # rows whose nearest is at 0
    middle = ((len(x) - 1) // 2 - doubles, len(x) // 2 - doubles)
    space = _space(x if len(first) == len(x) else x[first], "cosine", first)
    assert isinstance(space, Cosine)
    found = closest(space, single, middle, threshold, SMALLEST_MEDIAN)
    if found is None:
        return None
    crowd = np.flatnonzero(~single)
    owner, vector = np.concatenate([crowd, found.i, found.j]), np.concatenate([crowd, found.j, found.i])
    apart = np.concatenate([np.zeros(len(crowd)), found.distance, found.distance])
    return *_of_rows(owner, vector, apart, kind, k), max(found.median, SMALLEST_MEDIAN)


def groups(pairs: np.ndarray, n: int) -> np.ndarray:
    """(N,) int64: the group of each of n rows, numbered by their first rows; a row in no pair is a group of its own.

    pairs  (P, 2) rows that belong together, directly or through others
    """
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    label = csgraph.connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _numbers(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "fiub" or not x.shape[1]:
        raise InputError(
            f"neighbours: vectors must be an array of numbers (N, D), not {x.dtype} of shape {x.shape}; "
            "give one row per example"
        )
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32 if x.dtype == np.float16 else np.float64)


def _space(x: np.ndarray, metric: str, rows: np.ndarray | None = None) -> Cosine | Euclidean:
    """`rows`: which row each vector is, for the error."""
    if metric not in METRICS:
        raise InputError(
            f"neighbours: no metric `{metric}`; choose {' or '.join(METRICS)}.{nearest_word(metric, METRICS)}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # told in the next line
        space = METRICS[metric](x)
    sizes = space.norm if isinstance(space, Cosine) else space.half
    if not np.isfinite(sizes).all():
        bad = np.flatnonzero(~np.isfinite(sizes))
        at = bad[0] if rows is None else rows[bad[0]]
        raise InputError(
            f"neighbours: {len(bad)} of {len(x)} vectors hold NaN, infinite or far too large values (first: row "
            f"{at}); leave these rows out, or compute their vectors again"
        )
    return space


def _distinct(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) the first row of each distinct vector, in order; (N,) which of the M each row is."""
    seen: dict[bytes, int] = {}
    kind = np.empty(len(x), dtype=np.int64)
    for start in range(0, len(x), BLOCK):
        for row, vector in enumerate(np.ascontiguousarray(x[start : start + BLOCK] + 0.0), start):  # + 0: -0 is 0
            kind[row] = seen.setdefault(hashlib.blake2b(vector.data, digest_size=16).digest(), len(seen))
    first = np.unique(kind, return_index=True)[1]
    return first, kind


def _of_rows(
    owner: np.ndarray, vector: np.ndarray, apart: np.ndarray, kind: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, near row, distance) of the k nearest of each row, by row, from what is near among distinct vectors.

    owner, vector, apart  (T,) `vector` is at `apart` from `owner`; the owner itself, at 0, stands for its other rows
    kind                  (N,) which distinct vector each row is
    Of each vector only its first k + 1 rows can be among the k nearest of anything.
    """
    members, size = np.argsort(kind, kind="stable"), np.bincount(kind)
    begin = np.cumsum(size) - size  # of each vector's rows in `members`
    flat = np.minimum(size[vector], k + 1)
    near = members[np.repeat(begin[vector], flat) + _counted(flat)]
    owner, apart = np.repeat(owner, flat), np.repeat(apart, flat)
    kept = first_of_each(owner, near, apart, k + 1)
    owner, near, apart = owner[kept], near[kept], apart[kept]
    flat = size[owner]  # what is near a vector is near all rows of it, but for the row itself
    row = members[np.repeat(begin[owner], flat) + _counted(flat)]
    near, apart = np.repeat(near, flat), np.repeat(apart, flat)
    other = row != near
    row, near, apart = row[other], near[other], apart[other]
    kept = first_of_each(row, near, apart, k)
    return row[kept], near[kept], apart[kept]


def _counted(counts: np.ndarray) -> np.ndarray:
    """[2, 3] -> [0, 1, 0, 1, 2]"""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
