"""The outer loop: meta-parameters descend the query loss after adaptation (equation ``meta-objective``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from . import ranks
from .episodes import Episodes
from .losses import cross_entropy
from .runtime import progress
from .tree import Tree, flat, mapped


def query_loss(method, meta: Tree, tasks: Episodes) -> Tensor:
    """L of equation ``meta-objective``: mean over tasks of the query loss after adaptation to the support sets."""
    params = method.adapt(meta, tasks.support_x, tasks.support_y)
    return cross_entropy(method.logit(params, tasks.query_x), tasks.query_y).mean()


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
            state.setdefault("mean", value.clone()).lerp_(value, 1 - min(self.decay, step / (step + 10)))

    def mean(self, value: Tensor) -> Tensor:
        """The running mean of a value; the value itself if none is kept."""
        return self.state.get(value, {}).get("mean", value)


def finite(loss: Tensor) -> float:
    """A loss as a number, refused if it is none."""
    if not loss.isfinite():
        raise ValueError("Meta-training diverged: lower meta_lr or inner_lr, or leave standardize=True.")
    return loss.item()


Loss = Callable[[Tree, Episodes], Tensor]


def meta_train(
    meta: Tree, draw: Callable[[], Episodes], loss: Loss, *, steps: int, lr: float, decay: float = 0.0,
    watched: Episodes | None = None, valid_loss: Loss | None = None, every: int = 20, patience: int | None = None,
    label: str = "meta_train", checkpoint=None,
) -> tuple[Tree, dict]:  # fmt: skip
    """Descend `loss` over the meta-batches that `draw` gives; on several processes, each takes a share.

    It knows no detector: `meta` is any tree of tensors, `loss` any function of it and of a meta-batch.

    Args:
        meta: where to start; changed in place.
        draw: gives the meta-batch of the next outer step.
        loss: what to descend, a scalar.
        steps: number of outer steps.
        lr, decay: those of `AveragingAdam`.
        watched: validation tasks, looked at every `every` steps with `valid_loss` (or `loss`); the best step is kept.
        patience: stop after this many looks without improvement.
        label: what the progress bar says.
        checkpoint: a `Checkpoint` to go on from and to write to at every look.

    Returns:
        the meta-parameters, and a dict of two lists, ``loss`` of each outer step and ``valid_loss`` of each look.

    Raises:
        ValueError: if a loss is not finite any more, or the checkpoint is another training's.

    Example:
        >>> import torch
        >>> from metaad_tutorial import meta_train
        >>> start = {"w": torch.zeros(2)}
        >>> learnt, history = meta_train(
        ...     start, draw=lambda: torch.ones(2), loss=lambda meta, x: ((meta["w"] - x) ** 2).sum(), steps=200, lr=0.1
        ... )
        >>> bool(torch.allclose(learnt["w"], torch.ones(2), atol=0.01))
        True
    """
    if patience is not None and watched is None:
        raise ValueError("patience needs validation tasks: meta_fit(train, valid).")
    ranks.copy_from_first(flat(meta))  # a module of the reader's may start differently in each process
    leaves = [value.requires_grad_() for value in flat(meta).values()]
    adam, history = AveragingAdam(leaves, lr, decay), {"loss": [], "valid_loss": []}
    best = checkpoint and checkpoint.resume(history, meta, adam, steps)
    for step in progress(range(len(history["loss"]) + 1, steps + 1), label):
        looks = history["valid_loss"]
        if patience is not None and looks and len(looks) - 1 - np.argmin(looks) >= patience:
            break
        tasks, weight = ranks.share(draw())
        value = loss(meta, tasks) * weight
        adam.zero_grad()
        value.backward()
        history["loss"].append(finite(ranks.add_up(value.detach(), *(leaf.grad for leaf in leaves))))
        adam.step()
        if step % every == 0 or step == steps:
            if watched is not None:
                tasks, weight = ranks.share(watched)
                kept = mapped(adam.mean, meta)
                with torch.no_grad():
                    value = finite(ranks.add_up((valid_loss or loss)(kept, tasks) * weight))
                if value < min(history["valid_loss"], default=np.inf):
                    best = mapped(lambda v: v.detach().clone(), kept)
                history["valid_loss"].append(value)
            if checkpoint is not None and ranks.rank() == 0:
                checkpoint.save(history, best, meta, adam)
    return best or mapped(lambda value: adam.mean(value).detach().clone(), meta), history
