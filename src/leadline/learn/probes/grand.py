"""GraNd of the last layer, in closed form (Paul, Ganguli and Dziugaite, NeurIPS 2021).

The paper's score is the norm of the gradient over all parameters (`grand_full`), early in training, averaged over about
ten initialisations. Of the last linear layer z = W h + b it is ||p - Y|| sqrt(||h||^2 + 1): no backward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.learn import memory, models
from leadline.learn.probes.subject import Subject, asked

TOKENS = 8192  # per batch: a forward pass without activations, as in `predict`


def last_layer(error: Tensor, h: Tensor, bias: bool = True) -> Tensor:
    """||error|| sqrt(||h||^2 + 1), (B,): the norm of the gradient for W and b of z = W h + b.

    error  (B, K) d loss / d z; of a cross-entropy p - Y
    h      (B, H) what the layer reads
    bias   False: the layer has none, and the 1 goes
    """
    return error.norm(dim=1) * (h.square().sum(1) + float(bias)).sqrt()


def grand(subject: Subject, tokens: int = TOKENS) -> np.ndarray:
    """(N,) float64, from 0, higher is harder. The loss is the plain one: no weights, no smoothing."""
    layer = models.decision_layer(subject.model)
    seen: dict[str, Tensor] = {}

    def cut(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Only what follows the layer is differentiated."""
        seen["h"], seen["z"] = args[0].detach(), output.detach().requires_grad_()
        return seen["z"]

    values = np.empty(len(subject))
    hook = layer.register_forward_hook(cut)
    try:
        with asked(subject.model):
            for rows in subject.batches(tokens):
                batch = subject.batch(rows)
                losses = subject.task.training_loss(subject.model(**batch.inputs), batch)  # (B,)
                (error,) = torch.autograd.grad(losses.sum(), seen["z"])
                values[rows] = _norms(error.double(), seen["h"].double(), layer.bias is not None).cpu().numpy()
                memory.give_back()
    finally:
        hook.remove()
    return values


def _norms(error: Tensor, h: Tensor, bias: bool) -> Tensor:
    """error (B, K), h (B, H); of a decoder (B, T, K), (B, T, H): every token has logits, one of them is read."""
    if error.ndim == 2:
        return last_layer(error, h, bias)
    squares = torch.einsum("btk,bth->bkh", error, h).square().sum((1, 2))
    return (squares + error.sum(1).square().sum(1) * bias).sqrt()
