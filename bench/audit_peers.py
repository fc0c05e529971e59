"""The peers' own code on the logits of a run, for bench/audit.py: {name: (N,) doubt, higher is more doubtful}.

A peer that is not in the folder raises ImportError and is left out. What their modules import and these functions do
not need (image augmentation, spacy) is replaced by empty modules. Datagnosis 0.0.3 makes the collector of its Data-IQ
and Data Maps plugins anew in every epoch, so both speak of the last epoch only, and their variability is 0.
"""

from __future__ import annotations

import sys
import tempfile
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scores as bench_scores  # the bench beside this file knows how to load aum and cartography
import torch

from leadline.signals import Signals

Doubts = dict[str, np.ndarray]
UNUSED = ("augly", "augly.image", "torchvision", "torchvision.transforms")  # by Datagnosis, for images


def aum_package(signals: Signals, peers: Path) -> Doubts:
    calculator, gold = bench_scores.aum_of(peers), torch.tensor(signals.gold)
    if calculator is None:
        raise ImportError("aum")
    with tempfile.TemporaryDirectory() as folder:
        aum = calculator(folder)
        for period in signals.periods:
            aum.update(torch.tensor(np.asarray(period.logits)), gold, list(range(len(gold))))
        aum.finalize()
        table = pd.read_csv(Path(folder) / "aum_values.csv").sort_values("sample_id")
    return {"aum package": -table["aum"].to_numpy(float)}


def cartography_package(signals: Signals, peers: Path) -> Doubts:
    metrics = bench_scores.cartography_of(peers)
    if metrics is None:
        raise ImportError("cartography")
    logits = np.stack([period.logits for period in signals.periods])
    dynamics = {i: {"logits": logits[:, i].tolist(), "gold": int(y)} for i, y in enumerate(signals.gold)}
    table, _ = metrics(dynamics, types.SimpleNamespace(include_ci=False, burn_out=len(logits)))
    easier = ("confidence", "correctness")
    return {f"cartography {name}": table[name].to_numpy(float) * (-1 if name in easier else 1)
            for name in (*easier, "forgetfulness", "variability")}  # fmt: skip


def datagnosis_package(signals: Signals, peers: Path) -> Doubts:
    """Plugins fed epoch by epoch, as their `fit` does: logits, or a network that looks the logits up."""
    for name in UNUSED:
        sys.modules.setdefault(name, types.ModuleType(name))
        if "." in name:
            setattr(sys.modules[name.split(".")[0]], name.split(".")[1], sys.modules[name])
    sys.path.insert(0, str(peers))
    logits = torch.from_numpy(np.stack([period.logits for period in signals.periods]))  # (E, N, K)
    gold, rows = torch.tensor(signals.gold), torch.arange(logits.shape[1])
    found = {}
    for name, plugin in plugins(logits.shape).items():
        plugin.dataloader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(rows, gold, rows), batch_size=256
        )
        for z in logits:
            feed(plugin, z, gold, rows)
        plugin.has_been_fit = True
        values = plugin.compute_scores(recompute=True)
        columns = values if isinstance(values, tuple) else (values,)
        harder = ("low", "high") if len(columns) == 2 else (plugin.hard_direction(),)  # confidence, then a spread
        for i, (column, way) in enumerate(zip(columns, harder, strict=True)):
            title = f"datagnosis {name}" + (f" {plugin.score_names[i].split()[0].lower()}" if len(columns) == 2 else "")
            found[title] = np.asarray(column, dtype=float) * (1 if way == "high" else -1)
    return found


def plugins(shape: torch.Size) -> dict[str, Any]:
    model = torch.nn.Linear(1, 1)  # nothing is trained
    common = {"model": model, "criterion": torch.nn.CrossEntropyLoss(), "lr": 0.1, "epochs": shape[0],
              "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "num_classes": shape[2],
              "device": torch.device("cpu")}  # fmt: skip
    further = {"forgetting": {"total_samples": shape[1]}}
    names = ("large_loss", "el2n", "forgetting", "data_iq", "data_maps")
    where = "datagnosis.plugins.generic.plugin_"
    return {name: import_module(where + name).plugin(**common, **further.get(name, {})) for name in names}


def feed(plugin: Any, z: torch.Tensor, gold: torch.Tensor, rows: torch.Tensor) -> None:
    given = plugin._updates.__annotations__ or {}
    if "net" in given:
        plugin._updates(LookedUp(z), device="cpu")
    elif "indices" in given:
        plugin._updates(z, gold, rows)
    else:
        plugin._updates(z, gold)


class LookedUp(torch.nn.Module):
    """The network whose answer to row i is z[i]."""

    def __init__(self, z: torch.Tensor) -> None:
        super().__init__()
        self.z = z

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.z[rows]


PACKAGES: dict[str, Callable[[Signals, Path], Doubts]] = {
    "aum": aum_package,
    "cartography": cartography_package,
    "datagnosis": datagnosis_package,
}
