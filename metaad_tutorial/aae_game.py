"""The game of the adversarially augmented autoencoder: four networks, three losses (chapter 8)."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import torch
from torch import Tensor

from .convolutions import ConvNet, UpConvNet
from .losses import adversarial, discrimination, reconstruction
from .networks import MLP
from .runtime import progress
from .scaling import Scaling
from .tree import Tree

PLAYERS = {"reconstruction": "ED", "discrimination": "C", "adversarial": "G"}  # who descends what


def noisy(seen: Tensor, rng: np.random.Generator) -> Tensor:
    """Virtual anomalies: standardised codes (..., N, m), each with as much noise (equation ``aae-noise``)."""
    return seen + torch.as_tensor(rng.normal(size=seen.shape)).to(seen)


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

    view = property(lambda self: "" if self.literal or self.images else "E", doc="Networks between a point and C.")

    def network_of(self, player: str):
        """A player's network as a function of its parameters."""
        if self.network is not None and player in "EDC":
            shape = self.network.image_of(self.n_features)
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

    def seen(self, params: Tree, x: Tensor) -> Tensor:
        """What C sees of the points x (T, N, d): themselves in the literal game, otherwise standardised codes."""
        return x if self.literal else Scaling(**params["seen"])(self.run(params, self.view, x))

    def virtual(self, params: Tree, x: Tensor, rng: np.random.Generator) -> Tensor:
        """What C sees of virtual anomalies, one made from each of the points x."""
        return self.run(params, "EGD", x) if self.literal else noisy(self.seen(params, x), rng)

    def shown(self, params: Tree, x: Tensor, rng: np.random.Generator) -> Tensor:
        """Virtual anomalies as points, one made from each of the points x: what C sees of them, decoded if codes."""
        seen = self.virtual(params, x, rng)
        if self.literal:
            return seen
        return self.run(params, "D" if self.view else "", Scaling(**params["seen"]).undone(seen))

    def loss(self, name: str, params: Tree, x: Tensor, rng: np.random.Generator) -> Tensor:
        """What the `PLAYERS` of a loss descend, at a batch x (T, N, d) of normal points (equation ``aae-total``)."""
        if name == "reconstruction":
            return reconstruction(x, self.run(params, "ED", x)).mean(-1)
        if name == "adversarial":
            return adversarial(self.run(params, "EGDC", x))
        normal, virtual = self.seen(params, x), self.virtual(params, x, rng)
        return discrimination(self.run(params, "C", normal), self.run(params, "C", virtual))

    def play(self, params: Tree, x: Tensor, rng, steps: int, batch_size: int, lr: float) -> dict[str, list[float]]:
        """All rounds; in each, the players of every loss take a step of Adam on the same batch, one after the other.

        In the literal game all play in each round; otherwise E and D play theirs before C.

        Args:
            params: the players' parameters, which require gradients; changed in place.
            x: (T, N, d) normal points.
            rng: `numpy.random.Generator` of batches and virtual anomalies.
            steps: number of rounds.
            batch_size: points per round.
            lr: step size of Adam.

        Returns:
            the losses of each round.

        Raises:
            ValueError: if a parameter is not finite in the end.
        """
        history = collections.defaultdict(list)
        for playing in [[*PLAYERS]] if self.literal else [["reconstruction"], ["discrimination"]]:
            own = {name: [v for player in PLAYERS[name] for v in params[player].values()] for name in playing}
            adam = {name: torch.optim.Adam(values, lr=lr) for name, values in own.items()}
            if not self.literal:
                codes = self.run(params, self.view, x).detach()
                params["seen"] = Scaling.of(codes, alike=self.images)._asdict()
            for _ in progress(range(steps), "AAE"):
                batch = x[..., torch.as_tensor(rng.integers(x.shape[-2], size=batch_size), device=x.device), :]
                for name in playing:
                    value = self.loss(name, params, batch, rng).sum()
                    history[name].append(value.item())
                    adam[name].zero_grad()
                    value.backward(inputs=own[name])
                    adam[name].step()
            if not all(leaf.isfinite().all() for leaves in own.values() for leaf in leaves):
                raise ValueError("Training diverged: lower lr, or leave standardize=True.")
        return dict(history)
