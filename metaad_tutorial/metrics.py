"""Figures of merit of scores and decisions (chapter 1).

Everywhere y is 0 (normal) or 1 (anomaly), a larger score is more anomalous, and the last axis runs over points: (T, N)
arrays give one value per task.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata, t
from sklearn.metrics import average_precision_score


class Counts(NamedTuple):
    """True and false positives and negatives; positive means flagged as an anomaly."""

    tp: np.ndarray
    fp: np.ndarray
    tn: np.ndarray
    fn: np.ndarray


class Interval(NamedTuple):
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def _labels(y, values) -> tuple[np.ndarray, np.ndarray]:
    y, values = np.asarray(y), np.asarray(values)
    if y.shape != values.shape or y.size == 0:
        raise ValueError(f"Labels and scores must have one non-empty shape, got {y.shape} and {values.shape}.")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("Labels must be 0 (normal) or 1 (anomaly).")
    if not np.isfinite(values).all():
        raise ValueError("Scores must be finite; found NaN or infinity.")
    return y, values


def _both_classes(y: np.ndarray) -> None:
    positives = y.sum(-1)
    if (positives == 0).any() or (positives == y.shape[-1]).any():
        raise ValueError("Ranking figures need a normal point and an anomaly in every task; one class is missing.")


def counts(y, flagged) -> Counts:
    """Confusion counts (equation ``confusion``) of boolean decisions."""
    y, flagged = _labels(y, flagged)
    y, flagged = y.astype(bool), flagged.astype(bool)
    pairs = ((y, flagged), (~y, flagged), (~y, ~flagged), (y, ~flagged))
    return Counts(*(np.sum(a & b, axis=-1) for a, b in pairs))


def accuracy(y, flagged) -> np.ndarray:
    """(TP + TN) / N, equation ``accuracy``."""
    c = counts(y, flagged)
    return (c.tp + c.tn) / np.shape(y)[-1]


def efficiency(y, flagged, total_time: float) -> np.ndarray:
    """Correct decisions per second, (TP + TN) / total_time, equation ``efficiency``.

    Args:
        total_time: seconds the decisions took, adaptation included; positive.
    """
    if not total_time > 0:
        raise ValueError(f"total_time must be a positive number of seconds, got {total_time!r}.")
    c = counts(y, flagged)
    return (c.tp + c.tn) / total_time


def f1(y, flagged) -> np.ndarray:
    """2 TP / (2 TP + FP + FN), equation ``f1``; 0 where nothing is anomalous and nothing is flagged."""
    c = counts(y, flagged)
    return 2 * c.tp / np.maximum(2 * c.tp + c.fp + c.fn, 1)


def auroc(y, score) -> np.ndarray:
    """Share of (anomaly, normal) pairs ranked correctly, ties one half: equation ``auroc``, by ranks."""
    y, score = _labels(y, score)
    _both_classes(y)
    positives = y.sum(-1)
    rank_sum = (rankdata(score, axis=-1) * y).sum(-1)
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (y.shape[-1] - positives))


def average_precision(y, score) -> np.ndarray:
    """Mean precision over the anomalies, by descending score: equation ``average-precision``."""
    y, score = _labels(y, score)
    _both_classes(y)
    flat = zip(y.reshape(-1, y.shape[-1]), score.reshape(-1, y.shape[-1]), strict=True)
    return np.array([average_precision_score(a, b) for a, b in flat]).reshape(y.shape[:-1])


def interval(values, level: float = 0.95) -> Interval:
    """Mean over independent tasks with Student's t interval, equation ``task-interval``.

    Args:
        values: (T,) one figure per task, T at least 2.
        level: confidence level between 0 and 1.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"An interval needs the figures of at least 2 tasks, got shape {values.shape}.")
    half = t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = values.mean()
    return Interval(float(mean), float(mean - half), float(mean + half))
