"""Detectors that read how probable a text is to a language model: density estimators."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from leadline.errors import InputError
from leadline.evaluate.checks import numbers
from leadline.ood.registry import detector

INF = float("inf")


@detector(
    needs=("nll", "tokens"), range=(0.0, INF), paper="arora2021", says="perplexity of the text to a language model"
)
def perplexity(nll: ArrayLike, tokens: ArrayLike) -> np.ndarray:
    """exp(-log p(x) / T), (N,) from 0 (1 and more for a proper model), T the tokens scored. Arora, Huang & He 2021.

    The literature finds that it tells background shift (another domain), and MSP semantic shift (other classes).
    """
    total, count = numbers(nll, "nll"), numbers(tokens, "tokens")
    if (count <= 0).any():
        raise InputError(f"tokens: row {int((count <= 0).argmax())} (counted from 0) has no token that was scored")
    return np.exp(total / count)


@detector(needs=("nll",), range=(0.0, INF), paper="arora2021", says="-log p(text) in nats: long texts are stranger")
def density(nll: ArrayLike) -> np.ndarray:
    """-log p(x), (N,) nats. Arora, Huang & He 2021 (their p(x)). Mostly says how long a text is."""
    return numbers(nll, "nll")
