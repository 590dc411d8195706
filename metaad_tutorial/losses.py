"""Losses of a logit against a 0/1 label, one value per point (chapter 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logit: Tensor, y: Tensor) -> Tensor:
    """Logistic loss (equation ``logistic-loss``): softplus(z) - y z.  Shapes (..., N) -> (..., N)."""
    return F.softplus(logit, threshold=40) - y * logit  # beyond 20, the default, it is off by up to 2e-9


def squared(logit: Tensor, y: Tensor) -> Tensor:
    """Squared loss against the targets -1 (normal) and +1 (anomaly), equation ``squared-loss``."""
    return (logit - (2 * y - 1)) ** 2 / 2


def focal(logit: Tensor, y: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss of Lin et al. (2017): cross-entropy weighted by (1 - p_correct)^gamma."""
    correct = torch.sigmoid((2 * y - 1) * logit)
    return (1 - correct) ** gamma * cross_entropy(logit, y)


LOSSES = {"cross_entropy": cross_entropy, "squared": squared, "focal": focal}


def balanced_mean(loss: Tensor, y: Tensor) -> Tensor:
    """Mean over the points of each task in which both classes weigh the same.

    Args:
        loss, y: (..., N). Where one class is absent, this is the plain mean over the other.

    Returns:
        (...) one value per task.
    """
    means = []
    for label in (y, 1 - y):
        count = label.sum(-1)
        means.append((loss * label).sum(-1) / count.clamp(min=1))
    both = (y.sum(-1) > 0) & (y.sum(-1) < y.shape[-1])
    return (means[0] + means[1]) / torch.where(both, 2.0, 1.0)
