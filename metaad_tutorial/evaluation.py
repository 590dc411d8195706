"""One door for every detector: adapt on support sets, judge on query sets, report intervals over tasks."""

from __future__ import annotations

import copy
import dataclasses
import time

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline

from . import metrics
from .detector import Detector
from .episodes import Episodes, TaskFamily, check_disjoint
from .runtime import progress


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results on T held-out tasks; every array is (T,).

    `mean`, `low` and `high` are those of the AUROC with its 95 % interval; `interval(name)` gives any other.
    """

    auroc: np.ndarray
    average_precision: np.ndarray
    accuracy: np.ndarray
    f1: np.ndarray
    correct: np.ndarray
    seconds: float

    def interval(self, name: str = "auroc") -> metrics.Interval:
        """Mean and 95 % interval over tasks of "auroc", "average_precision", "accuracy" or "f1"."""
        return metrics.interval(getattr(self, name))

    @property
    def mean(self) -> float:
        return self.interval().mean

    @property
    def low(self) -> float:
        return self.interval().low

    @property
    def high(self) -> float:
        return self.interval().high

    @property
    def efficiency(self) -> float:
        """Correct decisions per second over all tasks, adaptation included (equation ``efficiency``)."""
        return float(self.correct.sum() / self.seconds)


def judge(episodes: Episodes, scores: np.ndarray, thresholds=0.0, seconds: float = float("nan")) -> Evaluation:
    """Turn query scores into figures per task.

    Args:
        episodes: T tasks with Q query points.
        scores: (T, Q), larger is more anomalous.
        thresholds: (T,) or one number; above it a point is flagged.
        seconds: what computing the scores took, for the efficiency.
    """
    y = episodes.query_y.cpu().numpy()
    flagged = scores > np.broadcast_to(thresholds, len(y))[:, None]
    c = metrics.counts(y, flagged)
    return Evaluation(
        metrics.auroc(y, scores),
        metrics.average_precision(y, scores),
        metrics.accuracy(y, flagged),
        metrics.f1(y, flagged),
        c.tp + c.tn,
        seconds,
    )


def evaluate(detector, family: TaskFamily, n_tasks: int = 500, random_state=None) -> Evaluation:
    """Adapt `detector` to held-out tasks and judge it on their query sets.

    Args:
        detector: one of this package (its `fit` sees the support labels); a scikit-learn outlier detector or pipeline
            (fitted on the normal support points, ``-score_samples`` is the score); or a scikit-learn classifier
            (fitted on points and labels, needs both classes in the support set).
        family: the tasks, which the detector must not have been meta-trained on.
        n_tasks: number of tasks.
        random_state: seed or generator; the same seed gives every detector the same tasks.

    Raises:
        ValueError: if the family shares units with the one the detector was meta-trained on.
    """
    for part in dict(getattr(detector, "steps", [("", detector)])).values():
        check_disjoint(getattr(part, "trained_on_", None), family)
    episodes = family.sample(n_tasks, random_state)
    begin = time.perf_counter()
    if isinstance(detector, Detector):
        scores, thresholds = detector.score_tasks(episodes)
    else:
        results = [_score_foreign(detector, task) for task in progress(episodes, "evaluate")]
        scores, thresholds = (np.array(part) for part in zip(*results, strict=True))
    return judge(episodes, scores, thresholds, time.perf_counter() - begin)


def _score_foreign(estimator, task: Episodes) -> tuple[np.ndarray, float]:
    """Scores and threshold of a scikit-learn estimator on one task."""
    x, y, query = (part[0].flatten(1).numpy() for part in (task.support_x, task.support_y[..., None], task.query_x))
    y = y[:, 0]
    if is_classifier(estimator):
        if len(np.unique(y)) < 2:
            raise ValueError("A classifier needs both classes in the support set: set anomalous_shots to at least 1.")
        return clone(estimator).fit(x, y).predict_proba(query)[:, 1], 0.5
    # A copy, not a clone: a clone would forget the meta-training of a detector in a pipeline.
    fitted = copy.deepcopy(estimator)
    last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    fitted.fit(x, y) if isinstance(last, Detector) else fitted.fit(x[y == 0])
    return -fitted.score_samples(query), -np.ravel(getattr(last, "offset_", 0.0))[0]
