"""The inner loop, once, for every method (equation ``inner-loop``)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Params = dict[str, Tensor]


def adapt(
    loss: Callable[[Params], Tensor],
    params: Params,
    step: Callable[[str, Tensor, Tensor, int], Tensor],
    steps: int,
    second_order: bool = True,
) -> Params:
    """Run `steps` inner steps for all tasks of a meta-batch at once.

    Args:
        loss: maps parameters to (T,) support losses, one per task.
        params: tensors with a leading task axis (T, ...), attached to the graph of what they came from.
        step: the update rule (name, value, gradient, k) -> new value of step k = 0, ..., K-1; methods differ in it.
        steps: number of inner steps K.
        second_order: keep the graph through the gradients, for the exact meta-gradient (equation ``maml-gradient``);
            without it the gradients are constants (equation ``maml-first-order``).

    Returns:
        The adapted parameters, same shapes.
    """
    for k in range(steps):
        total = loss(params).sum()  # tasks do not mix: the gradient of the sum is each task's own
        grads = torch.autograd.grad(total, list(params.values()), create_graph=second_order, materialize_grads=True)
        params = {name: step(name, value, grad, k) for (name, value), grad in zip(params.items(), grads, strict=True)}
    return params


def gradient_step(lr: float) -> Callable[[str, Tensor, Tensor, int], Tensor]:
    """The rule value - lr * grad (equation ``maml-inner``), in one operation."""
    return lambda name, value, grad, k: torch.add(value, grad, alpha=-lr)  # torch.sub's gradient takes two


def per_task(params: Params, n_tasks: int) -> Params:
    """Give every task the same start: (...) -> (T, ...), still attached to the shared values."""
    return {name: value.expand(n_tasks, *value.shape) for name, value in params.items()}


class AveragingAdam(torch.optim.Adam):
    """Adam that also keeps a running mean of the values it steps through, which wander less than the values.

    Args:
        values: what to optimise.
        lr: step size.
        decay: weight of the old mean at each step, less during the first ones; 0 keeps no mean.
    """

    def __init__(self, values, lr: float, decay: float = 0.0):
        super().__init__(values, lr=lr)
        self.decay = decay

    @torch.no_grad()
    def step(self) -> None:
        """Change the values, and let the means follow."""
        super().step()
        for value, state in self.state.items() if self.decay else ():
            step = float(state["step"])
            mean = state.setdefault("mean", value.clone())
            mean.lerp_(value, 1 - min(self.decay, step / (step + 10)))

    def means(self, values: Params) -> Params:
        """The running means of named values; nothing if none are kept."""
        kept = {name: self.state.get(value, {}).get("mean", value) for name, value in values.items()}
        return kept if self.decay else {}
