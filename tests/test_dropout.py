"""Dropout on a processor: the share, the scale, the gradient, the attention; and that nothing of it is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from leadline.learn import dropout, models
from tiny_models import FAMILIES, checkpoint

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 3])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_share_and_scale(p, kind):
    torch.manual_seed(0)
    n = 400_001  # not a multiple of four
    x = dropout.drop(torch.ones(n, dtype=kind), p)
    level = round(p * 65536) / 65536
    share = (x == 0).float().mean().item()
    assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / n)
    assert x.max().item() == pytest.approx(1 / (1 - level), rel=1e-2 if kind == torch.bfloat16 else 1e-6)
    assert len(x.unique()) == 2


def test_neighbours_are_independent():
    """Four elements share a draw of 64 bits: the sixteen patterns of four must all be as frequent as they should."""
    torch.manual_seed(0)
    kept = (dropout.drop(torch.ones(400_000), 0.5) > 0).view(-1, 4)
    patterns = np.bincount((kept * torch.tensor([8, 4, 2, 1])).sum(1).numpy(), minlength=16)
    chi = ((patterns - 100_000 / 16) ** 2 / (100_000 / 16)).sum()
    assert chi < 37.7  # 15 degrees of freedom, one in a thousand


def test_the_gradient_is_the_mask():
    torch.manual_seed(0)
    x = torch.randn(7, 33, requires_grad=True)
    y = dropout.drop(x, 0.25)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0) and torch.allclose(x.grad * x.detach(), y.detach())


def test_the_generator_of_torch_decides():
    torch.manual_seed(3)
    one, other = (dropout.drop(torch.ones(100), 0.5) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(one, dropout.drop(torch.ones(100), 0.5)) and not torch.equal(one, other)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_without_a_draw_is_torchs(masked, monkeypatch):
    monkeypatch.setattr(dropout, "drop", lambda x, p: x)  # only what surrounds the draw
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 4, 6, 8) for _ in range(3))
    mask = (torch.rand(3, 1, 1, 6) > 0.3).expand(3, 1, 6, 6) if masked else None
    if masked:
        mask = mask.clone()
        mask[..., 0] = True
    module = nn.Module()
    module.is_causal = False
    ours = dropout.attention(module, q, k, v, mask, dropout=0.1)[0]
    theirs = sdpa_attention_forward(module, q, k, v, mask, dropout=0.0)[0]
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_causal_attention_without_a_mask_goes_the_way_it_did():
    q = torch.randn(1, 2, 5, 4)
    module = nn.Module()
    module.is_causal = True
    torch.manual_seed(0)
    ours = dropout.attention(module, q, q, q, None, dropout=0.5)[0]
    torch.manual_seed(0)
    assert torch.equal(ours, sdpa_attention_forward(module, q, q, q, None, dropout=0.5)[0])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_is_the_same_afterwards(family, tmp_path):
    path = checkpoint(family, tmp_path)
    model, tokenizer = models.load(str(path), ["a", "b"])
    model.eval()
    inputs = tokenizer(["some words here", "and more"], return_tensors="pt", padding=True)
    before, chosen = model(**inputs).logits, model.config._attn_implementation
    with dropout.quick(model, CPU):
        inside = model(**inputs).logits
        model.train()
        torch.manual_seed(0)
        one, other = model(**inputs).logits, model(**inputs).logits
        model.eval()
    assert torch.allclose(before, inside, atol=1e-6)
    if models.dropout_of(model) > 0:
        assert not torch.equal(one, other)
    assert model.config._attn_implementation == chosen and torch.equal(model(**inputs).logits, before)
    models.save(model, tokenizer, tmp_path / "saved")
    assert "leadline" not in (tmp_path / "saved" / "config.json").read_text()


def test_a_gpu_keeps_its_own():
    model = nn.Sequential(nn.Dropout(0.1))
    with dropout.quick(model, torch.device("cuda")):
        assert type(model[0]) is nn.Dropout
