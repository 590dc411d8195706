"""Meta-learned AAE: a discriminator adapts to normal points against virtual anomalies (chapter 9)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from . import checks
from .convolutions import ConvNet
from .episodes import Episodes
from .estimator import detector
from .inner_loop import gradient_step, inner_loop, per_task
from .losses import discrimination, of_class, reconstruction
from .meta_detector import MetaDetector
from .networks import MLP
from .scaling import Scaling
from .tree import Params, Tree


def length(z: Tensor) -> Tensor:
    """Code (..., m) and its length over that of a standard normal one, (..., m + 1): what C reads."""
    return torch.cat([z, (z.square().sum(-1, keepdim=True) + 1e-12).sqrt() - z.shape[-1] ** 0.5], -1)  # smooth at 0


def stretched(normal: Tensor, anomalous: Tensor) -> Tensor:
    """Normal codes, stretched to the lengths of the anomalous ones (equation ``meta-aae-stretch``).

    Args:
        normal: (..., N, m) codes of normal points.
        anomalous: (..., M, m) codes of anomalies; those of the first N points are taken, or again from the start.

    Returns:
        (..., N, m) codes as long as anomalies, in the directions of normal points.
    """
    size = anomalous.norm(dim=-1, keepdim=True)[..., torch.arange(normal.shape[-2]) % anomalous.shape[-2], :]
    return size * normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def prior(z: Tensor) -> Tensor:
    """How far normal codes are from N(0, I), per coordinate (equation ``meta-aae-prior``).

    Args:
        z: (N, m) codes, N > m.

    Returns:
        The Kullback-Leibler divergence of N(0, S) from N(0, I), divided by m, with S = z^T z / N.

    Raises:
        ValueError: if there are too few codes to fill m dimensions.
    """
    m = z.shape[-1]
    if len(z) <= m:
        raise ValueError(f"{len(z)} normal query points cannot fill {m} dimensions: lower latent, or raise meta_batch.")
    ridge = max(1e-6, 1000 * torch.finfo(z.dtype).eps)  # keeps the determinant away from 0
    moment = z.mT @ z / len(z) + ridge * torch.eye(m, dtype=z.dtype, device=z.device)
    return (torch.trace(moment) - m - torch.logdet(moment)) / (2 * m)


@detector
class MetaAAE(MetaDetector):
    """A discriminator that adapts to normal points against virtual anomalies, which other tasks taught to make.

    On a task with codes z = E(x), measured from their mean, C takes K gradient steps on L_dis: normal support points
    against virtual anomalies z + G(z) (equation ``meta-aae-inner``). The outer loop trains E, D, G and the start of C
    on the query loss (equation ``meta-aae-objective``), in which a share of the anomalies is replaced by normal points
    stretched to the length of anomalies, so that C does not listen in known directions alone. Labelled anomalies in a
    support set are not used.

    Args:
        inner_steps: number K of inner steps.
        inner_lr: size of C's inner steps.
        latent: width m of the code, at most what E's last layer reads; None is 32, or the least width of a dense E if
            that is smaller.
        width: width of the one hidden layer of C and of G.
        unseen: share, 0 to 1, that stretched points have in the anomalies of the query loss.
        weight: weight of the autoencoder's own loss, reconstruction and prior, in the outer loss.

    `hidden` or `network`, here a `ConvNet`, is E; D is dense. Under ``torchrun`` the prior is that of each process's
    share of the tasks.

    Example:
        >>> from metaad_tutorial import Fleet, MetaAAE
        >>> train, valid, test = Fleet(normal_shots=10, anomalous_shots=0).split(random_state=0)
        >>> detector = MetaAAE(meta_steps=20, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0]).virtual_anomalies(task.support_x[0]).shape
        (10, 16)
    """

    inner_steps: int = 1
    inner_lr: float = 0.1
    latent: int | None = None
    width: int = 8
    unseen: float = 0.75
    weight: float = 10.0

    valid: ClassVar = {
        "inner_steps": checks.integer(0), "unseen": checks.number(0, 1), "weight": checks.number(0, np.inf, "[)"),
        "network": checks.must(lambda network: isinstance(network, ConvNet | None), "a ConvNet, the encoder"),
    }  # fmt: skip
    sees = ("support",)
    bound = (*MetaDetector.bound, "latent", "width")

    def _nets(self, n_features: int = 1, m: int = 1) -> dict:
        """E, D, C and G; the sizes are what `init` needs, a call takes them from the parameters."""
        encoder = dataclasses.replace(self.net, outputs=m)
        return {"E": encoder, "D": MLP((), n_features), "C": MLP((self.width,)), "G": MLP((self.width,), m)}

    def init(self, rng: np.random.Generator, n_features: int) -> Tree:
        # Or what E's last layer reads, if that is less.
        widest = min(n_features, self.net.init(np.random.default_rng(0), n_features)[self.net.head[0]].shape[0])
        if (self.latent or 1) > widest:  # wider codes would lie in a subspace, where the prior has no minimum
            raise ValueError(f"latent={self.latent} is more than E can fill: at most {widest} with these layers.")
        m = self.latent or min(32, widest)
        widths = {"E": n_features, "D": m, "C": m + 1, "G": m}
        return {"start": {name: net.init(rng, widths[name]) for name, net in self._nets(n_features, m).items()}}

    def encoded(self, params: Tree, x: Tensor) -> Tensor:
        """E(x), (T, N, m)."""
        return self._nets()["E"](params["E"], x, params.get("support"))

    def codes(self, params: Tree, x: Tensor) -> Tensor:
        """E(x) less the mean over the normal support points (equation ``meta-aae-code``), (T, N, m)."""
        return self.encoded(params, x) - params["center"]

    def judge(self, own: Params, z: Tensor) -> Tensor:
        """Logits of C with parameters `own` at codes z (equation ``meta-aae-score``): (T, N, m) -> (T, N)."""
        return self._nets()["C"](own, length(z))

    def virtual(self, params: Tree, z: Tensor) -> Tensor:
        """Codes of virtual anomalies, z + G(z), made from codes z of normal points: (T, N, m)."""
        return z + self._nets()["G"](params["G"], z)

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        """C after K steps on L_dis (equation ``meta-aae-inner``)."""
        params = meta["start"] | self.remembered(x)
        codes = self.encoded(params, of_class(x, y, 0))
        params["center"] = codes.mean(1, keepdim=True)
        z = codes - params["center"]
        virtual = self.virtual(params, z)

        def loss(own: Params) -> Tensor:
            return discrimination(self.judge(own, z), self.judge(own, virtual))

        own = per_task(params["C"], len(x))
        return params | {"C": inner_loop(loss, own, gradient_step(self.inner_lr), self.inner_steps)}

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        return self.judge(params["C"], self.codes(params, x))

    def outer_loss(self, meta: Tree, tasks: Episodes) -> Tensor:
        """Query loss, partly against stretched points, and the autoencoder's own (equation ``meta-aae-objective``)."""
        params, y = self.adapt(meta, tasks.support_x, tasks.support_y), tasks.query_y
        z = self.codes(params, tasks.query_x)
        normal, far = of_class(z, y, 0), of_class(z, y, 1)
        made = stretched(normal, far).detach()  # E must not make them easy
        still, known, new = (self.judge(params["C"], points) for points in (normal, far, made))
        query = (1 - self.unseen) * discrimination(still, known) + self.unseen * discrimination(still, new)
        x, rebuilt = of_class(tasks.query_x, y, 0), self._nets()["D"](params["D"], normal + params["center"])
        own = reconstruction(x, rebuilt).mean() / x.shape[-1] + prior(normal.flatten(0, 1))
        return query.mean() / 2 + self.weight * own

    valid_loss = outer_loss

    def virtual_anomalies(self, X) -> np.ndarray:
        """What C is trained against on normal points X (n, d) or (n, h, w): D(z + G(z)), (n, d).

        Call `fit` first; the codes are measured from the mean code of its support set.
        """

        def made(params: Tree, x: Tensor) -> Tensor:
            codes = self.virtual(params, self.codes(params, x)) + params["center"]
            return Scaling(**params["scaling"]).undone(self._nets()["D"](params["D"], codes))

        return self._shown(X, made)
