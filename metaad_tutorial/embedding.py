"""What the detectors share that measure distances in a learnt embedding (chapters 6 and 9)."""

from __future__ import annotations

import dataclasses
from numbers import Integral

from sklearn.utils import check_scalar

from .detector import MetaDetector
from .networks import MLP, ConvNet, ModuleNetwork


class EmbeddingDetector(MetaDetector):
    """A detector whose network gives features instead of a logit.

    Args:
        embedding: dimension q of the embedding, unless `network` says it.
        shared: the parameters of `MetaDetector`, whose attributes this class has too; `hidden` or `network` end in
            the embedding: ``ConvNet(outputs=q)``, or any `torch.nn.Module` from rows (n, d) to (n, q).
    """

    gives_features = True

    def __init__(self, embedding: int = 64, **shared):
        super().__init__(**shared)
        self.embedding = embedding

    def _check_params(self) -> None:
        super()._check_params()
        check_scalar(self.embedding, "embedding", Integral, min_val=1)

    def _shape(self) -> tuple:
        return (*super()._shape(), ("embedding", self.embedding))

    @property
    def _network(self) -> MLP | ConvNet | ModuleNetwork:
        network = super()._network
        if isinstance(network, ModuleNetwork):
            return network
        return dataclasses.replace(network, outputs=network.outputs or self.embedding)
