"""The fleet: its model, its ceiling and its Bayes scores by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from metaad_tutorial import Fleet, check_disjoint
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


@pytest.mark.parametrize("warp", [0.3, 1.2, 2.0])
def test_a_warp_can_be_undone(warp):
    fleet = Fleet(n_machines=50, warp=warp)
    z = np.random.default_rng(0).normal(size=(20, 5, 16)) * 1.5
    x = fleet.warped(z)
    assert np.allclose(fleet.unwarped(x), z, rtol=0, atol=1e-9)
    assert np.abs(x - z).max() > 0.1
    step = (fleet.warped(z + 1e-6) - x) / 1e-6  # it bends: the slope is not the same everywhere
    assert step.std(0).max() > 0.1


def test_a_small_warp_is_nearly_none_and_none_changes_nothing():
    flat, bent = (Fleet(n_machines=20, warp=warp).sample(5, 0) for warp in (0.0, 1e-4))
    assert np.allclose(flat.query_x, bent.query_x, rtol=0, atol=1e-6)
    assert np.array_equal(Fleet(n_machines=20).warped(flat.query_x.numpy()), flat.query_x)


@pytest.mark.parametrize("directions", [1, 2])
def test_a_warp_leaves_the_limit_where_it_was(directions):
    flat, bent = (Fleet(directions=directions, n_machines=100, warp=warp) for warp in (0.0, 1.2))
    drawn, warped = (fleet.sample(60, 1) for fleet in (flat, bent))
    assert np.allclose(bent.bayes_scores(warped), flat.bayes_scores(drawn), rtol=0, atol=1e-8)
    assert bent.bayes_auroc == flat.bayes_auroc
    assert not np.allclose(flat.bayes_scores(warped), flat.bayes_scores(drawn), atol=0.1)  # the map matters
    turned = bent.turned(90)
    assert np.allclose(
        turned.unwarped(turned.sample(5, 0).query_x.numpy()), flat.turned(90).sample(5, 0).query_x, atol=1e-8
    )


@pytest.mark.parametrize("directions", [1, 3])
def test_who_knows_the_machine_reaches_the_ceiling_through_a_warp(directions):
    family = Fleet(directions=directions, n_machines=600, ceiling=0.9, warp=1.2)
    drawn = family.sample(600, random_state=1)
    weights = np.linalg.solve(family.covariance, family.shifts[drawn.units].T).T
    scores = np.einsum("tqd,td->tq", family.unwarped(drawn.query_x.numpy()), weights)
    found = interval(auroc(drawn.query_y, scores))
    assert found.low < 0.9 < found.high


@pytest.mark.parametrize("warp", [-0.1, 2.1, float("nan")])
def test_a_bad_warp_is_refused(warp):
    with pytest.raises(ValueError, match="warp"):
        Fleet(warp=warp)


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


def scores_with(family, weights, drawn):
    return np.einsum("tqd,td->tq", drawn.query_x.numpy(), np.broadcast_to(weights, (len(drawn), weights.shape[-1])))


def angles(family, one, two):
    """Degrees between rows of two arrays of shifts in the inner product a^T Sigma^-1 b."""
    one, two = (np.linalg.solve(np.linalg.cholesky(family.covariance), s.T) for s in (one, two))
    one, two = one / np.linalg.norm(one, axis=0), two / np.linalg.norm(two, axis=0)
    return np.rad2deg(2 * np.arcsin(np.minimum(np.linalg.norm(one - two, axis=0) / 2, 1)))


@pytest.mark.parametrize("angle", [0, 20, 60, 90])
@pytest.mark.parametrize("directions", [1, 3])
def test_a_turned_fleet_fails_at_that_angle_and_keeps_its_ceiling(directions, angle):
    family = Fleet(directions=directions, n_machines=40, ceiling=0.9)
    assert family.bayes_auroc == pytest.approx(0.9)  # also when it was asked for before
    turned = family.turned(angle)
    assert np.allclose(angles(family, family.shifts, turned.shifts), angle, rtol=0, atol=1e-5)
    precision = np.linalg.inv(family.covariance)
    separation = np.einsum("md,de,me->m", turned.shifts, precision, turned.shifts)
    assert np.allclose(norm.cdf(np.sqrt(separation / 2)), 0.9, rtol=0, atol=1e-12)
    assert turned.bayes_auroc == pytest.approx(0.9, abs=1e-12)
    new = turned.shifts - np.cos(np.deg2rad(angle)) * family.shifts
    assert np.allclose(new, new[0], rtol=0, atol=1e-12)  # one new direction for all machines
    assert np.allclose(family.shifts @ precision @ new[0], 0, rtol=0, atol=1e-10)
    for name in ("mixing", "covariance", "means", "units"):
        assert np.array_equal(getattr(turned, name), getattr(family, name))


def test_a_known_score_sees_a_turned_anomaly_as_far_as_it_is_known():
    """The best score for the old shift has AUROC Phi(cos(angle) * separation / sqrt 2); who knows the new one, 0.9."""
    family = Fleet(n_machines=500, ceiling=0.9)
    for angle in (0, 60, 90):
        turned = family.turned(angle)
        drawn = turned.sample(500, random_state=1)
        known, new = (np.linalg.solve(family.covariance, f.shifts[0]) for f in (family, turned))
        for weights, want in ((known, norm.cdf(np.cos(np.deg2rad(angle)) * norm.ppf(0.9))), (new, 0.9)):
            values = auroc(drawn.query_y.numpy(), scores_with(turned, weights, drawn))
            error = values.std(ddof=1) / np.sqrt(len(values))
            assert abs(values.mean() - want) < 3 * error < 0.02


def test_turning_does_not_touch_the_fleet_and_does_not_add_up():
    family = Fleet(directions=2, n_machines=10)
    shifts = family.shifts.copy()
    once, twice = family.turned(60), family.turned(30).turned(60)
    assert np.array_equal(family.shifts, shifts) and np.array_equal(family.turned(0).shifts, shifts)
    assert np.allclose(once.shifts, twice.shifts, rtol=0, atol=1e-12)
    assert not np.allclose(once.shifts, family.turned(60, seed=1).shifts)
    assert np.array_equal(once.shifts, family.turned(60, seed=0).shifts)


def test_the_parts_of_a_turned_fleet_are_turned_and_are_the_same_machines():
    family = Fleet(3, 2, 6, 6, n_machines=20, n_features=3)
    train, _, test = family.split(random_state=0)
    for part in (family.turned(90).split(random_state=0)[2], test.turned(90), family.turned(90).restrict(test.units)):
        assert np.array_equal(part.sample(4, random_state=0).query_x, test.turned(90).sample(4, random_state=0).query_x)
        assert not np.array_equal(part.sample(4, random_state=0).query_x, test.sample(4, random_state=0).query_x)
        check_disjoint(train, part)
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(train, train.turned(90))


@pytest.mark.parametrize("angle", [40, 90])
def test_bayes_scores_of_a_turned_fleet_are_the_log_odds_of_the_joint_law(angle):
    family = Fleet(3, 2, 6, 6, n_machines=8, n_features=3, spread=1.7).turned(angle)
    drawn = family.sample(8, random_state=0)
    want = joint_log_odds(family, drawn, family.shifts[:1])
    assert np.allclose(family.bayes_scores(drawn), want, rtol=0, atol=1e-9)
    family = Fleet(4, 2, 6, 6, n_machines=3000, n_features=3, directions=2, spread=0.8).turned(angle)
    drawn = family.sample(3, random_state=0)
    want = joint_log_odds(family, drawn, family.shifts)
    assert np.abs(family.bayes_scores(drawn, n_directions=3000) - want).max() < 0.25


@pytest.mark.parametrize("angle", [-1, 91, np.nan, np.inf])
def test_an_angle_out_of_range(angle):
    with pytest.raises(ValueError, match=r"angle must be a finite number in \[0, 90\]"):
        Fleet(n_machines=5).turned(angle)


@pytest.mark.parametrize("n_features", [1, 4])
def test_no_room_for_a_new_direction(n_features):
    with pytest.raises(ValueError, match=r"fill the whole space.*fewer directions"):
        Fleet(n_machines=5, n_features=n_features, directions=n_features).turned(45)


def test_the_seed_fixes_the_fleet():
    first, again, other = Fleet(n_machines=5), Fleet(n_machines=5), Fleet(n_machines=5, seed=1)
    for name in ("mixing", "means", "shifts"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.allclose(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"directions": 0}, "directions must be an integer from 1 to 16"),
        ({"directions": 17}, "directions must be an integer from 1 to 16"),
        ({"ceiling": 0.5}, r"ceiling must be a finite number in \(0.5, 1\)"),
        ({"ceiling": 1.0}, r"ceiling must be a finite number in \(0.5, 1\)"),
        ({"ceiling": np.nan}, r"ceiling must be a finite number in \(0.5, 1\)"),
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
