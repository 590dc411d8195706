"""AADML: a meta-learner MGD that proposes the steps of a base learner AGD (chapter 3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .adapt import Params
from .inner_loop import InnerLoopDetector


def mgd(state: Tensor, theta: Tensor) -> Tensor:
    """The meta-learner, equation ``aadml-mgd``: MGD(v; theta)_j = theta_j^T v_j.

    Args:
        state: (..., 2) the base learner's state v_j = (w_j, gradient_j) of each parameter.
        theta: (..., 2) the meta-learner's parameters: a decay and a step size for each parameter.

    Returns:
        (...) the proposed change of each parameter.
    """
    return (theta * state).sum(-1)


class AADML(InnerLoopDetector):
    """Learn the start w and the rule theta by which it adapts (equations ``aadml-step``, ``aadml-objective``).

    Each parameter j takes the step w_j - MGD(v_j; theta_j): a learnt decay of its value plus a learnt multiple of
    its gradient. Both start and rule descend the query loss of the meta-training tasks.

    Parameters and attributes are those of `InnerLoopDetector`; `inner_lr` is the step size the rule starts from.
    ``meta_["start.weight0"]`` holds w, ``meta_["rule.weight0"]`` theta, with (decay, step size) on the last axis.
    """

    def _start(self, n_features: int, rng: np.random.Generator) -> Params:
        meta = super()._start(n_features, rng)
        for name, value in list(meta.items()):
            decay, rate = torch.zeros_like(value), torch.full_like(value, self.inner_lr)
            meta[name.replace("start.", "rule.")] = torch.stack([decay, rate], -1)
        return meta

    def _step(self, meta: Params):
        return lambda name, value, grad, k: value - mgd(torch.stack([value, grad], -1), meta[f"rule.{name}"])
