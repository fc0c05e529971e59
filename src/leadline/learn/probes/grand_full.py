"""GraNd of all parameters: the norm of the gradient of each example's loss, many examples in one backward pass.

Of a linear layer the gradient of example b is the sum over tokens of g_t a_t^T, a its input and g the gradient of its
output, and its squared norm the sum over pairs of tokens of (a_t . a_s)(g_t . g_s): no gradient of a single example is
ever formed, and none of a weight (Goodfellow 2015, arXiv 1510.01799; over tokens Li et al., ICLR 2022). The same holds
for embeddings, whose a is a one-hot vector; normalisation layers have one weight per dimension, formed directly.

Whether that is all of a model is not guessed: a few examples are done both ways and compared, and a model with other
layers (or one that uses its parameters in other ways) is asked about one example after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from leadline.learn import memory
from leadline.learn.probes.subject import Subject, asked

TOKENS = 512  # per batch: activations are kept for the backward pass, and larger ones are no faster on a processor
OFTEN = 20  # batches after which freed memory is given back
SAME = 1e-3  # relative, in float32

Squares = Callable[[Any, Tensor, Tensor], Tensor]  # (layer, input, gradient of the output) -> (B,) squared norms


def grand_full(subject: Subject, tokens: int = TOKENS) -> tuple[np.ndarray, str | None]:
    """((N,) float64 from 0, higher is harder; why it was done one by one, or None where many at once).

    The loss is the plain one: no weights, no smoothing.
    """
    reason = stranger(subject.model) or _differ(subject)
    if reason is not None:
        return one_by_one(subject, np.arange(len(subject))), reason
    values = np.empty(len(subject))
    with asked(subject.model), Norms(subject.model) as norms:
        for number, rows in enumerate(subject.batches(tokens)):
            values[rows] = norms.of(subject, rows)
            if number % OFTEN == 0:
                memory.give_back()
    return values, None


def one_by_one(subject: Subject, rows: np.ndarray) -> np.ndarray:
    """(len(rows),) the definition: a backward pass for every example."""
    values = np.empty(len(rows))
    parameters = list(subject.model.parameters())
    with asked(subject.model):
        subject.model.requires_grad_(True)
        for place, row in enumerate(rows):
            batch = subject.batch(np.array([row]))
            loss = subject.task.training_loss(subject.model(**batch.inputs), batch).sum()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            squares = [g.double().square().sum() for g in gradients if g is not None]
            values[place] = float(torch.stack(squares).sum().sqrt())
    return values


def stranger(model: nn.Module) -> str | None:
    """Why the norms of this model cannot be taken from its layers; None where they may be."""
    own = [(module, p) for module in model.modules() for p in module.parameters(recurse=False)]
    unknown = sorted({type(module).__name__ for module, _ in own if type(module) not in SQUARES})
    if unknown:
        return f"it has layers of other kinds ({', '.join(unknown)})"
    holders = Counter(id(p) for _, p in own)
    return "some of its layers share their parameters" if max(holders.values(), default=0) > 1 else None


def _differ(subject: Subject) -> str | None:
    """A few examples, both ways."""
    rows = subject.few()
    slow = one_by_one(subject, rows)
    try:
        with asked(subject.model), Norms(subject.model) as norms:
            quick = norms.of(subject, rows)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return f"its layers could not be followed ({str(error).splitlines()[0][:100]})"
    return None if np.allclose(quick, slow, rtol=SAME) else "it uses its parameters outside of its layers"


class Norms:
    """Listens at every layer with parameters; adds up the squared norms while the gradients pass by."""

    def __init__(self, model: nn.Module):
        self.layers = [module for module in model.modules() if type(module) in SQUARES]
        self.hooks: list[Any] = []
        self.calls: Counter[nn.Module] = Counter()  # of each layer in this forward pass
        self.passed: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}  # (input, gradient) of the calls so far
        self.total = torch.zeros(0)

    def __enter__(self) -> Norms:
        for layer in self.layers:
            if isinstance(layer, nn.Embedding):
                self.hooks.append(layer.register_forward_pre_hook(self._for_each))
            self.hooks.append(layer.register_forward_hook(self._watch))
        return self

    def __exit__(self, *trouble: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def of(self, subject: Subject, rows: np.ndarray) -> np.ndarray:
        """(len(rows),) norms."""
        batch = subject.batch(rows)
        self.total = torch.zeros(len(rows), dtype=torch.float64, device=subject.device)
        self.calls.clear()
        self.passed.clear()
        subject.task.training_loss(subject.model(**batch.inputs), batch).sum().backward()
        for layer in list(self.passed):  # of the others all calls have passed
            self._add(layer)
        return self.total.clamp(min=0).sqrt().cpu().numpy()

    def _for_each(self, layer: nn.Module, args: tuple[Any, ...]) -> Any:
        """Positions that a batch shares, (1, T), are looked up for each example: each has a gradient of its own."""
        ids = args[0]
        if ids.ndim == 2 and ids.shape[0] == 1 < len(self.total):
            return (ids.expand(len(self.total), -1), *args[1:])
        return None

    def _watch(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if output.shape[0] != len(self.total):
            raise ValueError(f"{type(layer).__name__} gives {tuple(output.shape)} for {len(self.total)} examples")
        entry = None if output.requires_grad else output.detach().requires_grad_()  # nothing before it has a gradient
        a = args[0].detach()
        self.calls[layer] += 1

        def pass_by(g: Tensor) -> None:
            parts = self.passed.setdefault(layer, [])
            parts.append((a, g))
            if len(parts) == self.calls[layer]:
                self._add(layer)

        (output if entry is None else entry).register_hook(pass_by)
        return entry

    def _add(self, layer: nn.Module) -> None:
        """The tokens of all calls together: they add up to one gradient."""
        parts = self.passed.pop(layer)
        a, g = (torch.cat([_tokens(part[i], layer, i) for part in parts], dim=1) for i in (0, 1))
        self.total += SQUARES[type(layer)](layer, a, g)


def _tokens(x: Tensor, layer: nn.Module, side: int) -> Tensor:
    """(B, ..., D) -> (B, T, D); ids (B, ...) -> (B, T)."""
    if isinstance(layer, nn.Embedding) and side == 0:
        return x.flatten(1)
    return x[:, None] if x.ndim == 2 else x.flatten(1, -2)


def _linear(layer: Any, a: Tensor, g: Tensor) -> Tensor:
    """a (B, T, I), g (B, T, O)."""
    t, size = a.shape[1], layer.weight.numel()
    if t == 1:
        squares = _square(a).sum((1, 2)) * _square(g).sum((1, 2))
    elif 2 * t * t <= size:
        squares = (torch.bmm(a, a.mT) * torch.bmm(g, g.mT)).sum((1, 2), dtype=torch.float64)
    else:
        squares = _square(torch.bmm(g.mT, a)).sum((1, 2))  # longer than it is worth: the gradient itself
    return squares + (_square(g.sum(1)).sum(1) if layer.bias is not None else 0.0)


def _embedding(layer: Any, ids: Tensor, g: Tensor) -> Tensor:
    """ids (B, T), g (B, T, D): tokens of one id share a row. The padding's row is not trained."""
    if layer.padding_idx is not None:
        g = g.masked_fill((ids == layer.padding_idx)[..., None], 0.0)
    same = ids[:, :, None] == ids[:, None, :]
    return (torch.bmm(g, g.mT) * same).sum((1, 2), dtype=torch.float64)


def _layer_norm(layer: Any, x: Tensor, g: Tensor) -> Tensor:
    """x, g (B, T, D): normalised over the last dimension, then a weight and a bias for each of its elements."""
    if len(layer.normalized_shape) != 1:
        raise ValueError(f"a LayerNorm over {len(layer.normalized_shape)} dimensions")
    of_weight = (g * nn.functional.layer_norm(x, layer.normalized_shape, eps=layer.eps)).sum(1)  # (B, D)
    squares = (
        _square(of_weight).sum(1) if layer.weight is not None else torch.zeros_like(g[:, 0, 0], dtype=torch.float64)
    )
    return squares + (_square(g.sum(1)).sum(1) if layer.bias is not None else 0.0)


def _square(x: Tensor) -> Tensor:
    return x.double().square()


SQUARES: dict[type, Squares] = {
    nn.Linear: _linear,
    Conv1D: _linear,  # GPT-2's: a linear layer with its weight the other way round
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
}
