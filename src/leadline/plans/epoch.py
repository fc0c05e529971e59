"""What one epoch trains on, and how it is cut into optimiser steps and micro-batches.

An `Epoch` is arrays of length M: entry j trains example `rows[j]`, mixed with `partners[j]` where there is one.
Selection, curriculum, mixup, weighting and relabelling are functions that return Epochs; the loop trains what the
Epoch says and knows none of them.

Whole optimiser steps are formed first and split into micro-batches afterwards: which examples share a step, and with
which weights, depends on neither the micro-batch nor the number of processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from leadline.errors import InputError

POOL = 50  # batches sorted by length together: long enough for equal lengths, short enough to stay a shuffle
ORDER_STREAM = 0  # default_rng([seed, epoch, stream])


@dataclass(frozen=True)
class Epoch:
    """M entries. `rows` may repeat and may leave examples out; what is None takes its default.

    rows      (M,) int, index of the example
    partners  (M,) int, the example mixed in (None: nothing is mixed)
    lam       (M,) in [0, 1], the share of `rows` in the input (None: 1)
    targets   (M, K) or (M,), overrides the labels (None: lam Y[rows] + (1 - lam) Y[partners])
    weights   (M,) >= 0, overrides the examples' weights (None: lam v[rows] + (1 - lam) v[partners])
    stage     (M,) int, entries of a lower stage are trained on first (None: all in one)
    one_lam   all entries of an optimiser step take the lambda of its first one
    """

    rows: np.ndarray
    partners: np.ndarray | None = None
    lam: np.ndarray | None = None
    targets: np.ndarray | None = None
    weights: np.ndarray | None = None
    stage: np.ndarray | None = None
    one_lam: bool = False

    def __post_init__(self) -> None:
        for name in ("partners", "lam", "targets", "weights", "stage"):
            array = getattr(self, name)
            if array is not None and len(array) != len(self.rows):
                raise InputError(f"Epoch: {name} has {len(array)} entries, rows has {len(self.rows)}")
        if (self.partners is None) != (self.lam is None):
            raise InputError("Epoch: partners and lam go together")
        if self.lam is not None and not ((self.lam >= 0) & (self.lam <= 1)).all():
            raise InputError("Epoch: lam must lie in [0, 1]")
        if self.weights is not None and not (np.isfinite(self.weights) & (self.weights >= 0)).all():
            raise InputError("Epoch: weights must be finite and not negative")

    def __len__(self) -> int:
        return len(self.rows)

    def with_lam(self, lam: np.ndarray) -> Epoch:
        return replace(self, lam=lam)

    def entry_targets(self, targets: np.ndarray, n_classes: int) -> np.ndarray:
        """(M,) or (M, K): what each entry is trained towards, from the labels (N,) or (N, K) of the examples."""
        if self.targets is not None:
            return self.targets
        if self.partners is None or self.lam is None:
            return targets[self.rows]
        y = np.eye(n_classes)[targets] if targets.ndim == 1 and n_classes else targets  # (N, K), or numbers (N,)
        lam = self.lam if y.ndim == 1 else self.lam[:, None]
        return lam * y[self.rows] + (1 - lam) * y[self.partners]

    def entry_weights(self, weights: np.ndarray) -> np.ndarray:
        """(M,) float64: the weight v of each entry, from the weights (N,) of the examples."""
        if self.weights is not None:
            return np.asarray(self.weights, dtype=np.float64)
        if self.partners is None or self.lam is None:
            return weights[self.rows]
        return self.lam * weights[self.rows] + (1 - self.lam) * weights[self.partners]


@dataclass(frozen=True)
class Entries:
    """An Epoch with the targets (M,) or (M, K) and weights (M,) of its entries worked out."""

    epoch: Epoch
    targets: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, epoch: Epoch, targets: np.ndarray, n_classes: int, weights: np.ndarray) -> Entries:
        """From the labels (N,) or (N, K) and the weights (N,) of the examples."""
        return cls(epoch, epoch.entry_targets(targets, n_classes), epoch.entry_weights(weights))


Plan = Callable[[int], Epoch]  # number of the epoch, from 0 -> what it trains on


def everything(n: int) -> Plan:
    """Every example once an epoch."""
    return every(np.arange(n))


def every(rows: np.ndarray) -> Plan:
    """Each of these rows once an epoch."""
    epoch = Epoch(rows)
    return lambda number: epoch


Step = list[np.ndarray]  # micro-batches, each the indices of its entries in the Epoch


def steps(
    epoch: Epoch, lengths: np.ndarray, batch_size: int, micro_batch: int | None, rng: np.random.Generator
) -> list[Step]:
    """The optimiser steps of one epoch: entries of similar length together, in random order.

    lengths (N,) tokens of each example. Units (single entries, or the two entries of a matched pair) are shuffled,
    sorted by length within pools of at most POOL steps, cut into steps of at most `batch_size` entries, the steps
    shuffled. Steps are full while there are units that fill them: those of pairs alone lack one of an odd `batch_size`.
    """
    first, second = units(epoch)  # (U,), (U,): second is -1 for a single entry
    reach = lengths[epoch.rows] if epoch.partners is None else np.maximum(lengths[epoch.rows], lengths[epoch.partners])
    reach = np.where(second >= 0, np.maximum(reach[first], reach[second]), reach[first])  # (U,)
    sizes = np.where(second >= 0, 2, 1)
    shuffled = rng.permutation(len(first))
    formed: list[Step] = []
    for stage in _stages(epoch, first, shuffled):
        pool_steps = max(1, min(POOL, int(sizes[stage].sum()) // (4 * batch_size)))  # four: in one the same always meet
        full = batch_size - batch_size % int(sizes[stage].min(initial=2))  # the entries of a full step
        for pool in cut(stage, sizes[stage], pool_steps * full):
            pool = pool[np.argsort(reach[pool], kind="stable")]
            batches = cut(pool, sizes[pool], batch_size)
            for batch in (batches[i] for i in rng.permutation(len(batches))):
                micro = cut(batch, sizes[batch], micro_batch or batch_size)
                formed.append([_entries(first[m], second[m]) for m in micro])
    return formed


def _stages(epoch: Epoch, first: np.ndarray, shuffled: np.ndarray) -> list[np.ndarray]:
    """The shuffled units of each stage in turn; a pair belongs to the stage of its first entry."""
    if epoch.stage is None:
        return [shuffled]
    stage = epoch.stage[first[shuffled]]
    order = np.argsort(stage, kind="stable")
    return np.split(shuffled[order], np.flatnonzero(np.diff(stage[order])) + 1)


def units(epoch: Epoch) -> tuple[np.ndarray, np.ndarray]:
    """Entries that must share a step: (first, second) entry indices, second = -1 for an entry alone.

    Two entries are a unit when each is the other's partner, so that both examples are encoded once.
    """
    m = len(epoch)
    if epoch.partners is None:
        return np.arange(m), np.full(m, -1)
    low, high = np.minimum(epoch.rows, epoch.partners), np.maximum(epoch.rows, epoch.partners)
    order = np.lexsort((np.arange(m), epoch.rows, high, low))
    same = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    waiting: dict[tuple[int, int], list[int]] = {}
    second = np.full(m, -1)
    taken = np.zeros(m, dtype=bool)
    repeated = np.zeros(m, dtype=bool)
    repeated[order[1:][same]] = repeated[order[:-1][same]] = True
    for j in np.flatnonzero(repeated & (low != high)):  # only entries whose pair occurs more than once
        row, partner = int(epoch.rows[j]), int(epoch.partners[j])
        mirrored = waiting.get((partner, row))
        if mirrored:
            second[mirrored.pop(0)] = j
            taken[j] = True
        else:
            waiting.setdefault((row, partner), []).append(int(j))
    first = np.flatnonzero(~taken)
    return first, second[first]


def cut(items: np.ndarray, sizes: np.ndarray, limit: int) -> list[np.ndarray]:
    """Pieces of `items`, in turn, whose sizes (1 or 2) add up to at most `limit` (one item at least).

    Where one entry is left before a pair, the next single item fills it, so that pieces are full while there are any.
    """
    if len(items) and (sizes == sizes[0]).all():
        each = max(1, limit // int(sizes[0]))
        return [items[i : i + each] for i in range(0, len(items), each)]
    waiting = {size: deque(np.flatnonzero(sizes == size).tolist()) for size in (1, 2)}
    pieces = []
    while any(waiting.values()):
        piece: list[int] = []
        room = limit
        while fitting := [size for size in (1, 2) if waiting[size] and (size <= room or not piece)]:
            size = min(fitting, key=lambda size: waiting[size][0])
            piece.append(waiting[size].popleft())
            room -= size
        pieces.append(items[piece])
    return pieces


def _entries(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Units back to entries, the members of a pair side by side."""
    both = np.stack([first, second], axis=1).reshape(-1)
    return both[both >= 0]
