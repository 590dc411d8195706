"""Equations of chapter 4, AADML."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

import metaad_tutorial as metaad
from equations import equation
from equations.common import aadml_task, numerical_gradient, support_loss
from metaad_tutorial.inner_loop import inner_loop, per_task
from metaad_tutorial.losses import cross_entropy
from metaad_tutorial.tree import mapped


def _gradient(loss, w, X, y):
    w = w.clone().requires_grad_()
    return torch.autograd.grad(support_loss(loss)(w, X, y), w)[0]


def _hessian(loss, w, X, y):
    return torch.autograd.functional.hessian(lambda v: support_loss(loss)(v, X, y), w)


def _adapted(w, theta, X, y, K, loss="squared"):
    """Adapted parameters of all tasks, by the package's inner loop and rule."""

    return inner_loop(
        lambda p: support_loss(loss)(p["w"], X, y),
        per_task({"w": w}, len(X)),
        lambda name, value, grad, k: value - metaad.mgd(torch.stack([value, grad], -1), theta),
        steps=K,
    )["w"]


def _query_loss(w, theta, X, y, X_query, y_query, K, loss="squared"):
    logit = (X_query @ _adapted(w, theta, X, y, K, loss).unsqueeze(-1)).squeeze(-1)
    return F.binary_cross_entropy_with_logits(logit, y_query)


@equation(
    "aadml-broadcast",
    statement="the mean over all pairs is a constant plus the spread of predictions around the mean label",
    how="both sides on random labels and predictions, and the gradient by autograd",
)
def test_aadml_broadcast():
    g = torch.Generator().manual_seed(0)
    y = torch.rand(40, generator=g, dtype=torch.float64).round()
    p = torch.randn(40, 1, generator=g, dtype=torch.float64, requires_grad=True)
    pairs = ((y - p) ** 2).mean()
    split = ((y - y.mean()) ** 2).mean() + ((p - y.mean()) ** 2).mean()
    assert torch.isclose(pairs, split)
    slope = torch.autograd.grad(pairs, p)[0]
    assert torch.allclose(slope, 2 * (p - y.mean()) / 40)


@equation(
    "aadml-agd",
    statement=r"$g(x; w) = \omega^\top x + b$",
    how="the network without hidden layers against NumPy, with and without a task axis",
)
def test_aadml_agd():
    rng = np.random.default_rng(0)
    omega, b, x = rng.normal(size=(3, 5, 1)), rng.normal(size=(3, 1, 1)), rng.normal(size=(3, 7, 5))
    params = {"weight0": torch.as_tensor(omega), "bias0": torch.as_tensor(b)}
    logit = metaad.MLP()(params, torch.as_tensor(x)).numpy()
    expected = np.stack([x[i] @ omega[i, :, 0] + b[i, 0] for i in range(3)])
    np.testing.assert_allclose(logit, expected, rtol=1e-12)
    alone = metaad.MLP()({name: value[0] for name, value in params.items()}, torch.as_tensor(x[0]))
    np.testing.assert_allclose(alone.numpy(), expected[0], rtol=1e-12)


@equation(
    "logistic-loss",
    statement=r"$l = \frac1n \sum_i [\log(1 + e^{z_i}) - y_i z_i]$ is the negative log-likelihood",
    how="package loss against minus the log of the Bernoulli probability, large logits included",
)
def test_logistic_loss():
    z = np.array([-40.0, -3, -0.1, 0, 0.2, 5, 40])
    for y in (0.0, 1.0):
        likelihood = stats.bernoulli.logpmf(int(y), 1 / (1 + np.exp(-z)))
        loss = cross_entropy(torch.as_tensor(z), torch.tensor(y, dtype=torch.float64)).numpy()
        finite = np.isfinite(likelihood)
        assert finite.sum() >= 6
        np.testing.assert_allclose(loss[finite], -likelihood[finite], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(loss, np.logaddexp(0, z) - y * z, rtol=1e-9, atol=1e-15)


@equation(
    "logistic-gradient",
    statement=r"$\nabla l = \frac1n \tilde X^\top(\sigma(z) - y)$ and the Hessian with weights $\sigma(1-\sigma)$",
    how="closed forms against automatic first and second derivatives",
)
def test_logistic_gradient():
    w, _, X, y, *_ = aadml_task()
    X, y = X[0], y[0]
    p = torch.sigmoid(X @ w)
    assert torch.allclose(_gradient("cross_entropy", w, X, y), X.T @ (p - y) / 7)
    hessian = _hessian("cross_entropy", w, X, y)
    assert torch.allclose(hessian, X.T @ torch.diag(p * (1 - p)) @ X / 7)


@equation(
    "squared-loss",
    statement=r"$l = \frac1{2n} \sum_i (z_i - t_i)^2$ with $t = 2y - 1$, its gradient and Hessian",
    how="value by hand, closed forms against automatic first and second derivatives",
)
def test_squared_loss():
    w, _, X, y, *_ = aadml_task()
    X, y = X[0], y[0]
    residual = X @ w - (2 * y - 1)
    loss = support_loss("squared")
    assert torch.isclose(loss(w, X, y), (residual**2).sum() / 14)
    assert torch.allclose(_gradient("squared", w, X, y), X.T @ residual / 7)
    assert torch.allclose(_hessian("squared", w, X, y), X.T @ X / 7)


@equation(
    "aadml-mgd",
    statement=r"$MGD(v; \theta)_j = \theta_{w,j} w_j + \theta_{g,j} [\nabla l_{\mathcal S}(w)]_j$",
    how="package function against the sum written out, coordinate by coordinate",
)
def test_aadml_mgd():
    g = torch.Generator().manual_seed(0)
    w, gradient, decay, rate = torch.randn(4, 3, 5, generator=g, dtype=torch.float64)
    proposed = metaad.mgd(torch.stack([w, gradient], -1), torch.stack([decay, rate], -1))
    assert torch.allclose(proposed, decay * w + rate * gradient)


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
@equation(
    "aadml-step",
    statement=r"$w'_j = (1 - \theta_{w,j}) w_j - \theta_{g,j} [\nabla l_{\mathcal S}(w)]_j$",
    how="one step of `AADML.fit` from a given start and rule against NumPy, both losses",
)
def test_aadml_step(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(7, 4)), np.array([0, 0, 1, 0, 1, 0, 0])
    w, theta = rng.normal(size=5), 0.3 * rng.normal(size=(5, 2))
    detector = metaad.AADML(inner_steps=1, loss=loss, standardize=False)
    values = {
        "start": {"weight0": w[:4, None], "bias0": w[None, 4:]},
        "rule": {"weight0": theta[:4, None], "bias0": theta[None, 4:]},
        "scaling": {"location": np.zeros((1, 1, 4)), "scale": np.ones((1, 1, 4))},
    }
    detector.meta_ = mapped(torch.as_tensor, values)
    detector.n_features_in_ = 4
    detector.fit(X, y)
    with_one = np.c_[X, np.ones(7)]
    z = with_one @ w
    residual = z - (2 * y - 1) if loss == "squared" else 1 / (1 + np.exp(-z)) - y
    expected = (1 - theta[:, 0]) * w - theta[:, 1] * (with_one.T @ residual / 7)
    adapted = detector.params_["w"]
    found = np.r_[adapted["weight0"].numpy().ravel(), adapted["bias0"].numpy().ravel()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(detector.anomaly_score(X), with_one @ expected, rtol=1e-12)


@equation(
    "inner-loop",
    statement=r"$w^{(k+1)} = w^{(k)} - MGD(v^{(k)}; \theta)$, $K$ times",
    how="package loop over all tasks at once against a plain loop over tasks and steps, $K$ = 1, 2, 5",
)
def test_inner_loop():
    w, theta, X, y, *_ = aadml_task()
    for K in (1, 2, 5):
        found = _adapted(w.clone().requires_grad_(), theta, X, y, K, "cross_entropy")
        for i in range(len(X)):
            path = w
            for _ in range(K):
                gradient = X[i].T @ (torch.sigmoid(X[i] @ path) - y[i]) / 7
                path = path - theta[:, 0] * path - theta[:, 1] * gradient
            assert torch.allclose(found[i], path, atol=1e-12)


@equation(
    "aadml-objective",
    statement=r"$L(\theta; w) = \mathbb E[l_{\mathcal Q}(w')]$, estimated by the mean over a meta-batch",
    how="the loss that the first step of `meta_fit` records against the query losses of the same tasks, one by one",
)
def test_aadml_objective():
    family = metaad.Fleet(n_machines=40)
    detector = metaad.AADML(meta_steps=1, meta_batch=5, inner_steps=2, standardize=False, random_state=3)
    detector.meta_fit(family)
    rng = np.random.default_rng(3)
    family.sample(100, rng)  # what the width and scale are read from
    metaad.MLP().init(rng, 16)
    batch = family.sample(5, rng)
    scratch = metaad.AADML(inner_steps=2, standardize=False, random_state=3)
    losses = []
    for i in range(5):
        scratch.fit(batch.support_x[i], batch.support_y[i])
        logit = torch.as_tensor(scratch.anomaly_score(batch.query_x[i]))
        losses.append(F.binary_cross_entropy_with_logits(logit, batch.query_y[i]).item())
    assert detector.history_["loss"][0] == pytest.approx(np.mean(losses), rel=1e-10)


@equation(
    "aadml-updates",
    statement=r"$\theta \leftarrow \theta - \beta_\theta \partial_\theta L$, $w \leftarrow w - \beta_w \partial_w L$",
    how="small steps lower $L$ as the gradient says; the first outer step of `meta_fit` has its signs",
)
def test_aadml_updates():
    family = metaad.Fleet(n_machines=40, n_features=4)
    settings = {"meta_steps": 1, "meta_batch": 5, "inner_steps": 1, "loss": "squared", "standardize": False}
    detector = metaad.AADML(**settings, meta_lr=0.01, random_state=3).meta_fit(family)
    rng = np.random.default_rng(3)
    family.sample(100, rng)  # what the width and scale are read from
    metaad.MLP().init(rng, 4)
    batch = family.sample(5, rng)
    with_one = [torch.cat([x, torch.ones_like(x[..., :1])], -1) for x in (batch.support_x, batch.query_x)]
    start = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    rule = torch.tensor([[0.0, 0.1]], dtype=torch.float64).repeat(5, 1).requires_grad_()
    before = _query_loss(start, rule, with_one[0], batch.support_y, with_one[1], batch.query_y, K=1)
    slopes = dict(zip(("start", "rule"), torch.autograd.grad(before, [start, rule]), strict=True))
    for name, old in {"start": start, "rule": rule}.items():
        learnt = detector.meta_[name]
        moved = torch.cat([learnt["weight0"], learnt["bias0"]])[:, 0] - old.detach()
        clear = slopes[name].abs() > 1e-5
        assert clear.sum() >= 5
        assert torch.allclose(moved[clear], -0.01 * slopes[name][clear].sign(), rtol=1e-2)

    w, theta, *tasks = aadml_task()
    w.requires_grad_(), theta.requires_grad_()
    L = _query_loss(w, theta, *tasks, K=2)
    d_theta, d_w = torch.autograd.grad(L, [theta, w])
    beta = 1e-6
    for after, slope in (((w, theta - beta * d_theta), d_theta), ((w - beta * d_w, theta), d_w)):
        drop = L - _query_loss(*(v.detach().requires_grad_() for v in after), *tasks, K=2)
        assert drop.item() == pytest.approx(beta * slope.square().sum().item(), rel=1e-3)


@equation(
    "aadml-grad-theta",
    statement=r"$\partial L/\partial\theta_j = -\mathbb E[[\nabla l_{\mathcal Q}(w')]_j\, v_j]$ for one step",
    how="closed form against automatic differentiation and central differences, both losses",
)
def test_aadml_grad_theta():
    w, theta, X, y, X_query, y_query = aadml_task()
    for loss in ("squared", "cross_entropy"):
        closed = torch.zeros_like(theta)
        for i in range(len(X)):
            gradient = _gradient(loss, w, X[i], y[i])
            state = torch.stack([w, gradient], -1)
            after = w - (theta * state).sum(-1)
            query = X_query[i].T @ (torch.sigmoid(X_query[i] @ after) - y_query[i]) / 9
            closed -= query[:, None] * state / len(X)

        def L(t, loss=loss):
            return _query_loss(w.clone().requires_grad_(), t, X, y, X_query, y_query, 1, loss)

        t = theta.clone().requires_grad_()
        assert torch.allclose(torch.autograd.grad(L(t), t)[0], closed, atol=1e-12)
        assert torch.allclose(numerical_gradient(L, theta).detach(), closed, atol=1e-8)


@equation(
    "aadml-grad-w",
    statement=r"$\partial L/\partial w = \mathbb E[J^\top \nabla l_{\mathcal Q}(w')]$, $J = \partial w'/\partial w$",
    how="closed form against automatic differentiation and central differences, both losses",
)
def test_aadml_grad_w():
    w, theta, X, y, X_query, y_query = aadml_task()
    for loss in ("squared", "cross_entropy"):
        closed = torch.zeros_like(w)
        for i in range(len(X)):
            after = w - theta[:, 0] * w - theta[:, 1] * _gradient(loss, w, X[i], y[i])
            J = torch.eye(5) - torch.diag(theta[:, 0]) - torch.diag(theta[:, 1]) @ _hessian(loss, w, X[i], y[i])
            closed += J.T @ (X_query[i].T @ (torch.sigmoid(X_query[i] @ after) - y_query[i])) / 9 / len(X)

        def L(start, loss=loss):
            return _query_loss(start.clone().requires_grad_(), theta, X, y, X_query, y_query, 1, loss)

        start = w.clone().requires_grad_()
        automatic = torch.autograd.grad(_query_loss(start, theta, X, y, X_query, y_query, 1, loss), start)[0]
        assert torch.allclose(automatic, closed, atol=1e-12)
        assert torch.allclose(numerical_gradient(L, w).detach(), closed, atol=1e-8)


@equation(
    "aadml-k-steps",
    statement="the chain rule through $K$ steps: the query gradient is carried back by $J_k^\\top$",
    how="backward recursion against automatic differentiation, $K$ = 1, 2, 4, both losses",
)
def test_aadml_k_steps():
    w, theta, X, y, X_query, y_query = aadml_task()
    for loss, K in itertools.product(("squared", "cross_entropy"), (1, 2, 4)):
        d_theta, d_w = torch.zeros_like(theta), torch.zeros_like(w)
        for i in range(len(X)):
            path, visited = w, []
            for _ in range(K):
                state = torch.stack([path, _gradient(loss, path, X[i], y[i])], -1)
                J = torch.eye(5) - torch.diag(theta[:, 0])
                J = J - torch.diag(theta[:, 1]) @ _hessian(loss, path, X[i], y[i])
                visited.append((state, J))
                path = path - (theta * state).sum(-1)
            a = X_query[i].T @ (torch.sigmoid(X_query[i] @ path) - y_query[i]) / 9
            for state, J in reversed(visited):
                d_theta -= a[:, None] * state / len(X)
                a = J.T @ a
            d_w += a / len(X)
        leaves = [theta.clone().requires_grad_(), w.clone().requires_grad_()]
        L = _query_loss(leaves[1], leaves[0], X, y, X_query, y_query, K, loss)
        for automatic, closed in zip(torch.autograd.grad(L, leaves), (d_theta, d_w), strict=True):
            assert torch.allclose(automatic, closed, atol=1e-12)


@equation(
    "maml-inner",
    statement=r"the rule $(0, \alpha)$ is MAML's step $w' = w - \alpha \nabla l_{\mathcal S}(w)$",
    how="scores of `MAML` and of `AADML` with that rule, equal to the last bit, and one step against NumPy",
)
def test_maml_inner():
    task = metaad.Fleet(n_machines=5).sample(1, 0)
    support, labels, query = task.support_x[0], task.support_y[0], task.query_x[0]
    for K in (1, 5):
        settings = {"inner_steps": K, "inner_lr": 0.3, "standardize": False}
        fixed = metaad.MAML(**settings).fit(support, labels).anomaly_score(query)
        rule = metaad.AADML(**settings).fit(support, labels).anomaly_score(query)
        np.testing.assert_allclose(fixed, rule, rtol=0, atol=1e-13)
        if K == 1:  # from w = 0: sigma(0) = 1/2
            with_one = np.c_[support.numpy(), np.ones(7)]
            after = -0.3 * with_one.T @ (0.5 - labels.numpy()) / 7
            np.testing.assert_allclose(fixed, np.c_[query.numpy(), np.ones(30)] @ after, rtol=1e-12)


@equation(
    "aadml-offset",
    statement=r"squared loss, step 1 on the bias alone: $g(x; w') = \omega^\top(x - \bar x_{\mathcal S}) + \bar t$",
    how="the package's step with that rule, on points far from the origin",
)
def test_aadml_offset():
    w, _, X, y, *_ = aadml_task()
    X = X + torch.tensor([100.0, -50, 20, 7, 0], dtype=torch.float64)
    theta = torch.zeros(5, 2, dtype=torch.float64)
    theta[4, 1] = 1
    after = _adapted(w.clone().requires_grad_(), theta, X, y, 1)
    mean, target = X[..., :4].mean(1, keepdim=True), (2 * y - 1).mean(1, keepdim=True)
    expected = (X[..., :4] - mean) @ w[:4] + target
    assert torch.allclose((X @ after.unsqueeze(-1)).squeeze(-1), expected, atol=1e-10)
