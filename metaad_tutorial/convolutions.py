"""Convolutions as functions of their parameters: from images to logits or features, and back (chapters 5 to 8)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import checks
from .networks import dense, is_widths, layer


def support_norm(x: Tensor, n: int | None, eps: float = 1e-5) -> Tensor:
    """Batch normalisation with the mean and variance of the first n points (equation ``support-normalisation``).

    Args:
        x: (..., N, C, H, W) activations; `n` of the N points are the support set, None means all.
    """
    own, dims = x[..., :n, :, :, :], (-4, -2, -1)
    mean, variance = own.mean(dims, keepdim=True), own.var(dims, unbiased=False, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


@dataclasses.dataclass(frozen=True)
class ConvNet:
    """3x3 convolutions of stride 2, each with ReLU, then one linear layer, by default to one logit.

    Its parameters are ``weight0`` (out, in, 3, 3), ``bias0`` (1, out, 1, 1), with a norm ``gain0`` (1, out, 1, 1),
    ``weight1``, ... ; those of the linear layer as in `MLP`.
    A convolution treats all pixels alike, so detectors give all pixels one location and scale.

    Args:
        channels: widths of the convolutions.
        norm: normalisation after each convolution: None, "layer" (each point over channels and pixels) or "batch" (each
            channel over the points of the support set).
        shape: height and width of the images; None takes them as square.
        outputs: number of features to give; None gives one logit.

    Raises:
        ValueError: if an argument is unknown or the points are no images of that shape.
    """

    channels: tuple[int, ...] = (32, 32, 32)
    norm: str | None = None
    shape: tuple[int, int] | None = None
    outputs: int | None = None

    def __post_init__(self):
        checks.must(lambda v: v and is_widths(v), "a tuple of one or more integers above 0")(self.channels, "channels")
        checks.must(lambda v: v is None or (is_widths(v) and len(v) == 2), "(height, width)")(self.shape, "shape")
        checks.one_of(None, "layer", "batch")(self.norm, "norm")
        checks.optional(checks.integer(1))(self.outputs, "outputs")

    head = property(lambda self: (f"weight{len(self.channels)}", f"bias{len(self.channels)}"))
    uses_context = property(lambda self: self.norm == "batch")

    def image_of(self, n_features: int) -> tuple[int, int]:
        shape = self.shape or (math.isqrt(n_features),) * 2
        if math.prod(shape) != n_features:
            failed = f"ConvNet cannot read {n_features} features as an image of {shape[0]} x {shape[1]} pixels"
            raise ValueError(f"{failed}: give shape=(height, width), or use hidden=... for points that are no images.")
        return shape

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """Start values: He-normal convolutions, gains 1, zeros in all biases and in the last layer of a logit."""
        params, (height, width), last = {}, self.image_of(n_features), len(self.channels)
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise((1, *self.channels))):
            params |= layer(rng, i, fan_out, fan_in, 3, 3)
            if self.norm:
                params[f"gain{i}"] = torch.ones(1, fan_out, 1, 1, dtype=torch.float64)
        size = self.channels[-1] * -(-height // 2**last) * -(-width // 2**last)  # each convolution halves, upwards
        zeros = {f"weight{last}": torch.zeros(size, 1).double(), f"bias{last}": torch.zeros(1, 1).double()}
        return params | (zeros if self.outputs is None else layer(rng, last, self.outputs, size))

    def __call__(self, params: dict[str, Tensor], x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits: x (N, h*w) or (T, N, h*w) -> (N,) or (T, N); features: (N, outputs) or (T, N, outputs).

        Args:
            params: the parameters, each with or without a task axis.
            x: flat images.
            context: (..., S, h*w) points that batch normalisation takes its statistics from; None takes x itself.
        """
        last, n = len(self.channels), None
        if self.uses_context and context is not None:
            n, x = context.shape[-2], torch.cat([context, x], -2)
        x = x.unflatten(-1, (1, *self.image_of(x.shape[-1])))
        for i in range(last):
            x = _convolve(x, params[f"weight{i}"])
            if self.norm:
                normed = support_norm(x, n) if self.norm == "batch" else _batched(F.group_norm, x, 1)
                x = normed * params[f"gain{i}"]
            x = torch.relu(x + params[f"bias{i}"])
        out = dense(params, last, x.flatten(-3))[..., n:, :]
        return out.squeeze(-1) if self.outputs is None else out


def _batched(layer: Callable[..., Tensor], x: Tensor, *args, **kwargs) -> Tensor:
    """One of PyTorch's layers, which take images (N, C, H, W), of x (..., N, C, H, W)."""
    return layer(x.flatten(0, -4), *args, **kwargs).unflatten(0, x.shape[:-3])


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Stride-2 convolution of x (..., N, C, H, W) with one weight for all tasks or (T, out, in, 3, 3)."""
    if weight.dim() == 4:
        return _batched(F.conv2d, x, weight, stride=2, padding=1)
    n_tasks = len(weight)  # each task is a group of channels of one convolution
    x = x.expand(n_tasks, *x.shape[-4:]).transpose(0, 1).flatten(1, 2)
    out = F.conv2d(x, weight.flatten(0, 1), stride=2, padding=1, groups=n_tasks)
    return out.unflatten(1, (n_tasks, -1)).transpose(0, 1)


@dataclasses.dataclass(frozen=True)
class UpConvNet:
    """From features back to images: a linear layer to a small picture, then 3x3 convolutions at twice the size each.

    Its parameters are ``weight0`` (in, channels[0] * h * w), ``bias0``, then those of the convolutions, the last one to
    a single channel. Sizes that are no powers of two are cut off at the lower right.

    Args:
        shape: height and width of the images.
        channels: widths of the small picture and of the convolutions that follow; as many doublings as entries.

    Raises:
        ValueError: if an argument is out of range.
    """

    shape: tuple[int, int]
    channels: tuple[int, ...] = (32, 32)

    def __post_init__(self):
        ConvNet(self.channels, shape=self.shape)  # refuses what is no size

    _small = property(lambda self: tuple(-(-side // 2 ** len(self.channels)) for side in self.shape))

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """Start values: He-normal weights, zeros in all biases."""
        params = layer(rng, 0, self.channels[0] * math.prod(self._small), n_features)
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise((*self.channels, 1)), 1):
            params |= layer(rng, i, fan_out, fan_in, 3, 3)
        return params

    def __call__(self, params: dict[str, Tensor], z: Tensor) -> Tensor:
        """Images: z (N, m) or (T, N, m) -> (N, h*w) or (T, N, h*w); parameters without a task axis."""
        x = dense(params, 0, z).flatten(0, -2).unflatten(-1, (self.channels[0], *self._small))
        for i in range(1, len(self.channels) + 1):
            x = F.interpolate(torch.relu(x), scale_factor=2)
            x = F.conv2d(x, params[f"weight{i}"], padding=1) + params[f"bias{i}"]
        return x[:, 0, : self.shape[0], : self.shape[1]].flatten(1).unflatten(0, z.shape[:-1])
