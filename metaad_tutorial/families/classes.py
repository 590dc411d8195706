"""Tasks out of labelled arrays and tables of the reader's own (chapter 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from ..episodes import Episodes, TaskFamily, shuffled


class PoolTasks(TaskFamily):
    """Tasks drawn without replacement from a pool of normal and a pool of anomalous points per unit.

    Made by `class_tasks` and `table_tasks`. Without `anomalous` the normal points of a unit are the anomalies of
    the others, and only of those others that are on the same side of a split.

    Args:
        normal: unit -> (n, ...) array of its normal points.
        anomalous: unit -> array of its anomalous points, or None for one class against the others.
        shots: the four counts of `TaskFamily`.
    """

    def __init__(self, normal: Mapping, anomalous: Mapping | None, **shots: int):
        self.normal, self.anomalous = dict(normal), anomalous
        self.fewest_units = 2 if anomalous is None else 1
        digest = hashlib.sha256()
        for unit, points in self.normal.items():
            digest.update(str(unit).encode() + np.ascontiguousarray(points).tobytes())
        self.source = digest.hexdigest()  # the same data make the same source, however they were wrapped
        super().__init__(list(self.normal), **shots)

    def _check_units(self) -> None:
        super()._check_units()
        needs = {
            "normal": self.normal_shots + self.normal_queries,
            "anomalous": self.anomalous_shots + self.anomalous_queries,
        }
        for unit in self.units.tolist():
            for kind, pool in zip(needs, self._pools(unit), strict=True):
                if len(pool) < needs[kind]:
                    raise ValueError(
                        f"Unit {unit!r} has {len(pool)} {kind} points, an episode needs {needs[kind]}: "
                        "lower the shots or queries, or leave the unit out."
                    )

    def _pools(self, unit) -> tuple[np.ndarray, np.ndarray]:
        if self.anomalous is not None:
            return self.normal[unit], self.anomalous[unit]
        others = [self.normal[other] for other in self.units.tolist() if other != unit]
        return self.normal[unit], np.concatenate(others)

    def _draw(self, units: np.ndarray, rng: np.random.Generator) -> Episodes:
        sizes = (
            self.normal_shots,
            self.anomalous_shots,
            self.normal_queries,
            self.anomalous_queries,
        )
        ns, as_, nq, aq = sizes
        drawn = []
        for unit in units.tolist():
            normal, anomalous = self._pools(unit)
            a = normal[rng.permutation(len(normal))[: ns + nq]]
            b = anomalous[rng.permutation(len(anomalous))[: as_ + aq]]
            drawn.append(np.concatenate([a[:ns], b[:as_], a[ns:], b[as_:]]))
        x, cut = np.stack(drawn), ns + as_
        y = np.tile(np.repeat([0.0, 1.0, 0.0, 1.0], sizes), (len(units), 1))
        return Episodes(*shuffled(x[:, :cut], y[:, :cut], rng), *shuffled(x[:, cut:], y[:, cut:], rng), units)


def _clean(x, name: str) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim < 2 or not len(x):
        raise ValueError(f"{name} must be an array of points, (n, d) or (n, h, w), got shape {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} contains NaN or infinity: impute or drop those values first.")
    return x


def class_tasks(X, y, **shots: int) -> PoolTasks:
    """Turn any labelled array into tasks: one class is normal, the other classes are anomalous.

    Args:
        X: (n, d) or (n, h, w) finite points.
        y: (n,) class labels, any type that NumPy can sort; at least two classes.
        shots: normal_shots, anomalous_shots, normal_queries, anomalous_queries of `TaskFamily`.

    Returns:
        PoolTasks: a family whose units are the classes. After a split a task's anomalies come
        from classes of its own side only.

    Raises:
        ValueError: if lengths differ, values are not finite, or a class has too few points.
    """
    X, y = _clean(X, "X"), np.asarray(y)
    if y.shape != (len(X),):
        raise ValueError(f"y must have one label for each of the {len(X)} points, got shape {y.shape}.")
    return PoolTasks({label: X[y == label] for label in np.unique(y).tolist()}, None, **shots)


def table_tasks(tables: Mapping, **shots: int) -> PoolTasks:
    """Turn labelled tables into tasks: each table is one task's data (a machine, a speaker, a hospital).

    Args:
        tables: name -> (X, y) with X (n, d), y (n,) of 0 (normal) and 1 (anomaly); all of one width.
        shots: normal_shots, anomalous_shots, normal_queries, anomalous_queries of `TaskFamily`.

    Raises:
        ValueError: if widths differ, labels are not 0/1, values are not finite or points are too few.
    """
    normal, anomalous = {}, {}
    for name, (X, y) in dict(tables).items():
        X, y = _clean(X, f"table {name!r}"), np.asarray(y)
        if y.shape != (len(X),) or not np.isin(y, (0, 1)).all():
            raise ValueError(f"y of table {name!r} must be one 0 (normal) or 1 (anomaly) per row.")
        normal[name], anomalous[name] = X[y == 0], X[y == 1]
    widths = {X.shape[1:] for X in normal.values()}
    if len(widths) != 1:
        raise ValueError(f"All tables must have the same columns, got widths {sorted(widths)}.")
    return PoolTasks(normal, anomalous, **shots)
