"""Small networks as functions of their parameters, with or without a leading task axis."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class MLP:
    """Fully connected network to one logit; without hidden layers the linear model omega^T x + b.

    Parameters are a dict of tensors: ``weight0`` (out, in), ``bias0`` (out,), ``weight1``, ... . A leading task
    axis on all of them, (T, out, in) and (T, out), gives every task its own network in one batched product.

    Args:
        n_features: width of the input.
        hidden: widths of the hidden layers.
    """

    def __init__(self, n_features: int, hidden: tuple[int, ...] = ()):
        self.widths = (n_features, *hidden, 1)

    def init(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Start values: He-normal weights under ReLU layers, zeros in the last layer and all biases.

        A zero last layer starts every score at 0, so that a linear model starts at omega = 0.
        """
        params = {}
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        for i, (fan_in, fan_out) in enumerate(pairs):
            scale = 0.0 if i == len(pairs) - 1 else np.sqrt(2 / fan_in)
            params[f"weight{i}"] = torch.as_tensor(scale * rng.normal(size=(fan_out, fan_in)))
            params[f"bias{i}"] = torch.zeros(fan_out, dtype=torch.float64)
        return params

    def __call__(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """Logits: x (N, d) or (T, N, d) -> (N,) or (T, N)."""
        last = len(self.widths) - 2
        for i in range(last + 1):
            x = x @ params[f"weight{i}"].mT + params[f"bias{i}"].unsqueeze(-2)
            if i < last:
                x = torch.relu(x)
        return x.squeeze(-1)
