"""One line for all tasks: logistic regression on the points of all of them (chapter 3)."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from .estimator import detector
from .experienced import ExperiencedDetector
from .tree import Tree


@detector
class PooledLogistic(ExperiencedDetector):
    r"""One logistic regression for all tasks, fitted to the points of all of them.

    .. math:: g(x)=w^\top(x-\bar x_0)/s+b,

    with the scale s of all tasks. With ``standardize="task"`` the mean :math:`\bar x_0` is that of the normal support
    points of the task (centred), with True that of all tasks (pooled), and a support set changes nothing.

    Args:
        C: inverse strength of the penalty on w; both classes weigh the same.
        meta_tasks: number of tasks to learn from.

    Example:
        >>> from metaad_tutorial import Fleet, PooledLogistic, evaluate
        >>> train, valid, test = Fleet().split(random_state=0)
        >>> centred = PooledLogistic(random_state=0).meta_fit(train)
        >>> bool(evaluate(centred, test, 100, 0).mean > 0.94)
        True
    """

    C: float = 1.0
    meta_tasks: int = 400
    standardize: bool | str = "task"

    def _learn(self, train, valid, first, scaling, rng, checkpoint):
        tasks = self._scaled(scaling, first)
        x, y = torch.cat([tasks.support_x, tasks.query_x], 1), torch.cat([tasks.support_y, tasks.query_y], 1)
        x, y = (part.flatten(0, 1).cpu().double().numpy() for part in (x, y))
        line = LogisticRegression(C=self.C, class_weight="balanced", max_iter=1000).fit(x, y)
        learnt = {"weight": line.coef_[0], "bias": line.intercept_[0]}
        learnt = {name: torch.as_tensor(value).to(**self._place) for name, value in learnt.items()}
        return learnt, {"loss": [], "valid_loss": []}

    def init(self, rng: np.random.Generator, n_features: int) -> Tree:
        """Before any experience: the sum of all features."""
        return {"weight": torch.ones(n_features, dtype=torch.float64), "bias": torch.zeros((), dtype=torch.float64)}

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        return meta

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        return x @ params["weight"] + params["bias"]
