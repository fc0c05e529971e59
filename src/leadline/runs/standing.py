"""How the examples of one run stood in another: its base. Computed from the base's signals, joined by id and hash."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from leadline import scores as scores_room
from leadline.data.examples import Examples, join
from leadline.errors import InputError
from leadline.recipe import Base
from leadline.runs.run import RegionRule, Run, cut_map
from leadline.scores import SCORES
from leadline.scores.regions import HARD_FIRST
from leadline.signals import Signals

ADVICE = (
    "A base has trained on all of them: the same data, sample, validation part and data.seed "
    "(with `base.labels: ignore` labels may differ)"
)


class Standing:
    """What the run `base` says of `examples` (N).

    Raises InputError when an example is not among the base's training examples, or has other inputs or (unless
    `asked.labels` is "ignore") another label there.
    """

    def __init__(self, base: Run, examples: Examples, asked: Base):
        self.base, self.asked = base, asked
        self.rows = join(examples, base.train, asked.labels, f"base {base.path}", ADVICE)  # (N,) rows of the base

    @cached_property
    def window(self) -> Signals:
        return self.base.signals.window(self.asked.max_epochs, self.asked.skip_epochs)

    def difficulty(self, score: str) -> np.ndarray:
        """(N,) a score that says harder or easier (`check` lets no other pass), turned so that higher is harder."""
        values = self.column(score)
        return values if SCORES[score].higher_is == "harder" else -values

    def column(self, score: str) -> np.ndarray:
        """(N,) the score as it is; NaN where the base has none."""
        found, left_out = scores_room.compute(self.window, [score])
        if score in left_out:
            raise InputError(f"{self.base.path}: has no score `{score}`: {left_out[score]}")
        return found[score][self.rows]

    @cached_property
    def category(self) -> np.ndarray:
        """(N,) easy, ambiguous, hard or none, where each lies on the base's whole map."""
        r = self.asked.regions
        order = HARD_FIRST if r.precedence == "hard_first" else tuple(r.precedence)
        return cut_map(self.window, RegionRule(r.rule, r.proportion, order), {}).category[self.rows]
