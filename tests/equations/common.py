"""What the checks of several chapters share: tasks, losses of a linear model, numerical gradients."""

from __future__ import annotations

import torch

from metaad_tutorial.losses import LOSSES


def aadml_task(seed=0, T=3, n=7, m=9, d=4):
    """Start, rule, and T tasks with inputs that carry a constant 1: w, theta, X, y, X_query, y_query."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def inputs(points):
        return torch.cat([draw(T, points, d), torch.ones(T, points, 1, dtype=torch.float64)], -1)

    X, X_query = inputs(n), inputs(m)
    y, y_query = (draw(T, k).gt(0).double() for k in (n, m))
    return draw(d + 1), 0.1 * draw(d + 1, 2), X, y, X_query, y_query


def support_loss(name):
    """Mean loss of a linear model on the points of each task: w (..., d), X (..., N, d), y (..., N) -> (...)."""
    return lambda w, X, y: LOSSES[name]((X @ w.unsqueeze(-1)).squeeze(-1), y).mean(-1)


def numerical_gradient(f, x, h=1e-6):
    """Central differences of a scalar function, entry by entry."""
    flat, grad = x.flatten(), torch.zeros(x.numel(), dtype=x.dtype)
    for i in range(len(flat)):
        e = torch.zeros_like(flat)
        e[i] = h
        grad[i] = (f((flat + e).view_as(x)) - f((flat - e).view_as(x))) / (2 * h)
    return grad.view_as(x)
