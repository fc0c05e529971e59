"""SCORES: every score by name, with what a reader must know to use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

Direction = Literal["harder", "easier", "ambiguous", "neither"]
Need = Literal["loss", "gold_logprob", "margin", "entropy", "correct", "logits", "gold", "several epochs", "probe"]
NEEDS: tuple[str, ...] = get_args(Need)


@dataclass(frozen=True)
class Score:
    """One number per example, computed from signals row by row."""

    name: str
    function: Callable[..., np.ndarray]  # signals -> (N,) float64
    higher_is: Direction
    range: tuple[float, float]
    needs: tuple[Need, ...]  # "gold" is a gold class index, "logits" a fixed answer space, "probe" a file of probes/
    paper: str  # key of a bibliography entry
    says: str  # one line for a person
    probe: str | None = None  # of `leadline probe RUN --probe …`, which makes that file


SCORES: dict[str, Score] = {}


def score(
    higher_is: Direction,
    *,
    range: tuple[float, float],
    needs: tuple[Need, ...],
    paper: str,
    says: str,
    probe: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enters the function into SCORES under its own name."""

    def enter(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        name = function.__name__
        SCORES[name] = Score(name, function, higher_is, range, needs, paper, says, probe)
        return function

    return enter
