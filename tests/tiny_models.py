"""What the tests of the torch room share: random models of a few thousand parameters, one per family, saved as a
checkpoint of the Hub is (no download), and the real loop over a few sentences."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from leadline.data.examples import Examples, with_hashes
from leadline.learn import models as learned
from leadline.learn.loop import Fit, Material
from leadline.learn.recorder import Recorder
from leadline.learn.tasks.batch import Task
from leadline.learn.tasks.classification import TextEncoder
from leadline.plans.epoch import everything
from leadline.recipe import Record, Training

WORDS = (
    "rain sand river dust flood desert puddle drought north south morning evening report speaks of much little "
    "again today never the a very old new quick slow harbour lamp window bread paper stone glass field"
).split()
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def sentences(n: int, seed: int = 0, longest: int = 14) -> list[str]:
    dice = random.Random(seed)
    return [" ".join(dice.choice(WORDS) for _ in range(dice.randint(2, longest))) for _ in range(n)]


def wordpiece(pad: int = 0, segments: bool = True, length: int = 64) -> Any:
    """An encoder's tokenizer: [CLS] a [SEP] (b [SEP]). `pad` places the pad token first (BERT) or second (RoBERTa)."""
    special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    special.insert(pad, "[PAD]")
    letters = string.ascii_lowercase
    vocabulary = [*special, *sorted({*WORDS, *letters}), *(f"##{letter}" for letter in letters)]
    tokens = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokens.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"] if segments else ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=length,
        model_input_names=names,
    )


def bytelevel(**special: str) -> Any:
    """A decoder's tokenizer: bytes, nothing around the text; knows the special tokens named (pad_token, eos_token)."""
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokens.train_from_iterator([" " + word for word in WORDS], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, model_max_length=64, model_input_names=["input_ids", "attention_mask"], **special
    )


@dataclass(frozen=True)
class Family:
    tokenizer: Callable[[], Any]
    config: Callable[[Any], Any]  # of a tokenizer
    decoder: bool = False


def _gpt2(tokenizer: Any) -> Any:
    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4, **ids)


def _qwen2(tokenizer: Any) -> Any:
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return transformers.Qwen2Config(
        vocab_size=len(tokenizer) + 5,  # rows to spare, as in the published checkpoints
        max_position_embeddings=64,
        num_key_value_heads=2,
        attention_dropout=0.1,
        **SIZES,
        **ids,
    )


def _roberta(tokenizer: Any) -> Any:
    return transformers.RobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=66,  # 64 tokens: positions start after the pad token's, 1
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        **SIZES,
    )


def _modernbert(tokenizer: Any) -> Any:
    return transformers.ModernBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        local_attention=8,
        global_attn_every_n_layers=2,
        attention_dropout=0.1,
        embedding_dropout=0.1,
        mlp_dropout=0.1,
        classifier_dropout=0.1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        **SIZES,
    )


FAMILIES: dict[str, Family] = {
    "bert": Family(
        wordpiece, lambda t: transformers.BertConfig(vocab_size=len(t), max_position_embeddings=64, **SIZES)
    ),
    "roberta": Family(lambda: wordpiece(pad=1, segments=False), _roberta),
    "distilbert": Family(
        lambda: wordpiece(segments=False),
        lambda t: transformers.DistilBertConfig(
            vocab_size=len(t), max_position_embeddings=64, dim=32, hidden_dim=64, n_layers=2, n_heads=4
        ),
    ),
    "deberta-v2": Family(
        wordpiece,
        lambda t: transformers.DebertaV2Config(
            vocab_size=len(t),
            max_position_embeddings=64,
            relative_attention=True,
            position_buckets=16,
            pos_att_type=["p2c", "c2p"],
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
            type_vocab_size=0,
            cls_dropout=0.1,
            **SIZES,
        ),
    ),
    "modernbert": Family(lambda: wordpiece(segments=False), _modernbert),
    "gpt2": Family(lambda: bytelevel(eos_token="<|end|>"), _gpt2, decoder=True),
    "qwen2": Family(lambda: bytelevel(pad_token="<|pad|>", eos_token="<|end|>"), _qwen2, decoder=True),
}


def checkpoint(family: str, path: Path, seed: int = 0, **tokenizer_settings: Any) -> Path:
    """Saves a random body of the family and its tokenizer; the head is new when it is loaded for a task."""
    kind = FAMILIES[family]
    tokenizer = kind.tokenizer()
    for name, value in tokenizer_settings.items():
        setattr(tokenizer, name, value)
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(kind.config(tokenizer))
    with torch.no_grad():  # random weights of 0.02 say nearly the same of every text
        for p in model.parameters():
            if p.ndim >= 2:
                p.mul_(5)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def accelerator(precision: str = "no") -> Accelerator:
    """A fresh one on the processor, of a precision of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=True, mixed_precision=precision)


def examples(texts: Sequence[str], labels: Sequence[int], classes: Sequence[str]) -> Examples:
    ids = [f"t{i}" for i in range(len(texts))]
    named = [classes[k] for k in labels]
    table = pl.DataFrame({"_id": ids, "_split": ["train"] * len(ids), "_label": named, "text": list(texts)})
    return with_hashes(Examples(table, inputs=("text",), classes=tuple(classes)))


def encoder(model: Any, tokenizer: Any, columns: Sequence[str] = ("text",)) -> TextEncoder:
    return TextEncoder(tokenizer, columns, learned.max_tokens(model, tokenizer, 64), learned.takes_positions(model))


def fit(model: Any, task: Task, data: Examples, **settings: Any) -> Fit:
    """The real loop over `data`. Settings are Fit's own, or keys of the recipe's `training`; `to` asks for a record.

    `weights` (N,) of the examples; `targets` where those of `data` are not what the task trains on.
    """
    training = {
        key: settings.pop(key) for key in list(settings) if key in Training.model_fields and key != "learning_rate"
    }
    encoded = task.encode(data.table.to_dicts())
    lengths = np.array([task.length(row) for row in encoded])
    weights = settings.pop("weights", np.ones(len(data)))
    targets = settings.pop("targets") if "targets" in settings else data.targets
    settings = {"plan": everything(len(data)), "learning_rate": 1e-3, "accelerator": accelerator(), **settings}
    if (to := settings.pop("to", None)) is not None:
        record = settings.setdefault("record", Record())
        settings["recorder"] = Recorder.of(data, to / "signals", {"mode": record.mode}, keep_logits=record.logits)
        to.mkdir(parents=True, exist_ok=True)
        data.write(to / "examples.parquet")
    return Fit(
        model=model,
        task=task,
        material=Material(encoded, targets, lengths, weights, len(data.classes)),
        training=Training.model_validate({"epochs": 1, "batch_size": 16, "log_every": 1, **training}),
        **settings,
    )
