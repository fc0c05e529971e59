"""A trained model reads texts: logits and what the distances compare, in one pass a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.data.examples import Examples
from leadline.learn import models, represent
from leadline.learn.predict import predict
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import Classification, TextEncoder
from leadline.learn.tasks.regression import Regression
from leadline.learn.tokens import kept_tokens


@dataclass(frozen=True)
class Reader:
    """A trained model that reads texts: logits and features in one pass."""

    network: Any
    tokenizer: Any
    classes: Sequence[str]
    max_length: int
    device: Any
    features: represent.Where = None

    def read(self, examples: Examples) -> dict[str, np.ndarray]:
        """logits (N, K), penultimate (N, D) and features (N, H), of those that the model has."""
        length = models.max_tokens(self.network, self.tokenizer, self.max_length)
        encoder = TextEncoder(self.tokenizer, examples.inputs, length, models.takes_positions(self.network))
        task: Task = Classification(encoder) if self.classes else Regression(encoder)
        nothing = np.zeros(len(examples), dtype=np.int64 if self.classes else np.float64)
        with represent.watched(self.network, self.features) as also:
            encoded = kept_tokens(task, examples)
            found = predict(self.network, task, encoded, nothing, self.device, also=also)
        read = {str(name): found[name] for name in ("logits", "penultimate", "features") if name in found}
        if "features" not in read and "penultimate" in read:
            read["features"] = read["penultimate"]
        return read

    def head(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """weight (K, D) and bias (K,) of the decision layer; a layer without bias has zeros."""
        layer = represent.decision(self.network) if self.classes else None
        if layer is None:
            return None, None
        weight = layer.weight.detach().float().cpu().numpy()
        return weight, np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().cpu().numpy()
