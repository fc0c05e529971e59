"""VoG: how much the gradient of the gold logit for the input moves over checkpoints (Agarwal et al., CVPR 2022).

S[i, t] = d z_y / d x at checkpoint t, of the logit before softmax. The score is the mean over the input of the standard
deviation over checkpoints, first the deviation, then the mean. The input of a text is what the first block reads (word,
position and type embeddings); of the padding nothing is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.learn import memory
from leadline.learn.predict import batches
from leadline.learn.probes.first_token import first_token_only
from leadline.learn.probes.subject import Entrance, Subject, asked

TOKENS = 1024  # per batch: smaller ones read the weights more often, in larger ones more is padded
BUDGET = 32 * 2**20  # bytes of gradients in memory at a time; reading weights for a block costs next to nothing
CACHED = 64  # tokens whose deviation is worked out at a time


def vog(subject: Subject, put: Callable[[int], None], checkpoints: int, tokens: int = TOKENS) -> dict[str, np.ndarray]:
    """{all, early, late}: (N,) float64 from 0, higher is harder, over all checkpoints, the first and the last third.

    put          puts the weights of a checkpoint into the model, 0 being the earliest
    checkpoints  how many there are (K), at least two
    A block of examples is taken through all checkpoints before the next one, so memory does not grow with N.
    """
    windows = {"all": slice(None), **thirds(checkpoints)}
    found = {name: np.empty(len(subject)) for name in windows}
    model = subject.model
    with asked(model), Entrance(model) as entrance:
        with first_token_only(model, lambda: gradients(subject, subject.few(), entrance)[0]):
            for rows in _blocks(subject, checkpoints):
                ends = np.cumsum(subject.lengths[rows])
                s = np.empty((checkpoints, int(ends[-1]), _width(model)), dtype=np.float32)  # (K, P, D)
                for t in range(checkpoints):
                    put(t)
                    _fill(s[t], subject, rows, entrance, tokens)
                    memory.give_back()
                for name, window in windows.items():
                    found[name][rows] = deviation(s[window], ends)
    return found


def deviation(s: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Mean over dimensions, then over tokens, of the standard deviation over checkpoints: (B,) from s (K, P, D).

    ends  (B,) where the tokens of each example end among the P
    """
    of_token = np.empty(s.shape[1])  # (P,)
    for start in range(0, len(of_token), CACHED):
        piece = slice(start, start + CACHED)
        of_token[piece] = s[:, piece].std(axis=0, dtype=np.float64).mean(axis=1)
    starts = np.concatenate([[0], ends[:-1]])
    return np.add.reduceat(of_token, starts) / (ends - starts)


def thirds(checkpoints: int) -> dict[str, slice]:
    """{early, late}: a third of the checkpoints each, but at least two (one has no deviation)."""
    size = max(2, checkpoints // 3)
    return {"early": slice(0, size), "late": slice(checkpoints - size, checkpoints)}


def within_classes(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(value - mean of its class) / deviation of its class, (N,); 0 where a class has no deviation.

    classes  (N,) class index; deviations are of the population
    """
    found = np.zeros(len(values))
    for k in np.unique(classes):
        own = classes == k
        if np.ptp(values[own]) > 0:  # the deviation of equal values is rounding, not always 0
            found[own] = (values[own] - values[own].mean()) / values[own].std()
    return found


def _blocks(subject: Subject, checkpoints: int) -> Iterator[np.ndarray]:
    """Rows in order of length, as many as their gradients of all checkpoints have room."""
    order = np.argsort(subject.lengths, kind="stable")
    room = BUDGET // (4 * checkpoints * _width(subject.model))  # tokens
    passed = np.concatenate([[0], np.cumsum(subject.lengths[order])])
    start = 0
    while start < len(order):
        after = max(start + 1, int(np.searchsorted(passed, passed[start] + room, side="right")) - 1)
        yield order[start:after]
        start = after


def _width(model: Any) -> int:
    """D: every block reads vectors of the hidden size."""
    return int(model.config.hidden_size)


def _fill(s: np.ndarray, subject: Subject, rows: np.ndarray, entrance: Entrance, tokens: int) -> None:
    """Gradients of the present weights into s (P, D), the tokens of `rows`, in order of length, one after the other."""
    filled = 0
    for piece in batches(subject.lengths[rows], tokens):  # keeps that order
        gradient, real = gradients(subject, rows[piece], entrance)
        found = gradient[real].cpu().numpy()
        s[filled : filled + len(found)] = found
        filled += len(found)


def gradients(subject: Subject, rows: np.ndarray, entrance: Entrance) -> tuple[Tensor, Tensor]:
    """(S (B, T, D), which tokens are real (B, T)). Each row depends on its own input, so one backward pass does all."""
    batch = subject.batch(rows)
    z = gold_logit(subject.model(**batch.inputs).logits, batch.targets)
    (gradient,) = torch.autograd.grad(z.sum(), entrance.x)
    return gradient, batch.inputs["attention_mask"].bool()


def gold_logit(z: Tensor, targets: Tensor) -> Tensor:
    """(B,) of logits (B, K): that of the label; of a distribution its mean, sum Y z; of a regression its one output."""
    if z.shape[1] == 1:
        return z[:, 0]
    if targets.ndim == 1:
        return z.gather(1, targets[:, None])[:, 0]
    return (targets * z).sum(1)
