"""What all detectors share that judge a point by the other points of its batch (chapter 10)."""

from __future__ import annotations

import numpy as np

from .detector import Detector
from .episodes import Episodes, TaskFamily


class BatchDetector:
    """Mixed into a `MetaDetector` that needs no support set: after `meta_fit` it judges at once (a clone after `fit`).

    `fit` learns nothing but a threshold, where `contamination` is a number. Without `meta_fit`, scores are distances in
    the network's untrained start, and the threshold of a task comes from its support points.
    """

    sees = ("batch",)

    def meta_fit(self, train: TaskFamily, valid: TaskFamily | None = None, checkpoint=None):
        """As for every detector; afterwards `anomaly_score` and `predict` judge batches without any `fit`."""
        super().meta_fit(train, valid, checkpoint)
        self.params_, self.threshold_ = self.meta_, 0.0
        return self

    def _score(self, X: np.ndarray) -> np.ndarray:
        check_batch(len(X))
        return super()._score(X)

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        """Score each query set as one batch.

        Returns:
            scores (T, Q) and thresholds (T,), the same as from `fit` and `anomaly_score` task by task.
        """
        check_batch(episodes.query_x.shape[1])
        at_once = self._trained and self.contamination == "auto"  # no threshold to learn from each support set
        return super().score_tasks(episodes) if at_once else Detector.score_tasks(self, episodes)


def check_batch(n: int) -> None:
    """Refuse n points as a batch if they are too few for a majority."""
    if n < 3:
        raise ValueError(f"n_samples={n} is too small a batch to judge or to set a threshold from: take at least 3.")
