"""What all detectors share that judge a point by the other points of its batch (chapter 9)."""

from __future__ import annotations

import numpy as np

from .detector import Detector
from .episodes import Episodes, TaskFamily

SMALLEST_BATCH = 3  # with fewer points there is no majority


class BatchDetector:
    """Mixed into an `ExperiencedDetector` that needs no support set: after `meta_fit` it judges at once.

    `fit` learns nothing but a threshold, where `contamination` is a number. Without `meta_fit`, scores are distances in
    the network's untrained start, and the threshold of a task comes from its support points.
    """

    sees = ("batch",)

    def meta_fit(self, train: TaskFamily, valid: TaskFamily | None = None, checkpoint=None):
        """As for every detector; afterwards `anomaly_score` and `predict` judge batches without any `fit`."""
        super().meta_fit(train, valid, checkpoint)
        self.params_, self.threshold_ = self.meta_, 0.0
        return self

    def anomaly_score(self, X) -> np.ndarray:
        """The score of each point among the points of X, (n,) float64: larger is more anomalous.

        Args:
            X: (n, d) or (n, h, w) finite points, n at least 3, of one domain, most of them normal.
        """
        score = super().anomaly_score(X)
        check_batch(self, len(score), "judge")
        return score

    def _support_score(self, X: np.ndarray) -> np.ndarray:
        check_batch(self, len(X), "set a threshold from")
        return super()._support_score(X)

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        """Score each query set as one batch.

        Returns:
            scores (T, Q) and thresholds (T,), the same as from `fit` and `anomaly_score` task by task.
        """
        check_batch(self, episodes.query_x.shape[1], "judge")
        at_once = self._trained and self.contamination == "auto"  # no threshold to learn from each support set
        return super().score_tasks(episodes) if at_once else Detector.score_tasks(self, episodes)


def check_batch(detector, n: int, purpose: str) -> None:
    """Refuse n points as a batch for `purpose` if they are too few."""
    if n < SMALLEST_BATCH:
        raise ValueError(
            f"n_samples={n} is too small a batch to {purpose}: the batch says what is normal. "
            f"Give {type(detector).__name__} at least {SMALLEST_BATCH} points at once, most of them normal."
        )
