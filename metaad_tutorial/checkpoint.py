"""The file of an unfinished meta-training."""

from __future__ import annotations

import json
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import nn

from . import files
from .episodes import Episodes
from .tree import Tree, flat, nested

FREE = ("meta_steps", "patience", "device", "contamination")  # may differ when training goes on


class Checkpoint:
    """Where `meta_train` writes its state to and goes on from, and what the training must have in common with it.

    Args:
        detector, family: whose training it is, on what.
        drawn: tasks by which to recognise the same data.
        start: the meta-parameters, which tell one module of the reader's from another.
        rng: where the tasks come from.
        path: the file.
    """

    def __init__(self, detector, family, drawn: Iterable[Episodes], start: Tree, rng: np.random.Generator, path):
        if not isinstance(detector.random_state, Integral):
            raise ValueError("A checkpoint needs an integer random_state, to go on with the same tasks.")
        files.check_folder(path)
        params = {name: value for name, value in detector.get_params(deep=False).items() if name not in FREE}
        # In float32: another processor has other last bits.
        points = joblib.hash([x.float().cpu().numpy() for tasks in drawn for x in tasks.tensors])
        same = {"method": type(detector).__name__, **params, "units": family.identity(), "points of tasks": points}
        same |= {"network shapes": {name: list(value.shape) for name, value in flat(start).items()}}
        if isinstance(detector.network, nn.Module):
            frozen = [v.tolist() for n, v in detector.net.module.state_dict().items() if n not in start["start"]]
            same |= {"network": str(detector.network), "frozen parts": joblib.hash(frozen)}
        self.same = json.loads(json.dumps(same, default=files.plain))  # tuples as lists, as in the file
        self.rng, self.path = rng, path

    def save(self, history: dict, best: Tree | None, meta: Tree, adam) -> None:
        """Write the state between two outer steps."""
        moments = {str(i): moments for i, moments in adam.state_dict()["state"].items()}
        header = {"same": self.same, "history": history, "rng": self.rng.bit_generator.state}
        files.write(self.path, header, {"meta": meta, "best": best or {}, "adam": moments})

    def resume(self, history: dict, meta: Tree, adam, steps: int) -> Tree | None:
        """Take the state from the file if there is one, and give the best meta-parameters so far.

        Raises:
            ValueError: if it is damaged or another training's; the message says what differs.
        """
        if not Path(self.path).exists():
            return None
        header, content = files.read(self.path, "checkpoint")
        found = nested({name: torch.as_tensor(value) for name, value in content.items()})
        theirs, before, moments = header["same"], header["history"], found["adam"]
        if changed := [name for name in self.same | theirs if self.same.get(name) != theirs.get(name)]:
            other = f"{self.path} is the checkpoint of another training, which differs in {', '.join(changed)}"
            raise ValueError(f"{other}: use the same parameters and tasks, or name another file.")
        if (done := len(before["loss"])) > steps:
            raise ValueError(f"{self.path} holds {done} outer steps, more than meta_steps={steps}.")
        history.update(before)  # everything fits: only now is anything changed
        self.rng.bit_generator.state = header["rng"]
        leaves, saved, best = flat(meta), flat(found["meta"]), flat(found.get("best", {}))
        with torch.no_grad():
            for name, leaf in leaves.items():
                leaf.copy_(saved[name])
        adam.load_state_dict(adam.state_dict() | {"state": {int(i): m for i, m in moments.items()}})
        return nested({name: value.to(leaves[name].device) for name, value in best.items()}) or None
