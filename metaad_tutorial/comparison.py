"""What a comparison found: figures by unit and by training run, paired differences, a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from . import checks
from .metrics import Interval, interval
from .report import Table


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one contender did.

    Attributes:
        by_unit: name of a figure -> (U,) its mean over tasks and seeds, in the order of `Comparison.units`.
        by_seed: name of a figure -> (seeds,) its mean over units.
        setting: the chosen parameters.
        tried: number of settings tried.
        training: CPU-seconds of one training, averaged over seeds; ``adapting``, of all held-out tasks.
        sees: what `Contender.sees` says.
    """

    by_unit: dict[str, np.ndarray]
    by_seed: dict[str, np.ndarray]
    setting: dict
    tried: int
    training: float
    adapting: float
    sees: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The outcomes by name, paired by unit and seed.

    Attributes:
        outcomes: name -> `Outcome`.
        units: (U,) the held-out units.
        seeds: of the training runs.
        never: accuracy of the detector that never raises an alarm, the share of normal query points.
    """

    outcomes: dict[str, Outcome]
    units: list
    seeds: tuple[int, ...]
    never: float

    def interval(self, name: str, figure: str = "auroc", over: str = "units") -> Interval:
        """Mean of a figure and its 95 % interval over "units", each averaged over seeds, or over "seeds"."""
        return interval(self._of(name, figure, over), least=0)

    def minus(self, name: str, other: str, figure: str = "auroc", over: str = "units") -> Interval:
        """Mean difference of a figure and its 95 % interval, paired by unit or by seed."""
        return interval(self._of(name, figure, over) - self._of(other, figure, over), least=-1)

    def _of(self, name: str, figure: str, over: str) -> np.ndarray:
        if name not in self.outcomes:
            raise ValueError(f"There is no contender {name!r}: there are {', '.join(map(repr, self.outcomes))}.")
        checks.one_of("units", "seeds")(over, "over")
        values = self.outcomes[name].by_unit if over == "units" else self.outcomes[name].by_seed
        if figure not in values:
            raise ValueError(f"There is no figure {figure!r}: it must be one of {', '.join(values)}.")
        return values[figure]

    def winner(self, among: Sequence[str] | None = None) -> str:
        """The contender with the highest mean AUROC; who knows the truth does not compete."""
        names = [name for name in among or self.outcomes if self.outcomes[name].sees != "the truth"]
        return max(names, key=lambda name: self.interval(name).mean)

    @property
    def table(self) -> Table:
        """A line for each contender; the best of those that do not know the truth is marked."""
        rows = {}
        for name, outcome in self.outcomes.items():
            figures = [self.interval(name, figure) for figure in ("auroc", "accuracy")]
            spent = [f"{outcome.training:.1f}", f"{outcome.adapting:.1f}"]
            rows[name] = [*figures, outcome.sees, outcome.tried, *spent]
        columns = ["AUROC", "accuracy", "sees", "settings", "train s", "adapt s"]
        running = [name for name, outcome in self.outcomes.items() if outcome.sees != "the truth"]
        best = ("max", "max", None, None, None, None)
        return Table(columns, rows, best=best, running=running, corner="method", caption=self.caption)

    @property
    def caption(self) -> str:
        runs = f"{len(self.seeds)} training run{'s' * (len(self.seeds) > 1)}"
        return f"{len(self.units)} held-out units, {runs}; never raising an alarm has accuracy {self.never:.3f}."

    def __str__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def to_dict(self) -> dict:
        """Everything as plain lists and numbers, for JSON; figures to four decimals, a network by its name."""

        def plain(value):
            if isinstance(value, Outcome):
                return vars(value)
            return value.round(4).tolist() if isinstance(value, np.ndarray) else repr(value)

        return json.loads(json.dumps(vars(self), default=plain))

    @classmethod
    def from_dict(cls, values: dict) -> Comparison:
        """The reverse of `to_dict`."""
        outcomes = {
            name: Outcome(**o | {part: {f: np.array(v) for f, v in o[part].items()} for part in ("by_unit", "by_seed")})
            for name, o in values["outcomes"].items()
        }
        return cls(outcomes, values["units"], tuple(values["seeds"]), values["never"])
