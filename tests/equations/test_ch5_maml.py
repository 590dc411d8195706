"""Equations of chapter 5, MAML."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sympy
import torch
import torch.nn.functional as F

import metaad_tutorial as metaad
from equations import equation
from equations.common import aadml_task, numerical_gradient, support_loss
from metaad_tutorial.convolutions import support_norm
from metaad_tutorial.inner_loop import inner_loop, per_task
from metaad_tutorial.losses import balanced_mean, cross_entropy, focal
from metaad_tutorial.tree import mapped


def _tanh_loss(w, X, y, hidden=3):
    """Cross-entropy of a network with tanh units, all parameters in one vector: w (..., h*d + h) -> (...)."""
    d = X.shape[-1]
    inner = w[..., : hidden * d].unflatten(-1, (d, hidden))
    z = (torch.tanh(X @ inner) @ w[..., hidden * d :].unsqueeze(-1)).squeeze(-1)
    return F.binary_cross_entropy_with_logits(z, y, reduction="none").mean(-1)


def _maml_task(seed=0):
    """Start, and T tasks, for the network of `_tanh_loss`: w, X, y, X_query, y_query."""
    _, _, X, y, X_query, y_query = aadml_task(seed)
    g = torch.Generator().manual_seed(seed + 100)
    return torch.randn(3 * X.shape[-1] + 3, generator=g, dtype=torch.float64), X, y, X_query, y_query


def _slope(loss, w, *data):
    w = w.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(w, *data).sum(), w)[0]


def _curvature(loss, w, *data):
    return torch.autograd.functional.hessian(lambda v: loss(v, *data), w.detach())


def _descent(loss, w, alpha, K, *data):
    """The points of K plain gradient steps on one task."""
    path = [w]
    for _ in range(K):
        path.append(path[-1] - alpha * _slope(loss, path[-1], *data))
    return path


def _maml_adapt(loss, w, alpha, K, second_order=True):
    """The package's inner loop; loss: (T, p) -> (T,) or, from a list, one loss for each task."""

    one = loss if callable(loss) else lambda v: torch.stack([own(v[i]) for i, own in enumerate(loss)])
    n_tasks = 3 if callable(loss) else len(loss)
    return inner_loop(
        lambda p: one(p["w"]), per_task({"w": w}, n_tasks), lambda n, v, grad, k: v - alpha * grad, K, second_order
    )["w"]


@equation(
    "maml-gradient",
    statement=r"$\nabla_w l_{\mathcal Q}(w^{(K)}) = \prod_k (I - \alpha H_{\mathcal S}(w^{(k)}))\, "
    r"\nabla l_{\mathcal Q}(w^{(K)})$, the first step's factor on the left",
    how="product of explicit Hessians against autograd through the package's loop and central differences "
    "through a plain one, network with hidden units, $K$ = 1, 2, 4",
)
def test_maml_gradient():
    w, X, y, X_query, y_query = _maml_task()
    for K in (1, 2, 4):
        product = torch.zeros_like(w)
        for i in range(3):
            *path, last = _descent(_tanh_loss, w, 0.7, K, X[i], y[i])
            a = _slope(_tanh_loss, last, X_query[i], y_query[i])
            for point in reversed(path):
                a = (torch.eye(len(w)) - 0.7 * _curvature(_tanh_loss, point, X[i], y[i])) @ a
            product += a / 3
        start = w.clone().requires_grad_()
        adapted = _maml_adapt(lambda v: _tanh_loss(v, X, y), start, 0.7, K)
        automatic = torch.autograd.grad(_tanh_loss(adapted, X_query, y_query).mean(), start)[0]
        assert torch.allclose(automatic, product, atol=1e-12)

        def L(v, K=K):
            ends = [_descent(_tanh_loss, v, 0.7, K, X[i], y[i])[-1] for i in range(3)]
            return _tanh_loss(torch.stack(ends), X_query, y_query).mean()

        assert torch.allclose(numerical_gradient(L, w), product, atol=1e-8)


@equation(
    "hessian-vector",
    statement=r"$H_{\mathcal S}\, a = \nabla_w (\nabla l_{\mathcal S}(w)^\top a)$ with $a$ held constant",
    how="two backward passes against the explicit Hessian and differences of two gradients",
)
def test_hessian_vector():
    w, X, y, *_ = _maml_task()
    a = torch.linspace(-1, 1, len(w), dtype=torch.float64)
    v = w.clone().requires_grad_()
    slope = torch.autograd.grad(_tanh_loss(v, X[0], y[0]), v, create_graph=True)[0]
    twice = torch.autograd.grad(slope @ a, v)[0]
    assert torch.allclose(twice, _curvature(_tanh_loss, w, X[0], y[0]) @ a, atol=1e-12)
    shifted = [_slope(_tanh_loss, w + h * a, X[0], y[0]) for h in (1e-5, -1e-5)]
    assert torch.allclose(twice, (shifted[0] - shifted[1]) / 2e-5, atol=1e-8)


def _quadratic_tasks(T=5, d=3, seed=0):
    """Curvatures (T, d, d) with eigenvalues in (0, 1) and optima (T, d)."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(T, d, d)))[0]
    values = rng.uniform(0.05, 0.95, size=(T, d))
    return torch.as_tensor(turn * values[:, None] @ turn.transpose(0, 2, 1)), torch.as_tensor(rng.normal(size=(T, d)))


@equation(
    "maml-quadratic",
    statement=r"for $l_i = \frac12 (w - c_i)^\top H_i (w - c_i)$ the best start is the mean of the $c_i$ "
    r"with the weights $H_i (I - \alpha H_i)^{2K}$",
    how="gradient of the package's query loss vanishes there to 1e-10, a Newton step from elsewhere lands there, and "
    "adapted parameters are $c_i + (I - \\alpha H_i)^K (w - c_i)$; $K$ = 1, 3",
)
def test_maml_quadratic():
    H, c = _quadratic_tasks()
    losses = [lambda v, i=i: (v - c[i]) @ H[i] @ (v - c[i]) / 2 for i in range(5)]
    for K in (1, 3):
        shrink = torch.linalg.matrix_power(torch.eye(3) - 0.8 * H, K)
        weight = shrink @ H @ shrink
        best = torch.linalg.solve(weight.sum(0), (weight @ c.unsqueeze(-1)).sum(0))[:, 0]

        def L(v, K=K):
            adapted = _maml_adapt(losses, v, 0.8, K)
            return torch.stack([loss(adapted[i]) for i, loss in enumerate(losses)]).mean()

        start = best.clone().requires_grad_()
        assert torch.autograd.grad(L(start), start)[0].abs().max() < 1e-10
        other = torch.ones(3, dtype=torch.float64, requires_grad=True)
        slope = torch.autograd.grad(L(other), other)[0]
        newton = other.detach() - torch.linalg.solve(torch.autograd.functional.hessian(L, other.detach()), slope)
        assert torch.allclose(newton, best, atol=1e-10)
        closed = c + (shrink @ (other.detach() - c).unsqueeze(-1)).squeeze(-1)
        assert torch.allclose(_maml_adapt(losses, other, 0.8, K), closed, atol=1e-12)


@equation(
    "maml-weights",
    statement=r"weights of an optimum $c_i$ of curvature $\lambda_i$ in the start: joint training $\lambda$, MAML "
    r"$\lambda(1-\alpha\lambda)^{2K}$, FOMAML $\lambda(1-\alpha\lambda)^K$, "
    r"Reptile $(1-(1-\alpha\lambda)^K)/(\alpha K)$",
    how="one parameter, five tasks: each method's own update, computed by the package's inner loop, is the weighted "
    "mean of the distances to the optima, and vanishes at their weighted mean alone; MAML's weight is largest at "
    "$\\lambda = 1/(\\alpha(2K+1))$ (sympy)",
)
def test_maml_weights():
    rng = np.random.default_rng(0)
    lam, c = torch.as_tensor(rng.uniform(0.1, 1.2, 5)), torch.as_tensor(rng.normal(size=5))
    alpha, K = 0.7, 3
    losses = [lambda v, i=i: (lam[i] * (v - c[i]) ** 2 / 2).sum() for i in range(5)]

    def query(v, second_order):
        adapted = _maml_adapt(losses, v, alpha, K, second_order)
        return torch.stack([loss(adapted[i]) for i, loss in enumerate(losses)]).mean()

    updates = {
        "joint": lambda v: torch.autograd.grad(sum(loss(v) for loss in losses), v)[0] / 5,
        "MAML": lambda v: torch.autograd.grad(query(v, True), v)[0],
        "FOMAML": lambda v: torch.autograd.grad(query(v, False), v)[0],
        "Reptile": lambda v: (v - _maml_adapt(losses, v, alpha, K)).mean() / (alpha * K),
    }
    factor = 1 - alpha * lam
    weights = {
        "joint": lam,
        "MAML": lam * factor ** (2 * K),
        "FOMAML": lam * factor**K,
        "Reptile": (1 - factor**K) / (alpha * K),
    }
    for name, weight in weights.items():
        rest = ((weight * c).sum() / weight.sum()).reshape(1).requires_grad_()
        assert updates[name](rest).abs().max() < 1e-12
        assert all(updates[other](rest).abs().max() > 1e-4 for other in updates if other != name)
        elsewhere = torch.ones(1, dtype=torch.float64, requires_grad=True)
        assert torch.allclose(updates[name](elsewhere), (weight * (elsewhere - c)).mean(), rtol=1e-12)

    curvature, step, steps = sympy.symbols("lambda alpha K", positive=True)
    slope = sympy.diff(sympy.log(curvature * (1 - step * curvature) ** (2 * steps)), curvature)
    top = 1 / (step * (2 * steps + 1))
    assert sympy.simplify(slope.subs(curvature, top)) == 0
    assert sympy.simplify(sympy.diff(slope, curvature).subs(curvature, top)).is_negative


@equation(
    "maml-first-order",
    statement=r"first-order MAML takes $\nabla l_{\mathcal Q}(w^{(K)})$; what it drops is "
    r"$\alpha K H_{\mathcal S} \nabla l_{\mathcal Q}(w) + O(\alpha^2)$",
    how="the package's first-order gradient against the query gradient at the adapted parameters; the rest after the "
    "stated term falls by 4 when $\\alpha$ is halved",
)
def test_maml_first_order():
    w, X, y, X_query, y_query = _maml_task()
    K, rests = 3, []
    for alpha in (4e-3, 2e-3, 1e-3):
        start = w.clone().requires_grad_()
        grads = []
        for second_order in (True, False):
            adapted = _maml_adapt(lambda v: _tanh_loss(v, X, y), start, alpha, K, second_order)
            grads.append(torch.autograd.grad(_tanh_loss(adapted, X_query, y_query).mean(), start)[0])
        ends = torch.stack([_descent(_tanh_loss, w, alpha, K, X[i], y[i])[-1] for i in range(3)])
        assert torch.allclose(grads[1], _slope(_tanh_loss, ends, X_query, y_query).mean(0), atol=1e-12)
        dropped = sum(
            _curvature(_tanh_loss, w, X[i], y[i]) @ _slope(_tanh_loss, w, X_query[i], y_query[i]) for i in range(3)
        )
        rests.append((grads[1] - grads[0] - alpha * K * dropped / 3).norm())
    for larger, smaller in itertools.pairwise(rests):
        assert larger / smaller == pytest.approx(4, rel=0.05)


@equation(
    "maml-expansion",
    statement=r"$l_{\mathcal Q}(w^{(K)}) = l_{\mathcal Q}(w) - \alpha K\, \nabla l_{\mathcal S}(w)^\top "
    r"\nabla l_{\mathcal Q}(w) + O(\alpha^2)$",
    how="the rest falls by 4 when $\\alpha$ is halved, $K$ = 1, 3",
)
def test_maml_expansion():
    w, X, y, X_query, y_query = _maml_task()
    support, query = (X[0], y[0]), (X_query[0], y_query[0])
    product = _slope(_tanh_loss, w, *support) @ _slope(_tanh_loss, w, *query)
    for K in (1, 3):
        rests = []
        for alpha in (4e-3, 2e-3, 1e-3):
            after = _tanh_loss(_descent(_tanh_loss, w, alpha, K, *support)[-1], *query)
            rests.append((after - _tanh_loss(w, *query) + alpha * K * product).abs())
        for larger, smaller in itertools.pairwise(rests):
            assert larger / smaller == pytest.approx(4, rel=0.05)


@equation(
    "reptile",
    statement=r"$(w - w^{(K)})/(\alpha K)$ is the mean of the $K$ minibatch gradients along the way",
    how="gradient of the package's outer loss against NumPy: minibatches, gradients and their mean written out",
)
def test_reptile():
    family = metaad.Fleet(n_machines=20, n_features=4)
    detector = metaad.Reptile(inner_steps=3, inner_lr=0.4, meta_steps=2, standardize=False, random_state=0)
    detector.meta_fit(family)
    batch = family.sample(5, 1)
    meta = mapped(lambda value: value.clone().requires_grad_(), detector.meta_)
    weight, bias = (meta["start"][name] for name in ("weight0", "bias0"))
    found = torch.autograd.grad(detector.outer_loss(meta, batch), [weight, bias])
    expected = np.zeros(5)
    for i in range(5):
        x = np.r_[batch.support_x[i].numpy(), batch.query_x[i].numpy()]
        x, y = np.c_[x, np.ones(len(x))], np.r_[batch.support_y[i].numpy(), batch.query_y[i].numpy()]
        w = torch.cat([weight, bias]).detach().numpy()[:, 0]
        start = w
        for k in range(3):
            own, label = x[k::3], y[k::3]
            slope = own.T @ (1 / (1 + np.exp(-own @ w)) - label) / len(own)
            w, expected = w - 0.4 * slope, expected + slope / 3 / 5
        assert np.abs((start - w) / 1.2).max() > 0.01
    np.testing.assert_allclose(torch.cat(found).numpy()[:, 0], expected, rtol=1e-10)


@equation(
    "reptile-expansion",
    statement=r"$\mathbb E[(w - w^{(K)})/(\alpha K)] = \nabla \mathbb E[l_k] - \frac{\alpha (K-1)}{4} "
    r"\nabla \mathbb E[\nabla l_j^\top \nabla l_k] + O(\alpha^2)$, $j \neq k$",
    how="exact mean over all orders of 3 and of 4 minibatches; the rest falls by 4 when $\\alpha$ is halved",
)
def test_reptile_expansion():
    w, X, y, X_query, y_query = _maml_task()
    x, label = torch.cat([X[0], X_query[0]])[:12], torch.cat([y[0], y_query[0]])[:12]
    for K in (3, 4):
        batches = [(x[k::K], label[k::K]) for k in range(K)]
        v = w.clone().requires_grad_()
        slopes = [torch.autograd.grad(_tanh_loss(v, *b), v, create_graph=True)[0] for b in batches]
        pairs = [slopes[j] @ slopes[k] for j in range(K) for k in range(K) if j != k]
        inner = torch.autograd.grad(sum(pairs) / len(pairs), v)[0]
        rests = []
        for alpha in (4e-3, 2e-3, 1e-3):
            pulls = []
            for order in itertools.permutations(batches):
                end = w
                for batch in order:
                    end = end - alpha * _slope(_tanh_loss, end, *batch)
                pulls.append((w - end) / (alpha * K))
            expansion = sum(slopes).detach() / K - alpha * (K - 1) / 4 * inner
            rests.append((sum(pulls) / len(pulls) - expansion).norm())
        for larger, smaller in itertools.pairwise(rests):
            assert larger / smaller == pytest.approx(4, rel=0.05)


@equation(
    "focal-loss",
    statement=r"$-(1 - p)^\gamma \log p$ with $p = \sigma(tz)$ the probability given to the right label",
    how="package loss against NumPy; $\\gamma = 0$ gives the cross-entropy",
)
def test_focal_loss():
    z = torch.linspace(-30, 30, 61, dtype=torch.float64)
    for label in (0.0, 1.0):
        y = torch.full_like(z, label)
        p = 1 / (1 + np.exp(-(2 * label - 1) * z.numpy()))
        for gamma in (0.0, 0.5, 2.0):
            np.testing.assert_allclose(focal(z, y, gamma).numpy(), -((1 - p) ** gamma) * np.log(p), atol=1e-9)
        assert torch.allclose(focal(z, y, 0.0), cross_entropy(z, y), rtol=1e-12)


@equation(
    "focal-gradient",
    statement=r"$d\ell/dz = -t(1-p)^\gamma[1 - p - \gamma p \log p]$",
    how="closed form against automatic and symbolic differentiation; $\\gamma = 0$ gives $\\sigma(z) - y$",
)
def test_focal_gradient():
    z = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    for label in (0.0, 1.0):
        y, t = torch.full_like(z, label), 2 * label - 1
        for gamma in (0.0, 1.0, 2.0, 3.5):
            p = torch.sigmoid(t * z)
            closed = -t * (1 - p) ** gamma * (1 - p - gamma * p * torch.log(p))
            automatic = torch.autograd.grad(focal(z, y, gamma).sum(), z)[0]
            assert torch.allclose(automatic, closed, atol=1e-12)
            if gamma == 0:
                assert torch.allclose(closed, torch.sigmoid(z) - y)
    s, gamma = sympy.symbols("s gamma", real=True)
    p = 1 / (1 + sympy.exp(-s))
    slope = sympy.diff(-((1 - p) ** gamma) * sympy.log(p), s)
    closed = -((1 - p) ** gamma) * (1 - p - gamma * p * sympy.log(p))
    assert abs(sympy.N((slope - closed).subs({s: 0.7, gamma: 1.3}))) < 1e-14


@equation(
    "balanced-loss",
    statement="half the mean loss of the normal points plus half that of the anomalies",
    how="the package against NumPy, task by task; the plain mean where a class is absent",
)
def test_balanced_loss():
    rng = np.random.default_rng(0)
    loss = rng.uniform(size=(3, 12))
    y = np.zeros((3, 12))
    y[0, [1, 7]] = y[1, :9] = 1
    found = balanced_mean(torch.as_tensor(loss), torch.as_tensor(y)).numpy()
    for i in (0, 1):
        assert found[i] == pytest.approx((loss[i, y[i] == 0].mean() + loss[i, y[i] == 1].mean()) / 2)
    assert found[2] == pytest.approx(loss[2].mean())


@equation(
    "first-step",
    statement=r"first step from $w = 0$: plain $\omega' = \frac\alpha2[\pi(\bar x_+ - \bar x_-) - (1-2\pi)\bar x_-]$, "
    r"$b' = -\frac\alpha2(1-2\pi)$; balanced $\omega' = \frac\alpha4(\bar x_+ - \bar x_-)$, $b' = 0$",
    how="one step of `MAML.fit` against both closed forms, 10 normal points and 2 anomalies",
)
def test_first_step():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 4)) + 1.5, np.zeros(12, dtype=int)
    y[[3, 8]] = 1
    normal, anomalous, pi, alpha = X[y == 0].mean(0), X[y == 1].mean(0), 2 / 12, 0.6
    expected = {
        False: np.r_[pi * (anomalous - normal) - (1 - 2 * pi) * normal, -(1 - 2 * pi)] * alpha / 2,
        True: np.r_[anomalous - normal, 0] * alpha / 4,
    }
    for balanced, values in expected.items():
        detector = metaad.MAML(inner_steps=1, inner_lr=alpha, balanced=balanced, standardize=False).fit(X, y)
        adapted = detector.params_["w"]
        found = np.r_[adapted["weight0"].numpy().ravel(), adapted["bias0"].numpy().ravel()]
        np.testing.assert_allclose(found, values, atol=1e-12)


@equation(
    "meta-sgd",
    statement=r"$w^{(k+1)} = w^{(k)} - \alpha \odot \nabla l_{\mathcal S}(w^{(k)})$ and "
    r"$\partial L/\partial\alpha = -\mathbb E[\sum_k a^{(k+1)} \odot \nabla l_{\mathcal S}(w^{(k)})]$",
    how="steps of `MAML.fit` with learnt rates against a plain loop; gradient against a backward recursion with "
    "explicit Hessians and against the step-size half of AADML's",
)
def test_meta_sgd():
    family = metaad.Fleet(n_machines=20, n_features=4)
    settings = {"inner_steps": 3, "inner_lr": 0.4, "meta_steps": 2, "standardize": False, "random_state": 0}
    detector = metaad.MAML(learn_lr="parameter", **settings).meta_fit(family)
    batch = family.sample(5, 1)
    meta = mapped(lambda value: value.clone().requires_grad_(), detector.meta_)
    found = torch.autograd.grad(detector.outer_loss(meta, batch), [meta["rate"][name] for name in ("weight0", "bias0")])

    start, alpha = (
        torch.cat([detector.meta_[part]["weight0"], detector.meta_[part]["bias0"]])[:, 0] for part in ("start", "rate")
    )
    assert not torch.allclose(alpha, alpha[0])  # learnt, so no longer all alike
    loss, expected = support_loss("cross_entropy"), torch.zeros(5, dtype=torch.float64)
    for i in range(5):
        x, query = (torch.cat([v[i], torch.ones_like(v[i, :, :1])], -1) for v in (batch.support_x, batch.query_x))
        path, slopes = [start], []
        for _ in range(3):
            residual = 1 / (1 + (-x @ path[-1]).exp()) - batch.support_y[i]
            slopes.append(x.T @ residual / len(x))
            path.append(path[-1] - alpha * slopes[-1])
        fitted = metaad.MAML(learn_lr="parameter", **settings)
        fitted.meta_, fitted.n_features_in_ = detector.meta_, 4
        fitted.fit(batch.support_x[i], batch.support_y[i])
        w = fitted.params_["w"]
        adapted = torch.cat([w["weight0"], w["bias0"]], 1)[0, :, 0]
        assert torch.allclose(adapted, path[-1], atol=1e-12)
        a = query.T @ (torch.sigmoid(query @ path[-1]) - batch.query_y[i]) / len(query)
        for point, slope in zip(reversed(path[:-1]), reversed(slopes), strict=True):
            expected -= a * slope / 5
            a = a - _curvature(loss, point, x, batch.support_y[i]) @ (alpha * a)
    assert torch.allclose(torch.cat(found)[:, 0], expected, atol=1e-12)

    rule = mapped(lambda rate: torch.stack([torch.zeros_like(rate), rate], -1).requires_grad_(), detector.meta_["rate"])
    loss = metaad.AADML(**settings).outer_loss({"start": meta["start"], "rule": rule}, batch)
    theirs = torch.autograd.grad(loss, [rule["weight0"], rule["bias0"]])
    for own, other in zip(found, theirs, strict=True):
        assert torch.allclose(own, other[..., 1], atol=1e-12)


@equation(
    "support-normalisation",
    statement=r"$\mathrm{norm}(h) = (h - m_{\mathcal S})/\sqrt{v_{\mathcal S} + 10^{-5}}$ with mean and variance over "
    "the support set",
    how="the package's function against NumPy; scores of a network with it are the same for all query points, half of "
    "them, and one; PyTorch's own layer in training mode fails the same test",
)
def test_support_normalisation():
    rng = np.random.default_rng(0)
    h = rng.normal(2, 3, size=(2, 15, 4))
    mean, variance = h[:, :5].mean(1, keepdims=True), h[:, :5].var(1, keepdims=True)
    found = support_norm(torch.as_tensor(h)[..., None, None], 5)[..., 0, 0].numpy()
    np.testing.assert_allclose(found, (h - mean) / np.sqrt(variance + 1e-5), rtol=1e-12)

    layers = (torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    module = torch.nn.Sequential(*layers).double()
    support, query, labels = rng.normal(size=(7, 4)), rng.normal(size=(10, 4)), [0, 0, 0, 0, 0, 1, 1]
    detector = metaad.MAML(network=module).fit(support, labels)
    scores = detector.anomaly_score(query)
    np.testing.assert_allclose(detector.anomaly_score(query[::-1]), scores[::-1], rtol=1e-10)
    np.testing.assert_allclose(detector.anomaly_score(query[::2]), scores[::2], rtol=1e-10)
    np.testing.assert_allclose(detector.anomaly_score(query[:1]), scores[:1], rtol=1e-10)
    with torch.no_grad():
        ordinary = module(torch.as_tensor(query))
        assert not torch.allclose(module(torch.as_tensor(query[::2])), ordinary[::2], atol=1e-3)
