"""The audit of a run's labels: who is suspected, by which evidence, and how many wrong labels to expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline import runs, suspects
from leadline.audit.folds import out_of_sample
from leadline.audit.planted import Planted, check, planted
from leadline.audit.threshold import Threshold, threshold_samples
from leadline.errors import InputError, nearest
from leadline.launch import Tell
from leadline.runs import Run
from leadline.scores import SCORES
from leadline.suspects import combined, confident, probabilities, queue, reviewers
from leadline.suspects.decisions import Decisions
from leadline.suspects.drawn import drawn
from leadline.suspects.estimate import Estimate
from leadline.suspects.planted import Calibration, best_score, calibrate, doubts
from leadline.sweep.work import silent

COMBINED = "combined"
SOURCES = ("prequential", "run", "folds")
FOLDS = 5
RATE, FLIPS = 0.05, "uniform"  # of --calibrate
Doubt = Callable[[Run], np.ndarray]  # a run of the same data -> (N,), higher is more doubtful


@dataclass(frozen=True)
class Wanted:
    """What an audit is asked for. Raises InputError where one thing asked for leaves another without effect."""

    score: str | None = None  # of the run's scores, or `combined`; None: the usual one
    probabilities: str | None = None  # prequential, run, folds
    quality: str | None = None  # of the probabilities; None: self_confidence
    filter: str | None = None  # of cleanlab: only what it flags
    folds: int | None = None  # None: 5, where folds are asked for
    split: str = "train"
    calibrate: bool = False
    rate: float | None = None  # of the labels that calibrate flips; None: 0.05
    flips: str | None = None  # None: uniform
    threshold: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        held_out = self.split != "train"
        if held_out and (self.score or self.source or self.calibrate or self.threshold):
            raise InputError(
                f"--split {self.split} is audited by the model's predictions, which are out of sample; "
                "--score, --probabilities, --folds, --calibrate and --threshold are of the training data"
            )
        if self.score and self.source:
            raise InputError("audit: rank by --score or by --probabilities (or --folds), not by both")
        if self.probabilities and self.probabilities not in SOURCES:
            hint = nearest(self.probabilities, SOURCES)
            raise InputError(f"--probabilities {self.probabilities}: choose {', '.join(SOURCES)}.{hint}")
        if self.folds and self.source != "folds":
            raise InputError("--folds belongs to --probabilities folds")
        judged = held_out or self.source
        if (self.filter or self.quality) and not judged:
            name = "filter" if self.filter else "quality"
            raise InputError(f"--{name} judges probabilities: add --probabilities prequential, run or folds")
        if self.quality and self.quality not in confident.QUALITY:
            hint = nearest(self.quality, confident.QUALITY)
            raise InputError(f"--quality {self.quality}: choose {', '.join(confident.QUALITY)}.{hint}")
        if self.filter and self.filter not in confident.FILTERS:
            hint = nearest(self.filter, confident.FILTERS)
            raise InputError(f"--filter {self.filter}: choose {', '.join(confident.FILTERS)}.{hint}")
        if self.score == COMBINED and not self.calibrate:
            raise InputError("--score combined is learned from planted errors: add --calibrate")
        if (self.rate is not None or self.flips is not None) and not self.calibrate:
            raise InputError("--planted and --flips say how --calibrate plants errors: add --calibrate")

    @property
    def source(self) -> str | None:
        """Where the probabilities come from; a number of folds alone asks for folds."""
        return self.probabilities or ("folds" if self.folds else None)

    @property
    def why_fewer(self) -> str:
        """What the suspects are where they are not all rows: flagged, or those that anything is known of."""
        return "flagged" if self.filter else "with probabilities" if self.source else "with a score"

    @property
    def judge(self) -> str:
        """The label quality, or what stands for it."""
        return self.quality or "self_confidence"


@dataclass(frozen=True)
class Expected:
    """Confident learning's own number of wrong labels, and what it rests on."""

    value: float
    assumption: str


@dataclass(frozen=True)
class Audit:
    """What was found. Train, validation and test are never mixed."""

    run: Run
    split: str
    n: int
    ranked_by: str
    suspects: pl.DataFrame  # columns of `suspects.rank`, most doubtful first; with threshold samples below_threshold
    planted: Planted | None = None
    calibration: Calibration | None = None
    best: pl.DataFrame | None = None  # which score finds planted errors best
    threshold: Threshold | None = None
    expected: Expected | None = None
    reviewed: Estimate | None = None  # from the people who reviewed a random draw
    why_fewer: str = "with a score"  # what the suspects are, where they are not all rows


@dataclass(frozen=True)
class _Ranked:
    """The suspects of a run, and how another run of the same data is ranked by the same rule."""

    suspects: pl.DataFrame
    by: str
    doubt: Doubt
    expected: Expected | None = None


def audit(run: Run, wanted: Wanted | None = None, jobs: int = 1, tell: Tell = silent) -> Audit:
    """The suspects of a run, most doubtful first. Trains only for folds, --calibrate and --threshold, and says so."""
    asked = wanted or Wanted()
    if asked.split != "train":
        return _held_out(run, asked)
    found, calibration, best, threshold = None, None, None, None
    rate, flips = RATE if asked.rate is None else asked.rate, FLIPS if asked.flips is None else asked.flips
    if asked.calibrate:
        check(run, rate, flips, combined.FOLDS if asked.score == COMBINED else 1)
    ranked = None if asked.score == COMBINED else _ranked(run, asked, jobs, tell)  # first: it may be refused
    if asked.calibrate:
        found = planted(run, rate, flips, asked.seed, jobs, tell)
    if asked.threshold:
        threshold = threshold_samples(run, asked.seed, jobs, tell)
    if found is not None:
        ranked = ranked or _by_combination(run, found, asked.seed)
        calibration = calibrate(ranked.doubt(found.run), found.wrong, seed=asked.seed)
        best = best_score(_scores(found.run), found.wrong, seed=asked.seed)
    assert ranked is not None  # `combined` asks for --calibrate
    table = ranked.suspects
    if threshold is not None:
        below = pl.DataFrame({"id": run.train.ids, "below_threshold": threshold.flagged})
        table = table.join(below, on="id", how="left", maintain_order="left")
    return Audit(
        run, "train", len(run.signals), ranked.by, table, found, calibration, best, threshold, ranked.expected,
        estimated(run, "train"), asked.why_fewer,
    )  # fmt: skip


def estimated(run: Run, split: str) -> Estimate | None:
    """The number of wrong labels by the newest draw of `leadline review` that is reviewed far enough; None without."""
    path = run.path / "decisions.sqlite"
    if not path.is_file():
        return None
    examples = runs.split_of(run, split)
    labels = dict(zip(examples.ids, examples.table["_label"].cast(pl.String).to_list(), strict=True))
    with Decisions(path, split, labels, run.classes) as decisions:
        together = reviewers.verdicts(decisions.current())
        for draw in decisions.draws()["draw"].to_list()[::-1]:
            found = drawn(decisions.drawn(draw), together).estimate
            if found is not None:
                return found
    return None


def _scores(run: Run) -> dict[str, np.ndarray]:
    return runs.kept_scores(run).columns()


def _ranked(run: Run, asked: Wanted, jobs: int, tell: Tell) -> _Ranked:
    if asked.source:
        return _by_probabilities(run, asked, jobs, tell)
    scored = runs.kept_scores(run)
    columns = scored.columns()
    name = asked.score or suspects.usual(columns)
    if name in scored.left_out:
        raise InputError(f"{run.path}: has no score `{name}`: {scored.left_out[name]}")
    listed = suspects.rank(run.signals, columns, name)
    if asked.calibrate and SCORES[name].probe:
        raise InputError(f"--score {name}: a probe, which the training of --calibrate has not; choose another score")
    return _Ranked(listed, name, lambda other: doubts(_scores(other))[name])


def _by_combination(run: Run, found: Planted, seed: int) -> _Ranked:
    columns = _scores(run)
    mixed = combined.combine(_scores(found.run), found.wrong, seed)
    listed = suspects.rank_doubt(run.signals, mixed.apply(columns), columns.get("action_mean"))
    return _Ranked(listed, COMBINED, lambda _: mixed.doubt)  # each row's by weights learned without it


def _by_probabilities(run: Run, asked: Wanted, jobs: int, tell: Tell) -> _Ranked:
    def answers(of: Run) -> np.ndarray:
        if asked.source == "prequential":
            return probabilities.prequential(of.signals)
        if asked.source == "run":
            return probabilities.own(of.signals)
        return out_of_sample(of, folds, asked.seed, jobs, tell)

    def doubt(of: Run, q: np.ndarray) -> np.ndarray:
        return 1 - confident.label_quality(q, of.signals.gold, asked.judge)

    folds = asked.folds or FOLDS
    how, but = {
        "prequential": ("before it was trained on", ", and too many where a model that knew little yet was asked"),
        "run": ("by the run itself (in sample)", ", and too few where the model learned wrong labels by heart"),
        "folds": (f"by {folds} folds", ""),
    }[str(asked.source)]
    q, gold = answers(run), run.signals.gold
    listed, expected = _judged(run.train.ids, gold, run.classes, q, doubt(run, q), asked, how, but)
    return _Ranked(listed, _named(asked, how), lambda other: doubt(other, answers(other)), expected)


def _named(asked: Wanted, how: str) -> str:
    return f"{asked.judge} {how}" + (f", filter {asked.filter}" if asked.filter else "")


def _judged(
    ids: list[str], gold: np.ndarray, classes: tuple[str, ...], q: np.ndarray, doubt: np.ndarray, asked: Wanted,
    how: str, but: str = "",
) -> tuple[pl.DataFrame, Expected]:  # fmt: skip
    """(suspects by a doubt (N,), confident learning's number of wrong labels)."""
    if asked.filter:
        doubt = np.where(confident.issues(q, gold, asked.filter).flagged, doubt, np.nan)
    expected = Expected(confident.expected_errors(q, gold), f"the model errs alike within each class{but}")
    return suspects.rank_probabilities(ids, gold, classes, q, doubt, how), expected


def _held_out(run: Run, asked: Wanted) -> Audit:
    """Of a split that was not trained on: the model's own predictions are out of sample."""
    runs.split_of(run, asked.split)
    table, expected = run.predictions(asked.split), None
    if run.classes:
        names = {name: k for k, name in enumerate(run.classes)}
        gold = np.array([names[label] for label in table["label"].to_list()])
        q = table.select([f"prob_{name}" for name in run.classes]).to_numpy()
        doubt = 1 - confident.label_quality(q, gold, asked.judge)
        chose = ", and too few where validation data chose among epochs or recipes"
        how, but = "by a model that did not train on it", chose if asked.split == "validation" else ""
        listed, expected = _judged(table["id"].to_list(), gold, run.classes, q, doubt, asked, how, but)
        ranked_by = _named(asked, how)
    else:
        listed, ranked_by = _far_off(table), "the size of the error"
    reviewed = estimated(run, asked.split)
    return Audit(
        run, asked.split, table.height, ranked_by, listed, expected=expected, reviewed=reviewed,
        why_fewer=asked.why_fewer,
    )  # fmt: skip


def _far_off(predictions: pl.DataFrame) -> pl.DataFrame:
    """The suspects of a regression's predictions."""
    labels = predictions.select(pl.col("id").cast(pl.String), pl.col("label").cast(pl.String))
    listed = queue.by_probability(predictions, ()).join(labels, on="id", how="left", maintain_order="left")
    empty = {"suggested": pl.lit(None, pl.String), "probability": pl.lit(None, pl.Float64)}
    listed = listed.with_columns(**empty, rank=pl.int_range(1, pl.len() + 1))
    return listed.select("id", "label", "suggested", "probability", "score", "rank", "reason")
