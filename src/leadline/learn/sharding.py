"""The state of model and optimiser, whole: on one device, on every device, or in pieces over several (FSDP).

A checkpoint is the same in all three cases; pieces are gathered in the memory of the first process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as whole
from torch.distributed.fsdp import FSDPModule

from leadline.learn import ranks

FULL = whole.StateDictOptions(full_state_dict=True, cpu_offload=True)
SPREAD = whole.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights; of a sharded model on the first process only, {} elsewhere."""
    if sharded(model):
        return dict(whole.get_model_state_dict(model, options=FULL))  # type: ignore[arg-type]
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def set_weights(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    if sharded(model):
        whole.set_model_state_dict(model, dict(values) if ranks.first() else {}, options=SPREAD)
    else:
        model.load_state_dict(values)


def state(model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """{model, optimizer}: everything that training changes in the two."""
    if sharded(model):
        inner = optimizer.optimizer
        return {
            "model": whole.get_model_state_dict(model, options=FULL),
            "optimizer": whole.get_optimizer_state_dict(model, inner, options=FULL),
        }
    return {"model": model.state_dict(), "optimizer": optimizer.optimizer.state_dict()}


def restore(model: nn.Module, optimizer: Any, found: Mapping[str, Any]) -> None:
    if sharded(model):
        kept = found if ranks.first() else {"model": {}, "optimizer": {}}
        whole.set_model_state_dict(model, kept["model"], options=SPREAD)
        whole.set_optimizer_state_dict(model, optimizer.optimizer, kept["optimizer"], options=SPREAD)
        return
    model.load_state_dict(found["model"])
    optimizer.optimizer.load_state_dict(found["optimizer"])


def full_copy(model: nn.Module) -> dict[str, Tensor] | None:
    """What `save_pretrained` writes of a sharded model; None where the model is whole and saves itself."""
    return weights(model) if sharded(model) else None
