"""Equations of chapter 6, Anomalies never seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize, stats

import metaad_tutorial as metaad
from equations import equation
from equations.common import numerical_gradient
from metaad_tutorial import metrics
from metaad_tutorial.losses import cross_entropy
from metaad_tutorial.networks import MLP
from metaad_tutorial.training import query_loss


def _one_class_task(seed=0, n=6, m=8, d=4, h=5):
    """A network with one hidden layer, n normal points, and m queries of which every second is an anomaly."""
    rng = np.random.default_rng(seed)
    params = {
        "weight0": rng.normal(size=(d, h)),
        "bias0": rng.normal(size=(1, h)),
        "weight1": rng.normal(size=(h, 1)),
        "bias1": rng.normal(size=(1, 1)),
    }
    normal, query, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5, np.arange(m) % 2.0
    return {name: torch.as_tensor(v) for name, v in params.items()}, *map(torch.as_tensor, (normal, query, y))


def _one_class_logit(params, x):
    """The same network in NumPy: features and logits."""
    p = {name: v.numpy() for name, v in params.items()}
    phi = np.maximum(x.numpy() @ p["weight0"] + p["bias0"], 0)
    return phi, (phi @ p["weight1"] + p["bias1"])[:, 0]


def _flat_gradient(params, loss):
    """Gradient of loss(params) with respect to all parameters, as one vector."""
    params = {name: v.clone().requires_grad_() for name, v in params.items()}
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss(params), list(params.values()))])


def _mlp_loss(x, y):
    return lambda params: cross_entropy(MLP((5,))(params, x), y).mean()


@equation(
    "one-class-loss",
    statement=r"on normal points alone $l_{\mathcal S} = \frac1n\sum_i \log(1 + e^{z(x_i)})$",
    how="the package's loss with all labels 0 against NumPy, and its limit 0 as the bias falls",
)
def test_one_class_loss():
    params, normal, query, _ = _one_class_task()
    z = _one_class_logit(params, normal)[1]
    loss = _mlp_loss(normal, torch.zeros(6, dtype=torch.float64))
    assert loss(params).item() == pytest.approx(np.log(1 + np.exp(z)).mean(), rel=1e-12)
    everywhere_normal = params | {"bias1": params["bias1"] - 60}
    assert loss(everywhere_normal).item() < 1e-12
    assert (_one_class_logit(everywhere_normal, query)[1] < 0).all()


@equation(
    "one-class-maml",
    statement=r"$L(w) = \mathbb E\,[l_{\mathcal Q}(w - \alpha\nabla l_{\mathcal S}(w))]$, $\mathcal S$ normal points "
    r"only, $\mathcal Q$ balanced",
    how="value and meta-gradient of `MAML` on a one-class family against NumPy and its central differences",
)
def test_one_class_maml():
    family = metaad.Fleet(4, 0, 5, 5, n_machines=6, n_features=3)
    train = family.restrict(np.arange(3))
    settings = {"inner_steps": 1, "inner_lr": 0.7, "standardize": False, "meta_steps": 3, "random_state": 0}
    detector = metaad.MAML(**settings).meta_fit(train)
    episodes = family.restrict(np.arange(3, 6)).sample(3, 0)
    assert not episodes.support_y.any() and (episodes.query_y.mean(1) == 0.5).all()
    x, query, y = (np.asarray(v) for v in (episodes.support_x, episodes.query_x, episodes.query_y))
    x, query = (np.concatenate([v, np.ones((*v.shape[:-1], 1))], -1) for v in (x, query))

    def objective(w):
        w = w.numpy()
        step = (x / (1 + np.exp(-(x @ w)))[..., None]).mean(1)
        z = np.einsum("tqd,td->tq", query, w - 0.7 * step)
        return (np.log1p(np.exp(z)) - y * z).mean()

    start = {name: v.clone().requires_grad_() for name, v in detector.meta_["start"].items()}
    w = torch.cat([start["weight0"], start["bias0"]])[:, 0].detach()
    loss = query_loss(detector, {"start": start}, episodes)
    assert loss.item() == pytest.approx(objective(w), rel=1e-12)
    found = torch.cat(torch.autograd.grad(loss, [start["weight0"], start["bias0"]]))[:, 0]
    numerical = numerical_gradient(objective, w)
    assert torch.allclose(found, torch.as_tensor(numerical), atol=1e-8)


@equation(
    "one-class-gradient",
    statement=r"$\nabla_\omega l_{\mathcal S} = \sum_i c_i\,\phi(x_i)$, "
    r"$\partial l_{\mathcal S}/\partial b = \sum_i c_i$, $c_i = \sigma(z_i)/n$",
    how="autograd on a network with one hidden layer against NumPy",
)
def test_one_class_gradient():
    params, normal, *_ = _one_class_task()
    found = _flat_gradient(params, _mlp_loss(normal, torch.zeros(6, dtype=torch.float64)))
    phi, z = _one_class_logit(params, normal)
    c = 1 / (1 + np.exp(-z)) / 6
    np.testing.assert_allclose(found[-6:], [*(c @ phi), c.sum()], rtol=1e-12)


@equation(
    "one-class-step",
    statement=r"after one step on the head $z'(x) = z(x) - \sum_i c_i\,(\phi(x_i)^\top R\,\phi(x) + r)$",
    how="scores of `MAML(head_only=True)` with learnt step sizes against NumPy",
)
def test_one_class_step():
    train = metaad.Fleet(6, 0, n_machines=20, n_features=4)
    settings = {"head_only": True, "learn_lr": "parameter", "inner_steps": 1, "meta_steps": 20}
    detector = metaad.MAML(hidden=(5,), standardize=False, random_state=0, **settings).meta_fit(train)
    _, normal, query, _ = _one_class_task()
    start, rate = detector.meta_["start"], detector.meta_["rate"]
    rates = rate["weight1"][:, 0].numpy(), rate["bias1"].item()
    assert rates[0].std() > 0.01  # one for each feature
    (phi, z), (phi_x, z_x) = _one_class_logit(start, normal), _one_class_logit(start, query)
    expected = z_x.copy()
    for phi_i, z_i in zip(phi, z, strict=True):
        similarity = phi_x @ np.diag(rates[0]) @ phi_i
        expected -= (similarity + rates[1]) / (1 + np.exp(-z_i)) / len(z)
    np.testing.assert_allclose(detector.fit(normal).anomaly_score(query), expected, rtol=1e-10)


@equation(
    "gradient-cosine",
    statement=r"$\cos_{\mathcal T} = \nabla l_{\mathcal Q}^\top\nabla l_{\mathcal S} / "
    r"(\lVert\nabla l_{\mathcal Q}\rVert\,\lVert\nabla l_{\mathcal S}\rVert)$",
    how="minus the slope of the query loss along the normalised one-class step, by central differences",
)
def test_gradient_cosine():
    params, normal, query, y = _one_class_task()
    on_query = _mlp_loss(query, y)
    a = _flat_gradient(params, _mlp_loss(normal, torch.zeros(6, dtype=torch.float64)))
    b = _flat_gradient(params, on_query)
    cosine = (a @ b / a.norm() / b.norm()).item()

    def along(t):
        moved, at = {}, 0
        for name, v in params.items():
            moved[name] = v - t * (a / a.norm())[at : at + v.numel()].view_as(v)
            at += v.numel()
        return on_query(moved).item()

    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    assert abs(cosine) > 0.1
    assert -slope / b.norm().item() == pytest.approx(cosine, rel=1e-6)


@equation(
    "balanced-split",
    statement=r"$\nabla l_{\mathcal Q} = \frac12(\nabla l_0 + \nabla l_1)$ with $\nabla l_0 = "
    r"\operatorname{mean}_{y=0}\sigma(z)\nabla z$, $\nabla l_1 = -\operatorname{mean}_{y=1}(1 - \sigma(z))\nabla z$",
    how="autograd of the query loss against the sum over points; with a high bias, half the one-class gradient",
)
def test_balanced_split():
    params, _, query, y = _one_class_task()
    rows = torch.stack([_flat_gradient(params, lambda p, x=x: MLP((5,))(p, x[None])[0]) for x in query])
    p = torch.as_tensor(1 / (1 + np.exp(-_one_class_logit(params, query)[1])))
    normal, anomalous = y == 0, y == 1
    first = (p[normal, None] * rows[normal]).mean(0) / 2
    second = ((1 - p[anomalous, None]) * rows[anomalous]).mean(0) / 2
    assert torch.allclose(_flat_gradient(params, _mlp_loss(query, y)), first - second, atol=1e-12)
    suspicious = params | {"bias1": params["bias1"] + 60}
    alone = _flat_gradient(suspicious, _mlp_loss(query[normal], y[normal]))
    assert torch.allclose(_flat_gradient(suspicious, _mlp_loss(query, y)), alone / 2, atol=1e-12)


@equation(
    "fleet-turned",
    statement=r"best score for the known fault, fault turned by $\psi$: AUROC "
    r"$= \Phi(\cos\psi\,\Phi^{-1}(\text{ceiling}))$",
    how="simulation with the shifts of `Fleet.turned`, 40,000 points of each class, within 0.01",
)
def test_fleet_turned():
    fleet = metaad.Fleet(n_machines=3, n_features=6, ceiling=0.95, seed=2)
    best = np.linalg.solve(fleet.covariance, fleet.shifts[0])
    noise = np.random.default_rng(0).normal(size=(80_000, 6)) @ fleet.mixing.T
    y = np.arange(80_000) % 2
    for angle in (0, 40, 70, 90):
        x = noise + y[:, None] * fleet.turned(angle, seed=5).shifts[0]
        expected = stats.norm.cdf(np.cos(np.deg2rad(angle)) * stats.norm.ppf(0.95))
        assert metrics.auroc(y, x @ best) == pytest.approx(expected, abs=0.01)


@equation(
    "novel-subspace",
    statement=r"squared distance inside $m$ known dimensions: AUROC $= \Pr(F_{m,m}(\lambda) > 1)$, "
    r"$\lambda = \Delta^2\cos^2\psi$",
    how="simulation of the squared projections, 40,000 points of each class, within 0.01",
)
def test_novel_subspace():
    rng, separation, d = np.random.default_rng(1), 2.5, 7
    y = np.arange(80_000) % 2
    for m, angle in ((2, 0), (3, 50), (5, 30), (4, 90)):
        radians = np.deg2rad(angle)
        shift = separation * (np.cos(radians) * np.eye(d)[0] + np.sin(radians) * np.eye(d)[-1])
        e = rng.normal(size=(80_000, d)) + y[:, None] * shift
        noncentrality = (separation * np.cos(radians)) ** 2 + 1e-12  # scipy wants it positive
        expected = stats.ncf.sf(1, m, m, noncentrality)
        assert metrics.auroc(y, (e[:, :m] ** 2).sum(1)) == pytest.approx(expected, abs=0.01)


@equation(
    "random-angle",
    statement=r"a random direction in $d$ dimensions has $\mathbb E[\cos^2\psi] = m/d$ to $m$ of them",
    how="simulation of 50,000 directions against a random subspace, within 0.005",
)
def test_random_angle():
    rng = np.random.default_rng(0)
    for m, d in ((2, 16), (3, 5)):
        basis = np.linalg.qr(rng.normal(size=(d, m)))[0]
        v = rng.normal(size=(50_000, d))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        assert np.mean(np.sum((v @ basis) ** 2, axis=1)) == pytest.approx(m / d, abs=0.005)


@equation(
    "base-rate-threshold",
    statement=r"a logit learnt at even odds decides best at base rate $\pi$ above $\tau_\pi = \log\frac{1 - \pi}{\pi}$",
    how="numerical minimum of the expected share of wrong decisions for two normal distributions",
)
def test_base_rate_threshold():
    # normal points N(0, 1), anomalies N(2, 1): at even odds the log likelihood ratio is z = 2x - 2
    for pi in (0.5, 0.1, 0.01):

        def wrong(tau, pi=pi):
            x = (tau + 2) / 2
            return (1 - pi) * stats.norm.sf(x) + pi * stats.norm.cdf(x - 2)

        found = optimize.minimize_scalar(wrong, bounds=(-10, 10), method="bounded", options={"xatol": 1e-8}).x
        assert found == pytest.approx(np.log((1 - pi) / pi), abs=1e-3)
