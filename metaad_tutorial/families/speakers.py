"""Speakers of English vowels as tasks, and tasks in which related rows stay on one side (chapters 2, 4 and 10)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ..tables import load_classes
from .classes import PoolTasks

SPEAKERS = "speakers of the table vowel"


class GroupedTasks(PoolTasks):
    """Tasks whose support and query points never come from one group of related rows.

    The groups of a unit are dealt anew for every task: to the support set the share of them that its points are of all,
    rounded, but at least one, and to the query set the others.

    Args:
        normal, anomalous: unit -> (n, d) array of its points.
        groups: unit -> group of each of its normal and of each of its anomalous points, two arrays.
        source, shots: as for `PoolTasks`.

    Raises:
        ValueError: if a unit may run out of points, as the groups are dealt.
    """

    def __init__(self, normal: Mapping, anomalous: Mapping, groups: Mapping, source: str | None = None, **shots: int):
        self.groups = groups
        super().__init__(normal, anomalous, None, source, **shots)
        for unit, kind in itertools.product(self.units.tolist(), (0, 1)):
            (first, rest), own = self.sizes[kind::2], groups[unit][kind]
            sizes = np.sort(np.unique(own, return_counts=True)[1])
            cut = self._dealt(len(sizes), kind)
            if sizes[:cut].sum() < first or sizes[: len(sizes) - cut].sum() < rest:
                raise ValueError(
                    f"Unit {unit!r} has {len(sizes)} groups of {sizes.tolist()} rows of a kind: too few for "
                    f"{first} support and {rest} query points from different groups. Lower the shots or queries."
                )

    def _dealt(self, n: int, kind: int) -> int:
        """How many of n groups of normal (kind 0) or anomalous (kind 1) points the support set gets."""
        first, rest = self.sizes[kind::2]
        share = round(n * first / max(first + rest, 1))
        return min(max(share, int(first > 0)), n - int(rest > 0))

    def _pick(self, unit, kind: int, rng: np.random.Generator) -> np.ndarray:
        (first, rest), groups = self.sizes[kind::2], self.groups[unit][kind]
        names = rng.permutation(np.unique(groups))
        support = np.isin(groups, names[: self._dealt(len(names), kind)])
        rows = rng.permutation(np.flatnonzero(support))[:first], rng.permutation(np.flatnonzero(~support))[:rest]
        return self._pools(unit, kind)[0][np.concatenate(rows)]


def speaker_tasks(
    anomalous: Sequence[int] = (8, 9, 10), normal: Sequence[int] | None = None, **shots: int
) -> GroupedTasks:
    """Each of 15 speakers is a task: some of his or her vowels are normal, others anomalous.

    The table "vowel" cuts each vowel of a speaker into six windows, which are alike. Here windows of one sound never
    lie in the support and in the query set: what is normal must be told from *other* vowels.

    Args:
        anomalous: which of the 11 vowels (the codes of ``load_classes("vowel")``) are anomalies.
        normal: which are normal; None takes all others. Leave some out to use them as new kinds of anomalies.
        shots: the four counts of `TaskFamily`; the default is 10 + 0 support and 15 + 6 query points.

    Returns:
        GroupedTasks: units are the speakers 0 to 14; all such families have the same source, so speakers of one are not
        new to a detector that was trained on another.

    Raises:
        ValueError: if a vowel is unknown, or both normal and anomalous, or there are too few.

    Example:
        >>> from metaad_tutorial import speaker_tasks
        >>> speaker_tasks(anomalous=(1, 4, 7))
        GroupedTasks(15 units, 10 + 0 support, 15 + 6 query points)
    """
    vowel = load_classes("vowel")
    strange = sorted(set(anomalous))
    usual = sorted(set(range(len(vowel.names))) - set(strange) if normal is None else set(normal))
    unknown = set(strange + usual) - set(range(len(vowel.names)))
    if unknown or set(strange) & set(usual) or not strange or len(usual) < 2:
        raise ValueError(
            f"anomalous and normal must be different vowels of 0 to {len(vowel.names) - 1}, at least 1 and 2 of them, "
            f"got {list(anomalous)} and {usual}."
        )
    kinds = [np.isin(vowel.label, kind) for kind in (usual, strange)]
    rows = {int(who): [kind & (vowel.group == who) for kind in kinds] for who in np.unique(vowel.group)}
    points = [{who: vowel.X[own[i]] for who, own in rows.items()} for i in (0, 1)]
    groups = {who: [vowel.label[part] for part in own] for who, own in rows.items()}
    default = {"normal_shots": 10, "anomalous_shots": 0, "normal_queries": 15, "anomalous_queries": 6}
    return GroupedTasks(*points, groups, SPEAKERS, **default | shots)
