"""What mixes: the place that a recipe names, on a model that can be mixed there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from leadline.errors import InputError
from leadline.learn import between, span
from leadline.learn.between import LayerMix
from leadline.learn.interpolate import PixelMix, SentenceMix
from leadline.learn.packing import Packer
from leadline.learn.span import SpanMix
from leadline.learn.tasks.batch import Batch, Task
from leadline.recipe import Mixup

Mixer = SentenceMix | LayerMix | SpanMix | PixelMix
Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


def mixer_of(
    model: Any,
    task: Task,
    mixup: Mixup | None,
    seed: int,
    batch: Batch,
    packer: Packer | None = None,
    autocast: Autocast = contextlib.nullcontext,
) -> tuple[Mixer, Packer | None]:
    """What mixes as the recipe asks, and the packer that stays: a model that cannot be packed and mixed is mixed.

    batch     a few texts of unequal length, on the model's device, on which mixing is tried
    autocast  inside it the model computes in the precision that it is trained in
    Raises InputError where the model, or texts as it reads them, cannot be mixed there.
    """
    kind = type(model).__name__
    if mixup is None or mixup.where == "sentence":
        return SentenceMix(model), packer
    if mixup.where == "pixel":
        return PixelMix(), packer
    if mixup.where == "span":
        if not span.check(task, batch):
            raise InputError(
                f"mixup.where: span needs single texts between two special tokens, padded on the right; {kind} reads "
                "them otherwise (seen on a few). Use where: sentence"
            )
        return SpanMix(model, task, mixup.span, packer), packer
    layers = [0] if mixup.where == "embedding" else between.layers_of(model, mixup.layers)
    for way in [packer, None] if packer else [None]:
        mixer = LayerMix(model, layers, seed, way)
        if _mixes(model, mixer, batch, way, autocast):
            return mixer, way
        mixer.close()
    raise InputError(
        f"mixup.where: {kind} cannot be mixed at layers {layers}: it reads its texts in a way that "
        "mixed hidden states do not survive (tried on a few). Use where: sentence"
    )


def _mixes(model: Any, mixer: LayerMix, batch: Batch, packer: Packer | None, autocast: Autocast) -> bool:
    """Tried in float32, where answers can be compared exactly, and as it is trained; flash attention has no float32."""

    def run(batch: Batch) -> Any:
        return model(**(packer(batch.inputs) if packer else batch.inputs))

    def as_trained(batch: Batch) -> Any:
        with autocast():
            return run(batch)

    with autocast():
        lower = torch.is_autocast_enabled(next(iter(batch.inputs.values())).device.type)
    flash = "flash" in str(getattr(model.config, "_attn_implementation", ""))
    exact = flash or between.check(model, mixer, run, batch)
    return exact and (not lower or between.check(model, mixer, as_trained, batch, rounded=True))
