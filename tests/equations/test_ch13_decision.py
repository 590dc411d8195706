"""Equations of chapter 13, From score to decision."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from equations import equation
from metaad_tutorial import metrics
from metaad_tutorial.watch import conformal_p, cusum, log_capital, running_p


@equation(
    "own-promise",
    statement=r"largest of $n$ own scores as threshold: $\Pr(\mathrm{FPR} > \varepsilon) = (1 - \varepsilon)^n$",
    how="20,000 drawn calibrations with known false alarm rates, for three n, within 0.012",
)
def test_own_promise():
    rng = np.random.default_rng(0)
    for n, rate in ((5, 0.2), (19, 0.1), (45, 0.05)):
        scores = rng.standard_exponential(size=(20_000, n))
        limits = scores.max(1)
        assert limits[0] == metrics.rank_threshold(scores[0], 1 / (n + 1))
        exceeded = np.exp(-limits) > rate  # the false alarm rate of each threshold
        assert exceeded.mean() == pytest.approx((1 - rate) ** n, abs=0.012)
    assert 0.95**45 <= 0.1 < 0.95**44


@equation(
    "unit-promise",
    statement=r"margin that the $r$-th of $m$ units needed: a new unit's rate is above $\varepsilon$ with probability "
    r"at most $r/(m + 1)$",
    how="4,000 fleets of 19 and 39 units of different spread, rates counted on their readings: at most r/(m + 1), "
    "and near it",
)
def test_unit_promise():
    rng = np.random.default_rng(0)
    for m, r in ((19, 1), (19, 4), (39, 4)):
        spread = np.exp(rng.normal(size=(4000, m + 1, 1)))  # units differ a lot
        scores = spread * rng.normal(size=(4000, m + 1, 100))
        need = np.sort(scores, -1)[..., -5]  # the rank rule for 0.05 on 100 scores
        assert need[0, 0] == metrics.rank_threshold(scores[0, 0], 0.05)
        margin = np.sort(need[:, :m], 1)[:, -r]
        assert margin[0] == metrics.rank_threshold(need[0, :m], r / (m + 1))
        failed = ((scores[:, m] > margin[:, None]).mean(1) > 0.05).mean()
        assert failed <= r / (m + 1) + 0.01 and failed > 0.7 * r / (m + 1)


def step_up(p, q):
    """R of equation bh-rule by its definition, one k after the other."""
    return max((k for k in range(1, len(p) + 1) if sorted(p)[k - 1] <= k * q / len(p)), default=0)


@equation(
    "bh-rule",
    statement=r"$R = \max\{k: p_{(k)} \le kq/m\}$",
    how="number of alarms against scipy's adjusted p-values, 300 random sets",
)
def test_bh_rule():
    rng = np.random.default_rng(0)
    for _ in range(300):
        p = rng.uniform(size=30) ** rng.uniform(1, 6)
        assert step_up(p, 0.1) == (stats.false_discovery_control(p) <= 0.1).sum()


@equation(
    "bh-fdr",
    statement=r"$\mathrm{FDR} = m_0 q / m$ for independent uniform p-values of healthy units",
    how="20,000 draws for three shares of faulty units, within 0.008; at most that with one calibration set",
)
def test_bh_fdr():
    rng = np.random.default_rng(0)
    m, q = 20, 0.2
    for healthy in (20, 15, 5):
        p = rng.uniform(size=(20_000, m))
        p[:, healthy:] **= 8
        order = np.sort(p, 1) <= np.arange(1, m + 1) * q / m
        R = np.where(order.any(1), m - order[:, ::-1].argmax(1), 0)
        assert R[0] == step_up(p[0], q)
        false = (p[:, :healthy] <= (R * q / m)[:, None]).sum(1)
        assert np.mean(false / np.maximum(R, 1)) == pytest.approx(healthy / m * q, abs=0.008)
    shared = []
    for _ in range(3000):
        p = conformal_p(rng.normal(size=199), rng.normal(size=m) + 3 * (np.arange(m) >= 15))
        R = step_up(p, q)
        shared.append((p[:15] <= R * q / m).sum() / max(R, 1))
    assert np.mean(shared) < 15 / m * q + 0.01


@equation(
    "fewest-alarms",
    statement=r"with $n$ calibration points nobody is flagged unless $R \ge m / (q (n + 1))$",
    how="the smallest possible p-values of all numbers of units, for four n: that many are needed, and are enough",
)
def test_fewest_alarms():
    m, q = 60, 0.1
    for n in (19, 49, 199, 999):
        least = min(
            (k for k in range(1, m + 1) if step_up(np.r_[np.full(k, 1 / (n + 1)), np.ones(m - k)], q)), default=None
        )
        bound = m / (q * (n + 1))
        assert least == (int(np.ceil(bound - 1e-9)) if bound <= m else None)
    assert conformal_p(np.zeros(19), [99.0]) == pytest.approx(1 / 20)


@equation(
    "cusum",
    statement=r"$S_t^\pm = \max(0, S_{t-1}^\pm \pm z_t - k)$ and the larger of the two",
    how="against the largest sum of $\\pm z - k$ over all windows that end at t, to 1e-10",
)
def test_cusum():
    z, slack = np.random.default_rng(0).normal(size=60), 0.4
    for t in range(60):
        sums = [np.sum(sign * z[s : t + 1] - slack) for sign in (1, -1) for s in range(t + 1)]
        assert cusum(z, slack)[t] == pytest.approx(max(0, *sums), abs=1e-10)


@equation(
    "running-p",
    statement=r"$p_t$ among the scores up to $t$, ties broken by chance, are independent and uniform",
    how="all orders of five scores, two of them tied, with every $\\theta$ on a grid: each cell of a 5 x 4 grid of the "
    "last two p-values equally often, to 0.01; and the formula itself",
)
def test_running_p():
    rng = np.random.default_rng(0)
    scores = np.array([1.0, 2.0, 2.0, 4.0, 7.0])
    orders = np.array([rng.permutation(scores) for _ in range(60_000)])
    p = running_p(orders, 0)
    cells, *_ = np.histogram2d(p[:, 3], p[:, 4], bins=(4, 5), range=((0, 1), (0, 1)))
    assert cells / len(p) == pytest.approx(np.full((4, 5), 1 / 20), abs=0.004)
    theta = 1 - np.random.default_rng(3).uniform(size=5)
    s = orders[0]
    expected = [((s[: t + 1] > s[t]).sum() + theta[t] * (s[: t + 1] == s[t]).sum()) / (t + 1) for t in range(5)]
    assert running_p(s, 3) == pytest.approx(expected)


@equation(
    "betting-martingale",
    statement=r"$M_t$, the mean of $\prod \eta u_i^{\eta - 1}$ over powers and sides, is fair: each factor has mean 1",
    how="numerical integral of each bet, to 1e-6; the package against the formula; mean capital of 100,000 draws "
    "after three mild bets within 0.02 of 1",
)
def test_betting_martingale():
    for power in (0.3, 0.6, 1.0):
        assert integrate.quad(lambda p, e=power: e * p ** (e - 1), 0, 1)[0] == pytest.approx(1, abs=1e-6)
    p = np.random.default_rng(0).uniform(size=(100_000, 3))
    powers = (0.7, 0.9)
    M = np.exp(log_capital(p, powers))
    expected = np.mean([np.prod(e * u ** (e - 1), -1) for e in powers for u in (p, 1 - p)], 0)
    np.testing.assert_allclose(M[:, -1], expected, rtol=1e-9)
    assert M.mean(0) == pytest.approx(np.ones(3), abs=0.02)


@equation(
    "ville",
    statement=r"$\Pr(\sup_t M_t \ge 1/\varepsilon) \le \varepsilon$ while scores are exchangeable",
    how="2,000 healthy units of 200 readings, of a skewed law, at three levels; with p-values from the first nineteen "
    "alone it fails",
)
def test_ville():
    scores = np.random.default_rng(0).standard_exponential(size=(2000, 200))
    top = log_capital(running_p(scores, 0)).max(1)
    for rate in (0.3, 0.1, 0.05):
        assert (top >= np.log(1 / rate)).mean() <= rate + 0.01
    assert (top >= np.log(1 / 0.3)).mean() > 0.05  # it is no empty promise
    p = conformal_p(scores[:400, :19], scores[:400, 19:])
    p -= np.random.default_rng(1).uniform(size=p.shape) / 20
    assert (log_capital(np.clip(p, 1e-9, 1)).max(1) >= np.log(20)).mean() > 0.2
