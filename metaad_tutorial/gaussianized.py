"""Empirical Bayes on sensors that were bent: first a map after which pooled readings look Gaussian (chapter 3)."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from . import checks
from .empirical_bayes import EmpiricalBayes
from .estimator import detector
from .tree import Tree

GRID = 1000  # quantiles of each component


def normal_scores(x: Tensor, grid: Tensor) -> Tensor:
    """The normal quantile at the rank that each column of x (..., d) has among the quantiles `grid` (q, d)."""
    columns, q = x.movedim(-1, 0).flatten(1).contiguous(), len(grid)
    above = torch.searchsorted(grid.T.contiguous(), columns).clamp(1, q - 1)
    low, high = grid.T.gather(1, above - 1), grid.T.gather(1, above)
    share = ((columns - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
    rank = ((above - 1 + share) / (q - 1)).clamp(1e-7, 1 - 1e-7)
    return torch.special.ndtri(rank).unflatten(1, x.shape[:-1]).movedim(0, -1)


def gaussian(maps: Tree, x: Tensor) -> Tensor:
    """Points x (..., d) after each round: independent components, then their `normal_scores`."""
    for name in sorted(maps):
        x = normal_scores((x - maps[name]["mean"]) @ maps[name]["unmix"].T, maps[name]["grid"])
    return x


@detector
class GaussianizedBayes(EmpiricalBayes):
    """`EmpiricalBayes` after a map that makes the normal points of all training units look Gaussian.

    A round finds the directions in which pooled normal points are least Gaussian, their independent components
    (FastICA, Hyvarinen 1999), and replaces each component by its normal score. This is the Gaussianization of Chen and
    Gopinath (2000). Where sensors were bent along independent axes, such as those of ``Fleet(warp=...)``, one round
    undoes it.

    Args:
        rounds: how often.

    Example:
        >>> from metaad_tutorial import Fleet, GaussianizedBayes, evaluate
        >>> train, valid, test = Fleet(warp=1.2).split(random_state=0)
        >>> bool(evaluate(GaussianizedBayes(random_state=0).meta_fit(train), test, 100, 0).mean > 0.94)
        True
    """

    rounds: int = 1

    valid: ClassVar = EmpiricalBayes.valid | {"rounds": checks.integer(1)}
    bound = (*EmpiricalBayes.bound, "rounds")

    def _estimated(self, normal, anomalous, rng):
        classes, maps = [[torch.as_tensor(x) for x in points] for points in (normal, anomalous)], {}
        for k in range(self.rounds):
            pooled, seed = torch.cat(classes[0]).numpy(), int(rng.integers(2**31))
            if np.linalg.matrix_rank(pooled - pooled.mean(0)) < pooled.shape[1]:
                raise ValueError(
                    "A column is constant, or a combination of others: leave it out, or use EmpiricalBayes."
                )
            with warnings.catch_warnings():  # of Gaussian points any rotation will do, and none is found
                warnings.simplefilter("ignore", ConvergenceWarning)
                ica = FastICA(whiten="unit-variance", random_state=seed).fit(pooled)
            grid = np.quantile(ica.transform(pooled), np.linspace(0, 1, GRID), axis=0)
            found = {"mean": ica.mean_, "unmix": ica.components_, "grid": grid}
            own = {f"round{k:02d}": {name: torch.as_tensor(value) for name, value in found.items()}}
            classes, maps = [[gaussian(own, x) for x in points] for points in classes], maps | own
        known = super()._estimated(*([x.numpy() for x in points] for points in classes), rng)
        return known | {"maps": maps}

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        maps = meta.get("maps", {})  # none before any experience
        return super().adapt(meta, gaussian(maps, x), y) | {"maps": maps}

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        return super().logit(params, gaussian(params.get("maps", {}), x))
