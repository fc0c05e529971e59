"""The parts of a recipe that may read an earlier run: base, select, curriculum, mixup."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

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


class Mixup(Part):
    """Examples interpolated in pairs (Zhang et al. 2018), after `plain_epochs` of plain training.

    where         sentence: the vector that the head reads; layer: hidden states after one of `layers` (0: what the
                  first block reads), one drawn a step; embedding: layer 0; span: the anchor's least salient `span` (a
                  share of its tokens, which decides lambda) gives way to the partner's most salient one (SSMix)
    layers        null: after 7/12, 9/12 and 12/12 of the depth
    pairing       groupings: region (easy with easy, ambiguous with ambiguous; hard is left out), cross-region (easy
                  with ambiguous), label; and one order inside the groups: random (the default), similar, dissimilar, or
                  the name of a score, whose highest meets its lowest
    alpha, lam    the anchor's share: drawn from Beta(alpha, alpha), or fixed
    draw, fold    a lambda per `pair` or per `batch`; `fold`: never below 0.5
    consistency   weight of the Jensen-Shannon divergence between the anchor's clean and its mixed answer
    include_none  the region `none` is kept, and mixed with itself
    permutation   random partners by an independent shuffle, as in the original mixup
    head          dense, GELU, LayerNorm and dropout before the classifier, as in the reference: saved with the model
    size          as many mixed entries an epoch as examples are `kept`, or as the `original` training data has
    """

    where: Literal["sentence", "layer", "embedding", "span", "pixel"] = "sentence"
    span: Share = 0.1
    layers: list[Annotated[int, Field(ge=0)]] | None = Field(None, min_length=1)
    pairing: list[str] = ["region", "label", "entropy"]
    alpha: float = Field(1.0, gt=0, allow_inf_nan=False)
    lam: float | None = Field(None, ge=0, le=1)
    draw: Literal["pair", "batch"] = "pair"
    fold: bool = False
    consistency: float = Field(0.0, ge=0, allow_inf_nan=False)
    include_none: bool = False
    permutation: bool = False
    plain_epochs: int = Field(2, ge=0)
    head: bool = False
    size: Literal["kept", "original"] = "kept"

    @field_validator("pairing", mode="before")
    @classmethod
    def listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @property
    def by_region(self) -> bool:
        return bool({"region", "cross-region"} & set(self.pairing))

    @property
    def order(self) -> str:
        """random, similar, dissimilar, or the name of a score."""
        return next((word for word in self.pairing if word not in ("region", "cross-region", "label")), "random")

    @property
    def score(self) -> str | None:
        return None if self.order in ("random", "similar", "dissimilar") else self.order

    @model_validator(mode="after")
    def whole(self) -> Mixup:
        orders = [word for word in self.pairing if word not in ("region", "cross-region", "label")]
        if len(orders) > 1:
            raise ValueError(f"pairing: `{orders[0]}` and `{orders[1]}` are two orders; give one")
        if len(set(self.pairing)) < len(self.pairing):
            raise ValueError("pairing: a word stands there twice")
        if {"region", "cross-region"} <= set(self.pairing):
            raise ValueError("pairing: region mixes inside regions, cross-region between them; give one")
        if "cross-region" in self.pairing and self.order in ("similar", "dissimilar"):
            raise ValueError(f"pairing: cross-region takes random or a score, not {self.order}")
        if not self.pairing:
            raise ValueError("pairing: nothing is named; [random] pairs at random")
        if self.lam is not None and (self.alpha != 1.0 or self.draw != "pair"):
            raise ValueError("lam: a fixed lambda is not drawn; leave out alpha and draw")
        if self.include_none and "region" not in self.pairing:
            raise ValueError("include_none: only pairing by region leaves the region none out")
        if self.permutation and (self.order != "random" or "cross-region" in self.pairing):
            raise ValueError("permutation: only random partners inside a group can be an independent shuffle")
        if self.layers is not None and self.where != "layer":
            raise ValueError(f"layers: only `where: layer` draws among layers, not {self.where}")
        if self.where != "span" and self.span != 0.1:
            raise ValueError(f"span: only `where: span` replaces spans, not {self.where}")
        if self.where == "span" and (self.alpha != 1.0 or self.lam is not None or self.fold or self.draw != "pair"):
            raise ValueError(
                "where: span decides lambda by the length of the span; leave out alpha, lam, fold and draw"
            )
        return self
