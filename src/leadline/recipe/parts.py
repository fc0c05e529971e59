"""The parts of a recipe: data, model, training, loss, record, evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator


def _written(value: Any) -> Any:
    """A name that looks like a number or a truth value, as it was written: class 1, column 7."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


Name = Annotated[str, BeforeValidator(_written)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)

    def read_by(self, choice: str, readers: Mapping[str, Sequence[str]]) -> None:
        """ValueError for a key that was given and that the value of `choice` does not read: {key: values that do}."""
        chosen = getattr(self, choice)
        for key, values in readers.items():
            if chosen not in values and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"`{key}` is of `{choice}: {' | '.join(values)}`, not of `{chosen}`; leave it out")


class Sample(Part):
    """A random part of the training rows: `n` in all, or `per_class` of each class."""

    n: int | None = Field(None, gt=0)
    per_class: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def one_of_two(self) -> Sample:
        if (self.n is None) == (self.per_class is None):
            raise ValueError("give either `n` or `per_class`")
        return self


class Corrupt(Part):
    """Wrong labels put in on purpose, for benchmarks; the truth is kept in `_true_label`.

    `threshold` gives a part of the training rows a class of their own, which nothing in them can justify (the threshold
    samples of AUM): `part` 0 and 1 are disjoint. Its rate is 1 / (K + 1) when none is given, the others need one.
    """

    rate: float | None = Field(None, gt=0, lt=1)
    kind: Literal["uniform", "class-pair", "by-confusion", "threshold"] = "uniform"
    part: Literal[0, 1] = 0

    @model_validator(mode="after")
    def whole(self) -> Corrupt:
        if self.rate is None and self.kind != "threshold":
            raise ValueError("give the `rate` of wrong labels, 0.1 for one in ten")
        self.read_by("kind", {"part": ["threshold"]})
        return self


class Data(Part):
    train: str
    validation: str | float | None = 0.1
    test: str | None = None
    id: Name | None = None
    text: Name | list[Name] = "text"
    label: Name | None = "label"
    label_distribution: Name | list[Name] | None = None
    weight: Name | None = None
    group: Name | None = None
    sample: Sample | None = None
    corrupt: Corrupt | None = None
    null_input: bool = False  # every input becomes the empty text after checking; ids and hashes stay
    seed: int = Field(0, ge=0, lt=2**32)

    @field_validator("validation")
    @classmethod
    def fraction(cls, value: str | float | None) -> str | float | None:
        if isinstance(value, float | int) and not 0 < value < 1:
            raise ValueError("a fraction must lie between 0 and 1 (null for no validation data)")
        return value

    @field_validator("text")
    @classmethod
    def one_or_two(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and not 1 <= len(value) <= 2:
            raise ValueError("one or two text columns")
        return value

    @property
    def inputs(self) -> list[str]:
        return [self.text] if isinstance(self.text, str) else list(self.text)


class Model(Part):
    """`name` is a Hub id or a local directory, `minilm` (PyPI package), or `tiny` (built from the training texts)."""

    name: str
    revision: str | None = None
    dropout: float | None = Field(None, ge=0, lt=1)


class EarlyStopping(Part):
    metric: str = "macro_f1"
    patience: int = Field(2, ge=1)


class Training(Part):
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.06, ge=0, lt=1)
    schedule: Literal["linear", "cosine", "constant", "step"] = "linear"
    step_factor: float = Field(0.5, gt=0, le=1)  # schedule: step multiplies the rate by this after every epoch
    max_length: int = Field(256, ge=8)
    max_grad_norm: float | None = Field(1.0, gt=0)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    early_stopping: EarlyStopping | None = None
    steps: Literal["same-as-full"] | None = None  # a subset is gone through until the full data's steps are taken
    checkpoint_minutes: float = Field(10, ge=0)  # besides those at the end of every epoch
    log_every: int = Field(20, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def of_schedule(self) -> Training:
        self.read_by("schedule", {"step_factor": ["step"]})
        return self


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


class ExampleWeights(Part):
    """Weights from a score of the base: what is hard counts less (`favour: easy`) or more (`favour: hard`).

    rank   falls linearly with the rank, from 1 to `lowest`; all are divided by their mean
    drop   0 for the share `drop` that is favoured least, 1 for the others
    """

    score: str
    rule: Literal["rank", "drop"] = "rank"
    favour: Literal["easy", "hard"] = "easy"
    lowest: float = Field(0.1, ge=0, lt=1)
    drop: Share = 0.1

    @model_validator(mode="after")
    def of_rule(self) -> ExampleWeights:
        self.read_by("rule", {"lowest": ["rank"], "drop": ["drop"]})
        return self


class Loss(Part):
    name: Literal["cross-entropy"] = "cross-entropy"
    weighted_class: Name | None = None
    gamma: float = Field(1.0, gt=0)
    class_weights: Literal["balanced", "effective"] | dict[str, Weight] | None = None
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    focal_gamma: float | None = Field(None, ge=0)
    example_weights: ExampleWeights | None = None

    @property
    def plain(self) -> bool:
        """Nothing here needs classes."""
        return self == Loss(example_weights=self.example_weights)


class Record(Part):
    mode: Literal["online", "snapshot"] = "online"
    every: float = Field(1.0, gt=0)
    logits: bool = True
    under_mixup: Literal["auto"] | bool = "auto"  # clean outcomes of mixed epochs; auto: where they cost nothing
    checkpoints: Literal["all"] | list[Annotated[int, Field(ge=1)]] | None = None  # epochs whose weights are kept

    @model_validator(mode="after")
    def fractions_are_snapshots(self) -> Record:
        if self.every < 1 and self.mode == "online":
            self.mode = "snapshot"  # within an epoch not every row has been met online
        whole = 1 / self.every if self.every < 1 else self.every
        if abs(whole - round(whole)) > 0.04:  # 0.33 is a third
            raise ValueError("`every` is a whole number of epochs, or a whole part of one: 1/2, 1/3, 1/4, …")
        return self


class Evaluate(Part):
    metrics: Literal["auto"] | Annotated[list[str], Field(min_length=1)] = "auto"
    calibration: bool = True  # gaps of confidence and accuracy; a temperature, where there are validation data
    scaled_predictions: bool = False  # predictions/ also hold the probabilities at that temperature
    ood: list[str] = []  # texts that are not of this kind, [KIND:][NAME=]FILE[#COLUMN] each: `leadline ood`
    # what its distances read; null: as the head does
    features: Literal["pooled", "cls"] | Annotated[list[int], Field(min_length=1)] | None = None
    # kinds of noise, each with a rate, several or its default; []: all kinds
    robustness: list[str] | dict[str, float | list[float] | None] | None = None
    splits: list[Literal["train", "validation", "test"]] = ["validation", "test"]
