"""Where a run computes, and in which precision."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from leadline.learn import models


def accelerate(asked: str) -> Accelerator:
    """A fresh Accelerator in the precision asked for; a process may train several runs of different precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = models.precision(asked, device)
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no" if chosen == "fp32" else chosen)
