"""Which rows are drawn, and which of them are held out: arrays in, sorted row numbers out.

Every draw is `default_rng([seed, stream])` with a stream of its own: one step does not move the randomness of another.
"""

from __future__ import annotations

import numpy as np

from leadline.errors import InputError

STREAMS = {"sample": 1, "split": 2, "corrupt-train": 4, "corrupt-validation": 5}  # 3 is the composition's
BINS = 10  # quantile bins in which a regression's split is stratified


def generator(seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng([seed, STREAMS[stream]])


def sample(
    strata: np.ndarray, rng: np.random.Generator, n: int | None = None, per_class: int | None = None
) -> np.ndarray:
    """Rows drawn without replacement, sorted: `n` of all, or `per_class` of each value of `strata` (N,).

    Where there are fewer, all of them.
    """
    if per_class is None:
        assert n is not None
        return np.sort(rng.choice(len(strata), size=min(n, len(strata)), replace=False))
    drawn = []
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        drawn.append(rng.choice(rows, size=min(per_class, len(rows)), replace=False))
    return np.sort(np.concatenate(drawn))


def quantile_bins(values: np.ndarray, fraction: float) -> np.ndarray:
    """The stratum (N,) of each number of a regression: its decile, or fewer bins where a bin would hold out no row."""
    bins = int(np.clip(round(fraction * len(values)), 1, BINS))
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return rank * bins // max(len(values), 1)


def hold_out(strata: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """The rows of a stratified validation split, sorted.

    Each stratum (N,) gives its share of round(fraction N) rows by largest remainder, but at least one row and never
    its last: a class of two rows or more is on both sides, a class of one row stays in training.
    """
    kinds, index, counts = np.unique(strata, return_inverse=True, return_counts=True)
    quota = _quota(counts, fraction)
    held = []
    for k in range(len(kinds)):
        held.append(rng.permutation(np.flatnonzero(index == k))[: quota[k]])
    rows = np.sort(np.concatenate(held)) if held else np.zeros(0, dtype=np.int64)
    if not len(rows):
        raise InputError(
            f"data.validation: {fraction}: no class has two of the {len(strata)} rows, so none can be held out; "
            "give a validation file, or null"
        )
    return rows


def _quota(counts: np.ndarray, fraction: float) -> np.ndarray:
    """Rows to hold out of each stratum (K,)."""
    exact = counts * fraction
    quota = np.floor(exact).astype(np.int64)
    missing = round(fraction * int(counts.sum())) - int(quota.sum())
    order = np.argsort(quota - exact, kind="stable")  # the largest remainder first
    quota[order[: max(missing, 0)]] += 1
    return np.clip(quota, np.minimum(1, counts - 1), counts - 1)


def hold_out_groups(groups: np.ndarray, strata: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """The rows of a validation split in which no group (N,) lies on two sides, sorted.

    Greedy: groups in random order; a group is held out when that brings the numbers of held-out rows per stratum nearer
    to their shares (squared distance over the size of the stratum, as in chi-squared). A stratum never loses its last
    training row; a second pass, small groups first, looks for one that holds out a stratum still missing.
    (scikit-learn's StratifiedGroupKFold does this for fractions 1/k only.)
    """
    index = np.unique(strata, return_inverse=True)[1]
    members = np.unique(groups, return_inverse=True)[1]
    total = np.bincount(index)  # (K,)
    held, chosen = np.zeros_like(total), np.zeros(members.max() + 1, dtype=bool)
    contents = _contents(members, index)
    order = rng.permutation(len(contents))
    for g in order:
        kinds, counts = contents[g]
        nearer = (counts * (counts + 2 * (held[kinds] - fraction * total[kinds])) / total[kinds]).sum() < 0
        if nearer and (held[kinds] + counts < total[kinds]).all():
            held[kinds] += counts
            chosen[g] = True
    for g in sorted(order, key=lambda g: contents[g][1].sum()):
        kinds, counts = contents[g]
        if not chosen[g] and (held[kinds] == 0).any() and (held[kinds] + counts < total[kinds]).all():
            held[kinds] += counts
            chosen[g] = True
    if not chosen.any():
        raise InputError(
            f"data.validation: {fraction}: with whole groups (data.group, {len(contents)} of them) no row can be held "
            "out without emptying a class in training; give a validation file, or null"
        )
    return np.flatnonzero(chosen[members])


def _contents(members: np.ndarray, index: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per group the strata that it holds and how many rows of each."""
    k = int(index.max()) + 1
    pairs, counts = np.unique(members * k + index, return_counts=True)
    starts = np.searchsorted(pairs // k, np.arange(members.max() + 2))
    return [(pairs[a:b] % k, counts[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]
