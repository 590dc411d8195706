"""Who may not be on both sides of a split: the populations that families of tasks come from."""

from __future__ import annotations

import itertools

Population = tuple[str, tuple]  # where tasks come from: a source and the units of it


def check_disjoint(*families) -> None:
    """Refuse families that share a source and a unit of it: what is tested would have been trained on.

    Args:
        families: task families, or the populations that their `identity` gave; None is passed over.

    Raises:
        ValueError: naming the shared units.
    """
    groups = [f.identity() if hasattr(f, "identity") else f for f in families if f is not None]
    for first, second in itertools.combinations(groups, 2):
        for (source, units), (other, others) in itertools.product(first, second):
            shared = sorted(set(units) & set(others)) if source == other else []
            if shared:
                how = "Take the parts from one family.split(...); a family of other data needs another source"
                raise ValueError(f"Task families overlap: they share {len(shared)} unit(s), e.g. {shared[0]!r}. {how}.")
