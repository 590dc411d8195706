"""What a sentence that compares two methods rests on: a paired difference, its unit, the training runs."""

from __future__ import annotations

import numpy as np

from .metrics import Interval, interval


def claim(
    ours, theirs=None, *, method: str, opponent: str, sees: str, unit: str, says: str | float = "above",
    figure: str = "auroc", digits: int = 3,
) -> dict[str, object]:  # fmt: skip
    """The evidence for a sentence that compares two methods, as plain values to store; it must carry the sentence.

    Args:
        ours: an `Evaluation`, or (U,) the figure by unit; a list of them, one for each training run, is averaged.
            Where units do not average, as rows of one table do not, the `Interval` of the difference instead.
        theirs: the same of the opponent, on the same tasks.
        method, opponent: what readers call them.
        sees: what the opponent sees, measured by what the method sees.
        unit: what the interval is over, in the plural; with its number only beside an `Interval`.
        says: "above" or "below" 0, where the 95 % interval of the difference must lie; a number, within which of 0 it
            must lie; "no gain", where it must not lie above 0; "open", where it must hold 0.
        figure: of `Evaluation`.
        digits: of the stored difference.

    Raises:
        AssertionError: if the interval does not carry the sentence.
        ValueError: if the two were not judged on the same units.

    Example:
        >>> import numpy as np
        >>> evidence = claim(
        ...     np.array([0.9, 0.8, 0.9]), np.array([0.7, 0.6, 0.8]), method="A", opponent="B", sees="the same",
        ...     unit="machines",
        ... )
        >>> evidence["difference"], evidence["unit"], evidence["runs"]
        ('+0.167 [+0.023, +0.310]', '3 machines', 1)
    """
    runs, opponent_runs = (len(result) if isinstance(result, list) else 1 for result in (ours, theirs))
    if isinstance(ours, Interval):
        found = ours
    else:
        pair = _by_unit(ours, figure), _by_unit(theirs, figure)
        if pair[0].shape != pair[1].shape:
            raise ValueError(f"A paired difference needs the same units, got {pair[0].shape} and {pair[1].shape}.")
        found, unit = interval(pair[0] - pair[1]), f"{len(pair[0])} {unit}"
    _, low, high = found
    holds = {"above": low > 0, "below": high < 0, "no gain": low <= 0, "open": low <= 0 <= high}
    carried = holds[says] if isinstance(says, str) else -says < low and high < says
    shown = Interval(*(round(float(value), digits) + 0.0 for value in found))  # no minus zero
    if not carried:
        raise AssertionError(f"{method} minus {opponent}, {figure}: {shown:+.{digits}f} is not {says!r}")
    return {
        "method": method, "opponent": opponent, "sees": sees, "figure": figure, "says": says, "unit": unit,
        "difference": f"{shown:+.{digits}f}", "runs": runs, "opponent_runs": opponent_runs,
    }  # fmt: skip


def _by_unit(result, figure: str) -> np.ndarray:
    if isinstance(result, list):
        return np.mean([_by_unit(run, figure) for run in result], 0)
    return result.by_unit(figure) if hasattr(result, "by_unit") else np.asarray(result, dtype=float)
