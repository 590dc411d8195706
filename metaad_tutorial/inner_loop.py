"""The inner loop, once, for every method (equation ``inner-loop``), and the detectors that adapt by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from . import checks
from .estimator import detector
from .losses import LOSSES, balanced_mean
from .meta_detector import MetaDetector
from .tree import Params, Tree

Losses = Callable[[Params], Tensor]
Rule = Callable[[str, Tensor, Tensor, int], Tensor]


def inner_loop(loss: Losses, w: Params, rule: Rule, steps: int, second_order: bool = True) -> Params:
    """K steps of all tasks of a meta-batch at once; under `torch.no_grad` from a constant start, by constant gradients.

    Args:
        loss: maps parameters to (T,) support losses, one per task.
        w: tensors with a leading task axis (T, ...), attached to the graph of what they came from.
        rule: (name, value, gradient, k) -> new value of step k = 0, ..., K-1; methods differ in it.
        steps: number of inner steps K.
        second_order: keep the graph through the gradients, for the exact meta-gradient (equation ``maml-gradient``);
            without it the gradients are constants (equation ``maml-first-order``).
    """
    graph = second_order and torch.is_grad_enabled()
    if not torch.is_grad_enabled():  # new leaves, since the loop takes gradients even then
        w = {name: value.detach().requires_grad_() for name, value in w.items()}
    with torch.enable_grad():
        for k in range(steps):
            total = loss(w).sum()  # tasks do not mix: the gradient of the sum is each task's own
            grads = torch.autograd.grad(total, list(w.values()), create_graph=graph, materialize_grads=True)
            w = {name: rule(name, value, grad, k) for (name, value), grad in zip(w.items(), grads, strict=True)}
    return w


def gradient_step(lr: float) -> Rule:
    """w - alpha grad l_S(w) (equation ``maml-inner``), in one operation."""
    return lambda name, w, grad, k: torch.add(w, grad, alpha=-lr)  # torch.sub's gradient takes two


def per_task(params: Params, n_tasks: int) -> Params:
    """Give every task the same start: (...) -> (T, ...), still attached to the shared values."""
    return {name: value.expand(n_tasks, *value.shape) for name, value in params.items()}


@detector(kw_only=True)
class InnerLoopDetector(MetaDetector):
    """A detector that fits a new task by K gradient steps; methods differ in `rule`.

    Args:
        inner_steps: number K of inner steps; 0 leaves the start as it is.
        inner_lr: size of the inner steps, where they are not learnt (and their start where they are).
        loss: inner loss, "cross_entropy", "squared" or "focal".
        balanced: let both classes of a support set weigh the same, whatever their numbers.
    """

    inner_steps: int = 3
    inner_lr: float = 0.1
    loss: str = "cross_entropy"
    balanced: bool = False

    second_order = True  # differentiate through the gradients that adaptation takes
    head_only = False  # whether the last layer alone adapts; a parameter of some methods
    valid: ClassVar = {"inner_steps": checks.integer(0), "loss": checks.one_of(*LOSSES)}

    def adapting(self, start: Params) -> Params:
        """The parameters that the inner loop changes; tasks share the others."""
        return {name: w for name, w in start.items() if not self.head_only or name in self.net.head}

    def rule(self, meta: Tree) -> Rule:
        """The update of one inner step, unless a method says otherwise a gradient step."""
        return gradient_step(self.inner_lr)

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        start = meta["start"]
        loss, own = self.support_loss(x, y, start), per_task(self.adapting(start), len(x))
        w = inner_loop(loss, own, self.rule(meta), self.inner_steps, self.second_order)
        return {"w": start | w} | self.remembered(x)

    def support_loss(self, x: Tensor, y: Tensor, start: Params) -> Losses:
        """l_S of each task as a function of the parameters that adapt; the others stay as in `start`."""

        def loss(w: Params) -> Tensor:
            points = LOSSES[self.loss](self.net(start | w, x), y)
            return balanced_mean(points, y) if self.balanced else points.mean(-1)

        return loss
