"""Where a run computes, and in which precision."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from leadline.learn import models


def accelerate(asked: str) -> Accelerator:
    """A fresh Accelerator in the precision asked for; a process may train several runs of different precision.

    Buffers (numbers of positions) are the same in every process from the start, so no pass sends them: written anew by
    a second pass they would spoil the backward of the first.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = models.precision(asked, device)
    copies = DistributedDataParallelKwargs(broadcast_buffers=False)
    precision = "no" if chosen == "fp32" else chosen
    return Accelerator(cpu=device.type == "cpu", mixed_precision=precision, kwargs_handlers=[copies])
