"""What the detectors share that adapt by gradient steps on the support set (equation ``inner-loop``)."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils import check_scalar
from torch import Tensor

from .adapt import Params, adapt, per_task
from .detector import MetaDetector, check_positive
from .losses import LOSSES, balanced_mean


class InnerLoopDetector(MetaDetector):
    """A detector that fits a new task by K gradient steps; methods differ in `_step`, the rule of one step.

    Args:
        inner_steps: number K of inner steps.
        inner_lr: size of the inner steps, where they are not learnt (and their start where they are).
        loss: inner loss, "cross_entropy", "squared" or "focal".
        balanced: let both classes of a support set weigh the same, whatever their numbers.
        shared: the parameters of `MetaDetector`, whose attributes this class has too.
    """

    def __init__(
        self,
        inner_steps: int = 3,
        inner_lr: float = 0.1,
        loss: str = "cross_entropy",
        balanced: bool = False,
        **shared,
    ):
        super().__init__(**shared)
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.loss = loss
        self.balanced = balanced

    def _check_params(self) -> None:
        super()._check_params()
        check_scalar(self.inner_steps, "inner_steps", Integral, min_val=1)
        check_positive(self.inner_lr, "inner_lr")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}.")

    def _adapts(self, name: str) -> bool:
        """Whether the inner loop changes this parameter; tasks share the others."""
        return True

    def _step(self, meta: Params):
        """The update rule (name, value, gradient, k) -> value of inner step k."""
        raise NotImplementedError

    def _adapt(self, meta: Params, x: Tensor, y: Tensor, second_order: bool) -> Params:
        """Adapt the shared start to every task's support set: x (T, S, d), y (T, S)."""
        start = {name[6:]: value for name, value in meta.items() if name.startswith("start.")}
        if not second_order and not torch.is_grad_enabled():  # the inner loop needs gradients even outside training
            start = {name: value.detach().requires_grad_() for name, value in start.items()}
        shared = {name: value for name, value in start.items() if not self._adapts(name)}
        own = {name: value for name, value in start.items() if name not in shared}
        loss = self._support_loss(meta, shared, x, y)
        with torch.enable_grad():
            return shared | adapt(loss, per_task(own, len(x)), self._step(meta), self.inner_steps, second_order)

    def _support_loss(self, meta: Params, shared: Params, x: Tensor, y: Tensor):
        """l_S of each task as a function of the parameters that adapt; `shared` are the others."""

        def loss(params: Params) -> Tensor:
            points = LOSSES[self.loss](self._logit(shared | params, meta, x), y)
            return balanced_mean(points, y) if self.balanced else points.mean(-1)

        return loss
