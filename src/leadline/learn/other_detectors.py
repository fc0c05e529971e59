"""Detectors of pytorch-ood (extra `ood`), by its own definitions, on logits and features that are there already."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.errors import InputError, LeadlineError, MissingExtra, nearest
from leadline.ood import Evidence
from leadline.ood.registry import keep

PREFIX = "pytorch-ood:"
OF_HEAD = ("penultimate", "train_penultimate", "train_labels", "weight", "bias")


@dataclass(frozen=True)
class Other:
    """`score(library, evidence in tensors, head) -> (N,)`, higher is stranger."""

    score: Callable[[Any, Any, nn.Linear], Tensor]
    needs: tuple[str, ...]
    says: str


def _fitted(detector: Any, e: Any) -> Tensor:
    return detector.fit_features(e.train_penultimate, e.train_labels).predict_features(e.penultimate)


OTHERS = {
    "gen": Other(
        lambda lib, e, head: lib.GEN.score(e.logits),
        ("logits",),
        "generalised entropy of p, gamma 0.1 (Liu et al. 2023)",
    ),
    "kl_matching": Other(
        lambda lib, e, head: lib.KLMatching(None).fit_logits(head(e.train_penultimate)).predict_logits(e.logits),
        ("logits", *OF_HEAD),
        "divergence of p from the nearest class's mean p (Hendrycks et al. 2022)",
    ),
    "she": Other(
        lambda lib, e, head: _fitted(lib.SHE(None, head), e),
        OF_HEAD,
        "minus the inner product with the predicted class's pattern (Zhang et al. 2023)",
    ),
    "fdbd": Other(
        lambda lib, e, head: _fitted(lib.fDBD(None, head), e),
        OF_HEAD,
        "minus the distance to the decision boundaries over that to the training mean (Liu & Qin 2024)",
    ),
    "nnguide": Other(
        lambda lib, e, head: _fitted(lib.NNGuide(None, head), e),
        OF_HEAD,
        "energy, guided by the 10 nearest training texts (Park et al. 2023)",
    ),
}
NAMES = tuple(PREFIX + name for name in OTHERS)


def library() -> Any:
    """pytorch_ood.detector. Where the package cannot be loaded for want of a torchvision made for this torch, it is
    entered beside its __init__: that imports image data sets, and detectors read no images."""
    if importlib.util.find_spec("pytorch_ood") is None:
        raise MissingExtra(f"--detectors {PREFIX}…", "ood")
    try:
        return importlib.import_module("pytorch_ood.detector")
    except (ImportError, RuntimeError):
        return _beside_init()


def _beside_init() -> Any:
    _forget()
    spec = importlib.util.find_spec("pytorch_ood")
    assert spec is not None
    package = types.ModuleType("pytorch_ood")
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["pytorch_ood"] = package
    try:
        return importlib.import_module("pytorch_ood.detector")
    except (ImportError, RuntimeError) as error:
        raise LeadlineError(f"pytorch-ood is installed but cannot be loaded: {str(error).splitlines()[0]}") from error
    finally:
        _forget()  # who imports the package himself gets it whole


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pytorch_ood"]:
        del sys.modules[name]


@torch.no_grad()
def strangeness(evidence: Evidence, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """({pytorch-ood:name: (N,) float64}, {name: why it is left out}), as `leadline.ood.strangeness`."""
    for name in names:
        if name not in NAMES:
            raise InputError(f"no such detector: `{name}`.{nearest(name, NAMES)} Known: {', '.join(NAMES)}")
    found: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    lib = library() if names else None
    tensors = _Tensors(evidence)
    for name in names:
        other = OTHERS[name.removeprefix(PREFIX)]
        lacking = [need for need in other.needs if getattr(evidence, need) is None]
        if lacking:
            left_out[name] = f"needs {lacking[0].replace('_', ' ')}"
            continue
        try:
            keep(name, other.score(lib, tensors, tensors.head).double().cpu().numpy(), found, left_out)
        except IndexError:  # a class has no training texts, and is predicted
            left_out[name] = "pytorch-ood: it needs training texts of every class"
        except (AssertionError, ValueError) as error:  # likewise; or fewer texts than neighbours
            left_out[name] = f"pytorch-ood: {error or 'it needs training texts of every class'}"
    return found, left_out


class _Tensors:
    """Evidence as float32 tensors (labels int64), with the decision layer as a module."""

    def __init__(self, evidence: Evidence):
        for name, value in vars(evidence).items():
            kind = torch.int64 if name == "train_labels" else torch.float32
            setattr(self, name, None if value is None else torch.as_tensor(np.asarray(value)).to(kind))
        self.head = nn.Linear(1, 1)
        if evidence.weight is not None and evidence.bias is not None:
            self.head = nn.Linear(*reversed(evidence.weight.shape))
            self.head.weight.copy_(torch.as_tensor(evidence.weight))
            self.head.bias.copy_(torch.as_tensor(evidence.bias))
