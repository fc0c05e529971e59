"""A model in pieces over the processes (FSDP), for models that do not fit; and the state of model and optimiser, whole.

torch's fully_shard is called here and not through accelerate, which shards on GPUs only: so the path that a GPU takes
is the one that is tested on a processor. Weights stay float32, whatever the body computes in. A checkpoint is the same
for one process, for several and for pieces; the pieces are gathered in the memory of the first process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as whole
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from leadline.learn import ranks

FULL = whole.StateDictOptions(full_state_dict=True, cpu_offload=True)
SPREAD = whole.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def shard(model: nn.Module, device: torch.device) -> None:
    """Cuts every block of the model (what transformers says must not be split), and the rest, in place."""
    mesh = init_device_mesh(device.type, (ranks.world(),))
    blocks = {name for part in model.modules() for name in (getattr(part, "_no_split_modules", None) or ())}
    model.to(device)
    for module in reversed(list(model.modules())):
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


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


def whole_tensor(value: Any) -> Tensor:
    """A number that lies on all processes in pieces, as one."""
    return value.full_tensor() if isinstance(value, DTensor) else value
