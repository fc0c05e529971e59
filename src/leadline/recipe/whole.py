"""The whole recipe, and what must agree between its parts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from leadline.recipe.chosen import Base, Curriculum, Mixup, Select
from leadline.recipe.parts import Data, Evaluate, Loss, Model, Part, Record, Training


class Recipe(Part):
    format: Literal[1] = 1
    task: Literal["classification", "regression"] = "classification"
    data: Data
    model: str | Model = "minilm"
    base: Base | None = None
    select: Select | None = None
    curriculum: Curriculum | None = None
    mixup: Mixup | None = None
    training: Training = Training()
    loss: Loss = Loss()
    record: Record | None = Record()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def consistent(self) -> Recipe:
        if self.task == "regression":
            if not self.loss.plain:
                raise ValueError(
                    "loss: class weights, gamma, focal and smoothing need fixed classes; regression has none"
                )
            if self.data.label_distribution is not None:
                raise ValueError("data.label_distribution: regression has no classes to distribute over")
            if self.data.corrupt is not None:
                raise ValueError("data.corrupt: regression has no classes to confuse")
            if self.data.sample is not None and self.data.sample.per_class is not None:
                raise ValueError("data.sample.per_class: regression has no classes; use n")
        if self.training.early_stopping is not None and self.data.validation is None:
            raise ValueError("training.early_stopping needs validation data: set data.validation")
        if self.evaluate.scaled_predictions and (self.data.validation is None or self.task == "regression"):
            why = "regression has none" if self.task == "regression" else "set data.validation"
            raise ValueError(
                f"evaluate.scaled_predictions needs classes, and validation data for the temperature: {why}"
            )
        if self.evaluate.scaled_predictions and not self.evaluate.calibration:
            raise ValueError("evaluate.scaled_predictions needs evaluate.calibration, which fits the temperature")
        if self.record is not None and isinstance(self.record.checkpoints, list):
            beyond = [epoch for epoch in self.record.checkpoints if epoch > self.training.epochs]
            if beyond:
                raise ValueError(
                    f"record.checkpoints: there is no epoch {beyond[0]}; training.epochs is {self.training.epochs}"
                )
        if self.data.corrupt is not None and self.data.corrupt.kind == "by-confusion" and self.base is None:
            raise ValueError("data.corrupt: by-confusion needs `base: {run: …}`, whose validation confusions it copies")
        if self.base is None:
            asking = {
                "select": self.select is not None and self.select.needs_base,
                "curriculum": self.curriculum is not None and self.curriculum.score is not None,
                "loss.example_weights": self.loss.example_weights is not None,
                "mixup.pairing": self.mixup is not None and (self.mixup.by_region or self.mixup.score is not None),
            }
            for key in [key for key, asks in asking.items() if asks]:
                raise ValueError(f"{key} needs `base: {{run: …}}`, the run whose scores or regions it reads")
        if self.mixup is not None:
            self._mixed(self.mixup)
        if self.loss.gamma != 1.0 and self.loss.weighted_class is None:
            raise ValueError("loss.gamma needs loss.weighted_class, the class that it weights")
        return self

    def _mixed(self, mixup: Mixup) -> None:
        if mixup.plain_epochs >= self.training.epochs:
            raise ValueError(
                f"mixup.plain_epochs: {mixup.plain_epochs} of {self.training.epochs} epochs are plain, so nothing "
                "would be mixed; set it below training.epochs"
            )
        whole = self.record.every if self.record is not None and self.record.mode == "snapshot" else 1
        if self.record is not None and self.record.under_mixup is False and mixup.plain_epochs < whole:
            raise ValueError(
                f"record.under_mixup: false records plain epochs only, and mixup.plain_epochs is {mixup.plain_epochs}: "
                "nothing would be recorded; set plain_epochs higher, under_mixup: auto, or record: null"
            )
        if mixup.where == "pixel":
            raise ValueError(f"mixup.where: pixel mixes images; {self.task} reads texts")
        if mixup.where == "span" and len(self.data.inputs) > 1:
            raise ValueError("mixup.where: span mixes single texts; pairs of texts can be mixed at sentence or layer")
        if self.curriculum is not None:
            raise ValueError("mixup and curriculum both say what an epoch trains on; give one")
        if self.task == "regression" and ("label" in mixup.pairing or mixup.consistency):
            raise ValueError("mixup: pairing by label and consistency need classes; regression has none")

    @property
    def model_name(self) -> str:
        return self.model if isinstance(self.model, str) else self.model.name

    @property
    def learning_rate(self) -> float:
        """The default: 5e-4 for tiny (random weights), 5e-5 for minilm, else 2e-5."""
        return self.training.learning_rate or {"tiny": 5e-4, "minilm": 5e-5}.get(self.model_name, 2e-5)

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
