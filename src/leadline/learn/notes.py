"""What a run notes of how it was made: versions, device, sizes of the model; and what it cost."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from leadline.learn import models
from leadline.recipe import Recipe

LIBRARIES = (
    "leadline",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "numpy",
    "polars",
    "pyarrow",
    "scikit-learn",
)


def about(recipe: Recipe, model: Any, tokenizer: Any, accelerator: Accelerator) -> dict[str, Any]:
    """What a reader of the run will want to know of how it was made."""
    config = model.config
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["leadline", *sys.argv[1:]])
        if Path(sys.argv[0]).name in ("leadline", "__main__.py")
        else "python",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "device": _device_name(accelerator.device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": precision_of(accelerator),
        "learning_rate": recipe.learning_rate,
        "model": {
            "type": config.model_type,
            "parameters": sum(p.numel() for p in model.parameters()),
            "hidden_size": getattr(config, "hidden_size", None),
            "layers": getattr(config, "num_hidden_layers", None),
            "dropout": models.dropout_of(model),
            "max_length": models.max_tokens(model, tokenizer, recipe.training.max_length),
        },
        "git": _git_revision(),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
        )
    except OSError:
        return platform.processor() or platform.machine()


def _git_revision() -> str | None:
    """Of the caller's repository, if the run is started inside one."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def precision_of(accelerator: Accelerator) -> str:
    return "fp32" if accelerator.mixed_precision == "no" else str(accelerator.mixed_precision)


def costs(began: float, trained: float, inference: Mapping[str, float], seen: int) -> dict[str, Any]:
    """The closing event of a run: seconds, examples/s of training and of inference, peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    costs = {
        "seconds": time.perf_counter() - began,
        "train_seconds": trained,
        "evaluate_seconds": inference["seconds"],
        "examples_seen": seen,
        "examples_per_second": seen / trained,
        "peak_memory_mb": peak,
    }
    if inference["examples"]:
        costs["inference_examples_per_second"] = inference["examples"] / inference["seconds"]
    if torch.cuda.is_available():
        costs["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return costs
