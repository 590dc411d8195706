"""What parameters and learnt state have in common in every detector: checks, copies, refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import ClassVar

from sklearn.base import BaseEstimator

from . import checks

# An estimator's parameters are its fields; own ones by position, those of its bases by name.
detector = functools.partial(dataclasses.dataclass, eq=False, repr=False)


BY_TYPE = {"int": checks.integer(1), "float": checks.positive, "bool": checks.one_of(True, False)}
BY_TYPE |= {f"{kind} | None": checks.optional(check) for kind, check in BY_TYPE.items()}


class Estimator(BaseEstimator):
    """An estimator of scikit-learn whose parameters are the fields of a dataclass, and are checked when they are used.

    An ``int`` is at least 1 and a ``float`` above 0, unless `valid` says otherwise.
    What it has learnt, from other tasks or from one, are its attributes with a trailing underscore.
    """

    valid: ClassVar = {}  # checks that the type of a parameter does not say; a subclass adds its own
    bound: tuple[str, ...] = ()  # parameters that must not change after learning

    def __sklearn_clone__(self):
        """A copy with the same parameters that has learnt from other tasks what this one has, and is not fitted."""
        kept = {name for name in vars(self) if name.startswith("calibrated_")}
        if self._trained:  # the network with it: what is frozen in it is not learnt
            kept = {*self._learnt, "network", "_bound", "_wrapped"} - {"threshold_", "support_mean_", "params_"}
        copied = super().__sklearn_clone__()
        vars(copied).update({name: value for name, value in vars(self).items() if name in kept})
        return copied

    def _check_params(self) -> None:
        known = {field.name: BY_TYPE[field.type] for field in dataclasses.fields(self) if field.type in BY_TYPE}
        for cls in reversed(type(self).__mro__):
            known |= vars(cls).get("valid", {})
        for name, check in known.items():
            check(getattr(self, name), name)

    def _bind(self) -> None:
        self._bound = {name: getattr(self, name) for name in self.bound}

    def _check_bound(self) -> None:
        self._check_unchanged(vars(self).get("_bound", {}), "meta_fit" if self._trained else "fit")

    def _check_unchanged(self, before: dict, since: str) -> None:
        if changed := [name for name, value in before.items() if getattr(self, name) != value]:
            raise ValueError(f"{', '.join(changed)} changed since {since}: call {since} again.")

    @contextlib.contextmanager
    def _all_or_nothing(self):
        """What fails inside, or is stopped, changes nothing."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    # What was learnt, from other tasks or from this one: attributes with a trailing underscore.
    _learnt = property(lambda self: {name: value for name, value in vars(self).items() if name.endswith("_")})
    _trained = property(lambda self: "meta_" in vars(self), doc="Whether `meta_fit` was called.")
