"""What stands beside the card: progress, how many suspects were wrong, how far reviewers agree, what a draw says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.errors import InputError
from leadline.suspects import estimate, queue, reviewers
from leadline.suspects.estimate import Estimate, Stopping
from leadline.suspects.queue import Filter
from leadline.suspects.reviewers import Agreement
from leadline.web.opened import Review


@dataclass(frozen=True)
class Drawn:
    """What the review of a draw says of all examples, once enough of it is decided."""

    n: int
    decided: int
    least: int
    estimate: Estimate | None
    stopping: Stopping | None
    note: str  # why there is no estimate yet


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
        drawn=None if asked.draw is None else drawn(review, asked.draw, together),
    )


def drawn(review: Review, draw: int, together: pl.DataFrame) -> Drawn:
    """The estimate from a draw; skipped, undecided and tied examples are not decided yet."""
    table = review.decisions.drawn(draw)
    wrong = reviewers.wrong(together, table["id"].to_list())
    decided, least = int((~np.isnan(wrong)).sum()), min(estimate.LEAST, len(wrong))
    if decided < least:
        return Drawn(len(wrong), decided, least, None, None, f"an estimate needs {least} decided")
    as_drawn = queue.as_draw(table, review.draw_places(draw))
    try:
        found = estimate.errors(as_drawn, wrong)
    except InputError as error:
        return Drawn(len(wrong), decided, least, None, None, str(error))
    try:
        stopping = estimate.where_reviewing_stops(as_drawn, wrong, np.arange(len(review.deck)))
    except InputError:  # ranked otherwise today: the draw holds, its ranks do not
        stopping = None
    return Drawn(len(wrong), decided, least, found, stopping, "")


def new_draw(review: Review, count: int, seed: int) -> int:
    """Draws by rank stratum from the whole queue and keeps the draw; returns its number."""
    made = estimate.draw(np.arange(len(review.deck)), count, seed)
    ids = review.deck.table["id"].gather(made.rows).to_list()
    return review.decisions.keep_draw(ids, made.stratum, made.probability, made.sizes, seed, review.deck.ranked_by)
