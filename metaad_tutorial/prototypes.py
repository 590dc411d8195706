"""Prototypical detection: learn a space in which distances to class means decide (chapter 7)."""

from __future__ import annotations

from math import log
from typing import ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .episodes import Episodes
from .estimator import detector
from .losses import cross_entropy, of_class
from .meta_detector import MetaDetector
from .tree import Tree


def posterior(phi: Tensor, member: Tensor, between: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
    """Where the center of each class is, given its support points (equation ``prototype-posterior``).

    Args:
        phi: (..., S, q) embedded support points.
        member: (..., 2, S) which of them are normal, and which are anomalous.
        between, within: (2, 1) variance of each class between tasks and within.

    Returns:
        centers (..., 2, q), and the variance (..., 2, 1) of a new point around them.
    """
    count = member.sum(-1, keepdim=True)
    unsure = 1 / (1 / between + count / within)  # variance that is left to the center
    return unsure / within * (member @ phi), within + unsure


def log_odds(phi: Tensor, center: Tensor, variance: Tensor) -> Tensor:
    """Log density as an anomaly less that as a normal point, a dimension (equation ``prototype-logit``).

    Args:
        phi: (..., N, q) embedded points.
        center, variance: (..., 2, q) and (..., 2, 1), of the normal and the anomalous class.
    """
    distance = ((phi.unsqueeze(-3) - center.unsqueeze(-2)) ** 2).mean(-1)  # (..., 2, N)
    log_density = -(distance / variance + variance.log()) / 2
    return log_density[..., 1, :] - log_density[..., 0, :]


@detector
class PrototypicalDetector(MetaDetector):
    """Log odds from the distances to two class means in a learnt embedding (equation ``prototype-logit``).

    In the embedding each class is a round Gaussian. From task to task its center varies, too; a support set tells
    where it is (equation ``prototype-posterior``). Of the anomalies it may say nothing: their center is then as wide
    open as it is over tasks, and the same formula serves. So a detector takes support sets of both kinds. How far
    labelled anomalies of a task resemble each other is learnt from tasks that have some; trained without, the detector
    takes two thirds of their variance to be between tasks.

    Adapting is one forward pass over the support set. Prototypical networks are due to Snell et al. (2017).

    Args:
        embedding: dimension q of the embedding, unless `network` says it.

    Example:
        >>> from metaad_tutorial import Fleet, PrototypicalDetector
        >>> train, valid, test = Fleet().split(random_state=0)
        >>> detector = PrototypicalDetector(8, meta_steps=50, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0], task.support_y[0]).predict(task.query_x[0]).shape
        (30,)
    """

    embedding: int = 64

    averaging = 0.98
    # of each class its variance over all tasks, 3/2, and the share between them, 2/3
    numbers: ClassVar = {"log_variance": [log(1.5)] * 2, "share": [log(2)] * 2, "log_scale": log(4), "bias": 0.0}

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        """Where the classes of each task are, given its support set."""
        params = meta | self.remembered(x)
        center, variance = self._classes(meta, self._embed(params, x), torch.stack([1 - y, y], -2))
        return params | {"center": center, "variance": variance}

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        return self._odds(params, self._embed(params, x), params["center"], params["variance"])

    def outer_loss(self, meta: Tree, tasks: Episodes) -> Tensor:
        """Mean query loss of the support set and of smaller ones, in which one normal point stands for all.

        Embedding the points is what costs; this makes more of them, and practises support sets of a single point.
        """
        x, y, params = tasks.support_x, tasks.support_y, meta | self.remembered(tasks.support_x)
        phi, asked = (self._embed(params, points).unsqueeze(1) for points in (x, tasks.query_x))
        alone = of_class(torch.eye(y.shape[1]).to(y).expand(len(y), -1, -1), y, 0)  # one each: (T, normal points, S)
        normal = torch.cat([(1 - y).unsqueeze(1), alone], 1)
        member = torch.stack([normal, y.unsqueeze(1).expand_as(normal)], -2)
        logit = self._odds(meta, asked, *self._classes(meta, phi, member))
        loss = cross_entropy(logit, tasks.query_y.unsqueeze(1)).mean((0, 2))
        return (loss[0] + loss[1:].mean()) / 2

    def _embed(self, params: Tree, x: Tensor) -> Tensor:
        return self.net(params["start"], x, params.get("support"))

    def _classes(self, meta: Tree, phi: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        total, share = meta["log_variance"].exp()[:, None], meta["share"].sigmoid()[:, None]
        return posterior(phi, member, between=total * share, within=total * (1 - share))

    def _odds(self, meta: Tree, phi: Tensor, center: Tensor, variance: Tensor) -> Tensor:
        return meta["log_scale"].exp() * log_odds(phi, center, variance) + meta["bias"]

    def embed(self, X) -> np.ndarray:
        """phi(x) of the points X (n, d) or (n, h, w), after `meta_fit`: (n, q).

        A network that normalises by the batch takes the support set of the last `fit`, or without one X itself.
        """
        check_is_fitted(self, "meta_")
        self._check_unchanged()
        return self._of(self._embed, vars(self).get("params_", self.meta_), self._raw(self._rows(X)))[0]
