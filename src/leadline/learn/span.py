"""SSMix: a span of one text is replaced by a span of another, chosen by the gradient (Yoon, Kim and Park 2021).

The least salient span of the anchor gives way to the most salient of the partner, of the same length; the anchor's
share of the target is the share of its tokens that stay. Saliency needs a pass with a gradient, which also is the clean
outcome; the mixed texts are a second pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.learn.interpolate import Clean, Mixed, Pairing, Run, real
from leadline.learn.packing import Packer
from leadline.learn.tasks.batch import Batch, Task

AROUND = 2  # special tokens of a text: one before, one after


def width(length: int, share: float) -> int:
    """Tokens of the span of a text of `length` tokens, special ones included."""
    return max(int((length - AROUND) * share), 1)


def shares(anchor: np.ndarray, partner: np.ndarray, share: float) -> np.ndarray:
    """(M,) lambda: the share of its tokens that an anchor keeps, from the lengths (M,) of both; 1 where the partner is
    too short for the span, or the anchor is nothing but the span."""
    own, other = anchor - AROUND, partner - AROUND
    span = np.maximum((own * share).astype(int), 1)
    return np.where((other >= span) & (own > span), 1 - span / np.maximum(own, 1), 1.0)


def check(task: Task, batch: Batch) -> bool:
    """Whether the tokens of a text lie where spans are looked for, seen on a few texts: single ones, padded on the
    right, one special token before them and one after; the tokenizer says which two."""
    encoder = getattr(task, "encoder", None)
    tokenizer, mask = getattr(encoder, "tokenizer", None), real(batch).bool()
    if tokenizer is None or len(getattr(encoder, "columns", ())) != 1 or "input_ids" not in batch.inputs:
        return False
    around = list(tokenizer("")["input_ids"])
    if len(around) != AROUND or not bool((mask[:, :-1] >= mask[:, 1:]).all()):
        return False
    tokens, last = batch.inputs["input_ids"], mask.sum(1) - 1
    ends = tokens.gather(1, last[:, None])[:, 0]
    return bool(((last >= AROUND - 1) & (tokens[:, 0] == around[0]) & (ends == around[1])).all())


class SpanMix:
    """`share`: of the anchor's tokens, the length of the span. For texts that pass `check`."""

    free = True

    def __init__(self, model: Any, task: Task, share: float, packer: Packer | None = None):
        self.task, self.share, self.packer = task, share, packer
        self.heard: Tensor | None = None  # (B, T, H) word embeddings of the pass that is under way, or (1, P, H)
        self.rows: Tensor | None = None  # (B, T) where its tokens lie, when packed
        self.hook = model.get_input_embeddings().register_forward_hook(self._listen)

    def __call__(self, run: Run, batch: Batch, pairing: Pairing, step: int, clean: Clean) -> Mixed:
        with torch.enable_grad():
            output = run(batch)
        saliency = self._saliency(output, batch, clean == "learn").cpu().numpy()
        lengths = real(batch).sum(1).cpu().numpy()
        anchors, partners = pairing.anchor.cpu().numpy(), pairing.partner.cpu().numpy()
        tokens = batch.inputs["input_ids"].cpu().numpy()
        mixed = tokens[anchors]
        for row, (a, b) in enumerate(zip(anchors, partners, strict=True)):
            if a == b or shares(lengths[[a]], lengths[[b]], self.share)[0] == 1:
                continue
            w = width(lengths[a], self.share)
            least, most = (means(saliency[x, 1 : lengths[x] - 1], w) for x in (a, b))
            into, out = 1 + int(least.argmin()), 1 + int(most.argmax())
            mixed[row, into : into + w] = tokens[b, out : out + w]
        inputs = {name: value[pairing.anchor] for name, value in batch.inputs.items()}
        inputs["input_ids"] = torch.from_numpy(mixed).to(pairing.anchor.device)
        return Mixed(run(replace(batch, inputs=inputs)).logits, output)

    def _saliency(self, output: Any, batch: Batch, again: bool) -> Tensor:
        """(B, T) root of the mean square, over the embedding, of the clean loss's gradient."""
        assert self.heard is not None
        loss = self.task.training_loss(output, batch).sum()
        (gradient,) = torch.autograd.grad(loss, self.heard, retain_graph=again)
        each = gradient.float().square().mean(-1).sqrt()
        return each if self.rows is None else each[0][self.rows]

    def _listen(self, module: Any, args: Any, output: Tensor) -> None:
        layout = self.packer.layout if self.packer else None
        if torch.is_grad_enabled():
            self.heard, self.rows = output, layout.rows if layout else None

    def close(self) -> None:
        self.hook.remove()


def means(x: np.ndarray, w: int) -> np.ndarray:
    """(L - w + 1,) mean of every w neighbours of x (L,)."""
    total = np.concatenate([[0.0], np.cumsum(x, dtype=np.float64)])
    return (total[w:] - total[:-w]) / w
