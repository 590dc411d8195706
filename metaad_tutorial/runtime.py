"""Settings and progress display: what a notebook needs around the mathematics."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import torch
from tqdm import tqdm


def set_reproducible() -> None:
    """Make this process print the same digits on another CPU: float64, one thread, deterministic kernels.

    Changes PyTorch's global settings, so call it from a notebook or a script; the package itself never does.
    """
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def progress(items: Iterable, label: str) -> Iterable:
    """Progress bar on a terminal, or anywhere if METAAD_PROGRESS=1; silent otherwise (notebook tests)."""
    wanted = os.environ.get("METAAD_PROGRESS", "1" if sys.stderr.isatty() else "0")
    return tqdm(items, desc=label, leave=False, disable=wanted != "1")
