"""The queue of a review: every example once, most doubtful first; chosen by filters; where to go from here.

A *place* is a position in that order, from 0; a *row* is one of the data. Arrays and tables only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from leadline.errors import InputError, nearest
from leadline.suspects.ranking import rank_probabilities

State = Literal["open", "decided", "others", "all"]
STATES: tuple[str, ...] = get_args(State)
SAYS = {"suggested": pl.String, "probability": pl.Float64, "score": pl.Float64, "reason": pl.String}


@dataclass(frozen=True)
class Deck:
    """All examples of a split in the order of the queue."""

    table: pl.DataFrame  # row, id, label, suggested, probability, score, reason, region, x, y: one per place
    texts: pl.DataFrame  # (N, columns) what the search reads, in the order of the data
    ranked_by: str

    def __len__(self) -> int:
        return self.table.height

    def places(self, ids: pl.Series) -> np.ndarray:
        """(m,) the places of ids. Raises InputError for an id that the deck does not have."""
        index = pl.DataFrame({"id": self.table["id"], "place": np.arange(len(self))})
        found = pl.DataFrame({"id": ids}).join(index, on="id", how="left", maintain_order="left")["place"]
        if found.null_count():
            raise InputError(f"no example `{ids[int(found.is_null().arg_max() or 0)]}` in this queue")
        return found.to_numpy()

    @property
    def on_map(self) -> np.ndarray:
        """(N,) bool: the example has a place on the data map."""
        return np.isfinite(self.table["x"].to_numpy()) & np.isfinite(self.table["y"].to_numpy())


@dataclass(frozen=True)
class Filter:
    """Which examples a queue holds. None and "" ask for nothing; the box is x from, x to, y from, y to on the map."""

    label: str | None = None
    suggested: str | None = None
    region: str | None = None
    low: float | None = None  # score, both ends included
    high: float | None = None
    search: str = ""  # in a text or the id, whatever the case
    box: tuple[float, float, float, float] | None = None
    state: State = "open"  # open: not decided by me; others: decided by somebody else and not by me
    draw: int | None = None  # the queue of a stratified draw, in its order

    @property
    def narrow(self) -> bool:
        """Asks for more than a search."""
        more = (self.label, self.suggested, self.region, self.low, self.high, self.box)
        return any(value is not None for value in more)

    def to_query(self) -> dict[str, str]:
        """What `read_filter` reads; without what asks for nothing."""
        names = {"label": self.label, "suggested": self.suggested, "region": self.region, "search": self.search or None}
        numbers = {"low": self.low, "high": self.high, "draw": self.draw}
        numbers |= dict(zip(BOX, self.box or (None,) * 4, strict=True))
        query = {name: value for name, value in names.items() if value is not None}
        query |= {name: f"{value:.9g}" for name, value in numbers.items() if value is not None}
        return query | ({"state": self.state} if self.state != "open" else {})


BOX = ("x0", "x1", "y0", "y1")


def read_filter(query: Mapping[str, str]) -> Filter:
    """From the fields of a form or a link; empty fields ask for nothing. Raises InputError naming a bad field."""
    given = {name: value for name, value in query.items() if value != ""}
    state = given.get("state", "open")
    if state not in STATES:
        raise InputError(f"state: no `{state}`.{nearest(state, STATES)} Known: {', '.join(STATES)}")
    corners = [_number(given, name) for name in BOX]
    x0, x1, y0, y1 = (math.nan if corner is None else corner for corner in corners)
    draw = _number(given, "draw")
    return Filter(
        label=given.get("label"),
        suggested=given.get("suggested"),
        region=given.get("region"),
        low=_number(given, "low"),
        high=_number(given, "high"),
        search=given.get("search", ""),
        box=None if any(c is None for c in corners) else (min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)),
        state=state,  # type: ignore[arg-type]
        draw=None if draw is None else int(draw),
    )


def _number(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        value = float(given[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name}: a number is needed, not `{given[name][:40]}`")
    return value


def deal(examples: pl.DataFrame, suspects: pl.DataFrame, texts: pl.DataFrame, ranked_by: str) -> Deck:
    """The deck of a split: the suspects in their order, then the examples that are none, in the order of the data.

    examples  id, label, region, x, y of every example (N,), in the order of the data
    suspects  id and what is known of suggested, probability, score, reason; most doubtful first
    """
    known = [name for name in SAYS if name in suspects.columns]
    says = suspects.select("id", *(pl.col(name).cast(SAYS[name], strict=False) for name in known)).unique(
        "id", keep="first", maintain_order=True
    )
    says = says.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in SAYS.items() if name not in known)
    rows = examples.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    first = says.join(rows, on="id", how="inner", maintain_order="left")
    rest = rows.join(says, on="id", how="anti", maintain_order="left")
    table = pl.concat([first, rest], how="diagonal").select("row", *examples.columns, *SAYS)
    return Deck(table.rechunk(), texts, ranked_by)


def by_probability(predictions: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
    """Suspects of a split that was predicted and not trained on: least probable label first; ties as they come.

    score: 1 minus the probability of the label; of a regression the size of the error, and nothing is suggested
    """
    ids, label = predictions["id"].cast(pl.String), predictions["label"].cast(pl.String)
    if not classes:
        error = (predictions["predicted"] - predictions["label"].cast(pl.Float64)).abs().to_numpy()
        order = np.argsort(-error, kind="stable")
        said = [f"predicted {value:.4g}" for value in predictions["predicted"].to_list()]
        return pl.DataFrame({"id": ids, "score": error, "reason": said})[order]
    p = predictions.select(f"prob_{name}" for name in classes).to_numpy().astype(np.float64)  # (N, K)
    place = {name: k for k, name in enumerate(classes)}
    gold = np.array([place[name] for name in label.to_list()], dtype=np.int64)
    return rank_probabilities(ids.to_list(), gold, classes, p, 1 - p[np.arange(len(p)), gold], "by the trained model")


def matching(deck: Deck, asked: Filter) -> np.ndarray:
    """(N,) bool by place: what the filter asks for, its state and draw apart."""
    mask = np.ones(len(deck), dtype=bool)
    for name in ("label", "suggested", "region"):
        value = getattr(asked, name)
        if value is not None:
            mask &= (deck.table[name] == value).fill_null(False).to_numpy()
    if asked.low is not None or asked.high is not None:
        score = deck.table["score"].fill_null(np.nan).to_numpy()
        mask &= (score >= (-np.inf if asked.low is None else asked.low)) & (
            score <= (np.inf if asked.high is None else asked.high)
        )
    if asked.box is not None:
        x0, x1, y0, y1 = asked.box
        x, y = deck.table["x"].to_numpy(), deck.table["y"].to_numpy()
        mask &= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    if asked.search:
        mask &= _found(deck, asked.search)
    return mask


def _found(deck: Deck, search: str) -> np.ndarray:
    """(N,) bool by place: the words stand in a text or in the id."""
    needle = search.lower()
    found = deck.table["id"].str.to_lowercase().str.contains(needle, literal=True).to_numpy()
    for name in deck.texts.columns:
        inside = deck.texts[name].str.to_lowercase().str.contains(needle, literal=True).fill_null(False).to_numpy()
        found = found | inside[deck.table["row"].to_numpy()]
    return found


def following(order: np.ndarray, wanted: np.ndarray, after: int | None, passed: np.ndarray | None = None) -> int | None:
    """The next place of a queue that is wanted, from the one behind `after` on and then from the front; None if none.

    order (M,) places, wanted (N,) bool by place; those in `passed` (N,) come last: what was skipped
    """
    if after is not None:
        here = np.flatnonzero(order == after)
        order = np.roll(order, -(int(here[0]) + 1)) if len(here) else order
        order = order[order != after] if len(here) else order
    left = order[wanted[order]]
    if not len(left):
        return after if after is not None and wanted[after] else None
    if passed is not None and (~passed[left]).any():
        left = left[~passed[left]]
    return int(left[0])


def beside(order: np.ndarray, place: int, step: int) -> int | None:
    """The neighbour of a place in a queue, one step on (1) or back (-1); None at the ends.

    A place that the queue does not hold lies where its number would.
    """
    here = np.flatnonzero(order == place)
    at = int(here[0]) + step if len(here) else int(np.searchsorted(order, place)) - (1 if step < 0 else 0)
    return int(order[at]) if 0 <= at < len(order) else None


def sample(deck: Deck, most: int = 4000, seed: int = 0) -> np.ndarray:
    """(m,) places of points for a small map: all, or the most doubtful half and as many at random; in random order."""
    there = np.flatnonzero(deck.on_map)
    dice = np.random.default_rng(seed)
    if len(there) > most:
        first = there[: most // 2]
        there = np.concatenate([first, dice.choice(there[most // 2 :], most - len(first), replace=False)])
    return dice.permutation(there)
