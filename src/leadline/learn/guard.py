"""A loss or a gradient that is no number: noticed on the device, looked at when somebody waits for it anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from leadline.errors import LeadlineError
from leadline.learn import ranks

NEVER = 2**62
CALMER = "Try a smaller learning_rate, or precision: fp32"


class Guard:
    """Two small tensors on the device: which examples had such a loss, and at which step it began.

    After that step every loss is NaN, so only the examples of the step itself are named.
    """

    def __init__(self, ids: Sequence[str] | None, n: int, device: torch.device):
        self.ids = ids
        self.bad = torch.zeros(n, dtype=torch.bool, device=device)
        self.when = torch.full((), NEVER, dtype=torch.int64, device=device)

    def look(self, rows: np.ndarray, losses: Tensor) -> None:
        """rows, losses (B,)"""
        self.bad[torch.from_numpy(rows).to(losses.device, non_blocking=True)] = ~losses.detach().isfinite()

    def step(self, number: int, *values: Tensor) -> None:
        """Loss and gradient norm of an optimiser step."""
        fine = torch.stack([value.detach().float().to(self.when.device) for value in values]).isfinite().all()
        self.when = torch.where(fine, self.when, self.when.clamp(max=number))

    def check(self, rows_of: Callable[[int], np.ndarray]) -> None:
        """Raises LeadlineError that names the step and the examples; `rows_of(step)` gives the examples of a step."""
        when = -ranks.largest(-int(self.when))
        if when == NEVER:
            return
        rows = np.unique(rows_of(when))
        bad = np.any(ranks.gather(self.bad.cpu().numpy()[rows]), axis=0)
        what = f"the loss of {bad.sum()} examples is" if bad.any() else f"the gradient of {len(rows)} examples is"
        named = rows[bad] if bad.any() else rows
        ids = ", ".join(str(self.ids[row]) if self.ids is not None else f"row {row}" for row in named[:5])
        more = ", …" if len(named) > 5 else ""
        raise LeadlineError(f"training diverged at step {when}: {what} NaN or infinite (ids {ids}{more}). {CALMER}")
