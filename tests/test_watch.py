"""P-values, bets and sums: what they promise, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from metaad_tutorial.metrics import rank_threshold
from metaad_tutorial.watch import conformal_p, cusum, first_alarm, log_capital, running_p

RNG = np.random.default_rng(0)


def test_p_values_count_calibration_scores_and_the_new_one():
    calibration = np.array([1.0, 2, 2, 5])
    assert conformal_p(calibration, [0.0, 2.0, 3.0, 6.0]) == pytest.approx([1, 4 / 5, 2 / 5, 1 / 5])
    each = conformal_p(np.stack([calibration, calibration + 10]), np.array([[3.0], [12.0]]))
    assert each == pytest.approx(np.array([[2 / 5], [4 / 5]]))


def test_p_values_are_the_rank_rule():
    scores, new = RNG.normal(size=99), RNG.normal(size=2000)
    for share in (0.01, 0.05, 0.2):
        assert np.array_equal(conformal_p(scores, new) <= share, new > rank_threshold(scores, share))


def test_running_p_values_of_exchangeable_scores_are_uniform_even_with_ties():
    scores = RNG.integers(4, size=(500, 20)).astype(float)
    p = running_p(scores, 1)
    assert p.min() > 0 and p.max() <= 1
    assert kstest(p.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(p[:, -2], p[:, -1])[0, 1]) < 0.1
    assert np.array_equal(running_p(scores, 1), p) and not np.array_equal(running_p(scores, 2), p)


def test_running_p_values_rank_a_score_among_those_up_to_it():
    p = running_p([3.0, 1.0, 2.0, 9.0], 0)
    assert 0 < p[0] <= 1 and 1 / 2 < p[1] <= 1 and 1 / 3 < p[2] <= 2 / 3 and 0 < p[3] <= 1 / 4


def test_capital_is_the_mean_of_products():
    p = np.array([0.1, 0.7, 0.02])
    expected = [np.mean([np.prod(e * u ** (e - 1)) for e in (0.3, 0.8) for u in (p[:k], 1 - p[:k])]) for k in (1, 2, 3)]
    assert np.exp(log_capital(p, (0.3, 0.8))) == pytest.approx(expected, rel=1e-10)
    assert np.isfinite(log_capital([1.0, 1.0])).all()


def test_capital_grows_with_a_drift_up_or_down_and_not_without():
    scores = RNG.normal(size=(50, 200))
    after = np.arange(200) >= 60
    calm, up, down = (log_capital(running_p(scores + shift * after, 0))[:, -1] for shift in (0, 1.5, -1.5))
    assert np.median(calm) < 0 and min(np.median(up), np.median(down)) > np.log(100)


def test_cusum_forgets_and_adds_up():
    assert cusum([1.0, 1.0, -3.0, 0.0], 0.5) == pytest.approx([0.5, 1.0, 2.5, 2.0])
    assert cusum(-np.ones((2, 3)), 0.25)[:, -1] == pytest.approx([2.25, 2.25])
    assert cusum(np.full(100, 0.2), 0.25).max() == 0


def test_first_alarm_counts_from_one():
    statistic = np.array([[5.0, 0, 0, 2, 3], [0, 0, 0, 0, 0]])
    assert list(first_alarm(statistic, 1.5)) == [1, 6]
    assert list(first_alarm(statistic, 1.5, start=1)) == [3, 5]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: conformal_p([1.0, np.nan], [0.0]), "calibration must be finite"),
        (lambda: conformal_p([], [0.0]), "calibration must be finite and not empty"),
        (lambda: running_p(3.0), "scores must be finite"),
        (lambda: log_capital([0.0, 0.5]), "p-values must be in"),
        (lambda: log_capital([0.5], (0.0,)), "powers must be in"),
        (lambda: log_capital([0.5], ()), "powers must be in"),
        (lambda: cusum([0.0], -1), "slack must be"),
        (lambda: first_alarm(np.zeros(3), 1, start=3), "start must be less"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
