"""Equations of chapter 3, What experience is worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import logsumexp

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial import metrics
from metaad_tutorial.empirical_bayes import posterior


def _fleet_facts(fleet, machine=0):
    """Covariance Sigma, anomaly shift delta u and separation Delta of one machine."""
    shift = fleet.shifts[machine]
    return fleet.covariance, shift, np.sqrt(shift @ np.linalg.solve(fleet.covariance, shift))


@equation(
    "fleet-model",
    statement="$x = \\mu_i + A e + y\\, \\delta_i u_i$ with $e$ standard normal and $\\mu_i \\sim N(0, \\rho^2 I)$",
    how="means and covariance of many points of one machine, and variance of the means, within five standard errors",
)
def test_fleet_model():
    fleet = metaad.Fleet(n_features=4, directions=2, normal_queries=20000, anomalous_queries=20000, spread=2.0)
    task = fleet.restrict([7]).sample(1, random_state=0)
    x, y = task.query_x[0].numpy(), task.query_y[0].numpy()
    np.testing.assert_allclose(fleet.covariance, fleet.mixing @ fleet.mixing.T)
    spread = np.sqrt(np.diag(fleet.covariance) / 20000)
    assert (np.abs(x[y == 0].mean(0) - fleet.means[7]) < 5 * spread).all()
    assert (np.abs(x[y == 1].mean(0) - fleet.means[7] - fleet.shifts[7]) < 5 * spread).all()
    for label in (0, 1):  # faults move a reading and leave its scatter as it is
        error = 5 * np.sqrt(2 / 20000) * np.diag(fleet.covariance).max()
        assert np.abs(np.cov(x[y == label].T) - fleet.covariance).max() < error
    n = fleet.means.size
    assert abs(fleet.means.var() - 4) < 5 * 4 * np.sqrt(2 / n)
    assert np.linalg.matrix_rank(fleet.shifts) == 2


@equation(
    "fleet-bayes",
    statement="Log likelihood ratio $\\delta u^T \\Sigma^{-1} (x - \\mu) - \\frac{1}{2} \\delta^2 u^T \\Sigma^{-1} u$",
    how="against the difference of SciPy's two Gaussian log densities",
)
def test_fleet_bayes():
    fleet = metaad.Fleet(n_machines=5, n_features=6)
    covariance, shift, separation = _fleet_facts(fleet, 3)
    mu, x = fleet.means[3], np.random.default_rng(0).normal(size=(30, 6))
    formula = (x - mu) @ np.linalg.solve(covariance, shift) - separation**2 / 2
    densities = [stats.multivariate_normal(mu + s, covariance).logpdf(x) for s in (shift, 0 * shift)]
    np.testing.assert_allclose(formula, densities[0] - densities[1])


@equation(
    "fleet-ceiling",
    statement="The best AUROC is $\\Phi(\\delta \\sqrt{u^T \\Sigma^{-1} u / 2})$",
    how="against `Fleet.bayes_auroc`, numerical integration of the ROC curve, and simulated scores",
)
def test_fleet_ceiling():
    for ceiling, directions in ((0.75, 1), (0.97, 3)):
        fleet = metaad.Fleet(n_machines=300, n_features=5, directions=directions, ceiling=ceiling)
        for machine in (0, 17):
            separation = _fleet_facts(fleet, machine)[2]
            formula = stats.norm.cdf(separation / np.sqrt(2))
            assert formula == pytest.approx(ceiling) == fleet.bayes_auroc
            area, _ = integrate.quad(lambda t, s=separation: stats.norm.cdf(s + stats.norm.ppf(t)), 0, 1)
            assert area == pytest.approx(ceiling, abs=1e-6)
        tasks = fleet.sample(300, random_state=0)
        weights = np.linalg.solve(fleet.covariance, fleet.shifts[tasks.units].T).T
        scores = np.einsum("tqd,td->tq", tasks.query_x.numpy(), weights)
        per_task = metrics.auroc(tasks.query_y.numpy(), scores)
        assert abs(per_task.mean() - ceiling) < 4 * per_task.std() / np.sqrt(300)


@equation(
    "fleet-accuracy",
    statement="The best accuracy at even prior is $\\Phi(\\Delta / 2)$, $\\Delta = \\delta \\sqrt{u^T \\Sigma^{-1} u}$",
    how="against numerical integration of the larger of two Gaussian densities, and simulated decisions",
)
def test_fleet_accuracy():
    fleet = metaad.Fleet(n_machines=300, n_features=5, ceiling=0.9)
    covariance, shift, separation = _fleet_facts(fleet)
    formula = stats.norm.cdf(separation / 2)

    def larger(t):  # along the best direction, in units of the standard deviation
        return max(stats.norm.pdf(t), stats.norm.pdf(t - separation)) / 2

    area, _ = integrate.quad(larger, -10, 10 + separation, points=[separation / 2])
    assert area == pytest.approx(formula, abs=1e-8)
    tasks = fleet.sample(600, random_state=0)
    gap = tasks.query_x.numpy() - fleet.means[tasks.units][:, None]
    flagged = gap @ np.linalg.solve(covariance, shift) > separation**2 / 2
    right = flagged == tasks.query_y.numpy()
    assert abs(right.mean() - formula) < 4 * np.sqrt(formula * (1 - formula) / right.size)


@equation(
    "fleet-linear",
    statement="Linear score $\\gamma^T x$: AUROC $\\Phi(\\delta \\gamma^T u / \\sqrt{2 \\gamma^T \\Sigma \\gamma})$",
    how="simulation for random $\\gamma$ within four standard errors; at $\\gamma = \\Sigma^{-1} u$ it is the ceiling",
)
def test_fleet_linear():
    fleet = metaad.Fleet(n_machines=300, n_features=4, normal_queries=40, anomalous_queries=40)
    covariance, shift, _ = _fleet_facts(fleet)

    def formula(v):
        return stats.norm.cdf(v @ shift / np.sqrt(2 * v @ covariance @ v))

    best = np.linalg.solve(covariance, shift)
    assert formula(best) == pytest.approx(fleet.bayes_auroc)
    tasks, rng = fleet.sample(200, random_state=0), np.random.default_rng(0)
    for v in rng.normal(size=(4, 4)):
        per_task = metrics.auroc(tasks.query_y.numpy(), tasks.query_x.numpy() @ v)
        assert abs(per_task.mean() - formula(v)) < 4 * per_task.std() / np.sqrt(200)
        assert formula(v) < formula(best)


def _stacked_log_density(points, labels, shift, fleet):
    """Log density of all points of a machine at once, its mean integrated out: one large Gaussian."""
    n, d = points.shape
    joint = np.kron(np.eye(n), fleet.covariance) + np.kron(np.ones((n, n)), fleet.spread**2 * np.eye(d))
    center = (labels[:, None] * shift).ravel()
    return stats.multivariate_normal(center, joint).logpdf(points.ravel())


def _odds(task, shifts, fleet):
    """Log odds of each query point by joint densities of support and query point, averaged over shifts."""
    x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
    found = []
    for point in task.query_x[0].numpy():
        both = np.vstack([x, point])
        total = [
            logsumexp([_stacked_log_density(both, np.append(y, label), s, fleet) for s in shifts]) for label in (0, 1)
        ]
        found.append(total[1] - total[0])
    return np.array(found)


@equation(
    "fleet-posterior",
    statement="$\\mu$ given the support set is $N(c, V)$ with $V = (n \\Sigma^{-1} + \\rho^{-2} I)^{-1}$",
    how="against conditioning the joint Gaussian of the mean and all support points",
)
def test_fleet_posterior():
    fleet = metaad.Fleet(n_machines=5, n_features=3, normal_shots=3, anomalous_shots=2, spread=1.5)
    task = fleet.sample(1, random_state=0)
    x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
    (n, d), shift = x.shape, fleet.shifts[0]
    precision = np.linalg.inv(fleet.covariance)
    V = np.linalg.inv(n * precision + np.eye(d) / fleet.spread**2)
    c = V @ precision @ (x - y[:, None] * shift).sum(0)

    prior = fleet.spread**2 * np.eye(d)
    between = np.kron(np.ones((1, n)), prior)  # covariance of the mean with the stacked points
    joint = np.kron(np.eye(n), fleet.covariance) + np.kron(np.ones((n, n)), prior)
    gain = between @ np.linalg.inv(joint)
    np.testing.assert_allclose(c, gain @ (x - y[:, None] * shift).ravel())
    np.testing.assert_allclose(V, prior - gain @ between.T, atol=1e-12)


@equation(
    "fleet-support-bayes",
    statement="Given the support set: the odds of a known machine with $c$ for $\\mu$, $\\Sigma + V$ for $\\Sigma$",
    how="the formula and `Fleet.bayes_scores` against ratios of joint densities of support and query points",
)
def test_fleet_support_bayes():
    fleet = metaad.Fleet(n_machines=9, n_features=3, normal_queries=3, anomalous_queries=3, spread=0.8)
    tasks = fleet.sample(3, random_state=1)
    shift, precision = fleet.shifts[0], np.linalg.inv(fleet.covariance)
    for task, package in zip(tasks, fleet.bayes_scores(tasks), strict=True):
        x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
        V = np.linalg.inv(len(x) * precision + np.eye(3) / fleet.spread**2)
        c = V @ precision @ (x - y[:, None] * shift).sum(0)
        weights = np.linalg.solve(fleet.covariance + V, shift)
        formula = (task.query_x[0].numpy() - c) @ weights - shift @ weights / 2
        np.testing.assert_allclose(formula, package)
        np.testing.assert_allclose(formula, _odds(task, [shift], fleet))


@equation(
    "fleet-directions",
    statement="With unknown direction: log odds of two mixtures, each shift weighed by $p(S \\mid \\delta_k u_k)$",
    how="`Fleet.bayes_scores` against joint densities of support and query points, summed over the same shifts",
)
def test_fleet_directions():
    fleet = metaad.Fleet(n_machines=9, n_features=4, directions=2, normal_queries=2, anomalous_queries=2, spread=0.8)
    tasks = fleet.sample(2, random_state=1)
    shifts = fleet._shift(np.random.default_rng(0).normal(size=(12, 2)))
    for task, package in zip(tasks, fleet.bayes_scores(tasks, n_directions=12), strict=True):
        np.testing.assert_allclose(_odds(task, shifts, fleet), package)


@equation(
    "fleet-support-accuracy",
    statement="Best accuracy from $n$ points; $\\Phi((\\Delta / 2) / \\sqrt{1 + 1/n})$ for $\\rho \\to \\infty$",
    how="simulated decisions of `Fleet.bayes_scores` within four standard errors; the limit at $\\rho = 10^4$",
)
def test_fleet_support_accuracy():
    def formula(fleet, n):
        covariance, shift, _ = _fleet_facts(fleet)
        V = np.linalg.inv(n * np.linalg.inv(covariance) + np.eye(len(shift)) / fleet.spread**2)
        return stats.norm.cdf(np.sqrt(shift @ np.linalg.solve(covariance + V, shift)) / 2)

    for normal, anomalous in ((1, 0), (5, 2)):
        fleet = metaad.Fleet(normal, anomalous, n_machines=1500, n_features=6, ceiling=0.9, spread=0.8)
        tasks = fleet.sample(1500, random_state=0)
        right = (fleet.bayes_scores(tasks) > 0) == tasks.query_y.numpy()
        per_task = right.mean(1)  # points of one task share the error in its mean
        expected = formula(fleet, normal + anomalous)
        assert abs(per_task.mean() - expected) < 4 * per_task.std() / np.sqrt(1500)
        wide = metaad.Fleet(n_machines=2, n_features=6, ceiling=0.9, spread=1e4)
        n, separation = normal + anomalous, _fleet_facts(wide)[2]
        assert formula(wide, n) == pytest.approx(stats.norm.cdf(separation / 2 / np.sqrt(1 + 1 / n)), abs=1e-6)


def _lines(fleet, centred):
    """Accuracy of the best line for all machines, measured on many points of many machines, and its AUROC."""
    shift, n = fleet.shifts[0], 5
    tasks = fleet.sample(len(fleet.units), random_state=0)
    x, y = tasks.query_x.numpy(), tasks.query_y.numpy()
    covariance = fleet.covariance + fleet.spread**2 * np.eye(len(shift))
    place = np.zeros((len(x), 1, len(shift)))
    if centred:
        covariance = fleet.covariance * (1 + 1 / n)
        place = tasks.support_x.numpy()[tasks.support_y.numpy() == 0].reshape(len(x), n, -1).mean(1, keepdims=True)
    weights = np.linalg.solve(covariance, shift)
    right = ((x - place) @ weights > shift @ weights / 2) == y
    other = weights + 0.3 * np.random.default_rng(0).normal(size=len(weights))  # any other line is worse
    worse = ((x - place) @ other > shift @ other / 2) == y
    per_task = right.mean(1)
    return per_task.mean(), per_task.std() / np.sqrt(len(x)), worse.mean()


@equation(
    "pooled-accuracy",
    statement="Accuracy of the best pooled line: the machines' spread counts as noise",
    how="decisions of that line on 1,500 simulated machines within four standard errors; another line does worse",
)
def test_pooled_accuracy():
    fleet = metaad.Fleet(n_machines=1500, n_features=5, ceiling=0.95, spread=0.8)
    covariance, shift, _ = _fleet_facts(fleet)
    formula = stats.norm.cdf(np.sqrt(shift @ np.linalg.solve(covariance + 0.64 * np.eye(5), shift)) / 2)
    found, error, worse = _lines(fleet, centred=False)
    assert abs(found - formula) < 4 * error
    assert worse < found


@equation(
    "centred-accuracy",
    statement="Accuracy of the best line once the mean of $n_-$ normal points is subtracted",
    how="decisions of that line on 1,500 simulated machines within four standard errors; another line does worse",
)
def test_centred_accuracy():
    fleet = metaad.Fleet(n_machines=1500, n_features=5, ceiling=0.95, spread=3.0)
    separation = _fleet_facts(fleet)[2]
    found, error, worse = _lines(fleet, centred=True)
    assert abs(found - stats.norm.cdf(separation / 2 / np.sqrt(1.2))) < 4 * error
    assert worse < found


def _random_effects(rng, d=3, n0=4, n1=2):
    """A model: noise, prior mean and covariance, H and R."""
    root = rng.normal(size=(d, d))
    noise, (T, B) = root @ root.T + np.eye(d), (a @ a.T for a in rng.normal(size=(2, d, d)))
    P, m = np.block([[T, np.zeros((d, d))], [np.zeros((d, d)), B]]), rng.normal(size=2 * d)
    H = np.kron([[1, 0], [1, 1]], np.eye(d))
    return noise, m, P, H, np.kron(np.diag([1 / n0, 1 / n1]), noise)


@equation(
    "random-effects",
    statement="Class means of a support set are $Hz$ plus noise of covariance $R$, $z$ the place and the shift",
    how="mean and covariance of simulated class means against $Hm$ and $HPH^T+R$, within five standard errors",
)
def test_random_effects():
    rng = np.random.default_rng(0)
    noise, m, P, H, R = _random_effects(rng)
    N, d = 20000, len(noise)
    z = rng.multivariate_normal(m, P, size=N)
    root = np.linalg.cholesky(noise)
    normal = z[:, None, :d] + rng.normal(size=(N, 4, d)) @ root.T
    anomalous = z[:, None, :d] + z[:, None, d:] + rng.normal(size=(N, 2, d)) @ root.T
    means, covariance = np.hstack([normal.mean(1), anomalous.mean(1)]), H @ P @ H.T + R
    assert (np.abs(means.mean(0) - H @ m) < 5 * np.sqrt(np.diag(covariance) / N)).all()
    error = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / N)
    assert (np.abs(np.cov(means.T) - covariance) < 5 * error).all()


@equation(
    "eb-posterior",
    statement="Posterior of a machine's place and shift given the class means of its support set",
    how="against conditioning the joint Gaussian by its precision matrix, and against `empirical_bayes.posterior`",
)
def test_eb_posterior():
    rng = np.random.default_rng(1)
    noise, m, P, H, R = _random_effects(rng)
    normal, anomalous = rng.normal(size=(4, 3)), rng.normal(size=(2, 3))
    seen = np.r_[normal.mean(0), anomalous.mean(0)]
    G = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
    mean, covariance = m + G @ (seen - H @ m), P - G @ H @ P
    precision = np.linalg.inv(P) + H.T @ np.linalg.solve(R, H)
    np.testing.assert_allclose(covariance, np.linalg.inv(precision))
    np.testing.assert_allclose(precision @ mean, np.linalg.solve(P, m) + H.T @ np.linalg.solve(R, seen))
    know = {"within": noise, "within_anomalous": noise, "mean": m[:3], "shift": m[3:]}
    know |= {"between": P[:3, :3], "between_shift": P[3:, 3:]}
    know = {name: torch.as_tensor(value) for name, value in know.items()}
    center, spread = posterior(know, torch.as_tensor(normal)[None], torch.as_tensor(anomalous)[None])
    np.testing.assert_allclose(center[0], [mean[:3], mean[:3] + mean[3:]])
    both = np.hstack([np.eye(3), np.eye(3)])
    np.testing.assert_allclose(spread[0, 0], noise + covariance[:3, :3])
    np.testing.assert_allclose(spread[0, 1], noise + both @ covariance @ both.T)


@equation(
    "warp",
    statement="Sensors are turned, bent by $\\sinh(\\kappa z)/\\kappa$ and turned back",
    how="`Fleet.warped` against the formula, undone by `unwarped`, nearly the identity for a small $\\kappa$",
)
def test_warp():
    fleet = metaad.Fleet(n_machines=5, n_features=4, warp=1.2)
    x = np.random.default_rng(0).normal(size=(30, 4))
    Q = fleet._bends[0][0].T
    np.testing.assert_allclose(Q @ Q.T, np.eye(4), atol=1e-12)
    formula = np.array([Q.T @ (np.sinh(1.2 * Q @ one) / 1.2) for one in x])
    np.testing.assert_allclose(fleet.warped(x), formula)
    np.testing.assert_allclose(fleet.unwarped(fleet.warped(x)), x)
    slight = metaad.Fleet(n_machines=5, n_features=4, warp=1e-4)
    np.testing.assert_allclose(slight.warped(x), x, atol=1e-6)
