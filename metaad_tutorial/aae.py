"""The adversarially augmented autoencoder: four networks, three losses, one data set (chapter 7).

An encoder E and a decoder D learn what normal points have in common, a generator G displaces their codes to make
virtual anomalies, and a discriminator C learns to tell the two apart. The losses are those of `losses`::

    E and D descend   mean |x - D(E(x))|^2                       (equation ``aae-reconstruction``)
    C descends        - mean log(1 - C(x)) - mean log C(v)       (equation ``aae-discrimination``)
    G descends        - mean log(1 - C(v))                       (equation ``aae-adversarial``)

with v = D(G(E(x))) in the literal version. That game drives C to 1/2 (equation ``aae-equilibrium``), so the default
makes other virtual anomalies: noise along the normal set that G may only push as near to it as a margin allows.
"""

from __future__ import annotations

import dataclasses
from numbers import Integral

import numpy as np
import torch
from scipy.stats import norm
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from . import files
from .detector import Detector, as_points, check_number, check_place, check_positive
from .losses import adversarial, discrimination, reconstruction
from .networks import MLP, ConvNet, UpConvNet
from .runtime import progress

NETWORKS = ("encoder", "decoder", "discriminator", "generator")
STATE = ("threshold_", "offset_", "n_features_in_", "history_", "reference_")
SHAPE = ("literal", "images", "latent", "hidden", "network", "dtype")  # what a fitted detector is bound to


def displaced(x: Tensor, z: Tensor, moved: Tensor, decode) -> Tensor:
    """The point x moved along the normal set as its code moves from z to `moved` (equation ``aae-displacement``)."""
    return x + decode(moved) - decode(z)


def too_near(moved: Tensor, normal: Tensor, margin: float) -> Tensor:
    """Penalty of virtual codes for being nearer than `margin` to a normal code (equation ``aae-margin``).

    Args:
        moved: (N, m) virtual codes.
        normal: (M, m) normal codes.

    Returns:
        (N,) squared shortfall.
    """
    gap = (moved.unsqueeze(1) - normal.unsqueeze(0)).square().sum(-1).min(1).values
    return torch.relu(margin - (gap + 1e-12).sqrt()) ** 2


def combine(logit: np.ndarray, log_error: np.ndarray, reference: dict) -> np.ndarray:
    """Minus the log of both tail probabilities, added up (equation ``aae-score``).

    Args:
        logit, log_error: (n,) the discriminator's logits and the logs of the reconstruction errors.
        reference: mean and standard deviation of both over normal points that were not trained on.
    """
    parts = (("logit", logit), ("log_error", log_error))
    return sum(-norm.logsf((value - reference[name][0]) / reference[name][1]) for name, value in parts)


class AAE(Detector):
    """Adversarially augmented autoencoder for one data set: `fit` on normal points, no other tasks needed.

    Labelled anomalies are not used. A quarter of the normal points is kept apart to calibrate score and threshold
    (fewer than 8 points serve for both).

    Args:
        latent: length m of the codes; None is the root of the number of features, rounded.
        hidden: widths of the hidden layers of all dense networks, mirrored in the decoder.
        network: a `ConvNet` for E and, with `images`, C; the decoder is then an `UpConvNet`. Only for images.
        images: the features are pixels. Then they share one location and scale, virtual anomalies have noise in the
            pixels, not in the code, and C looks at the image itself.
        lambda_1, lambda_2: weights of C's and of G's loss. Adam is blind to a loss's scale, so they multiply the
            players' step sizes; without ``lambda_2`` the virtual anomalies stay noise.
        margin: how near to the normal codes G may push its own, in standard deviations of these.
        literal: play the game of the original objective, and let C's logit alone be the score.
        steps: number of rounds; in each E and D, then C, then G take one step.
        batch_size: points per round.
        lr: step size of Adam.
        standardize: subtract the mean and divide by the standard deviation of the normal points.
        contamination: about which share of new normal points is flagged, the better the more points were kept apart;
            "auto" is 5 %.
        dtype: "float64" or "float32".
        device: where to compute, "cpu" or "cuda".
        random_state: seed or `numpy.random.Generator`.

    Attributes:
        history_: dict of lists, each round's ``reconstruction``, ``discrimination`` and ``adversarial`` loss.
        params_: parameters of the four networks, by network.
        stats_: scaling of points, codes and log errors.
        reference_: mean and standard deviation of C's logit and of the log error, over the points kept apart.

    Raises:
        ValueError: from `fit`, for parameters out of range, fewer than two normal points, or diverged training.
    """

    spread = (0.2, 3.0)  # length of the noise, in standard deviations of a code or, with `images`, of the pixels

    def __init__(
        self,
        latent: int | None = None,
        hidden: tuple[int, ...] = (32,),
        network: ConvNet | None = None,
        images: bool = False,
        lambda_1: float = 1.0,
        lambda_2: float = 0.3,
        margin: float = 2.0,
        literal: bool = False,
        steps: int = 400,
        batch_size: int = 64,
        lr: float = 0.003,
        standardize: bool = True,
        contamination: float | str = "auto",
        dtype: str = "float64",
        device: str = "cpu",
        random_state=None,
    ):
        self.latent = latent
        self.hidden = hidden
        self.network = network
        self.images = images
        self.lambda_1 = lambda_1
        self.lambda_2 = lambda_2
        self.margin = margin
        self.literal = literal
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.standardize = standardize
        self.contamination = contamination
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def _check_params(self) -> None:
        for name in ("steps", "batch_size", *(("latent",) if self.latent is not None else ())):
            check_scalar(getattr(self, name), name, Integral, min_val=1)
        for name in ("lr", "lambda_1"):
            check_positive(getattr(self, name), name)
        for name in ("lambda_2", "margin"):
            check_number(getattr(self, name), name, min_val=0)
        if not isinstance(self.network, ConvNet | None):
            raise ValueError(f"network must be a ConvNet, got {type(self.network).__name__}.")
        if self.network is not None and not self.images:
            raise ValueError("A ConvNet reads images: set images=True.")
        if self.network is not None and (self.network.norm == "batch" or self.network.outputs is not None):
            raise ValueError('The ConvNet must have no outputs and no norm="batch": AAE sets the length of the code.')
        check_place(self.dtype, self.device)

    def _tensor(self, values) -> Tensor:
        values = values if isinstance(values, Tensor) else torch.as_tensor(np.array(values))  # may be read-only
        return values.to(device=self.device, dtype=getattr(torch, self.dtype))

    # The networks.

    def _build(self, rng: np.random.Generator) -> None:
        """The four networks as functions, and the start of their parameters."""
        self._built = {name: getattr(self, name) for name in SHAPE}
        d = self.n_features_in_
        m = self.latent or max(1, round(d**0.5))
        encoder, decoder = MLP(self.hidden, outputs=m), MLP(self.hidden[::-1], outputs=d)
        discriminator, generator = MLP(self.hidden), MLP(self.hidden, outputs=m)
        if self.network is not None:
            encoder, discriminator = dataclasses.replace(self.network, outputs=m), self.network
            decoder = UpConvNet(encoder._image(d), self.network.channels[::-1])
        self._networks = dict(zip(NETWORKS, (encoder, decoder, discriminator, generator), strict=True))
        widths = (d, m, d if self._sees_points else m + 1, m if self.literal else 2 * m)
        self.params_ = {
            name: {key: self._tensor(value) for key, value in self._networks[name].init(rng, width).items()}
            for name, width in zip(NETWORKS, widths, strict=True)
        }
        if not self.literal:  # G begins by leaving the noise as it is
            for key in self._networks["generator"].head:
                self.params_["generator"][key].zero_()

    def _check_unchanged(self) -> None:
        changed = [name for name, value in self._built.items() if getattr(self, name) != value]
        if changed:
            raise ValueError(f"{', '.join(changed)} changed since fit: call fit again.")

    @property
    def _sees_points(self) -> bool:
        return self.literal or self.images

    def _run(self, name: str, x: Tensor) -> Tensor:
        return self._networks[name](self.params_[name], x)

    def _encode(self, x: Tensor) -> Tensor:
        return self._run("encoder", x)

    def _decode(self, z: Tensor) -> Tensor:
        return self._run("decoder", z)

    def _log_error(self, x: Tensor, z: Tensor) -> Tensor:
        """Log of the distance between a point and what its code z decodes to: (N,)."""
        return torch.log(reconstruction(x, self._decode(z)) + 1e-12) / 2

    def _view(self, x: Tensor) -> Tensor:
        """What C looks at: the point itself (images and the literal game) or its code and the log of its error."""
        if self._sees_points:
            return x
        z, stats = self._encode(x), self.stats_
        error = (self._log_error(x, z) - stats["error_location"]) / stats["error_scale"]
        return torch.cat([(z - stats["code_location"]) / stats["code_scale"], error.unsqueeze(-1)], -1)

    def _virtual(self, x: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Virtual anomalies of the points x, (N, d), and their penalty for being too near, (N,)."""
        z = self._encode(x).detach()
        if self.literal:
            return self._decode(self._run("generator", z)), torch.zeros_like(z[:, 0])
        location, scale = self.stats_["code_location"], self.stats_["code_scale"]
        normal = (z - location) / scale
        length = np.exp(rng.uniform(*np.log(self.spread), size=(len(z), 1)))
        noise = self._tensor(length * rng.normal(size=z.shape))
        pushed = (torch.arange(len(z), device=z.device) % 2 == 0).unsqueeze(-1)  # every second one is G's
        push = pushed * self._run("generator", torch.cat([normal, noise], -1))
        moved = normal + push if self.images else normal + noise + push
        virtual = displaced(x, z, location + scale * moved, self._decode)
        if self.images:
            virtual = virtual + self._tensor(length * rng.normal(size=x.shape))
        return virtual, too_near(moved, normal, self.margin)

    # The game.

    def _measure(self, x: Tensor, z: Tensor, rate: float) -> None:
        """Running means and standard deviations of codes and log errors, for C and the noise."""
        for name, value in (("code", z.detach()), ("error", self._log_error(x, z).detach())):
            now = {"location": value.mean(0), "scale": value.std(0, unbiased=False) + 1e-3}
            for kind, new in now.items():
                old = self.stats_.get(f"{name}_{kind}", new)
                self.stats_[f"{name}_{kind}"] = torch.lerp(old, new, rate)

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self._check_params()
        rng = np.random.default_rng(self.random_state)
        X = X[y == 0]
        if len(X) < 2:
            raise ValueError(f"AAE needs at least 2 normal points to train on, got n_samples={len(X)}.")
        order = rng.permutation(len(X))
        self._apart = order[: len(X) // 4] if len(X) >= 8 else order
        own = X[order[len(X) // 4 :] if len(X) >= 8 else order]
        self._build(rng)
        axis = None if self.images else 0
        with np.errstate(over="ignore", under="ignore"):
            location, scale = own.mean(axis), own.std(axis)
        if not np.isfinite(scale).all() or ((own.max(axis) > own.min(axis)) & (scale == 0)).any():
            raise ValueError("The squares of some feature's values overflow or vanish: rescale X.")
        scale = np.where(scale > 100 * np.finfo(float).eps * np.abs(location), scale, 1.0)
        if not self.standardize:
            location, scale = np.zeros_like(location), np.ones_like(scale)
        self.stats_ = {"location": torch.as_tensor(location), "scale": torch.as_tensor(scale)}
        self._play(self._scaled(own), rng)
        if not all(value.isfinite().all() for part in self.params_.values() for value in part.values()):
            raise ValueError("Training diverged: lower lr, or leave standardize=True.")
        apart = self._scaled(X[self._apart])
        with torch.no_grad():  # errors of points not trained on are larger; C must not take that for a sign
            error = self._log_error(apart, self._encode(apart))
        self.stats_ |= {"error_location": error.mean(), "error_scale": error.std(unbiased=False) + 1e-3}
        self.reference_ = {
            name: (float(value.mean()), float(value.std()) or 1.0)
            for name, value in zip(("logit", "log_error"), self._parts(X[self._apart]), strict=True)
        }

    def _play(self, data: Tensor, rng: np.random.Generator) -> None:
        """All rounds of the game on the scaled points `data`."""
        players = {"reconstruction": NETWORKS[:2], "discrimination": NETWORKS[2:3], "adversarial": NETWORKS[3:]}
        weights = {"reconstruction": 1.0, "discrimination": self.lambda_1, "adversarial": self.lambda_2}
        optimizers, self.history_ = {}, {loss: [] for loss in players}
        for loss, names in players.items():
            values = [value.requires_grad_() for name in names for value in self.params_[name].values()]
            optimizers[loss] = torch.optim.Adam(values, lr=self.lr * weights[loss])

        def descend(name: str, loss: Tensor, penalty: Tensor | float = 0.0) -> None:
            self.history_[name].append(loss.item())
            if weights[name]:
                values = optimizers[name].param_groups[0]["params"]
                for value, grad in zip(values, torch.autograd.grad(loss + penalty, values), strict=True):
                    value.grad = grad
                optimizers[name].step()

        for step in progress(range(self.steps), type(self).__name__):
            x = data[self._index(rng, len(data))]
            z = self._encode(x)
            descend("reconstruction", reconstruction(x, self._decode(z)).mean())
            self._measure(x, z, max(0.05, 1 / (step + 1)))
            virtual, penalty = self._virtual(x, rng)
            seen, normal = self._view(virtual), self._view(x).detach()
            logits = self._run("discriminator", normal), self._run("discriminator", seen.detach())
            descend("discrimination", discrimination(*logits))
            descend("adversarial", adversarial(self._run("discriminator", seen)), 10 * penalty.mean())
        for part in self.params_.values():
            for value in part.values():
                value.requires_grad_(False).grad = None

    def _index(self, rng: np.random.Generator, n: int) -> Tensor:
        return torch.as_tensor(rng.integers(n, size=self.batch_size), device=self.device)

    # Scores and pictures.

    def _scaled(self, X: np.ndarray) -> Tensor:
        return self._tensor((X - self.stats_["location"].numpy()) / self.stats_["scale"].numpy())

    def _unscaled(self, x: np.ndarray) -> np.ndarray:
        return x * self.stats_["scale"].numpy() + self.stats_["location"].numpy()

    def _parts(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logit of C and log reconstruction error of clean rows X, each (n,)."""
        self._check_unchanged()
        with torch.no_grad():
            x = self._scaled(X)
            parts = self._run("discriminator", self._view(x)), self._log_error(x, self._encode(x))
        return tuple(part.cpu().numpy().astype(np.float64) for part in parts)

    def _score(self, X: np.ndarray) -> np.ndarray:
        logit, log_error = self._parts(X)
        return logit if self.literal else combine(logit, log_error, self.reference_)

    def _support_score(self, X: np.ndarray) -> np.ndarray:
        return self._score(X[self._apart])  # the other points have shaped the networks

    def _ready(self, X) -> np.ndarray:
        check_is_fitted(self, "threshold_")
        return validate_data(self, as_points(X), dtype=np.float64, reset=False)

    def discriminator_logit(self, X) -> np.ndarray:
        """Logits of C at the points X (n, d) or (n, h, w): (n,), larger is more anomalous."""
        return self._parts(self._ready(X))[0]

    def reconstruction_error(self, X) -> np.ndarray:
        """Distances, in scaled features, of the points X (n, d) or (n, h, w) to their reconstructions: (n,)."""
        return np.exp(self._parts(self._ready(X))[1])

    def _picture(self, X, make) -> np.ndarray:
        self._check_unchanged()
        with torch.no_grad():
            return make(self._scaled(self._ready(X))).cpu().numpy().astype(np.float64)

    def latent_codes(self, X) -> np.ndarray:
        """Codes E(x) of the points X (n, d) or (n, h, w): (n, m)."""
        return self._picture(X, self._encode)

    def reconstruct(self, X) -> np.ndarray:
        """Reconstructions D(E(x)) of the points X (n, d) or (n, h, w), unscaled: (n, d)."""
        return self._unscaled(self._picture(X, lambda x: self._decode(self._encode(x))))

    def virtual_anomalies(self, X, random_state=None) -> np.ndarray:
        """One virtual anomaly made from each of the normal points X (n, d) or (n, h, w), unscaled: (n, d).

        Every second one, beginning with the first, was pushed by G; the others are noise (all are G's if `literal`).
        """
        rng = np.random.default_rng(random_state)
        return self._unscaled(self._picture(X, lambda x: self._virtual(x, rng)[0]))

    # Files.

    def save(self, path) -> None:
        """Write the fitted detector to one ``.npz`` file of plain arrays and JSON; no pickle.

        Raises:
            ValueError: if it was not fitted, or `random_state` is not a plain number.
        """
        if not hasattr(self, "params_"):
            raise ValueError("Nothing to save: call fit first.")
        self._check_unchanged()
        arrays = {f"{part}/{n}": v.cpu().numpy() for part, own in self.params_.items() for n, v in own.items()}
        arrays |= {f"stats/{name}": value.cpu().numpy() for name, value in self.stats_.items()}
        state = {name: getattr(self, name) for name in STATE}
        params = files.pack(self.get_params(deep=False))
        files.write(path, {"class": type(self).__name__, "params": params, "state": state}, arrays)

    @classmethod
    def load(cls, path) -> AAE:
        """Read a detector written by `save`.

        Raises:
            ValueError: if the file is damaged, no detector's, or holds another kind of detector.
        """
        header, arrays = files.read(path)
        try:
            if header["class"] != cls.__name__:
                raise ValueError(f"{path} holds a {header['class']}, not an {cls.__name__}.")
            detector = cls(**files.unpack(header["params"], None))
            vars(detector).update({name: header["state"][name] for name in STATE})
            detector._build(np.random.default_rng(0))
            detector.params_ = {
                part: {name: detector._tensor(arrays[f"{part}/{name}"]) for name in own}
                for part, own in detector.params_.items()
            }
            stats = {key[6:]: value for key, value in arrays.items() if key.startswith("stats/")}
            detector.stats_ = {name: detector._tensor(value) for name, value in stats.items()}
            detector.stats_ |= {name: torch.as_tensor(stats[name]) for name in ("location", "scale")}
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{path} is damaged or not a saved {cls.__name__}.") from None
        return detector
