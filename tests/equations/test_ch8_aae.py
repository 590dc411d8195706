"""Equations of chapter 8, The adversarial autoencoder."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial import losses
from metaad_tutorial.aae_game import Game, noisy


def _aae_points(seed=0, n=40, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def _aae(X=None, **own):
    return metaad.AAE(**{"latent": 2, "hidden": (6,), "steps": 15, "random_state": 0} | own).fit(
        _aae_points() if X is None else X
    )


def _np_mlp(params, x):
    """A network with one hidden layer, in NumPy: x (n, d) -> (n, outputs)."""
    p = {name: value.numpy() for name, value in params.items()}
    return np.maximum(x @ p["weight0"] + p["bias0"], 0) @ p["weight1"] + p["bias1"]


def _scaled(X, detector):
    return (X - detector.params_["scaling"]["location"][0].numpy()) / detector.params_["scaling"]["scale"][0].numpy()


@equation(
    "aae-reconstruction",
    statement=r"$\mathcal{L}_{rec}=\mathbb{E}\lVert x-D(E(x))\rVert^2$",
    how="the loss and `AAE.reconstruction_error` against both networks written in NumPy",
)
def test_aae_reconstruction():
    X, detector = _aae_points(), _aae()
    x = _scaled(X, detector)
    rebuilt = _np_mlp(detector.params_["D"], _np_mlp(detector.params_["E"], x))
    squares = ((x - rebuilt) ** 2).sum(1)
    np.testing.assert_allclose(losses.reconstruction(torch.as_tensor(x), torch.as_tensor(rebuilt)).numpy(), squares)
    np.testing.assert_allclose(detector.reconstruction_error(X), np.sqrt(squares), rtol=1e-6)


@equation(
    "aae-discrimination",
    statement=r"$\mathcal{L}_{dis}=-\mathbb{E}\log(1-C(x))-\mathbb{E}\log C(v)$",
    how="the package's loss of logits against the formula in probabilities",
)
def test_aae_discrimination():
    normal, virtual = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    c_normal, c_virtual = 1 / (1 + np.exp(-normal.numpy())), 1 / (1 + np.exp(-virtual.numpy()))
    want = -np.log(1 - c_normal).mean(-1) - np.log(c_virtual).mean(-1)
    np.testing.assert_allclose(losses.discrimination(normal, virtual).numpy(), want, rtol=1e-10)


@equation(
    "aae-adversarial",
    statement=r"$\mathcal{L}_{adv}=-\mathbb{E}\log(1-C(v))$",
    how="the package's loss against the formula in probabilities; its gradient makes virtual points look normal",
)
def test_aae_adversarial():
    logit = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    loss = losses.adversarial(logit)
    c = 1 / (1 + np.exp(-logit.detach().numpy()))
    np.testing.assert_allclose(loss.item(), -np.log(1 - c).mean())
    (slope,) = torch.autograd.grad(loss, logit)
    np.testing.assert_allclose(slope.numpy(), c / 3)  # descending lowers every logit


@equation(
    "aae-total",
    statement=r"$\mathcal{L}=\mathcal{L}_{rec}+\lambda_1\mathcal{L}_{dis}+\lambda_2\mathcal{L}_{adv}$, part by part",
    how="one round of the game moves each player by Adam's first step on its own part, the others standing still",
)
def test_aae_total():
    game, x = Game(5, 2, (6,), literal=True), torch.as_tensor(_aae_points(n=30))
    rng, at = np.random.default_rng(3), {}
    for name, own in game.init(np.random.default_rng(2)).items():  # away from the start, where C is 0
        at[name] = {k: v + 0.3 * torch.as_tensor(rng.normal(size=v.shape)) for k, v in own.items()}
    after = {name: {k: v.clone().requires_grad_() for k, v in own.items()} for name, own in at.items()}
    history = game.play(after, x, np.random.default_rng(4), steps=1, batch_size=12, lr=0.01)
    batch = x[np.random.default_rng(4).integers(len(x), size=12)]

    def net(params, name, points):
        hidden = torch.relu(points @ params[name]["weight0"] + params[name]["bias0"])
        return hidden @ params[name]["weight1"] + params[name]["bias1"]

    def parts(p):
        c, c_virtual = (
            torch.sigmoid(net(p, "C", points)) for points in (batch, net(p, "D", net(p, "G", net(p, "E", batch))))
        )
        return (
            ("ED", ((batch - net(p, "D", net(p, "E", batch))) ** 2).sum(1).mean()),
            ("C", -torch.log(1 - c).mean() - torch.log(c_virtual).mean()),
            ("G", -torch.log(1 - c_virtual).mean()),
        )

    now = {name: {k: v.clone().requires_grad_() for k, v in own.items()} for name, own in at.items()}
    for turn, losses_ in enumerate(history.values()):
        players, loss = parts(now)[turn]
        np.testing.assert_allclose(losses_[0], loss.item(), rtol=1e-10)
        own = [(player, k) for player in players for k in now[player]]
        slopes = torch.autograd.grad(loss, [now[player][k] for player, k in own])
        for (player, k), slope in zip(own, slopes, strict=True):
            now[player][k] = (now[player][k] - 0.01 * slope / (slope.abs() + 1e-8)).detach().requires_grad_()
    for name, own in now.items():
        for k, value in own.items():
            torch.testing.assert_close(after[name][k], value, rtol=0, atol=1e-9)


@equation(
    "aae-pca",
    statement="the best linear autoencoder projects onto the first $m$ principal directions",
    how="gradient descent on a linear autoencoder against the eigenvectors: error and angle between the subspaces",
)
def test_aae_pca():
    x = torch.as_tensor(_aae_points(n=60, d=4))
    x = (x - x.mean(0)) / x.std()
    variances, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    generator = torch.Generator().manual_seed(0)
    A, B = (torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in ((2, 4), (4, 2)))
    optimizer = torch.optim.LBFGS([A, B], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = ((x - x @ A.T @ B.T) ** 2).sum(1).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(closure().item(), variances[:2].sum(), rtol=1e-5)
    spanned = np.linalg.qr(B.detach().numpy())[0]
    assert np.linalg.svd(spanned.T @ vectors[:, 2:])[1].min() > 1 - 1e-5  # cosines of the angles between the planes


@equation(
    "aae-optimal-discriminator",
    statement=r"$C^*(x)=\frac{p_G(x)}{p_G(x)+p(x)}$",
    how="grid search over the value of C at single points against the formula",
)
def test_aae_optimal_discriminator():
    values = np.linspace(1e-4, 1 - 1e-4, 20001)
    for p, q in ((0.4, 0.1), (0.02, 0.3), (0.2, 0.2)):
        loss = -p * np.log(1 - values) - q * np.log(values)
        assert abs(values[loss.argmin()] - q / (p + q)) < 1e-4


@equation(
    "aae-equilibrium",
    statement=r"against the optimal C, G's loss is least where no virtual point leaves $p$, and there $C^*=1/2$",
    how="values of both losses for two discrete distributions, at $p_G=p$ and at many others",
)
def test_aae_equilibrium():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6))

    def value(q):
        best = q / (p + q)
        return -(p * np.log(1 - best)).sum() - (q * np.log(best)).sum()

    np.testing.assert_allclose(value(p), 2 * np.log(2))
    others = [value(rng.dirichlet(np.ones(6))) for _ in range(500)]
    assert max(others) < 2 * np.log(2)  # at every other distribution C does better
    q = rng.dirichlet(np.ones(6))
    mean = (p + q) / 2
    divergence = ((p * np.log(p / mean)).sum() + (q * np.log(q / mean)).sum()) / 2
    np.testing.assert_allclose(value(q), 2 * np.log(2) - 2 * divergence)

    def adversarial(q):
        return -(q * np.log(1 - q / (p + q))).sum()

    np.testing.assert_allclose(adversarial(p), np.log(2))
    assert min(adversarial(rng.dirichlet(np.ones(6))) for _ in range(500)) > np.log(2)  # G's loss is least there


@equation(
    "aae-disjoint",
    statement=r"with disjoint supports both divergences from the mixture are $\log 2$, and $\min_C\mathcal{L}_{dis}=0$",
    how="both divergences and the best loss for distributions on disjoint points, and beside them one that overlaps;"
    " points against their reconstructions by a decoder: no virtual point leaves its surface, all normal ones do",
)
def test_aae_disjoint():
    rng = np.random.default_rng(0)

    def parts(p, q):
        mean = (p + q) / 2
        own = [np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / mean), 0).sum() for a in (p, q)]
        best = q / (p + q)
        logs = [np.log(np.where(a > 0, c, 1)) for a, c in ((p, 1 - best), (q, best))]
        return *own, -(p * logs[0]).sum() - (q * logs[1]).sum()

    for _ in range(20):
        p, q = np.zeros((2, 9))
        p[:4], q[4:] = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(5))
        np.testing.assert_allclose(parts(p, q), [np.log(2), np.log(2), 0], atol=1e-12)
    q[:4], q[4:] = 0.1 * p[:4], 0.9 * q[4:]
    assert max(parts(p, q)[:2]) < np.log(2) and parts(p, q)[2] > 0
    X, detector = _aae_points(n=200), _aae(hidden=(), steps=100)  # a plane in five dimensions
    made = _scaled(detector.virtual_anomalies(X, 0), detector)
    on, off = (np.linalg.svd(v - made.mean(0), full_matrices=False)[1] for v in (made, _scaled(X, detector)))
    assert on[2] < 1e-8 * on[0] and off[2] > 1e-3 * off[0]


@equation(
    "aae-noise-discriminator",
    statement=r"against noise of density $q$, the logit of $C^*$ is $\log q(x)-\log p(x)$",
    how="the logit of the optimal discriminator of two Gaussians against the logs of their densities",
)
def test_aae_noise_discriminator():
    x = np.linspace(0, 3, 31)
    p, q = stats.norm.pdf(x), np.full_like(x, 1 / 8)
    best = q / (p + q)
    np.testing.assert_allclose(np.log(best / (1 - best)), stats.norm.logpdf(x) * -1 + np.log(1 / 8))
    assert np.array_equal(np.argsort(best), np.argsort(-p))  # a flat q: the levels of C are those of p


@equation(
    "aae-noise",
    statement=r"$\tilde z=z+s\odot\xi$, $\xi\sim\mathcal N(0,I)$, in units of $s$",
    how="`noisy` and `AAE.virtual_anomalies` against the formula with the same draws; for images, on the pixels",
)
def test_aae_noise():
    X, detector = _aae_points(), _aae()
    codes = _np_mlp(detector.params_["E"], _scaled(X, detector))
    trained = np.delete(codes, detector.params_["apart"], 0)
    moved = codes + trained.std(0) * np.random.default_rng(5).normal(size=codes.shape)
    z, moved_z = ((at - trained.mean(0)) / trained.std(0) for at in (codes, moved))
    np.testing.assert_allclose(noisy(torch.as_tensor(z), np.random.default_rng(5)).numpy(), moved_z, rtol=1e-10)
    np.testing.assert_allclose(detector.discriminator_logit(X), _np_mlp(detector.params_["C"], z)[:, 0], rtol=1e-8)
    scale, location = (detector.params_["scaling"][name][0].numpy() for name in ("scale", "location"))
    made = _np_mlp(detector.params_["D"], moved) * scale + location
    np.testing.assert_allclose(detector.virtual_anomalies(X, 5), made, rtol=1e-8)
    detector = _aae(X[:, :4].reshape(-1, 2, 2))
    trained = np.delete(X[:, :4], detector.params_["apart"], 0)
    with_noise = X[:, :4] + trained.std() * np.random.default_rng(5).normal(size=(len(X), 4))
    np.testing.assert_allclose(detector.virtual_anomalies(X[:, :4], 5), with_noise, rtol=1e-8)


@equation(
    "aae-score",
    statement=r"$f(x)=-\log(1-\Phi(t_C))-\log(1-\Phi(t_E))$",
    how="`AAE.anomaly_score` against the formula, calibrated apart; its upper tail for two independent normal parts",
)
def test_aae_score():
    X, detector = _aae_points(), _aae()
    parts = np.stack([detector.discriminator_logit(X), np.log(detector.reconstruction_error(X))], 1)
    apart = parts[detector.params_["apart"]]
    tails = 1 - stats.norm.cdf((parts - apart.mean(0)) / apart.std(0))
    np.testing.assert_allclose(detector.anomaly_score(X), -np.log(tails).sum(1), rtol=1e-6)
    t = np.random.default_rng(0).normal(size=(2, 100_000))
    score = -stats.norm.logsf(t).sum(0)
    for f in (1.0, 3.0, 6.0):  # twice the score has a chi-square distribution with 4 degrees of freedom
        assert abs((score > f).mean() - np.exp(-f) * (1 + f)) < 0.005
