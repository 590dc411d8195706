"""Meta-learned AAE: a discriminator adapts to normal points against virtual anomalies (chapter 8)."""

from __future__ import annotations

import dataclasses
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from .adapt import Params, adapt, per_task
from .detector import MetaDetector, as_points, check_number, check_positive
from .episodes import Episodes
from .losses import balanced_mean, cross_entropy, reconstruction
from .networks import MLP, ConvNet


class _Parts:
    """E, D, G and C as one network; the names of its parameters begin with the part they belong to.

    C reads a code z, measured from the support set's mean code, and its length.
    """

    def __init__(self, encoder: MLP | ConvNet, latent: int | None, width: int):
        self.encoder, self.latent, self.width = encoder, latent, width
        self.uses_context = encoder.uses_context
        self.nets = self._sized(1, 1)  # a network's call takes its sizes from its parameters

    def _sized(self, n_features: int, m: int) -> dict[str, MLP | ConvNet]:
        # A dense decoder even for images: a convolutional one would cost more than all the rest.
        mirror = self.encoder.hidden[::-1] if isinstance(self.encoder, MLP) else (2 * m,)
        return {
            "encoder": dataclasses.replace(self.encoder, outputs=m),
            "decoder": MLP(mirror, n_features),
            "generator": MLP((self.width,), m),
            "discriminator": MLP((self.width,)),
        }

    def _widest(self, n_features: int) -> int:
        """What E's last layer reads: wider codes would lie in a subspace, where the prior has no minimum."""
        if isinstance(self.encoder, MLP):
            return min((n_features, *self.encoder.hidden))
        return self.encoder.init(np.random.default_rng(0), n_features)[self.encoder.head[0]].shape[1]

    def init(self, rng: np.random.Generator, n_features: int) -> Params:
        widest = self._widest(n_features)
        if (self.latent or 1) > widest:
            raise ValueError(f"latent={self.latent} is more than E can fill: at most {widest} with these layers.")
        m = self.latent or min(32, widest)
        nets = self._sized(n_features, m)
        widths = {"encoder": n_features, "decoder": m, "generator": 2 * m, "discriminator": m + 1}
        drawn = {part: net.init(rng, widths[part]) for part, net in nets.items()}
        return {f"{part}.{name}": value for part, params in drawn.items() for name, value in params.items()}

    def part(self, name: str, params: Params, *inputs) -> Tensor:
        """The output of one part."""
        own = {key.removeprefix(f"{name}."): v for key, v in params.items() if key.startswith(f"{name}.")}
        return self.nets[name](own, *inputs)

    def judge(self, params: Params, z: Tensor) -> Tensor:
        """Logits of C (equation ``meta-aae-score``): codes (T, N, m) -> (T, N)."""
        m = z.shape[-1]
        length = (z.square().sum(-1, keepdim=True) + 1e-12).sqrt()  # smooth at 0
        return self.part("discriminator", params, torch.cat([z, length - m**0.5], -1))

    def __call__(self, params: Params, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits of points (T, N, d), with ``params["center"]`` (T, 1, m) the support set's mean code."""
        return self.judge(params, self.part("encoder", params, x, context) - params["center"])


class MetaAAE(MetaDetector):
    """A discriminator that adapts to normal points against virtual anomalies, which other tasks taught to make.

    On a task with codes z = E(x), measured from their mean, C takes K gradient steps on L_dis: support points against
    virtual anomalies z + G(z, noise) (equation ``meta-aae-inner``). The outer loop trains E, D, G, the start of C and
    its step sizes on the query loss (equation ``meta-aae-objective``), in which a share of the anomalies is replaced
    by normal points stretched to the length of anomalies, so that C does not listen in known directions alone.

    Args:
        inner_steps: number K of inner steps.
        inner_lr: where the learnt step sizes of C start.
        latent: width m of the code, at most what E's last layer reads; None is 32, or that number if it is smaller.
        width: width of the one hidden layer of C and of G.
        n_virtual: number of virtual anomalies for each support set.
        unseen: share, 0 to 1, that stretched points have in the anomalies of the query loss.
        weight: weight of the autoencoder's own loss, reconstruction and prior, in the outer loss.
        first_order: take the inner gradients as constants; G then learns nothing.
        shared: the parameters of `MetaDetector`, whose attributes this class has too. `hidden` or `network`, here a
            `ConvNet`, is E; D is dense.

    Labelled anomalies in a support set join the virtual ones. Virtual anomalies begin at the first `n_virtual` normal
    support points, so that the order of these matters a little. Under ``torchrun`` the prior is that of each process's
    share of the tasks.

    Example:
        >>> from metaad_tutorial import Fleet, MetaAAE
        >>> train, valid, test = Fleet(normal_shots=10, anomalous_shots=0).split(random_state=0)
        >>> detector = MetaAAE(meta_steps=20, random_state=0).meta_fit(train, valid)
        >>> task = test.sample(1, random_state=0)
        >>> detector.fit(task.support_x[0]).virtual_anomalies(task.support_x[0]).shape
        (20, 16)
    """

    def __init__(
        self,
        inner_steps: int = 1,
        inner_lr: float = 0.1,
        latent: int | None = None,
        width: int = 8,
        n_virtual: int = 20,
        unseen: float = 0.75,
        weight: float = 10.0,
        first_order: bool = False,
        **shared,
    ):
        super().__init__(**shared)
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.latent = latent
        self.width = width
        self.n_virtual = n_virtual
        self.unseen = unseen
        self.weight = weight
        self.first_order = first_order

    @property
    def second_order(self) -> bool:
        return not self.first_order

    def _check_params(self) -> None:
        super()._check_params()
        if not isinstance(self.network, ConvNet | None):
            raise ValueError(
                f"network, the encoder of a MetaAAE, must be a ConvNet, got {type(self.network).__name__}; "
                "for points that are no images give hidden=(...)."
            )
        check_positive(self.inner_lr, "inner_lr")
        for name in ("inner_steps", "latent", "width", "n_virtual"):
            if name != "latent" or self.latent is not None:
                check_scalar(getattr(self, name), name, Integral, min_val=1)
        check_number(self.unseen, "unseen", min_val=0, max_val=1)
        check_number(self.weight, "weight", min_val=0)

    def _shape(self) -> tuple:
        return (*super()._shape(), ("latent", self.latent), ("width", self.width))

    @property
    def _network(self) -> _Parts:
        return _Parts(self.network or MLP(self.hidden), self.latent, self.width)

    def _start(self, n_features: int, rng: np.random.Generator) -> Params:
        start = super()._start(n_features, rng)
        own = [name for name in start if self._adapts(name[6:])]
        return start | {name.replace("start", "rate", 1): torch.full_like(start[name], self.inner_lr) for name in own}

    def _adapts(self, name: str) -> bool:
        return name.startswith("discriminator.")

    def _step(self, meta: Params):
        return lambda name, value, grad, k: value - meta[f"rate.{name}"] * grad

    def _codes(self, params: Params, scaling: Params, x: Tensor) -> Tensor:
        """Uncentred codes E(x), (T, N, m)."""
        location, scale, support = scaling["location"], scaling["scale"], scaling.get("support")
        context = None if support is None else (support - location) / scale
        return self._network.part("encoder", params, (x - location) / scale, context)

    def _virtual(self, params: Params, z: Tensor) -> Tensor:
        """Codes of the virtual anomalies z + G(z, noise), (T, V, m), from centred codes (T, n, m) of normal points."""
        noise = np.random.default_rng(0).normal(size=(self.n_virtual, z.shape[-1]))  # the same for every task
        z = z[:, torch.arange(self.n_virtual) % z.shape[1]]  # the normal points take turns
        noise = torch.as_tensor(noise).to(z).expand_as(z)
        return z + self._network.part("generator", params, torch.cat([z, noise], -1))

    def _adapt(self, meta: Params, x: Tensor, y: Tensor, second_order: bool) -> Params:
        start = {name[6:]: value for name, value in meta.items() if name.startswith("start.")}
        codes = self._codes(start, self._context(meta, x), x)
        normal = (1 - y).unsqueeze(-1)
        center = (codes * normal).sum(1, keepdim=True) / normal.sum(1, keepdim=True)
        z = codes - center
        virtual = self._virtual(start, z[y == 0].unflatten(0, (len(y), -1)))
        points, target = torch.cat([z, virtual], 1), torch.cat([y, y.new_ones(virtual.shape[:2])], 1)

        def loss(params: Params) -> Tensor:  # L_dis; labelled anomalies count as virtual ones
            return 2 * balanced_mean(cross_entropy(self._network.judge(params, points), target), target)

        own = {name: value for name, value in start.items() if self._adapts(name)}
        if not torch.is_grad_enabled():  # the inner loop needs gradients even outside training
            own = {name: value.detach().requires_grad_() for name, value in own.items()}
        with torch.enable_grad():
            adapted = adapt(loss, per_task(own, len(x)), self._step(meta), self.inner_steps, second_order)
        return start | adapted | {"center": center}

    def _losses(self, meta: Params, episodes: Episodes, second_order: bool) -> tuple[Tensor, Tensor]:
        """Query loss and the autoencoder's own loss (equation ``meta-aae-objective``)."""
        params = self._adapt(meta, episodes.support_x, episodes.support_y, second_order)
        scaling, y = self._context(meta, episodes.support_x), episodes.query_y
        codes = self._codes(params, scaling, episodes.query_x)
        z, tasks = codes - params["center"], len(y)
        points = cross_entropy(self._network.judge(params, z), y)
        normal, anomalous = ((points * own).sum(1) / own.sum(1) for own in (1 - y, y))
        query = (normal + (1 - self.unseen) * anomalous) / 2
        still, far = z[y == 0].reshape(tasks, -1, z.shape[-1]), z[y == 1].reshape(tasks, -1, z.shape[-1])
        if self.unseen:
            virtual = stretched(still, far).detach()  # E must not make them easy
            logits = self._network.judge(params, virtual)
            query = query + self.unseen * cross_entropy(logits, torch.ones_like(logits)).mean(1) / 2
        x = ((episodes.query_x - scaling["location"]) / scaling["scale"])[y == 0]
        rec = reconstruction(x, self._network.part("decoder", params, codes[y == 0])).mean() / x.shape[-1]
        return query.mean(), rec + prior(still.flatten(0, 1))

    def _query_loss(self, meta: Params, episodes: Episodes, second_order: bool = True) -> Tensor:
        return self._losses(meta, episodes, second_order)[0]

    def _outer_loss(self, meta: Params, episodes: Episodes) -> Tensor:
        query, own = self._losses(meta, episodes, self.second_order)
        return query + self.weight * own

    def virtual_anomalies(self, X) -> np.ndarray:
        """What C is trained against on normal points X (n, d) or (n, h, w): D(z + G(z, noise)), (n_virtual, d).

        Call `fit` first; the codes are measured from the mean code of its support set.
        """
        check_is_fitted(self, "threshold_")
        X = validate_data(self, as_points(X), dtype=np.float64, reset=False)
        x = self._to({"x": X[None].copy()})["x"]
        with torch.no_grad():
            center, scaling = self.params_["center"], self.scaling_
            z = self._codes(self.params_, scaling, x) - center
            virtual = self._virtual(self.params_, z) + center
            rebuilt = self._network.part("decoder", self.params_, virtual)
            return (rebuilt * scaling["scale"] + scaling["location"])[0].cpu().numpy().astype(np.float64)


def stretched(normal: Tensor, anomalous: Tensor) -> Tensor:
    """Normal codes, stretched to the lengths of the anomalous ones (equation ``meta-aae-stretch``).

    Args:
        normal: (..., N, m) codes of normal points.
        anomalous: (..., M, m) codes of anomalies; those of the first N points are taken, or again from the start.

    Returns:
        (..., N, m) codes as long as anomalies, in the directions of normal points.
    """
    length = anomalous.norm(dim=-1, keepdim=True)
    length = length[..., torch.arange(normal.shape[-2]) % anomalous.shape[-2], :]
    return length * normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-12)


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
        raise ValueError(
            f"{len(z)} normal query points in a meta-batch cannot fill a code of width {m}: lower latent, or raise "
            "meta_batch or normal_queries."
        )
    ridge = max(1e-6, 1000 * torch.finfo(z.dtype).eps)  # keeps the determinant away from 0
    moment = z.mT @ z / len(z) + ridge * torch.eye(m, dtype=z.dtype, device=z.device)
    return (torch.trace(moment) - m - torch.logdet(moment)) / (2 * m)
