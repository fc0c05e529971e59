"""The parts of a recipe that read an earlier run: base, select, curriculum."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from leadline.recipe.parts import Part, Share


class Regions(Part):
    """How the base's data map is cut."""

    rule: Literal["proportion", "threshold", "data-iq"] = "proportion"
    proportion: float = Field(0.33, gt=0, le=1)
    precedence: Literal["hard_first"] | list[str] = ["ambiguous", "easy", "hard"]

    @model_validator(mode="after")
    def of_rule(self) -> Regions:
        self.read_by("rule", {"proportion": ["proportion"], "precedence": ["proportion", "threshold"]})
        return self


class Base(Part):
    """An earlier run whose signals other keys read: select, curriculum, loss.example_weights, by-confusion.

    Its rows are joined by id; inputs must be the same, labels too unless `labels: ignore`.
    """

    run: str
    max_epochs: int | None = Field(None, ge=1)
    skip_epochs: int = Field(0, ge=0)
    labels: Literal["same", "ignore"] = "same"
    regions: Regions = Regions()


class Select(Part):
    """Which of the training examples are trained on; all others stay in the run and are only not trained.

    One way of choosing: `keep` regions of the base; a `score` of the base, as it is (high AUM is easy), with
    `drop_highest`, `keep_highest` or `keep_lowest`, a share; `random`, a share; `ids`, a file with an id a line.
    `control: true` draws as many rows at random (by training.seed) instead: the control of the same size.
    """

    keep: list[Literal["easy", "ambiguous", "hard", "none"]] | None = Field(None, min_length=1)
    score: str | None = None
    drop_highest: Share | None = None
    keep_highest: Share | None = None
    keep_lowest: Share | None = None
    random: Share | None = None
    ids: str | None = None
    control: bool = False

    @property
    def by_score(self) -> dict[str, float]:
        shares = {name: getattr(self, name) for name in ("drop_highest", "keep_highest", "keep_lowest")}
        return {name: share for name, share in shares.items() if share is not None}

    @property
    def needs_base(self) -> bool:
        return self.keep is not None or self.score is not None

    @model_validator(mode="after")
    def one_way(self) -> Select:
        ways = [w is not None for w in (self.keep, self.score, self.random, self.ids)]
        if sum(ways) != 1 or (self.score is not None) != (len(self.by_score) == 1):
            shares = "`drop_highest`, `keep_highest`, `keep_lowest`"
            raise ValueError(f"give one of `keep`, `random`, `ids`, or `score` with one of {shares}")
        return self


class Curriculum(Part):
    """In which order examples come in: a growing share of them, by a score of the base or in random order.

    order     easy-first | hard-first (by `score`) | random (the same pacing in random order: the control)
    pacing    the share c available when t of the T = full_at x all steps are taken (1 afterwards):
              linear, root (Platanios et al. 2019; `root` 2: square root), step (Hacohen and Weinshall 2019: times
              `factor` at equal distances), from `start`; baby-steps (`buckets` of equal size, one more each time)
    balanced  the order is kept within each class, so that the shares of the classes never change
    """

    score: str | None = None
    order: Literal["easy-first", "hard-first", "random"] = "easy-first"
    pacing: Literal["linear", "root", "step", "baby-steps"] = "linear"
    start: float = Field(0.3, gt=0, le=1)
    full_at: float = Field(0.5, gt=0, le=1)
    root: float = Field(2.0, gt=0)
    factor: float = Field(1.9, gt=1)
    buckets: int = Field(3, ge=2)
    balanced: bool = True

    @model_validator(mode="after")
    def scored(self) -> Curriculum:
        if (self.score is None) != (self.order == "random"):
            raise ValueError("easy-first and hard-first need a `score`, `order: random` takes none")
        self.read_by("pacing", {"start": ["linear", "root", "step"], "root": ["root"], "factor": ["step"],
                                "buckets": ["baby-steps"]})  # fmt: skip
        return self
