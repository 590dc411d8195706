"""Prototypical detection: learn a space in which distances to class means decide (chapter 6)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .adapt import Params
from .detector import SCALING
from .embedding import EmbeddingDetector
from .episodes import Episodes
from .losses import cross_entropy


class PrototypicalDetector(EmbeddingDetector):
    """Log odds from the distances to two class means in a learnt embedding (equation ``prototype-logit``).

    In the embedding each class is a round Gaussian. From task to task its center varies, too; a support set tells
    where it is (equation ``prototype-posterior``). Of the anomalies it may say nothing: their center is then as wide
    open as it is over tasks, and the same formula serves. So a detector takes support sets of both kinds. How far
    labelled anomalies of a task resemble each other is learnt from tasks that have some; trained without, the detector
    takes two thirds of their variance to be between tasks.

    Adapting is one forward pass over the support set. Prototypical networks are due to Snell et al. (2017).

    Args:
        shared: the parameters of `EmbeddingDetector`, whose attributes this class has too.

    Example:
        >>> from metaad_tutorial import Fleet, PrototypicalDetector
        >>> train, valid, test = Fleet().split(random_state=0)
        >>> detector = PrototypicalDetector(8, meta_steps=50, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0], task.support_y[0]).predict(task.query_x[0]).shape
        (30,)
    """

    averaging = 0.98

    def _start(self, n_features: int, rng: np.random.Generator) -> Params:
        """The network, and for each class, normal and anomalous, its variance over all tasks and the share between.

        At the start the variance is 1 between tasks and 1/2 within.
        """
        own = {"log_variance": [math.log(1.5)] * 2, "share": [math.log(2)] * 2, "log_scale": math.log(4), "bias": 0.0}
        own = {name: torch.tensor(value, dtype=torch.float64) for name, value in own.items()}
        return super()._start(n_features, rng) | own

    def embed(self, params: Params, context: Params, x: Tensor) -> Tensor:
        """phi(x) of points x (T, N, d): (T, N, q)."""
        start = {name[6:]: value for name, value in params.items() if name.startswith("start.")}
        return super()._logit(start, context, x)

    def _classes(self, meta: Params, phi: Tensor, member: Tensor) -> Params:
        """Centers and variances of both classes (equation ``prototype-posterior``).

        Args:
            phi: (..., S, q) embedded support points.
            member: (..., 2, S) which of them are normal, and which are anomalous.
        """
        count = member.sum(-1, keepdim=True)
        total, share = meta["log_variance"].exp()[:, None], meta["share"].sigmoid()[:, None]
        between, within = total * share, total * (1 - share)
        unsure = 1 / (1 / between + count / within)  # variance that is left to the center: (..., 2, 1)
        return {"center": unsure / within * (member @ phi), "variance": within + unsure}

    def _odds(self, params: Params, phi: Tensor) -> Tensor:
        """Equation ``prototype-logit`` for embedded points (..., N, q): (..., N)."""
        distance = ((phi.unsqueeze(-3) - params["center"].unsqueeze(-2)) ** 2).mean(-1)  # (..., 2, N), a dimension
        log_density = -(distance / params["variance"] + params["variance"].log()) / 2
        return params["log_scale"].exp() * (log_density[..., 1, :] - log_density[..., 0, :]) + params["bias"]

    def _adapt(self, meta: Params, x: Tensor, y: Tensor, second_order: bool) -> Params:
        """Where the classes of each task are, given its support set."""
        phi = self.embed(meta, self._context(meta, x), x)
        learnt = {name: value for name, value in meta.items() if name not in SCALING}
        return learnt | self._classes(meta, phi, torch.stack([1 - y, y], -2))

    def _logit(self, params: Params, context: Params, x: Tensor) -> Tensor:
        return self._odds(params, self.embed(params, context, x))

    def _outer_loss(self, meta: Params, episodes: Episodes) -> Tensor:
        """Mean query loss of the support set and of smaller ones, in which one normal point stands for all.

        Embedding the points is what costs; this makes more of them, and practises support sets of a single point.
        """
        x, y = episodes.support_x, episodes.support_y
        context = self._context(meta, x)
        phi, asked = (self.embed(meta, context, points).unsqueeze(1) for points in (x, episodes.query_x))
        alone = torch.diag_embed(1 - y)[y == 0].unflatten(0, (len(y), -1))  # (T, normal points, S)
        normal = torch.cat([(1 - y).unsqueeze(1), alone], 1)
        member = torch.stack([normal, y.unsqueeze(1).expand_as(normal)], -2)
        logit = self._odds(meta | self._classes(meta, phi, member), asked)
        loss = cross_entropy(logit, episodes.query_y.unsqueeze(1)).mean((0, 2))
        return (loss[0] + loss[1:].mean()) / 2
