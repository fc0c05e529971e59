"""Spans replaced in the text (SSMix) and mixed images, against the definition written out for one pair at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from leadline.errors import InputError
from leadline.learn import dropout, mixers, models, packing
from leadline.learn.interpolate import Pairing, PixelMix
from leadline.learn.span import SpanMix, check, means, shares, width
from leadline.learn.tasks.batch import Batch
from leadline.learn.tasks.classification import Classification
from leadline.recipe import Mixup, Model
from tiny_models import checkpoint, encoder, sentences

CLASSES = ("dry", "neither", "wet")
TEXTS = [*sentences(5, seed=4, longest=30), "rain", "rain sand river"]
ANCHOR, PARTNER = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0]), torch.tensor([1, 0, 3, 2, 4, 0, 5, 6])
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])
SHARE = 0.3


def salient(model: Any, ids: Tensor, label: int) -> np.ndarray:
    """(T,) of one unpadded text: root mean square of the gradient of its loss by each token's word embedding."""
    words = model.get_input_embeddings()(ids).detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(inputs_embeds=words).logits, torch.tensor([label]))
    return torch.autograd.grad(loss, words)[0][0].square().mean(-1).sqrt().numpy()


def by_definition(model: Any, a: Tensor, b: Tensor, labels: tuple[int, int]) -> tuple[Tensor, float]:
    """(tokens of the mixed text, the anchor's share) of two unpadded texts (1, T)."""
    n, m = a.shape[1] - 2, b.shape[1] - 2
    w = max(int(n * SHARE), 1)
    if m < w or n <= w:
        return a, 1.0
    first, second = salient(model, a, labels[0]), salient(model, b, labels[1])
    least = min(range(1, n - w + 2), key=lambda i: first[i : i + w].mean())
    most = max(range(1, m - w + 2), key=lambda i: second[i : i + w].mean())
    mixed = a.clone()
    mixed[0, least : least + w] = b[0, most : most + w]
    return mixed, 1 - w / n


@pytest.mark.parametrize("way", ["padded", "packed"])
@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2"])
def test_the_least_salient_span_gives_way_to_the_most_salient(tmp_path: Path, name: str, way: str) -> None:
    model, tokenizer = models.load(Model(name=str(checkpoint(name, tmp_path)), dropout=0.0), CLASSES)
    task = Classification(encoder(model, tokenizer))
    rows = task.encode([{"text": text} for text in TEXTS])
    batch = task.collate(rows, LABELS.numpy())
    alone = [torch.from_numpy(row[0]["input_ids"].astype(np.int64))[None] for row in rows]
    lengths = np.array([task.length(row) for row in rows])
    lam = shares(lengths[ANCHOR], lengths[PARTNER], SHARE)
    cpu = torch.device("cpu")
    with dropout.quick(model, cpu), packing.packed(model.train(), batch.inputs, cpu) as packer:
        if way == "packed" and packer is None:
            pytest.skip(f"{name} is not packed")
        by = packer if way == "packed" else None
        mixer = SpanMix(model, task, SHARE, by)
        try:
            run = lambda b: model(**(by(b.inputs) if by else b.inputs))  # noqa: E731
            found = mixer(run, batch, Pairing(ANCHOR, PARTNER, torch.from_numpy(lam)), 0, "look")
        finally:
            mixer.close()
    mixed_at_all = 0
    for j, (a, b) in enumerate(zip(ANCHOR.tolist(), PARTNER.tolist(), strict=True)):
        tokens, kept = by_definition(model, alone[a], alone[b], (int(LABELS[a]), int(LABELS[b])))
        tokens, kept = (alone[a], 1.0) if a == b else (tokens, kept)
        assert a == b or kept == pytest.approx(lam[j])
        torch.testing.assert_close(found.logits[j], model(tokens).logits[0], atol=1e-4, rtol=1e-4)
        mixed_at_all += not torch.equal(tokens, alone[a])
    assert mixed_at_all >= 4
    torch.testing.assert_close(found.clean.logits, model(**batch.inputs).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "side", "columns", "able"),
    [
        ("bert", "right", 1, True),
        ("roberta", "right", 1, True),
        ("bert", "left", 1, False),
        ("bert", "right", 2, False),
        ("gpt2", "right", 1, False),
        ("gpt2", "left", 1, False),
        ("qwen2", "right", 1, False),
    ],
)
def test_texts_of_another_form_are_refused(tmp_path: Path, name: str, side: str, columns: int, able: bool) -> None:
    model, tokenizer = models.load(Model(name=str(checkpoint(name, tmp_path))), CLASSES)
    tokenizer.padding_side = side
    task = Classification(encoder(model, tokenizer, ("text", "other")[:columns]))
    rows = task.encode([{"text": text, "other": text} for text in ["", *TEXTS]])
    batch = task.collate(rows, np.append(LABELS.numpy(), 0))
    if able:
        mixers.mixer_of(model, task, Mixup(where="span"), 0, batch)[0].close()
        return
    with pytest.raises(InputError, match=r"^mixup.where: span needs single texts .* Use where: sentence$"):
        mixers.mixer_of(model, task, Mixup(where="span"), 0, batch)


def test_a_task_that_names_no_tokenizer_is_refused(tmp_path: Path) -> None:
    model, tokenizer = models.load(Model(name=str(checkpoint("bert", tmp_path))), CLASSES)
    task = Classification(encoder(model, tokenizer))
    batch = task.collate(task.encode([{"text": text} for text in TEXTS]), LABELS.numpy())
    assert check(task, batch) and not check(object(), batch)  # type: ignore[arg-type]


def test_lengths_decide_the_share() -> None:
    assert [width(length, 0.1) for length in (3, 12, 22, 41)] == [1, 1, 2, 3]
    got = shares(np.array([22, 3, 22, 4]), np.array([22, 22, 3, 3]), 0.1)
    assert got.tolist() == pytest.approx([0.9, 1.0, 1.0, 0.5])  # 2 of 20; nothing else left; too short; 1 of 2


def test_means_of_neighbours() -> None:
    assert means(np.array([1.0, 2.0, 6.0, 0.0]), 2).tolist() == [1.5, 4.0, 3.0]
    assert means(np.array([3.0]), 1).tolist() == [3.0]


def test_images_are_mixed_as_pixels() -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_labels=3,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    images, lam = torch.rand(3, 3, 8, 8), torch.tensor([0.2, 0.9, 1.0])
    pairing = Pairing(torch.tensor([0, 1, 2]), torch.tensor([1, 0, 2]), lam)
    found = PixelMix()(lambda b: model(**b.inputs), Batch({"pixel_values": images}, None), pairing, 0, "look")
    for j, (a, b) in enumerate([(0, 1), (1, 0), (2, 2)]):
        one = float(lam[j]) * images[a] + (1 - float(lam[j])) * images[b]
        torch.testing.assert_close(found.logits[j], model(pixel_values=one[None]).logits[0])
    assert found.clean is not None
    torch.testing.assert_close(found.clean.logits, model(pixel_values=images).logits)
