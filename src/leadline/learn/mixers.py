"""What mixes: the place that a recipe names, on a model that can be mixed there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leadline.errors import InputError
from leadline.learn.between import LayerMix, check, layers_of
from leadline.learn.interpolate import PixelMix, Run, SentenceMix
from leadline.learn.packing import Packer
from leadline.learn.span import SpanMix
from leadline.learn.tasks.batch import Batch, Task
from leadline.recipe import Mixup

Mixer = SentenceMix | LayerMix | SpanMix | PixelMix


def mixer_of(
    model: Any,
    task: Task,
    mixup: Mixup | None,
    seed: int,
    packer: Packer | None,
    run: Callable[[Packer | None], Run],
    batch: Batch,
) -> tuple[Mixer, Packer | None]:
    """What mixes as the recipe asks, and the packer that stays: a model that cannot be packed and mixed is mixed.

    run    the model, packed by the packer given or padded
    batch  a few texts of unequal length, on which mixing is tried
    Raises InputError where the model cannot be mixed there.
    """
    if mixup is None or mixup.where == "sentence":
        return SentenceMix(model), packer
    if mixup.where == "pixel":
        return PixelMix(), packer
    if mixup.where == "span":
        return SpanMix(model, task, mixup.span, packer), packer
    layers = [0] if mixup.where == "embedding" else layers_of(model, mixup.layers)
    for way in [packer, None] if packer else [None]:
        mixer = LayerMix(model, layers, seed, way)
        if check(model, mixer, run(way), batch):
            return mixer, way
        mixer.close()
    raise InputError(
        f"mixup.where: {type(model).__name__} cannot be mixed at layers {layers}: it reads its texts in a way that "
        "mixed hidden states do not survive (tried on a few). Use where: sentence"
    )
