"""Where a run computes, and in which precision."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from leadline.learn import models


def accelerate(asked: str) -> Accelerator:
    """A fresh Accelerator in the precision asked for; a process may train several runs of different precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    chosen = precision(asked)
    return Accelerator(cpu=_device().type == "cpu", mixed_precision="no" if chosen == "fp32" else chosen)


def precision(asked: str) -> str:
    """bf16, fp16 or fp32: what `asked` comes to on this machine."""
    return models.precision(asked, _device())


def usual(asked: str) -> str:
    """What a model is asked in that was trained in `asked`: the same, where this machine has that natively."""
    return asked if asked in ("auto", "fp32") or _device().type == "cuda" else "auto"


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
