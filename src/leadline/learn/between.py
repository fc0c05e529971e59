"""Mixing between the blocks of a model, in one pass: each example goes through the blocks below once.

The clean outcome is a pass of the blocks above, on request. All by hooks, on any model that passes `check`.

Guo, Mao and Zhang 2019 (embeddings); Verma et al. 2019, Chen, Yang and Yang 2020 (hidden states: manifold mixup, TMix).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.errors import InputError
from leadline.learn import models
from leadline.learn.interpolate import Clean, Mixed, Pairing, Run, real, undisturbed
from leadline.learn.packing import Packer
from leadline.learn.tasks.batch import Batch

LAYER_STREAM = 5  # default_rng([seed, step, stream])
SAME = 1e-4  # float32, between the answers to one text in two batches
NEAR = 0.25  # lower precision: such a share of what lies between the answers to two texts


class LayerMix:
    """Mixes what block k reads (0: the embeddings; the depth: what the last block gives), k drawn for every step.

    Tokens are mixed by position. Where only one of the two texts has a token, the other counts as zeros (Guo et al.),
    and from there on the mixed text has the tokens of both (their masks are united; TMix goes on with the first's).
    """

    free = False

    def __init__(self, model: Any, layers: Sequence[int], seed: int, packer: Packer | None = None):
        self.layers, self.seed, self.packer = list(layers), seed, packer
        self.blocks = list(models.blocks(model))
        self.takes = [list(inspect.signature(block.forward).parameters) for block in self.blocks]
        self.pairing: Pairing | None = None  # of the pass that is under way
        self.mask: Tensor | None = None  # (B, T) of its batch
        self.given: Tensor | None = None  # the tensor in which the model was given that mask
        self.at = -1  # what is mixed, or entered: the input of this block
        self.count = 0  # blocks that this pass has gone through
        self.heard: Tensor | None = None  # what block `at` would have read
        self.entering = False  # the pass is the clean one, which starts at `at` with what was heard
        self.tuples = False  # blocks give tuples
        self.hooks = [block.register_forward_pre_hook(self._before, with_kwargs=True) for block in self.blocks]
        self.hooks += [block.register_forward_hook(self._after) for block in self.blocks]
        self.depth = int(getattr(model.config, "num_hidden_layers", len(self.blocks)))

    def __call__(self, run: Run, batch: Batch, pairing: Pairing, step: int, clean: Clean) -> Mixed:
        mask, drawn = real(batch), np.random.default_rng([self.seed, step, LAYER_STREAM]).integers(len(self.layers))
        self.at, self.count, self.pairing, self.mask = self.layers[drawn], 0, pairing, mask.clone()
        try:
            with self._telling(mask):
                logits = run(batch).logits
            output = None if clean == "no" else self._clean(run, batch, clean == "learn")
        finally:
            self.pairing = self.heard = self.mask = None
        return Mixed(logits, output)

    @contextlib.contextmanager
    def _telling(self, mask: Tensor) -> Iterator[None]:
        """Some models pool by the mask that they were called with: inside, that tensor follows the mixing."""
        own, self.given = mask.data, mask
        try:
            yield
        finally:
            mask.data, self.given = own, None

    def _clean(self, run: Run, batch: Batch, learn: bool) -> Any:
        """The blocks above once more, for the examples as they are. Whether it is asked for changes no training."""
        assert self.heard is not None
        self.entering, self.count = True, 0
        self.heard = self.heard if learn else self.heard.detach()
        with contextlib.ExitStack() as around:
            around.callback(setattr, self, "entering", False)
            around.enter_context(_skipping(self))
            around.enter_context(torch.set_grad_enabled(learn))
            around.enter_context(undisturbed(self.heard, not learn))
            return run(batch)

    def _before(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.pairing is None or self.count < self.at:
            return None
        if not self.entering:
            args, kwargs = self._united(block, args, kwargs)
        if self.count == self.at:
            hidden = args[0] if args else kwargs["hidden_states"]
            hidden = self._exchange(hidden)
            args, kwargs = ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})
        return args, kwargs

    def _after(self, block: nn.Module, args: Any, output: Any) -> Any:
        if self.pairing is None:
            return None
        self.count += 1
        self.tuples = isinstance(output, tuple)
        if self.count < self.depth or self.at != self.depth:
            return None
        return (self._exchange(output[0]), *output[1:]) if self.tuples else self._exchange(output)

    def _exchange(self, hidden: Tensor) -> Tensor:
        """What the pass goes on with: the mixed states, or in the clean pass those that were heard."""
        assert self.pairing is not None and self.mask is not None
        if self.entering:
            assert self.heard is not None
            return self.heard
        self.heard = hidden
        packed = self.packer is not None and self.packer.layout is not None
        rows = self.packer.in_rows(hidden) if packed and self.packer else hidden  # (B, T, H)
        mixed = self.pairing.mix(rows * self.mask[..., None].to(rows))
        both = self.pairing.union(self.mask.bool())
        if packed and self.packer:
            return self.packer.packed_anew(mixed, both)
        if self.given is not None:
            self.given.data = both.to(self.given.dtype)
        return mixed

    def _united(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments of a block above the mixing, with the masks of both texts in place of the first's."""
        assert self.pairing is not None and self.mask is not None
        names, n = self.takes[self.blocks.index(block)], len(self.mask)

        def own(name: str, value: Any) -> Any:
            mine = "mask" in name and isinstance(value, Tensor) and value.ndim > 1 and len(value) == n
            return self.pairing.union(value) if mine and self.pairing else value

        united = tuple(own(name, value) for name, value in zip(names, args, strict=False))
        return united, {name: own(name, value) for name, value in kwargs.items()}

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


@contextlib.contextmanager
def _skipping(mixer: LayerMix) -> Iterator[None]:
    """Inside, the blocks below the mixing do nothing: what they would say is known."""
    before = [(vars(block).get("forward"), block.forward) for block in mixer.blocks]

    def passing(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if mixer.count >= mixer.at:
                return forward(*args, **kwargs)
            hidden = args[0] if args else kwargs["hidden_states"]
            return (hidden, None) if mixer.tuples else hidden

        return run

    try:
        for block, (_, forward) in zip(mixer.blocks, before, strict=True):
            block.forward = passing(forward)
        yield
    finally:
        for block, (own, _) in zip(mixer.blocks, before, strict=True):
            if own is None:
                del block.forward
            else:
                block.forward = own


def default_layers(depth: int) -> list[int]:
    """7/12, 9/12 and 12/12 of the depth: TMix's layers in an encoder of 12 blocks."""
    return sorted({max(1, (depth * part + 6) // 12) for part in (7, 9, 12)})  # halves go up; round() makes them even


@torch.no_grad()
def check(model: Any, mixer: LayerMix, run: Run, batch: Batch, rounded: bool = False) -> bool:
    """Whether this model can be mixed between its blocks: not guessed, tried on a few texts of unequal length.

    With lambda 0 everything is the partner; when that is the longest text, every answer must be the answer to it.
    `rounded`: the run computes in less than float32, where the answers to one text differ by the batch that it is in.
    """
    was_training, layers, mask = model.training, mixer.layers, real(batch)
    model.eval()
    try:
        clean, longest = run(batch).logits, int(mask.sum(1).argmax())
        partner = torch.full((len(mask),), longest, device=mask.device)
        all_of_it = Pairing(
            torch.arange(len(mask), device=mask.device), partner, torch.zeros(len(mask)).to(mask.device)
        )
        wanted = clean[longest].expand_as(clean)
        apart = SAME + (NEAR * float((clean - wanted).abs().max()) if rounded else 0.0)
        for layer in layers:
            mixer.layers = [layer]
            found = mixer(run, batch, all_of_it, 0, "look")
            answers = found.clean.logits if found.clean is not None else clean
            if not (_same(found.logits, wanted, apart) and _same(answers, clean, apart)):
                return False
        return True
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        return False
    finally:
        mixer.layers = layers
        model.train(was_training)


def _same(a: Tensor, b: Tensor, apart: float) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a.float(), b.float(), atol=apart))


def layers_of(model: Any, asked: Sequence[int] | None) -> list[int]:
    """The layers asked for, or the default; InputError where the model has no such layer."""
    depth = int(getattr(model.config, "num_hidden_layers", 0)) or len(models.blocks(model))
    layers = list(asked) if asked is not None else default_layers(depth)
    if beyond := [layer for layer in layers if layer > depth]:
        raise InputError(f"mixup.layers: there is no layer {beyond[0]}; {type(model).__name__} has {depth}")
    return layers
