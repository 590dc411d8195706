"""What is refused, and what the message says."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

Check = Callable[[object, str], None]  # (value, name) -> None, or a ValueError that names the parameter


def must(be: Callable[[object], bool], words: str) -> Check:
    """What is refused unless `be` holds; `words` say what that means."""

    def check(value, name: str) -> None:
        if not be(value):
            raise ValueError(f"{name} must be {words}, got {value!r}.")

    return check


def number(low: float, high: float, ends: str = "[]") -> Check:
    """A finite number between `low` and `high`; of the `ends` a bracket is inside, a parenthesis is not."""
    outside = [end for end, sign in zip((low, high), ends, strict=True) if sign in "()"]
    text = f"a finite number in {ends[0]}{low}, {high}{ends[1]}"
    return must(lambda v: isinstance(v, Real) and np.isfinite(v) and low <= v <= high and v not in outside, text)


positive = number(0, np.inf, "()")
share = number(0, 0.5, "(]")


def integer(low: int, high: float = np.inf) -> Check:
    text = f"of at least {low}" if high == np.inf else f"from {low} to {high}"
    return must(lambda value: isinstance(value, Integral) and low <= value <= high, f"an integer {text}")


def optional(check: Check) -> Check:
    return lambda value, name: None if value is None else check(value, name)


def one_of(*known) -> Check:
    return must(lambda value: value in known, f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}")


def is_here(device) -> bool:
    """Whether PyTorch can compute on a device of this name."""
    return device == "cpu" or (str(device).startswith("cuda") and torch.cuda.is_available())


device = must(is_here, "'cpu', or 'cuda' where PyTorch sees a GPU")


def plain(X):
    """Tensors become arrays, and what is masked NaN; everything else stays as it is."""
    X = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
    return X.astype(float).filled(np.nan) if isinstance(X, np.ma.MaskedArray) else X


def as_points(X):
    """Images (n, h, w) become rows (n, h*w), tensors become arrays; everything else is left to scikit-learn."""
    X = plain(X)
    return X.reshape(len(X), -1) if isinstance(X, np.ndarray) and X.ndim == 3 else X


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
        raise ValueError(f"{name} must be 0 (normal) or 1 (anomaly), got labels {found}; recode by y == anomaly_label.")
    return y.astype(np.float64)


def labels(y, n: int) -> np.ndarray:
    """(n,) float labels, 0 normal and 1 anomalous, at least one normal; None means all normal."""
    y = np.zeros(n) if y is None else binary(y, n)
    if not (y == 0).any():
        raise ValueError(f"No normal point (y == 0) in a support set of n_samples={n}; a detector needs at least one.")
    return y
