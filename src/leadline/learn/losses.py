"""Training losses, one number per entry; a step's sum is divided by W (plans/weights.py), never averaged here."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float | None = None,
) -> Tensor:
    """(B,) sum_k w_k S_ik (-log p_ik) (1 - p_ik)^g, in float32.

    logits (B, K); targets (B,) class index or (B, K) distribution Y; S = (1 - e) Y + e / K;
    w (K,) class weights; g the focal exponent (Lin et al. 2017, without alpha: that is a class weight).
    """
    log_p = logits.float().log_softmax(-1)
    if targets.ndim == 1 and class_weights is None and not label_smoothing and not focal_gamma:
        return torch.nn.functional.nll_loss(log_p, targets, reduction="none")
    k = logits.shape[-1]
    s = torch.nn.functional.one_hot(targets, k).to(log_p.dtype) if targets.ndim == 1 else targets.to(log_p.dtype)
    if label_smoothing:
        s = (1 - label_smoothing) * s + label_smoothing / k
    terms = torch.where(s > 0, -s * log_p, 0.0)  # an absent option has log p = -inf
    if class_weights is not None:
        terms = terms * class_weights.to(terms, non_blocking=True)
    if focal_gamma:
        terms = terms * (1 - log_p.exp()).clamp(min=1e-7) ** focal_gamma  # at 0 a root has an infinite gradient
    return terms.sum(-1)


def squared_error(predicted: Tensor, targets: Tensor) -> Tensor:
    """(B,) (predicted - target)^2, in float32."""
    return (predicted.float() - targets.float()) ** 2


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """(B,) JS(p, q) = (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2, of two rows of logits (B, K); in [0, ln 2]."""
    log_p, log_q = first.float().log_softmax(-1), second.float().log_softmax(-1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    p, q = log_p.exp(), log_q.exp()
    return 0.5 * ((p * (log_p - log_m)).sum(-1) + (q * (log_q - log_m)).sum(-1))
