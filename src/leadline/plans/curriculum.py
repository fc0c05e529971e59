"""A curriculum: a growing share of the examples, in the order of a difficulty that an earlier run has measured.

Competence c(t) is the share available at step t of T (Platanios et al., NAACL 2019, arXiv 1903.09848); what is
available is sampled from uniformly. The number of steps is that of plain training, whatever the pacing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from leadline.plans.epoch import Epoch, Plan

STAGES = 20  # an epoch: the share grows so often at most, so that examples of similar length can share a step
STREAM = 1  # default_rng([seed, epoch, stream])
ORDER_STREAM = 2  # of the random order
NEARLY = 1e-9  # t / T is a quotient of steps: 0.3 x 10 of them must not miss the third
Pacing = Callable[[float], float]  # t / T in [0, 1] -> share in (0, 1]


def easiest_first(difficulty: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """(N,) rows from easy to hard; inf (never learned) last, NaN (unknown) after them, ties in the order of the rows.

    difficulty  (N,), higher is harder
    groups      (N,) class of each row: each prefix then has the shares of the classes of the whole, as near as it can
    """
    order = np.argsort(difficulty, kind="stable")  # numpy: NaN after inf
    if groups is None:
        return order
    place = np.empty(len(order))  # where in its class a row stands, in (0, 1)
    for group in np.unique(groups):
        own = order[groups[order] == group]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return order[np.argsort(place[order], kind="stable")]


def pacing(
    kind: str, start: float, root: float = 2.0, factor: float = 1.9, buckets: int = 3, n: int | None = None
) -> Pacing:
    """The share available at t / T: `start` at 0 (baby-steps: one bucket), 1 from 1 on; it never falls.

    linear, root  (t (1 - c0^p) / T + c0^p)^(1/p), p = 1 or `root`
    step          c0 times `factor` at equal distances (Hacohen and Weinshall, ICML 2019, arXiv 1904.03626)
    baby-steps    one more of `buckets` at equal distances (Spitkovsky et al. 2010; Cirik et al. 2016); of n rows the
                  first buckets hold the odd ones
    """
    if kind in ("linear", "root"):
        p = 1.0 if kind == "linear" else root
        return lambda t: 1.0 if t >= 1 - NEARLY else (t * (1 - start**p) + start**p) ** (1 / p)
    if kind == "step":
        times = max(1, math.ceil(math.log(1 / start, factor) - NEARLY))
        return lambda t: 1.0 if t >= 1 - NEARLY else min(1.0, start * factor ** math.floor(t * times + NEARLY))
    if kind == "baby-steps":
        ends = np.cumsum(bucket_sizes(n, buckets)) / n if n else np.arange(1, buckets + 1) / buckets
        return lambda t: 1.0 if t >= 1 - NEARLY else float(ends[math.floor(t * buckets + NEARLY)])
    raise ValueError(f"unknown pacing: {kind}")


def bucket_sizes(n: int, k: int) -> list[int]:
    """n rows in k buckets of nearly equal size, the larger ones first."""
    return [n // k + (i < n % k) for i in range(k)]


def curriculum(
    order: np.ndarray, share: Pacing, full_at: float, epochs: int, entries: int, batch_size: int, seed: int
) -> Plan:
    """A plan of `entries` an epoch; those of a stage are drawn from the share of the order that is available then.

    order    (M,) rows, first come first
    full_at  the part of all steps after which everything is available
    """
    per_epoch = -(-entries // batch_size)
    first_step = np.unique(np.linspace(0, per_epoch, min(STAGES, per_epoch) + 1).round().astype(int))  # of each stage
    ends = np.minimum(first_step * batch_size, entries)
    total = full_at * epochs * per_epoch  # T

    @lru_cache(maxsize=2)
    def plan(number: int) -> Epoch:
        rng = np.random.default_rng([seed, number, STREAM])
        rows = []
        for step, size in zip(first_step[:-1], np.diff(ends), strict=True):
            available = order[: max(1, math.ceil(share((number * per_epoch + step) / total) * len(order) - NEARLY))]
            rows.append(drawn(available, int(size), rng))
        return Epoch(np.concatenate(rows), stage=np.repeat(np.arange(len(rows)), np.diff(ends)))

    return plan


def drawn(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) of the rows, each as often as any other, give or take once."""
    rounds = -(-count // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]
