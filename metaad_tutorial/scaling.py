"""Location and scale of normal points, in float64: the one place where points are standardised."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .episodes import Episodes

FAR = 10  # scales of the training tasks


class Scaling(NamedTuple):
    """Mean and standard deviation of normal points, (T or 1, 1, d) each; called, it standardises points (T, N, d)."""

    location: Tensor
    scale: Tensor

    @classmethod
    def of(cls, x: Tensor, normal: Tensor | None = None, alike: bool = False, level=None) -> Scaling:
        """Measure them on each task; a feature that is constant, up to rounding, gets the scale 1.

        Args:
            x: (T, S, d) points.
            normal: (T, S) which of them count; None is all.
            alike: one location and scale for all features, as for the pixels under a convolution.
            level: (d,) size of the features before they were centred, by which rounding is told; None is the location.

        Raises:
            ValueError: if squares of the values overflow or vanish.
        """
        dims = (1, 2) if alike else (1,)
        weight = torch.ones_like(x[..., :1]) if normal is None else normal.to(x.dtype).unsqueeze(-1)
        count = weight.expand_as(x).sum(dims, keepdim=True)
        location = (weight * x).sum(dims, keepdim=True) / count
        gap = weight * (x - location).abs()
        scale = (gap**2).sum(dims, keepdim=True).div(count).sqrt()
        if not scale.isfinite().all() or ((scale == 0) & (gap.amax(dims, keepdim=True) > 0)).any():
            raise ValueError("The squares of some feature's values overflow or vanish: rescale that feature.")
        level = location.abs() if level is None else level
        scale = torch.where(scale > 100 * torch.finfo(x.dtype).eps * level, scale, 1.0)
        return cls(*(part.expand(len(x), 1, x.shape[-1]) for part in (location, scale)))

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.location) / self.scale

    def undone(self, x: Tensor) -> Tensor:
        """The points of which x are the standardised ones."""
        return x * self.scale + self.location


class Standardizer(NamedTuple):
    """How a detector standardises: not at all (`how` False), alike on all tasks (True), or from each one's own place.

    With "task" the place of a task is the mean of its own normal support points, and the scale is that within tasks.
    """

    how: bool | str
    alike: bool = False

    def of(self, x: Tensor, y: Tensor) -> Scaling:
        """Location and scale of the normal points of each set x (T, S, d), y (T, S)."""
        if not self.how:
            return Scaling(torch.zeros_like(x[:1, :1]), torch.ones_like(x[:1, :1]))
        return Scaling.of(x, y == 0, self.alike)

    def measure(self, tasks: Episodes) -> Scaling:
        """Of the support sets of meta-training tasks, all together; the scale of "task" is that of centred queries."""
        scaling = self.of(tasks.support_x.flatten(0, 1)[None], tasks.support_y.flatten()[None])
        if self.how != "task":
            return scaling
        centred = tasks.query_x - self.of(tasks.support_x, tasks.support_y).location
        points, normal = centred.flatten(0, 1)[None], tasks.query_y.flatten()[None] == 0
        return scaling._replace(scale=Scaling.of(points, normal, self.alike, tasks.query_x.abs().amax((0, 1))).scale)

    def at(self, scaling: Scaling, x: Tensor, y: Tensor) -> Scaling:
        """What `scaling`, that of the training tasks, becomes on tasks with the support sets x, y."""
        return scaling._replace(location=self.of(x, y).location) if self.how == "task" else scaling


def warn_if_far(scaling: Scaling, X: np.ndarray, names=None, own_place: bool = False) -> None:
    """Warn where all normal support points X (n, d) lie farther than `FAR` scales from the training tasks' mean.

    Of points that are judged from their own place it is half of them, from their own median. Other units of
    measurement, columns in another order and points that were standardised before look like this.
    """
    location = np.median(X, 0) if own_place else scaling.location[0].cpu().numpy()
    away = np.quantile(np.abs(X - location), own_place / 2, axis=0) / scaling.scale[0, 0].cpu().numpy()
    j = int(away.argmax())
    if away[j] > FAR:
        column, where = j if names is None else names[j], "their own median" if own_place else "the mean of those"
        far = f"The normal support points lie {away[j]:.0f} and more scales of the meta-training tasks from {where}"
        warnings.warn(f"{far} in column {column!r}: other units, another order, or scaled before?", stacklevel=4)
