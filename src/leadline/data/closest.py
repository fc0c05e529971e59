"""The median distance to the nearest and the pairs far below it, without measuring all pairs of many unit vectors.

1. The vectors are turned so that their first directions hold most of their length. The first p of them, and the length
   of the rest, bound the nearness of a pair from above (Cauchy and Schwarz) at p / D of the cost.
2. In small cells of similar vectors many find one that is nearer than the median will be. Nothing more needs to be
   known of these than which of their pairs are far below the median: a small radius, at which few pairs pass the bound.
3. All others are compared with everything by the bound, and the few pairs that pass are measured.

A sample says between which distances the median lies, how many directions are worth their cost, and nothing else: the
answer is exact, or there is none and the caller measures all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leadline.data.blocks import GATHERED, Cosine, among_rows, passing

BLOCK = 1024
WINDOW = 1024  # vectors of similar kind that are compared among themselves first
TURNED = 4096  # vectors that the directions are found with
SAMPLED = 1024  # vectors whose nearest is found among all, to say where the median lies
TRIED = 256  # vectors with which the number of directions is chosen
SHARES = (1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2)  # of the directions, tried
PAIR = 60_000  # a single pair measured costs as much as this many products inside a block
CROWDED = 1 / 400  # share of the pairs of a block that pass the bound, above which all are measured at once
MOST = 40  # pairs per vector; where there are more, the k nearest of each are found instead


@dataclass(frozen=True)
class Closest:
    """Pairs i < j of vectors closer than threshold times the median, and that median."""

    i: np.ndarray
    j: np.ndarray
    distance: np.ndarray  # (P,) float64
    median: float  # of the rows, as measured: 0 where the middle rows have doubles


@dataclass(frozen=True)
class _Range:
    """Where the median lies if the sample is right: above `low`, below `high`."""

    low: float
    high: float


def closest(
    space: Cosine, single: np.ndarray, ranks: tuple[int, int], threshold: float, least: float
) -> Closest | None:
    """The pairs below threshold x max(median, least), or None where the sample misled or the pairs are too many.

    single  (M,) bool: the vector is that of one row only; others stand for several rows, which are at 0
    ranks   places, from 0, of the two middle rows in the order of the distances of single vectors; negative: at 0
    """
    rng = np.random.default_rng(0)  # speed depends on it, the answer does not
    y = _turned(space, rng)
    slack = 3 * space.slack  # of two turned vectors, and of their bound
    span = _span(y, np.flatnonzero(single), ranks, rng) if ranks[1] >= 0 else _Range(-1.0, -1.0)
    if span is None:
        return None
    done = ~single | (1 - _in_windows(y, rng) < span.low - slack) if ranks[1] >= 0 else np.ones(len(y), dtype=bool)
    order = np.concatenate([np.flatnonzero(done), np.flatnonzero(~done)])
    y, m, w = y[order], len(y), int(done.sum())
    near = threshold * max(span.high, least)
    best = np.full(m, -np.inf, dtype=np.float32)
    pairs = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    count = 0
    for i, j, value in _close(y, w, 1 - near - slack, 1 - span.high - slack, rng):
        np.maximum.at(best, i, value)
        np.maximum.at(best, j, value)
        below = value >= 1 - near - slack
        pairs.append((i[below], j[below]))
        count += int(below.sum())
        if count > MOST * m:
            return None
    median = _median(space, order[w:], best[w:], int((done & single).sum()), ranks, span, slack)
    if median is None:
        return None
    i, j = (order[np.concatenate(part)] for part in zip(*pairs, strict=True))
    distance = space.measure(i, j)
    good = distance < threshold * max(median, least)
    return Closest(np.minimum(i, j)[good], np.maximum(i, j)[good], distance[good], median)


def _turned(space: Cosine, rng: np.random.Generator) -> np.ndarray:
    """(M, D) float32: the unit vectors in the directions that hold most of their length, those first."""
    unit = space.left(slice(None))
    some = unit[rng.permutation(len(unit))[:TURNED]]
    directions = np.linalg.eigh((some.T @ some).astype(np.float64))[1][:, ::-1]
    return unit @ np.ascontiguousarray(directions, dtype=np.float32)


def _span(y: np.ndarray, single: np.ndarray, ranks: tuple[int, int], rng: np.random.Generator) -> _Range | None:
    """Between which distances the median lies, by the nearest of a sample: three standard errors on either side."""
    rows = rng.choice(single, min(SAMPLED, len(single)), replace=False)
    best, asked = np.full(len(rows), -np.inf, dtype=np.float32), y[rows]
    for start in range(0, len(y), BLOCK):
        s = asked @ y[start : start + BLOCK].T
        own = np.flatnonzero((rows >= start) & (rows < start + BLOCK))
        s[own, rows[own] - start] = -np.inf
        np.maximum(best, s.max(axis=1), out=best)
    error = 3 * np.sqrt(0.25 / len(rows))
    low, high = ranks[0] / len(single) - error, ranks[1] / len(single) + error
    if high >= 1:
        return None
    return _Range(float(np.quantile(1 - best, low)) if low > 0 else -1.0, float(np.quantile(1 - best, high)))


def _in_windows(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(M,) how near each vector comes to some other: the nearest in a window of vectors of its kind."""
    centres = y[rng.choice(len(y), max(1, 2 * len(y) // WINDOW), replace=False)]
    kinds = [(y[start : start + BLOCK] @ centres.T).argmax(axis=1) for start in range(0, len(y), BLOCK)]
    order = np.argsort(np.concatenate(kinds), kind="stable")
    best = np.full(len(y), -np.inf, dtype=np.float32)
    for start in range(0, len(y), WINDOW):
        rows = order[start : start + WINDOW]
        s = y[rows] @ y[rows].T
        np.fill_diagonal(s, -np.inf)
        best[rows] = s.max(axis=1)
    return best


def _close(
    y: np.ndarray, w: int, near: float, far: float, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(i, j, nearness) of all pairs that are at least `near`, and of those with j from w on that are at least `far`."""
    for first, last, floor in ((0, w, near), (w, len(y), far)):
        if first == last:
            continue
        z = _bounds(y[:last], _directions(y[:last], np.arange(first, last), floor, rng))
        for b in range(first, last, BLOCK):
            columns = slice(b, min(b + BLOCK, last))
            for a in range(0, columns.stop, BLOCK):
                rows = slice(a, min(a + BLOCK, columns.stop))
                yield from _of_block(y, z, rows, columns, floor)


def _of_block(
    y: np.ndarray, z: np.ndarray, rows: slice, columns: slice, floor: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The pairs i < j of a block that are at least `floor`."""
    s, bound = z[rows] @ z[columns].T, z.shape[1] < y.shape[1]
    found = list(passing(s, floor))
    crowded = bound and sum(len(i) for i, _, _ in found) > CROWDED * s.size
    if crowded:
        found = list(passing(y[rows] @ y[columns].T, floor))
    for i, j, value in found:
        upper = i + rows.start < j + columns.start
        i, j, value = i[upper] + rows.start, j[upper] + columns.start, value[upper]
        if bound and not crowded:
            value = np.concatenate(
                [
                    np.einsum("pd,pd->p", y[i[start : start + GATHERED]], y[j[start : start + GATHERED]])
                    for start in range(0, max(len(i), 1), GATHERED)
                ]
            )
            good = value >= floor
            i, j, value = i[good], j[good], value[good]
        yield i, j, value


def _directions(y: np.ndarray, rows: np.ndarray, floor: float, rng: np.random.Generator) -> int:
    """How many directions bound best for their cost: products, and pairs that pass and must be measured."""
    d = y.shape[1]
    rows = rng.choice(rows, min(TRIED, len(rows)), replace=False)
    costs = {d: float(d)}
    for p in sorted({max(8, int(d * share) // 8 * 8) for share in SHARES}):
        if p < d:
            z = _bounds(y, p)
            passed = sum(
                int(((z[rows] @ z[start : start + BLOCK].T) >= floor).sum()) for start in range(0, len(z), BLOCK)
            )
            costs[p] = p + PAIR * max(0, passed - len(rows)) / (len(rows) * len(y))
    return min(costs, key=lambda p: costs[p])


def _bounds(y: np.ndarray, p: int) -> np.ndarray:
    """(M, p + 1): the first p directions and the length of the rest; products are at least those of y."""
    if p >= y.shape[1]:
        return y
    rest = np.sqrt(np.einsum("md,md->m", y[:, p:], y[:, p:]))
    return np.column_stack([y[:, :p], rest])


def _median(
    space: Cosine,
    rows: np.ndarray,
    best: np.ndarray,
    nearer: int,
    ranks: tuple[int, int],
    span: _Range,
    slack: float,
) -> float | None:
    """The mean of the two middle distances to the nearest; None where they do not lie where the sample said.

    rows, best  the vectors of which not everything is known, and their nearness to the nearest where that is within
                the span (-inf elsewhere)
    nearer      how many single vectors have their nearest below the span
    """
    far = np.sort(1 - best.astype(np.float64))
    values = []
    for rank in ranks:
        place = rank - nearer  # among `rows`
        if rank < 0:
            values.append(0.0)
            continue
        if not 0 <= place < len(far) or not span.low + slack < far[place] < span.high - slack:
            return None
        around = np.flatnonzero(np.abs(1 - best - far[place]) <= 2 * slack)
        before = int((1 - best < far[place] - 2 * slack).sum())
        exact = np.sort(among_rows(space, len(space.norm), rows[around], 1, BLOCK)[1][:, 0])
        values.append(float(exact[place - before]))
    return sum(values) / 2
