"""Zero-shot detection by batch statistics: the majority of a batch is the norm (Li et al., 2023; chapter 9)."""

from __future__ import annotations

import copy
import dataclasses
import math
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from .adapt import Params
from .detector import SCALING, check_number
from .embedding import EmbeddingDetector
from .episodes import Episodes, TaskFamily

SMALLEST_BATCH = 3  # with fewer points there is no majority


class ACR(EmbeddingDetector):
    """Distance from the middle of the batch that is judged, in a learnt embedding (equation ``batch-score``).

    **The score of a point depends on the other points in the call**: give `anomaly_score` and `predict` whole batches
    of one domain, at least 3 points, most of them normal. Where anomalies of one kind are the majority, they are taken
    for the norm (equation ``batch-breakdown``). In exchange a new domain needs neither labels nor a support set:
    `fit` learns nothing from its points, except the threshold where `contamination` is a number or there was no
    `meta_fit`.

    Meta-training shows the detector batches of many tasks, most of whose points are normal. The batch standardises
    its own points, and its own features inside a ``ConvNet(norm="batch")`` or a module with batch normalisation.
    Adaptive centred representations are due to Li et al. (2023); they train with an outlier-exposure loss, here the
    distance becomes a logit and is trained with the cross-entropy.

    Args:
        embedding: dimension q of the embedding, unless `network` says it.
        anomaly_share: the largest share of anomalies in a meta-training batch, above 0 and below 0.5. Each outer step
            draws their number, from 1 up to this share, and leaves out the other anomalies of the query sets.
        shared: the parameters of `EmbeddingDetector`, whose attributes this class has too; for images choose
            ``network=ConvNet(norm="batch")``.

    Example:
        >>> from metaad_tutorial import ACR, Fleet
        >>> train, valid, test = Fleet(anomalous_shots=0, anomalous_queries=2).split(random_state=0)
        >>> detector = ACR(8, meta_steps=50, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0]).predict(task.query_x[0]).shape
        (17,)
    """

    def __init__(self, embedding: int = 64, anomaly_share: float = 0.2, **shared):
        super().__init__(embedding, **shared)
        self.anomaly_share = anomaly_share

    def _check_params(self) -> None:
        super()._check_params()
        check_number(self.anomaly_share, "anomaly_share", min_val=0, max_val=0.5, include_boundaries="neither")

    def _shape(self) -> tuple:
        return (*super()._shape(), ("standardize", self.standardize))  # batches are standardised when they are judged

    def _start(self, n_features: int, rng: np.random.Generator) -> Params:
        own = {"log_scale": math.log(4), "log_radius": 0.0}
        own = {name: torch.tensor(value, dtype=torch.float64) for name, value in own.items()}
        return super()._start(n_features, rng) | own

    def _context(self, meta: Params, x: Tensor) -> Params:
        return {name: meta[name] for name in SCALING}

    def _adapt(self, meta: Params, x: Tensor, y: Tensor, second_order: bool) -> Params:
        """Nothing adapts to a support set."""
        return {name: value for name, value in meta.items() if name not in SCALING}

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """phi(x) for batches x (T, N, d), each standardised by itself: (T, N, q)."""
        start = {name[6:]: value for name, value in params.items() if name.startswith("start.")}
        return super()._logit(start, self._scaling(x, x.new_zeros(x.shape[:2])), x)

    def _logit(self, params: Params, scaling: Params, x: Tensor) -> Tensor:
        """Equation ``batch-score`` for batches x (T, N, d): (T, N)."""
        phi = self.embed(params, x)
        distance = ((phi - phi.mean(-2, keepdim=True)) ** 2).mean(-1)
        return params["log_scale"].exp() * (distance - params["log_radius"].exp())

    def _sample(self, family: TaskFamily, n_tasks: int, rng: np.random.Generator) -> Episodes:
        """Episodes whose query sets keep all normal points and a random few of the anomalies."""
        episodes = super()._sample(family, n_tasks, rng)
        order = episodes.query_y.argsort(dim=1, stable=True)  # normal points first
        normal = int((episodes.query_y[0] == 0).sum())
        most = min(math.floor(self.anomaly_share / (1 - self.anomaly_share) * normal + 1e-9), order.shape[1] - normal)
        if most < 1:
            raise ValueError(
                f"With normal_queries={normal} a single anomaly is more than the share anomaly_share="
                f"{self.anomaly_share} of a batch: give the family more normal_queries."
            )
        kept = order[:, : normal + rng.integers(1, most, endpoint=True)]
        rows = torch.arange(n_tasks, device=kept.device)[:, None]
        return dataclasses.replace(episodes, query_x=episodes.query_x[rows, kept], query_y=episodes.query_y[rows, kept])

    def anomaly_score(self, X) -> np.ndarray:
        """The score of each point among the points of X, (n,) float64: larger is more anomalous.

        Args:
            X: (n, d) or (n, h, w) finite points, n at least 3, of one domain, most of them normal.
        """
        score = super().anomaly_score(X)
        self._check_batch(len(score), "judge")
        return score

    @property
    def _fixed_threshold(self) -> bool:
        return self.contamination == "auto" and hasattr(self, "meta_")

    def _support_score(self, X: np.ndarray) -> np.ndarray:
        if self._fixed_threshold:
            return np.zeros(len(X))  # not looked at
        self._check_batch(len(X), "set a threshold from")
        return super()._support_score(X)

    @staticmethod
    def _check_batch(n: int, purpose: str) -> None:
        if n < SMALLEST_BATCH:
            raise ValueError(
                f"n_samples={n} is too small a batch to {purpose}: the batch says what is normal. "
                f"Give ACR at least {SMALLEST_BATCH} points at once, most of them normal."
            )

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        """Score each query set as one batch.

        Returns:
            scores (T, Q) and thresholds (T,), the same as from `fit` and `anomaly_score` task by task.
        """
        self._check_batch(episodes.query_x.shape[1], "judge")
        if self._fixed_threshold:
            return super().score_tasks(episodes)
        fitted = copy.copy(self)
        if not isinstance(self.random_state, Integral):  # an untrained network must be the same for all tasks
            fitted.random_state = int(np.random.default_rng(self.random_state).integers(2**32))
        scores, thresholds = [], []
        for task in episodes:  # the normal support points by themselves are a batch of their own
            thresholds.append(fitted.fit(task.support_x[0], task.support_y[0]).threshold_)
            scores.append(fitted.anomaly_score(task.query_x[0]))
        return np.array(scores), np.array(thresholds)
