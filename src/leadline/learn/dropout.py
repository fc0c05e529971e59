"""Dropout on a processor, several times faster than torch's and from the same generator.

torch draws one number of its generator per element, on one thread: a seventh of a training step of a small encoder.
One draw of 64 bits serves four elements here. A probability is rounded to 1/65,536 and the scale follows it, so the
expectation stays exact. On a GPU torch's own kernel is fast, and is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

LEVELS = 1 << 16
ATTENTION = "leadline"  # the name under which transformers' models find `attention`


class Dropout(nn.Dropout):
    """As nn.Dropout; on a processor the mask comes from 16 bits per element."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu" or not x.is_floating_point():
            return super().forward(x)
        return drop(x, self.p)


def drop(x: Tensor, p: float) -> Tensor:
    """x with a share p of its elements set to 0 and the others divided by 1 - p, any shape."""
    level = round(p * LEVELS)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    bits = bits[: x.numel()].view(x.shape)  # uniform over [-32768, 32767]
    kept = torch.ge(bits, level - LEVELS // 2, out=torch.empty_like(x, memory_format=torch.contiguous_format))
    return x * kept.mul_(LEVELS / (LEVELS - level))


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """softmax(Q K^T s + mask) V with dropout of the weights; query, key, value (B, heads, T, d) -> (B, T, heads, d).

    torch's fused attention has no dropout on a processor and falls back to slow steps; what needs more than is done
    here (grouped heads, biases, causal masks that are not given) goes the way it always did.
    """
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", False)
    plain = not any(
        value is not None for name, value in kwargs.items() if name in ("position_bias", "softcap", "cache")
    )
    if not (dropout and plain and query.device.type == "cpu" and key.shape[1] == query.shape[1]) or (
        attention_mask is None and causal
    ):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    scores = torch.matmul(query * (scaling or query.shape[-1] ** -0.5), key.transpose(2, 3))  # (B, heads, T, T)
    if attention_mask is not None:
        blocked = attention_mask.logical_not() if attention_mask.dtype == torch.bool else None
        lowest = torch.finfo(scores.dtype).min
        scores = scores + attention_mask if blocked is None else scores.masked_fill_(blocked, lowest)
    weights = drop(scores.softmax(-1), dropout)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextlib.contextmanager
def quick(model: Any, device: torch.device) -> Iterator[None]:
    """Inside, the model drops as this file does: in its layers, and in its attention where transformers allows it.
    On a GPU nothing changes."""
    if device.type != "cpu":
        yield
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
    chosen = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if chosen == "sdpa":
        model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        if chosen == "sdpa":
            model.set_attn_implementation(chosen)
