"""DETECTORS: every detector by name, with what it needs and what a reader must know to use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from leadline.errors import InputError, nearest


@dataclass(frozen=True)
class Evidence:
    """What detectors may read of N texts, and of the M training texts that they are compared with. None: not there.

    Names are those of the detectors' parameters.
    """

    logits: np.ndarray | None = None  # (N, K)
    features: np.ndarray | None = None  # (N, H)
    train_features: np.ndarray | None = None  # (M, H)
    train_labels: np.ndarray | None = None  # (M,) class indices
    penultimate: np.ndarray | None = None  # (N, D) what the decision layer reads
    train_penultimate: np.ndarray | None = None  # (M, D)
    weight: np.ndarray | None = None  # (K, D) of the decision layer
    bias: np.ndarray | None = None  # (K,)
    nll: np.ndarray | None = None  # (N,) -log p(text) in nats, by a language model
    tokens: np.ndarray | None = None  # (N,) how many tokens were scored


WORDS = {  # what to say where a field is missing
    "logits": "class logits, which a regression does not have",
    "features": "features of the texts",
    "train_features": "features of training texts (of a plain checkpoint: --fit FILE)",
    "train_labels": "labels of training texts (of a plain checkpoint: --fit FILE)",
    "penultimate": "what the decision layer reads",
    "train_penultimate": "what the decision layer reads of training texts (of a plain checkpoint: --fit FILE)",
    "weight": "the weights of a linear decision layer",
    "bias": "the bias of a linear decision layer",
    "nll": "a language model",
    "tokens": "a language model",
}
assert set(WORDS) == {field.name for field in fields(Evidence)}


@dataclass(frozen=True)
class Detector:
    """One number per text: how strange it is. Higher is stranger, for every detector."""

    name: str
    function: Callable[..., np.ndarray]  # its needs by name -> (N,) float64
    needs: tuple[str, ...]  # fields of Evidence
    range: tuple[float, float]
    paper: str  # key of a bibliography entry
    says: str  # one line for a person

    def missing(self, evidence: Evidence) -> str:
        """What it lacks, as a sentence; empty where it lacks nothing."""
        lacking = [need for need in self.needs if getattr(evidence, need) is None]
        return f"needs {WORDS[lacking[0]]}" if lacking else ""

    def __call__(self, evidence: Evidence, **settings: Any) -> np.ndarray:
        return self.function(*(getattr(evidence, need) for need in self.needs), **settings)


DETECTORS: dict[str, Detector] = {}


def detector(
    *, needs: tuple[str, ...], range: tuple[float, float], paper: str, says: str
) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Enters the function into DETECTORS under its own name."""

    def enter(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        name = function.__name__
        DETECTORS[name] = Detector(name, function, needs, range, paper, says)
        return function

    return enter


def strangeness(evidence: Evidence, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """({detector: (N,) finite}, {detector: why it is left out}); InputError for a name that is no detector.

    Left out is what lacks evidence, what cannot be computed from it, and what is no number for some text: the others
    are worth having without it.
    """
    for name in names:
        if name not in DETECTORS:
            raise InputError(f"no such detector: `{name}`.{nearest(name, DETECTORS)} Known: {', '.join(DETECTORS)}")
    found: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for name in names:
        if why := DETECTORS[name].missing(evidence):
            left_out[name] = why
            continue
        try:
            with np.errstate(all="ignore"):  # what is not finite is told below
                keep(name, DETECTORS[name](evidence), found, left_out)
        except (InputError, np.linalg.LinAlgError) as error:
            left_out[name] = str(error)
    return found, left_out


def keep(name: str, scores: np.ndarray, found: dict[str, np.ndarray], left_out: dict[str, str]) -> None:
    """Enters scores (N,) into `found`, or into `left_out` with the number of rows that are not finite."""
    if bad := int((~np.isfinite(scores)).sum()):
        left_out[name] = f"is not finite for {bad} of {len(scores)} texts"
    else:
        found[name] = scores
