"""Which examples are mixed with which. Rows, labels, regions and scores in; pairs and Epochs out.

A round pairs every kept row once as anchor. It is a matching where the partner of the partner is the row itself (one
self-pair in an odd group): then both members of a pair share a step and each example is encoded once.

Zhang et al., ICLR 2018 (mixup); Kulkarni, Kapoor and Kabra (training dynamics and entropy-aware mixup), whose random
pairing is an independent shuffle (`permuted` here) and whose entropy pairing is a matching already; Park and Caragea,
NAACL 2022 (easy with ambiguous).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from leadline.plans.epoch import Epoch, Plan, Step

STREAM = 4  # default_rng([seed, epoch, stream])
GROUPINGS = ("region", "cross-region", "label")
ORDERS = ("random", "similar", "dissimilar")  # or the name of a score
BLOCK = 2048  # rows whose similarities are looked at together


@dataclass(frozen=True)
class Pairs:
    """A round: entry j mixes `anchors[j]` with `partners[j]`; entries of one `unit` belong together.

    All three (M,) int; the entries of a unit lie side by side, and units are numbered from 0 in their order.
    """

    anchors: np.ndarray
    partners: np.ndarray
    unit: np.ndarray

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def alone(self) -> int:
        """Entries that are their own partner: not mixed."""
        return int((self.anchors == self.partners).sum())

    def some(self, count: int, rng: np.random.Generator) -> Pairs:
        """Whole units, drawn at random until one more would make more than `count` entries."""
        sizes = np.bincount(self.unit)
        drawn = rng.permutation(len(sizes))
        kept = np.zeros(len(sizes), dtype=bool)
        kept[drawn[np.cumsum(sizes[drawn]) <= count]] = True
        inside = kept[self.unit]
        unit = np.unique(self.unit[inside], return_inverse=True)[1]
        return Pairs(self.anchors[inside], self.partners[inside], unit)


Round = Callable[[np.random.Generator], Pairs]


# --- groups -----------------------------------------------------------------------------------------------------------


def groups(rows: np.ndarray, *keys: np.ndarray) -> list[np.ndarray]:
    """The rows (M,) that agree in every key (N,), group by group; without keys all of them."""
    if not keys or not len(rows):
        return [rows]
    kinds = np.unique(np.stack([key[rows] for key in keys], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return [rows[kinds == kind] for kind in range(kinds.max() + 1)]


# --- one group --------------------------------------------------------------------------------------------------------


def shuffled(rows: np.ndarray, rng: np.random.Generator) -> Pairs:
    """A matching at random: shuffled, 2k with 2k + 1; the last of an odd group with itself."""
    order = rng.permutation(rows)
    half = len(order) // 2
    return matched(order[: 2 * half : 2], order[1 : 2 * half : 2], order[2 * half :])


def ranked(rows: np.ndarray, score: np.ndarray) -> Pairs:
    """The highest with the lowest score (N,), and so inwards; the middle of an odd group with itself.

    Ties are in the order of the rows, NaN ranks above everything.
    """
    order = rows[np.argsort(score[rows], kind="stable")]
    half = len(order) // 2
    return matched(order[:half], order[::-1][:half], order[half : len(order) - half])


def permuted(rows: np.ndarray, rng: np.random.Generator) -> Pairs:
    """The reference's pairing: the rows against a shuffle of themselves. No matching; self-pairs come by chance."""
    return single(rows, rng.permutation(rows))


def crossed(
    easy: np.ndarray, ambiguous: np.ndarray, rng: np.random.Generator, score: np.ndarray | None = None
) -> Pairs:
    """Easy with ambiguous rows: at random, or the highest score of one with the lowest of the other.

    As many pairs as the smaller side has rows are matched; what is left over of the larger side meets the smaller one
    again, in turn, as anchor only. Where a side is empty, the other's rows stay unmixed.
    """
    if not len(easy) or not len(ambiguous):
        rest = np.concatenate([easy, ambiguous])
        return single(rest, rest)
    if score is None:
        easy, ambiguous = rng.permutation(easy), rng.permutation(ambiguous)
    else:
        easy = easy[np.argsort(score[easy], kind="stable")]
        ambiguous = ambiguous[np.argsort(score[ambiguous], kind="stable")][::-1]
    small, large = (easy, ambiguous) if len(easy) <= len(ambiguous) else (ambiguous, easy)
    n = len(small)
    none = small[:0]
    return joined([matched(small, large[:n], none), single(large[n:], small[np.arange(len(large) - n) % n])])


def closest(rows: np.ndarray, vectors: np.ndarray, far: bool = False) -> Pairs:
    """Each row with the most similar other row of its group, by the cosine of their vectors (N, D); `far`: the least.

    No matching: one row can be the nearest of many. Ties go to the earlier row; a row alone stays unmixed.
    """
    if len(rows) < 2:
        return single(rows, rows)
    x = np.asarray(vectors[rows], dtype=np.float32)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    found = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), BLOCK):
        own = np.arange(start, min(start + BLOCK, len(rows)))
        likeness = x[own] @ x.T * (-1 if far else 1)
        likeness[np.arange(len(own)), own] = -np.inf
        found[own] = likeness.argmax(1)
    return single(rows, rows[found])


def matched(first: np.ndarray, second: np.ndarray, alone: np.ndarray) -> Pairs:
    """Pairs in both directions, then rows with themselves."""
    p = len(first)
    both, turned = np.stack([first, second], 1).reshape(-1), np.stack([second, first], 1).reshape(-1)
    unit = np.concatenate([np.repeat(np.arange(p), 2), p + np.arange(len(alone))])
    return Pairs(np.concatenate([both, alone]), np.concatenate([turned, alone]), unit)


def single(anchors: np.ndarray, partners: np.ndarray) -> Pairs:
    """Every entry a unit of its own."""
    return Pairs(anchors, partners, np.arange(len(anchors)))


def joined(parts: Sequence[Pairs]) -> Pairs:
    """The pairs of several groups, one after another."""
    counts = [int(part.unit.max(initial=-1)) + 1 for part in parts]
    shift = np.cumsum([0, *counts[:-1]])
    unit = np.concatenate([part.unit + by for part, by in zip(parts, shift, strict=True)])
    return Pairs(np.concatenate([p.anchors for p in parts]), np.concatenate([p.partners for p in parts]), unit)


# --- epochs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lambda:
    """The share of the anchor: fixed, or drawn from Beta(alpha, alpha) for every entry.

    fold    max(lam, 1 - lam): the anchor has the larger share
    shared  one for all entries of an optimiser step (`per_step`), as in the original mixup
    """

    alpha: float = 1.0
    fixed: float | None = None
    fold: bool = False
    shared: bool = False

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        lam = rng.beta(self.alpha, self.alpha, n) if self.fixed is None else np.full(n, self.fixed)
        return np.maximum(lam, 1 - lam) if self.fold else lam


def mixing(paired: Round, lam: Lambda, size: int, plain: Plan, plain_epochs: int, seed: int) -> Plan:
    """A plan: `plain` for `plain_epochs` epochs, then `size` mixed entries an epoch.

    Rounds are joined until the size is reached; the last one is cut at whole pairs, so an epoch may lack one entry.
    """

    @lru_cache(maxsize=2)
    def plan(number: int) -> Epoch:
        if number < plain_epochs:
            return plain(number)
        rng = np.random.default_rng([seed, number, STREAM])
        parts, left = [], size
        while left > 0:
            one = paired(rng)
            parts.append(one if len(one) <= left else one.some(left, rng))
            left -= len(one)
        pairs = joined(parts)
        return Epoch(pairs.anchors, pairs.partners, lam.draw(len(pairs), rng), one_lam=lam.shared)

    return plan


def per_step(epoch: Epoch, formed: Sequence[Step]) -> Epoch:
    """The epoch with one lambda in each step, that of the step's first entry, where the epoch asks for it."""
    if not epoch.one_lam or epoch.lam is None:
        return epoch
    lam = epoch.lam.copy()
    for step in formed:
        entries = np.concatenate(step)
        lam[entries] = epoch.lam[entries[0]]
    return epoch.with_lam(lam)
