"""What the review of a kept draw says so far: how many labels are wrong, and where reviewing stops paying."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from leadline.errors import InputError
from leadline.suspects import estimate, reviewers
from leadline.suspects.estimate import Draw, Estimate, Stopping


@dataclass(frozen=True)
class Drawn:
    """A draw of `n` examples of which `decided` have a verdict; skips, ties and what nobody saw have none."""

    n: int
    decided: int
    estimate: Estimate | None
    stopping: Stopping | None
    note: str  # why there is no estimate yet


def drawn(kept: pl.DataFrame, together: pl.DataFrame, places: np.ndarray | None = None, ranked: int = 0) -> Drawn:
    """The estimate from a draw, where enough of it is decided; what was passed over is told with its assumption.

    kept      the draw as `Decisions.drawn` gives it; `together` as `reviewers.verdicts` does
    places    (m,) of its examples, from 0, in a queue of `ranked`; without them, and in another queue than the draw was
              made of, nothing is said of where to stop
    """
    wrong = reviewers.wrong(together, kept["id"].to_list())
    decided = int((~np.isnan(wrong)).sum())
    made = as_draw(kept, np.arange(len(wrong)) if places is None else places)
    try:
        found = estimate.errors(made, wrong)
    except InputError as error:
        return Drawn(len(wrong), decided, None, None, str(error))
    if passed := passed_over(made.stratum, wrong):
        says = f"{found.assumption}; of the draw {passed} passed over (skipped, tied) are taken to be like the others"
        found = replace(found, assumption=says)
    try:
        stopping = estimate.where_reviewing_stops(made, wrong, np.arange(ranked))
    except InputError:  # ranked otherwise today: the draw holds, its ranks do not
        stopping = None
    return Drawn(len(wrong), decided, found, stopping, "")


def passed_over(stratum: np.ndarray, wrong: np.ndarray) -> int:
    """Rows without a verdict that stand, in the draw's order, before a decided one of their stratum."""
    last = np.full(int(stratum.max()) + 1, -1)
    known = np.flatnonzero(~np.isnan(wrong))
    np.maximum.at(last, stratum[known], known)
    return int((np.isnan(wrong) & (np.arange(len(wrong)) < last[stratum])).sum())


def as_draw(kept: pl.DataFrame, places: np.ndarray) -> Draw:
    """A kept draw (`Decisions.drawn`) as `estimate.draw` made it; places (m,) of its ids in the queue."""
    stratum = kept["stratum"].to_numpy()
    sizes = np.zeros(int(stratum.max()) + 1, dtype=np.int64)
    sizes[stratum] = kept["size"].to_numpy()
    return Draw(places, stratum, kept["probability"].to_numpy(), sizes)
