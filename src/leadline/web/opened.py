"""A run opened for review: the deck dealt once, the decisions, and what a card reads of one row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import runs, suspects
from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.runs import Run
from leadline.scores import SCORES, regions
from leadline.signals import Signals
from leadline.suspects import queue
from leadline.suspects.decisions import Decisions, checked_reviewer
from leadline.suspects.queue import Deck, Filter
from leadline.suspects.ranking import USUAL

MAP = ("confidence", "variability", "action_mean", "loss_std")


@dataclass
class Review:
    """One reviewer's view of the examples of one split."""

    run: Run
    split: str
    reviewer: str
    examples: Examples  # of the split, in the order of the signals' rows
    deck: Deck
    decisions: Decisions
    signals: Signals | None  # of the training split
    probabilities: np.ndarray | None  # (N, K) of a split that was predicted and not trained on
    axes: tuple[str, str] = ("", "")  # of the map; empty without one

    def __post_init__(self) -> None:
        # a filter is asked for again with every decision; a search over all texts takes a tenth of a second
        self.matching = lru_cache(maxsize=16)(self._matching)
        self.draw_places = lru_cache(maxsize=8)(self._draw_places)
        self._place = {name: place for place, name in enumerate(self.deck.table["id"])}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.examples.classes

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The lowest and the highest score; None where there is none."""
        score = self.deck.table["score"].drop_nulls().drop_nans()
        return None if score.is_empty() else (score.min(), score.max())  # type: ignore[return-value]

    def place(self, id: str) -> int:
        """The place of an example in the queue. Raises InputError where the split has none of this id."""
        if id not in self._place:
            raise InputError(f"no example `{id[:80]}` in {self.split} of this run")
        return self._place[id]

    def _matching(self, asked: Filter) -> np.ndarray:
        return queue.matching(self.deck, asked)

    def _draw_places(self, draw: int) -> np.ndarray:
        return self.deck.places(self.decisions.drawn(draw)["id"])

    def order(self, asked: Filter) -> np.ndarray:
        """(M,) places of a queue, whatever was decided."""
        mask = self.matching(replace(asked, state="open", draw=None))
        if asked.draw is None:
            return np.flatnonzero(mask)
        places = self.draw_places(asked.draw)
        return places[mask[places]]

    def decided(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) bool by place: decided by me, skipped by me, decided by others."""
        mine, skipped, others = (np.zeros(len(self.deck), dtype=bool) for _ in range(3))
        for decision in self.decisions.standing():
            place = self._place.get(decision.id)
            if place is None:
                continue
            if decision.reviewer != self.reviewer:
                others[place] |= decision.action != "skip"
            elif decision.action == "skip":
                skipped[place] = True
            else:
                mine[place] = True
        return mine, skipped, others

    def wanted(self, asked: Filter) -> tuple[np.ndarray, np.ndarray]:
        """(N,) bool by place: in the state that is asked for; and those that come last because they were skipped."""
        mine, skipped, others = self.decided()
        states = {"open": ~mine, "decided": mine, "others": others & ~mine, "all": np.ones(len(mine), dtype=bool)}
        return states[asked.state], skipped & ~mine


def open_review(path: str | Path, reviewer: str, score: str | None = None, split: str = "train") -> Review:
    """Opens a run for review; the queue is dealt here, once.

    score   rank by this score; default: the order of suspects.csv, else by the usual score
    split   train; or validation or test, ranked by their predictions
    Raises InputError for a run without what the split needs, an unknown score, and a reviewer without a name.
    """
    run, reviewer = runs.open(path), checked_reviewer(reviewer)
    if split == "train":
        examples, signals, probabilities = run.train, run.signals, None
        deck, axes = _train_deck(run, score)
    else:
        if score is not None:
            raise InputError(f"--score {score}: {split} examples have no signals; they are ranked by their predictions")
        examples, signals, axes = run.examples.split(split), None, ("", "")
        deck, probabilities = _predicted_deck(run, examples, split)
    labels = dict(zip(examples.ids, examples.table["_label"].cast(pl.String).to_list(), strict=True))
    decisions = Decisions(run.path / "decisions.sqlite", split, labels, examples.classes)
    return Review(run, split, reviewer, examples, deck, decisions, signals, probabilities, axes)


def _train_deck(run: Run, score: str | None) -> tuple[Deck, tuple[str, str]]:
    asked = [name for name in (*USUAL, *MAP, *([score] if score else [])) if name in SCORES or name == score]
    scored = runs.kept_scores(run, list(dict.fromkeys(asked)))
    columns = scored.columns()
    if score is not None and score in scored.left_out:
        raise InputError(f"--score {score}: {scored.left_out[score]}")
    by = score or suspects.usual(columns)
    if by not in columns:
        raise InputError(f"{run.path}: nothing to rank by: {'; '.join(sorted(set(scored.left_out.values())))}")
    listed = run.path / "suspects.csv"
    from_file = score is None and listed.is_file()
    ranked = _listed(listed) if from_file else None
    if ranked is None or ranked.height < len(run.train):
        all_ranked = suspects.rank(run.signals, columns, by)
        # the rest follows by `by`, without its score: it may be another one than that of the file
        ranked = all_ranked if ranked is None else pl.concat([ranked, all_ranked.drop("score")], how="diagonal_relaxed")
    x, y, axes = _on_map(columns, len(run.train))
    examples = scored.table.select("id", "label", "region").with_columns(x.alias("x"), y.alias("y"))
    return queue.deal(examples, ranked, _texts(run.train), "suspects.csv" if from_file else by), axes


def _listed(path: Path) -> pl.DataFrame:
    """suspects.csv as text: its order is the queue's."""
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give --score to rank anew") from None
    if "id" not in table.columns:
        raise InputError(f"{path}: has no column `id`; give --score to rank anew")
    known = [name for name in ("id", *queue.SAYS) if name in table.columns]
    kinds = {name: pl.Float64 for name in ("probability", "score") if name in known}
    return table.select(known).with_columns(pl.col(name).cast(kind, strict=False) for name, kind in kinds.items())


def _on_map(columns: dict[str, np.ndarray], n: int) -> tuple[pl.Series, pl.Series, tuple[str, str]]:
    try:
        found = regions.axes(columns)
    except InputError:  # one recorded epoch: no map
        nowhere = pl.Series(np.full(n, np.nan))
        return nowhere, nowhere, ("", "")
    return pl.Series(found.x), pl.Series(found.y), (found.x_name, found.y_name)


def _predicted_deck(run: Run, examples: Examples, split: str) -> tuple[Deck, np.ndarray | None]:
    predictions = run.predictions(split)
    if predictions["id"].cast(pl.String).to_list() != examples.ids:
        raise InputError(f"{run.path}: predictions/{split}.parquet is not of the {split} examples of this run")
    nowhere = pl.Series(np.full(len(examples), np.nan))
    table = pl.DataFrame({"id": examples.table["_id"], "label": examples.table["_label"].cast(pl.String)})
    table = table.with_columns(pl.lit(None, dtype=pl.String).alias("region"), nowhere.alias("x"), nowhere.alias("y"))
    probabilities = runs.probabilities(predictions, examples.classes) if examples.classes else None
    ranked = queue.by_probability(predictions, examples.classes)
    return queue.deal(table, ranked, _texts(examples), f"predictions of {split}"), probabilities


def _texts(examples: Examples) -> pl.DataFrame:
    """(N, columns) what the model read, as text."""
    names = [name for name in examples.inputs if name in examples.table.columns]
    return examples.table.select(pl.col(name).cast(pl.String) for name in names)


def points(review: Review) -> dict[str, Any]:
    """The small map: x, y (m,), region and id of at most a few thousand points, and the words of its axes."""
    places = queue.sample(review.deck)
    table = review.deck.table[places]
    x, y = (table[name].round_sig_figs(5).to_list() for name in ("x", "y"))
    shown = {"x": x, "y": y, "region": table["region"].fill_null("none").to_list()}
    return {**shown, "axes": review.axes, "n": int(review.deck.on_map.sum())}
