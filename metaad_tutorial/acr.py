"""Zero-shot detection by batch statistics: the majority of a batch is the norm (Li et al., 2023; chapter 10)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from . import checks
from .batches import BatchDetector
from .episodes import Episodes, TaskFamily
from .estimator import detector
from .meta_detector import MetaDetector
from .scaling import Scaling, Standardizer
from .tree import Tree


def batch_score(phi: Tensor, scale: Tensor, radius: Tensor) -> Tensor:
    """Distance from the batch's own middle, as a logit (equation ``batch-score``): (T, N, q) -> (T, N)."""
    distance = ((phi - phi.mean(-2, keepdim=True)) ** 2).mean(-1)
    return scale * (distance - radius)


@detector
class ACR(BatchDetector, MetaDetector):
    """Distance from the middle of the batch that is judged, in a learnt embedding (equation ``batch-score``).

    **The score of a point depends on the other points in the call**: give `anomaly_score` and `predict` whole batches
    of one domain, at least 3 points, most of them normal. Where anomalies of one kind are the majority, they are taken
    for the norm (equation ``batch-breakdown``). In exchange a new domain needs neither labels nor a support set: after
    `meta_fit` the detector judges at once, and `fit` learns nothing but a threshold, where `contamination` is a number.

    Meta-training shows the detector batches of many tasks, most of whose points are normal. The batch standardises
    its own points, and its own features inside a ``ConvNet(norm="batch")`` or a module with batch normalisation.
    Adaptive centred representations are due to Li et al. (2023); they train with an outlier-exposure loss, here the
    distance becomes a logit and is trained with the cross-entropy.

    Args:
        embedding: dimension q of the embedding, unless `network` says it.
        anomaly_share: the largest share of anomalies in a meta-training batch, above 0 and below 0.5. Each outer step
            draws their number, from 1 up to this share, and leaves out the other anomalies of the query sets.

    Example:
        >>> from metaad_tutorial import ACR, Fleet
        >>> train, valid, test = Fleet(anomalous_shots=0, anomalous_queries=2).split(random_state=0)
        >>> detector = ACR(8, meta_steps=50, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0]).predict(task.query_x[0]).shape
        (17,)
    """

    embedding: int = 64
    anomaly_share: float = 0.2

    valid: ClassVar = {"standardize": checks.one_of(True, False), "anomaly_share": checks.number(0, 0.5, "()")}
    numbers: ClassVar = {"log_scale": math.log(4), "log_radius": 0.0}
    _standardizer = Standardizer(False)  # no other points matter: each batch standardises itself

    def _ready(self, scaling: Scaling, x: Tensor) -> Tensor:
        return super()._ready(super()._standardizer.of(x, torch.zeros_like(x[..., 0])), x)

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        """Scores of whole batches x (T, N, d): (T, N)."""
        return batch_score(self.net(params["start"], x), params["log_scale"].exp(), params["log_radius"].exp())

    def draw(self, family: TaskFamily, n_tasks: int, rng: np.random.Generator) -> Episodes:
        """Tasks whose query sets keep all normal points and a random few of the anomalies."""
        tasks = family.sample(n_tasks, rng)
        order = tasks.query_y.argsort(dim=1, stable=True)  # normal points first
        normal = int((tasks.query_y[0] == 0).sum())
        most = min(math.floor(self.anomaly_share / (1 - self.anomaly_share) * normal + 1e-9), order.shape[1] - normal)
        if most < 1:
            more = f"a single anomaly is more than the share anomaly_share={self.anomaly_share} of a batch"
            raise ValueError(f"With normal_queries={normal} {more}: give the family more normal_queries.")
        kept, rows = order[:, : normal + rng.integers(1, most, endpoint=True)], torch.arange(n_tasks)[:, None]
        return dataclasses.replace(tasks, query_x=tasks.query_x[rows, kept], query_y=tasks.query_y[rows, kept])
