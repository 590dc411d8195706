"""Model-agnostic meta-learning: learn the start, keep the step (Finn et al., 2017; chapters 5 and 6)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from . import checks
from .episodes import Episodes
from .estimator import detector
from .inner_loop import InnerLoopDetector, Rule, inner_loop, per_task
from .tree import Tree


@detector
class MAML(InnerLoopDetector):
    """A start from which K gradient steps fit a new task (equations ``maml-inner``, ``maml-gradient``).

    Args:
        first_order: take the inner gradients as constants, which drops the Hessians from the meta-gradient
            (equation ``maml-first-order``; FOMAML).
        head_only: adapt the last layer alone and share the layers below (ANIL; Raghu et al., 2020).
        learn_lr: learn the inner step sizes with the start: None keeps them fixed at `inner_lr`, "step" learns one for
            each tensor and inner step (Antoniou et al., 2019), "parameter" one for each parameter (equation
            ``meta-sgd``; Li et al., 2017). ``meta_["rate"]["weight0"]`` holds those of ``weight0``.

    Example:
        >>> from metaad_tutorial import MAML, Fleet
        >>> train, valid, test = Fleet().split(random_state=0)
        >>> detector = MAML(meta_steps=50, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0], task.support_y[0]).predict(task.query_x[0]).shape
        (30,)
    """

    first_order: bool = False
    head_only: bool = False
    learn_lr: str | None = None

    valid: ClassVar = {"learn_lr": checks.one_of(None, "step", "parameter")}

    @property
    def bound(self) -> tuple[str, ...]:
        learnt = {None: (), "parameter": ("inner_lr",), "step": ("inner_lr", "inner_steps")}[self.learn_lr]
        return (*super().bound, "learn_lr", "head_only", *learnt)

    second_order = property(lambda self: not self.first_order)

    def init(self, rng, n_features: int) -> Tree:
        meta = super().init(rng, n_features)
        if self.learn_lr:
            own, steps = self.adapting(meta["start"]), (self.inner_steps,) if self.learn_lr == "step" else None
            meta["rate"] = {n: torch.full(steps or w.shape, self.inner_lr, dtype=w.dtype) for n, w in own.items()}
        return meta

    def rule(self, meta: Tree) -> Rule:
        if self.learn_lr is None:
            return super().rule(meta)
        rate, by_step = meta["rate"], self.learn_lr == "step"
        return lambda name, w, grad, k: w - (rate[name][k] if by_step else rate[name]) * grad


@detector
class Reptile(InnerLoopDetector):
    """Move the start toward where K gradient steps lead (equation ``reptile``; Nichol et al., 2018).

    Of each meta-training task, support and query points together make K minibatches, one for each inner step. Outer
    steps follow (start - adapted) / (K * `inner_lr`), the mean gradient along the way; no second derivatives appear.
    """

    valid: ClassVar = {"inner_steps": checks.integer(1)}
    image_lr = 0.003

    def outer_loss(self, meta: Tree, tasks: Episodes) -> Tensor:
        x = torch.cat([tasks.support_x, tasks.query_x], 1)
        y = torch.cat([tasks.support_y, tasks.query_y], 1)
        K, start = self.inner_steps, meta["start"]
        if x.shape[1] < K:
            raise ValueError(f"Reptile needs a point for each of its inner_steps={K}, a task has {x.shape[1]}.")
        w, losses = per_task({name: v.detach().requires_grad_() for name, v in start.items()}, len(x)), []
        for k in range(K):
            loss = self.support_loss(x[:, k::K], y[:, k::K], {})
            losses.append(loss(w).mean().detach())
            w = inner_loop(loss, w, self.rule(meta), 1, second_order=False)
        # Its gradient is the pseudo-gradient.
        pull = sum(((v - w[n].mean(0)).detach() / (K * self.inner_lr) * v).sum() for n, v in start.items())
        return torch.stack(losses).mean() + pull - pull.detach()
