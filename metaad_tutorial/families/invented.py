"""Invented anomalies and invented tables: experience for whom there is none (chapters 10 and 11)."""

from __future__ import annotations

import numpy as np


def virtual_anomalies(X, n: int, random_state=None) -> np.ndarray:
    """Anomalies made of the normal rows of a table, each in one of three ways, drawn at random.

    - inflated: a row moved away from the mean, to 1.5 to 4 times its distance;
    - shuffled: some columns replaced by those of another row, so that every value is usual and the row is not;
    - spiked: one to three columns moved by 3 to 6 standard deviations.

    Args:
        X: (N, d) finite normal rows, at least 2.
        n: how many to make.
        random_state: seed or `numpy.random.Generator`.

    Returns:
        (n, d) float64.

    Raises:
        ValueError: if there are fewer than 2 rows.
    """
    X, rng = np.asarray(X, dtype=float), np.random.default_rng(random_state)
    if X.ndim != 2 or len(X) < 2:
        raise ValueError(f"Virtual anomalies are made of at least 2 rows (N, d), got shape {X.shape}.")
    (N, d), center, scale = X.shape, X.mean(0), X.std(0)
    made = X[rng.integers(N, size=n)]
    for row, kind in zip(made, rng.integers(3, size=n), strict=True):
        if kind == 0:
            row[:] = center + rng.uniform(1.5, 4) * (row - center)
        elif kind == 1:
            which = rng.random(d) < rng.uniform(0.2, 0.6)
            row[which] = X[rng.integers(N)][which]
        else:
            which = rng.permutation(d)[: rng.integers(1, 4)]
            row[which] += rng.choice([-1, 1], len(which)) * rng.uniform(3, 6, len(which)) * scale[which]
    return made


def synthetic_table(random_state=None, n_normal: int = 300, n_anomalous: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A table of nothing real: a mixture of Gaussians, some columns bent or rounded, with `virtual_anomalies`.

    Args:
        random_state: seed or `numpy.random.Generator`.
        n_normal, n_anomalous: numbers of rows.

    Returns:
        X (n, d) float64 with 3 to 30 columns, and y (n,) int64, normal rows first.
    """
    rng = np.random.default_rng(random_state)
    d, parts = int(rng.integers(3, 31)), int(rng.integers(1, 5))
    which, X = rng.integers(parts, size=n_normal), rng.normal(size=(n_normal, d))
    mixing = rng.normal(size=(parts, d, d)) * rng.uniform(0, 1, d) / np.sqrt(d)  # few or many directions matter
    X = np.einsum("nd,nde->ne", X, mixing[which]) + 0.2 * rng.normal(size=(n_normal, d))
    X += 2 * rng.uniform() * rng.normal(size=(parts, d))[which]
    bent, whole = rng.random(d) < rng.uniform(0, 0.5), rng.random(d) < rng.uniform(0, 0.3)
    X[:, bent] = np.exp(X[:, bent])
    X[:, whole] = np.round(X[:, whole])
    rows = np.concatenate([X, virtual_anomalies(X, n_anomalous, rng)])
    return rows, np.repeat([0, 1], [n_normal, n_anomalous])
