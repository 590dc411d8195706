"""The fleet: its model, its ceiling and its Bayes scores by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from metaad_tutorial import Fleet
from metaad_tutorial.metrics import accuracy, auroc, interval


@pytest.mark.parametrize("ceiling", [0.6, 0.9, 0.97])
@pytest.mark.parametrize("directions", [1, 3, 16])
def test_every_machine_has_the_ceiling(ceiling, directions):
    family = Fleet(ceiling=ceiling, directions=directions, n_machines=50)
    assert family.bayes_auroc == pytest.approx(ceiling, abs=1e-12)
    precision = np.linalg.inv(family.covariance)
    separation = np.einsum("md,de,me->m", family.shifts, precision, family.shifts)
    assert np.allclose(norm.cdf(np.sqrt(separation / 2)), ceiling, rtol=0, atol=1e-12)


@pytest.mark.parametrize("directions", [1, 2, 5])
def test_directions_span_what_they_promise(directions):
    shifts = Fleet(directions=directions, n_machines=60).shifts
    assert np.linalg.matrix_rank(shifts) == directions
    unit = shifts / np.linalg.norm(shifts, axis=1, keepdims=True)
    alike = np.isclose(unit @ unit[0], 1).all()  # one direction: one sign, too
    assert alike == (directions == 1)


@pytest.mark.parametrize("directions", [1, 3])
def test_who_knows_the_machine_reaches_the_ceiling(directions):
    family = Fleet(directions=directions, n_machines=600, ceiling=0.9)
    drawn = family.sample(600, random_state=1)
    weights = np.linalg.solve(family.covariance, family.shifts[drawn.units].T).T
    scores = np.einsum("tqd,td->tq", drawn.query_x.numpy(), weights)
    values = auroc(drawn.query_y.numpy(), scores)
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - 0.9) < 3 * error
    assert error < 0.004


def test_points_follow_the_model():
    family = Fleet(n_machines=3, n_features=4, normal_shots=20_000, anomalous_shots=20_000, ceiling=0.9)
    drawn = family.sample(3, random_state=0)
    for unit, x, y in zip(drawn.units, drawn.support_x.numpy(), drawn.support_y.numpy(), strict=True):
        for label, center in ((0, family.means[unit]), (1, family.means[unit] + family.shifts[unit])):
            own = x[y == label]
            error = np.sqrt(np.diag(family.covariance) / len(own))
            assert (np.abs(own.mean(0) - center) < 5 * error).all()
            assert np.allclose(np.cov(own.T), family.covariance, rtol=0, atol=0.06)
    assert np.allclose(family.mixing @ family.mixing.T, family.covariance)


def test_means_have_their_spread():
    assert Fleet(n_machines=2000, spread=2.0).means.std() == pytest.approx(2.0, rel=0.02)


def joint_log_odds(family, episodes, shifts):
    """log p(support, x | anomaly) - log p(support, x | normal), from the joint normal law of all points at once.

    The machine's mean gives every pair of points the covariance spread^2 I; no posterior is computed.
    """
    support, labels = episodes.support_x.numpy(), episodes.support_y.numpy()
    tasks, n, d = support.shape
    cov = np.kron(np.eye(n + 1), family.covariance) + np.kron(np.ones((n + 1, n + 1)), family.spread**2 * np.eye(d))
    law = multivariate_normal(np.zeros((n + 1) * d), cov)
    odds = np.empty(episodes.query_y.shape)
    for t in range(tasks):
        for q, x in enumerate(episodes.query_x[t].numpy()):
            points = np.concatenate([support[t], x[None]])
            evidence = []
            for label in (1, 0):
                y = np.append(labels[t], label)
                gaps = points[None] - y[None, :, None] * shifts[:, None]
                evidence.append(logsumexp(law.logpdf(gaps.reshape(len(shifts), -1))))
            odds[t, q] = evidence[0] - evidence[1]
    return odds


@pytest.mark.parametrize("n_features", [1, 2, 3])
def test_bayes_scores_are_the_log_odds_of_the_joint_law(n_features):
    family = Fleet(3, 2, 6, 6, n_machines=8, n_features=n_features, spread=1.7)
    drawn = family.sample(8, random_state=0)
    want = joint_log_odds(family, drawn, family.shifts[:1])
    assert np.allclose(family.bayes_scores(drawn), want, rtol=0, atol=1e-9)


def test_bayes_scores_of_a_restricted_fleet_are_the_same():
    family = Fleet(3, 2, 6, 6, n_machines=20, n_features=3)
    drawn = family.split(random_state=0)[2].sample(4, random_state=0)
    test = family.split(random_state=0)[2]
    assert np.allclose(test.bayes_scores(drawn), family.bayes_scores(drawn), rtol=0, atol=1e-12)


def test_bayes_scores_average_over_directions():
    """The machines' own shifts are a second sample of the directions."""
    family = Fleet(4, 2, 6, 6, n_machines=4000, n_features=2, directions=2, spread=0.8)
    drawn = family.sample(6, random_state=0)
    want = joint_log_odds(family, drawn, family.shifts)
    got = family.bayes_scores(drawn, n_directions=4000)
    assert np.abs(got - want).max() < 0.15
    assert np.abs(got).mean() > 1  # on this scale the tolerance is tight


@pytest.mark.parametrize("directions", [1, 2])
def test_nobody_with_the_same_support_set_decides_better(directions):
    """Threshold 0 of the log odds is best at even prior; shifting the odds or ignoring the support is worse."""
    family = Fleet(directions=directions, n_machines=250)
    drawn = family.sample(250, random_state=2)
    scores, y = family.bayes_scores(drawn), drawn.query_y.numpy()
    best = interval(accuracy(y, scores > 0))
    assert best.low > (0.85 if directions == 1 else 0.7)
    for threshold in (-1.5, 1.5):
        assert accuracy(y, scores > threshold).mean() < best.mean
    assert auroc(y, scores).mean() < family.bayes_auroc + 0.005


def test_log_odds_are_calibrated():
    family = Fleet(n_machines=1500)
    drawn = family.sample(1500, random_state=3)
    odds, y = family.bayes_scores(drawn).ravel(), drawn.query_y.numpy().ravel()
    edges = np.quantile(odds, np.linspace(0, 1, 9))
    for low, high in itertools.pairwise(edges):
        part = (odds >= low) & (odds <= high)
        promised = (1 / (1 + np.exp(-odds[part]))).mean()
        assert abs(y[part].mean() - promised) < 4 * np.sqrt(0.25 / part.sum())


def test_the_seed_fixes_the_fleet():
    first, again, other = Fleet(n_machines=5), Fleet(n_machines=5), Fleet(n_machines=5, seed=1)
    for name in ("mixing", "means", "shifts"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.allclose(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"directions": 0}, "directions must lie between 1 and n_features=16"),
        ({"directions": 17}, "directions must lie between 1 and n_features=16"),
        ({"ceiling": 0.5}, "ceiling must lie strictly between"),
        ({"ceiling": 1.0}, "ceiling must lie strictly between"),
        ({"ceiling": np.nan}, "ceiling must lie strictly between"),
        ({"n_machines": 0}, "at least 1 unit"),
        ({"normal_shots": 0}, "normal_shots must be an integer of at least 1"),
        ({"spread": 0.0}, "spread must be"),
        ({"spread": -1.0}, "spread must be"),
        ({"spread": np.nan}, "spread must be"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Fleet(**arguments)


def test_the_interval_of_a_fleet_covers_its_ceiling():
    """Repeated evaluations of the perfect score: the 95 % interval holds the ceiling about 95 % of the time."""
    family = Fleet(n_machines=3000, n_features=4)
    drawn = family.sample(3000, random_state=5)
    scores = drawn.query_x.numpy() @ np.linalg.solve(family.covariance, family.shifts[0])
    values = auroc(drawn.query_y.numpy(), scores).reshape(100, 30)
    held = sum(low <= family.bayes_auroc <= high for _, low, high in map(interval, values))
    assert 85 <= held <= 100
