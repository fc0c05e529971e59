"""Outcome: what the model says of each example. The seam on which every score, map, audit and pairing stands.

Clean, unweighted, unsmoothed, in float32: a bfloat16 head makes every ranking a tie. `signals.outcome` has the same
formulas in numpy, and a test holds the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from leadline.signals import OUTCOME


@dataclass(frozen=True)
class Outcome:
    """Of B examples. Undefined is NaN (for `correct`: -1).

    loss          (B,) minus sum Y log p; regression: squared error; spans: start + end; sequences: mean over tokens
    gold_logprob  (B,) log p of the gold answer; gold of a soft target = its largest class, lowest index on ties
    margin        (B,) gold logit minus the largest other logit
    entropy       (B,) nats
    correct       (B,) int8: 1, 0, -1
    logits        (B, K) or None when the answer space is not fixed; an absent option is -inf
    extra         {name: (B,)} what one task adds
    defined       (B,) bool, False where the task has no outcome of an example (the answer lies in no window of the
                  passage); None: all have one. A NaN loss that is not announced here is a training that diverged.
    """

    loss: Tensor
    gold_logprob: Tensor
    margin: Tensor
    entropy: Tensor
    correct: Tensor
    logits: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
    defined: Tensor | None = None

    def columns(self) -> dict[str, Tensor]:
        """Every field by name, as signals store them."""
        fields = {name: getattr(self, name) for name in OUTCOME}
        fixed = {name: getattr(self, name) for name in ("logits", "defined") if getattr(self, name) is not None}
        return fields | fixed | self.extra

    @staticmethod
    def from_logits(logits: Tensor, targets: Tensor, link: Literal["softmax", "sigmoid"] = "softmax") -> Outcome:
        """Of a closed answer space: logits (B, K), targets (B,) class index or (B, K) distribution or yes/no."""
        z = logits.detach().float()
        return _independent(z, targets.float()) if link == "sigmoid" else _exclusive(z, targets)

    @staticmethod
    def of_loss(loss: Tensor, **known: Tensor) -> Outcome:
        """Where little more than a loss is defined (regression, generation)."""
        loss = loss.detach().float()
        undefined = torch.full_like(loss, torch.nan)
        return Outcome(
            loss=loss,
            gold_logprob=known.pop("gold_logprob", undefined),
            margin=known.pop("margin", undefined),
            entropy=known.pop("entropy", undefined),
            correct=known.pop("correct", torch.full_like(loss, -1, dtype=torch.int8)),
            defined=known.pop("defined", None),
            extra=known,
        )


def _exclusive(z: Tensor, targets: Tensor) -> Outcome:
    log_p = z.log_softmax(-1)  # (B, K)
    gold = targets if targets.ndim == 1 else _first_largest(targets)
    b = torch.arange(len(z), device=z.device)
    others = z.clone()
    others[b, gold] = -torch.inf
    loss = -log_p[b, gold] if targets.ndim == 1 else -_times_log(targets.float(), log_p).sum(-1)
    return Outcome(
        loss=loss,
        gold_logprob=log_p[b, gold],
        margin=z[b, gold] - others.max(-1).values,
        entropy=-_times_log(log_p.exp(), log_p).sum(-1),
        correct=(_first_largest(z) == gold).to(torch.int8),
        logits=z,
    )


def _independent(z: Tensor, y: Tensor) -> Outcome:
    log_yes, log_no = torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)
    gold, p = y > 0.5, z.sigmoid()
    return Outcome(
        loss=-(_times_log(y, log_yes) + _times_log(1 - y, log_no)).sum(-1),
        gold_logprob=torch.where(gold, log_yes, log_no).sum(-1),
        margin=torch.where(gold, z, -z).min(-1).values,
        entropy=-(_times_log(p, log_yes) + _times_log(1 - p, log_no)).sum(-1),
        correct=((z > 0) == gold).all(-1).to(torch.int8),
        logits=z,
    )


def _first_largest(values: Tensor) -> Tensor:
    """(B,) index of the largest value, the lowest on ties on every device (torch.argmax promises that on none)."""
    k = values.shape[-1]
    index = torch.arange(k, device=values.device)
    return torch.where(values == values.max(-1, keepdim=True).values, index, k).min(-1).values.clamp(max=k - 1)


def _times_log(weight: Tensor, log: Tensor) -> Tensor:
    """weight * log with 0 * -inf = 0."""
    return torch.where(weight > 0, weight * torch.where(weight > 0, log, 0.0), 0.0)
