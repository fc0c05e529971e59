"""The last block for the first token only, where nothing reads what it says of the others: a tenth of a small encoder.

Encoders of BERT's kind classify by their first token. What follows the attention of their last block goes token by
token, so of all other tokens it is computed for nothing, and so is its backward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from leadline.learn.models import blocks

SAME = 1e-5  # relative to the largest element, in float32


@contextlib.contextmanager
def first_token_only(model: Any, tried: Callable[[], Tensor]) -> Iterator[bool]:
    """Inside, the last block goes on with the first token after its attention; yields whether it does.

    tried  what will be asked of the model, of a few examples: both ways are compared, for which models read no more
           than the first token is not guessed
    """
    after = getattr(getattr(blocks(model)[-1], "attention", None), "output", None)
    if not isinstance(after, nn.Module):
        yield False
        return
    whole = tried()
    hook = after.register_forward_pre_hook(lambda module, args: tuple(x[:, :1] for x in args))
    try:
        same = _same(whole, tried)
        if not same:
            hook.remove()
        yield same
    finally:
        hook.remove()


def _same(whole: Tensor, tried: Callable[[], Tensor]) -> bool:
    """Whatever goes wrong says that this model needs all its tokens."""
    try:
        short = tried()
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    largest = whole.abs().max()
    return short.shape == whole.shape and bool(largest > 0) and bool((short - whole).abs().max() <= SAME * largest)
