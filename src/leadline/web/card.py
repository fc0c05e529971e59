"""One example as the page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.scores import gold_probability, mean_probability
from leadline.suspects.decisions import Decision
from leadline.web.opened import Review
from leadline.web.shown import FOLD, folded

BARS = 10  # classes whose probability is drawn
DIGITS = 9  # classes that a digit key names
WIDE, HIGH = 240.0, 72.0  # of the learning curve, in its own units


@dataclass(frozen=True)
class Bar:
    """A class and the model's mean probability of it."""

    name: str
    probability: float
    is_label: bool
    is_suggested: bool


@dataclass(frozen=True)
class Curve:
    """Probability of the label over the recorded epochs: marks (x, y), lines between neighbours, and the values."""

    marks: Sequence[tuple[float, float]]
    lines: Sequence[str]  # points of each unbroken piece, as SVG has them
    values: Sequence[float | None]


@dataclass(frozen=True)
class Text:
    """A column of what the model read; `n` characters, of which `start` is shown."""

    column: str
    start: str
    n: int

    @property
    def cut(self) -> bool:
        return self.n > FOLD


@dataclass(frozen=True)
class Card:
    place: int
    says: dict[str, Any]  # row, id, label, suggested, probability, score, reason, region, x, y
    texts: Sequence[Text]
    bars: Sequence[Bar]
    more_bars: int  # classes that are not drawn
    curve: Curve | None
    classes: Sequence[tuple[str, float | None]]  # what it can be relabelled to; the most probable first beyond nine
    decision: Decision | None  # the reviewer's own

    @property
    def proposed(self) -> str | None:
        """What is suggested in place of the label; None where the model rather keeps the label."""
        p = {bar.name: bar.probability for bar in self.bars}
        suggested, label = self.says["suggested"], self.says["label"]
        return None if p.get(label, 0.0) > p.get(suggested, 1.0) else suggested


def read_card(review: Review, place: int) -> Card:
    """Everything of one example; only its row is read."""
    says = review.deck.table.row(place, named=True)
    row = int(says["row"])
    texts = [Text(name, *folded(review.deck.texts[name][row] or "")) for name in review.deck.texts.columns]
    p = _probabilities(review, row)
    names = review.classes
    bars = [] if p is None else [Bar(n, q, n == says["label"], n == says["suggested"]) for n, q in _sorted(names, p)]
    likely = _sorted(names, p) if p is not None and len(names) > DIGITS else [(name, None) for name in names]
    return Card(
        place=place,
        says=says,
        texts=texts,
        bars=[bar for place, bar in enumerate(bars) if place < BARS or bar.is_label],
        more_bars=sum(not bar.is_label for bar in bars[BARS:]),
        curve=_curve(review, row),
        classes=likely,
        decision=review.decisions.of(says["id"], review.reviewer),
    )


def _sorted(names: Sequence[str], p: np.ndarray) -> list[tuple[str, float]]:
    """Few classes in their own order, so that the eye finds them; many by probability."""
    order = np.arange(len(names)) if len(names) <= DIGITS else np.argsort(-p, kind="stable")
    return [(names[k], float(p[k])) for k in order]


def _probabilities(review: Review, row: int) -> np.ndarray | None:
    """(K,) mean over epochs; of a split that was not trained on, its prediction. None without logits."""
    if review.probabilities is not None:
        return review.probabilities[row]
    if review.signals is None or "logits" not in review.signals.names or not review.classes:
        return None
    p = mean_probability(review.signals.rows(np.array([row])))[0]
    return None if np.isnan(p).any() else p


def _curve(review: Review, row: int) -> Curve | None:
    if review.signals is None:
        return None
    course = gold_probability(review.signals.rows(np.array([row])))[:, 0]  # (E,)
    if np.isnan(course).all():
        return None
    across = np.linspace(0, WIDE, len(course)) if len(course) > 1 else np.array([WIDE / 2])
    marks = [(round(float(x), 2), round(HIGH * (1 - float(g)), 2)) for x, g in zip(across, course, strict=True)]
    lines: list[str] = []
    piece: list[tuple[float, float]] = []
    for mark, g in [*zip(marks, course, strict=True), ((0.0, 0.0), np.nan)]:
        if np.isnan(g):
            if len(piece) > 1:
                lines.append(" ".join(f"{x},{y}" for x, y in piece))
            piece = []
        else:
            piece.append(mark)
    seen = [mark for mark, g in zip(marks, course, strict=True) if not np.isnan(g)]
    return Curve(seen, lines, [None if np.isnan(g) else float(g) for g in course])
