"""Equations of chapter 10, New domains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, stats
from scipy.spatial.distance import cdist

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial import metrics


@equation(
    "mean-shift-alarms",
    statement=r"a new mean $\mu_2$ turns the false alarm rate $\varepsilon$ of a linear score into "
    r"$\Phi\big(\Phi^{-1}(\varepsilon) + \omega^\top(\mu_2 - \mu_1) / \sqrt{\omega^\top\Sigma\,\omega}\big)$",
    how="share of 200,000 drawn points above the old threshold, for three shifts, within 0.004",
)
def test_mean_shift_alarms():
    rng = np.random.default_rng(0)
    mixing, omega, mu = rng.normal(size=(3, 3)), np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, -1.0])
    noise = rng.normal(size=(200_000, 3)) @ mixing.T
    threshold = np.quantile((mu + noise) @ omega, 0.95)
    sd = np.sqrt(omega @ mixing @ mixing.T @ omega)
    for size in (-0.5, 0.7, 2.0):
        eta = size * sd * omega / (omega @ omega) + np.cross(omega, mu)  # the second part is invisible to the score
        expected = stats.norm.cdf(stats.norm.ppf(0.05) + omega @ eta / sd)
        assert np.mean((mu + eta + noise) @ omega > threshold) == pytest.approx(expected, abs=0.004)


@equation(
    "random-shift-alarms",
    statement=r"mean false alarm rate over domains $\Phi\big(\Phi^{-1}(\varepsilon) / \sqrt{1 + \rho_f^2}\big)$, with "
    r"$\rho_f^2 = \rho^2\omega^\top\omega / \omega^\top\Sigma\,\omega$ as it is and $1/n$ centred by $n$ normal points",
    how="numerical mean of equation mean-shift-alarms over the shifts, and 4,000 machines of a fleet, within 0.006",
)
def test_random_shift_alarms():
    def average(v):
        return stats.norm.cdf(stats.norm.ppf(0.05) / np.sqrt(1 + v))

    for v in (0.1, 1.0, 5.0):
        exact, _ = integrate.quad(
            lambda t, v=v: stats.norm.pdf(t) * stats.norm.cdf(stats.norm.ppf(0.05) + np.sqrt(v) * t), -9, 9
        )
        assert average(v) == pytest.approx(exact, abs=1e-8)
    fleet = metaad.Fleet(4, 0, 20, 1, n_machines=4000, n_features=5, spread=1.5)
    tasks = fleet.sample(4000, random_state=0)
    omega = np.linalg.solve(fleet.covariance, fleet.shifts[0])
    sd = np.sqrt(omega @ fleet.covariance @ omega)
    score, own = tasks.query_x.numpy() @ omega, (tasks.support_x.numpy() @ omega).mean(1, keepdims=True)
    normal, limit = tasks.query_y.numpy() == 0, stats.norm.ppf(0.95) * sd
    for centre, v in ((0, 1.5**2 * omega @ omega / sd**2), (own, 1 / 4)):
        assert np.mean((score - centre > limit)[normal]) == pytest.approx(average(v), abs=0.006)


@equation(
    "many-machines-alarms",
    statement=r"a threshold set on many machines gives a machine $Z$ deviations from the middle the false alarm rate "
    r"$\Phi\big(\sqrt{1 + \rho_f^2}\,\Phi^{-1}(\varepsilon) + \rho_f Z\big)$, with mean $\varepsilon$",
    how="quantile of the scores of 4,000 drawn machines, rates of single machines within 0.02; numerical mean, to 1e-8",
)
def test_many_machines_alarms():
    def rate(z, spread):
        return stats.norm.cdf(np.sqrt(1 + spread**2) * stats.norm.ppf(0.05) + spread * z)

    rng = np.random.default_rng(0)
    for spread in (0.3, 1.0, 2.0):
        mean, _ = integrate.quad(lambda z, s=spread: stats.norm.pdf(z) * rate(z, s), -9, 9)
        assert mean == pytest.approx(0.05, abs=1e-8)
        scores = spread * rng.normal(size=(4000, 1)) + rng.normal(size=(4000, 100))
        threshold = np.quantile(scores, 0.95)
        for z in (-1.0, 0.0, 1.5):
            found = np.mean(spread * z + rng.normal(size=100_000) > threshold)
            assert found == pytest.approx(rate(z, spread), abs=0.02)


@equation(
    "batch-score",
    statement=r"$f_B(x) = \kappa\,\big(\frac1q\lVert\phi_B(x) - \bar\phi_B\rVert^2 - h_0\big)$",
    how="a trained `ACR` with a convolutional network against PyTorch's own batch normalisation, to 1e-9",
)
def test_batch_score():
    family = metaad.Glyphs(1, 0, 8, 2, size=8).of_scripts("Greek")
    network = metaad.ConvNet((3, 5), norm="batch", outputs=4)
    detector = metaad.ACR(network=network, meta_steps=3, meta_batch=3, random_state=0).meta_fit(family)
    batch = family.sample(1, random_state=1).query_x[0]
    meta, start, x = (
        detector.meta_,
        detector.meta_["start"],
        (batch - batch.mean())[:, None] / batch.std(unbiased=False),
    )
    for i in range(2):
        gain, shift = (start[f"{name}{i}"].flatten() for name in ("gain", "bias"))
        x = F.conv2d(x, start[f"weight{i}"], shift, stride=2, padding=1)
        x = torch.relu(F.batch_norm(x, None, None, gain, shift, training=True))
    phi = x.flatten(1) @ start["weight2"] + start["bias2"]
    h = (phi - phi.mean(0)).square().sum(1) / 4
    expected = meta["log_scale"].exp() * (h - meta["log_radius"].exp())
    found = detector.fit(batch).anomaly_score(batch)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def _batch_auroc(share, separation, d, n, seed=0):
    """Right side of equation batch-breakdown, the expectation over 400,000 draws of a."""
    e = np.random.default_rng(seed).normal(size=(400_000, d))
    t = np.r_[separation, np.zeros(d - 1)]
    along = (e + t / np.sqrt(2)) @ t / np.linalg.norm(e + t / np.sqrt(2), axis=1)
    return stats.norm.cdf((1 - 2 * share) * along / np.sqrt(2 * (1 - 2 / n))).mean()


@equation(
    "batch-breakdown",
    statement=r"distance from the batch mean: AUROC$(\pi) = \mathbb E\big[\Phi\big((1 - 2\pi)\,t^\top a / "
    r"(\lVert a\rVert\sqrt{2(1 - 2/N)})\big)\big]$ with $a \sim N(t/\sqrt2, I)$; one half at $\pi = \frac12$",
    how="simulated batches of 5, 10 and 20 points in 1 to 6 dimensions, within 0.01; in one dimension the closed form",
)
def test_batch_breakdown():
    rng = np.random.default_rng(1)
    for n, k, d, separation in ((5, 1, 1, 2.0), (10, 3, 3, 2.5), (20, 14, 6, 3.0), (10, 5, 2, 3.0)):
        y = np.tile(np.arange(n) < k, (12_000, 1)).astype(int)
        e = rng.normal(size=(12_000, n, d))
        e[..., 0] += separation * y
        found = metrics.auroc(y, np.sum((e - e.mean(1, keepdims=True)) ** 2, -1)).mean()
        assert found == pytest.approx(_batch_auroc(k / n, separation, d, n), abs=0.01)
    a, b = 2.5 / np.sqrt(2), 0.4 * 2.5 / np.sqrt(2)  # share 0.3 of a large batch
    one = stats.norm.cdf(a) * stats.norm.cdf(b) + stats.norm.sf(a) * stats.norm.sf(b)
    assert _batch_auroc(0.3, 2.5, 1, np.inf) == pytest.approx(one, abs=0.002)
    for d in (1, 4):
        assert _batch_auroc(0.5, 2.5, d, 20) == 0.5
        assert _batch_auroc(0.8, 2.5, d, 20) == pytest.approx(1 - _batch_auroc(0.2, 2.5, d, 20), abs=1e-12)
        falling = [_batch_auroc(share, 2.5, d, 20) for share in (0.1, 0.3, 0.5, 0.7)]
        assert np.all(np.diff(falling) < -0.02)


@equation(
    "batch-plurality",
    statement=r"with $k + 1$ kinds in equal numbers, each normal equally often, every method that ignores the order of "
    r"the batch and does not know which kinds are abnormal has mean AUROC $\frac12$, at $\pi^* = \frac{k}{k + 1}$",
    how="three scores of random batches, each kind called normal in turn, to 1e-12",
)
def test_batch_plurality():
    rng = np.random.default_rng(0)
    scores = {
        "mean": lambda x: np.sum((x - x.mean(0)) ** 2, 1),
        "neighbour": lambda x: np.sort(cdist(x, x), 1)[:, 2],
        "own": lambda x: np.sin(5 * x[:, 0]) + x[:, 1] * np.median(x[:, 1]),
    }
    for kinds in (1, 2, 4):
        kind = np.repeat(np.arange(kinds + 1), 6)
        x = 2 * rng.normal(size=(kinds + 1, 3))[kind] + rng.normal(size=(len(kind), 3))
        for score in scores.values():
            found = [metrics.auroc((kind != normal).astype(int), score(x)) for normal in range(kinds + 1)]
            assert np.mean(found) == pytest.approx(0.5, abs=1e-12)
            assert np.ptp(found) > 0.01  # for one kind called normal it is not one half
        assert np.mean(kind != 0) == pytest.approx(kinds / (kinds + 1))
