"""Mixing inside the model, in one pass: each example is encoded once and serves as anchor and as partner.

`SentenceMix` mixes the vector that the head reads, so the same pass also gives the clean outcome. `LayerMix` mixes
hidden states between two blocks, or what the first block reads (the embeddings); its clean outcome is a pass of the
blocks above, on request. Both work by hooks, on any model that passes their check.

Zhang et al. 2018 (mixup); Guo, Mao and Zhang 2019 (embeddings and sentences); Verma et al. 2019, Chen, Yang and Yang
2020 (hidden states: manifold mixup, TMix); Sun et al. 2020 (sentence vectors).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from leadline.errors import InputError
from leadline.learn import models
from leadline.learn.packing import Packer
from leadline.recipe import Mixup

LAYER_STREAM = 5  # default_rng([seed, step, stream])
SAME = 1e-4  # float32, between the answers to one text in two batches
Clean = Literal["no", "look", "learn"]  # clean outcomes: not needed, without a gradient, with one


@dataclass(frozen=True)
class Pairing:
    """M mixed entries of the B examples of a batch: lam x[anchor] + (1 - lam) x[partner]; all (M,)."""

    anchor: Tensor
    partner: Tensor
    lam: Tensor

    def mix(self, x: Tensor) -> Tensor:
        """(B, …) -> (M, …), computed in float32."""
        lam = self.lam.float().view(-1, *[1] * (x.ndim - 1))
        return (lam * x[self.anchor] + (1 - lam) * x[self.partner]).to(x.dtype)

    def union(self, mask: Tensor) -> Tensor:
        """What either of the two sees: (B, …) bool, 0 / 1, or 0 / -inf to be added."""
        first, second = mask[self.anchor], mask[self.partner]
        return first | second if mask.dtype == torch.bool else torch.maximum(first, second)


@dataclass(frozen=True)
class Mixed:
    """What one pass gave: logits (M, K) of the mixed entries, and the model's output for the B examples, if asked."""

    logits: Tensor
    clean: Any | None


class SentenceMix:
    """Listens at the head of a model; after a forward pass, gives the logits of mixed sentence vectors."""

    free = True  # the clean outcome costs nothing

    def __init__(self, model: nn.Module):
        self.head = models.head(model)
        self.vectors: Tensor | None = None
        self.pad = getattr(model.config, "pad_token_id", None)
        self.real: Tensor | None = None  # (B, T) which tokens the model's own pooling takes for real
        self.hooks = [
            self.head.register_forward_pre_hook(self._listen, with_kwargs=True),
            model.register_forward_pre_hook(self._read_tokens, with_kwargs=True),
        ]
        self.listening = True

    def __call__(self, run: Callable[[], Any], mask: Tensor, pairing: Pairing, step: int, clean: Clean) -> Mixed:
        output = run()
        if self.vectors is None:
            raise RuntimeError("no forward pass reached the head")
        self.listening = False  # the head's own second call must not replace what was heard
        try:
            logits = self.head(pairing.mix(self._pooled(self.vectors)))
        finally:
            self.listening = True
        return Mixed(logits, output)

    def _pooled(self, h: Tensor) -> Tensor:
        """A decoder's linear head reads every position; its sentence vector is that of the last real token."""
        if h.ndim == 3 and isinstance(self.head, nn.Linear):
            if self.real is None:
                last = torch.full((len(h),), h.shape[1] - 1, device=h.device)
            else:
                last = (torch.arange(h.shape[1], device=h.device) * self.real).argmax(-1)
            return h[torch.arange(len(h), device=h.device), last]
        return h

    def _listen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.listening:
            self.vectors = (args[0] if args else next(iter(kwargs.values()))).float()

    def _read_tokens(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """As transformers' decoders do: real is what is not the pad token, an end token of the text included."""
        tokens = kwargs.get("input_ids")
        self.real = None if tokens is None or self.pad is None else tokens != self.pad

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


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

    def __call__(self, run: Callable[[], Any], mask: Tensor, pairing: Pairing, step: int, clean: Clean) -> Mixed:
        drawn = np.random.default_rng([self.seed, step, LAYER_STREAM]).integers(len(self.layers))
        self.at, self.count, self.pairing, self.mask = self.layers[drawn], 0, pairing, mask.clone()
        try:
            with self._telling(mask):
                logits = run().logits
            output = None if clean == "no" else self._clean(run, clean == "learn")
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

    def _clean(self, run: Callable[[], Any], learn: bool) -> Any:
        """The blocks above once more, for the examples as they are. Whether it is asked for changes no training."""
        assert self.heard is not None
        self.entering, self.count = True, 0
        self.heard = self.heard if learn else self.heard.detach()
        with contextlib.ExitStack() as around:
            around.callback(setattr, self, "entering", False)
            around.enter_context(_skipping(self))
            if not learn:
                around.enter_context(torch.no_grad())
                around.enter_context(torch.random.fork_rng(_devices(self.heard)))
            return run()

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


def _devices(x: Tensor) -> list[torch.device]:
    return [x.device] if x.device.type == "cuda" else []


def default_layers(depth: int) -> list[int]:
    """7/12, 9/12 and 12/12 of the depth: TMix's layers in an encoder of 12 blocks."""
    return sorted({max(1, round(depth * part / 12)) for part in (7, 9, 12)})


@torch.no_grad()
def check(model: Any, mixer: LayerMix, run: Callable[[], Any], mask: Tensor) -> bool:
    """Whether this model can be mixed between its blocks: not guessed, tried on a few texts of unequal length.

    With lambda 0 everything is the partner; when that is the longest text, every answer must be the answer to it.
    """
    was_training, layers = model.training, mixer.layers
    model.eval()
    try:
        clean, longest = run().logits, int(mask.sum(1).argmax())
        partner = torch.full((len(mask),), longest, device=mask.device)
        all_of_it = Pairing(
            torch.arange(len(mask), device=mask.device), partner, torch.zeros(len(mask)).to(mask.device)
        )
        wanted = clean[longest].expand_as(clean)
        for layer in layers:
            mixer.layers = [layer]
            found = mixer(run, mask, all_of_it, 0, "look")
            answers = found.clean.logits if found.clean is not None else clean
            if not (_same(found.logits, wanted) and _same(answers, clean)):
                return False
        return True
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        return False
    finally:
        mixer.layers = layers
        model.train(was_training)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a.float(), b.float(), atol=SAME))


def layers_of(model: Any, asked: Sequence[int] | None) -> list[int]:
    """The layers asked for, or the default; InputError where the model has no such layer."""
    depth = int(getattr(model.config, "num_hidden_layers", 0)) or len(models.blocks(model))
    layers = list(asked) if asked is not None else default_layers(depth)
    if beyond := [layer for layer in layers if layer > depth]:
        raise InputError(f"mixup.layers: there is no layer {beyond[0]}; {type(model).__name__} has {depth}")
    return layers


def mixer_of(
    model: Any, mixup: Mixup | None, seed: int, packer: Packer | None, run: Callable[[Packer | None], Any], mask: Tensor
) -> tuple[SentenceMix | LayerMix, Packer | None]:
    """What mixes as the recipe asks, and the packer that stays: a model that cannot be packed and mixed is mixed.

    run, mask  the model on a few texts of unequal length, packed by the packer given or padded, and which tokens of
               theirs are real. Raises InputError where the model cannot be mixed there.
    """
    if mixup is None or mixup.where == "sentence":
        return SentenceMix(model), packer
    layers = [0] if mixup.where == "embedding" else layers_of(model, mixup.layers)
    for way in [packer, None] if packer else [None]:
        mixer = LayerMix(model, layers, seed, way)
        if check(model, mixer, functools.partial(run, way), mask):
            return mixer, way
        mixer.close()
    raise InputError(
        f"mixup.where: {type(model).__name__} cannot be mixed at layers {layers}: it reads its texts in a way that "
        "mixed hidden states do not survive (tried on a few). Use where: sentence"
    )
