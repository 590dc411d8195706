"""One set of columns for tables of any width: calibrated scores of simple detectors (chapters 10 and 11)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict

UNLABELLED = ("nearest", "nearest 5", "manhattan 5", "local", "mahalanobis", "minor", "tails", "largest")
LABELLED = ("anomaly nearer", "linear", "trees")  # need labelled anomalies
FURTHEST = 1e3  # standard deviations; larger values of a column are cut there
Scores = list[tuple[np.ndarray, np.ndarray]]  # of support and of query points


def column_names(labelled: bool) -> tuple[str, ...]:
    """What the columns of `common_columns` are called, with labelled anomalies in the support sets or without."""
    detectors = UNLABELLED + (LABELLED if labelled else ())
    return (*(f"{name}, {kind}" for name in detectors for kind in ("size", "rank")), "constants changed")


def check_support(normal: int, anomalies: int) -> None:
    """Refuse support sets that are too small to describe a task by."""
    if normal < 3 or anomalies in (1, 2):
        needs = "at least 3 normal support points, and none or at least 3 anomalous ones"
        raise ValueError(f"A task is described by {needs}, got {normal} and {anomalies}.")


def common_columns(support_x, support_y, query_x) -> tuple[np.ndarray, np.ndarray]:
    r"""Describe the points of one task by what simple detectors, fitted to its support set, say of them.

    Every detector gives two columns. With its scores :math:`s_1,\dots,s_n` of the normal support points, each judged
    without itself where that is cheap, a point of score s has (equations ``score-size`` and ``conformal-p``)

    .. math:: 2\,\frac{s-\operatorname{median}_i s_i}{q_{84}(s_i)-q_{16}(s_i)}

    .. math:: \Phi^{-1}\Big(1-\frac{1+\#\{i:s_i\ge s\}}{n+1}\Big),

    how large the score is for this task (distances by their logarithm), and its rank, a conformal p-value as a normal
    quantile. Both mean the same in every table, whatever its columns, as far as the detector has not followed the
    normal support points (equation ``rank-law``): place and scale of the columns have seen them, and "minor", whose
    directions are fitted to them, calls far too many new points rare, as chapter 11 measures. The last column counts
    the columns that were constant on the normal support points and are not on this one. A query point is described
    without looking at others.

    Args:
        support_x: (S, d) finite points, at least 3 of them normal; support_y: (S,) labels, 0 normal and 1 anomalous.
        query_x: (Q, d) finite points.

    Returns:
        (S, F) and (Q, F), columns as in `column_names`: those of the detectors that need labelled anomalies are there
        if the support set has some.

    Raises:
        ValueError: if there are fewer than 3 normal points, or 1 or 2 anomalies.
    """
    x, y, asked = np.asarray(support_x, float), np.asarray(support_y).astype(int), np.asarray(query_x, float)
    check_support((y == 0).sum(), y.sum())
    center, scale = x[y == 0].mean(0), x[y == 0].std(0)
    rounding = 100 * np.finfo(float).eps * np.abs(center)
    constant = scale <= rounding
    x, asked = ((points - center) / np.where(constant, 1, scale) for points in (x, asked))
    changed = [np.minimum((np.abs(points[:, constant]) > 1e-9 + rounding[constant]).sum(1), 3) for points in (x, asked)]
    x, asked = (np.clip(points[:, ~constant], -FURTHEST, FURTHEST) for points in (x, asked))
    if constant.all():  # no detector has anything to say
        x, asked = (np.zeros((len(points), 1)) for points in (x, asked))
    scores = _unlabelled(x, y, asked) + (_labelled(x, y, asked) if y.any() else [])
    columns = [_calibrated(*pair, y) for pair in scores]
    return tuple(np.column_stack(side) for side in zip(*columns, changed, strict=True))


def _calibrated(support: np.ndarray, query: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Size and rank, (S, 2) and (Q, 2), of scores of support points with labels y (S,) and of query points (Q,)."""
    normal, n = support[y == 0], int((y == 0).sum())
    low, middle, high = np.percentile(normal, [16, 50, 84])

    def described(score: np.ndarray, known: np.ndarray) -> np.ndarray:
        """`known`: 1 for the normal support points, which are not counted among those that they are compared with."""
        p = (1 + (normal >= score[:, None]).sum(1) - known) / (n + 1 - known)
        size = np.clip(2 * (score - middle) / (high - low + 1e-3), -6, 12)
        return np.stack([size, norm.isf(np.minimum(p, 1 - 0.5 / n))], 1)  # the quantile of p = 1 is not finite

    return described(support, 1 - y), described(query, np.zeros(len(query), int))


def _unlabelled(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> Scores:
    """Scores of the support points, normal ones without themselves where that is cheap, and of query points.

    In the order of `UNLABELLED`, fitted to the normal ones; distances by their logarithm.
    """
    own, rest = x[y == 0], np.concatenate([x[y == 1], asked])
    (n, d), few = own.shape, min(5, len(own) - 1)
    near = {}
    for metric in ("euclidean", "cityblock"):
        between = cdist(own, own, metric)
        np.fill_diagonal(between, np.inf)
        near[metric] = [(np.sort(D, 1), np.argsort(D, 1)) for D in (between, cdist(rest, own, metric))]
    kinds = ("euclidean", 1), ("euclidean", few), ("cityblock", few)
    found = [[distance[:, :k].mean(1) for distance, _ in near[metric]] for metric, k in kinds]
    some = min(10, n - 1)
    usual = near["euclidean"][0][0][:, :some].mean(1) + 1e-9  # of each normal point
    found.append([D[:, :some].mean(1) / usual[order[:, :some]].mean(1) for D, order in near["euclidean"]])
    variance, direction = np.linalg.eigh(ledoit_wolf(own)[0])
    variance = np.maximum(variance, 1e-8)
    squared = [(points @ direction) ** 2 / variance for points in (own, rest)]
    # What a point adds to its own covariance makes it look nearer: undone to first order.
    found.append([np.sqrt(squared[0].sum(1)) * (1 + squared[0].sum(1) / n), np.sqrt(squared[1].sum(1))])
    major = np.searchsorted(np.cumsum(variance[::-1]) / variance.sum(), 0.9) + 1  # directions with 90 % of the variance
    found.append([np.sqrt(part[:, : max(1, d - major)].sum(1)) for part in squared])
    found.append([_tails(own, own, 0), _tails(own, rest, 1)])
    found.append([np.abs(points).max(1) for points in (own, rest)])
    pairs, anomalies = [], int(y.sum())
    for scores in found:
        first, second = (np.log(np.maximum(part, 1e-9)) for part in scores)
        support = np.empty(len(y))
        support[y == 0], support[y == 1] = first, second[:anomalies]
        pairs.append((support, second[anomalies:]))
    return pairs


def _tails(own: np.ndarray, points: np.ndarray, one: int) -> np.ndarray:
    """Sum over columns of minus the log of the two-sided rank p-value, as in ECOD (Li et al., 2022)."""
    n, total = len(own), np.zeros(len(points))
    for column, values in zip(np.sort(own, 0).T, points.T, strict=True):
        below = np.searchsorted(column, values, "right") + one
        above = n - np.searchsorted(column, values, "left") + one
        total -= np.log(np.minimum(1, 2 * np.minimum(below, above) / (n + 1)))
    return total


def _labelled(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> Scores:
    """Scores of the support points, none seen while it is judged, and of query points, in the order of `LABELLED`."""
    between = cdist(x, x)
    np.fill_diagonal(between, np.inf)
    nearer = [D[:, y == 0].min(1) - D[:, y == 1].min(1) for D in (between, cdist(asked, x))]
    line = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    unseen = cross_val_predict(line, x, y, cv=min(5, y.sum(), (y == 0).sum()), method="decision_function")
    forest = RandomForestClassifier(50, oob_score=True, random_state=0).fit(x, y)
    return [
        tuple(nearer),
        (unseen, line.fit(x, y).decision_function(asked)),
        (forest.oob_decision_function_[:, 1], forest.predict_proba(asked)[:, 1]),
    ]
