"""Language modelling: how probable a text is, token by token, to a causal language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from leadline.learn.outcome import Outcome
from leadline.learn.tasks.batch import Batch, Row, pad


@dataclass(frozen=True)
class LanguageModel:
    """-log p of each token given those before it, padded on the right.

    A text is begun by the tokenizer's BOS token and ended by its EOS token where it has them. The first token is what
    the others are conditioned on and is not scored: where that is BOS, every token of the text is. A text cut at
    max_length has no EOS.
    """

    tokenizer: Any
    max_length: int

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """rows have one column, `text`."""
        if not rows:
            return []
        begin = [token] if (token := self.tokenizer.bos_token_id) is not None else []
        end = [token] if (token := self.tokenizer.eos_token_id) is not None else []
        texts = [str(row["text"]) for row in rows]
        found = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        whole = [[*begin, *ids, *end][: self.max_length] for ids in found]
        return [
            [{"input_ids": np.asarray(ids or [0], dtype=np.int32)}] for ids in whole
        ]  # an empty text: nothing scored

    def length(self, row: Row) -> int:
        return len(row[0]["input_ids"])

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        """targets are not read: the text is its own target."""
        inputs = pad([row[0] for row in rows], {})
        return Batch(inputs, {"next": inputs["input_ids"][:, 1:], "real": inputs["attention_mask"][:, 1:]})

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        """(B,) mean over the tokens of each text: every text counts the same."""
        return self._tokens(output, batch).sum(1) / batch.targets["real"].sum(1).clamp(min=1)

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        """loss is the mean over tokens; extra: `nll`, their sum, and `tokens`, how many were scored."""
        nll, tokens = self._tokens(output, batch).sum(1), batch.targets["real"].sum(1)
        return Outcome.of_loss(nll / tokens.clamp(min=1), nll=nll, tokens=tokens)

    @staticmethod
    def _tokens(output: Any, batch: Batch) -> Tensor:
        """(B, T - 1) -log p of each token, in float32, 0 where padded."""
        z = output.logits[:, :-1].float().transpose(1, 2)  # (B, V, T - 1)
        return F.cross_entropy(z, batch.targets["next"], reduction="none") * batch.targets["real"]
