"""From printed letters to handwriting, and why 8 x 8 scans are another matter; part 2 of evidence.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaad_tutorial import (
    MAML,
    Comparison,
    Contender,
    ConvNet,
    Glyphs,
    NearestNeighbor,
    PooledFeatures,
    PrototypicalDetector,
    class_tasks,
    compare,
    load_images,
)
from metaad_tutorial.families.classes import PoolTasks

NETWORKS = {width: ConvNet(width, "layer") for width in ((16, 32, 64), (32, 64, 64))}
EMBEDDINGS = {width: dataclasses.replace(net, outputs=64) for width, net in NETWORKS.items()}


class ShiftedNeighbor(NearestNeighbor):
    """The nearest of the support images, each also moved by one pixel in eight directions."""

    def _fit(self, X, y):
        images = X.reshape(len(X), *self.image_shape_)
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
        h, w = self.image_shape_
        moved = [padded[:, i : i + h, j : j + w].reshape(len(X), -1) for i in range(3) for j in range(3)]
        super()._fit(np.concatenate(moved), np.tile(y, 9))


def digits(images: np.ndarray, label: np.ndarray, shots: int) -> PoolTasks:
    """One digit against the others, without labelled anomalies."""
    return class_tasks(images, label, normal_shots=shots, normal_queries=15, anomalous_queries=15)


def handwriting(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """Learnt from all printed letters, moved and bent twice as much as elsewhere, for hands are less regular."""
    train, valid = Glyphs(5, 0, 15, 15, jitter=2).split((0.85, 0.15), random_state=0)
    tests = {}
    for name in ("mnist", "digits"):
        images = load_images(name, 14)
        tests |= {f"{name}, {shots} shots": digits(images.X, images.label, shots) for shots in (5, 1)}
    small, wide = ({"network": net} for net in NETWORKS.values())
    small_features, wide_features = ({"network": net} for net in EMBEDDINGS.values())
    everybody = {
        "pixels, nearest neighbour": Contender(NearestNeighbor(standardize=False)),
        "pixels, shifted": Contender(ShiftedNeighbor(standardize=False)),
        "pooled features": Contender(PooledFeatures(dtype="float32", meta_tasks=6000, meta_steps=4000), [
            small_features, wide_features,
        ]),
        "MAML": Contender(
            MAML(dtype="float32", meta_lr=0.003, meta_batch=16, head_only=True, learn_lr="parameter", meta_steps=800),
            [small, wide],
        ),
        "prototypes": Contender(PrototypicalDetector(dtype="float32", meta_lr=0.01, meta_batch=16, meta_steps=1200), [
            small_features, wide_features,
        ]),
    }  # fmt: skip
    found = compare(
        everybody, train, valid, tests, seeds=(0,) if quick else range(5), n_tasks=40 if quick else 500, n_jobs=jobs
    )
    yield from found.items()


# --- Why pixels win on the 8 x 8 scans ----------------------------------------------------------------


def coarse(images: np.ndarray) -> np.ndarray:
    """Images (..., h, w) as a scan of 8 x 8 shows them, brought back to their size."""
    X = torch.as_tensor(images).reshape(-1, 1, *images.shape[-2:])
    X = _resized(_resized(X, (8, 8)), images.shape[-2:])
    return X.numpy().reshape(images.shape)


def registered(images: np.ndarray) -> np.ndarray:
    """Images (n, h, w), each cut to its ink and stretched to the whole frame."""
    made = []
    for image in torch.as_tensor(images):
        rows, columns = ((image > 0.2).any(axis).nonzero()[:, 0] for axis in (1, 0))
        ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        made.append(_resized(ink[None, None], image.shape)[0, 0])
    return torch.stack(made).numpy()


def moved(images: np.ndarray) -> np.ndarray:
    """Images (n, h, w), each moved by up to 2 pixels in each direction."""
    shifts = np.random.default_rng(0).integers(5, size=(len(images), 2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    h, w = images.shape[1:]
    return np.stack([one[i : i + h, j : j + w] for one, (i, j) in zip(padded, shifts, strict=True)])


def _resized(X: Tensor, shape) -> Tensor:
    return F.interpolate(X, tuple(shape), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


class CoarseGlyphs(Glyphs):
    """Letters as a scan of 8 x 8 shows them."""

    def _images(self, rows, rng):
        return coarse(super()._images(rows, rng))


def contrast(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """The same digits registered, coarse and moved: what of it changes who wins? One training of each detector."""
    mnist, scans = load_images("mnist", 14), load_images("digits", 14)
    tests = {
        "mnist": (mnist.X, mnist.label),
        "mnist, coarse": (coarse(mnist.X), mnist.label),
        "mnist, registered": (registered(mnist.X), mnist.label),
        "mnist, registered and coarse": (coarse(registered(mnist.X)), mnist.label),
        "8 x 8 digits": (scans.X, scans.label),
        "8 x 8 digits, moved": (moved(scans.X), scans.label),
    }
    tests = {name: digits(*data, 5) for name, data in tests.items()}
    features = PooledFeatures(dtype="float32", meta_tasks=4000, meta_steps=3000, network=EMBEDDINGS[16, 32, 64])
    for kind, family in (("sharp", Glyphs), ("coarse", CoarseGlyphs)):
        train, valid = family(5, 0, 15, 15, jitter=2).split((0.85, 0.15), random_state=0)
        lines = {
            "pixels, nearest neighbour": Contender(NearestNeighbor(standardize=False)),
            f"features of {kind} letters": Contender(features),
        }
        found = compare(lines, train, valid, tests, n_tasks=40 if quick else 500, n_jobs=jobs)
        yield from ((f"{name}, learnt from {kind} letters", comparison) for name, comparison in found.items())
