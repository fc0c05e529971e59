"""Mixing hidden states inside a model equals the two-pass form: each text alone and unpadded through the blocks below,
mixed by position with zeros where one has no token, and through the blocks above."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from leadline.errors import InputError
from leadline.learn import between, dropout, mixers, models, packing
from leadline.learn.between import LayerMix
from leadline.learn.interpolate import Pairing
from leadline.learn.losses import jensen_shannon
from leadline.learn.tasks.batch import Batch
from leadline.recipe import Model
from tiny_models import checkpoint, encoder, sentences

ENCODERS = ("bert", "roberta", "distilbert", "modernbert", "deberta-v2")
CLASSES = ("dry", "neither", "wet")
TEXTS = sentences(7, seed=4)
ANCHOR = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 3])
PARTNER = torch.tensor([1, 0, 3, 2, 5, 4, 6, 2, 6])  # matched pairs, one with itself, two one-way
LAM = torch.tensor([0.3, 0.8, 0.5, 0.9, 0.05, 1.0, 0.4, 0.0, 0.65])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    root = tmp_path_factory.mktemp("models")
    found = {}
    for name in (*ENCODERS, "gpt2"):
        model, tokenizer = models.load(Model(name=str(checkpoint(name, root / name)), dropout=0.0), CLASSES)
        with torch.no_grad():
            models.head(model).apply(lambda m: m.weight.mul_(10) if isinstance(m, torch.nn.Linear) else None)
        found[name] = model.train(), tokenizer
    return found


def batch(model: Any, tokenizer: Any, texts: list[str]) -> dict[str, Tensor]:
    rows = encoder(model, tokenizer).encode([{"text": text} for text in texts])
    return encoder(model, tokenizer).collate(rows)


@contextlib.contextmanager
def hooked(hooks: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def at(blocks: list[Any], k: int, before: Any, after: Any) -> Any:
    """A hook on what block k reads; of k = the depth on what the last block gives."""
    if k == len(blocks):
        return blocks[-1].register_forward_hook(after)
    return blocks[k].register_forward_pre_hook(before, with_kwargs=True)


def below(model: Any, text: dict[str, Tensor], k: int) -> Tensor:
    """(T, H) what block k reads of one text, or what the last gives."""
    heard: list[Tensor] = []
    blocks = models.blocks(model)

    def after(module: Any, args: Any, output: Any) -> None:
        heard.append(output[0] if isinstance(output, tuple) else output)

    def before(module: Any, args: Any, kwargs: Any) -> None:
        heard.append(args[0] if args else kwargs["hidden_states"])

    with hooked([at(blocks, k, before, after)]):
        model(**text)
    return heard[0][0]


def above(model: Any, longer: dict[str, Tensor], k: int, hidden: Tensor) -> Tensor:
    """(K,) logits when block k reads `hidden` (T, H), T the length of the text `longer`."""
    blocks = models.blocks(model)

    def before(module: Any, args: Any, kwargs: Any) -> Any:
        return ((hidden[None], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden[None]})

    def after(module: Any, args: Any, output: Any) -> Any:
        return (hidden[None], *output[1:]) if isinstance(output, tuple) else hidden[None]

    with hooked([at(blocks, k, before, after)]):
        return model(**longer).logits[0]


def two_pass(model: Any, tokenizer: Any, k: int) -> Tensor:
    """(M, K) logits, pair by pair."""
    alone = [batch(model, tokenizer, [text]) for text in TEXTS]
    logits = []
    for a, b, lam in zip(ANCHOR.tolist(), PARTNER.tolist(), LAM.tolist(), strict=True):
        first, second = below(model, alone[a], k), below(model, alone[b], k)
        t = max(len(first), len(second))
        first, second = (torch.nn.functional.pad(h, (0, 0, 0, t - len(h))) for h in (first, second))
        longer = alone[a] if alone[a]["input_ids"].shape[1] == t else alone[b]
        logits.append(above(model, longer, k, lam * first + (1 - lam) * second))
    return torch.stack(logits)


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def towards(logits: Tensor) -> Tensor:
    """A loss that treats every entry and class differently."""
    weights = torch.from_numpy(np.random.default_rng(3).uniform(0.2, 1, logits.shape)).float()
    return -(weights * logits.log_softmax(-1)).sum()


@pytest.mark.parametrize("k", [0, 1, 2], ids=["embedding", "layer 1", "the last layer"])
@pytest.mark.parametrize("name", ENCODERS)
def test_one_pass_equals_two_passes(loaded: dict[str, tuple[Any, Any]], name: str, k: int) -> None:
    model, tokenizer = loaded[name]
    inputs = batch(model, tokenizer, TEXTS)
    wanted = two_pass(model, tokenizer, k)
    of_wanted = gradients(model, towards(wanted))
    cpu = torch.device("cpu")
    with dropout.quick(model, cpu), packing.packed(model, inputs, cpu) as packer:
        ways = {"padded": None, **({"packed": packer} if packer else {})}
        assert (name in ("bert", "roberta")) == (packer is not None)
        for way in ways.values():
            mixer = LayerMix(model, [k], seed=0, packer=way)
            run = functools.partial(lambda by, b: model(**(by(b.inputs) if by else b.inputs)), way)
            with hooked(mixer.hooks):
                found = mixer(run, Batch(inputs, None), Pairing(ANCHOR, PARTNER, LAM), 0, "look")
            torch.testing.assert_close(found.logits, wanted, atol=1e-5, rtol=1e-5)
            of_found = gradients(model, towards(found.logits))
            assert of_found.keys() == of_wanted.keys()
            for parameter, gradient in of_wanted.items():
                torch.testing.assert_close(of_found[parameter], gradient, atol=1e-5, rtol=1e-4, msg=parameter)
            assert found.clean is not None
            torch.testing.assert_close(found.clean.logits, model(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_consistency_term_reaches_both_answers(loaded: dict[str, tuple[Any, Any]], name: str) -> None:
    model, tokenizer = loaded[name]
    inputs = batch(model, tokenizer, TEXTS)
    clean = model(**inputs).logits[ANCHOR]
    wanted = gradients(model, jensen_shannon(clean, two_pass(model, tokenizer, 1)).sum())
    mixer = LayerMix(model, [1], seed=0)
    with hooked(mixer.hooks):
        found = mixer(lambda b: model(**b.inputs), Batch(inputs, None), Pairing(ANCHOR, PARTNER, LAM), 0, "learn")
    assert found.clean is not None
    of_found = gradients(model, jensen_shannon(found.clean.logits[ANCHOR], found.logits).sum())
    for parameter, gradient in wanted.items():
        torch.testing.assert_close(of_found[parameter], gradient, atol=1e-5, rtol=1e-4, msg=parameter)


def test_the_divergence_is_that_of_scipy_and_of_hand() -> None:
    dice = np.random.default_rng(0)
    first, second = dice.normal(0, 3, (6, 4)), dice.normal(0, 3, (6, 4))
    found = jensen_shannon(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    distance = scipy.spatial.distance.jensenshannon(
        scipy.special.softmax(first, 1), scipy.special.softmax(second, 1), axis=1
    )
    np.testing.assert_allclose(found, distance**2, rtol=1e-4)
    # p = (1/2, 1/2), q = (1/4, 3/4), m = (3/8, 5/8): JS = H(m) - H(p) / 2 - H(q) / 2 = 0.66156 - 0.34657 - 0.28117
    p, q = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, np.log(3)]])
    assert float(jensen_shannon(p, q)) == pytest.approx(0.03382, abs=1e-5)
    assert float(jensen_shannon(1e3 * torch.eye(2)[:1], 1e3 * torch.eye(2)[1:])) == pytest.approx(np.log(2), rel=1e-4)


def test_a_model_that_pools_by_its_mask_reads_the_union(loaded: dict[str, tuple[Any, Any]], tmp_path: Path) -> None:
    model, tokenizer = loaded["modernbert"]
    inputs = batch(model, tokenizer, TEXTS)
    model.config.classifier_pooling = "mean"
    try:
        mixer = LayerMix(model, [1], seed=0)
        with hooked(mixer.hooks):
            mask = inputs["attention_mask"]
            before = mask.clone()
            found = mixer(lambda b: model(**b.inputs), Batch(inputs, None), Pairing(ANCHOR, PARTNER, LAM), 0, "look")
            torch.testing.assert_close(found.logits, two_pass(model, tokenizer, 1), atol=1e-5, rtol=1e-5)
            assert found.clean is not None
            torch.testing.assert_close(found.clean.logits, model(**inputs).logits, atol=1e-5, rtol=1e-5)
            assert torch.equal(mask, before)
            assert between.check(model, mixer, lambda b: model(**b.inputs), Batch(inputs, None))
    finally:
        model.config.classifier_pooling = "cls"


@pytest.mark.parametrize("name", [*ENCODERS, "gpt2"])
def test_what_cannot_be_mixed_is_found_out(loaded: dict[str, tuple[Any, Any]], name: str) -> None:
    """A decoder reads the last real token of the anchor: between its blocks it cannot be mixed."""
    model, tokenizer = loaded[name]
    inputs = batch(model, tokenizer, TEXTS)
    mixer = LayerMix(model, [0, 1, 2], seed=0)
    with hooked(mixer.hooks):
        assert between.check(model, mixer, lambda b: model(**b.inputs), Batch(inputs, None)) == (name != "gpt2")
    assert mixer.layers == [0, 1, 2]


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert", "gpt2"])
def test_it_is_tried_in_the_precision_that_it_is_trained_in(
    loaded: dict[str, tuple[Any, Any]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flash attention computes in half precision only: without autocast it raises, which says nothing of mixing."""
    model, tokenizer = loaded[name]
    inputs = Batch(batch(model, tokenizer, TEXTS), None)

    def half_only(module: Any, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        if query.dtype != torch.bfloat16:
            raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
        return sdpa_attention_forward(module, query, *args, **kwargs)

    AttentionInterface.register("half_flash", half_only)
    AttentionMaskInterface.register("half_flash", sdpa_mask)
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "half_flash")
    mixer = LayerMix(model, [0, 1, 2], seed=0)
    with hooked(mixer.hooks):
        assert not between.check(model, mixer, lambda b: model(**b.inputs), inputs)
        lower = functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16)
        assert mixers._mixes(model, mixer, inputs, None, lower) == (name != "gpt2")


def test_the_layer_of_a_step_is_drawn_from_its_number(loaded: dict[str, tuple[Any, Any]]) -> None:
    model, tokenizer = loaded["bert"]
    inputs = batch(model, tokenizer, TEXTS)
    mixer = LayerMix(model, [0, 1, 2], seed=5)
    drawn = []
    with hooked(mixer.hooks):
        for step in [*range(30), *range(30)]:
            mixer(lambda b: model(**b.inputs), Batch(inputs, None), Pairing(ANCHOR, PARTNER, LAM), step, "no")
            drawn.append(mixer.at)
    assert drawn[:30] == drawn[30:] and set(drawn) == {0, 1, 2}


def test_clean_answers_draw_no_random_numbers(loaded: dict[str, tuple[Any, Any]], tmp_path: Path) -> None:
    """Recording changes no training: the generator stands where it would have stood."""
    model, tokenizer = models.load(Model(name=str(checkpoint("bert", tmp_path / "bert")), dropout=0.5), CLASSES)
    inputs = batch(model, tokenizer, TEXTS)
    mixer, after = LayerMix(model.train(), [1], seed=0), {}
    with hooked(mixer.hooks):
        for clean in ("no", "look"):
            torch.manual_seed(0)
            mixer(lambda b: model(**b.inputs), Batch(inputs, None), Pairing(ANCHOR, PARTNER, LAM), 0, clean)
            after[clean] = torch.rand(3)
    assert torch.equal(after["no"], after["look"])


def test_layers_by_depth(loaded: dict[str, tuple[Any, Any]]) -> None:
    assert between.default_layers(12) == [7, 9, 12]
    assert between.default_layers(6) == [4, 5, 6]  # 3.5, 4.5 and 6
    assert [between.default_layers(depth) for depth in (1, 2, 24)] == [[1], [1, 2], [14, 18, 24]]
    assert between.layers_of(loaded["bert"][0], [0, 2]) == [0, 2]
    with pytest.raises(InputError, match=r"no layer 3; BertForSequenceClassification has 2"):
        between.layers_of(loaded["bert"][0], [1, 3])
