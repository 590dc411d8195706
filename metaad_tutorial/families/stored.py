"""Tasks that were drawn before, for families whose tasks take long to make."""

from __future__ import annotations

import numpy as np

from ..episodes import Episodes, TaskFamily


class StoredTasks(TaskFamily):
    """A fixed number of tasks of every unit of a family; sampling chooses among them.

    Where the anomalies of a unit are other units (`class_tasks`, `Glyphs`), split first, then store each part.

    Args:
        family: where to draw from, once.
        n_tasks: how many tasks of each unit.
        random_state: seed or `numpy.random.Generator`.

    Raises:
        ValueError: from ``split`` and ``restrict``, if stored anomalies are points of units that would be left out.

    Example:
        >>> from metaad_tutorial import Fleet, StoredTasks
        >>> StoredTasks(Fleet(n_machines=20), n_tasks=3, random_state=0)
        StoredTasks(20 units, 5 + 2 support, 15 + 15 query points)
    """

    def __init__(self, family: TaskFamily, n_tasks: int = 20, random_state=None):
        self.tasks = family.sample(n_tasks * len(family), random_state)
        self.source, self.feature_names = family.source, family.feature_names
        self.fewest_units, self.inside = family.fewest_units, family.inside
        super().__init__(family.units.tolist(), *family.sizes)

    def _settle(self) -> None:
        super()._settle()
        if self.fewest_units > 1 and len(self) < len(np.unique(self.tasks.units)):
            raise ValueError("The anomalies of these tasks are other units: split first, then store each part.")
        self.tasks = self.tasks[np.flatnonzero(np.isin(self.tasks.units, self.units))]

    def draw(self, units: np.ndarray, rng: np.random.Generator) -> Episodes:
        chosen = np.empty(len(units), dtype=int)
        for unit in np.unique(units):
            own, where = np.flatnonzero(self.tasks.units == unit), np.flatnonzero(units == unit)
            chosen[where] = np.resize(rng.permutation(own), len(where))  # none twice before all were used
        return self.tasks[chosen]
