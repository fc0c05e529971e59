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

from leadline.learn import packing

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
    plain = not any(kwargs.get(name) is not None for name in ("position_bias", "softcap", "cache", "sliding_window"))
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", False)
    able = plain and query.device.type == "cpu" and key.shape[1] == query.shape[1]
    packer = packing.active[-1] if packing.active and packing.active[-1].layout is not None else None
    if not able or (attention_mask is None and causal) or not (dropout or packer):
        if packer:
            raise ValueError("this attention cannot be packed")
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    scale = scaling or query.shape[-1] ** -0.5

    def inner(q: Tensor, k: Tensor, v: Tensor, blocked: Tensor | None) -> Tensor:
        return _attend(q * scale, k, v, blocked, dropout)

    if packer:
        return packer.attend(query, key, value, inner), None
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        return _attend(query * scale, key, value, None, dropout, attention_mask), None
    return inner(query, key, value, None if attention_mask is None else attention_mask.logical_not()), None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, dropout: float, bias: Tensor | None = None
) -> Tensor:
    """query (already scaled), key, value (B, heads, T, d) -> (B, T, heads, d)."""
    scores = torch.matmul(query, key.transpose(2, 3))  # (B, heads, T, T)
    if bias is not None:
        scores = scores + bias
    if blocked is not None:
        scores = scores.masked_fill_(blocked, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    if dropout:
        weights = drop(weights, dropout)
    return torch.matmul(weights, value).transpose(1, 2).contiguous()


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
            if type(child) is nn.Dropout and "forward" not in vars(child):  # the head's own runs in float32
                setattr(module, name, Dropout(child.p).train(child.training))
    chosen = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if chosen == "sdpa":
        model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        if chosen == "sdpa":
            model.set_attn_implementation(chosen)
