"""The audit of a run's labels: who is suspected, by which evidence, and how many wrong labels to expect."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from leadline import runs, suspects
from leadline.audit.folds import out_of_sample
from leadline.audit.planted import Planted, planted
from leadline.audit.threshold import Threshold, threshold_samples
from leadline.audit.together import together
from leadline.errors import InputError, nearest
from leadline.launch import Tell
from leadline.runs import Run
from leadline.scores import compute
from leadline.suspects import combined, confident, estimate, probabilities, queue, reviewers
from leadline.suspects.decisions import Decisions
from leadline.suspects.estimate import Estimate
from leadline.suspects.planted import Calibration, best_score, calibrate, doubts
from leadline.sweep.work import silent

DEFAULT = "aum"
COMBINED = "combined"
SOURCES = ("prequential", "run", "folds")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What an audit is asked for; `score` and `probabilities` exclude each other."""

    score: str | None = None  # of the run's scores, or `combined`
    probabilities: str | None = None  # prequential, run, folds
    quality: str = "self_confidence"  # of the probabilities
    filter: str | None = None  # of cleanlab: only what it flags
    folds: int = 5
    split: str = "train"
    calibrate: bool = False
    rate: float = 0.05
    flips: str = "uniform"
    threshold: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.score and self.probabilities:
            raise InputError("audit: rank by --score or by --probabilities, not by both")
        if self.probabilities and self.probabilities not in SOURCES:
            raise InputError(
                f"--probabilities {self.probabilities}: choose {', '.join(SOURCES)}."
                f"{nearest(self.probabilities, SOURCES)}"
            )
        known = [*confident.QUALITY, *(probabilities.INFORMED if self.probabilities == "prequential" else ())]
        if self.quality not in known:
            raise InputError(f"--quality {self.quality}: choose {', '.join(known)}.{nearest(self.quality, known)}")
        if self.score == COMBINED and not self.calibrate:
            raise InputError("--score combined is learned from planted errors: add --calibrate")
        if self.filter and not self.probabilities and self.split == "train":
            raise InputError("--filter judges probabilities: add --probabilities prequential, run or folds")
        if self.split != "train" and (self.score or self.probabilities or self.calibrate or self.threshold):
            raise InputError(
                f"--split {self.split} is audited by the model's predictions, which are out of sample; "
                "--score, --probabilities, --calibrate and --threshold are of the training data"
            )


@dataclass(frozen=True)
class Audit:
    """What was found. Train, validation and test are never mixed."""

    run: Run
    split: str
    n: int
    ranked_by: str
    suspects: pl.DataFrame  # columns of `suspects.rank`, most doubtful first
    planted: Planted | None = None
    calibration: Calibration | None = None
    best: pl.DataFrame | None = None  # which score finds planted errors best
    threshold: Threshold | None = None
    expected: float | None = None  # confident learning's own number of wrong labels
    reviewed: Estimate | None = None  # from the people who reviewed a random draw
    told: tuple[str, ...] = field(default=())


def audit(
    run: Run, wanted: Wanted | None = None, jobs: int = 1, say: Say = lambda s: None, tell: Tell = silent
) -> Audit:
    """The suspects of a run, most doubtful first. Trains only for folds, --calibrate and --threshold, and says so."""
    asked = wanted or Wanted()
    if not run.classes:
        raise InputError(f"{run.path}: a regression has no wrong classes to look for; `leadline score` ranks by loss")
    if asked.split != "train":
        return _held_out(run, asked)
    found = _planted(run, asked, jobs, say, tell) if asked.calibrate else None
    threshold = None
    if asked.threshold:
        say("training twice with threshold samples (each is kept, and never trained again)")
        threshold = threshold_samples(run, asked.seed, jobs, tell)
    if asked.probabilities:
        listed, ranked_by, expected, doubt = _by_probabilities(run, asked, jobs, say, tell)
    else:
        listed, ranked_by, doubt = _by_score(run, asked, found)
        expected = None
    about, best = (None, None) if found is None else _calibrated(found, asked, doubt)
    reviewed = estimated(run, "train")
    return Audit(run, "train", len(run.signals), ranked_by, listed, found, about, best, threshold, expected, reviewed)


def estimated(run: Run, split: str) -> Estimate | None:
    """The number of wrong labels by the newest draw of `leadline review` that is reviewed far enough; None without."""
    path = run.path / "decisions.sqlite"
    if not path.is_file():
        return None
    examples = run.train if split == "train" else run.examples.split(split)
    labels = dict(zip(examples.ids, examples.table["_label"].cast(pl.String).to_list(), strict=True))
    with Decisions(path, split, labels, run.classes) as decisions:
        together = reviewers.verdicts(decisions.current())
        for draw in decisions.draws()["draw"].to_list()[::-1]:
            table = decisions.drawn(draw)
            wrong = reviewers.wrong(together, table["id"].to_list())
            with contextlib.suppress(InputError):  # too few are reviewed
                return estimate.errors(queue.as_draw(table, np.arange(table.height)), wrong)
    return None


Doubt = Callable[[Run], np.ndarray]  # a run of the same data -> (N,), higher is more doubtful


def _planted(run: Run, asked: Wanted, jobs: int, say: Say, tell: Tell) -> Planted:
    say(
        f"planting {asked.rate:.0%} wrong labels ({asked.flips}) in a copy and training once on it (kept for next time)"
    )
    return planted(run, asked.rate, asked.flips, asked.seed, jobs, tell)


def _by_score(run: Run, asked: Wanted, found: Planted | None) -> tuple[pl.DataFrame, str, Doubt]:
    name = asked.score or DEFAULT
    if name != COMBINED:
        columns = runs.kept_scores(run).columns()
        return suspects.rank(run.signals, columns, name), name, lambda other: _doubt(other, name)
    assert found is not None
    mixed = combined.combine(_all(found.run), found.wrong, asked.seed)
    doubt = mixed.apply(_all(run))
    return (
        suspects.rank_doubt(run.signals, doubt),
        COMBINED,
        lambda other: mixed.doubt if other is found.run else mixed.apply(_all(other)),
    )


def _all(run: Run) -> dict[str, np.ndarray]:
    return runs.kept_scores(run).columns()


def _doubt(run: Run, name: str) -> np.ndarray:
    found, left_out = compute(run.signals, [name])
    if name in left_out:
        raise InputError(f"{run.path}: has no score `{name}`: {left_out[name]}")
    return doubts(found)[name]


def _by_probabilities(
    run: Run, asked: Wanted, jobs: int, say: Say, tell: Tell
) -> tuple[pl.DataFrame, str, float, Doubt]:
    q, how = _probabilities(run, asked, jobs, say, tell)
    doubt = _doubt_of(run, q, asked)
    listed, expected = _judged(run.train.ids, run.signals.gold, run.classes, q, doubt, asked, how)
    ranked_by = f"{asked.quality} {how}" + (f", filter {asked.filter}" if asked.filter else "")

    def doubt_of(other: Run) -> np.ndarray:
        return _doubt_of(other, _probabilities(other, asked, jobs, say, tell)[0], asked)

    return listed, ranked_by, expected, doubt_of


def _doubt_of(run: Run, q: np.ndarray, asked: Wanted) -> np.ndarray:
    """(N,) by label quality, or by an early outcome beside others of about the same step."""
    if asked.quality in probabilities.INFORMED:
        return probabilities.informed(run.signals, asked.quality)
    return -_quality(q, run.signals.gold, asked.quality)


def _probabilities(run: Run, asked: Wanted, jobs: int, say: Say, tell: Tell) -> tuple[np.ndarray, str]:
    if asked.probabilities == "folds":
        say(f"training {asked.folds} times, each without a fold (kept, and never trained again)")
        return out_of_sample(run, asked.folds, together(run), asked.seed, jobs, tell), f"by {asked.folds} folds"
    if asked.probabilities == "prequential":
        return probabilities.prequential(run.signals).values, "before it was trained on"
    return probabilities.own(run.signals).values, "by the run itself (in sample)"


def _quality(q: np.ndarray, gold: np.ndarray, name: str) -> np.ndarray:
    """(N,) label quality, NaN for a row without probabilities."""
    values, there = np.full(len(gold), np.nan), ~np.isnan(q).any(axis=1)
    values[there] = confident.QUALITY[name](q[there], gold[there])
    return values


def _judged(
    ids: Any, gold: np.ndarray, classes: tuple[str, ...], q: np.ndarray, doubt: np.ndarray, asked: Wanted, how: str
) -> tuple[pl.DataFrame, float]:
    """(suspects by a doubt (N,), confident learning's number of wrong labels)."""
    if asked.filter:
        doubt = np.where(confident.issues(q, gold, asked.filter).flagged, doubt, np.nan)
    there = ~np.isnan(q).any(axis=1)
    return suspects.rank_by(ids, gold, classes, q, doubt, how), confident.expected_errors(q[there], gold[there])


def _held_out(run: Run, asked: Wanted) -> Audit:
    """Of a split that was not trained on: the model's own predictions are out of sample."""
    table = run.predictions(asked.split)
    names = {name: k for k, name in enumerate(run.classes)}
    gold = np.array([names[label] for label in table["label"].to_list()])
    q = table.select([f"prob_{name}" for name in run.classes]).to_numpy()
    listed, expected = _judged(
        table["id"].to_list(),
        gold,
        run.classes,
        q,
        -_quality(q, gold, asked.quality),
        asked,
        "by a model that did not train on it",
    )
    told = ("validation data chose among epochs or recipes: their probabilities are nearly out of sample",)
    ranked_by = asked.quality + (f", filter {asked.filter}" if asked.filter else "")
    return Audit(run, asked.split, len(gold), ranked_by, listed, expected=expected,
                 reviewed=estimated(run, asked.split), told=told if asked.split == "validation" else ())  # fmt: skip


def _calibrated(found: Planted, asked: Wanted, doubt: Doubt) -> tuple[Calibration, pl.DataFrame]:
    ranked = doubt(found.run)
    return calibrate(ranked, found.wrong, seed=asked.seed), best_score(_all(found.run), found.wrong, seed=asked.seed)
