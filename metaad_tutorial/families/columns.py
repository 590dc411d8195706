"""Points as readers have them: arrays, tensors, lists and DataFrames, with columns that have names."""

from __future__ import annotations

import numpy as np
from sklearn.utils import assert_all_finite

from .. import checks


def _numbers(values, name: str, missing: str) -> np.ndarray:
    """Finite float64 values; NaN may stand for a missing one unless `missing` is "error"."""
    try:
        values = np.asarray(checks.plain(values))
        if values.dtype.kind in "cmM":
            raise TypeError(f"{values.dtype} values")
        values = values.astype(np.float64)
        assert_all_finite(values, allow_nan=missing != "error")
        return values
    except (TypeError, ValueError) as error:
        how = 'encode words and dates; impute or drop NaN, or set missing="median" of table_tasks; drop infinity'
        raise ValueError(f"{name} must hold finite numbers ({error}): {how}.") from None


def filled(points: np.ndarray, shots: int) -> np.ndarray:
    """Points (n, d) with the median of a column over the first `shots` for its NaN; a column without any value is 0."""
    if not np.isnan(points).any():
        return points
    points = np.where(np.isnan(points[:shots]).all(0), 0.0, points)
    return np.where(np.isnan(points), np.nanmedian(points[:shots], 0), points)


def read_points(X, name: str, missing: str = "error") -> tuple[np.ndarray, tuple]:
    """(n, d) or (n, h, w) float64 points, and the names of their columns: their places if X is no DataFrame.

    The points are finite, but for NaN if `missing` is not "error".

    Raises:
        ValueError: naming what is not a number, in which column of what.
    """
    if (columns := getattr(X, "columns", None)) is None:
        points = _numbers(X, name, missing)
        if points.ndim not in (2, 3):
            raise ValueError(f"{name} must be an array of points, (n, d) or (n, h, w), got shape {points.shape}.")
        return points, tuple(range(points.shape[1]) if points.ndim == 2 else np.ndindex(points.shape[1:]))
    columns = tuple(columns)
    if len(set(columns)) < len(columns):
        raise ValueError(f"{name} has several columns of one name: {list(columns)}.")
    values = [_numbers(X[column], f"{name}, column {column!r}", missing) for column in columns]
    return np.reshape(values, (len(columns), len(X))).T, columns


def string_names(columns: tuple | None) -> tuple[str, ...] | None:
    """The names of columns as a family keeps them; like scikit-learn, only if all are strings."""
    return columns if columns is not None and all(isinstance(column, str) for column in columns) else None


def check_columns(family, names) -> None:
    """Refuse a family whose columns have other names than those a detector learnt, or another order.

    Raises:
        ValueError: naming both.
    """
    if names is not None and family.feature_names not in (None, tuple(names)):
        found = f"The columns are {list(family.feature_names)}, and the detector has learnt {list(names)}"
        raise ValueError(f"{found}: make the family from tables whose columns are in that order.")


def distinct(labels: np.ndarray, n: int, name: str) -> list:
    """The distinct ones of n labels, sorted."""
    if labels.shape != (n,):
        raise ValueError(f"{name} must hold one label for each of the {n} points, got shape {labels.shape}.")
    try:
        return np.unique(labels).tolist()
    except TypeError:
        raise ValueError(f"{name} must hold labels of one kind, numbers or strings, and none missing.") from None


def aligned(X: np.ndarray, columns: tuple, name, first, wanted: tuple) -> np.ndarray:
    """The points of a table with the columns of the first one, in its order."""
    if set(columns) != set(wanted):
        lacks, more = ([c for c in a if c not in b][:9] for a, b in ((wanted, columns), (columns, wanted)))
        same = f"All tables must have the same columns, all with names or all without ({len(wanted)} in {first!r})"
        raise ValueError(f"{same}; {name!r} lacks {lacks} and has {more} that {first!r} has not.")
    if columns != wanted and not string_names(wanted):  # which `fit` could not compare later
        raise ValueError(f"Table {name!r} has the columns of {first!r} in another order: give them strings as names.")
    return X if columns == wanted else X[:, [columns.index(column) for column in wanted]]
