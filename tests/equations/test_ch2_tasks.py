"""Equations of chapter 2, Tasks and episodes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import integrate, stats

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial.training import query_loss


@equation(
    "meta-objective",
    statement="$L(\\theta; w)$ is the expected query loss after adaptation to the support set",
    how="`MetaDetector`'s loss and its gradient against a loop over tasks with gradient descent written out",
)
def test_meta_objective():
    episodes = metaad.Fleet(n_machines=20, n_features=3).sample(4, random_state=0)
    detector = metaad.MAML(hidden=(), inner_steps=2, inner_lr=0.3, balanced=False, standardize=False)
    w = torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64, requires_grad=True)
    found = query_loss(detector, {"start": {"weight0": w[:3, None], "bias0": w[None, 3:]}}, episodes)

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
    "ridge",
    statement="Ridge regression with penalty $\\theta$; at $\\theta=\\sigma^2/\\kappa^2$ the posterior mean",
    how="gradient of the penalised loss is zero; against conditioning the joint Gaussian of $w$ and $r$",
)
def test_ridge():
    rng = np.random.default_rng(0)
    n, d, sigma, kappa = 9, 4, 0.7, 0.5
    X, r = rng.normal(size=(n, d)), rng.normal(size=n)
    for theta in (0.3, sigma**2 / kappa**2):
        w = np.linalg.solve(X.T @ X + theta * np.eye(d), X.T @ r)
        np.testing.assert_allclose(X.T @ (X @ w - r) + theta * w, 0, atol=1e-10)
    joint = kappa**2 * X @ X.T + sigma**2 * np.eye(n)  # covariance of the responses
    np.testing.assert_allclose(w, kappa**2 * X.T @ np.linalg.solve(joint, r))


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
