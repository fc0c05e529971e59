"""What a task is, and the batch that it hands to the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from leadline.learn.outcome import Outcome

Input = Mapping[str, np.ndarray]  # one model input, without padding
Row = Sequence[Input]  # the inputs of one example: windows of a passage, options of a question; usually one


@dataclass(frozen=True)
class Batch:
    """I model inputs of B examples.

    inputs   what the model is called with, (I, T) each
    targets  what the task's loss needs: (B,), (B, K), or a dict of such
    owner    (I,) input -> position of its example in the batch; None: one input each
    """

    inputs: dict[str, Tensor]
    targets: Any
    owner: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        return Batch(_move(self.inputs, device), _move(self.targets, device), _move(self.owner, device))

    def towards(self, targets: Tensor) -> Batch:
        """The same inputs, trained towards other targets."""
        return replace(self, targets=targets)


class Task(Protocol):
    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Rows of the examples table -> model inputs, many at once because tokenizers are fastest so."""

    def length(self, row: Row) -> int:
        """Tokens of the longest input of the row."""

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        """Rows and their targets -> one padded batch."""

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        """(B,) with a gradient; weights of classes and smoothing included, weights of examples not."""

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        """(B,) what the output says of each example, reduced by owner."""


def pad(
    inputs: Sequence[Input], blank: Mapping[str, int], side: str = "right", positions: bool = False
) -> dict[str, Tensor]:
    """Inputs of unequal length -> {name: (I, T)} with an attention mask.

    blank      the padding value of each field (0 where not named)
    positions  add position_ids that count real tokens only: without them left padding shifts every position
    """
    lengths = np.array([len(item["input_ids"]) for item in inputs])
    t = int(lengths.max())
    column = np.arange(t)
    mask = column < lengths[:, None] if side == "right" else column >= t - lengths[:, None]  # (I, T)
    tensors = {}
    for name in inputs[0]:
        array = np.full((len(inputs), t), blank.get(name, 0), dtype=np.int64)
        array[mask] = np.concatenate([item[name] for item in inputs])
        tensors[name] = torch.from_numpy(array)
    tensors["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    if positions and side == "left":
        tensors["position_ids"] = (tensors["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return tensors


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _move(item, device) for name, item in value.items()}
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
