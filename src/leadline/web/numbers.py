"""What stands beside the card: progress, how many suspects were wrong, how far reviewers agree, what a draw says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.suspects import estimate, reviewers
from leadline.suspects.drawn import Drawn, drawn
from leadline.suspects.queue import Filter
from leadline.suspects.reviewers import Agreement
from leadline.web.opened import Review


@dataclass(frozen=True)
class Numbers:
    done: int  # of the queue, by this reviewer
    total: int
    actions: Mapping[str, int]  # this reviewer's, over the whole split
    wrong: int  # labels found wrong, by all reviewers together
    looked: int  # examples decided by all reviewers together
    reviewers: Sequence[tuple[str, int]]  # and how many each decided
    agreement: Agreement | None
    draws: Sequence[tuple[int, int, str]]  # number, examples, ranked by
    drawn: Drawn | None


def numbers(review: Review, asked: Filter) -> Numbers:
    """Everything that a page says beside one card."""
    order = review.order(asked)
    mine, _, others = review.decided()
    if asked.state == "others":
        order = order[others[order]]
    current = review.decisions.current()
    together = reviewers.verdicts(current)
    wrong, looked = reviewers.precision(together)
    real = current.filter(pl.col("action") != "skip")
    by_name = Counter(real["reviewer"])
    draws = review.decisions.draws()
    return Numbers(
        done=int(mine[order].sum()),
        total=len(order),
        actions=Counter(current.filter(pl.col("reviewer") == review.reviewer)["action"]),
        wrong=wrong,
        looked=looked,
        reviewers=sorted(by_name.items()),
        agreement=reviewers.agreement(current),
        draws=list(draws.select("draw", "n", "ranked_by").iter_rows()),
        drawn=None if asked.draw is None else _drawn(review, asked.draw, together),
    )


def _drawn(review: Review, draw: int, together: pl.DataFrame) -> Drawn:
    return drawn(review.decisions.drawn(draw), together, review.draw_places(draw), len(review.deck))


def new_draw(review: Review, count: int, seed: int) -> int:
    """Draws by rank stratum from the whole queue and keeps the draw; returns its number."""
    made = estimate.draw(np.arange(len(review.deck)), count, seed)
    ids = review.deck.table["id"].gather(made.rows).to_list()
    return review.decisions.keep_draw(ids, made.stratum, made.probability, made.sizes, seed, review.deck.ranked_by)
