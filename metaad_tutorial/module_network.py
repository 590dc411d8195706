"""Any `torch.nn.Module` as a function of its parameters, with or without a leading task axis."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .convolutions import support_norm
from .scaling import Scaling
from .tree import flat, nested


class _SupportNorm(nn.Module):
    """Stands in for a batch normalisation layer: statistics of the first `n` points of the batch."""

    n: int | None = None

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        out = support_norm(x.reshape(*x.shape[:2], -1, 1), self.n, self.eps)  # (N, C, pixels, 1)
        if self.weight is not None:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.reshape(x.shape)


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
        self.module = copy.deepcopy(module).eval()
        for parent in list(self.module.modules()):
            for name, child in parent._modules.items():  # which may hold one layer in several places
                if isinstance(child, nn.modules.batchnorm._BatchNorm):
                    parent._modules[name] = _SupportNorm(child)
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

    def fill(self, state: dict[str, Tensor]) -> None:
        """Put saved parameters and buffers into the module, if it is the one that was saved."""
        try:
            self.module.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"The network given is not the one that was saved: {error}") from None

    def init(self, rng: np.random.Generator, n_features: int) -> dict[str, Tensor]:
        """The module's own values, after a trial run on two rows."""
        params = {n: p.detach().clone() for n, p in self.module.named_parameters() if n in self.dims}
        try:
            out = self._run(params, next(iter(params.values())).new_zeros(2, n_features))
        except Exception as error:  # whatever a module of somebody else's may raise
            failed = f"The network cannot read rows of {n_features} features ({type(error).__name__}: {error})"
            raise ValueError(f"{failed}; for images, begin it with nn.Unflatten(1, (1, height, width)).") from None
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if not (got[:1] == (2,) and len(got) == 2 if self.features else got in ((2,), (2, 1))):
            what = "a row of features per row: (2, m)" if self.features else "one logit per row: (2,) or (2, 1)"
            raise ValueError(f"The network must give {what} for 2 rows, not {got}.")
        return params

    def _run(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have no second derivatives
            return torch.func.functional_call(self.module.to(x), params, (x,))

    def __call__(self, params: dict[str, Tensor], x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits: x (N, d) or (T, N, d) -> (N,) or (T, N), features with one more axis; otherwise as for `ConvNet`."""
        own = {name: v for name, v in params.items() if v.dim() > self.dims[name]}  # those with a task axis
        tasks = max(map(len, own.values()), default=len(x) if x.dim() == 3 else 0)
        if tasks:
            each = []
            for t in range(tasks):
                rows, seen = (v[t] if v is not None and v.dim() == 3 else v for v in (x, context))
                each.append(self(params | {name: v[t] for name, v in own.items()}, rows, seen))
            return torch.stack(each)
        n = None
        if self.uses_context and context is not None:
            n, x = len(context), torch.cat([context, x])
        for layer in self.norms:
            layer.n = n
        out = self._run(params, x)
        return out[n:] if self.features else out.reshape(-1)[n:]


class AdaptedScorer(nn.Module):
    """The scorer of a fitted detector: raw points (n, d) to scores (n,).

    Args:
        detector: one that adapts by a method, after `fit`; what it learns later does not reach this module.
    """

    def __init__(self, detector):
        super().__init__()
        self.method = copy.copy(detector)
        self.paths = list(flat(detector.params_))
        for i, value in enumerate(flat(detector.params_).values()):
            self.register_buffer(f"leaf{i}", value.clone())

    def forward(self, x: Tensor) -> Tensor:
        params = nested(dict(zip(self.paths, self.buffers(recurse=False), strict=True)))
        return self.method.logit(params, self.method._ready(Scaling(**params["scaling"]), x[None]))[0]
