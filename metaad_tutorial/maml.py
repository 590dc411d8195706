"""Model-agnostic meta-learning: learn the start, keep the step (Finn et al., 2017; chapters 4 and 5)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .adapt import Params, adapt, gradient_step, per_task
from .episodes import Episodes
from .inner_loop import InnerLoopDetector


class MAML(InnerLoopDetector):
    """A start from which K gradient steps fit a new task (equations ``maml-inner``, ``maml-gradient``).

    Args:
        first_order: take the inner gradients as constants, which drops the Hessians from the meta-gradient
            (equation ``maml-first-order``; FOMAML).
        head_only: adapt the last layer alone and share the layers below (ANIL; Raghu et al., 2020).
        learn_lr: learn the inner step sizes with the start: None keeps them fixed at `inner_lr`, "step" learns one for
            each tensor and inner step (Antoniou et al., 2019), "parameter" one for each parameter (equation
            ``meta-sgd``; Li et al., 2017). ``meta_["rate.weight0"]`` holds those of ``weight0``.
        shared: the parameters of `InnerLoopDetector`, whose attributes this class has too.

    Example:
        >>> from metaad_tutorial import MAML, Fleet
        >>> train, valid, test = Fleet().split(random_state=0)
        >>> detector = MAML(meta_steps=50, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0], task.support_y[0]).predict(task.query_x[0]).shape
        (30,)
    """

    def __init__(self, first_order: bool = False, head_only: bool = False, learn_lr: str | None = None, **shared):
        super().__init__(**shared)
        self.first_order = first_order
        self.head_only = head_only
        self.learn_lr = learn_lr

    @property
    def second_order(self) -> bool:
        return not self.first_order

    def _check_params(self) -> None:
        super()._check_params()
        if self.learn_lr not in (None, "step", "parameter"):
            raise ValueError(f'learn_lr must be None, "step" or "parameter", got {self.learn_lr!r}.')

    def _shape(self) -> tuple:
        steps = self.inner_steps if self.learn_lr == "step" else None
        return (*super()._shape(), ("learn_lr", self.learn_lr), ("head_only", self.head_only), ("inner_steps", steps))

    def _start(self, n_features: int, rng: np.random.Generator) -> Params:
        meta = super()._start(n_features, rng)
        for name, value in list(meta.items()):
            if self.learn_lr and self._adapts(name[6:]):
                shape = value.shape if self.learn_lr == "parameter" else (self.inner_steps,)
                meta[name.replace("start.", "rate.", 1)] = torch.full(shape, self.inner_lr, dtype=value.dtype)
        return meta

    def _adapts(self, name: str) -> bool:
        return not self.head_only or name in self._network.head

    def _step(self, meta: Params):
        if self.learn_lr is None:
            return gradient_step(self.inner_lr)
        if self.learn_lr == "step":
            return lambda name, value, grad, k: value - meta[f"rate.{name}"][k] * grad
        return lambda name, value, grad, k: value - meta[f"rate.{name}"] * grad


class Reptile(InnerLoopDetector):
    """Move the start toward where K gradient steps lead (equation ``reptile``; Nichol et al., 2018).

    Of each meta-training task, support and query points together make K minibatches, one for each inner step. Outer
    steps follow (start - adapted) / (K * `inner_lr`), the mean gradient along the way; no second derivatives appear.

    Parameters and attributes are those of `InnerLoopDetector`.
    """

    def _step(self, meta: Params):
        return gradient_step(self.inner_lr)

    def _outer_loss(self, meta: Params, episodes: Episodes) -> Tensor:
        points = episodes.support_x.shape[1] + episodes.query_x.shape[1]
        if self.inner_steps > points:
            raise ValueError(
                f"Reptile needs a point for each of its inner_steps={self.inner_steps}, a task has {points}."
            )
        x = torch.cat([episodes.support_x, episodes.query_x], 1)
        y = torch.cat([episodes.support_y, episodes.query_y], 1)
        start = {name[6:]: value for name, value in meta.items() if name.startswith("start.")}
        params = per_task({name: value.detach().requires_grad_() for name, value in start.items()}, len(x))
        losses = []
        for k in range(self.inner_steps):
            batch, labels = x[:, k :: self.inner_steps], y[:, k :: self.inner_steps]
            loss = self._support_loss(meta, {}, batch, labels)
            losses.append(loss(params).mean().detach())
            params = adapt(loss, params, self._step(meta), 1, second_order=False)
        way = self.inner_steps * self.inner_lr
        moved = {name: (start[name] - params[name].mean(0)).detach() / way for name in start}
        pull = sum((moved[name] * start[name]).sum() for name in start)  # its gradient is the pseudo-gradient
        return torch.stack(losses).mean() + pull - pull.detach()
