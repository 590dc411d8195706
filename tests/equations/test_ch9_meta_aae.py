"""Equations of chapter 9, Which anomalies are worth inventing?"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy import optimize, special, stats
from sklearn.base import clone

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial import meta_aae
from metaad_tutorial.tree import mapped


def _meta_aae(unseen=0.75, weight=10.0):
    """A MetaAAE, random meta-parameters for it, and three tiny tasks of standardised points."""
    family = metaad.Fleet(4, 0, 5, 5, n_machines=20, n_features=3)
    detector = metaad.MetaAAE(width=4, unseen=unseen, weight=weight, meta_steps=1, random_state=0)
    detector.meta_fit(family)
    rng = np.random.default_rng(1)
    start = mapped(lambda v: v + 0.4 * torch.tensor(rng.normal(size=v.shape)), detector.meta_["start"])
    return detector, {"start": start}, detector.scaled(family.sample(3, 5))


def _codes(meta, x, support):
    """E of each point less the mean of E over the support points, by NumPy: (N, d), (S, d) -> (N, 3)."""
    weight, bias = (meta["start"]["E"][name].numpy() for name in ("weight0", "bias0"))
    codes, own = (points @ weight + bias for points in (x, support))
    return codes - own.mean(0)


def _layers(params):
    return [params[name] for name in ("weight0", "bias0", "weight1", "bias1")]


def _logit(weights, z):
    """C of the codes z (N, 3), with weights (weight0, bias0, weight1, bias1) as tensors."""
    seen = torch.cat([z, torch.linalg.vector_norm(z, dim=1)[:, None] - z.shape[1] ** 0.5], 1)
    return (torch.clamp(seen @ weights[0] + weights[1], min=0) @ weights[2] + weights[3])[:, 0]


def _step(meta, z, lr=0.1):
    """C's weights after one step on codes z (S, 3) of support points against G's displacements of them."""
    g = _layers(meta["start"]["G"])
    moved = z + torch.clamp(z @ g[0] + g[1], min=0) @ g[2] + g[3]
    w = [v.clone().requires_grad_() for v in _layers(meta["start"]["C"])]
    normal, virtual = torch.sigmoid(_logit(w, z)), torch.sigmoid(_logit(w, moved))
    loss = -torch.log(1 - normal).mean() - torch.log(virtual).mean()
    return [(v - lr * grad).detach() for v, grad in zip(w, torch.autograd.grad(loss, w), strict=True)]


@equation(
    "meta-aae-code",
    statement=r"$z(x) = E(x) - \frac1n\sum_i E(x_i)$",
    how="the package's codes against NumPy; moving a whole task leaves them as they are, moving a query does not",
)
def test_meta_aae_code():
    detector, meta, tasks = _meta_aae()
    with torch.no_grad():
        params = detector.adapt(meta, tasks.support_x, tasks.support_y)
        codes = detector.codes(params, tasks.query_x)
    for t in range(3):
        query, support = tasks.query_x[t].numpy(), tasks.support_x[t].numpy()
        want = _codes(meta, query, support)
        np.testing.assert_allclose(codes[t], want, atol=1e-10)
        np.testing.assert_allclose(_codes(meta, query + 3, support + 3), want, atol=1e-10)
        assert np.abs(_codes(meta, query + 3, support) - want).max() > 0.1


@equation(
    "meta-aae-score",
    statement=r"$g(x; w) = \mathrm{MLP}_w\big(z(x), \lVert z(x)\rVert - \sqrt{d_z}\big)$",
    how="the package's logits against the two layers written out",
)
def test_meta_aae_score():
    detector, meta, _ = _meta_aae()
    z = torch.tensor(np.random.default_rng(0).normal(size=(2, 7, 3)))
    logits = detector.judge(meta["start"]["C"], z)
    for t in range(2):
        torch.testing.assert_close(logits[t], _logit(_layers(meta["start"]["C"]), z[t]), rtol=0, atol=1e-10)


@equation(
    "meta-aae-inner",
    statement=r"$w' = w - \alpha \nabla_w L_{\mathrm{dis}}(w)$, against $\hat z_i = z_i + G(z_i)$",
    how="the package's adapted discriminator against the step written out with logarithms of probabilities",
)
def test_meta_aae_inner():
    detector, meta, tasks = _meta_aae()
    with torch.no_grad():
        got = detector.adapt(meta, tasks.support_x, tasks.support_y)["C"]
    for t in range(3):
        x = tasks.support_x[t].numpy()
        want = _step(meta, torch.tensor(_codes(meta, x, x)))
        for value, expected in zip(_layers(got), want, strict=True):
            torch.testing.assert_close(value[t], expected, rtol=0, atol=1e-9)


@equation(
    "meta-aae-stretch",
    statement=r"$\check z = \lVert z(x^+)\rVert\, z(x^-) / \lVert z(x^-)\rVert$",
    how="`stretched` against a loop over pairs; rotating the anomalies changes nothing",
)
def test_meta_aae_stretch():
    rng = np.random.default_rng(0)
    normal, anomalous = rng.normal(size=(5, 3)), 3 * rng.normal(size=(5, 3))
    want = [np.sqrt(a @ a) / np.sqrt(b @ b) * b for a, b in zip(anomalous, normal, strict=True)]
    turn = stats.ortho_group.rvs(3, random_state=0)
    for points in (anomalous, anomalous @ turn):
        got = meta_aae.stretched(torch.tensor(normal), torch.tensor(points))
        np.testing.assert_allclose(got, want, atol=1e-12)


@equation(
    "meta-aae-prior",
    statement=r"$L_{\mathrm{prior}} = (\operatorname{tr} S - \log\det S - d_z)/(2 d_z)$, a divergence per coordinate",
    how="`prior` against the mean log ratio of both densities over 400,000 draws, within 0.01",
)
def test_meta_aae_prior():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400_000, 2)) @ np.array([[1.5, 0.4], [0.0, 0.6]])
    moment = z.T @ z / len(z)
    log_ratio = stats.multivariate_normal([0, 0], moment).logpdf(z) - stats.multivariate_normal([0, 0]).logpdf(z)
    assert abs(meta_aae.prior(torch.tensor(z)).item() - log_ratio.mean() / 2) < 0.01 < 0.2 < log_ratio.mean() / 2


@equation(
    "meta-aae-objective",
    statement=r"query loss, share $\kappa$ of it stretched, plus $\eta\,(L_{\mathrm{rec}}/d + L_{\mathrm{prior}})$",
    how="the package's outer loss against each term written out; no gradient reaches E through stretched points",
)
def test_meta_aae_objective():
    detector, meta, tasks = _meta_aae(unseen=0.3, weight=2.0)
    terms, every, errors = [], [], []
    for t in range(3):
        support, query, y = (part[t].numpy() for part in (tasks.support_x, tasks.query_x, tasks.query_y))
        w = _step(meta, torch.tensor(_codes(meta, support, support)))
        z = _codes(meta, query, support)
        lengths = np.linalg.norm(z, axis=1)
        far = z[y == 0] * (lengths[y == 1] / lengths[y == 0])[:, None]
        p, p_far = (torch.sigmoid(_logit(w, torch.tensor(points))).numpy() for points in (z, far))
        terms.append(-np.log(1 - p[y == 0]).mean() / 2 - 0.35 * np.log(p[y == 1]).mean() - 0.15 * np.log(p_far).mean())
        every.append(z[y == 0])
        x, start = query[y == 0], mapped(torch.Tensor.numpy, meta["start"])
        code = x @ start["E"]["weight0"] + start["E"]["bias0"]
        rebuilt = code @ start["D"]["weight0"] + start["D"]["bias0"]
        errors.append(((x - rebuilt) ** 2).sum(1))
    moment = np.concatenate(every).T @ np.concatenate(every) / 15
    divergence = (np.trace(moment) - np.log(np.linalg.det(moment)) - 3) / 6
    want = np.mean(terms) + 2.0 * (np.mean(errors) / 3 + divergence)
    leaves = mapped(lambda v: v.clone().requires_grad_(), meta)
    assert abs(detector.outer_loss(leaves, tasks).item() - want) < 1e-4
    # All anomalies stretched and no loss of its own: E is then taught by normal points alone. Longer anomalies change
    # the stretched points, whose gradient must not reach E.
    alone, grads = clone(detector).set_params(unseen=1.0, weight=0.0, inner_steps=0), []
    for factor in (1.0, 1.7):
        leaves = mapped(lambda v: v.clone().requires_grad_(), meta)
        longer = tasks.query_x * torch.where(tasks.query_y == 1, factor, 1.0)[..., None]
        loss = alone.outer_loss(leaves, dataclasses.replace(tasks, query_x=longer))
        grads.append(torch.autograd.grad(loss, leaves["start"]["E"]["weight0"])[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-12)
    assert grads[0].abs().max() > 1e-3


@equation(
    "meta-aae-gradient",
    statement=r"$\partial l_{\mathcal{Q}}/\partial\hat z = \alpha p[\nabla_{\omega'} l_{\mathcal{Q}}"
    r" - (1-p)(\hat z^\top \nabla_{\omega'} l_{\mathcal{Q}} + \partial_{b'} l_{\mathcal{Q}})\,\omega]$",
    how="central differences of the query loss after one step of a linear discriminator",
)
def test_meta_aae_gradient():
    rng = np.random.default_rng(3)
    z, z_hat, omega, b, alpha = rng.normal(size=3), rng.normal(size=3), rng.normal(size=3), 0.2, 0.8
    queries, y = rng.normal(size=(6, 3)), np.array([0, 0, 1, 1, 1, 0])
    sigma = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731

    def after(point):
        normal, p = sigma(omega @ z + b), 1 - sigma(omega @ point + b)
        return omega - alpha * (normal * z - p * point), b - alpha * (normal - p)

    def query_loss(point):
        p = sigma(queries @ after(point)[0] + after(point)[1])
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    error = sigma(queries @ after(z_hat)[0] + after(z_hat)[1]) - y
    to_omega, to_b, p = error @ queries / 6, error.mean(), 1 - sigma(omega @ z_hat + b)
    formula = alpha * p * (to_omega - (1 - p) * (z_hat @ to_omega + to_b) * omega)
    ends = [[query_loss(z_hat + sign * 1e-5 * axis) for sign in (1, -1)] for axis in np.eye(3)]
    np.testing.assert_allclose(formula, [(up - down) / 2e-5 for up, down in ends], rtol=1e-6)


@equation(
    "meta-aae-blind",
    statement=r"$\text{AUROC}_{\text{blind}} = \Pr(F_{d,d}(\lambda_+, \lambda_-) > 1)$, "
    r"$\lambda_\pm = \frac{\Delta^2}{2}\big(\frac{1}{\sqrt2} \pm \frac{1}{\sqrt{2+4/n}}\big)^2$",
    how="draws of both chi-squares against simulated tasks, 100,000 each, within 0.006; the limit is `novel-subspace`",
)
def test_meta_aae_blind():
    def formula(d, n, delta, rng, draws=100_000):
        plus, minus = (delta**2 / 2 * (1 / np.sqrt(2) + s / np.sqrt(2 + 4 / n)) ** 2 for s in (1, -1))
        upper = rng.noncentral_chisquare(d, plus, draws)
        return (upper / rng.noncentral_chisquare(d, minus, draws) > 1).mean()

    rng = np.random.default_rng(0)
    for d, n, delta in ((5, 2, 2.0), (8, 10, 2.66)):
        e1, e0, centre = rng.normal(size=(3, 100_000, d))
        e1[:, 1] += delta
        wins = ((e1 - centre / np.sqrt(n)) ** 2).sum(1) > ((e0 - centre / np.sqrt(n)) ** 2).sum(1)
        assert abs(formula(d, n, delta, rng) - wins.mean()) < 0.006
    known = stats.ncf.sf(1, 8, 8, 2.66**2)
    assert abs(formula(8, 10**9, 2.66, rng) - known) < 0.006 < known - formula(8, 2, 2.66, rng)


@equation(
    "meta-aae-hedge",
    statement=r"$\Lambda_\kappa(e) = (1-\kappa)\,e^{t^\top e - \Delta^2/2}$"
    r"$\;+\;\kappa\,\Gamma(\frac d2)\big(\frac{2}{\Delta r}\big)^{\nu} I_\nu(\Delta r)\,e^{-\Delta^2/2}$",
    how="against the mean ratio over 200,000 random directions, within 1 %; its mean over noise is 1",
)
def test_meta_aae_hedge():
    rng = np.random.default_rng(0)
    d, delta, kappa = 6, 1.7, 0.4
    nu, t = d / 2 - 1, np.eye(d)[0] * delta

    def ratio(e):
        r = np.linalg.norm(e, axis=-1)
        anywhere = special.gamma(d / 2) * (2 / (delta * r)) ** nu * special.iv(nu, delta * r)
        return ((1 - kappa) * np.exp(e @ t) + kappa * anywhere) * np.exp(-(delta**2) / 2)

    u = rng.normal(size=(200_000, d))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    for e in 1.2 * rng.normal(size=(3, d)):
        mean = np.exp(delta * u @ e - delta**2 / 2).mean()
        want = (1 - kappa) * np.exp(t @ e - delta**2 / 2) + kappa * mean
        assert abs(ratio(e) / want - 1) < 0.01
    assert abs(ratio(rng.normal(size=(200_000, d))).mean() - 1) < 0.02


@equation(
    "meta-aae-optimum",
    statement=r"the query loss with a share $\kappa$ of stretched points is least at $\log\Lambda_\kappa$",
    how="stretched points against faults from anywhere, 40,000 each: lengths, coordinates and angles; "
    "the minimum at single points, by search, against the hedge",
)
def test_meta_aae_optimum():
    rng = np.random.default_rng(0)
    d, delta, kappa, n = 4, 1.7, 0.4, 40_000
    t = np.eye(d)[0] * delta
    normal, noise, other = rng.normal(size=(3, n, d))
    made = meta_aae.stretched(torch.tensor(normal), torch.tensor(noise + t)).numpy()
    u = rng.normal(size=(n, d))
    anywhere = other + delta * u / np.linalg.norm(u, axis=1, keepdims=True)
    views = (np.linalg.norm, lambda z, axis: z[:, 0], lambda z, axis: z[:, 2], lambda z, axis: np.arctan2(*z.T[:2]))
    for view in views:
        assert stats.ks_2samp(view(made, axis=1), view(anywhere, axis=1)).pvalue > 0.01
    assert stats.ks_2samp(made[:, 0], (noise + t)[:, 0]).pvalue < 1e-6  # and not those of known faults
    for e in rng.normal(size=(4, d)):
        p = stats.multivariate_normal(np.zeros(d)).pdf(e)
        some = delta * u / np.linalg.norm(u, axis=1, keepdims=True)
        q = (1 - kappa) * stats.multivariate_normal(t).pdf(e)
        q += kappa * stats.multivariate_normal(np.zeros(d)).pdf(e - some).mean()

        def loss(g, p=p, q=q):
            return p * np.logaddexp(0, g) + q * np.logaddexp(0, -g)

        r, nu = np.linalg.norm(e), d / 2 - 1
        bessel = special.gamma(d / 2) * (2 / (delta * r)) ** nu * special.iv(nu, delta * r)
        hedge = np.log(((1 - kappa) * np.exp(t @ e) + kappa * bessel) * np.exp(-(delta**2) / 2))
        assert abs(optimize.minimize_scalar(loss, bounds=(-20, 20), method="bounded").x - hedge) < 0.02
