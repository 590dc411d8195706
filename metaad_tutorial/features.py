"""Features of an ordinary classifier of the training data, and distances in them (chapters 3 to 10)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from . import checks, training
from .batches import BatchDetector
from .checkpoint import Checkpoint
from .convolutions import ConvNet
from .estimator import detector
from .inner_loop import gradient_step, inner_loop
from .losses import cross_entropy, of_class
from .meta_detector import MetaDetector
from .networks import MLP, dense
from .tree import Tree, mapped

LINE = MLP()  # features to one logit


@detector
class PooledFeatures(MetaDetector):
    r"""Distances in the last hidden layer of an ordinary classifier of the training data.

    A network with features :math:`\phi(x)` and a linear layer on top of them learns to name the training units from
    their normal points, or to tell anomalies from normal points, without any episode. Of a new task only class means of
    features are taken, :math:`c_0` and, where anomalies are labelled, :math:`c_1`; the score is

    .. math:: s(x)=a\big(\lVert\phi(x)-c_0\rVert^2-\lVert\phi(x)-c_1\rVert^2\big)+b,

    without the second distance where there are none. If the classifier has learnt to tell anomalies and the support set
    has none, s is its own logit instead: it need not keep normal points together, so that distances may say nothing.
    Scale a and bias b are those with which s best predicts the query labels of the validation tasks (of the training
    tasks without any). Chen et al. (2019) found such features to be as good as episodes in few-shot classification.

    Args:
        embedding: number of features, unless `network` says it.
        target: what the classifier learns, "units" or "labels"; None is "units" for images, "labels" for other points.
        normalize: divide features by their length.
        head_steps: gradient steps on the support set that a linear head takes, from the s above, which is linear in
            normalised features; needs labelled anomalies.
        head_lr: their size.
        meta_tasks: number of tasks whose points are the classifier's training data.

    `meta_batch` is the number of points in each step, 128 if None; `meta_steps` is 1500 if None, and the last step is
    kept; `meta_lr` is 0.003 for images, else 0.01.
    """

    embedding: int = 64
    target: str | None = None
    normalize: bool = True
    head_steps: int = 0
    head_lr: float = 0.1
    meta_tasks: int = 2000

    valid: ClassVar = {"target": checks.one_of(None, "units", "labels"), "head_steps": checks.integer(0)}
    bound = (*MetaDetector.bound, "target", "normalize")
    averaging = 0.98
    numbers: ClassVar = {"scale": 1.0, "bias": 0.0}  # what makes a logit of a distance

    def features(self, params: Tree, x: Tensor) -> Tensor:
        """phi of the points x (T, N, d), without normalisation: (T, N, q)."""
        return torch.relu(self.net(params["start"], x, params.get("support")))

    @property
    def usual(self) -> tuple[float, int, int]:
        return (0.003, 1500, 128) if isinstance(self.net, ConvNet) else (0.01, 1500, 128)

    def classified(self, meta: Tree, points: Tensor) -> Tensor:
        """Mean cross-entropy of the classifier on points (B, d + 1), whose last column is their class."""
        x, target = points[:, :-1], points[:, -1]
        logit = dense(meta["head"], 0, self.features(meta, x))
        if logit.shape[1] == 1:
            return cross_entropy(logit[:, 0], target).mean()
        return F.cross_entropy(logit, target.long())

    def _learn(self, train, valid, first, scaling, rng, checkpoint):
        tasks = self._scaled(scaling, first)
        x, y = torch.cat([tasks.support_x, tasks.query_x], 1), torch.cat([tasks.support_y, tasks.query_y], 1)
        named = (self.target or ("units" if self.image_shape_ else "labels")) == "units"
        if named:
            unit = torch.as_tensor(np.unique(tasks.units, return_inverse=True)[1], device=x.device)
            x, y = x[y == 0], unit[:, None].expand_as(y)[y == 0]
        pool = torch.cat([x.flatten(0, -2), y.flatten()[:, None].to(x)], 1)
        lr, steps, batch = self._recipe
        start = mapped(lambda value: value.to(**self._place), self.init(rng, x.shape[-1]))
        classes, width = int(y.max()) + 1 if named else 1, self.features(start, pool[None, :2, :-1]).shape[-1]
        start["head"] = {"weight0": pool.new_zeros(width, classes), "bias0": pool.new_zeros(1, classes)}
        learnt, history = training.meta_train(
            start, lambda: pool[torch.as_tensor(rng.integers(len(pool), size=batch), device=pool.device)],
            self.classified, lr=lr, steps=steps, decay=self.averaging, label=type(self).__name__,
            checkpoint=checkpoint and Checkpoint(self, train, [first], start, rng, checkpoint),
        )  # fmt: skip
        head = learnt.pop("head")
        meta = learnt if named else learnt | {"teller": head}  # of use on new units, if it tells anomalies
        tasks = self._scaled(scaling, self.draw(valid or train, self.valid_tasks, rng))
        with torch.no_grad():
            score = self.logit(self.adapt(meta, tasks.support_x, tasks.support_y), tasks.query_x)
        x, y = (score / score.std()).reshape(-1, 1).cpu().numpy(), tasks.query_y.flatten().cpu().numpy()
        line = LogisticRegression(class_weight="balanced").fit(x, y)
        slope = torch.as_tensor(line.coef_[0, 0]) / score.std()
        return meta | {"scale": slope, "bias": torch.as_tensor(line.intercept_[0]).to(slope)}, history

    def _phi(self, params: Tree, x: Tensor) -> Tensor:
        phi = self.features(params, x)
        return F.normalize(phi, dim=-1) if self.normalize else phi

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        """The class means of the support sets; with labelled anomalies the line between them, fine-tuned if wanted."""
        params = meta | self.remembered(x)
        if not y.any() and "teller" in meta:
            return params
        phi = self._phi(params, x)
        normal, anomalous = (of_class(phi, y, label) for label in (0, 1))
        center = normal.mean(1, keepdim=True)
        if not anomalous.shape[1]:
            return params | {"center": center}
        other = anomalous.mean(1, keepdim=True)
        gap = (center**2 - other**2).sum(-1, keepdim=True)
        line = {"weight0": 2 * meta["scale"] * (other - center).mT, "bias0": meta["scale"] * gap + meta["bias"]}

        def loss(own: Tree) -> Tensor:
            return cross_entropy(LINE(own, phi), y).mean(-1)

        return params | {"line": inner_loop(loss, line, gradient_step(self.head_lr), self.head_steps)}

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        phi = self._phi(params, x)
        if "line" in params:
            return LINE(params["line"], phi)
        if "center" in params:
            return params["scale"] * ((phi - params["center"]) ** 2).sum(-1) + params["bias"]
        return params["scale"] * LINE(params["teller"], self.features(params, x)) + params["bias"]


@detector
class BatchFeatures(BatchDetector, PooledFeatures):
    """`PooledFeatures` with the mean of the batch that is judged in place of that of a support set.

    As with `ACR`, the score of a point depends on the other points in the call, most of which must be normal, and a new
    domain needs no support set.
    """

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        """Nothing adapts to a support set."""
        return meta

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        phi = self._phi(params, x)
        return params["scale"] * ((phi - phi.mean(1, keepdim=True)) ** 2).sum(-1) + params["bias"]
