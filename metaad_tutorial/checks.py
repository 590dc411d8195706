"""What is refused, and what the message says."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real

import numpy as np
from torch import Tensor

Check = Callable[[object, str], None]  # (value, name) -> None, or a ValueError that names the parameter


def number(low: float, high: float, ends: str = "[]") -> Check:
    """A finite number between `low` and `high`; of the `ends` a bracket is inside, a parenthesis is not."""

    def check(value, name: str) -> None:
        inside = isinstance(value, Real) and np.isfinite(value) and low <= value <= high
        if not inside or (value == low and ends[0] == "(") or (value == high and ends[1] == ")"):
            raise ValueError(f"{name} must be a finite number in {ends[0]}{low}, {high}{ends[1]}, got {value!r}.")

    return check


positive = number(0, np.inf, "()")
share = number(0, 0.5, "(]")


def integer(low: int, high: int | None = None) -> Check:
    text = f"of at least {low}" if high is None else f"from {low} to {high}"

    def check(value, name: str) -> None:
        if not isinstance(value, Integral) or value < low or (high is not None and value > high):
            raise ValueError(f"{name} must be an integer {text}, got {value!r}.")

    return check


def optional(check: Check) -> Check:
    return lambda value, name: None if value is None else check(value, name)


def one_of(*known) -> Check:
    text = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"

    def check(value, name: str) -> None:
        if value not in known:
            raise ValueError(f"{name} must be {text}, got {value!r}.")

    return check


def kind(words: str, kinds) -> Check:
    """Of a type, or of one of a union of types, which the message calls `words`."""

    def check(value, name: str) -> None:
        if not isinstance(value, kinds):
            raise ValueError(f"{name} must be {words}, got {type(value).__name__}.")

    return check


def as_points(X):
    """Images (n, h, w) become rows (n, h*w), tensors become arrays; everything else is left to scikit-learn."""
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray) and X.ndim > 2:
        X = X.reshape(len(X), -1)
    return X


def image_shape(X) -> tuple[int, int] | None:
    """(h, w) of images (n, h, w); None for other points."""
    return tuple(np.shape(X)[1:]) if isinstance(X, np.ndarray | Tensor) and X.ndim == 3 else None


def binary(y, n: int, name: str = "y") -> np.ndarray:
    """(n,) float labels, 0 normal and 1 anomalous."""
    y = np.asarray(as_points(y))
    if y.shape != (n,):
        raise ValueError(f"{name} must hold one label for each of the {n} points, got shape {y.shape}.")
    if not np.isin(y, (0, 1)).all():
        found = list(dict.fromkeys(y.tolist()))[:5]
        raise ValueError(f"{name} must be 0 (normal) or 1 (anomaly), got labels {found}; recode them first.")
    return y.astype(np.float64)


def labels(y, n: int) -> np.ndarray:
    """(n,) float labels, 0 normal and 1 anomalous, at least one normal; None means all normal."""
    y = np.zeros(n) if y is None else binary(y, n)
    if not (y == 0).any():
        raise ValueError(f"No normal point (y == 0) in a support set of n_samples={n}; a detector needs at least one.")
    return y
