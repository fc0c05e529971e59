"""A push where it hurts most: inputs moved by one step along the sign of the loss's gradient (FGSM).

Goodfellow, Shlens, Szegedy, ICLR 2015 (arXiv 1412.6572); of texts the embeddings are moved, as in Miyato, Dai,
Goodfellow, ICLR 2017 (arXiv 1605.07725), who take the gradient itself instead of its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from leadline.learn.predict import TOKENS, batches
from leadline.learn.tasks.batch import Batch, Row, Task

PIXELS = "pixel_values"


def fgsm(
    model: Any,
    task: Task,
    encoded: Sequence[Row],
    targets: np.ndarray,
    device: torch.device,
    epsilon: float,
    tokens: int = TOKENS // 4,
) -> dict[str, np.ndarray]:
    """The outcomes, as `predict` has them, of inputs that were moved to make the loss larger. Dropout is off.

    targets  (N,) or (N, K), the truth: what is attacked is the loss towards it
    epsilon  texts: every coordinate of a token's embedding moves by epsilon times the mean norm of the embedding table
             over the root of the width, so a token moves by epsilon times that mean norm (a norm of 0 for the pad token
             is left out; special tokens move, padding does not). Images: every pixel moves by epsilon, in the unit that
             the model is given. 0 changes nothing.
    tokens   of one batch; a backward pass keeps what `predict` does not

    Two forward passes and one backward. No parameter gets a gradient. A text so moved is a text no more: this bounds
    what a small change can do, it does not say that such a change can be typed.
    """
    model = getattr(model, "module", model)
    was_training = model.training
    model.eval()
    lengths = np.array([task.length(row) for row in encoded], dtype=np.int64)
    columns: dict[str, np.ndarray] = {}
    for rows in batches(lengths, tokens):
        batch = task.collate([encoded[i] for i in rows], targets[rows]).to(device)
        for name, values in _pushed(model, task, batch, epsilon).items():
            array = values.cpu().numpy()
            if name not in columns:
                columns[name] = np.empty((len(encoded), *array.shape[1:]), dtype=array.dtype)
            columns[name][rows] = array
    model.train(was_training)
    return columns


def _pushed(model: Any, task: Task, batch: Batch, epsilon: float) -> dict[str, Tensor]:
    if PIXELS in batch.inputs:
        pixels = batch.inputs[PIXELS].detach().requires_grad_()
        seen = replace(batch, inputs={**batch.inputs, PIXELS: pixels})
        moved = pixels.detach() + epsilon * _gradients(model, task, seen, [pixels])[0].sign()
        seen = replace(batch, inputs={**batch.inputs, PIXELS: moved})
        with torch.no_grad():
            return task.outcome(model(**seen.inputs), seen).columns()
    table: nn.Module = model.get_input_embeddings()
    given: list[Tensor] = []

    def listen(values: Tensor) -> Tensor:
        given.append(values.detach().requires_grad_())
        return given[-1]

    with _replacing(table, listen):
        gradients = _gradients(model, task, batch, given)
    step, mask = epsilon * _coordinate(table), batch.inputs.get("attention_mask")
    pushes = iter([step * gradient.sign() * _of_real(mask, gradient) for gradient in gradients])
    with _replacing(table, lambda values: values + next(pushes).to(values)), torch.no_grad():
        return task.outcome(model(**batch.inputs), batch).columns()


@torch.enable_grad()
def _gradients(model: Any, task: Task, batch: Batch, inputs: list[Tensor]) -> Sequence[Tensor]:
    """Of each row's loss over the size of its slope at the logits: their signs are those of the loss's own.

    No row's loss depends on another's input. The slope of a row that the model is sure of vanishes in half precision.
    """
    with sdpa_kernel(SDPBackend.MATH):  # on a processor the backward pass of fused attention takes longer than all else
        output = model(**batch.inputs)
        loss = task.training_loss(output, batch).sum()
        (slope,) = torch.autograd.grad(loss, output.logits, retain_graph=True)
        size = slope.flatten(1).norm(dim=1).clamp(min=torch.finfo(slope.dtype).tiny)
        return torch.autograd.grad(output.logits, inputs, slope / size.reshape(-1, *[1] * (slope.ndim - 1)))


def _coordinate(table: Any) -> float:
    """Mean norm of the embeddings over the root of their width: the size of a typical coordinate."""
    norms = table.weight.detach().float().norm(dim=1)
    return float(norms[norms > 0].mean()) / table.weight.shape[1] ** 0.5


def _of_real(mask: Tensor | None, values: Tensor) -> Tensor | float:
    """1 for tokens, 0 for padding; (I, T, 1)."""
    fits = mask is not None and mask.shape == values.shape[:2]
    return mask[..., None].to(values) if fits and mask is not None else 1.0


@contextmanager
def _replacing(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Any:
    """Inside, what the module gives is what `change` makes of it."""
    hook = module.register_forward_hook(lambda module, args, output: change(output))
    try:
        yield
    finally:
        hook.remove()
