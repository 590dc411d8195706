"""What a meta-learning method is: a few verbs over trees of tensors, on standardised points of T tasks at once."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from . import training
from .convolutions import ConvNet
from .episodes import Episodes, TaskFamily
from .module_network import ModuleNetwork
from .networks import MLP
from .tree import Tree

_mlp = functools.cache(MLP)  # made once, not at every call
IMAGES = ConvNet((8, 16, 32), norm="layer")  # for images when nothing else is said


class Method:
    """How a method starts (`init`), adapts (`adapt`), scores (`logit`), and what it learns from (`outer_loss`).

    Both losses are scalars, by default the query loss (equation ``meta-objective``); the outer step with the lowest
    `valid_loss` is kept.

    Meta-parameters are a tree, ``meta["start"]["weight0"]``; so are the parameters of T adapted tasks.
    """

    hidden: tuple[int, ...] | None = None
    network: ConvNet | nn.Module | None = None
    embedding: int | None = None  # number of features the network gives; None is a logit
    averaging = 0.0  # decay of a running mean over the outer steps, which is then kept; 0 keeps the last step
    numbers: ClassVar = {}  # by name, what is learnt besides the network's parameters, and where it starts

    def init(self, rng: np.random.Generator, n_features: int) -> Tree:
        """What is learnt across tasks, before training: the network and `numbers`, unless a method says otherwise."""
        numbers = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.numbers.items()}
        return {"start": self.net.init(rng, n_features)} | numbers

    def adapt(self, meta: Tree, x: Tensor, y: Tensor) -> Tree:
        """What the support sets x (T, S, d), y (T, S) make of it; nothing, unless a method says otherwise."""
        return meta

    def logit(self, params: Tree, x: Tensor) -> Tensor:
        """Scores of the points x (T, N, d) of adapted tasks, (T, N); above 0 is more likely anomalous."""
        return self.net(params.get("w") or params["start"], x, params.get("support"))

    outer_loss = valid_loss = training.query_loss

    def draw(self, family: TaskFamily, n_tasks: int, rng: np.random.Generator) -> Episodes:
        """The raw tasks of a meta-batch."""
        return family.sample(n_tasks, rng)

    @property
    def net(self) -> MLP | ConvNet | ModuleNetwork:
        """The network as a function of its parameters."""
        network = self.network
        if isinstance(network, nn.Module):
            if getattr(vars(self).get("_wrapped"), "origin", None) is not network:
                self._wrapped = ModuleNetwork(network, bool(self.embedding))
            return self._wrapped
        if network is None and self.hidden is None and vars(self).get("image_shape_"):
            network = dataclasses.replace(IMAGES, shape=self.image_shape_)
        if network is None:
            return _mlp(self.hidden or (), self.embedding)
        return dataclasses.replace(network, outputs=network.outputs or self.embedding)

    def remembered(self, x: Tensor) -> Tree:
        """The support set x, if the network takes statistics from it."""
        return {"support": x} if self.net.uses_context else {}
