"""A model and the examples it is asked about; how a probe looks inside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from leadline.learn.models import blocks
from leadline.learn.predict import batches
from leadline.learn.tasks.batch import Batch, Row, Task


@dataclass(frozen=True)
class Subject:
    """A trained model and N examples, encoded once."""

    model: nn.Module
    task: Task
    encoded: Sequence[Row]
    targets: np.ndarray  # (N,) or (N, K)
    device: torch.device

    def __len__(self) -> int:
        return len(self.encoded)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) tokens."""
        return np.array([self.task.length(row) for row in self.encoded], dtype=np.int64)

    def batches(self, tokens: int) -> list[np.ndarray]:
        """All rows in order of length, so that next to nothing is padded."""
        return batches(self.lengths, tokens)

    def few(self) -> np.ndarray:
        """At most four rows of unequal length: what is not known of a model is tried on them."""
        order = np.argsort(self.lengths, kind="stable")
        return np.unique(order[np.linspace(0, len(order) - 1, 4).round().astype(int)])

    def batch(self, rows: np.ndarray) -> Batch:
        return self.task.collate([self.encoded[i] for i in rows], self.targets[rows]).to(self.device)


@contextlib.contextmanager
def asked(model: nn.Module) -> Iterator[None]:
    """Dropout off, and no gradient for any parameter: only what a probe asks for is differentiated."""
    was_training, wanted = model.training, [p.requires_grad for p in model.parameters()]
    model.eval()
    model.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        model.train(was_training)
        for parameter, before in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(before)


class Entrance:
    """The input of the first block: word, position and type embeddings, as the body's first layer reads them.

    While it listens the model starts anew here: `x` (B, T, D) of the last forward pass is a leaf with a gradient.
    """

    def __init__(self, model: Any):
        self.x = torch.empty(0)
        self.hook = blocks(model)[0].register_forward_pre_hook(self._enter, with_kwargs=True)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        if x.requires_grad:  # a block that is run again (ALBERT's layers are one)
            return None
        self.x = x.detach().requires_grad_()
        return ((self.x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": self.x})

    def __enter__(self) -> Entrance:
        return self

    def __exit__(self, *trouble: object) -> None:
        self.hook.remove()
