"""Every meta-learned detector: `meta_fit` across tasks, scikit-learn's `fit` on one."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from . import checks, training
from .checkpoint import Checkpoint
from .convolutions import ConvNet
from .estimator import detector
from .experienced import ExperiencedDetector
from .networks import MLP
from .tree import mapped


@detector(kw_only=True)
class MetaDetector(ExperiencedDetector):
    """A detector that learns across tasks, by gradient descent, how to adapt to one.

    Args:
        hidden: widths of the network's hidden layers, () for a linear model; None is () for points (n, d), and for
            images (n, h, w) a `ConvNet` in place of such layers.
        network: instead of these layers a `ConvNet`, or any `torch.nn.Module` from rows (n, d) to n logits.
        meta_lr: step size of the outer loop (Adam); None is 0.02, 0.003 for a `network`, 0.01 for images by themselves
            (`Reptile` 0.003), with neither `hidden` nor `network`.
        meta_steps: number of outer steps; None is 400, or 600 for images by themselves.
        meta_batch: tasks per outer step; None is 25, or 8 for images by themselves.
        patience: stop after this many looks at the validation tasks, one every 20 outer steps, without improvement.
    """

    hidden: tuple[int, ...] | None = None
    network: ConvNet | nn.Module | None = None
    meta_lr: float | None = None
    meta_steps: int | None = None
    meta_batch: int | None = None
    patience: int | None = None

    valid: ClassVar = {"hidden": checks.optional(lambda value, name: MLP(value))}
    bound = (*ExperiencedDetector.bound, "hidden", "network", "embedding")
    every, valid_tasks = 20, 100  # outer steps between two looks at the validation tasks, and how many these are
    image_lr = 0.01

    @property
    def usual(self) -> tuple[float, int, int]:
        """`meta_lr`, `meta_steps` and `meta_batch` where they are None."""
        if self.network is not None:
            return 0.003, 400, 25
        return (0.02, 400, 25) if isinstance(self.net, MLP) else (self.image_lr, 600, 8)

    @property
    def _recipe(self) -> tuple[float, int, int]:
        own = self.meta_lr, self.meta_steps, self.meta_batch
        return tuple(value or default for value, default in zip(own, self.usual, strict=True))

    def _learn(self, train, valid, first, scaling, rng, checkpoint):
        """Gradient descent on the outer loss; the step with the lowest loss on 100 tasks of `valid` is kept."""
        lr, steps, batch = self._recipe
        start = mapped(lambda value: value.to(**self._place), self.init(rng, first.support_x.shape[-1]))
        asked = None if valid is None else self.draw(valid, self.valid_tasks, rng)
        return training.meta_train(
            start, lambda: self._scaled(scaling, self.draw(train, batch, rng)), self.outer_loss,
            watched=asked and self._scaled(scaling, asked), valid_loss=self.valid_loss, every=self.every,
            patience=self.patience, lr=lr, decay=self.averaging, steps=steps, label=type(self).__name__,
            checkpoint=checkpoint and Checkpoint(self, train, filter(None, [first, asked]), start, rng, checkpoint),
        )  # fmt: skip
