"""Tasks of tables that differ in their columns, in one family (chapters 10 and 11)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from ..episodes import Episodes
from .classes import PoolTasks, read_tables
from .common_columns import check_support, column_names, common_columns


def common_tasks(
    tables: Mapping, source: str | None = None, short: str = "error", missing: str = "median", **shots: int
) -> CommonTasks:
    """Turn tables with different columns into tasks that a detector can learn from together.

    Args:
        tables: name -> (X, y) with X (n, d), y (n,) of 0 (normal) and 1 (anomaly); d may differ.
        source, short, missing, shots: as for `table_tasks`; at least 3 normal shots, and 0 or 3 anomalous ones.

    Returns:
        CommonTasks: a family whose units are the tables. Describing a task takes a hundredth of a second, with labelled
        anomalies a tenth: `StoredTasks` describes a fixed number of them once.

    Raises:
        ValueError: as `table_tasks`, or if there are too few shots.

    Example:
        >>> from metaad_tutorial import common_tasks, load_table
        >>> tables = {name: load_table(name) for name in ("hypothyroid", "glass")}
        >>> family = common_tasks(tables, normal_shots=20, normal_queries=10, anomalous_queries=5)
        >>> family.sample(2, random_state=0).query_x.shape
        torch.Size([2, 15, 17])
    """
    normal, anomalous = {}, {}
    for name, X, y, _ in read_tables(tables, missing):
        normal[name], anomalous[name] = X[y == 0], X[y == 1]
    family = CommonTasks(normal, anomalous, None, source, short, **shots)
    check_support(family.normal_shots, family.anomalous_shots)
    family.feature_names = column_names(family.anomalous_shots > 0)
    return family


class CommonTasks(PoolTasks):
    """Tasks of tables that differ in their columns, described by `common_columns`; made by `common_tasks`."""

    plain = False  # whether points are left as they are

    def own_columns(self, unit) -> CommonTasks:
        """The tasks of one table in its own columns; the same seed draws the same rows as from ``restrict([unit])``."""
        part = self.restrict([unit])
        part.plain, part.feature_names = True, None
        return part

    def draw(self, units: np.ndarray, rng: np.random.Generator) -> Episodes:
        tasks = []
        for i in range(len(units)):
            task = super().draw(units[[i]], rng)
            if not self.plain:
                support, query = common_columns(task.support_x[0], task.support_y[0], task.query_x[0])
                support, query = torch.as_tensor(support)[None], torch.as_tensor(query)[None]
                task = dataclasses.replace(task, support_x=support, query_x=query)
            tasks.append(task)
        return Episodes.joined(tasks, units)
