"""What a model makes of a text on its way to the logits, read in the pass that makes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import InputError
from leadline.learn import models
from leadline.learn.features import body_of, mean_over_tokens
from leadline.learn.tasks.batch import Batch

Where = str | Sequence[int] | None


def decision(model: Any) -> nn.Linear | None:
    """The linear layer that makes the logits; None where there is none."""
    try:
        return models.decision_layer(model)
    except (InputError, IndexError):
        return None


def check(where: Where, model: Any) -> None:
    """InputError where the model has no such features; asked before a training, so that none ends in vain."""
    if where is None or where in ("pooled", "cls"):
        return
    if isinstance(where, str) or not where:
        raise InputError(f"features {where or 'of no layer'}: choose pooled, cls, or numbers of layers (4,6)")
    layers = getattr(model.config, "num_hidden_layers", None)
    if layers is not None:
        _within(where, int(layers))


def _within(where: Sequence[int], layers: int) -> None:
    if beyond := [number for number in where if not -layers - 1 <= number <= layers]:
        raise InputError(f"evaluate.features: there is no layer {beyond[0]}; the model has {layers} (0: embeddings)")


@contextlib.contextmanager
def watched(model: Any, where: Where = None) -> Iterator[Callable[[Batch], dict[str, Tensor]]]:
    """A function for `predict(also=…)`: {penultimate (B, D), features (B, H)} of the batch that just went through.

    penultimate  what the decision layer reads; not there where a model has no linear one
    features     by `where`: None, nothing; "pooled", the mean of the last hidden state over the real tokens; "cls", its
                 first token; [layers], the means over tokens after these blocks, side by side (0: the embeddings)
    """
    seen: dict[str, Any] = {}
    handles, layer, body = [], decision(model), body_of(model)
    was = getattr(model.config, "output_hidden_states", False)
    if layer is not None:
        handles.append(layer.register_forward_pre_hook(lambda _, given: seen.update(penultimate=given[0])))
    if where is not None:
        handles.append(body.register_forward_hook(lambda _, given, output: seen.update(output=output)))
        model.config.output_hidden_states = not isinstance(where, str)

    def read(batch: Batch) -> dict[str, Tensor]:
        mask = batch.inputs["attention_mask"]
        found = {}
        if "penultimate" in seen:
            found["penultimate"] = _one_each(seen.pop("penultimate"), mask).float()
        if where is not None:
            found["features"] = _features(seen.pop("output"), where, batch).float()
        return found

    try:
        yield read
    finally:
        model.config.output_hidden_states = was
        for handle in handles:
            handle.remove()


def _features(output: Any, where: str | Sequence[int], batch: Batch) -> Tensor:
    """(B, H), or (B, H times the layers)."""
    if where == "cls":  # the first real token: some tokenizers pad on the left
        first = batch.inputs["attention_mask"].int().argmax(dim=1)
        return output[0][torch.arange(len(first), device=first.device), first]
    if isinstance(where, str):
        return mean_over_tokens(output[0].float(), batch)
    states = output.hidden_states
    _within(where, len(states) - 1)
    return torch.cat([mean_over_tokens(states[number].float(), batch) for number in where], dim=1)


def _one_each(vectors: Tensor, mask: Tensor) -> Tensor:
    """(B, D): of a decoder, whose decision layer reads every token (B, T, D), the last real one."""
    if vectors.ndim == 2:
        return vectors
    place = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * place).argmax(dim=1)
    return vectors[torch.arange(len(vectors), device=mask.device), last]
