"""What a test can see: the smallest difference that n finds, and the n that a difference needs.

Level 0.05 two-sided and power 0.8 unless said otherwise: a true difference of this size is found four times in five.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from leadline.errors import InputError
from leadline.evaluate.checks import in_range

LEVEL, POWER = 0.05, 0.8


def detectable_accuracy(discordant: float, n: int, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest difference of two accuracies on the same n rows that McNemar's test finds, in (0, 1].

    discordant: the share of rows where exactly one of the two models is right, in [0, 1]. A true difference larger than
    that brings its own discordant rows, all won by one model. NaN where n is too small for any. Normal approximation,
    Connor (1987).
    """
    _count("n", n, 1)
    _shares(discordant, level, power)

    def missing(difference: float) -> float:
        return _rows(max(discordant, difference), difference, level, power) - n

    return float(optimize.brentq(missing, 1e-9, 1.0)) if missing(1.0) <= 0 else np.nan


def rows_needed(discordant: float, difference: float, level: float = LEVEL, power: float = POWER) -> int:
    """Test rows for McNemar's test to find this difference of two accuracies; `discordant` as `detectable_accuracy`."""
    _shares(discordant, level, power)
    if not 0 < abs(difference) <= discordant:
        raise InputError(f"difference is {difference:g}; it must lie above 0 and within the {discordant:g} discordant")
    return int(np.ceil(_rows(discordant, abs(difference), level, power) - 1e-9))


def detectable_mean(sd: float, n: int, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest mean difference over n seeds that a paired t-test finds, in the unit of sd; NaN for n = 1.

    sd: standard deviation (ddof 1) of the differences over seeds. From the noncentral t distribution (Cohen 1988). The
    permutation test needs at least as much, and below six seeds it finds nothing at 0.05, however large.
    """
    _count("n", n, 1)
    _shares(0, level, power)
    if not (np.isfinite(sd) and sd >= 0):
        raise InputError(f"sd is {sd}; a standard deviation is finite and not negative")
    return float(sd * _shift(n, level, power) / np.sqrt(n)) if n > 1 else np.nan


def seeds_needed(sd: float, difference: float, level: float = LEVEL, power: float = POWER) -> int:
    """Seeds of each of two trials for a paired t-test to find this mean difference; `sd` as `detectable_mean`."""
    if not (np.isfinite(difference) and difference):
        raise InputError(f"difference is {difference}; give the difference that matters to you")
    n = 2
    while detectable_mean(sd, n, level, power) > abs(difference):
        # the normal approximation is a lower bound: start there, and walk the few steps that t adds
        n = max(n + 1, int((_z(level, power) * sd / difference) ** 2))
    return n


def detectable_from_error(error: float, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest difference found by a two-sided test of a statistic with this standard error: (z + z) x error."""
    return float(_z(level, power) * error)


def _rows(discordant: float, difference: float, level: float, power: float) -> float:
    """Connor (1987): (z_a sqrt(psi) + z_b sqrt(psi - d^2))^2 / d^2"""
    z_level, z_power = special.ndtri(1 - level / 2), special.ndtri(power)
    return (z_level * np.sqrt(discordant) + z_power * np.sqrt(discordant - difference**2)) ** 2 / difference**2


def _shift(n: int, level: float, power: float) -> float:
    """Noncentrality at which a two-sided t-test with n - 1 degrees of freedom has the power."""
    critical = special.stdtrit(n - 1, 1 - level / 2)

    def missed(shift: float) -> float:
        wrong_side = np.nan_to_num(special.nctdtr(n - 1, shift, -critical))  # scipy has NaN where it is all but 0
        return special.nctdtr(n - 1, shift, critical) - wrong_side - (1 - power)

    return float(optimize.brentq(missed, 0.0, critical * 2 + 10))


def _z(level: float, power: float) -> float:
    return float(special.ndtri(1 - level / 2) + special.ndtri(power))


def _count(what: str, n: int, least: int) -> None:
    if n < least:
        raise InputError(f"{what} is {n}; at least {least} is needed")


def _shares(discordant: float, level: float, power: float) -> None:
    in_range(np.array([discordant]), 0, 1, "discordant")
    if not 0 < level < power < 1:
        raise InputError(f"level {level:g} and power {power:g}: both lie in (0, 1), and the level below the power")
