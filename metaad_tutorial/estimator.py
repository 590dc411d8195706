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
        # With the network: what is frozen in it is not learnt.
        kept = {*self._learnt, "network", "_bound", "_wrapped"} - {"threshold_", "support_mean_", "params_"}
        kept = {name for name in kept if self._trained or name.startswith("calibrated_")}
        copied = super().__sklearn_clone__()
        vars(copied).update({name: value for name, value in vars(self).items() if name in kept})
        return copied

    def _check_params(self) -> None:
        kinds = {field.name: getattr(field.type, "__name__", str(field.type)) for field in dataclasses.fields(self)}
        known = {name: BY_TYPE[kind] for name, kind in kinds.items() if kind in BY_TYPE}
        for cls in reversed(type(self).__mro__):
            known |= vars(cls).get("valid", {})
        for name, check in known.items():
            check(getattr(self, name), name)

    def _bind(self) -> None:
        self._bound = {name: getattr(self, name) for name in self.bound}

    def _check_unchanged(self) -> None:
        """Refuse to go on if a parameter is not what it was when something was learnt with it."""
        for since, noted in (("meta_fit" if self._trained else "fit", "_bound"), ("calibrate", "calibrated_with_")):
            if changed := [name for name, value in vars(self).get(noted, {}).items() if getattr(self, name) != value]:
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
