"""A fleet of machines: tasks with a known ceiling (chapters 2 and 3)."""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from ..episodes import Episodes, TaskFamily, shuffled


class Fleet(TaskFamily):
    r"""Machines that differ in their mean and share their noise and their way of failing.

    Normal points of machine i are x = mu_i + A e with e standard normal; anomalies are shifted by
    delta_i u_i (equation ``fleet-model``). A is shared. With ``directions=1`` all machines fail along the
    same unit vector u; with more, each has its own u_i in a shared subspace of that dimension. delta_i
    is set so that the Bayes-optimal AUROC (equation ``fleet-ceiling``) is `ceiling` on every machine.

    Args:
        normal_shots, anomalous_shots, normal_queries, anomalous_queries: points per episode.
        n_machines: number of machines.
        n_features: number of sensors d.
        directions: dimension of the subspace of anomaly directions, 1 to d.
        ceiling: Bayes-optimal AUROC, strictly between 0.5 and 1.
        spread: standard deviation of the machines' means, per sensor.
        seed: fixes the fleet itself (A, the directions, the means), not the episodes drawn from it.

    Attributes:
        mixing: (d, d) the matrix A.
        covariance: (d, d) Sigma = A A^T.
        means: (n_machines, d) mu_i.
        shifts: (n_machines, d) delta_i u_i.
        bayes_auroc: the ceiling, by equation ``fleet-ceiling``.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        normal_shots: int = 5,
        anomalous_shots: int = 2,
        normal_queries: int = 15,
        anomalous_queries: int = 15,
        n_machines: int = 2500,
        n_features: int = 16,
        directions: int = 1,
        ceiling: float = 0.97,
        spread: float = 1.0,
        seed: int = 0,
    ):
        super().__init__(np.arange(n_machines), normal_shots, anomalous_shots, normal_queries, anomalous_queries)
        if not 1 <= directions <= n_features:
            raise ValueError(f"directions must lie between 1 and n_features={n_features}, got {directions}.")
        if not 0.5 < ceiling < 1:
            raise ValueError(f"ceiling must lie strictly between 0.5 and 1, got {ceiling}.")
        if not 0 < spread < np.inf:
            raise ValueError(f"spread must be a positive number, got {spread}.")
        self.spread = spread
        self.source = ("Fleet", n_features, seed)
        rng = np.random.default_rng(seed)
        mixing = 0.3 * rng.normal(size=(n_features, n_features)) / np.sqrt(n_features)
        self.mixing = mixing + np.diag(rng.uniform(0.7, 1.3, n_features))
        self.covariance = self.mixing @ self.mixing.T
        self.means = spread * rng.normal(size=(n_machines, n_features))
        self._basis = np.zeros((directions, n_features))
        affected = max(directions, n_features // 4)
        self._basis[:, :affected] = rng.normal(size=(directions, affected))
        self._separation = np.sqrt(2) * norm.ppf(ceiling)
        self.shifts = self._shift(rng.normal(size=(n_machines, directions)))

    def _shift(self, coefficients: np.ndarray) -> np.ndarray:
        """Anomaly shifts delta u along `coefficients` @ basis, scaled to the fleet's ceiling."""
        direction = coefficients @ self._basis
        if len(self._basis) == 1:
            direction = np.abs(coefficients) * self._basis  # one direction: one sign for all machines
        length = np.sqrt(np.sum(direction * np.linalg.solve(self.covariance, direction.T).T, -1))
        return self._separation * direction / length[:, None]

    @functools.cached_property
    def bayes_auroc(self) -> float:
        """Phi(sqrt(s^T Sigma^-1 s / 2)) with s = delta u; no score function does better on this fleet."""
        shift = self.shifts[0]
        return float(norm.cdf(np.sqrt(shift @ np.linalg.solve(self.covariance, shift) / 2)))

    def _draw(self, units: np.ndarray, rng: np.random.Generator) -> Episodes:
        def draw(normal: int, anomalous: int):
            noise = rng.normal(size=(len(units), normal + anomalous, len(self.mixing)))
            y = np.tile(np.repeat([0.0, 1.0], [normal, anomalous]), (len(units), 1))
            x = self.means[units][:, None] + noise @ self.mixing.T + y[..., None] * self.shifts[units][:, None]
            return shuffled(x, y, rng)

        return Episodes(
            *draw(self.normal_shots, self.anomalous_shots),
            *draw(self.normal_queries, self.anomalous_queries),
            units,
        )

    def bayes_scores(self, episodes: Episodes, n_directions: int = 400) -> np.ndarray:
        """Log odds of an anomaly given the support set, by someone who knows the fleet but not the machine.

        Equation ``fleet-posterior``: the mean of the machine is integrated out exactly, its anomaly direction
        over `n_directions` random ones (the one there is, if all machines share it). No method that sees the
        same support set, and one query point at a time, has a higher expected accuracy.

        Returns:
            (T, Q) log odds at even prior; above 0 the point is more likely anomalous.
        """
        rank = len(self._basis)
        coefficients = np.random.default_rng(0).normal(size=(n_directions if rank > 1 else 1, rank))
        shifts = self._shift(coefficients)  # (K, d)
        support_x, support_y = (
            episodes.support_x.double().numpy(),
            episodes.support_y.double().numpy(),
        )
        query_x, n = episodes.query_x.double().numpy(), support_y.shape[1]
        precision = np.linalg.inv(self.covariance)
        # Posterior of the mean: N(center, posterior); one more point has covariance Sigma + posterior.
        posterior = np.linalg.inv(n * precision + np.eye(len(precision)) / self.spread**2)
        predictive = np.linalg.inv(self.covariance + posterior)
        gain = n * posterior @ precision
        average, share = support_x.mean(1), support_y.mean(1)
        center = (average[:, None] - share[:, None, None] * shifts) @ gain.T  # (T, K, d)

        # Evidence of each direction: normals at mu, anomalies at mu + shift, mu ~ N(0, spread^2 I).
        anomalies = np.einsum("ts,tsd->td", support_y, support_x)
        count = support_y.sum(1)[:, None]
        linear = anomalies @ precision @ shifts.T  # |shift| in the metric of Sigma is the same for all
        natural = (n * average[:, None] - count[..., None] * shifts) @ precision
        evidence = linear + np.einsum("tkd,de,tke->tk", natural, posterior, natural) / 2
        weight = evidence - logsumexp(evidence, axis=1, keepdims=True)

        whiten = np.linalg.cholesky(predictive)
        points = query_x @ whiten

        def log_density(mean: np.ndarray) -> np.ndarray:  # (T, K, d) -> (T, Q, K)
            return -(torch.cdist(torch.as_tensor(points), torch.as_tensor(mean @ whiten)).numpy() ** 2) / 2

        anomalous = logsumexp(weight[:, None] + log_density(center + shifts), axis=-1)
        return anomalous - logsumexp(weight[:, None] + log_density(center), axis=-1)
