"""Which column made a score high, compared with which normal points (chapter 12)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]
MOST = 16  # columns, or groups of them, whose sets are enumerated
AT_ONCE = 256  # sets scored in one call


def occlusion(score: Score, X, reference, groups: Sequence | None = None) -> np.ndarray:
    """The score of each point, less its score with one column at the reference: equation ``occlusion-part``.

    Args:
        score: (n, d) array -> (n,) scores, such as `anomaly_score` of a fitted detector.
        X: (n, d) points, finite.
        reference: (d,) what the columns are compared with, such as `support_mean_`; or (n, d), for each point its own,
            such as what `expected` gives (equation ``filled-in``).
        groups: column numbers of each group that is replaced together, such as a patch of an image; None is each column
            alone. Columns in no group stay as they are.

    Returns:
        (n, G) a part for each group; they need not add up to anything.

    Raises:
        ValueError: if X or reference is not as described, or a group names a column that is not there.
    """
    X, reference, groups = _checked(X, reference, groups)
    whole, parts = score(X), []
    for group in groups:
        changed = X.copy()
        changed[:, group] = reference[:, group]
        parts.append(whole - score(changed))
    return np.stack(parts, 1)


def gradient_parts(score: Score, X, reference, step: float = 1e-5) -> np.ndarray:
    """The slope of the score in each column, by central differences, times the distance from the reference: (n, d).

    Args:
        score, X, reference: as for `occlusion`.
        step: how far to go to either side, in the units of the columns; positive.

    Raises:
        ValueError: if an argument is not as described.
    """
    X, reference, _ = _checked(X, reference, None)
    if not step > 0:
        raise ValueError(f"step must be positive, got {step}: 1e-5 suits columns of size 1.")
    sides = [[score(X + sign * step * one) for sign in (1, -1)] for one in np.eye(X.shape[1])]
    return np.stack([(up - down) / (2 * step) for up, down in sides], 1) * (X - reference)


def shapley(score: Score, X, reference, groups: Sequence | None = None) -> np.ndarray:
    """Exact Shapley values (Shapley, 1953) of columns or groups of them: equation ``shapley-value``.

    The parts of a point add up to its score less that of the point with all groups at the reference. The score is asked
    for 2^G versions of each point, many in one call, so a point's score must not depend on the others.

    Args:
        score, X, reference, groups: as for `occlusion`; at most 16 columns or groups.

    Returns:
        (n, G) a part for each group.

    Raises:
        ValueError: if an argument is not as described, or there are too many groups.
    """
    X, reference, groups = _checked(X, reference, groups)
    if len(groups) > MOST:
        raise ValueError(f"{len(groups)} columns have 2^{len(groups)} sets: put them into at most {MOST} groups.")
    G = len(groups)
    present = np.array(list(itertools.product((False, True), repeat=G)))  # the sets, (2^G, G)
    replaced = np.zeros((len(present), X.shape[1]), dtype=bool)
    for own, group in zip(present.T, groups, strict=True):
        replaced[:, group] |= ~own[:, None]
    values = []
    for some in np.array_split(replaced, max(1, len(present) // AT_ONCE)):
        mixed = np.where(some[:, None], reference, X)
        values.append(score(mixed.reshape(-1, X.shape[1])).reshape(len(some), len(X)))
    others = present.sum(1, keepdims=True) - present  # columns of the set besides j, (2^G, G)
    weight = 1 / np.array([G * math.comb(G - 1, size) for size in range(G)])
    signed = np.where(present, 1, -1) * weight[others]
    return np.concatenate(values).T @ signed


def expected(X, mean, covariance) -> np.ndarray:
    """What the other columns of a point let expect of each of its columns, if points are Gaussian: (n, d).

    With xi = X - mean and the precision matrix Omega, it is X - Omega xi / diag(Omega) (equation ``filled-in``).

    Args:
        X: (n, d) points; mean: (d,) or (n, d); covariance: (d, d), positive definite.

    Raises:
        ValueError: if an argument is not as described.
    """
    X, mean, _ = _checked(X, mean, None)
    covariance = np.asarray(covariance, dtype=float)
    if covariance.shape != (X.shape[1],) * 2 or not np.all(np.linalg.eigvalsh(covariance) > 0):
        raise ValueError(f"covariance must be positive definite and {X.shape[1]} columns wide, as the points are.")
    precision = np.linalg.inv(covariance)
    return X - (X - mean) @ precision / np.diag(precision)


def top_hits(parts, truth) -> np.ndarray:
    """Whether the largest part of each point is the one of the column that is to blame: (n,), 0 or 1.

    Args:
        parts: (n, G); truth: the number of the column or group, one for all points or (n,).
    """
    return (np.asarray(parts).argmax(1) == truth).astype(float)


def _checked(X, reference, groups) -> tuple[np.ndarray, np.ndarray, Sequence]:
    X, reference = np.asarray(X, dtype=float), np.asarray(reference, dtype=float)
    if X.ndim != 2 or not np.isfinite(X).all():
        raise ValueError(f"X must hold finite points in rows, (n, d), got shape {X.shape}: flatten images first.")
    if reference.shape not in (X.shape, X.shape[1:]) or not np.isfinite(reference).all():
        raise ValueError(f"reference must be finite and ({X.shape[1]},) or {X.shape}, as X is, got {reference.shape}.")
    groups = [[j] for j in range(X.shape[1])] if groups is None else [list(group) for group in groups]
    if not all(0 <= j < X.shape[1] for group in groups for j in group):
        raise ValueError(f"groups must name columns by numbers from 0 to {X.shape[1] - 1}.")
    return X, np.broadcast_to(reference, X.shape), groups
