"""Tasks, episodes and splits (chapter 2).

A *family* is a distribution of tasks. A *unit* is what a split must not share: a machine, a class, a table.
An *episode* is one task made concrete: a support set to adapt on and a query set to be judged on.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Episodes:
    """A meta-batch of T tasks; every tensor has a leading task axis.

    Attributes:
        support_x: (T, S, ...) points to adapt on.
        support_y: (T, S) their labels, 0 normal and 1 anomalous.
        query_x: (T, Q, ...) points to be judged on.
        query_y: (T, Q) their labels.
        units: (T,) the unit (machine, class, table) each task was drawn from.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    units: np.ndarray

    def __len__(self) -> int:
        return len(self.support_x)

    def __getitem__(self, index) -> Episodes:
        """Select tasks; an integer keeps the task axis, so that the result is again a meta-batch."""
        index = [index] if isinstance(index, int | np.integer) else index
        return Episodes(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

    def __iter__(self) -> Iterator[Episodes]:
        return (self[i] for i in range(len(self)))

    def to(self, *args, **kwargs) -> Episodes:
        """Move or cast every tensor, with the arguments of `torch.Tensor.to`."""
        names = ("support_x", "support_y", "query_x", "query_y")
        moved = {name: getattr(self, name).to(*args, **kwargs) for name in names}
        return dataclasses.replace(self, **moved)

    def flat(self) -> Episodes:
        """The same episodes with points as rows: (T, S, h, w) -> (T, S, h*w)."""
        return dataclasses.replace(self, support_x=self.support_x.flatten(2), query_x=self.query_x.flatten(2))


class TaskFamily:
    """Base class of all task distributions: shots, splits by unit, reproducible sampling.

    Subclasses set `source`, which identifies the population that the units come from, and implement
    `_draw`. Two families overlap when they share the source and a unit.

    Args:
        units: the units this family draws tasks from.
        normal_shots, anomalous_shots: normal and anomalous points in each support set.
        normal_queries, anomalous_queries: the same for each query set.

    Raises:
        ValueError: if a count is out of range or there is no unit.
    """

    source: object = None
    fewest_units = 1

    def __init__(
        self,
        units: Sequence,
        normal_shots: int = 5,
        anomalous_shots: int = 0,
        normal_queries: int = 15,
        anomalous_queries: int = 15,
    ):
        self.units = np.asarray(units)
        if self.units.ndim != 1:
            raise ValueError("Units must be plain numbers or strings, all of one kind.")
        self.normal_shots, self.anomalous_shots = normal_shots, anomalous_shots
        self.normal_queries, self.anomalous_queries = normal_queries, anomalous_queries
        smallest = {
            "normal_shots": 1,
            "anomalous_shots": 0,
            "normal_queries": 1,
            "anomalous_queries": 1,
        }
        for name, least in smallest.items():
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
        self._check_units()

    def _check_units(self) -> None:
        if len(self.units) < self.fewest_units:
            raise ValueError(
                f"{type(self).__name__} needs at least {self.fewest_units} unit(s), got {len(self.units)}: "
                "give it more, or split into fewer parts."
            )
        if len(np.unique(self.units)) < len(self.units):
            raise ValueError("units must be distinct; a repeated one could land on both sides of a split.")

    def _draw(self, units: np.ndarray, rng: np.random.Generator) -> Episodes:
        """One episode for each entry of `units`."""
        raise NotImplementedError

    def sample(self, n_tasks: int, random_state=None) -> Episodes:
        """Draw `n_tasks` episodes.

        Units are used equally often, and none twice before all were used once.

        Args:
            n_tasks: number of episodes T, at least 1.
            random_state: seed or `numpy.random.Generator`.

        Returns:
            Episodes: float64 tensors with T tasks, points in random order within each set.
        """
        if n_tasks < 1:
            raise ValueError(f"n_tasks must be at least 1, got {n_tasks}.")
        rng = np.random.default_rng(random_state)
        rounds = -(-n_tasks // len(self.units))
        chosen = np.concatenate([rng.permutation(self.units) for _ in range(rounds)])[:n_tasks]
        return self._draw(chosen, rng)

    def restrict(self, units: Sequence) -> TaskFamily:
        """The same family on some of its units."""
        unknown = np.setdiff1d(units, self.units)
        if len(unknown):
            raise ValueError(f"These units are not part of the family: {unknown.tolist()[:5]}.")
        part = copy.copy(self)
        part.units = np.asarray(units)
        part._check_units()
        return part

    def split(self, fractions: Sequence[float] = (0.6, 0.2, 0.2), random_state=None) -> tuple[TaskFamily, ...]:
        """Split the units at random into disjoint families, by default train, valid, test.

        Args:
            fractions: share of the units for each part; they must add up to 1.
            random_state: seed or `numpy.random.Generator`.

        Raises:
            ValueError: if the fractions do not add up to 1 or a part gets too few units.
        """
        fractions = np.asarray(fractions, dtype=float)
        if (fractions <= 0).any() or not np.isclose(fractions.sum(), 1):
            raise ValueError(f"fractions must be positive and add up to 1, got {fractions.tolist()}.")
        order = np.random.default_rng(random_state).permutation(self.units)
        cuts = np.round(np.cumsum(fractions)[:-1] * len(order)).astype(int)
        return tuple(self.restrict(part) for part in np.split(order, cuts))


def check_disjoint(*families: TaskFamily | None) -> None:
    """Refuse families that share a unit: what is tested would have been trained on.

    Raises:
        ValueError: naming the shared units.
    """
    families = [family for family in families if family is not None]
    for i, one in enumerate(families):
        for other in families[i + 1 :]:
            shared = np.intersect1d(one.units, other.units) if one.source == other.source else []
            if len(shared):
                raise ValueError(
                    f"Task families overlap: they share {len(shared)} unit(s), e.g. {shared[0].item()!r}. "
                    "Take them from one call of family.split(...), which keeps the parts disjoint."
                )


def shuffled(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Put the points of each task in random order: position must not betray the label.

    Args:
        x: (T, N, ...) points.
        y: (T, N) labels.
        rng: source of randomness.
    """
    tasks, order = np.arange(len(x))[:, None], rng.permuted(np.indices(y.shape)[1], axis=1)
    return torch.as_tensor(x[tasks, order]), torch.as_tensor(y[tasks, order])
