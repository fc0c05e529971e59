"""How probable a text is: causal language models as density estimators.

Any causal language model serves as it is, or fine-tuned on the texts in distribution. Where none is to be had, a small
one is trained here on those texts alone, with a tokenizer of bytes learned from them, so that no text is unknown to it.
Training goes through the one loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from leadline.errors import InputError
from leadline.learn.loop import Fit, Material
from leadline.learn.models import max_tokens, quiet
from leadline.learn.predict import TOKENS, predict
from leadline.learn.tasks.language import LanguageModel
from leadline.plans.epoch import everything
from leadline.recipe import Training

SMALL = "small"
SIZES: dict[str, Any] = {"n_embd": 128, "n_layer": 2, "n_head": 2, "n_inner": 512}
VOCABULARY = 4000
LOGITS = 2**26  # numbers in the logits of one batch: 256 MB, whatever the vocabulary
EOT = "<|endoftext|>"

OF_SMALL = {"epochs": 10, "batch_size": 16, "learning_rate": 1e-3}
OF_FINE_TUNING = {"epochs": 1, "batch_size": 8, "learning_rate": 5e-5}  # Arora, Huang & He's, of GPT-2


def load(name: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a Hub id or a local directory; InputError where it is no causal language model."""
    with _naming(name):
        tokenizer = _tokenizer(name)
        model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    return model, tokenizer


def check(name: str) -> None:
    """InputError where there is no configuration or no tokenizer: asked before long work that `load` comes after."""
    with _naming(name):
        transformers.AutoConfig.from_pretrained(name)
        _tokenizer(name)


def _tokenizer(name: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    if len(tokenizer) <= len(tokenizer.all_special_tokens) + 2:  # what transformers makes of no tokenizer files
        raise ValueError("it has no vocabulary; save the tokenizer beside the model")
    return tokenizer


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Whatever goes wrong becomes one sentence about --lm."""
    try:
        with quiet():
            yield
    except Exception as error:  # transformers, tokenizers and safetensors raise a dozen kinds
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(
            f"--lm {name}: no causal language model, neither a local directory nor to be had from the Hub. "
            f"Without --lm a small one is trained on the texts in distribution. [{first}]"
        ) from error


def small(texts: Sequence[str], max_length: int, seed: int = 0) -> tuple[Any, Any]:
    """(model, tokenizer): a GPT-2 of two layers, weights random, and a vocabulary of bytes learned from the texts."""
    tokens = Tokenizer(BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[EOT], initial_alphabet=alphabet, show_progress=False
    )
    tokens.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token=EOT, eos_token=EOT, pad_token=EOT, model_max_length=max_length
    )
    end = tokenizer.eos_token_id
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=max_length, bos_token_id=end, eos_token_id=end, pad_token_id=end, **SIZES
    )
    torch.manual_seed(seed)
    return transformers.GPT2LMHeadModel(config), tokenizer


def read_back(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """The texts as this tokenizer reads them: encoded whole, and decoded."""
    tokens = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    return tokenizer.batch_decode(tokens, clean_up_tokenization_spaces=False)


def train(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    settings: Mapping[str, Any],
    accelerator: Accelerator,
    max_length: int = 256,
    tell: Callable[[Mapping[str, Any]], None] = lambda event: None,
) -> None:
    """Trains the model on the texts, in place. settings: epochs, batch_size, learning_rate, seed as in a recipe."""
    training = Training(**{"max_length": max(8, max_length), **settings})
    assert training.learning_rate is not None
    task = LanguageModel(tokenizer, max_tokens(model, tokenizer, max_length))
    encoded = [row for row in task.encode([{"text": text} for text in texts]) if task.length(row) > 1]
    if not encoded:
        raise InputError("no text in distribution has two tokens: a language model cannot be trained on them")
    lengths = np.array([task.length(row) for row in encoded])
    material = Material(encoded, np.zeros(len(encoded)), lengths, np.ones(len(encoded)), 0)
    plan = everything(len(encoded))
    fit = Fit(model, task, material, plan, training, training.learning_rate, accelerator, tell=tell)
    fit.run()
    accelerator.unwrap_model(fit.net, keep_fp32_wrapper=False)  # measured in float32, whatever it was trained in
    model.eval()


def measure(
    model: Any, tokenizer: Any, texts: Sequence[str], device: torch.device, max_length: int = 256
) -> dict[str, np.ndarray]:
    """{nll (N,) -log p(text) in nats, tokens (N,) how many were scored, cut (N,) bool}, dropout off, in float32.

    A text of which no token can be scored (one token, and a tokenizer without BOS and EOS) has 0 tokens. Of a text that
    is cut, longer than max_length of the tokenizer's tokens, what follows does not count.
    """
    longest = max_tokens(model, tokenizer, max_length)
    task = LanguageModel(tokenizer, longest + 1)
    whole = task.encode([{"text": text} for text in texts])
    cut = np.array([task.length(row) > longest for row in whole], dtype=bool)
    encoded = [[{"input_ids": row[0]["input_ids"][:longest]}] for row in whole]
    size = int(np.clip(LOGITS // model.config.vocab_size, 256, TOKENS))
    model.to(device)
    found = predict(model, task, encoded, np.zeros(len(encoded)), device, tokens=size)
    return {"nll": found["nll"].astype(np.float64), "tokens": found["tokens"].astype(np.int64), "cut": cut}


def save(model: Any, tokenizer: Any, path: Path) -> None:
    with quiet():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
