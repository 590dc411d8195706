"""The adversarially augmented autoencoder: what normal points have in common, from one data set (chapter 8)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from . import checks
from .aae_game import Game
from .adapting import AdaptingDetector
from .convolutions import ConvNet
from .detector import Detector
from .estimator import detector
from .losses import reconstruction
from .scaling import Scaling, Standardizer
from .tree import Tree, mapped


def surprise(t: Tensor) -> Tensor:
    """Minus the logs of the tail probabilities of standardised tests, added up (``aae-score``): (..., k) -> (...)."""
    return -torch.special.log_ndtr(-t).sum(-1)


@detector
class AAE(AdaptingDetector):
    """Adversarially augmented autoencoder for one data set: `fit` on normal points, no other tasks needed.

    An encoder E and a decoder D learn what normal points have in common, a discriminator C learns to tell them from
    virtual anomalies, and the score joins C's logit and the reconstruction error. In the literal game a generator G
    makes the virtual anomalies, and C swings (equation ``aae-disjoint``); the default puts noise in its
    place. Of a point (n, d), C sees the code; of an image, which is a point (n, h, w) or what a `network` reads, the
    pixels, which share one location and scale.

    Labelled anomalies are not used. A quarter of the normal points is kept apart to calibrate score and threshold;
    fewer than 8 serve for both.

    Args:
        latent: width m of the codes; None is the root of the number of features, rounded.
        hidden: widths of the hidden layers of all dense networks, mirrored in the decoder.
        network: a `ConvNet` for E and C of images; the decoder is then an `UpConvNet`.
        literal: play the literal game, and let C's logit alone be the score.
        steps: number of rounds. In each of the literal game E and D, then C, then G take a step; otherwise E and D play
            all of theirs before C.
        batch_size: points per round.
        lr: step size of Adam.
        standardize: subtract the mean and divide by the standard deviation of the normal points.
        contamination: about which share of new normal points is flagged, the better the more points were kept apart;
            "auto" is 5 %.
        dtype: "float64" or "float32".
        device: where to compute, "cpu" or "cuda".
        random_state: seed or `numpy.random.Generator`.

    Attributes:
        params_: parameters of E, D, C and in the literal game G; location and scale of ``parts``, C's logit and the log
            of the error, over the points kept ``apart``, and which of the normal support points these are; those of
            what C has ``seen``.
        history_: dict of lists, the losses of each round.

    Raises:
        ValueError: from `fit`, for parameters out of range, fewer than two normal points, or diverged training.
    """

    latent: int | None = None
    hidden: tuple[int, ...] = (32,)
    network: ConvNet | None = None
    literal: bool = False
    steps: int = 400
    batch_size: int = 64
    lr: float = 0.003

    sees = ("support",)
    odds = False
    valid: ClassVar = {"standardize": checks.one_of(True, False)}
    bound = ("literal", "latent", "hidden", "network", "dtype", "standardize")

    def _check_params(self) -> None:
        Detector._check_params(self)  # with a network, the hidden layers are G's
        net = self.network
        if net is not None and not (isinstance(net, ConvNet) and net.outputs is None and net.norm != "batch"):
            raise ValueError(f'network must be a ConvNet without outputs and without norm="batch", got {net!r}.')

    @property
    def game(self) -> Game:
        """The networks and their losses."""
        d, images = self.n_features_in_, self.network is not None or self.image_shape_ is not None
        return Game(d, self.latent or max(1, round(d**0.5)), self.hidden, self.network, images, self.literal)

    _standardizer = property(lambda self: Standardizer(self.standardize, self.game.images))

    def init(self, rng: np.random.Generator, n_features: int) -> Tree:
        return self.game.init(rng)

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        """What the game makes of the networks on one task, x (1, S, d), y (1, S), and what calibrates the score."""
        rng, x = np.random.default_rng(self.random_state), x[:, y[0] == 0]
        n = x.shape[1]
        if n < 2:
            raise ValueError(f"AAE needs at least 2 normal points to train on, got n_samples={n}.")
        order, cut = torch.as_tensor(rng.permutation(n), device=x.device), n // 4 if n >= 8 else 0
        own, apart = order[cut:], order[:cut] if cut else order
        params = mapped(lambda value: value.clone().requires_grad_(), meta)
        with torch.enable_grad():
            self.history_ = self.game.play(params, x[:, own], rng, self.steps, self.batch_size, self.lr)
        params = mapped(Tensor.detach, params)
        parts = self.parts(params, x[:, apart])
        return params | {"parts": Scaling.of(parts)._asdict(), "apart": apart}

    def parts(self, params: Tree, x: Tensor) -> Tensor:
        """C's logit and the log of the reconstruction error of standardised points, (1, N, d) -> (1, N, 2)."""
        error = reconstruction(x, self.game.run(params, "ED", x))
        return torch.stack([self.game.run(params, "C", self.game.seen(params, x)), torch.log(error + 1e-12) / 2], -1)

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        """The score: C's logit in the literal game, otherwise how surprising both parts are together."""
        parts = self.parts(params, x)
        return parts[..., 0] if self.literal else surprise(Scaling(**params["parts"])(parts))

    score_tasks = Detector.score_tasks  # one task at a time

    def _support_score(self, X: np.ndarray) -> np.ndarray:
        return self._score(X[self.params_["apart"].cpu().numpy()])  # the others have shaped the networks

    def discriminator_logit(self, X) -> np.ndarray:
        """Logits of C at the points X (n, d) or (n, h, w): (n,), larger is more anomalous."""
        return self._shown(X, lambda params, x: self.parts(params, x)[..., 0])

    def reconstruction_error(self, X) -> np.ndarray:
        """Distances, in scaled features, of the points X (n, d) or (n, h, w) to their reconstructions: (n,)."""
        return self._shown(X, lambda params, x: self.parts(params, x)[..., 1].exp())

    def reconstruct(self, X) -> np.ndarray:
        """Reconstructions D(E(x)) of the points X (n, d) or (n, h, w), unscaled: (n, d)."""
        return self._shown(X, lambda params, x: Scaling(**params["scaling"]).undone(self.game.run(params, "ED", x)))

    def virtual_anomalies(self, X, random_state=None) -> np.ndarray:
        """Virtual anomalies as points, unscaled, one made from each of the points X (n, d) or (n, h, w): (n, d).

        They are what C sees of them, decoded if it sees codes.
        """
        rng = np.random.default_rng(random_state)
        return self._shown(X, lambda params, x: Scaling(**params["scaling"]).undone(self.game.shown(params, x, rng)))
