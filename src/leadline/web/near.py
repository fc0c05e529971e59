"""What lies beside an example: duplicates, and the nearest neighbours where there are vectors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leadline import runs
from leadline.data.vectors import SOURCE
from leadline.suspects.duplicates import Duplicates, find_duplicates
from leadline.suspects.explain import explain
from leadline.web.opened import Review
from leadline.web.shown import visible

EXCERPT = 160  # characters of a neighbour's text
AT_ONCE = 10_000  # examples whose vectors are made of their texts where none are kept: some seconds, once


@dataclass(frozen=True)
class Neighbour:
    """Another example: how it is labelled and how its text begins."""

    id: str
    label: str
    text: str
    distance: float | None  # cosine


@dataclass(frozen=True)
class Beside:
    neighbours: Sequence[Neighbour]
    duplicates: Sequence[Neighbour]
    label: str  # of the example itself

    def share(self, label: str) -> str:
        """ "7 of 10" neighbours have this label."""
        return f"{sum(other.label == label for other in self.neighbours)} of {len(self.neighbours)}"


class Near:
    """Looks around an example of the training split; nothing is computed before it is asked for."""

    def __init__(self, review: Review):
        self.review = review
        self._vectors: np.ndarray | None = None
        self._found: Duplicates | None = None
        self._ready = False
        self._one = threading.Lock()  # many cards may ask before the first is answered

    def _prepare(self) -> None:
        with self._one:
            if self._ready:
                return
            run, split = self.review.run, self.review.split
            if len(self.review.examples) <= AT_ONCE:
                self._vectors, _ = runs.vectors(run, split)
            else:
                kept = runs.kept_features(run, split) or runs.kept_features(run, split, SOURCE)
                self._vectors = kept[0] if kept else None
            self._found = find_duplicates(self.review.examples) if self.review.examples.inputs else None
            self._ready = True

    def beside(self, place: int) -> Beside | None:
        """Neighbours and duplicates of a place in the queue; None for a split without signals."""
        if self.review.signals is None:
            return None
        self._prepare()
        row = int(self.review.deck.table["row"][place])
        told = explain(self.review.signals, row, self._vectors, found=self._found)
        near = [
            Neighbour(id, label, self._excerpt(id), float(distance))
            for id, label, distance in zip(told.ids, told.labels, told.distances, strict=True)
        ]
        same = [Neighbour(other.id, other.label, self._excerpt(other.id), None) for other in told.duplicates]
        return Beside(near, same, told.label)

    def _excerpt(self, id: str) -> str:
        row = int(self.review.deck.table["row"][self.review.place(id)])
        texts = self.review.deck.texts
        return " | ".join(_excerpt(texts[name][row] or "", EXCERPT // texts.width) for name in texts.columns)


def _excerpt(text: str, n: int) -> str:
    """The beginning of a text on one line of `n` characters."""
    line = " ".join(visible(text[: 2 * n]).split())
    return line if len(line) <= n and len(text) <= 2 * n else line[: n - 1] + "…"
