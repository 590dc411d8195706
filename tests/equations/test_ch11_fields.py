"""Equations of chapter 11, Fields of application."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from equations import equation
from metaad_tutorial import common_columns, metrics
from metaad_tutorial.families.common_columns import column_names


def _score(own, points, leave_out):
    """Mean distance to the five nearest of `own`, by its logarithm, without the point itself if it is one of them."""
    distance = cdist(points, own)
    if leave_out:
        np.fill_diagonal(distance, np.inf)
    return np.log(np.sort(distance, 1)[:, :5].mean(1))


@equation(
    "score-size",
    statement=r"size of a score, $a = 2\,(s - \operatorname{median}_i s_i) / \big(q_{84}(s_i) - q_{16}(s_i)\big)$: "
    r"blind to the unit and to the zero of $s$, and about standard normal where the scores are",
    how="`common_columns` against the formula, to 1e-3; another unit and zero, to 1e-9; "
    "moments of 200,000 normal scores",
)
def test_score_size():
    rng = np.random.default_rng(0)
    own, asked = rng.normal(size=(40, 3)), 2 * rng.normal(size=(15, 3))
    place, scale = own.mean(0), own.std(0)
    left = _score(*((own - place) / scale,) * 2, True)
    new = _score((own - place) / scale, (asked - place) / scale, False)

    def size(s, known):
        low, middle, high = np.percentile(known, [16, 50, 84])
        return 2 * (s - middle) / (high - low)

    column = common_columns(own, np.zeros(40), asked)[1][:, column_names(False).index("nearest 5, size")]
    np.testing.assert_allclose(column, size(new, left), rtol=3e-3, atol=1e-3)
    np.testing.assert_allclose(size(7 * new - 2, 7 * left - 2), size(new, left), atol=1e-9)
    many = rng.normal(3, 5, size=200_000)
    found = size(many, many)
    assert found.mean() == pytest.approx(0, abs=0.02) and found.std() == pytest.approx(1, abs=0.02)


@equation(
    "rank-law",
    statement=r"$\Pr\big(p(x) \le \frac{k}{n + 1}\big) = \frac{k}{n + 1}$ for a new normal point, in every table "
    "and of every detector that has not seen the points it is calibrated on",
    how="40,000 calibrations each of three distributions and scores, every k, within 0.011; a score that has seen "
    "its calibration points breaks it",
)
def test_rank_law():
    rng, n, times = np.random.default_rng(0), 9, 40_000
    draws = {
        "normal": rng.normal(size=(times, n + 1)),
        "long tail": rng.pareto(1.5, size=(times, n + 1)),
        "two clouds": rng.normal(size=(times, n + 1)) + 8 * rng.integers(2, size=(times, n + 1)),
    }
    k = np.arange(1, n + 2)
    for values in draws.values():
        for score in (values, np.sin(3 * values), -np.abs(values - 1)):
            p = (1 + (score[:, :n] >= score[:, n:]).sum(1)) / (n + 1)
            found = np.mean(p[:, None] <= k / (n + 1) + 1e-9, 0)
            np.testing.assert_allclose(found, k / (n + 1), atol=0.011)
    x = rng.normal(size=(4000, n + 1, 6))  # as many points as directions, nearly: the fit follows its own points
    own, new = x[:, :n], x[:, n:]
    covariance = np.einsum("tnd,tne->tde", own, own) / n
    seen, unseen = (np.einsum("tnd,tnd->tn", np.linalg.solve(covariance, part.mT).mT, part) for part in (own, new))
    assert np.mean((1 + (seen >= unseen).sum(1)) / (n + 1) <= 1 / (n + 1) + 1e-9) > 0.3


@equation(
    "mean-score-auroc",
    statement=r"mean of $m$ columns with shifts $\delta_j$ and covariance $C$ in both classes: "
    r"AUROC $= \Phi\big(\bar\delta / \sqrt{2\bar C}\big)$, with the means $\bar\delta$, $\bar C$ of all entries; "
    r"equally good ones with correlation $\varrho$: $\bar C = \varrho + (1 - \varrho)/m$",
    how="200,000 drawn points of each class, a general covariance and an equal one, within 0.003",
)
def test_mean_score_auroc():
    rng = np.random.default_rng(0)
    mixing, delta = rng.normal(size=(4, 4)), np.array([0.2, 1.5, 0.7, 2.0])
    even = 0.6 * np.ones((5, 5)) + 0.4 * np.eye(5)
    for C, shift in ((mixing @ mixing.T, delta), (even, np.full(5, 1.1))):
        root, y = np.linalg.cholesky(C), np.repeat([0, 1], 200_000)
        mean = (rng.normal(size=(400_000, len(C))) @ root.T + y[:, None] * shift).mean(1)
        expected = stats.norm.cdf(shift.mean() / np.sqrt(2 * C.mean()))
        assert metrics.auroc(y, mean) == pytest.approx(expected, abs=0.003)
    assert even.mean() == pytest.approx(0.6 + 0.4 / 5)


@equation(
    "drift-alarms",
    statement=r"centred by $n$ readings in a row, a score whose middle wanders by steps of $\varsigma$ raises false "
    r"alarms with probability $\Phi\big(\Phi^{-1}(\varepsilon)\sqrt{v_0 / v_h}\big)$ after $h$ readings, "
    r"$v_h = 1 + \frac1n + \varsigma^2\big(h + \frac{(n - 1)(2n - 1)}{6n}\big)$",
    how="variance and alarms of 60,000 drawn walks for three sizes of the support set, three lags; "
    "within 2 % and 0.006",
)
def test_drift_alarms():
    rng, step = np.random.default_rng(0), 0.15
    for n, lags in ((3, (1, 10, 60)), (12, (1, 30, 80)), (25, (5, 40, 70))):
        length = n + max(lags)
        score = step * rng.normal(size=(60_000, length)).cumsum(1) + rng.normal(size=(60_000, length))
        centred = score - score[:, :n].mean(1, keepdims=True)

        def v(h, n=n):
            return 1 + 1 / n + step**2 * (h + (n - 1) * (2 * n - 1) / (6 * n))

        threshold = stats.norm.isf(0.05) * np.sqrt(v(lags[0]))
        for h in lags:
            found = centred[:, n + h - 1]
            assert found.var() == pytest.approx(v(h), rel=0.02)
            expected = stats.norm.cdf(stats.norm.ppf(0.05) * np.sqrt(v(lags[0]) / v(h)))
            assert np.mean(found > threshold) == pytest.approx(expected, abs=0.006)
