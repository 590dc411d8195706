"""Equations of chapter 2, Tasks and episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, stats
from scipy.special import logsumexp

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial import metrics
from metaad_tutorial.training import query_loss


def _fleet_facts(fleet, machine=0):
    """Covariance Sigma, anomaly shift delta u and separation Delta of one machine."""
    shift = fleet.shifts[machine]
    return fleet.covariance, shift, np.sqrt(shift @ np.linalg.solve(fleet.covariance, shift))


@equation(
    "meta-objective",
    statement="$L(\\theta; w)$ is the expected query loss after adaptation to the support set",
    how="`MetaDetector`'s loss and its gradient against a loop over tasks with gradient descent written out",
)
def test_meta_objective():
    episodes = metaad.Fleet(n_machines=20, n_features=3).sample(4, random_state=0)
    detector = metaad.MAML(hidden=(), inner_steps=2, inner_lr=0.3, balanced=False, standardize=False)
    w = torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64, requires_grad=True)
    found = query_loss(detector, {"start": {"weight0": w[None, :3], "bias0": w[3:]}}, episodes)

    def with_one(x):
        return torch.cat([x[0], torch.ones(len(x[0]), 1, dtype=torch.float64)], 1)

    losses = []
    for task in episodes:
        support, query, adapted = with_one(task.support_x), with_one(task.query_x), w
        for _ in range(2):
            error = torch.sigmoid(support @ adapted) - task.support_y[0]
            adapted = adapted - 0.3 * support.T @ error / len(support)
        losses.append(F.binary_cross_entropy_with_logits(query @ adapted, task.query_y[0]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, w)[0] for loss in (found, expected)))


@equation(
    "optimism",
    statement="Least squares errs by $\\sigma^2 (1 - d/n)$ on its own points, by $\\sigma^2 (1 + d/n)$ on fresh ones",
    how="exactly, as traces of the error covariances, and by simulation within four standard errors",
)
def test_optimism():
    n, d, sigma = 20, 6, 0.7
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    fit = np.linalg.pinv(X)
    own = np.eye(n) - X @ fit  # error on the own points = own @ noise
    fresh = np.hstack([-X @ fit, np.eye(n)])  # error on fresh ones = fresh @ (noise, fresh noise)
    expected = sigma**2 * np.array([1 - d / n, 1 + d / n])
    traces = sigma**2 * np.array([np.trace(own @ own.T), np.trace(fresh @ fresh.T)]) / n
    np.testing.assert_allclose(traces, expected)

    w = rng.normal(size=d)
    r, r_fresh = X @ w + sigma * rng.normal(size=(2, 4000, n))
    prediction = (X @ (fit @ r.T)).T
    errors = np.array([((r - prediction) ** 2).mean(1), ((r_fresh - prediction) ** 2).mean(1)])
    assert (np.abs(errors.mean(1) - expected) < 4 * errors.std(1) / np.sqrt(4000)).all()


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


@equation(
    "winners-curse",
    statement="$E \\max_{j \\le M} \\xi_j \\le \\sigma \\sqrt{2 \\log M}$ for Gaussian noise of deviation $\\sigma$",
    how="exact expected maximum by numerical integration, and simulated dependent noise",
)
def test_winners_curse():
    s, rng = 0.3, np.random.default_rng(0)
    for k in (2, 10, 1000, 10**6):

        def density(t, k=k):  # of the maximum of k independent standard normal variables
            return t * k * np.exp(stats.norm.logpdf(t) + (k - 1) * stats.norm.logcdf(t))

        exact = s * integrate.quad(density, -12, 12, points=[0, 2, 4, 5, 6])[0]
        bound = s * np.sqrt(2 * np.log(k))
        assert (0.9 if k == 10**6 else 0.4) * bound < exact < bound  # it becomes sharp as k grows
        if k > 1000:
            continue
        z = s * (np.sqrt(0.5) * rng.normal(size=(2000, 1)) + np.sqrt(0.5) * rng.normal(size=(2000, k)))
        assert z.max(1).mean() < exact < bound
