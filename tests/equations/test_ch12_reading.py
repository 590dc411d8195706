"""Equations of chapter 12, Reading a detector."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from equations import equation
from metaad_tutorial import Mahalanobis, NearestNeighbor, reading

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(4, 4))
OMEGA = MIXING @ MIXING.T + np.eye(4)
POINT = np.array([[1.5, -0.7, 2.0, 0.3]])
REFERENCE = np.array([0.2, 0.1, -0.4, 1.0])


def quadratic(X):
    xi = X - REFERENCE
    return np.einsum("nd,de,ne->n", xi, OMEGA, xi)


def by_orders(score, x, reference):
    """Mean change of the score as columns are put in, over all orders."""
    parts = np.zeros(len(x))
    orders = list(itertools.permutations(range(len(x))))
    for order in orders:
        for k, j in enumerate(order):
            seen, more = (np.isin(np.arange(len(x)), order[: k + extra]) for extra in (0, 1))
            parts[j] += score(np.where(more, x, reference)[None])[0] - score(np.where(seen, x, reference)[None])[0]
    return parts / len(orders)


@equation(
    "occlusion-part",
    statement=r"$o_j(x) = f(x) - f(x^{(j)})$, with column $j$ of $x^{(j)}$ at the reference and the others as they are",
    how="column by column against `occlusion` and against `explain` of two detectors, to 1e-12",
)
def test_occlusion_part():
    normal, X = RNG.normal(size=(9, 4)), 2 * RNG.normal(size=(5, 4))
    for detector in (NearestNeighbor(), Mahalanobis()):
        score, mean = detector.fit(normal).anomaly_score, normal.mean(0)
        for j in range(4):
            undone = np.column_stack([np.full(5, mean[k]) if k == j else X[:, k] for k in range(4)])
            expected = score(X) - score(undone)
            assert np.allclose(detector.explain(X)[:, j], expected, rtol=0, atol=1e-12)
            assert np.allclose(reading.occlusion(score, X, mean)[:, j], expected, rtol=0, atol=1e-12)


@equation(
    "linear-parts",
    statement=r"for $f(x) = \omega^\top x + b$: $o_j = \xi_j\,\partial f / \partial x_j = \omega_j(x_j - \mu_j)$; "
    r"they add up to $f(x) - f(\mu)$",
    how="`occlusion`, `gradient_parts` and `shapley` of a linear score against the formula, to 1e-7",
)
def test_linear_parts():
    omega, X = np.array([2.0, -1.0, 0.0, 0.5]), RNG.normal(size=(6, 4))

    def score(X):
        return X @ omega + 3.0

    wanted = omega * (X - REFERENCE)
    for way in (reading.occlusion, reading.gradient_parts, reading.shapley):
        parts = way(score, X, REFERENCE)
        assert np.allclose(parts, wanted, rtol=0, atol=1e-7)
        assert np.allclose(parts.sum(1), score(X) - score(REFERENCE[None]), rtol=0, atol=1e-7)


@equation(
    "shapley-value",
    statement=r"$h_j = \sum_{\mathcal C \not\ni j} \frac{|\mathcal C|!\,(d - |\mathcal C| - 1)!}{d!}"
    r"\,[f(x_{\mathcal C \cup j}) - f(x_{\mathcal C})]$, which add up to $f(x) - f(\mu)$",
    how="`shapley` against the mean over all orders, for a score with interactions of three columns, to 1e-12",
)
def test_shapley_value():
    def score(X):
        return quadratic(X) + np.prod(X[:, :3], 1) + np.max(X, 1)

    parts = reading.shapley(score, POINT, REFERENCE)[0]
    assert np.allclose(parts, by_orders(score, POINT[0], REFERENCE), rtol=0, atol=1e-12)
    assert parts.sum() == pytest.approx((score(POINT) - score(REFERENCE[None]))[0], abs=1e-12)


@equation(
    "quadratic-parts",
    statement=r"for $f = \xi^\top\Omega\,\xi$: $o_j = 2\xi_j(\Omega\xi)_j - \Omega_{jj}\xi_j^2$ and "
    r"$h_j = \xi_j(\Omega\xi)_j = \frac12\,\xi_j\,\partial f / \partial x_j = \frac12(o_j + a_j)$",
    how="`occlusion`, `shapley` and `gradient_parts` of the score itself, and the score of one column alone, to 1e-6",
)
def test_quadratic_parts():
    xi = (POINT - REFERENCE)[0]
    lean, own = OMEGA @ xi, np.diag(OMEGA)
    occluded, shared = (way(quadratic, POINT, REFERENCE)[0] for way in (reading.occlusion, reading.shapley))
    alone = quadratic(np.where(np.eye(4, dtype=bool), POINT, REFERENCE))
    assert np.allclose(occluded, 2 * xi * lean - own * xi**2, rtol=0, atol=1e-10)
    assert np.allclose(shared, xi * lean, rtol=0, atol=1e-10)
    assert np.allclose(shared, reading.gradient_parts(quadratic, POINT, REFERENCE)[0] / 2, rtol=0, atol=1e-6)
    assert np.allclose(shared, (occluded + alone) / 2, rtol=0, atol=1e-10)


@equation(
    "filled-in",
    statement=r"$r_j = f(x) - \min_\delta f(x - \delta e_j) = (\Omega\xi)_j^2 / \Omega_{jj} = "
    r"\Omega_{jj}(\xi_j - \hat\xi_j)^2$, with $\hat\xi_j$ the regression of column $j$ on the others",
    how="the minimum over a fine grid of shifts, the likelihood ratio, and the regression by the covariance's blocks",
)
def test_filled_in():
    covariance, xi = np.linalg.inv(OMEGA), (POINT - REFERENCE)[0]
    filled = reading.expected(POINT, REFERENCE, covariance)
    parts = reading.occlusion(quadratic, POINT, filled)[0]
    for j in range(4):
        others = [k for k in range(4) if k != j]
        regression = covariance[j, others] @ np.linalg.solve(covariance[np.ix_(others, others)], xi[others])
        assert filled[0, j] - REFERENCE[j] == pytest.approx(regression, abs=1e-10)
        shifts = np.linspace(-10, 10, 200_001)
        least = quadratic(POINT - shifts[:, None] * np.eye(4)[j]).min()
        assert parts[j] == pytest.approx(quadratic(POINT)[0] - least, abs=1e-6)
        assert parts[j] == pytest.approx((OMEGA @ xi)[j] ** 2 / OMEGA[j, j], abs=1e-10)
        assert parts[j] == pytest.approx(OMEGA[j, j] * (xi[j] - regression) ** 2, abs=1e-10)
        at = xi[j] - regression  # the shift of the largest likelihood
        gain = np.diff([stats.multivariate_normal.logpdf(xi - s * np.eye(4)[j], cov=covariance) for s in (0, at)])
        assert parts[j] == pytest.approx(2 * gain[0], abs=1e-8)


@equation(
    "blame-split",
    statement=r"$o_j = \Omega_{jj}[(\xi_j - \hat\xi_j)^2 - \hat\xi_j^2]$ and "
    r"$h_j = \frac12\Omega_{jj}[(\xi_j - \hat\xi_j)^2 - \hat\xi_j^2 + \xi_j^2]$",
    how="`occlusion` and `shapley` of the score, with the regression by `expected`, to 1e-10",
)
def test_blame_split():
    xi, own = POINT - REFERENCE, np.diag(OMEGA)
    other = reading.expected(POINT, REFERENCE, np.linalg.inv(OMEGA)) - REFERENCE
    step = (xi - other) ** 2
    occluded, shared = (way(quadratic, POINT, REFERENCE) for way in (reading.occlusion, reading.shapley))
    assert np.allclose(occluded, own * (step - other**2), rtol=0, atol=1e-10)
    assert np.allclose(shared, own * (step - other**2 + xi**2) / 2, rtol=0, atol=1e-10)


@equation(
    "top-limit",
    statement=r"one of $d$ independent columns is shifted by $\Delta$ deviations: it is the largest with probability "
    r"$\int \varphi(t - \Delta)\,(2\Phi(|t|) - 1)^{d - 1}\,dt$",
    how="200,000 drawn points for three shifts and numbers of columns, within 0.005; a guess without a shift",
)
def test_top_limit():
    def top(shift, d):
        inner = integrate.quad(
            lambda t: stats.norm.pdf(t - shift) * (2 * stats.norm.cdf(abs(t)) - 1) ** (d - 1), -10, 10, points=[0]
        )
        return inner[0]

    for shift, d in ((2.66, 8), (1.0, 3), (4.0, 20)):
        drawn = RNG.normal(size=(200_000, d))
        drawn[:, 0] += shift
        assert reading.top_hits(np.abs(drawn), 0).mean() == pytest.approx(top(shift, d), abs=0.005)
    assert top(0.0, 8) == pytest.approx(1 / 8, abs=1e-8)
