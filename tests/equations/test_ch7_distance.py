"""Equations of chapter 7, Learn the distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial.losses import cross_entropy
from metaad_tutorial.tree import mapped


def _prototype_detector(seed=0, d=3, q=4):
    """A detector with a linear embedding and made-up meta-parameters, and its embedding in NumPy."""
    rng = np.random.default_rng(seed)
    detector = metaad.PrototypicalDetector(q, standardize=False)
    start = {"weight0": rng.normal(size=(d, q)), "bias0": rng.normal(size=(1, q))}
    meta = {
        "start": start,
        "scaling": {"location": np.zeros((1, 1, d)), "scale": np.ones((1, 1, d))},
        "log_variance": np.log([0.8, 1.7]),
        "share": np.array([0.4, -0.3]),
        "log_scale": np.array(0.7),
        "bias": np.array(0.25),
    }
    detector.meta_ = mapped(torch.as_tensor, meta)
    detector.n_features_in_ = d
    return detector, meta, lambda x: x @ start["weight0"] + start["bias0"]


@equation(
    "bregman-mean",
    statement=r"the total Bregman divergence to $c$ is that to the mean plus $n D_F(\bar\phi, c)$",
    how="both sides for four convex functions, gradients by autograd, and a search for a better point than the mean",
)
def test_bregman_mean():
    functions = {
        "squared": lambda p: (p**2).sum(-1),
        "entropy": lambda p: (p * p.log()).sum(-1),
        "Itakura-Saito": lambda p: -p.log().sum(-1),
        "exponential": lambda p: p.exp().sum(-1),
    }
    rng = np.random.default_rng(0)
    points = torch.as_tensor(rng.uniform(0.2, 2, size=(6, 3)))

    def divergence(f, p, c):
        c = c.clone().requires_grad_()
        value = f(c)
        slope = torch.autograd.grad(value, c)[0]
        return (f(p) - value - ((p - c) * slope).sum(-1)).detach()

    mean = points.mean(0)
    for f in functions.values():
        total = divergence(f, points, mean).sum()
        for other in torch.as_tensor(rng.uniform(0.2, 2, size=(20, 3))):
            gap = divergence(f, points, other).sum() - total
            assert gap > 0
            assert gap.item() == pytest.approx(6 * divergence(f, mean, other).item(), rel=1e-9)


@equation(
    "prototype-lda",
    statement=r"Gaussian classes with one covariance: $\log p(\phi|+)/p(\phi|-)$ is linear, Fisher's discriminant",
    how="scipy's log densities, the difference of squared distances, and scikit-learn's LDA with these moments",
)
def test_prototype_lda():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    covariance, low, high = mixing @ mixing.T, rng.normal(size=3), rng.normal(size=3)
    phi, precision = rng.normal(size=(9, 3)), np.linalg.inv(covariance)
    exact = stats.multivariate_normal(high, covariance).logpdf(phi)
    exact = exact - stats.multivariate_normal(low, covariance).logpdf(phi)
    linear = (phi - (low + high) / 2) @ precision @ (high - low)
    assert np.allclose(linear, exact, rtol=0, atol=1e-9)
    squares = [np.einsum("nd,de,ne->n", phi - c, precision, phi - c) for c in (low, high)]
    assert np.allclose((squares[0] - squares[1]) / 2, exact, rtol=0, atol=1e-9)
    # a sample whose pooled moments are exactly these: plus and minus each column of the mixing matrix
    noise = np.concatenate([mixing.T, -mixing.T]) * np.sqrt(3)
    lda = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5])
    lda.fit(np.concatenate([noise + low, noise + high]), np.repeat([0, 1], 6))
    assert np.allclose(lda.decision_function(phi), exact, rtol=1e-8)


@equation(
    "prototype-posterior",
    statement=r"mean and variance of a new point of a class, given $n_\pm$ points of it",
    how="conditioning the joint normal distribution of all points, for 0, 1 and 5 points; the package's prototypes",
)
def test_prototype_posterior():
    detector, meta, embed = _prototype_detector()
    rng = np.random.default_rng(1)
    for counts in ((1, 0), (5, 0), (5, 1), (1, 5)):
        x, y = rng.normal(size=(sum(counts), 3)), np.repeat([0, 1], counts)
        fitted = detector.fit(x, y).params_
        for label, n in enumerate(counts):
            total, share = np.exp(meta["log_variance"][label]), 1 / (1 + np.exp(-meta["share"][label]))
            zeta, eta = total * share, total * (1 - share)
            joint = zeta + eta * np.eye(n + 1)
            gain = joint[n, :n] @ np.linalg.inv(joint[:n, :n]) if n else np.zeros(0)
            own = embed(x[y == label])
            center, variance = gain @ own, joint[n, n] - gain @ joint[:n, n]
            average = own.mean(0) if n else np.zeros(4)
            assert np.allclose(n * zeta / (n * zeta + eta) * average, center, rtol=0, atol=1e-12)
            assert eta + zeta * eta / (n * zeta + eta) == pytest.approx(variance, rel=1e-12)
            assert np.allclose(fitted["center"][0, label], center, rtol=0, atol=1e-12)
            assert fitted["variance"][0, label].item() == pytest.approx(variance, rel=1e-12)


@equation(
    "prototype-related",
    statement=r"both centers, and the variances of new points, if $c_+$ given $c_-$ is $N(m + r c_-, \zeta_+)$",
    how="conditioning the joint normal distribution of both centers on all points, for both kinds of support sets",
)
def test_prototype_related():
    rng = np.random.default_rng(2)
    (low, high), (eta_low, eta_high), r, m = (0.8, 0.5), (0.3, 0.6), 0.7, 1.4
    # the joint normal distribution of c_- and c_+
    centers, together = np.array([0, m]), np.array([[low, r * low], [r * low, high + r**2 * low]])
    for n, k in ((1, 0), (5, 0), (5, 2), (1, 5), (0, 3)):
        seen = np.repeat([0, 1], [n, k])
        points = rng.normal(size=n + k) + seen
        cross, own = together[:, seen], together[np.ix_(seen, seen)] + np.diag(np.where(seen, eta_high, eta_low))
        gain = cross @ np.linalg.inv(own) if n + k else np.zeros((2, 0))
        exact = centers + gain @ (points - centers[seen])
        left = np.diag(together - gain @ cross.T)
        gamma = 1 / (1 / low + n / eta_low)
        a = gamma * points[seen == 0].sum() / eta_low
        prior, told = high + r**2 * gamma, k * high + eta_high
        gamma_high = 1 / (1 / prior + k / eta_high)
        c_high = gamma_high * ((m + r * a) / prior + points[seen == 1].sum() / eta_high)
        gamma_low = 1 / (1 / gamma + r**2 * k / told)
        c_low = gamma_low * (a / gamma + r * (points[seen == 1].sum() - k * m) / told)
        assert np.allclose([c_low, c_high], exact, rtol=1e-10) and np.allclose(
            [gamma_low, gamma_high], left, rtol=1e-10
        )
        if not k:
            assert gamma_low == pytest.approx(gamma) and c_high == pytest.approx(m + r * a)


@equation(
    "prototype-logit",
    statement=r"$f = \frac\kappa2\big[d_-^2/\nu_- - d_+^2/\nu_+ + \log(\nu_-/\nu_+)\big] + b$",
    how="scipy's normal log densities at the prototypes, averaged over coordinates; the package's score",
)
def test_prototype_logit():
    detector, meta, embed = _prototype_detector()
    rng = np.random.default_rng(1)
    query = rng.normal(size=(7, 3))
    for counts in ((3, 0), (3, 2)):
        x, y = rng.normal(size=(sum(counts), 3)), np.repeat([0, 1], counts)
        score = detector.fit(x, y).anomaly_score(query)
        (near, far), (low, high) = (detector.params_[name][0].numpy() for name in ("center", "variance"))
        d_near, d_far = (((embed(query) - c) ** 2).mean(1) for c in (near, far))
        kappa, b = np.exp(meta["log_scale"]), meta["bias"]
        assert np.allclose(score, kappa / 2 * (d_near / low - d_far / high + np.log(low / high)) + b, atol=1e-12)
        densities = [stats.norm.logpdf(embed(query), c, np.sqrt(v)).mean(1) for c, v in ((near, low), (far, high))]
        assert np.allclose(score, kappa * (densities[1] - densities[0]) + b, rtol=0, atol=1e-12)


@equation(
    "learnt-mahalanobis",
    statement=r"under a linear embedding the distance to the mean is Mahalanobis with matrix $W^\top W$",
    how="scipy's Mahalanobis distance against distances between embedded points of the package",
)
def test_learnt_mahalanobis():
    detector, meta, _ = _prototype_detector()
    rng = np.random.default_rng(1)
    x, query = rng.normal(size=(5, 3)), rng.normal(size=(8, 3))
    distance = ((detector.embed(query) - detector.embed(x).mean(0)) ** 2).sum(1)
    metric = meta["start"]["weight0"] @ meta["start"]["weight0"].T
    exact = cdist(query, x.mean(0, keepdims=True), "mahalanobis", VI=metric)[:, 0] ** 2
    assert np.allclose(distance, exact, rtol=1e-10)


@equation(
    "fleet-metric",
    statement=r"with random shifts the likelihood ratio is about $e^{-\Delta^2/2}(1 + \frac12 e^\top M e)$",
    how="densities from scipy, averaged over the shifts of a fleet; the remainder falls with the fourth power of $e$",
)
def test_fleet_metric():
    fleet = metaad.Fleet(n_features=3, directions=3, n_machines=200, ceiling=0.9)
    shifts = np.concatenate([fleet.shifts, -fleet.shifts])
    inverse = np.linalg.inv(fleet.covariance)
    squares = np.einsum("nd,de,ne->n", shifts, inverse, shifts)
    assert np.allclose(squares, squares[0], rtol=1e-10)  # all shifts have one length in this metric
    metric = inverse @ (shifts.T @ shifts / len(shifts)) @ inverse
    normal = stats.multivariate_normal(np.zeros(3), fleet.covariance)
    e = np.random.default_rng(0).normal(size=(6, 3)) @ fleet.mixing.T
    errors = []
    for size in (0.2, 0.1):
        points = size * e
        ratio = np.mean([normal.pdf(points - s) for s in shifts], 0) / normal.pdf(points)
        cosh = np.exp(-squares[0] / 2) * np.mean(np.cosh(points @ inverse @ shifts.T), 1)
        assert np.allclose(ratio, cosh, rtol=1e-9)
        series = np.exp(-squares[0] / 2) * (1 + np.einsum("nd,de,ne->n", points, metric, points) / 2)
        errors.append(np.abs(ratio - series).max())
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)


@equation(
    "deep-svdd",
    statement=r"the mean squared distance of normal points to a center of their task is least for a constant $\phi$",
    how="zero for a constant embedding; shrinking any other by a factor $a$ multiplies it by $a^2$",
)
def test_deep_svdd():
    generator = torch.Generator().manual_seed(0)
    support, query = (torch.randn(4, n, 3, generator=generator, dtype=torch.float64) for n in (5, 9))
    network = metaad.MLP((6,), outputs=2)
    params = network.init(np.random.default_rng(0), 3)

    def objective(p):
        center = network(p, support).mean(1, keepdim=True)
        return ((network(p, query) - center) ** 2).sum(-1).mean()

    start = objective(params)
    assert start > 0.1
    for factor in (0.5, 0.1, 0.0):
        smaller = params | {name: factor * params[name] for name in network.head}
        assert objective(smaller).item() == pytest.approx(factor**2 * start.item(), abs=1e-15)


@equation(
    "svdd-force",
    statement=r"$\partial\ell/\partial d_-^2 = \frac{\kappa}{2\nu_-}(\sigma(z) - y)$",
    how="autograd through the package's loss, and the loss of a constant embedding is at least log 2",
)
def test_svdd_force():
    kappa, low, high, far, b = 3.0, 0.6, 1.9, torch.tensor([0.4, 2.0, 5.0]).double(), 0.3
    near = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    z = kappa / 2 * (near / low - far / high + np.log(low / high)) + b
    for label in (0.0, 1.0):
        y = torch.full((3,), label, dtype=torch.float64)
        slope = torch.autograd.grad(cross_entropy(z, y).sum(), near, retain_graph=True)[0]
        expected = kappa / (2 * low) * (torch.sigmoid(z.detach()) - y)
        assert torch.allclose(slope, expected, rtol=0, atol=1e-12)
        assert (slope > 0).all() == (label == 0) and (slope < 0).all() == (label == 1)
    logits = torch.linspace(-3, 3, 61, dtype=torch.float64)  # one logit for all points of a balanced query set
    loss = (cross_entropy(logits, torch.zeros(61)) + cross_entropy(logits, torch.ones(61))) / 2
    assert loss.min().item() == pytest.approx(np.log(2), abs=1e-12)
