"""Watching a detector without labels: p-values of scores, bets against exchangeability, sums of drift (chapter 13)."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from . import checks

POWERS = tuple(np.arange(1, 20) / 20)  # of the bets that `log_capital` mixes


def _finite(values, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim == 0 or not values.shape[-1] or not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite and not empty, got shape {values.shape} or NaN or infinity.")
    return values


def conformal_p(calibration, scores) -> np.ndarray:
    """The share of calibration scores that are as large, the new one counted among them: equation ``conformal-p``.

    Args:
        calibration: (..., n) finite scores of normal points, each row the calibration of a unit of its own.
        scores: (..., m) finite scores to judge.

    Returns:
        (..., m) p-values between 1/(n + 1) and 1.

    Raises:
        ValueError: if a score is not finite.
    """
    known, new = _finite(calibration, "calibration"), _finite(scores, "scores")
    if known.ndim == 1:
        larger = len(known) - np.searchsorted(np.sort(known), new, side="left")
    else:
        larger = (known[..., None, :] >= new[..., :, None]).sum(-1)
    return (1 + larger) / (known.shape[-1] + 1)


def running_p(scores, random_state=None) -> np.ndarray:
    """The p-value of each score among those up to it, ties broken by chance: equation ``running-p``.

    If the scores are exchangeable, these are independent and uniform on [0, 1].

    Args:
        scores: (..., n) finite scores in the order of time.
        random_state: seed or generator of the chance.

    Raises:
        ValueError: if a score is not finite.
    """
    s = _finite(scores, "scores")
    theta = 1 - np.random.default_rng(random_state).uniform(size=s.shape)  # never 0
    p = np.empty(s.shape)
    for t in range(s.shape[-1]):
        past, now = s[..., : t + 1], s[..., t : t + 1]
        p[..., t] = ((past > now).sum(-1) + theta[..., t] * (past == now).sum(-1)) / (t + 1)
    return p


def log_capital(p, powers=POWERS) -> np.ndarray:
    """Logarithm of the capital after each bet against uniform p-values: equation ``betting-martingale``.

    It starts from 1 and is bet on small and on large p-values alike, in equal parts for each power. While the p-values
    are independent and uniform, it ever reaches 1/a with a probability of at most a (equation ``ville``).

    Args:
        p: (..., n) p-values in (0, 1], in the order of time.
        powers: exponents in (0, 1]; the smaller, the bolder the bet.

    Raises:
        ValueError: if a p-value or a power is out of range.
    """
    p, powers = _finite(p, "p"), np.asarray(powers, dtype=float)
    if (p <= 0).any() or (p > 1).any():
        raise ValueError("p-values must be in (0, 1].")
    if not powers.size or (powers <= 0).any() or (powers > 1).any():
        raise ValueError(f"powers must be in (0, 1], got {powers}.")
    sides = np.stack([np.log(p), np.log(np.maximum(1 - p, 1e-300))])
    bets = [np.cumsum(np.log(e) + (e - 1) * sides, axis=-1) for e in powers]
    return logsumexp(np.stack(bets), axis=(0, 1)) - np.log(2 * len(powers))


def cusum(z, slack: float = 0.5) -> np.ndarray:
    """The larger of two sums, of what z exceeds `slack` and of what it falls short of ``-slack``: equation ``cusum``.

    Args:
        z: (..., n) finite values that vary around 0 while nothing changes, in the order of time.
        slack: what is taken off at each step; half of the change to be found is a good choice.

    Raises:
        ValueError: if a value is not finite, or `slack` is negative.
    """
    z = _finite(z, "z")
    checks.number(0, np.inf)(slack, "slack")
    up = down = np.zeros(z.shape[:-1])
    sums = np.empty(z.shape)
    for t in range(z.shape[-1]):
        up, down = np.maximum(up + z[..., t] - slack, 0), np.maximum(down - z[..., t] - slack, 0)
        sums[..., t] = np.maximum(up, down)
    return sums


def first_alarm(statistic, threshold: float, start: int = 0) -> np.ndarray:
    """Number of steps from `start` until a statistic (..., n) exceeds the threshold, counting from 1; n + 1 if never.

    Raises:
        ValueError: if `start` leaves no step.
    """
    later = np.asarray(statistic)[..., start:] > threshold
    if not later.shape[-1]:
        raise ValueError(f"start must be less than the number of steps, got {start}.")
    return np.where(later.any(-1), later.argmax(-1) + 1, later.shape[-1] + 1)
