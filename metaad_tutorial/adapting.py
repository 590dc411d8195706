"""Detectors that adapt by a method: raw points in, scores out, for one task (`fit`) or many (`score_tasks`)."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from . import checks
from .convolutions import ConvNet
from .detector import Detector
from .episodes import Episodes
from .estimator import detector
from .method import Method
from .module_network import AdaptedScorer
from .scaling import Scaling, Standardizer, warn_if_far
from .tree import Tree, flat, mapped


@detector(kw_only=True)
class AdaptingDetector(Method, Detector):
    """scikit-learn's contract for a `Method`; its meta-parameters are ``meta_``, or else its untrained start.

    Attributes:
        params_: what a support set makes of them, a tree with a task axis of length 1, set by `fit`.
    """

    standardize: bool | str = True
    dtype: str = "float64"
    device: str = "cpu"
    random_state: object = None

    valid: ClassVar = {
        "standardize": checks.one_of(True, False, "task"), "dtype": checks.one_of("float32", "float64"),
        "device": checks.device,
        "network": checks.must(lambda n: isinstance(n, ConvNet | nn.Module | None), "a ConvNet or a torch.nn.Module"),
    }  # fmt: skip
    odds = True
    chunk = 100  # tasks adapted at once when scoring

    def _check_params(self) -> None:
        super()._check_params()
        if self.network is not None and self.hidden:
            raise ValueError("Give either hidden or network, not both: a network brings its own layers.")
        if isinstance(self.network, ConvNet) and self.network.outputs and not self.embedding:
            raise ValueError(f"{type(self).__name__} needs a network that gives a logit: a ConvNet without outputs.")

    _place = property(lambda self: {"device": self.device, "dtype": getattr(torch, self.dtype)})
    _standardizer = property(lambda self: Standardizer(self.standardize, isinstance(self.net, ConvNet)))

    def _scaled(self, scaling: Scaling, tasks: Episodes) -> Episodes:
        tasks = tasks.flat().to(self.device)
        own = functools.partial(self._ready, self._own(scaling, tasks.support_x, tasks.support_y))
        return dataclasses.replace(tasks, support_x=own(tasks.support_x), query_x=own(tasks.query_x)).to(**self._place)

    def _ready(self, scaling: Scaling, x: Tensor) -> Tensor:
        """Raw points x (T, N, d) as `adapt` and `logit` take them."""
        return scaling(x).to(getattr(torch, self.dtype))

    def _own(self, scaling: Scaling, x: Tensor, y: Tensor) -> Scaling:
        """What `scaling` becomes on tasks with the raw support sets x (T, S, d), y (T, S)."""
        known, got, kind = scaling.location.shape[-1], x.shape[-1], type(self).__name__
        if got != known:
            raise ValueError(f"X has {got} features, but {kind} is expecting {known} features as input.")
        return self._standardizer.at(scaling, x, y)

    def scaled(self, tasks: Episodes) -> Episodes:
        """Raw tasks as `adapt`, `logit` and `outer_loss` take them, after `meta_fit`: points in rows, standardised."""
        check_is_fitted(self, "meta_")
        return self._scaled(Scaling(**self.meta_["scaling"]), tasks)

    def _adapted(self, x: Tensor, y: Tensor) -> Tree:
        """Adapted parameters for the raw support sets x (T, S, d), y (T, S), with the scaling they go with."""
        if self._trained:
            self._check_unchanged()
            meta = {name: value for name, value in self.meta_.items() if name != "scaling"}
            scaling = self._own(Scaling(**mapped(lambda value: value.to(x), self.meta_["scaling"])), x, y)
        else:
            vars(self).pop("_wrapped", None)
            meta = self.init(np.random.default_rng(self.random_state), x.shape[-1])
            scaling = self._standardizer.of(x, y)
        meta = mapped(lambda value: value.to(**self._place), meta)  # dtype and device may have changed since meta_fit
        with torch.no_grad():
            params = self.adapt(meta, self._ready(scaling, x), y.to(**self._place))
        if not all(value.isfinite().all() for value in flat(params).values()):
            raise ValueError("Adapting gave numbers that are not finite: leave standardize=True, or lower inner_lr.")
        return mapped(Tensor.detach, params) | {"scaling": scaling._asdict()}

    def _of(self, function: Callable[[Tree, Tensor], Tensor], params: Tree, x: Tensor) -> np.ndarray:
        """A function of adapted parameters and their tasks' standardised points, of raw points x (T, N, d)."""
        with torch.no_grad():
            return function(params, self._ready(Scaling(**params["scaling"]), x)).cpu().numpy().astype(np.float64)

    def _shown(self, X, function: Callable[[Tree, Tensor], Tensor]) -> np.ndarray:
        """The same on the task of the last `fit`, of points X (n, d) or (n, h, w)."""
        return self._of(function, self.params_, self._raw(self._checked(X)))[0]

    def _raw(self, X: np.ndarray) -> Tensor:
        """A copy of X (n, d) as one task: X may be read-only, or by columns, which moves last bits."""
        return torch.as_tensor(np.array(X, order="C")[None], device=self.device)

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.params_ = self._adapted(self._raw(X), self._raw(y))
        if self._trained and self.standardize and "batch" not in self.sees:
            names, own = vars(self).get("feature_names_in_"), Scaling(**self.params_["scaling"])
            warn_if_far(own, X[y == 0], names, self.standardize == "task")

    def _score(self, X: np.ndarray) -> np.ndarray:
        return self._of(self.logit, self.params_, self._raw(X))[0]

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        """Adapt to all support sets, many at a time, and score their query sets.

        Returns:
            scores (T, Q) and thresholds (T,), the same as from `fit` and `anomaly_score` task by task.
        """
        self._check_params()
        one, trained, scores, thresholds = copy.copy(self), self._trained, [], []
        # Untrained, its network depends on the points.
        one.image_shape_ = vars(self).get("image_shape_") if trained else checks.image_shape(episodes.support_x[0])
        for first in range(0, len(episodes), self.chunk):
            part = episodes[first : first + self.chunk].flat().to(self.device, torch.float64)
            params = one._adapted(part.support_x, part.support_y)
            scores.append(one._of(one.logit, params, part.query_x))
            known = functools.cache(lambda p=params, x=part.support_x: one._of(one.logit, p, x))  # only if they decide
            for i, y in enumerate(part.support_y.cpu().numpy()):
                thresholds.append(one._decide(y, lambda i=i, y=y, known=known: known()[i][y == 0]))
        return np.concatenate(scores), np.array(thresholds)

    def as_module(self) -> nn.Module:
        """The scorer of the task of the last `fit` as a module: raw points (n, d) to scores (n,), differentiable.

        For export (``torch.onnx.export``; not of `ACR`, which looks at its batch first), gradients of the score, or
        serving without this package's checks.
        """
        check_is_fitted(self, "params_")
        return AdaptedScorer(self).eval()
