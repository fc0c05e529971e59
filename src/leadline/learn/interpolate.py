"""Mixing inside the model. `sentence`: the vector that the head reads is mixed, so one pass of the body serves
both the clean outcome (the head on the vector itself) and the mixed loss (the head once more).

Zhang et al. 2018 (mixup); Sun et al. 2020 (sentence level).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from leadline.learn import models


class SentenceMix:
    """Listens at the head of a model; after a forward pass, gives the logits of mixed sentence vectors."""

    def __init__(self, model: nn.Module):
        self.head = models.head(model)
        self.vectors: Tensor | None = None
        self.pad = getattr(model.config, "pad_token_id", None)
        self.real: Tensor | None = None  # (B, T) which tokens the model's own pooling takes for real
        self.hooks = [
            self.head.register_forward_pre_hook(self._listen, with_kwargs=True),
            model.register_forward_pre_hook(self._read_tokens, with_kwargs=True),
        ]
        self.listening = True

    def __call__(self, anchor: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        """(M, K) logits of lam h[anchor] + (1 - lam) h[partner], the positions of the last forward pass's inputs.

        The lambda used is the lambda given: a sentence vector has no length to round to.
        """
        if self.vectors is None:
            raise RuntimeError("no forward pass before mixing")
        h = self._pooled(self.vectors)  # (B, H), or (B, T, H) where the head pools by itself
        lam = lam.to(h).view(-1, *[1] * (h.ndim - 1))
        self.listening = False  # the head's own second call must not replace what was heard
        try:
            logits = self.head(lam * h[anchor] + (1 - lam) * h[partner])
        finally:
            self.listening = True
        return logits

    def _pooled(self, h: Tensor) -> Tensor:
        """A decoder's linear head reads every position; its sentence vector is that of the last real token."""
        if h.ndim == 3 and isinstance(self.head, nn.Linear):
            if self.real is None:
                last = torch.full((len(h),), h.shape[1] - 1, device=h.device)
            else:
                last = (torch.arange(h.shape[1], device=h.device) * self.real).argmax(-1)
            return h[torch.arange(len(h), device=h.device), last]
        return h

    def _listen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.listening:
            self.vectors = (args[0] if args else next(iter(kwargs.values()))).float()

    def _read_tokens(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """As transformers' decoders do: real is what is not the pad token, an end token of the text included."""
        tokens = kwargs.get("input_ids")
        self.real = None if tokens is None or self.pad is None else tokens != self.pad

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()
