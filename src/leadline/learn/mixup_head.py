"""The layers that the reference puts between encoder and classifier: dense, GELU, LayerNorm, dropout.

Kulkarni, Kapoor and Kabra (training dynamics and entropy-aware mixup); they train through these layers and leave them
out when they test. Here they are part of the model: saved, loaded and used with it. This file needs torch and
transformers only, because a checkpoint carries a copy of it.
"""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor, nn

FLAG = "mixup_head"  # in the configuration of a model that has these layers
DROPOUT = ("hidden_dropout_prob", "hidden_dropout", "dropout", "classifier_dropout")  # as configurations call it


class MixupHead(nn.Module):
    """x (…, H) -> (…, H)."""

    def __init__(self, config: Any):
        super().__init__()
        size = config.hidden_size
        dropout = next((rate for rate in (getattr(config, name, None) for name in DROPOUT) if rate is not None), 0.1)
        self.dense = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=getattr(config, "layer_norm_eps", getattr(config, "norm_eps", 1e-5)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(nn.functional.gelu(self.dense(x))))


class Headed(nn.Module):
    """These layers, then the classifier that was there."""

    def __init__(self, classifier: nn.Module, config: Any):
        super().__init__()
        self.mixup = MixupHead(config)
        self.classifier = classifier

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.classifier(self.mixup(x), *args, **kwargs)


def with_mixup_head(base: Any) -> Any:
    """The model class `base` with these layers before its `classifier`."""

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, config, *args, **kwargs)
        self.classifier = Headed(self.classifier, config)
        self.post_init()

    name = base.__name__.replace("For", "WithMixupHeadFor", 1)
    return type(name, (base,), {"__init__": __init__, "__module__": __name__})


def add_mixup_head(network: Any) -> None:
    """Puts fresh layers before the classifier of a model, which keeps the weights that it has."""
    setattr(network.config, FLAG, True)
    network.classifier = Headed(network.classifier, network.config)
    network.classifier.mixup.apply(network._init_weights)
    network.__class__ = with_mixup_head(type(network))


def model_class(config: Any) -> Any:
    """The class of a configuration's sequence classifier, with these layers."""
    return with_mixup_head(transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)])
