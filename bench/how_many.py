"""How many wrong labels: do the intervals of leadline.suspects cover, how wide are they, and what else was tried.

    python bench/how_many.py [--datasets 1000] [--toy] [--out bench/results/how_many.json]

Simulated data sets, no training: each row has a doubt, normal with variance 1; those of errors lie `shift` higher.
(b) `reviewed`: the draw by rank, reviewed by somebody who is right; coverage of the 90 % interval of
`suspects.estimate.errors` and of other intervals on the same draws. (a) `planted`: the bound of `suspects.planted`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_json
from scipy import special

from leadline.evaluate import wilson
from leadline.suspects.estimate import LEVEL, STEPS, Draw, draw, interval, rates, reviewed
from leadline.suspects.planted import calibrate

Z = 1.6448536269514722  # of a two-sided 90 %
SETTINGS = [  # rows, drawn, reviewed, errors as a share
    (2000, 200, 200, 0.10),
    (2000, 50, 50, 0.02),
    (2000, 50, 50, 0.10),
    (2000, 200, 200, 0.02),
    (2000, 200, 100, 0.10),  # reviewing stopped half-way through the draw
    (20000, 200, 200, 0.05),
    (500, 100, 100, 0.20),
]
KINDS = {  # how far above the clean rows an error's doubt lies: of the one half of the errors, of the other
    "rank like planted ones": (2.0, 2.0),
    "half of them hidden": (2.0, 0.0),
    "uniform over ranks": (0.0, 0.0),
    "anti-ranked": (-2.0, -2.0),
    "all at the top": (99.0, 99.0),
    "all at the bottom": (-99.0, -99.0),
}
PLANTED = {  # shift of planted errors, of natural ones
    "alike, good score": (2.0, 2.0),
    "alike, weak score": (1.0, 1.0),
    "alike, no score at all": (0.0, 0.0),
    "natural ones easier": (2.0, 3.0),
    "natural ones subtler": (2.0, 1.0),
    "natural ones like clean rows": (2.0, 0.0),
}
PLANTED_SETTINGS = [(2000, 0.05, 0.10), (2000, 0.05, 0.02), (2000, 0.10, 0.10), (20000, 0.02, 0.05)]  # rows, P, errors
BLOCK = 100  # data sets in memory


# The intervals that were tried: x (R, S) wrong of n (R, S) reviewed of sizes (S,) -> low, high (R,)


def normal(x, n, sizes):
    """The unbiased variance and a normal distribution."""
    mean, variance, _ = (part.sum(axis=1) for part in unseen(x, n, sizes - n))
    seen, half = x.sum(axis=1), Z * np.sqrt(variance)
    return seen + np.maximum(mean - half, 0), np.minimum(seen + mean + half, sizes.sum() - (n - x).sum(axis=1))


def mover_wilson(x, n, sizes):
    """Wilson's limits of each stratum, their squared distances added (Zou and Donner 2008), finite population."""
    total, scale = (sizes * x / n).sum(axis=1), sizes * np.sqrt(1 - n / sizes)
    low, high = wilson(x, n, LEVEL)
    below, above = (np.sqrt(((scale * d) ** 2).sum(axis=1)) for d in (x / n - low, high - x / n))
    return np.maximum(total - below, x.sum(axis=1)), np.minimum(total + above, sizes.sum() - (n - x).sum(axis=1))


def jeffreys(x, n, sizes):
    """A Jeffreys prior in every stratum."""
    return _quantiles(x, unseen_after(x + 0.5, n - x + 0.5, sizes - n), sizes - n)


def exact_sum(x, n, sizes):
    """One event more in every stratum: Clopper-Pearson distributions, added."""
    low, _ = _quantiles(x, unseen_after(x, n - x + 1, sizes - n), sizes - n)
    _, high = _quantiles(x, unseen_after(x + 1, n - x, sizes - n), sizes - n)
    return low, high


def event_more(x, n, sizes, whole=False):
    """Gamma with one event more in the stratum where that matters most: fully (Fay and Feuer 1997), or half of the time
    (mid-p, Fay and Kim 2017). Theirs are Poisson counts and two moments, these are hypergeometric and three."""
    left = sizes - n
    base, top = unseen(x, n, left), left.sum(axis=1)[:, None]
    wrong, right = (_one_more(unseen_after(a, b, left), base) for a, b in ((x + 1, n - x), (x, n - x + 1)))
    total = tuple(part.sum(axis=1, keepdims=True) for part in base)
    tail, seen = (1 - LEVEL) / 2, x.sum(axis=1)
    low = mixed_quantile(tail, right if whole else total, right, top).min(axis=1)
    return seen + low, seen + mixed_quantile(1 - tail, wrong if whole else total, wrong, top).max(axis=1)


def whole_event(x, n, sizes):
    return event_more(x, n, sizes, whole=True)


def score_test(x, n, sizes):
    """leadline's without its two corrections (n / (n - 1), skewness)."""
    total = (sizes * x / n).sum(axis=1, keepdims=True)

    def end(sign: float) -> np.ndarray:
        low, high = np.full(total.shape, -25.0), np.full(total.shape, 25.0)
        for _ in range(STEPS):
            middle = (low + high) / 2
            p = rates(x, n, sign * np.exp(middle) * sizes * n.sum(axis=1, keepdims=True) / sizes.sum())
            at = (sizes * p).sum(axis=1, keepdims=True)
            variance = (sizes * (sizes - n) * p * (1 - p) / n).sum(axis=1, keepdims=True)
            kept = np.abs(total - at) <= Z * np.sqrt(variance) + 1e-9
            low, high = np.where(kept, middle, low), np.where(kept, high, middle)
        return at[:, 0]

    return np.maximum(end(1.0), x.sum(axis=1)), np.minimum(end(-1.0), sizes.sum() - (n - x).sum(axis=1))


def _quantiles(x, strata, left):
    total = tuple(part.sum(axis=1, keepdims=True) for part in strata)
    top, seen = left.sum(axis=1)[:, None], x.sum(axis=1)
    low, high = (mixed_quantile(q, total, total, top)[:, 0] for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return seen + low, seen + high


# Sums of strata as gamma distributions

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, variance, third central moment


def unseen(x: np.ndarray, n: np.ndarray, left: np.ndarray) -> Moments:
    """Moments (..., S) of the errors among the `left` rows of each stratum; none where no or every row was wrong."""
    p = x / n
    variance = left * (left + n) * p * (1 - p) / np.maximum(n - 1, 1)  # unbiased, without replacement
    return left * p, variance, variance * (1 - 2 * p) * (n + 2 * left) / (n + 2)


def unseen_after(a: np.ndarray, b: np.ndarray, left: np.ndarray) -> Moments:
    """Moments (..., S) of a beta-binomial: `left` rows, a wrong against b right ones."""
    n = a + b
    variance = left * a * b * (n + left) / (n**2 * (n + 1))
    return left * a / n, variance, variance * (b - a) * (n + 2 * left) / (n * (n + 2))


def _one_more(changed: Moments, base: Moments) -> Moments:
    """Moments (..., S) of the sum over strata when one stratum, each in turn, is `changed`; never less uncertain."""
    mean, variance, third = (part.sum(axis=-1, keepdims=True) for part in base)
    spread = np.maximum(changed[1], base[1])
    return mean - base[0] + changed[0], variance - base[1] + spread, third - base[2] + changed[2]


def mixed_quantile(q: float, one: Moments, other: Moments, top: np.ndarray) -> np.ndarray:
    """Where half the one distribution function and half the other reach q, within [0, top]; by halving."""
    low = np.zeros(np.broadcast_shapes(one[0].shape, other[0].shape))
    high = low + top
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = (gamma_cdf(middle, one) + gamma_cdf(middle, other)) / 2 < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


def gamma_cdf(y: np.ndarray, moments: Moments) -> np.ndarray:
    """Pearson's type III with these moments at y: a shifted gamma, mirrored for negative skewness, normal for none."""
    mean, variance, third = moments
    sd = np.sqrt(variance)
    certain = sd < 1e-9
    sd = np.where(certain, 1.0, sd)
    z, skew = (y - mean) / sd, third / sd**3
    plain = np.abs(skew) < 1e-3
    root = 2 / np.where(plain, 1.0, np.abs(skew))  # of the gamma's shape
    at = np.maximum(root**2 + np.sign(skew) * z * root, 0.0)
    skewed = np.where(skew > 0, special.gammainc(root**2, at), special.gammaincc(root**2, at))
    return np.where(certain, (y >= mean - 1e-9).astype(np.float64), np.where(plain, special.ndtr(z), skewed))


METHODS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "leadline": interval,
    "normal": normal,
    "Wilson by stratum (MOVER)": mover_wilson,
    "Jeffreys by stratum": jeffreys,
    "Clopper-Pearson by stratum": exact_sum,
    "gamma, one event more": whole_event,
    "gamma, mid-p": event_more,
    "score test, uncorrected": score_test,
}
PLAIN = "plain random sample, Jeffreys"


def simulated(rng: np.random.Generator, datasets: int, n: int, wrong: int, shifts: tuple[float, float]) -> np.ndarray:
    """(R, N) bool in order of doubt: True where a label is wrong."""
    parts = []
    for start in range(0, datasets, BLOCK):
        doubt = rng.normal(size=(min(BLOCK, datasets - start), n))
        doubt[:, : wrong // 2] += shifts[0]
        doubt[:, wrong // 2 : wrong] += shifts[1]
        parts.append(np.argsort(-doubt, axis=1) < wrong)
    return np.concatenate(parts)


def reviewed_draws(setting: tuple[int, int, int, float], datasets: int, seed: int) -> list[dict[str, Any]]:
    n, count, done, rate = setting
    wrong, rng = round(rate * n), np.random.default_rng(seed)
    draws = [draw(np.arange(n), count, seed=number) for number in range(datasets)]
    results = []
    for kind, shifts in KINDS.items():
        truth = simulated(rng, datasets, n, wrong, shifts)
        counted = [_review(one, truth[number], done) for number, one in enumerate(draws)]
        x, got = (np.stack(part).astype(np.float64) for part in zip(*counted, strict=True))
        common = {"rows": n, "drawn": count, "reviewed": done, "errors": wrong, "kind": kind}
        for name, method in METHODS.items():
            results.append(common | {"method": name} | judged(*method(x, got, draws[0].sizes), wrong))
        found = rng.hypergeometric(wrong, n - wrong, done, size=(datasets, 1)).astype(np.float64)
        limits = jeffreys(found, np.full_like(found, done), np.array([n]))
        results.append(common | {"method": PLAIN} | judged(*limits, wrong))
    return results


def _review(one: Draw, truth: np.ndarray, done: int) -> tuple[np.ndarray, np.ndarray]:
    answers = truth[one.rows].astype(np.float64)
    answers[done:] = np.nan
    return reviewed(one, answers)


def judged(low: np.ndarray, high: np.ndarray, truth: int) -> dict[str, Any]:
    low, high = np.floor(low + 1e-6), np.ceil(high - 1e-6)  # whole numbers for all of them
    covered = int(((low <= truth) & (truth <= high)).sum())
    at_least, at_most = wilson(covered, len(low))
    return {
        "datasets": len(low),
        "coverage": covered / len(low),
        "coverage_low": float(at_least),
        "coverage_high": float(at_most),
        "too_high": float((low > truth).mean()),
        "too_low": float((high < truth).mean()),
        "median_width_over_truth": float(np.median(high - low) / truth),
    }


def planted_bounds(setting: tuple[int, float, float], datasets: int, seed: int) -> list[dict[str, Any]]:
    n, share, rate = setting
    wrong, rng, results = round(rate * n), np.random.default_rng(seed), []
    for kind, (of_planted, of_natural) in PLANTED.items():
        found = []
        for number in range(datasets):
            doubt = rng.normal(size=n)
            planted = np.zeros(n, dtype=bool)
            planted[rng.choice(n, round(share * n), replace=False)] = True
            doubt += np.where(planted, of_planted, np.where(np.arange(n) < wrong, of_natural, 0.0))
            found.append(calibrate(doubt, planted, seed=number))
        high, value = (np.array([getattr(one, name) for one in found]) for name in ("high", "value"))
        held = int((high >= wrong).sum())
        at_least, at_most = wilson(held, datasets)
        results.append(
            {"rows": n, "planted": round(share * n), "errors": wrong, "kind": kind, "datasets": datasets}
            | {"held": held / datasets, "held_low": float(at_least), "held_high": float(at_most)}
            | {"median_bound_over_truth": float(np.median(high) / wrong)}
            | {"median_value_over_truth": float(np.median(value) / wrong), "level": found[0].level}
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--toy", action="store_true", help="30 data sets, two settings of each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "how_many.json")
    options = parser.parse_args()
    datasets, most = (30, 2) if options.toy else (options.datasets, None)
    result = {
        "machine": machine() | {"load": os.getloadavg()[0]},
        "level": LEVEL,
        "reviewed": [r for i, s in enumerate(SETTINGS[:most]) for r in reviewed_draws(s, datasets, 100 + i)],
        "planted": [r for i, s in enumerate(PLANTED_SETTINGS[:most]) for r in planted_bounds(s, datasets, 200 + i)],
    }
    write_json(options.out, result)
    for row in result["reviewed"]:
        if row["method"] == "leadline":
            about = f"{row['reviewed']} of {row['rows']}, {row['errors']} errors, {row['kind']}"
            print(f"{about:60} {row['coverage']:.3f} {row['median_width_over_truth']:.2f}")
    for row in result["planted"]:
        about = f"{row['planted']} planted in {row['rows']}, {row['errors']} errors, {row['kind']}"
        print(f"{about:75} {row['held']:.3f} {row['median_bound_over_truth']:.2f}")


if __name__ == "__main__":
    main()
