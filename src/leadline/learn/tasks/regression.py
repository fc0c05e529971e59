"""Regression: one number per text.

The model learns standardised targets, so that the loss starts near 1 whatever the unit of the labels;
`models.fold_scale` puts mean and deviation into the head before the model is saved, so that it answers in that unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from leadline.learn import losses
from leadline.learn.outcome import Outcome
from leadline.learn.tasks.batch import Batch, Row
from leadline.learn.tasks.classification import TextEncoder, as_targets


@dataclass(frozen=True)
class Regression:
    """The outcome's loss is the squared error in the unit of the labels; nothing else is defined."""

    encoder: TextEncoder
    mean: float = 0.0
    std: float = 1.0
    packs: ClassVar[bool] = True

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        return self.encoder.encode(rows)

    def length(self, row: Row) -> int:
        return len(row[0]["input_ids"])

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        """targets (B,) numbers."""
        return Batch(self.encoder.collate(rows), as_targets(np.asarray(targets, dtype=np.float32)))

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        return losses.squared_error(output.logits[:, 0], (batch.targets - self.mean) / self.std)

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        predicted = output.logits[:, 0].detach().float() * self.std + self.mean
        return Outcome.of_loss(losses.squared_error(predicted, batch.targets), prediction=predicted)
