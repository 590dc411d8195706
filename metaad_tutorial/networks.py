"""Small networks as functions of their parameters, with or without a leading task axis.

A network has ``init(rng, n_features)``, which returns its start values as a dict of tensors; ``head``, the names of its
last layer; and a call ``network(params, x, context=None)`` to logits, or to features if it has ``outputs``. Points lie
in rows, so a layer is ``x @ weight + bias`` with weights (in, out) and biases (1, out). Each parameter may carry a
leading task axis: (T, in, out) instead of (in, out) gives every task its own network in one batched product.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import torch
from torch import Tensor

from . import checks
from .tree import Params


def is_widths(values) -> bool:
    """Whether `values` is a tuple of sizes, integers of at least 1."""
    return isinstance(values, tuple) and all(isinstance(v, int | np.integer) and v >= 1 for v in values)


def he(rng: np.random.Generator, *shape: int) -> Tensor:
    """He-normal weights (out, in, ...): variance 2 / fan-in keeps the scale of the signal through a ReLU."""
    return float(np.sqrt(2 / np.prod(shape[1:]))) * torch.as_tensor(rng.normal(size=shape))


def layer(rng: np.random.Generator, i: int, fan_out: int, fan_in: int, *kernel: int) -> Params:
    """Start values of layer i: He-normal weights (in, out), with a kernel (out, in, height, width), and biases of 0."""
    weight, bias = he(rng, fan_out, fan_in, *kernel), torch.zeros(1, fan_out, *(1 for _ in kernel), dtype=torch.float64)
    return {f"weight{i}": weight if kernel else weight.T.contiguous(), f"bias{i}": bias}


def dense(params: dict[str, Tensor], i: int, x: Tensor) -> Tensor:
    """Fully connected layer i: points in rows, x (..., N, in) -> (..., N, out)."""
    weight, bias = params[f"weight{i}"], params[f"bias{i}"]
    if x.dim() == weight.dim() == 3 and len(x) == len(weight):  # the same in one operation
        return torch.baddbmm(bias, x, weight)
    return x @ weight + bias


@dataclasses.dataclass(frozen=True)
class MLP:
    """Fully connected network; by default to one logit, without hidden layers the linear model omega^T x + b.

    Its parameters are ``weight0`` (in, out), ``bias0`` (1, out), ``weight1``, ... .

    Args:
        hidden: widths of the hidden layers.
        outputs: number of features to give; None gives one logit.
    """

    hidden: tuple[int, ...] = ()
    outputs: int | None = None
    uses_context = False

    def __post_init__(self):
        if not is_widths(self.hidden):
            raise ValueError(f"hidden must be a tuple of widths, integers of at least 1, got {self.hidden!r}.")
        checks.optional(checks.integer(1))(self.outputs, "outputs")

    @property
    def head(self) -> tuple[str, ...]:
        return f"weight{len(self.hidden)}", f"bias{len(self.hidden)}"

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """Start values: He-normal weights under ReLU layers, zeros in all biases and in the last layer of a logit.

        A zero last layer starts every score at 0, so that a linear model starts at omega = 0.
        """
        params, widths = {}, (n_features, *self.hidden, self.outputs or 1)
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            params |= layer(rng, i, fan_out, fan_in)
        if self.outputs is None:
            params[self.head[0]] *= 0
        return params

    def __call__(self, params: dict[str, Tensor], x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits: x (N, d) or (T, N, d) -> (N,) or (T, N); features: (N, outputs) or (T, N, outputs)."""
        for i in range(len(self.hidden)):
            x = torch.relu(dense(params, i, x))
        out = dense(params, len(self.hidden), x)
        return out.squeeze(-1) if self.outputs is None else out
