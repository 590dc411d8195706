"""The file of an unfinished meta-training."""

from __future__ import annotations

import json
from numbers import Integral
from pathlib import Path

import numpy as np
import torch

from . import files
from .tree import Tree, flat, mapped, nested

FREE = ("meta_steps", "patience", "device", "contamination")  # may differ when training goes on


class Checkpoint:
    """Where `meta_train` writes its state to and goes on from, and what the training must have in common with it.

    Args:
        detector, family: whose training it is, on what.
        marks: tensors by which to recognise the same data.
        rng: where the tasks come from.
        path: the file.
    """

    def __init__(self, detector, family, marks: Tree, rng: np.random.Generator, path):
        if not isinstance(detector.random_state, Integral):
            raise ValueError("A checkpoint needs an integer random_state, to go on with the same tasks.")
        if not Path(path).absolute().parent.is_dir():
            raise ValueError(f"There is no folder for the checkpoint {path}: make it first.")
        params = {name: value for name, value in detector.get_params(deep=False).items() if name not in FREE}
        self.same = {"method": type(detector).__name__, **files.pack(params), "tasks": family.identity()}
        self.marks = {name: value for name, value in marks.items() if value is not None}
        self.rng, self.path = rng, path

    def save(self, history: dict, best: Tree | None, meta: Tree, adam) -> None:
        """Write the state between two outer steps."""
        moments = {str(i): moments for i, moments in adam.state_dict()["state"].items()}
        tree = {"marks": self.marks, "meta": meta, "best": best or {}, "adam": moments}
        header = {"same": self.same, "history": history, "rng": self.rng.bit_generator.state}
        files.write(self.path, header, files.arrays(tree))

    def resume(self, history: dict, meta: Tree, adam, steps: int) -> Tree | None:
        """Take the state from the file if there is one, and give the best meta-parameters so far.

        Raises:
            ValueError: if it is damaged or another training's; the message says what differs.
        """
        if not Path(self.path).exists():
            return None
        header, content = files.read(self.path)
        if "same" not in header:
            raise ValueError(f"{self.path} is a saved detector, not a checkpoint: load it, or name another file.")
        found = nested({name: torch.as_tensor(value) for name, value in content.items()})
        try:
            before, rng, moments = header["history"], header["rng"], found["adam"]
            changed = self._changed(header["same"], found, meta)
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{self.path} is damaged: a part of it is missing.") from None
        if changed:
            raise ValueError(
                f"{self.path} is the checkpoint of another training, which differs in {', '.join(changed)}: "
                "use the same parameters and tasks, or name another file."
            )
        if (done := len(before["loss"])) > steps:
            raise ValueError(f"{self.path} holds {done} outer steps, more than meta_steps={steps}.")
        history.update(before)  # everything fits: only now is anything changed
        self.rng.bit_generator.state = rng
        with torch.no_grad():
            for name, leaf in flat(meta).items():
                leaf.copy_(flat(found["meta"])[name])
        adam.load_state_dict(adam.state_dict() | {"state": {int(i): m for i, m in moments.items()}})
        return mapped(lambda v: v.to(next(iter(flat(meta).values())).device), found.get("best", {})) or None

    def _changed(self, theirs: dict, found: Tree, meta: Tree) -> list[str]:
        """In what the training of the file is another one."""
        ours = json.loads(json.dumps(self.same, default=files.plain))  # tuples as lists, as in the file
        changed = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        if changed:
            return changed
        if shapes(found["meta"]) != shapes(meta):
            return ["network"]
        marks = found["marks"]
        same = shapes(marks) == shapes(self.marks)
        same = same and all(torch.allclose(v, marks[name].to(v)) for name, v in self.marks.items())
        return [] if same else ["tasks"]


def shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """The shapes of the leaves by path."""
    return {name: value.shape for name, value in flat(tree).items()}
