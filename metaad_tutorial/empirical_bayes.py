"""Empirical Bayes: Gaussian units whose parameters other units tell, in closed form (chapters 3, 6 and 9)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from scipy.special import gammaln, ive, xlogy
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from . import checks
from .episodes import Episodes
from .estimator import detector
from .experienced import ExperiencedDetector
from .losses import of_class
from .tree import Tree, mapped


def points_of(tasks: Episodes, label: int) -> list[np.ndarray]:
    """The distinct points of one label, by unit, in the order of their names: (n, d) float64 arrays."""
    x = torch.cat([tasks.support_x, tasks.query_x], 1).cpu().double().numpy()
    y = torch.cat([tasks.support_y, tasks.query_y], 1).cpu().numpy()
    units, order = np.unique(tasks.units, return_inverse=True)
    own = [np.flatnonzero(order == u) for u in range(len(units))]
    return [np.unique(x[tasks_of][y[tasks_of] == label], axis=0) for tasks_of in own]


def moments(normal: list[np.ndarray], anomalous: list[np.ndarray], shared: bool = True) -> dict[str, np.ndarray]:
    r"""What units have in common, estimated from the points of some of them.

    With class means :math:`\bar x_{u0}, \bar x_{u1}` of unit u out of :math:`n_{u0}, n_{u1}` points, the covariance
    :math:`S_c` within class c is that of the points around their own means; the units' means and shifts are

    .. math:: M,T=\operatorname{mean,cov}_u\,\bar x_{u0},\qquad D,B=\operatorname{mean,cov}_u(\bar x_{u1}-\bar x_{u0}),

    where T is less by the noise :math:`S_0/n_{u0}` of a mean, B by that of a difference, and neither negative. All four
    covariances are shrunk by Ledoit and Wolf (2004), for few points and few units.

    Args:
        normal, anomalous: (n, d) points of each unit, at least 2 units.
        shared: whether both classes have one covariance within, that of all points around their class's mean.
    """
    classes = (normal, anomalous)
    means = [np.array([x.mean(0) for x in points]) for points in classes]
    rest = [np.concatenate([x - x.mean(0) for x in points]) for points in classes]
    freedom = [len(x) - len(points) for x, points in zip(rest, classes, strict=True)]
    if shared:
        rest, freedom = [np.concatenate(rest)] * 2, [sum(freedom)] * 2
    within = [ledoit_wolf(x, assume_centered=True)[0] * len(x) / max(1, n) for x, n in zip(rest, freedom, strict=True)]
    noise = [S * np.mean([1 / len(x) for x in points]) for S, points in zip(within, classes, strict=True)]
    shift = means[1] - means[0]

    def between(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
        share = len(values) / (len(values) - 1)
        size, axes = np.linalg.eigh(ledoit_wolf(values)[0] * share - noise)
        return axes * size.clip(0) @ axes.T

    known = {"within": within[0], "within_anomalous": within[1], "mean": means[0].mean(0), "shift": shift.mean(0)}
    return known | {"between": between(means[0], noise[0]), "between_shift": between(shift, sum(noise))}


def posterior(know: dict[str, Tensor], normal: Tensor, anomalous: Tensor) -> tuple[Tensor, Tensor]:
    r"""Where new points of each class are expected, given a support set.

    The unit's mean and shift :math:`z=(\mu,\delta)` have the prior N((M, D), P) with P = diag(T, B); the class means of
    the support set are :math:`Hz` plus noise of covariance R = diag(:math:`S_0/n_0,S_1/n_1`). So

    .. math:: \hat z=m+K(\bar x-Hm),\qquad V=P-KHP,\qquad K=PH^\top(HPH^\top+R)^{-1},

    the linear Gaussian model of Lindley and Smith (1972). A new normal point is
    :math:`\mathcal N(\hat\mu, S_0+V_{\mu\mu})`, an anomaly :math:`\mathcal N(\hat\mu+\hat\delta, S_1+CVC^\top)` with
    C = (I, I).

    Args:
        know: what `moments` gives.
        normal, anomalous: (T, n, d) support points of each class; of anomalies there may be none.

    Returns:
        centers (T, 2, d) of the normal and the anomalous class, and their covariances (1, 2, d, d).
    """
    d = normal.shape[-1]
    one, zero = torch.eye(d).to(normal), normal.new_zeros(d, d)
    classes = [(normal, "within", [one, zero]), (anomalous, "within_anomalous", [one, one])]
    seen = [(x, know[name] / x.shape[1], row) for x, name, row in classes if x.shape[1]]
    H = torch.cat([torch.cat(row, 1) for _, _, row in seen])
    R = torch.block_diag(*(noise for _, noise, _ in seen))
    P, m = torch.block_diag(know["between"], know["between_shift"]), torch.cat([know["mean"], know["shift"]])
    K = torch.linalg.solve(H @ P @ H.T + R, H @ P).T
    z = m + (torch.cat([x.mean(1) for x, _, _ in seen], -1) - H @ m) @ K.T
    V = P - K @ H @ P
    both = torch.cat([torch.cat([one, zero], 1), torch.cat([one, one], 1)])  # normal, anomalous
    center = (z @ both.T).unflatten(-1, (2, d))
    spread = [know[name] + C @ V @ C.T for C, name in zip(both.split(d), ("within", "within_anomalous"), strict=True)]
    return center, torch.stack(spread)[None]


def from_anywhere(r: Tensor, reach: Tensor, d: int) -> Tensor:
    r"""Log likelihood ratio of a shift of length `reach` in any direction, for N(0, I) in d dimensions.

    The part of equation ``meta-aae-hedge`` with :math:`\kappa=1`: a function of the distance r (...) alone.
    """
    order, x = d / 2 - 1, np.asarray(reach * r, dtype=float)
    bessel = ive(order, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.log(bessel) + x - xlogy(order, x / 2) + gammaln(d / 2)
    series = x**2 / (2 * d)  # what it is near 0, where the Bessel function vanishes
    return torch.as_tensor(np.where(bessel > 0, exact, series)).to(r) - reach**2 / 2


@detector
class EmpiricalBayes(ExperiencedDetector):
    """Log odds of two Gaussians, whose parameters come from other units (`moments`) and the support set (`posterior`).

    All that tasks have in common is estimated in closed form, so there is nothing to train: the covariances within
    units, mean and covariance of the units' means, and those of their anomalies' shifts. A support set then says where
    the unit is and, if it has labelled anomalies, along what it fails. Where units are Gaussian nothing is better, and
    it is the first opponent of every method that learns across tasks.

    Args:
        unknown: share, 0 to 1, of anomalies that are shifted as far as known ones, but in any direction (equation
            ``meta-aae-hedge``). With 1 the score is a function of the pooled Mahalanobis distance. A score with a share
            above 0 has no gradient.
        shared: whether both classes have one covariance within units; otherwise each has its own, of which outliers
            of a class of heavy tails make much.
        certain: take the posterior means as if they were true, and forget how uncertain they are. With a shared
            covariance the score is then linear in x, which heavy tails hurt less.
        meta_tasks: number of tasks to learn from.

    Example:
        >>> from metaad_tutorial import EmpiricalBayes, Fleet, evaluate
        >>> train, valid, test = Fleet().split(random_state=0)
        >>> bool(evaluate(EmpiricalBayes(random_state=0).meta_fit(train), test, 100, 0).mean > 0.94)
        True
    """

    unknown: float = 0.0
    shared: bool = True
    certain: bool = False
    meta_tasks: int = 1000

    valid: ClassVar = {"unknown": checks.number(0, 1)}
    bound = (*ExperiencedDetector.bound, "shared")

    def _learn(self, train, valid, first, scaling, rng, checkpoint):
        if len(np.unique(first.units)) < 2:
            raise ValueError("train has a single unit: how units differ takes at least 2 to see.")
        tasks = self._scaled(scaling, first)
        known = self._estimated(points_of(tasks, 0), points_of(tasks, 1), rng)
        return mapped(lambda value: torch.as_tensor(value).to(**self._place), known), {"loss": [], "valid_loss": []}

    def _estimated(self, normal: list[np.ndarray], anomalous: list[np.ndarray], rng: np.random.Generator) -> Tree:
        """What units have in common, from their points: arrays."""
        return moments(normal, anomalous, self.shared)

    def init(self, rng: np.random.Generator, n_features: int) -> Tree:
        """Before any experience: round classes, the anomalous one three times as wide."""
        one, zero = torch.eye(n_features, dtype=torch.float64), torch.zeros(n_features, dtype=torch.float64)
        spread = {"within": one, "within_anomalous": one, "between": one, "between_shift": 8 * one}
        return spread | {"mean": zero, "shift": zero}

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        normal, anomalous = (of_class(x, y, label) for label in (0, 1))
        center, spread = posterior(meta, normal, anomalous)
        if self.certain:
            spread = torch.stack([meta["within"], meta["within_anomalous"]])[None]
        precision = torch.linalg.inv(spread)
        shift = meta["between_shift"] + torch.outer(meta["shift"], meta["shift"])
        reach = (precision[:, 0] * shift).sum((-1, -2)).sqrt()
        return {"center": center, "precision": precision, "log_volume": torch.logdet(spread), "reach": reach}

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        gap = x.unsqueeze(-3) - params["center"].unsqueeze(-2)  # (T, 2, N, d)
        distance = ((gap @ params["precision"]) * gap).sum(-1)
        density = -(distance + params["log_volume"].unsqueeze(-1)) / 2
        known = density[..., 1, :] - density[..., 0, :]
        if not self.unknown:
            return known
        anywhere = from_anywhere(distance[..., 0, :].sqrt(), params["reach"][:, None], x.shape[-1])
        shares = torch.tensor([1 - self.unknown, self.unknown]).to(x).log()
        return torch.logaddexp(shares[0] + known, shares[1] + anywhere)
