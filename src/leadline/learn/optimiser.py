"""The optimiser, its schedule, and which epoch's weights are the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from leadline.recipe import Training


@dataclass
class Best:
    """Early stopping: the weights of the best epoch on validation data, and how long ago it was."""

    metric: str
    patience: int
    better: Callable[[float, float], bool]
    value: float | None = None
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def stop(self, metrics: Mapping[str, float], weights: Callable[[], dict[str, Tensor]], epoch: int) -> bool:
        """Takes note of an epoch; True when none of the last `patience` was better. `weights()` gives the model's."""
        value = metrics[self.metric]
        if self.value is None or math.isnan(self.value) or self.better(value, self.value):
            self.value, self.epoch = value, epoch
            self.weights = weights()
        return epoch - self.epoch >= self.patience

    @property
    def found(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "metric": self.metric, "value": self.value}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"value": self.value, "epoch": self.epoch, "weights": self.weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.value, self.epoch, self.weights = state["value"], state["epoch"], state["weights"]


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused; biases and normalisation weights are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    kept = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def schedule(optimizer: torch.optim.Optimizer, training: Training, counts: Sequence[int]) -> LambdaLR:
    """Warm-up over the first `warmup` of all steps, then linear, cosine, constant, or a factor after every epoch."""
    total = sum(counts)
    warm = int(training.warmup * total)
    if training.schedule == "step":
        ends = np.cumsum(counts)

        def factor(step: int) -> float:
            risen = (step + 1) / (warm + 1) if step < warm else 1.0
            return risen * training.step_factor ** int((ends <= step).sum())

        return LambdaLR(optimizer, factor)
    name = "constant_with_warmup" if training.schedule == "constant" else training.schedule
    return get_scheduler(name, optimizer, num_warmup_steps=warm, num_training_steps=total)
