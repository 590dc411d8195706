"""The game of the adversarially augmented autoencoder: four networks, three losses (chapter 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .convolutions import ConvNet, UpConvNet
from .losses import adversarial, discrimination, reconstruction
from .networks import MLP
from .runtime import progress
from .tree import Tree

PLAYERS = {"reconstruction": "ED", "discrimination": "C", "adversarial": "G"}  # who descends what


def noisy(seen: Tensor, rng: np.random.Generator) -> Tensor:
    """Virtual anomalies: codes (..., N, m), each with noise as large as their spread (equation ``aae-noise``)."""
    noise = torch.as_tensor(rng.normal(size=seen.shape)).to(seen)
    return seen + seen.std(-2, unbiased=False, keepdim=True) * noise


@dataclasses.dataclass(frozen=True)
class Game:
    """Encoder E, decoder D, discriminator C and, in the literal game, generator G.

    In the literal game C learns to tell points x from D(G(E(x))); otherwise codes, or images, from the same with noise.

    Args:
        n_features: width d of the points.
        latent: width m of the codes.
        hidden: widths of the hidden layers of all dense networks, mirrored in the decoder.
        network: a `ConvNet` for E and C of images; the decoder is then an `UpConvNet`.
        images: C sees the points, not their codes.
        literal: whether to play the literal game, in which C sees points too.
    """

    n_features: int
    latent: int
    hidden: tuple[int, ...] = (32,)
    network: ConvNet | None = None
    images: bool = False
    literal: bool = False

    @property
    def view(self) -> str:
        """The network between a point and C, E or none."""
        return "" if self.literal or self.images else "E"

    def network_of(self, player: str):
        """A player's network as a function of its parameters."""
        if self.network is not None and player in "EDC":
            shape = self.network._image(self.n_features)
            encoder = dataclasses.replace(self.network, outputs=self.latent)
            return {"E": encoder, "D": UpConvNet(shape, encoder.channels[::-1]), "C": self.network}[player]
        outputs = {"E": self.latent, "D": self.n_features, "C": None, "G": self.latent}[player]
        return MLP(self.hidden[::-1] if player == "D" else self.hidden, outputs)

    def init(self, rng: np.random.Generator) -> Tree:
        """Start values of all players."""
        d, m = self.n_features, self.latent
        widths = {"E": d, "D": m, "C": m if self.view else d} | ({"G": m} if self.literal else {})
        return {player: self.network_of(player).init(rng, width) for player, width in widths.items()}

    def run(self, params: Tree, players: str, x: Tensor) -> Tensor:
        """Networks, one after the other: "ED" is D(E(x)); points, or what the first reads, (..., N, d)."""
        for player in players:
            x = self.network_of(player)(params[player], x)
        return x

    def virtual(self, params: Tree, x: Tensor, rng: np.random.Generator) -> Tensor:
        """What C sees of virtual anomalies, one made from each of the points x."""
        return self.run(params, "EGD", x) if self.literal else noisy(self.run(params, self.view, x), rng)

    def losses(self, params: Tree, rng: np.random.Generator) -> dict[str, Callable[[Tensor], Tensor]]:
        """What the players descend, as functions of a batch of normal points (equation ``aae-total``)."""

        def discriminated(x: Tensor) -> Tensor:
            return discrimination(
                self.run(params, f"{self.view}C", x), self.run(params, "C", self.virtual(params, x, rng))
            )

        losses = {
            "reconstruction": lambda x: reconstruction(x, self.run(params, "ED", x)).mean(-1),
            "discrimination": discriminated,
            "adversarial": lambda x: adversarial(self.run(params, "EGDC", x)),
        }
        return losses if self.literal else {name: losses[name] for name in ("reconstruction", "discrimination")}

    def play(
        self, params: Tree, x: Tensor, rng: np.random.Generator, *, steps: int, batch_size: int, lr: float
    ) -> dict[str, list[float]]:
        """All rounds on the points x; in each, E and D, then C, then G take a step of Adam on the same batch.

        Args:
            params: the players' parameters, which require gradients; changed in place.
            x: (..., N, d) normal points.

        Returns:
            the losses of each round.
        """
        losses = self.losses(params, rng)
        own = {name: [v for player in PLAYERS[name] for v in params[player].values()] for name in losses}
        adam = {name: torch.optim.Adam(values, lr=lr) for name, values in own.items()}
        history = {name: [] for name in losses}
        for _ in progress(range(steps), "AAE"):
            batch = x[..., torch.as_tensor(rng.integers(x.shape[-2], size=batch_size), device=x.device), :]
            for name, loss in losses.items():
                value = loss(batch).sum()
                history[name].append(value.item())
                for leaf, grad in zip(own[name], torch.autograd.grad(value, own[name]), strict=True):
                    leaf.grad = grad
                adam[name].step()
        return history
