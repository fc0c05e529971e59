"""Language models as density estimators: known probabilities, padding, BOS and EOS, training through the one loop."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from leadline.errors import InputError
from leadline.experiment.device import accelerate
from leadline.learn import density, represent
from leadline.learn.tasks.language import LanguageModel
from tiny_models import bytelevel, sentences

CPU = torch.device("cpu")


def decoder(**special: str) -> tuple[Any, Any]:
    """A random GPT-2 of 16 numbers a token, and its tokenizer."""
    tokenizer = bytelevel(**special)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None
    )
    return transformers.GPT2LMHeadModel(config).eval(), tokenizer


@torch.no_grad()
def by_hand(model: Any, ids: list[int]) -> float:
    """-sum log p of each token but the first, one forward pass a token, as Arora et al.'s code with stride 1."""
    total = 0.0
    for i in range(1, len(ids)):
        logits = model(torch.tensor([ids[:i]])).logits[0, -1].double()
        total -= float(logits.log_softmax(-1)[ids[i]])
    return total


@pytest.mark.parametrize(
    "special",
    [{"pad_token": "[PAD]"}, {"pad_token": "[PAD]", "bos_token": "<s>"}, {"pad_token": "[PAD]", "eos_token": "</s>"},
     {"pad_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}],
)  # fmt: skip
def test_the_density_of_a_text_is_the_sum_over_its_tokens_one_by_one(special: dict[str, str]) -> None:
    model, tokenizer = decoder(**special)
    texts = [*sentences(7, seed=2), "rain", "sand river dust " * 9]
    found = density.measure(model, tokenizer, texts, CPU, max_length=24)
    for text, nll, tokens in zip(texts, found["nll"], found["tokens"], strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        begin = [tokenizer.bos_token_id] if "bos_token" in special else []
        end = [tokenizer.eos_token_id] if "eos_token" in special else []
        ids = [*begin, *ids, *end][:24]
        assert tokens == len(ids) - 1
        assert nll == pytest.approx(by_hand(model, ids), rel=1e-5, abs=1e-5)
    assert found["cut"].tolist() == [len(tokenizer(text)["input_ids"]) + len(begin) + len(end) > 24 for text in texts]


def test_padding_and_order_change_nothing() -> None:
    model, tokenizer = decoder(pad_token="[PAD]", bos_token="<s>")
    texts = sentences(12, seed=5)
    together = density.measure(model, tokenizer, texts, CPU)
    alone = [density.measure(model, tokenizer, [text], CPU)["nll"][0] for text in texts]
    np.testing.assert_allclose(together["nll"], alone, rtol=1e-5)
    backwards = density.measure(model, tokenizer, texts[::-1], CPU)
    np.testing.assert_allclose(backwards["nll"][::-1], together["nll"], rtol=1e-5)


def test_a_text_of_one_token_is_scored_only_after_a_bos() -> None:
    """Nothing stands before it."""
    for special, scored in (({"pad_token": "[PAD]"}, 0), ({"pad_token": "[PAD]", "bos_token": "<s>"}, 1)):
        model, tokenizer = decoder(**special)
        task = LanguageModel(tokenizer, 8)
        row = [{"input_ids": np.array([*([tokenizer.bos_token_id] if scored else []), 7])}]
        batch = task.collate([row, row], np.zeros(2))
        outcome = task.outcome(model(**batch.inputs), batch)
        assert outcome.extra["tokens"].tolist() == [scored] * 2
        assert bool((outcome.extra["nll"] > 0).all()) == bool(scored) and outcome.loss.isfinite().all()


def test_the_loss_is_the_mean_over_the_tokens_of_each_text() -> None:
    task = LanguageModel(SimpleNamespace(bos_token_id=None, eos_token_id=None), 8)
    batch = task.collate([[{"input_ids": np.array([0, 1, 2])}], [{"input_ids": np.array([2, 0])}]], np.zeros(2))
    logits = torch.zeros(2, 3, 3)
    logits[0, 0, 1] = 2.0  # the first token of the first text is likely
    output = SimpleNamespace(logits=logits.requires_grad_())
    loss: Tensor = task.training_loss(output, batch)
    first = -np.log(np.exp(2) / (np.exp(2) + 2))
    np.testing.assert_allclose(loss.detach().numpy(), [(first + np.log(3)) / 2, np.log(3)], rtol=1e-6)
    loss.sum().backward()
    assert logits.grad is not None and (logits.grad[1, 1:] == 0).all()  # padding teaches nothing


def test_a_small_model_learns_the_texts_and_no_byte_is_unknown_to_it() -> None:
    texts = [f"the {word} is dry and the morning is {word}" for word in ("sand", "dust", "desert") for _ in range(20)]
    model, tokenizer = density.small(texts, 32)
    fresh = density.measure(model, tokenizer, texts[:3], CPU, 32)
    settings = {**density.OF_SMALL, "epochs": 4}
    density.train(model, tokenizer, texts, settings, accelerate("fp32"), 32)
    learned = density.measure(model, tokenizer, [*texts[:3], "the quark is a boson", "Ünï→☃"], CPU, 32)
    per_token = learned["nll"] / learned["tokens"]
    assert (learned["nll"][:3] < 0.5 * fresh["nll"]).all()
    assert per_token[:3].max() < per_token[3:].min()
    assert tokenizer.decode(tokenizer("Ünï→☃")["input_ids"]) == "Ünï→☃"


def test_the_same_small_model_every_time(tmp_path: Path) -> None:
    texts = sentences(30)
    built = [density.small(texts, 32) for _ in range(2)]
    assert built[0][1].get_vocab() == built[1][1].get_vocab()
    first, second = (density.measure(*pair, texts, CPU, 32)["nll"] for pair in built)
    np.testing.assert_array_equal(first, second)
    density.save(*built[0], tmp_path / "lm")
    np.testing.assert_array_equal(density.measure(*density.load(str(tmp_path / "lm")), texts, CPU, 32)["nll"], first)


def test_what_is_no_language_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), "nobody/nothing-of-that-name"):
        with pytest.raises(InputError, match="--lm .*no causal language model"):
            density.load(name)
    model, tokenizer = decoder(pad_token="[PAD]")
    with pytest.raises(InputError, match="two tokens"):
        density.train(model, tokenizer, ["a"], density.OF_SMALL, accelerate("fp32"))


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_decoders_head_reads_the_last_real_token(side: str) -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    mask = mask if side == "right" else mask.flip(1)
    vectors = torch.arange(8.0).reshape(2, 4, 1)
    assert represent._one_each(vectors, mask).flatten().tolist() == ([2, 5] if side == "right" else [3, 7])
