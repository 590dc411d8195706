"""Small networks as functions of their parameters, with or without a leading task axis.

A network has ``init(rng, n_features)``, which returns its start values as a dict of tensors; ``head``, the names of its
last layer; and a call ``network(params, x, context=None)`` to logits, or to features if it has ``outputs``. Each
parameter may carry a leading task axis: (T, out, in) instead of (out, in) gives every task its own network in one
batched product.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def _widths(values) -> bool:
    """Whether `values` is a tuple of sizes, integers of at least 1."""
    return isinstance(values, tuple) and all(isinstance(v, int | np.integer) and v >= 1 for v in values)


def _he(rng: np.random.Generator, *shape: int) -> Tensor:
    """He-normal weights (out, in, ...): variance 2 / fan-in keeps the scale of the signal through a ReLU."""
    return torch.as_tensor(np.sqrt(2 / np.prod(shape[1:])) * rng.normal(size=shape))


def _check_outputs(outputs: int | None) -> None:
    if outputs is not None and not _widths((outputs,)):
        raise ValueError(f"outputs must be None, for one logit, or an integer of at least 1, got {outputs!r}.")


def _dense(params: dict[str, Tensor], i: int, x: Tensor) -> Tensor:
    """Fully connected layer i, points in columns: x (..., in, N) -> (..., out, N)."""
    weight, bias = params[f"weight{i}"], params[f"bias{i}"].unsqueeze(-1)
    if x.dim() == weight.dim() == bias.dim() == 3:  # the same in one operation
        return torch.baddbmm(bias, weight, x)
    return weight @ x + bias


@dataclasses.dataclass(frozen=True)
class MLP:
    """Fully connected network; by default to one logit, without hidden layers the linear model omega^T x + b.

    Its parameters are ``weight0`` (out, in), ``bias0`` (out,), ``weight1``, ... .

    Args:
        hidden: widths of the hidden layers.
        outputs: number of features to give; None gives one logit.
    """

    hidden: tuple[int, ...] = ()
    outputs: int | None = None
    uses_context = False

    def __post_init__(self):
        if not _widths(self.hidden):
            raise ValueError(
                f"hidden must hold the layers' widths, a tuple of integers of at least 1, got {self.hidden!r}."
            )
        _check_outputs(self.outputs)

    @property
    def head(self) -> tuple[str, ...]:
        return f"weight{len(self.hidden)}", f"bias{len(self.hidden)}"

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """Start values: He-normal weights under ReLU layers, zeros in all biases and in the last layer of a logit.

        A zero last layer starts every score at 0, so that a linear model starts at omega = 0.
        """
        params, widths = {}, (n_features, *self.hidden, self.outputs or 1)
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            silent = i == len(self.hidden) and self.outputs is None
            params[f"weight{i}"] = _he(rng, fan_out, fan_in) * (not silent)
            params[f"bias{i}"] = torch.zeros(fan_out, dtype=torch.float64)
        return params

    def __call__(self, params: dict[str, Tensor], x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits: x (N, d) or (T, N, d) -> (N,) or (T, N); features: (N, outputs) or (T, N, outputs)."""
        x = x.mT  # points in columns: the weights' gradients then come in the weights' own memory layout
        for i in range(len(self.hidden)):
            x = torch.relu(_dense(params, i, x))
        out = _dense(params, len(self.hidden), x)
        return out.squeeze(-2) if self.outputs is None else out.mT


def _support_norm(x: Tensor, n: int | None, eps: float = 1e-5) -> Tensor:
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

    Its parameters are ``weight0`` (out, in, 3, 3), ``bias0`` (out,), with a norm ``gain0`` (out,), ``weight1``, ... .
    A convolution treats all pixels alike, so detectors give all pixels one location and scale.

    Args:
        channels: widths of the convolutions.
        norm: normalisation after each convolution: None, "layer" (each point over channels and pixels), "group"
            (each point over a quarter of the channels) or "batch" (each channel over the points of the support set).
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
        for name in ("channels", "shape"):  # lists from a JSON file become tuples again
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if not _widths(self.channels) or not self.channels:
            raise ValueError(f"channels must hold integers of at least 1, got {self.channels!r}.")
        if self.shape is not None and not (_widths(self.shape) and len(self.shape) == 2):
            raise ValueError(f"shape must be (height, width) in pixels, got {self.shape!r}.")
        if self.norm not in (None, "layer", "group", "batch"):
            raise ValueError(f'norm must be None, "layer", "group" or "batch", got {self.norm!r}.')
        if self.norm == "group" and any(width % 4 for width in self.channels):
            raise ValueError(f'norm="group" needs channels in multiples of 4, got {self.channels}.')
        _check_outputs(self.outputs)

    @property
    def uses_context(self) -> bool:
        return self.norm == "batch"

    @property
    def head(self) -> tuple[str, ...]:
        return f"weight{len(self.channels)}", f"bias{len(self.channels)}"

    def _image(self, n_features: int) -> tuple[int, int]:
        shape = self.shape or (math.isqrt(n_features),) * 2
        if math.prod(shape) != n_features:
            raise ValueError(
                f"ConvNet cannot read {n_features} features as an image of {shape[0]} x {shape[1]} pixels: "
                "give it shape=(height, width), or use hidden=... for points that are no images."
            )
        return tuple(shape)

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """Start values: He-normal convolutions, gains 1, zeros in all biases and in the last layer of a logit."""
        height, width = self._image(n_features)
        params, fan_in = {}, 1
        for i, fan_out in enumerate(self.channels):
            params[f"weight{i}"] = _he(rng, fan_out, fan_in, 3, 3)
            params[f"bias{i}"] = torch.zeros(fan_out, dtype=torch.float64)
            if self.norm:
                params[f"gain{i}"] = torch.ones(fan_out, dtype=torch.float64)
            fan_in, height, width = fan_out, -(-height // 2), -(-width // 2)
        weight, bias = self.head
        params[weight] = torch.zeros(1, fan_in * height * width, dtype=torch.float64)
        params[bias] = torch.zeros(self.outputs or 1, dtype=torch.float64)
        if self.outputs is not None:
            params[weight] = _he(rng, self.outputs, params[weight].shape[1])
        return params

    def __call__(self, params: dict[str, Tensor], x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits: x (N, h*w) or (T, N, h*w) -> (N,) or (T, N); features: (N, outputs) or (T, N, outputs).

        Args:
            params: the parameters, each with or without a task axis.
            x: flat images.
            context: (..., S, h*w) points that batch normalisation takes its statistics from; None takes x itself.
        """
        last = len(self.channels)
        tasks = max([len(v) for name, v in params.items() if v.dim() > self._dims(name)], default=None)
        if x.dim() == 2 and tasks is None:
            context = None if context is None else context[None]
            return self(params, x[None], context)[0]
        n = None
        if self.uses_context and context is not None:
            n = context.shape[-2]
            x = torch.cat([context, x], -2)
        x = x.expand(tasks or len(x), *x.shape[-2:]).unflatten(-1, (1, *self._image(x.shape[-1])))
        for i in range(last):
            x = _convolve(x, params[f"weight{i}"])
            if self.norm == "batch":
                x = _support_norm(x, n)
            elif self.norm:
                x = F.group_norm(x.flatten(0, 1), 4 if self.norm == "group" else 1).unflatten(0, x.shape[:2])
            if self.norm:
                x = x * _per_channel(params[f"gain{i}"])
            x = torch.relu(x + _per_channel(params[f"bias{i}"]))
        out = _dense(params, last, x.flatten(2).mT)[..., n:]
        return out.squeeze(-2) if self.outputs is None else out.mT

    def _dims(self, name: str) -> int:
        """Number of axes of a parameter without a task axis."""
        kind, i = name.rstrip("0123456789"), int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
        return 1 if kind != "weight" else 4 if i < len(self.channels) else 2


def _per_channel(v: Tensor) -> Tensor:
    """(C,) or (T, C) -> (1, C, 1, 1) or (T, 1, C, 1, 1), to meet (T, N, C, H, W)."""
    return v.unsqueeze(-2)[..., None, None]


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Stride-2 convolution of x (T, N, C, H, W) with one weight for all tasks or (T, out, in, 3, 3)."""
    if weight.dim() == 4:
        return F.conv2d(x.flatten(0, 1), weight, stride=2, padding=1).unflatten(0, x.shape[:2])
    n_tasks = len(weight)  # each task is a group of channels of one convolution
    out = F.conv2d(x.transpose(0, 1).flatten(1, 2), weight.flatten(0, 1), stride=2, padding=1, groups=n_tasks)
    return out.unflatten(1, (n_tasks, -1)).transpose(0, 1)


@dataclasses.dataclass(frozen=True)
class UpConvNet:
    """From features back to images: a linear layer to a small picture, then 3x3 convolutions at twice the size each.

    Its parameters are ``weight0`` (channels[0] * h * w, in), ``bias0``, then those of the convolutions, the last one to
    a single channel. Sizes that are no powers of two are cut off at the lower right.

    Args:
        shape: height and width of the images.
        channels: widths of the small picture and of the convolutions that follow; as many doublings as entries.

    Raises:
        ValueError: if an argument is out of range.
    """

    shape: tuple[int, int]
    channels: tuple[int, ...] = (32, 32)
    uses_context = False

    def __post_init__(self):
        if not _widths(self.channels) or not self.channels:
            raise ValueError(f"channels must hold integers of at least 1, got {self.channels!r}.")
        if not (_widths(self.shape) and len(self.shape) == 2):
            raise ValueError(f"shape must be (height, width) in pixels, got {self.shape!r}.")

    @property
    def _small(self) -> tuple[int, int]:
        return tuple(-(-side // 2 ** len(self.channels)) for side in self.shape)

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """Start values: He-normal weights, zeros in all biases."""
        first = self.channels[0] * math.prod(self._small)
        params = {"weight0": _he(rng, first, n_features), "bias0": torch.zeros(first, dtype=torch.float64)}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise((*self.channels, 1)), 1):
            params[f"weight{i}"] = _he(rng, fan_out, fan_in, 3, 3)
            params[f"bias{i}"] = torch.zeros(fan_out, dtype=torch.float64)
        return params

    def __call__(self, params: dict[str, Tensor], z: Tensor) -> Tensor:
        """Images: z (N, m) or (T, N, m) -> (N, h*w) or (T, N, h*w); parameters without a task axis."""
        x = _dense(params, 0, z.mT).mT.flatten(0, -2).unflatten(-1, (self.channels[0], *self._small))
        for i in range(1, len(self.channels) + 1):
            x = F.interpolate(torch.relu(x), scale_factor=2)
            x = F.conv2d(x, params[f"weight{i}"], params[f"bias{i}"], padding=1)
        height, width = self.shape
        return x[:, 0, :height, :width].flatten(1).unflatten(0, z.shape[:-1])


class _SupportNorm(nn.Module):
    """Stands in for a batch normalisation layer: statistics of the first `n` points of the batch."""

    n: int | None = None

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        out = _support_norm(x.reshape(*x.shape[:2], -1, 1), self.n, self.eps)  # (N, C, pixels, 1)
        if self.weight is not None:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.reshape(x.shape)


def _support_norms(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    """Replace every batch normalisation inside `module` by one on the support set.

    Args:
        module: changed in place.
        done: the layers replaced so far, since a module may hold one layer in several places.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return done.setdefault(id(module), _SupportNorm(module))
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = _support_norms(child, done)
    return module


class ModuleNetwork:
    """Any `torch.nn.Module` as a network: rows (n, d) in, one logit per row out, (n,) or (n, 1), or m features, (n, m).

    Its start values are the module's own; frozen parameters (``requires_grad=False``) stay as they are. Tasks are
    computed one after the other, which keeps second derivatives exact through every layer; `torch.func.vmap` does not.
    Batch normalisation takes its statistics from the support set, and dropout is off. A module for images begins
    with ``nn.Unflatten(1, (1, height, width))``.

    Args:
        module: the module; it is copied.
        features: whether it gives features instead of a logit.

    Raises:
        ValueError: if it has nothing to learn.
    """

    def __init__(self, module: nn.Module, features: bool = False):
        self.origin, self.features = module, features
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
            raise ValueError("The network has lazy layers: run it once on your data first, to fix their sizes.")
        self.module = _support_norms(copy.deepcopy(module), {}).eval()
        self.norms = [m for m in self.module.modules() if isinstance(m, _SupportNorm)]
        self.uses_context = bool(self.norms)
        self.dims = {name: p.dim() for name, p in self.module.named_parameters() if p.requires_grad}
        if not self.dims:
            raise ValueError("The network has no parameter that requires a gradient: nothing can adapt.")

    @property
    def head(self) -> tuple[str, ...]:
        """The parameters of the module that holds the last one."""
        owner = list(self.dims)[-1].rpartition(".")[0]
        return tuple(name for name in self.dims if name.rpartition(".")[0] == owner)

    def fixed(self) -> dict[str, Tensor]:
        """What the module holds besides the parameters that are learnt: frozen ones and buffers."""
        return {name: value for name, value in self.module.state_dict().items() if name not in self.dims}

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """The module's own values, after a trial run on two rows."""
        params = {n: p.detach().clone() for n, p in self.module.named_parameters() if n in self.dims}
        trial = next(iter(params.values())).new_zeros(2, n_features)
        try:
            out = self._run(params, trial)
        except Exception as error:  # whatever a module of somebody else's may raise
            raise ValueError(
                f"The network cannot read rows of {n_features} features ({type(error).__name__}: {error}); for "
                "images, begin it with nn.Unflatten(1, (1, height, width))."
            ) from None
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if self.features and (not isinstance(out, Tensor) or len(out) != 2 or out.dim() != 2):
            raise ValueError(f"The network must give a row of features per row: for 2 rows (2, m), not {got}.")
        if not self.features and got not in ((2,), (2, 1)):
            raise ValueError(f"The network must give one logit per row: for 2 rows (2,) or (2, 1), not {got}.")
        return params

    def _run(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have no second derivatives
            return torch.func.functional_call(self.module.to(x), params, (x,))

    def _one(self, params: dict[str, Tensor], x: Tensor, context: Tensor | None) -> Tensor:
        n = None
        if self.uses_context and context is not None:
            n, x = len(context), torch.cat([context, x])
        for layer in self.norms:
            layer.n = n
        out = self._run(params, x)
        return out[n:] if self.features else out.reshape(-1)[n:]

    def __call__(self, params: dict[str, Tensor], x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits: x (N, d) or (T, N, d) -> (N,) or (T, N), features with one more axis; otherwise as for `ConvNet`."""
        own = {name: v.dim() > self.dims[name] for name, v in params.items()}
        tasks = max([len(params[name]) for name in own if own[name]], default=len(x) if x.dim() == 3 else None)
        if tasks is None:
            return self._one(params, x, context)
        logits = []
        for t in range(tasks):
            mine = {name: v[t] if own[name] else v for name, v in params.items()}
            seen = None if context is None else context[t] if context.dim() == 3 else context
            logits.append(self._one(mine, x[t] if x.dim() == 3 else x, seen))
        return torch.stack(logits)
