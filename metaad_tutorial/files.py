"""Detectors and unfinished trainings as files: arrays and JSON in one ``.npz``, no pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import checks
from .convolutions import ConvNet
from .tree import Tree, flat, nested

FORMAT = 4  # raised whenever a file of the old form can no longer be read
# What is in the header of each kind of file.
PARTS = {"saved detector": {"class", "params", "state"}, "checkpoint": {"same", "history", "rng"}}


def plain(value):
    """As JSON can hold it: a `ConvNet` by its fields, the reader's module by its class, NumPy's numbers as Python's."""
    if isinstance(value, ConvNet):
        return {"ConvNet": dataclasses.asdict(value)}
    return {"module": type(value).__name__} if isinstance(value, nn.Module) else value.tolist()


def tuples(named: dict) -> dict:
    """Parameters and attributes from JSON, which knows lists only; those of a history are some."""
    return {n: tuple(v) if isinstance(v, list) and not n.startswith("history_") else v for n, v in named.items()}


def check_folder(path) -> None:
    """Refuse a path in a folder that does not exist."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}: make it first.")


def write(path, header: dict, tree: Tree) -> None:
    """Write `header` and a tree of tensors and arrays; never a half-written file under the final name.

    Raises:
        ValueError: if the folder is missing, or the header is not plain (a `random_state` that is no number).
    """
    check_folder(path)
    content = {n: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for n, v in flat(tree).items()}
    try:
        text = json.dumps({"format": FORMAT, "arrays": sorted(content), **header}, default=plain)
    except AttributeError:
        raise ValueError("Only plain parameters can be saved: use an integer random_state.") from None
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            np.savez(file, allow_pickle=False, header=np.array(text), **content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path, kind: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays of a file made by `write`, of a kind in `PARTS`.

    Raises:
        ValueError: if the file is damaged, something else, of the other kind, or of another version of the package.
    """
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                content = dict(archive)
            header = json.loads(str(content.pop("header")))
            version, whole = header["format"], header["arrays"] == sorted(content)
        except Exception:  # whatever NumPy's and zip's readers may find
            raise ValueError(f"{path} is damaged or not a file of this package.") from None
    if version != FORMAT:
        raise ValueError(f"{path} has format {version}, this version of the package reads format {FORMAT}.")
    for other, parts in PARTS.items():
        if other != kind and parts <= header.keys():
            raise ValueError(f"{path} is a {other}, not a {kind}: load takes saved detectors, meta_fit checkpoints.")
    if not whole or not PARTS[kind] <= header.keys():
        raise ValueError(f"{path} is damaged: a part of it is missing.")
    return header, content


def unpack(params: dict, network) -> dict:
    """A detector's parameters out of what `plain` made of them.

    Raises:
        ValueError: if the detector used a network of the reader's own and `network` is None, or the other way round.
    """
    packed = params.get("network") or {}
    if "module" not in packed and network is not None:
        raise ValueError("The file says which network the detector has: leave network out.")
    if "module" in packed and not isinstance(network, nn.Module):
        raise ValueError(f"The detector uses your own network {packed['module']}: pass one as load(path, network=...).")
    network = ConvNet(**tuples(packed["ConvNet"])) if "ConvNet" in packed else network
    return tuples(params | {"network": network} if packed else params)


def save(detector, path) -> None:
    """Write what a detector has learnt, and its parameters, to one ``.npz`` file of plain arrays and JSON; no pickle.

    Raises:
        ValueError: if there is nothing to save, the folder is missing, `random_state` is not a plain number,
            or a parameter changed since learning.
    """
    detector._check_unchanged()
    learnt = detector._learnt
    if not learnt:
        raise ValueError("Nothing to save: call meta_fit or fit first.")
    if isinstance(getattr(detector, "network", None), nn.Module):
        learnt["module"] = detector.net.module.state_dict()  # for frozen parameters and buffers
    leaves = flat(learnt)
    numbers = {n: v for n, v in leaves.items() if isinstance(v, Tensor | np.ndarray) and v.dtype != object}
    state = {name: value for name, value in leaves.items() if name not in numbers}
    write(path, {"class": type(detector).__name__, "params": detector.get_params(deep=False), "state": state}, numbers)


def load(cls, path, network: nn.Module | None = None):
    """Read a detector written by `save`; what it learnt goes to the device it was made for, if there is one.

    `metaad_tutorial.load` reads one of any kind; the ``load`` of a class refuses what is not of this class or of one
    that inherits from it.

    Args:
        path: the file.
        network: the reader's own network, if the detector has one; the file holds its parameters, not its code.

    Raises:
        ValueError: if the file is damaged, no detector's, of another version, or holds another kind of detector, or
            if a network is missing.
    """
    header, content = read(path, "saved detector")
    kind = {kind.__name__: kind for kind in _kinds(cls)}.get(header["class"])
    if kind is None:
        raise ValueError(f"{path} holds a {header['class']}, not a {cls.__name__}: use metaad_tutorial.load(path).")
    try:
        detector = kind(**unpack(header["params"], network))
    except TypeError as error:  # a parameter of another version
        raise ValueError(f"{path} has parameters that {kind.__name__} does not know: {error}") from None
    # Tensors are in trees, and those of detectors that adapt, which have a device.
    if not checks.is_here(getattr(detector, "device", "cpu")):
        detector.device = "cpu"
    leaves = {n: torch.as_tensor(v).to(detector.device) if "/" in n else v for n, v in content.items()}
    learnt = nested(tuples(header["state"]) | leaves)
    if "feature_names_in_" in learnt:
        learnt["feature_names_in_"] = np.array(learnt["feature_names_in_"], dtype=object)
    if "module" in learnt:
        detector.net.fill(flat(learnt.pop("module")))
    vars(detector).update(learnt)
    detector._bind()
    return detector


def _kinds(cls) -> list[type]:
    """A class and all that inherit from it."""
    return [cls, *(kind for sub in cls.__subclasses__() for kind in _kinds(sub))]
