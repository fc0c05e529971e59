"""Mixing at the end of a model and before its beginning: sentence vectors, and pixels.

`SentenceMix` mixes the vector that the head reads, so one pass gives the mixed and the clean outcome: each example is
encoded once and serves as anchor and as partner. `between` mixes between the blocks, `span` in the text itself.

Zhang et al. 2018 (mixup, of pixels); Guo, Mao and Zhang 2019 and Sun et al. 2020 (sentence vectors).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from leadline.learn import models
from leadline.learn.tasks.batch import Batch

Clean = Literal["no", "look", "learn"]  # clean outcomes: not needed, without a gradient, with one


@dataclass(frozen=True)
class Pairing:
    """M mixed entries of the B examples of a batch: lam x[anchor] + (1 - lam) x[partner]; all (M,)."""

    anchor: Tensor
    partner: Tensor
    lam: Tensor

    def mix(self, x: Tensor) -> Tensor:
        """(B, …) -> (M, …), computed in float32."""
        lam = self.lam.float().view(-1, *[1] * (x.ndim - 1))
        return (lam * x[self.anchor] + (1 - lam) * x[self.partner]).to(x.dtype)

    def union(self, mask: Tensor) -> Tensor:
        """What either of the two sees: (B, …) bool, 0 / 1, or 0 / -inf to be added."""
        first, second = mask[self.anchor], mask[self.partner]
        return first | second if mask.dtype == torch.bool else torch.maximum(first, second)


@dataclass(frozen=True)
class Mixed:
    """What one pass gave: logits (M, K) of the mixed entries, and the model's output for the B examples, if asked."""

    logits: Tensor
    clean: Any | None


Run = Callable[[Batch], Any]  # the model on a batch: its output


def real(batch: Batch) -> Tensor:
    """(B, T) which tokens are real; one column where the inputs are no tokens."""
    mask = batch.inputs.get("attention_mask")
    first = next(iter(batch.inputs.values()))
    return torch.ones(len(first), 1, device=first.device) if mask is None else mask


class SentenceMix:
    """Listens at the head of a model; after a forward pass, mixes the sentence vectors that it heard."""

    free = True  # the clean outcome costs nothing

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

    def __call__(self, run: Run, batch: Batch, pairing: Pairing, step: int, clean: Clean) -> Mixed:
        output = run(batch)
        if self.vectors is None:
            raise RuntimeError("no forward pass reached the head")
        self.listening = False  # the head's own second call must not replace what was heard
        try:
            logits = self.head(pairing.mix(self._pooled(self.vectors)))
        finally:
            self.listening = True
        return Mixed(logits, output)

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


class PixelMix:
    """Mixes the images themselves (Zhang et al.). Clean outcomes are another pass."""

    free = False

    def __call__(self, run: Run, batch: Batch, pairing: Pairing, step: int, clean: Clean) -> Mixed:
        mixed = {"pixel_values": pairing.mix(batch.inputs["pixel_values"])}
        output = run(replace(batch, inputs=mixed))
        if clean == "no":
            return Mixed(output.logits, None)
        with torch.set_grad_enabled(clean == "learn"), undisturbed(batch.inputs["pixel_values"], clean == "look"):
            return Mixed(output.logits, run(batch))

    def close(self) -> None:
        """Nothing was hooked."""


def undisturbed(x: Tensor, asked: bool) -> Any:
    """Inside, drawing random numbers leaves the generators of the processor and of the device of x as they were."""
    devices = [x.device] if x.device.type == "cuda" else []
    return torch.random.fork_rng(devices, enabled=asked)
