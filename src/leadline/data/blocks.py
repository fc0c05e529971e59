"""Which vectors can be among the nearest of which: products of blocks, and from each the few pairs worth measuring.

A block of all pairs is one matrix product, quick but rounded. Nothing is sorted in it: the largest of every G-th column
bound from below what the k-th best of a row can be, and only what reaches that bound, less the rounding, is kept. What
is kept is measured again in float64, so the answer is exact. Memory: one block, and a few candidates per row and k.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

BLOCK = 2048  # rows and columns of a product
GROUPS = 64  # the largest of every so many columns; at least 4 k
GATHERED = 16_384  # pairs, or groups of columns, gathered at a time
CROWDED = 0.5  # share of the groups of a block that reach the bound, above which its rows are sorted instead


class Space(Protocol):
    """N vectors, made ready so that the product of two is their nearness: larger is nearer."""

    @property
    def slack(self) -> float:
        """Two products differ from the truth by at most this together."""

    @property
    def dtype(self) -> Any:
        """Of the products."""

    def left(self, rows: slice | np.ndarray) -> np.ndarray:
        """(B, D') of these rows, first factor."""

    def right(self, rows: slice | np.ndarray) -> np.ndarray:
        """(B, D') of these rows, second factor."""

    def precise(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(B, C) nearness in float64, in units of its rounding: what is equal here is taken as equal in a crowd."""

    def measure(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """(P,) float64 distances of pairs of rows."""


class Cosine:
    """1 - cos in [0, 2]. A vector of zeros is at 1 from every other, and at 0 from another one of zeros.

    Unit vectors, so float32 is enough for the products: the error of a sum of D terms is at most D eps / 2.
    """

    dtype: Any = np.float32

    def __init__(self, x: np.ndarray):
        self.x, self.norm = x, _norms(x)  # (N, D), (N,)
        self.empty = self.norm == 0
        self.some_empty = bool(self.empty.any())
        self.slack = float((x.shape[1] + 4) * np.finfo(np.float32).eps)

    def left(self, rows: slice | np.ndarray) -> np.ndarray:
        x, norm, empty = self.x[rows], self.norm[rows], self.empty[rows]
        unit = np.zeros((len(x), x.shape[1] + self.some_empty), dtype=np.float32)
        np.divide(x, np.where(empty, 1.0, norm)[:, None], out=unit[:, : x.shape[1]], casting="same_kind")
        if self.some_empty:
            unit[:, -1] = empty  # a direction of its own
        return unit

    right = left

    def precise(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        s = self._unit(rows) @ self._unit(columns).T
        s += self.empty[rows, None] & self.empty[columns]
        return np.rint(s / ((self.x.shape[1] + 4) * np.finfo(np.float64).eps))

    def _unit(self, rows: np.ndarray) -> np.ndarray:
        return self.x[rows] / np.where(self.empty, 1.0, self.norm)[rows, None]

    def measure(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        found = np.empty(len(i))
        for start in range(0, len(i), GATHERED):
            part = slice(start, start + GATHERED)
            product = np.einsum("pd,pd->p", self.x[i[part]], self.x[j[part]], dtype=np.float64)
            norms = self.norm[i[part]] * self.norm[j[part]]
            found[part] = np.clip(1 - product / np.where(norms > 0, norms, 1.0), 0, 2)
        tiny = np.flatnonzero((found < 1e-6) | (self.empty[i] & self.empty[j]))
        for start in range(0, len(tiny), GATHERED):  # |u - v|^2 / 2 is the same, and 0 where the vectors are the same
            some = tiny[start : start + GATHERED]
            apart = self._unit(i[some]) - self._unit(j[some])
            found[some] = np.einsum("pd,pd->p", apart, apart) / 2
        return found


class Euclidean:
    """The length of the difference, [0, inf). Products are -d^2 / 2 in float64: rounding grows with the norms."""

    dtype: Any = np.float64

    def __init__(self, x: np.ndarray):
        self.x, self.half = x, _norms(x) ** 2 / 2
        self.slack = float(4 * (x.shape[1] + 4) * np.finfo(np.float64).eps * self.half.max(initial=0.0))

    def left(self, rows: slice | np.ndarray) -> np.ndarray:
        half = self.half[rows, None]
        return np.hstack([self.x[rows], -half, np.ones_like(half)])

    def right(self, rows: slice | np.ndarray) -> np.ndarray:
        half = self.half[rows, None]
        return np.hstack([self.x[rows], np.ones_like(half), -half])

    def precise(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.rint(self.left(rows) @ self.right(columns).T / (self.slack or 1.0))

    def measure(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        found = np.empty(len(i))
        for start in range(0, len(i), GATHERED):
            part = slice(start, start + GATHERED)
            apart = self.x[i[part]].astype(np.float64) - self.x[j[part]]
            found[part] = np.sqrt(np.einsum("pd,pd->p", apart, apart))
        return found


def _norms(x: np.ndarray) -> np.ndarray:
    """(N,) float64 lengths, without a copy of x in float64."""
    squares = [
        np.einsum("nd,nd->n", part, part)
        for start in range(0, len(x), BLOCK)
        for part in [x[start : start + BLOCK].astype(np.float64)]
    ]
    return np.sqrt(np.concatenate([*squares, np.zeros(0)]))


class Candidates:
    """For each of M rows the columns that can still be among its k nearest, while blocks of products come in."""

    def __init__(self, rows: np.ndarray, k: int, space: Space, of: int):
        self.rows, self.k, self.space, self.n = rows, k, space, of  # (M,) which of the N vectors the rows are
        self.best: np.ndarray = np.full((len(rows), k), -np.inf, dtype=space.dtype)  # largest of groups, smallest first
        self.groups = max(GROUPS, 4 * k)
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []  # (row, column)
        self.values: list[np.ndarray] = []  # their products
        self.count, self.most = 0, 6 * k * len(rows) + 2**20

    def see(self, s: np.ndarray, first_row: int, first_column: int) -> None:
        """A block of products s (B, C); -inf where a row meets itself."""
        here = slice(first_row, first_row + len(s))
        top = largest_of_groups(s, self.groups)  # (B, G)
        joined = np.concatenate([self.best[here], top], axis=1)
        self.best[here] = np.partition(joined, -self.k, axis=1)[:, -self.k :]
        floor = self.best[here, 0] - self.space.slack
        if s.shape[1] > 4 * self.k and (top >= floor[:, None]).mean() > CROWDED:
            self._see_crowd(s, first_row, first_column)
            return
        for row, column, value in passing(s, floor, self.groups, top):
            self._keep(row + first_row, column + first_column, value)

    def _see_crowd(self, s: np.ndarray, first_row: int, first_column: int) -> None:
        """Most columns are as near as the k-th to within the rounding (at 1, in sparse data): each row is sorted."""
        columns = np.arange(first_column, first_column + s.shape[1])
        precise = self.space.precise(self.rows[first_row : first_row + len(s)], columns)
        precise[np.isneginf(s)] = -np.inf
        column = np.argsort(-precise, axis=1, kind="stable")[:, : self.k]  # (B, k)
        row = np.repeat(np.arange(len(s)), column.shape[1])
        self._keep(row + first_row, column.ravel() + first_column, s[row, column.ravel()])

    def _keep(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
        self.kept.append((row.astype(np.int32), column.astype(np.int32)))
        self.values.append(value)
        self.count += len(row)
        if self.count > self.most:
            self._thin()

    def _thin(self) -> None:
        """Forgets what the bounds of today rule out; where that is too little, all but the k nearest of each row."""
        row, column, value = self._above()
        if len(row) > self.most // 2:
            row, column, _, order = self._ranked(row, column)
            value = value[order]
        self.kept, self.values, self.count = [(row, column)], [value], len(row)

    def _above(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        row, column = (np.concatenate(parts) for parts in zip(*self.kept, strict=True))
        value = np.concatenate(self.values)
        good = value >= self.best[row, 0] - self.space.slack
        return row[good], column[good], value[good]

    def _ranked(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row, column, distance of the k nearest of each row, in that order (ties by column), and where they stood."""
        i, j = self.rows[row], column.astype(np.int64)
        pair, at = np.unique(np.minimum(i, j) * self.n + np.maximum(i, j), return_inverse=True)
        distance = self.space.measure(pair // self.n, pair % self.n)[at]
        order = first_of_each(row, column, distance, self.k)
        return row[order], column[order], distance[order], order

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """(M, k) columns int64 and (M, k) distances float64, the nearest first."""
        row, column, _ = self._above()
        _, column, distance, _ = self._ranked(row, column)
        return column.astype(np.int64).reshape(-1, self.k), distance.reshape(-1, self.k)


def passing(
    s: np.ndarray, floor: np.ndarray | float, groups: int = GROUPS, top: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, columns and products of a block s (B, C) that are at least `floor` (B,), a part at a time; -inf is none.

    top  (B, G) the largest of every G-th column, where it is known already
    """
    top = largest_of_groups(s, groups) if top is None else top
    floor = np.broadcast_to(floor, len(s))
    r, g = np.nonzero(top >= floor[:, None])
    steps = np.arange(0, s.shape[1], groups)
    for start in range(0, len(r), GATHERED):
        row, group = r[start : start + GATHERED], g[start : start + GATHERED]
        column = group[:, None] + steps  # the columns of the group
        value = s[row[:, None], np.minimum(column, s.shape[1] - 1)]
        p, q = np.nonzero((column < s.shape[1]) & (value >= floor[row, None]) & (value > -np.inf))
        yield row[p], column[p, q], value[p, q]


def first_of_each(row: np.ndarray, column: np.ndarray, distance: np.ndarray, k: int) -> np.ndarray:
    """Where the k nearest columns of each row stand, by row, then distance, then column."""
    order = np.lexsort((column, distance, row))
    ordered = row[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < k]


def largest_of_groups(s: np.ndarray, groups: int) -> np.ndarray:
    """(B, G): the largest of every G-th column, in the memory order of s, so that whole cache lines are compared."""
    top = s[:, :groups].copy(order="K")
    for start in range(groups, s.shape[1], groups):
        piece = s[:, start : start + groups]
        into = top[:, : piece.shape[1]]
        np.maximum(into, piece, out=into)
    return top


def among_all(space: Space, n: int, k: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each of the n vectors. A block above the diagonal serves its rows and its columns."""
    found = Candidates(np.arange(n), k, space, n)
    left, right = space.left(slice(None)), space.right(slice(None))
    room: np.ndarray = np.empty(min(block, n) ** 2, dtype=space.dtype)
    for a in range(0, n, block):
        for b in range(a, n, block):
            first, second = left[a : a + block], right[b : b + block]
            s = room[: len(first) * len(second)].reshape(len(first), len(second))
            np.matmul(first, second.T, out=s)
            if a == b:
                np.fill_diagonal(s, -np.inf)
            found.see(s, a, b)
            if a != b:
                found.see(s.T, b, a)
    return found.nearest()


def among_rows(space: Space, n: int, rows: np.ndarray, k: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest, among the n vectors, of some of them."""
    near, far = np.empty((len(rows), k), dtype=np.int64), np.empty((len(rows), k))
    for a in range(0, len(rows), block):
        asked = rows[a : a + block]
        found, left = Candidates(asked, k, space, n), space.left(asked)
        for b in range(0, n, block):
            columns = slice(b, min(b + block, n))
            s = left @ space.right(columns).T
            own = np.flatnonzero((asked >= columns.start) & (asked < columns.stop))
            s[own, asked[own] - b] = -np.inf
            found.see(s, 0, b)
        near[a : a + block], far[a : a + block] = found.nearest()
    return near, far
