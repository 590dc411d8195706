"""scikit-learn's contract, for every detector: fit, scores, decisions, threshold, files."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from sklearn.base import OutlierMixin, clone
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import check_is_fitted, validate_data

from . import checks, files
from .episodes import Episodes, TaskFamily, check_family
from .estimator import Estimator, detector
from .families.columns import check_columns
from .metrics import best_threshold, rank_threshold
from .overlap import check_disjoint
from .reading import occlusion


@detector(kw_only=True)
class Detector(OutlierMixin, Estimator):
    """An anomaly detector that adapts to one task with `fit` and scores points with `anomaly_score`.

    Subclasses implement ``_fit(X, y)`` and ``_score(X)`` on clean float64 arrays.

    Attributes:
        threshold_: a point is an anomaly if its score exceeds it; set by `fit`, and yours to change.
        calibrated_: the threshold that `fit` takes over, set by `calibrate` with the parameters ``calibrated_with_``.
        support_mean_: (d,) mean of the normal support points, from which `explain` measures.
        image_shape_: (h, w) if points are images, else None.
        n_features_in_: width d of the points; ``feature_names_in_`` holds their columns' names, if they have some.
    """

    contamination: float | str = "auto"
    valid: ClassVar = {"contamination": lambda value, name: value == "auto" or checks.share(value, name)}
    sees: ClassVar[tuple[str, ...]] = ("support", "labels")  # of a task, besides the point to score
    odds = False  # whether a score above 0 is more likely an anomaly's, for a detector that knows what they are like

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = ClassifierTags(multi_class=False)  # labels, if given, are 0 and 1
        return tags

    def _rows(self, X, reset: bool = False) -> np.ndarray:
        return validate_data(self, checks.as_points(X), dtype=np.float64, reset=reset)

    def fit(self, X, y=None):
        """Adapt to the task with support set (X, y).

        Args:
            X: (n, d) or (n, h, w) support points; NumPy, pandas or torch; finite.
            y: (n,) labels, 0 normal and 1 anomalous, at least one normal; None means all normal.

        Raises:
            ValueError: if X is empty, not finite or of the wrong width, or if y is not as described.
        """
        self._check_params()
        with self._all_or_nothing():
            if not self._trained:
                self.image_shape_ = checks.image_shape(X)
                self._bind()
            self._check_unchanged()
            X = self._rows(X, reset=vars(self).get("columns_") is None)  # notes the columns, or compares them
            y = checks.labels(y, len(X))
            self.support_mean_ = X[y == 0].mean(0)
            self._fit(X, y)
            self.threshold_ = self._decide(y, lambda: self._support_score(X[y == 0]))
        return self

    def _decide(self, y: np.ndarray, normal_scores: Callable[[], np.ndarray]) -> float:
        """The threshold after a support set with labels y: what `calibrate` found, or even odds, or by its scores."""
        if "calibrated_" in vars(self):
            return self.calibrated_
        auto = self.contamination == "auto"
        if auto and self.odds and (self._trained or y.any()):  # which says what anomalies are like
            return 0.0
        return rank_threshold(normal_scores(), 0.05 if auto else self.contamination)  # equation ``quantile-threshold``

    def _support_score(self, X: np.ndarray) -> np.ndarray:
        """Scores of the normal support points X, as if they had not been fitted on where that matters."""
        return self._score(X)

    def calibrate(self, valid: TaskFamily, false_alarms: float | None = 0.05, n_tasks: int = 500, random_state=0):
        """Learn the threshold from other units; afterwards every `fit` takes it, whatever `contamination` says.

        It is the one that the share `false_alarms` of the normal query points of tasks of `valid` exceeds: a promise on
        average over units like these, which knows more than a few support points can.

        Args:
            valid: family of units that `meta_fit` did not train on.
            false_alarms: share of new normal points, in (0, 0.5], to be flagged; None maximises hits less false alarms.
            n_tasks, random_state: how many tasks to draw, and by which seed or generator.

        Raises:
            ValueError: if `valid` overlaps the training units or has other columns, or a number is out of range.
        """
        checks.optional(checks.share)(false_alarms, "false_alarms")
        check_family(valid, "valid")
        check_disjoint(vars(self).get("trained_on_"), valid)
        check_columns(valid, vars(self).get("columns_"))
        tasks, free = valid.sample(n_tasks, random_state), ("contamination", "device", "network", "random_state")
        with self._all_or_nothing():
            self.calibrated_with_ = {n: v for n, v in self.get_params(deep=False).items() if n not in free}
            vars(self).pop("calibrated_", None)
            scores, y = self.score_tasks(tasks)[0], tasks.query_y.numpy()
        self.calibrated_ = rank_threshold(scores[y == 0], false_alarms) if false_alarms else best_threshold(y, scores)
        if hasattr(self, "threshold_"):
            self.threshold_ = self.calibrated_
        return self

    def anomaly_score(self, X) -> np.ndarray:
        """The score f(x) of each point, (n,) float64: larger is more anomalous.

        X (n, d) or (n, h, w): finite points of the same width as the support points.
        """
        score = self._score(self._checked(X))
        if not np.isfinite(score).all():
            raise ValueError(f"{(~np.isfinite(score)).sum()} scores overflow: rescale the points, or use float64.")
        return score

    def _checked(self, X) -> np.ndarray:
        """Rows for a fitted detector to look at."""
        check_is_fitted(self, "threshold_")
        self._check_unchanged()
        return self._rows(X)

    def explain(self, X) -> np.ndarray:
        """The score of each point of X, less its score with one column at `support_mean_`: (n, d).

        Large where that column makes the point anomalous; the differences need not add up to the score. They are those
        of `occlusion` (equation ``occlusion-part``); the module `reading` has other ways.
        """
        check_is_fitted(self, "support_mean_")
        self.anomaly_score(X)  # refuses what cannot be scored
        return occlusion(self._score, self._rows(X), self.support_mean_)

    offset_ = property(lambda self: -self.threshold_, doc="``-threshold_``, scikit-learn's convention.")

    def score_samples(self, X) -> np.ndarray:
        """``-anomaly_score(X)``, (n,): scikit-learn's convention, larger is more normal."""
        return -self.anomaly_score(X)

    def decision_function(self, X) -> np.ndarray:
        """``score_samples(X) - offset_``, (n,): negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X) -> np.ndarray:
        """-1 for anomalies and +1 for normal points, (n,), at `threshold_`."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        """Fit on each support set and score its query set: scores (T, Q) and thresholds (T,)."""
        bare = clone(self)
        vars(bare).pop("feature_names_in_", None)  # tasks are arrays; their columns were compared before
        fitted = [clone(bare).fit(task.support_x[0], task.support_y[0]) for task in episodes]
        scores = [one.anomaly_score(task.query_x[0]) for one, task in zip(fitted, episodes, strict=True)]
        return np.array(scores), np.array([one.threshold_ for one in fitted])

    save, load = files.save, classmethod(files.load)
