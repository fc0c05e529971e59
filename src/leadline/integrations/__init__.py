"""Recording inside somebody else's loop: transformers.Trainer, Lightning (plain torch: `leadline.Recorder`).

Order inside the room: rows · recording · arguments · trainer · transformers · lightning.

    import leadline
    trainer = leadline.integrations.transformers.record(trainer, to="runs/mine")

torch is loaded when one of them is asked for.
"""

from importlib import import_module
from typing import Any

LOOPS = ("lightning", "transformers")


def __getattr__(name: str) -> Any:
    if name in LOOPS:  # leadline.integrations.transformers without importing it first
        return import_module(f"leadline.integrations.{name}")
    raise AttributeError(f"module 'leadline.integrations' has no attribute {name!r}")
