"""Sentence vectors: what the body of a model makes of each text, before the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.learn.predict import TOKENS, batches
from leadline.learn.tasks.batch import Batch, Row, Task

POOLING = "mean of the last hidden state over the real tokens"


@torch.no_grad()
def sentence_vectors(
    model: Any, task: Task, encoded: Sequence[Row], device: torch.device, tokens: int = TOKENS
) -> np.ndarray:
    """(N, H) float32: the mean of the last hidden state over the real tokens of each example, dropout off.

    Of an example with several inputs (windows, options) the mean over its inputs. One pass over the body, without
    head and gradients, in float32: in bfloat16 near-duplicates would drown in rounding.
    """
    was_training = model.training
    model.eval()
    body = body_of(model)
    lengths = np.array([task.length(row) for row in encoded], dtype=np.int64)
    vectors = np.zeros((len(encoded), 0), dtype=np.float32)
    for rows in batches(lengths, tokens):
        batch = task.collate([encoded[i] for i in rows], np.zeros(len(rows), dtype=np.int64)).to(device)
        found = mean_over_tokens(body(**batch.inputs)[0].float(), batch).cpu().numpy()
        if not vectors.shape[1]:
            vectors = np.zeros((len(encoded), found.shape[1]), dtype=np.float32)
        vectors[rows] = found
    model.train(was_training)
    return vectors


def body_of(model: Any) -> nn.Module:
    """The model without its head; of an encoder and a decoder the encoder."""
    if getattr(model.config, "is_encoder_decoder", False):
        return model.get_encoder()
    return model.base_model


def mean_over_tokens(hidden: Tensor, batch: Batch) -> Tensor:
    """hidden (I, T, H) -> (B, H)."""
    real = batch.inputs["attention_mask"].to(hidden.dtype)[..., None]  # (I, T, 1)
    mean = (hidden * real).sum(1) / real.sum(1)
    if batch.owner is None:
        return mean
    size = int(batch.owner.max()) + 1
    total = mean.new_zeros(size, mean.shape[1]).index_add(0, batch.owner, mean)
    return total / torch.bincount(batch.owner, minlength=size)[:, None]
