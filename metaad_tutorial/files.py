"""Detectors and unfinished trainings as files: arrays and JSON in one ``.npz``, no pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .networks import ConvNet

TUPLES = ("hidden",)  # parameters that JSON would turn into lists


def _plain(value):
    """NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain")


def write(path, header: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write `header` and `arrays`; never a half-written file under the final name.

    Raises:
        ValueError: if the header is not plain (a `random_state` that is no number).
    """
    try:
        text = json.dumps(header, default=_plain)
    except TypeError as error:
        raise ValueError(f"Only plain parameters can be saved (use an integer random_state): {error}") from None
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            np.savez(file, header=np.array(text), **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays of a file made by `write`.

    Raises:
        ValueError: if the file is damaged or something else.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        return json.loads(str(arrays.pop("header"))), arrays
    except OSError:
        raise  # no such file, no permission: the system's message says it
    except Exception as error:
        raise ValueError(f"{path} is damaged or not a file of this package: {error}") from None


def pack(params: dict) -> dict:
    """Parameters of a detector as JSON can hold them; of a network of the reader's own, its class's name."""
    network = params.get("network")
    if isinstance(network, ConvNet):
        return params | {"network": {"ConvNet": dataclasses.asdict(network)}}
    return params if network is None else params | {"network": {"module": type(network).__name__}}


def unpack(params: dict, network) -> dict:
    """The reverse of `pack`.

    Raises:
        ValueError: if the detector used a network of the reader's own and `network` is None, or the other way round.
    """
    params = {name: tuple(value) if name in TUPLES else value for name, value in params.items()}
    packed = params.get("network") or {}
    if "module" not in packed and network is not None:
        raise ValueError("The file says which network the detector has: leave network out.")
    if "ConvNet" in packed:
        return params | {"network": ConvNet(**packed["ConvNet"])}
    if "module" in packed and not isinstance(network, nn.Module):
        raise ValueError(f"The detector uses your own network {packed['module']}: pass one as load(path, network=...).")
    return params | {"network": network}


def _numpy(values: dict[str, Tensor], group: str) -> dict[str, np.ndarray]:
    return {f"{group}/{name}": value.detach().cpu().numpy() for name, value in values.items()}


class Training:
    """State of a meta-training between two outer steps, and its file.

    Args:
        detector: whose training it is.
        family: what it trains on.
        meta: the meta-parameters, scaling included.
        optimizer: of those that are learnt.
        rng: where the episodes come from.
        probe: numbers by which to recognise the tasks.

    Attributes:
        step: outer steps done.
        history: ``loss`` of each, ``valid_loss`` of each look at the validation tasks.
        best: meta-parameters at the lowest validation loss, None before the first look.
        looks_since_best: looks since then.
    """

    def __init__(self, detector, family, meta: dict[str, Tensor], optimizer, rng, probe: np.ndarray):
        self.meta, self.optimizer, self.rng = meta, optimizer, rng
        self.step, self.history = 0, {"loss": [], "valid_loss": []}
        self.best, self.looks_since_best = None, 0
        free = ("meta_steps", "patience", "device")  # may differ when training goes on
        params = {name: value for name, value in detector.get_params(deep=False).items() if name not in free}
        self.same = {"training": type(detector).__name__, "params": pack(params), "source": family.source}
        self.marks = {"units": family.units, "probe": probe}

    def look(self, valid_loss: float, meta: dict[str, Tensor]) -> None:
        """Note a validation loss; keep the meta-parameters it belongs to if it is the lowest."""
        self.looks_since_best += 1
        if valid_loss < min(self.history["valid_loss"], default=np.inf):
            self.best, self.looks_since_best = {n: v.detach().clone() for n, v in meta.items()}, 0
        self.history["valid_loss"].append(valid_loss)

    def save(self, path) -> None:
        """Write the state to `path`."""
        arrays = self.marks | _numpy(self.meta, "meta") | _numpy(self.best or {}, "best")
        for i, moments in self.optimizer.state_dict()["state"].items():
            arrays |= _numpy(moments, f"adam/{i}")
        state = {"step": self.step, "history": self.history, "looks_since_best": self.looks_since_best}
        write(path, {"same": self.same, "state": state, "rng": self.rng.bit_generator.state}, arrays)

    def resume(self, path) -> None:
        """Take the state from `path` if there is such a file.

        Raises:
            ValueError: if it is damaged or another training's.
        """
        if not Path(path).exists():
            return
        header, arrays = read(path)
        try:
            self._take(header, arrays)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged or not a checkpoint: {error!r}.") from None
        except _OtherTraining:
            raise ValueError(
                f"{path} is the checkpoint of another training: use the same parameters and tasks, or another file."
            ) from None

    def _take(self, header: dict, arrays: dict[str, np.ndarray]) -> None:
        groups: dict[str, dict[str, Tensor]] = {"best": {}}
        for key, value in arrays.items():
            group, _, name = key.rpartition("/")
            group, _, name = (group, _, name) if group.startswith("adam/") else key.partition("/")
            groups.setdefault(group, {})[name] = torch.as_tensor(value) if name else value
        same = json.loads(json.dumps(self.same, default=_plain))  # tuples as lists, as in the file
        if header["same"] != same or not np.array_equal(arrays["units"], self.marks["units"]):
            raise _OtherTraining
        meta = {name: groups["meta"][name].to(own) for name, own in self.meta.items()}
        known = [(arrays["probe"], self.marks["probe"])]
        known += [(meta[n], own) for n, own in self.meta.items() if not own.requires_grad]  # the tasks' scaling
        if any(a.shape != b.shape or not np.allclose(a, b) for a, b in known):
            raise _OtherTraining
        if any(meta[name].shape != own.shape for name, own in self.meta.items()):
            raise _OtherTraining
        state, adam = self.optimizer.state_dict(), [name for name, own in self.meta.items() if own.requires_grad]
        state["state"] = {i: groups[f"adam/{i}"] for i in range(len(adam)) if f"adam/{i}" in groups}
        if not state["state"]:
            raise KeyError("adam")
        loaded, rng = header["state"], header["rng"]
        step, history, looks = loaded["step"], loaded["history"], loaded["looks_since_best"]
        # Everything is there: only now is anything changed.
        self.step, self.history, self.looks_since_best = step, history, looks
        self.rng.bit_generator.state = rng
        with torch.no_grad():
            for name in adam:
                self.meta[name].copy_(meta[name])
        self.best = {name: value.to(self.meta[name]) for name, value in groups["best"].items()} or None
        self.optimizer.load_state_dict(state)


class _OtherTraining(Exception):
    """A checkpoint that does not fit."""
