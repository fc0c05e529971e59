"""Classification of one text or of a pair: softmax over K fixed classes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from leadline.learn import losses
from leadline.learn.outcome import Outcome
from leadline.learn.tasks.batch import Batch, Row, pad


@dataclass(frozen=True)
class TextEncoder:
    """One or two text columns -> token ids. The tokenizer truncates long texts, a pair at its longer side."""

    tokenizer: Any
    columns: Sequence[str]
    max_length: int
    positions: bool = False  # the model takes position_ids

    def sign(self) -> str:
        """Everything besides the texts that decides the token ids: equal signs, equal tokens."""
        tokenizer = self.tokenizer
        if not tokenizer.is_fast:
            return os.urandom(16).hex()  # its rules are Python: nothing to compare
        words = json.loads(tokenizer.backend_tokenizer.to_str())
        words.update(truncation=None, padding=None)  # set by every call
        kept = {name: value for name, value in sorted(vars(tokenizer).items()) if isinstance(value, str | int | bool)}
        own = [version("tokenizers"), type(tokenizer).__name__, kept, tokenizer.model_input_names, self._blank]
        return json.dumps([*own, self.max_length, len(self.columns), words], sort_keys=True, default=str)

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        texts = [[str(row[name]) for row in rows] for name in self.columns]
        if not rows:
            return []
        encoded = self.tokenizer(*texts, truncation=True, max_length=self.max_length, return_attention_mask=False)
        blank = {name: value for name, value in self._blank.items() if name in encoded}
        return [  # a decoder's tokenizer makes nothing of an empty text: one pad token
            [{name: np.asarray(encoded[name][i] or [value], dtype=np.int32) for name, value in blank.items()}]
            for i in range(len(rows))
        ]

    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return pad([row[0] for row in rows], self._blank, self.tokenizer.padding_side, self.positions)

    @property
    def _blank(self) -> dict[str, int]:
        return {"input_ids": self.tokenizer.pad_token_id, "token_type_ids": self.tokenizer.pad_token_type_id}


@dataclass(frozen=True)
class Classification:
    encoder: TextEncoder
    class_weights: np.ndarray | None = None  # (K,)
    label_smoothing: float = 0.0
    focal_gamma: float | None = None
    packs: ClassVar[bool] = True  # one input an example, and logits that read its pooled vector: learn/packing.py

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        return self.encoder.encode(rows)

    def length(self, row: Row) -> int:
        return len(row[0]["input_ids"])

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        """targets (B,) class index or (B, K) distribution."""
        return Batch(self.encoder.collate(rows), as_targets(targets))

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        w = None if self.class_weights is None else torch.from_numpy(self.class_weights)
        return losses.cross_entropy(output.logits, batch.targets, w, self.label_smoothing, self.focal_gamma)

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        return Outcome.from_logits(output.logits, batch.targets)


def as_targets(targets: np.ndarray) -> Tensor:
    """Class indices stay integers, everything else becomes float32."""
    targets = np.asarray(targets)
    return torch.from_numpy(targets.astype(np.int64 if targets.dtype.kind in "iu" else np.float32))
