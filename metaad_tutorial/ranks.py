"""Meta-training on several processes: each takes its share of a meta-batch, gradients are added up.

Under ``torchrun`` a script runs once per process (rank). All ranks draw the same episodes from the same seed, so that
only gradients and losses have to travel. Without ``torchrun`` there is one rank, and every function passes through.
"""

from __future__ import annotations

import atexit
import os

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from .episodes import Episodes


def _world() -> tuple[int, int]:
    """This process's number and the number of processes; joins them at the first call under ``torchrun``."""
    if not dist.is_available():
        return 0, 1
    if not dist.is_initialized():
        if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
            return 0, 1
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
    return dist.get_rank(), dist.get_world_size()


def rank() -> int:
    """This process's number, 0 for the only one."""
    return _world()[0]


def device(name: str) -> str:
    """The device of this rank: with several ranks "cuda" means the rank's own GPU of its machine."""
    own = os.environ.get("LOCAL_RANK") if _world()[1] > 1 else None
    return f"cuda:{own}" if name == "cuda" and own is not None else name


def generator(random_state) -> np.random.Generator:
    """`numpy.random.default_rng`, the same on all ranks even if `random_state` is None."""
    if random_state is None and _world()[1] > 1:
        seed = [np.random.SeedSequence().entropy]
        dist.broadcast_object_list(seed, src=0)
        random_state = seed[0]
    return np.random.default_rng(random_state)


def share(episodes: Episodes) -> tuple[Episodes, float]:
    """This rank's tasks and their share of all: means over them, weighted so, add up to the mean over all tasks.

    Raises:
        ValueError: if there are fewer tasks than ranks.
    """
    own, size = _world()
    if size == 1:
        return episodes, 1.0
    if len(episodes) < size:
        raise ValueError(f"{len(episodes)} tasks cannot be shared by {size} processes: raise meta_batch.")
    part = episodes[np.arange(own, len(episodes), size)]
    return part, len(part) / len(episodes)


def add_up(value: Tensor, *grads: Tensor | None) -> Tensor:
    """The sum of `value` over ranks; `grads` are replaced by their sums, in place."""
    if _world()[1] == 1:
        return value
    present = [grad for grad in grads if grad is not None]
    flat = torch.cat([value.reshape(1), *(grad.flatten() for grad in present)])  # one message
    dist.all_reduce(flat)
    for grad, summed in zip(present, flat[1:].split([grad.numel() for grad in present]), strict=True):
        grad.copy_(summed.view_as(grad))
    return flat[0]
