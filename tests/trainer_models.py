"""What the tests of integrations/ share: a small tokenised data set, a small model, a Trainer over both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from transformers import TrainingArguments

from tiny_models import FAMILIES, sentences

CLASSES = ["dry", "wet", "windy"]
N = 21
datasets.disable_progress_bars()


def tokens(texts: list[str]) -> dict[str, Any]:
    return dict(FAMILIES["bert"].tokenizer()(texts))


def dataset(n: int = N, seed: int = 0, **columns: Any) -> datasets.Dataset:
    """n tokenised sentences with columns id, text, label (a ClassLabel); `columns` adds or replaces."""
    texts = sentences(n, seed)
    labels = [(7 * i + i // 3) % 3 for i in range(n)]
    table = {"id": [f"s{i}" for i in range(n)], "text": texts, "label": labels, **tokens(texts), **columns}
    found = datasets.Dataset.from_dict(table)
    return found.cast_column("label", datasets.ClassLabel(names=CLASSES)) if "label" in table else found


def model(dropout: float = 0.0, classes: int = 3, seed: int = 0, **settings: Any) -> Any:
    """A BERT of a few thousand parameters with a new head."""
    tokenizer = FAMILIES["bert"].tokenizer()
    config = FAMILIES["bert"].config(tokenizer)
    config.num_labels, config.pad_token_id = classes, tokenizer.pad_token_id
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    for name, value in settings.items():
        setattr(config, name, value)
    torch.manual_seed(seed)
    return transformers.AutoModelForSequenceClassification.from_config(config)


def arguments(path: Path, **settings: Any) -> TrainingArguments:
    given = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
        **settings,
    }
    return TrainingArguments(output_dir=str(path / "out"), **given)


def trainer(
    path: Path,
    kind: type[transformers.Trainer] = transformers.Trainer,
    given: Any = None,
    net: Any = None,
    **settings: Any,
) -> Any:
    """A Trainer over dataset(); settings are TrainingArguments or the Trainer's own."""
    own = ("data_collator", "eval_dataset", "compute_loss_func", "callbacks", "compute_metrics", "optimizers",
           "model_init", "to", "ids", "texts", "labels", "classes", "processing_class", "train_dataset")  # fmt: skip
    mine = {name: settings.pop(name) for name in own if name in settings}
    mine.setdefault("processing_class", FAMILIES["bert"].tokenizer())
    mine.setdefault("train_dataset", dataset() if given is None else given)
    if "model_init" not in mine:
        mine["model"] = model() if net is None else net
    return kind(args=arguments(path, **settings), **mine)
