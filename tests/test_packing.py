"""Training without padding: the same logits and the same gradients as with it, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from leadline.learn import dropout, models, packing
from tiny_models import FAMILIES, checkpoint, sentences

CPU = torch.device("cpu")
PACKED = {"bert", "roberta"}  # at least


def trained(family: str, path, dropout_p: float = 0.0):
    model, tokenizer = models.load(models.Model(name=str(checkpoint(family, path)), dropout=dropout_p), ["a", "b", "c"])
    texts = ["word", *sentences(12), "one more that is the longest of them all and goes on for a while"]
    return model, tokenizer(texts, return_tensors="pt", padding=True)


def gradients(model: nn.Module, inputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    logits = model(**inputs).logits
    (logits.log_softmax(-1) * torch.arange(3.0)).sum().backward()
    return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_logits_and_gradients_are_those_of_padded_training(family, tmp_path):
    model, inputs = trained(family, tmp_path)
    model.eval()
    plain, there = gradients(model, inputs)
    with dropout.quick(model, CPU), packing.packed(model, inputs, CPU) as packer:
        assert (packer is not None) or family not in PACKED
        if packer is None:
            return
        ours, here = gradients(model, packer(inputs))
        again = model(**inputs).logits  # padded inputs pass through as ever
    assert torch.allclose(plain, ours, atol=1e-5) and torch.allclose(plain, again, atol=1e-5)
    assert there.keys() == here.keys()
    for name in there:
        assert torch.allclose(there[name], here[name], atol=1e-5), name


def test_nothing_is_left_behind(tmp_path):
    model, inputs = trained("bert", tmp_path)
    model.train()
    with dropout.quick(model, CPU), packing.packed(model, inputs, CPU) as packer:
        assert packer is not None and model.training
    assert not packing.active and not model.base_model.encoder._forward_hooks


def test_dropout_works_on_packed_tokens(tmp_path):
    model, inputs = trained("bert", tmp_path, dropout_p=0.5)
    model.train()
    with dropout.quick(model, CPU), packing.packed(model, inputs, CPU) as packer:
        torch.manual_seed(0)
        one, other = model(**packer(inputs)).logits, model(**packer(inputs)).logits
        torch.manual_seed(0)
        again = model(**packer(inputs)).logits
    assert not torch.equal(one, other) and torch.equal(one, again)


def test_a_model_that_answers_otherwise_is_not_packed(tmp_path):
    """A head that looks at the whole row, padding and all."""
    model, inputs = trained("bert", tmp_path)

    class Whole(nn.Module):
        def forward(self, hidden):
            return hidden.mean(1)

    model.bert.pooler = Whole()
    with dropout.quick(model, CPU), packing.packed(model, inputs, CPU) as packer:
        assert packer is None


def test_a_gpu_and_other_inputs_are_left_alone(tmp_path):
    model, inputs = trained("bert", tmp_path)
    with packing.packed(model, inputs, torch.device("cuda")) as packer:
        assert packer is None
    with packing.packed(model, {"pixel_values": torch.zeros(1)}, CPU) as packer:
        assert packer is None


@pytest.mark.parametrize("n", [1, 7, 8, 9, 40])
def test_a_layout_and_back(n):
    lengths = np.random.default_rng(n).integers(1, 30, n)
    layout = packing.Layout.of(lengths)
    tokens = layout.row(torch.arange(1.0, lengths.sum() + 1)[:, None])
    assert len(tokens) == packing.rounded(int(lengths.sum())) and (tokens == 0).sum() == len(tokens) - lengths.sum()
    parts = layout.spread(tokens)
    assert torch.equal(layout.gather(parts), tokens)
    found = torch.cat([part.flatten() for part in parts])
    assert (found == 0).sum() == len(found) - lengths.sum()
    rows = tokens[layout.rows][..., 0]  # (B, T) in the order of the batch
    starts = np.concatenate([[0], np.cumsum(np.sort(lengths, kind="stable"))[:-1]])
    for place, row in enumerate(np.argsort(lengths, kind="stable")):
        assert rows[row, : lengths[row]].tolist() == [starts[place] + 1 + i for i in range(lengths[row])]


def test_sizes_are_rounded_up_to_few():
    sizes = [packing.rounded(n) for n in range(1, 4097)]
    assert all(n <= size <= 1.0625 * n for n, size in enumerate(sizes, start=1))
    assert sizes[:32] == list(range(1, 33)) and len({s for s in sizes if 2048 < s <= 4096}) == 16


def test_the_gradient_of_moving_tokens_is_the_one_torch_finds():
    layout = packing.Layout.of(np.array([33, 1, 35]))
    x = torch.randn(72, 1, 2, dtype=torch.float64, requires_grad=True)  # three places hold nothing
    assert torch.autograd.gradcheck(lambda x: packing._Gather.apply(layout, *packing._Spread.apply(x, layout)), x)
