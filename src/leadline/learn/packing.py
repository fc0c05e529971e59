"""Training without padding: the tokens of a batch in one row, for encoders on a processor.

Everything but attention works token by token, so it needs no padding; attention goes sequence by sequence, in groups of
similar length. What the encoder gives back is laid out in rows again, so pooling and head see what they always saw.
Steps can then be drawn at random: batches of similar length, the other way to save padding, are batches of similar
labels wherever length and label go together, and learn less.

Which models can be packed is not guessed: `packer` runs a few examples both ways and compares.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.learn import models

GROUP = 8  # sequences of similar length whose attention is computed together
SAME = 1e-4  # float32, between packed and padded logits


def rounded(count: int) -> int:
    """count, or up to 6 % more: at most 16 values between a power of two and the next.

    For every new shape the processor's library makes new kernels, which takes milliseconds each, and keeps them.
    """
    step = 1 << max(0, count.bit_length() - 5)
    return -(-count // step) * step


@dataclass(frozen=True)
class Layout:
    """How B sequences of at most T tokens lie in one row of P tokens, the short ones first.

    P and every t are `rounded`: places at the end of the row and of a group may hold nothing.

    groups  (b, t) places in the row of each group's tokens, P where there is none, and (b, 1, 1, t) which are none
    back    (P,) where each token of the row is among the places of all groups; one beyond them where there is none
    order   (B,) the sequences as they lie in the row
    rows    (B, T) place in the row of every token of the batch; padding points at its sequence's first token
    """

    groups: list[tuple[Tensor, Tensor | None]]
    back: Tensor
    order: Tensor
    rows: Tensor

    @classmethod
    def of(cls, lengths: np.ndarray) -> Layout:
        order = np.argsort(lengths, kind="stable")
        sizes = lengths[order]
        total = rounded(int(sizes.sum()))  # P
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        groups, kept, passed = [], [], 0
        for first in range(0, len(order), GROUP):
            size, start = sizes[first : first + GROUP], starts[first : first + GROUP]
            column = np.arange(rounded(int(size.max())))
            real = column < size[:, None]  # (b, t)
            place = np.where(real, start[:, None] + column, total)
            padding = None if real.all() else torch.from_numpy(~real)[:, None, None, :]
            groups.append((torch.from_numpy(place), padding))
            kept.append(passed + np.flatnonzero(real))
            passed += real.size
        column = np.arange(lengths.max())
        begins = np.empty_like(starts)
        begins[order] = starts
        rows = begins[:, None] + np.where(column < lengths[:, None], column, 0)
        back = np.concatenate([*kept, np.full(total - sizes.sum(), passed)])
        parts = (back, order, rows)
        return cls(groups, *(torch.from_numpy(part) for part in parts))

    def spread(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (P, ...) -> (b, t, ...) of every group; 0 where there is no token."""
        x = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
        return tuple(x.index_select(0, place.flatten()).view(*place.shape, *x.shape[1:]) for place, _ in self.groups)

    def gather(self, parts: tuple[Tensor, ...]) -> Tensor:
        """The reverse of `spread`: (b, t, ...) of every group -> (P, ...); 0 where the row holds nothing."""
        nothing = parts[0].new_zeros(1, *parts[0].shape[2:])
        return torch.cat([*(part.flatten(0, 1) for part in parts), nothing]).index_select(0, self.back)

    def row(self, tokens: Tensor) -> Tensor:
        """tokens (P', ...), as they lie in the row -> (P, ...), with 0 at the end where it holds nothing."""
        return torch.cat([tokens, tokens.new_zeros(len(self.back) - len(tokens), *tokens.shape[1:])])


class _Spread(torch.autograd.Function):
    """What is no token gets no gradient, so the gradient is gathered; torch would add it up, one by one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: Layout) -> tuple[Tensor, ...]:
        ctx.layout = layout
        return layout.spread(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.gather(grads), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, *parts: Tensor) -> Tensor:
        ctx.layout = layout
        return layout.gather(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return None, *ctx.layout.spread(grads[0])


class Packer:
    """Turns the padded inputs of a batch into packed ones; listens at the encoder to undo it."""

    def __init__(self, model: Any, encoder: nn.Module):
        self.first = models.first_position(model)
        self.layout: Layout | None = None
        self.real = torch.zeros(0, 0, dtype=torch.bool)  # (B, T) of the batch that is packed
        self.hook = encoder.register_forward_hook(self._unpack)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """inputs (B, T) with an attention mask, padded on the right -> (1, P) with position ids."""
        mask = self.real = inputs["attention_mask"].bool()
        self.layout = Layout.of(mask.sum(1).numpy())
        kept = mask[self.layout.order]
        position = torch.arange(mask.shape[1]).expand(len(mask), -1)[kept] + self.first
        rows = {name: value[self.layout.order] for name, value in inputs.items() if name != "attention_mask"}
        found = {**{name: value[kept] for name, value in rows.items()}, "position_ids": position}
        return {name: self.layout.row(value)[None] for name, value in found.items()}

    def in_rows(self, hidden: Tensor) -> Tensor:
        """(1, P, H) packed -> (B, T, H); what stands where no token is means nothing."""
        assert self.layout is not None
        return hidden[0].index_select(0, self.layout.rows.flatten()).view(*self.layout.rows.shape, -1)

    def packed_anew(self, hidden: Tensor, real: Tensor) -> Tensor:
        """(M, T, H), of which the tokens `real` (M, T) -> (1, P, H): the batch that the model goes on with."""
        self.layout, self.real = Layout.of(real.sum(1).numpy()), real
        return self.layout.row(hidden[self.layout.order][real[self.layout.order]])[None]

    def _unpack(self, module: nn.Module, given: Any, output: Any) -> Any:
        if self.layout is None:
            return output
        output.last_hidden_state = self.in_rows(output[0])
        self.layout = None
        return output

    def attend(self, query: Tensor, key: Tensor, value: Tensor, inner: Any) -> Tensor:
        """query, key, value (1, heads, P, d) -> (1, P, heads, d); `inner`: attention of (b, heads, t, d) and a mask."""
        assert self.layout is not None
        tokens = [_Spread.apply(x[0].transpose(0, 1).contiguous(), self.layout) for x in (query, key, value)]
        found = [
            inner(*(x.transpose(1, 2) for x in group), padding)
            for *group, (_, padding) in zip(*tokens, self.layout.groups, strict=True)
        ]
        return _Gather.apply(self.layout, *found)[None]

    def close(self) -> None:
        self.hook.remove()


active: list[Packer] = []  # the packer whose model is being trained; attention asks


@contextlib.contextmanager
def packed(model: Any, inputs: Mapping[str, Tensor], device: torch.device) -> Iterator[Packer | None]:
    """A packer for this model while it trains, or None where packing is not exact for it. `inputs`: a few examples."""
    encoder = getattr(getattr(model, "base_model", None), "encoder", None)
    able = device.type == "cpu" and models.takes_positions(model)
    if encoder is None or not able or not {"input_ids", "attention_mask"} <= set(inputs) or active:
        yield None
        return
    packer = Packer(model, encoder)
    active.append(packer)
    try:
        yield packer if _same(model, inputs, packer) else None
    finally:
        active.remove(packer)
        packer.close()


@torch.no_grad()
def _same(model: Any, inputs: Mapping[str, Tensor], packer: Packer) -> bool:
    """Both ways give the same logits. Dropout is off; whatever goes wrong says that this model is not for packing."""
    was_training = model.training
    model.eval()
    try:
        padded, packed = model(**inputs).logits, model(**packer(inputs)).logits
        return padded.shape == packed.shape and bool(torch.allclose(padded, packed, atol=SAME))
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError):
        return False
    finally:
        packer.layout = None
        model.train(was_training)
