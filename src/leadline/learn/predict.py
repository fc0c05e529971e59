"""One evaluation pass: outcomes of many examples as numpy columns, in their own order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from leadline.learn import ranks
from leadline.learn.tasks.batch import Batch, Row, Task

TOKENS = 8192  # per batch: evaluation keeps no activations, so batches are larger than in training


@torch.no_grad()
def predict(
    model: nn.Module,
    task: Task,
    encoded: Sequence[Row],
    targets: np.ndarray,
    device: torch.device,
    tokens: int = TOKENS,
    also: Callable[[Batch], Mapping[str, Tensor]] = lambda batch: {},
) -> dict[str, np.ndarray]:
    """loss, gold_logprob, margin, entropy (N,) float32, correct (N,) int8, logits (N, K) where fixed, extras (N,).

    also  called after each forward pass: further columns (B, …), for example of what hooks have seen

    Dropout is off; the model is left in the mode it was in. Where several processes train together each takes every
    so manieth batch, and all have the result.
    """
    was_training = model.training
    model.eval()
    lengths = np.array([task.length(row) for row in encoded], dtype=np.int64)
    pieces = batches(lengths, tokens)
    mine = pieces[ranks.rank() :: ranks.world()]
    turns = -(-len(pieces) // ranks.world())  # as many as every other process: a sharded model is run by all together
    columns: dict[str, np.ndarray] = {}
    for rows in [*mine, *[pieces[0]] * (turns - len(mine))]:
        batch = task.collate([encoded[i] for i in rows], targets[rows]).to(device)
        found = task.outcome(model(**batch.inputs), batch).columns()
        for name, values in (found | dict(also(batch))).items():
            array = values.cpu().numpy()
            if name not in columns:
                columns[name] = np.empty((len(encoded), *array.shape[1:]), dtype=array.dtype)
            columns[name][rows] = array
    model.train(was_training)
    return columns if ranks.world() == 1 else _together(columns, mine)


def _together(columns: dict[str, np.ndarray], mine: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The rows of all processes, on all of them."""
    rows = np.concatenate([*mine, np.array([], dtype=np.int64)])
    for there, part in ranks.gather((rows, {name: column[rows] for name, column in columns.items()})):
        for name, values in part.items():
            columns[name][there] = values
    return columns


def batches(lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Rows in order of length, as many together as `tokens` allows; nothing is padded for nothing."""
    order = np.argsort(lengths, kind="stable")
    pieces, start = [], 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        while size > 1 and int(lengths[order[min(start + size, len(order)) - 1]]) * size > tokens:
            size = max(1, size - max(1, size // 8))
        pieces.append(order[start : start + size])
        start += size
    return pieces
