"""Five scripts, each held out: features, episodes and batches after a longer training; part 9 of evidence.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from evidence_distance import features
from evidence_handwriting import ShiftedNeighbor
from joblib import Parallel, delayed
from scipy.spatial.distance import cdist

from metaad_tutorial import (
    ACR,
    BatchNeighbor,
    Comparison,
    ConvNet,
    Domains,
    Glyphs,
    PooledFeatures,
    PrototypicalDetector,
    judge,
    leave_one_out,
)
from metaad_tutorial.comparison import Outcome
from metaad_tutorial.families.glyphs import SCRIPTS

SEEDS = range(5)
SIZE = 12
FIGURES = ("auroc", "accuracy")
BATCH = "batch"
LOGITS = ("prototypes, 5 images", "ACR, batch")


def batches(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """Nothing is chosen; 100 outer steps as in chapter 10, and 500. Unit: a script, averaged over its letters.

    A distance has no threshold here, so it never raises an alarm; logits are judged at 0.
    """
    for steps in (100, 500):
        runs = [(steps if not quick else 5, seed) for seed in SEEDS[: 1 if quick else None]]
        found = Parallel(n_jobs=jobs)(delayed(one_run)(*run, 20 if quick else 200) for run in runs)
        outcomes = {}
        for name in found[0]:
            values = np.array([[run[name][script] for script in SCRIPTS] for run in found])  # (seeds, scripts, figures)
            sees = BATCH if BATCH in name else "support"
            trained = "" if "pixels" in name else "other scripts, "
            by_unit, by_seed = (dict(zip(FIGURES, values.mean(axis).T, strict=True)) for axis in (0, 1))
            outcomes[name] = Outcome(by_unit, by_seed, {}, 1, 0.0, 0.0, trained + sees)
        yield f"scripts, {steps} steps", Comparison(outcomes, [*SCRIPTS], tuple(range(len(found))), 0.9)


def scripts(*counts: int) -> Domains:
    glyphs = Glyphs(*counts, size=SIZE)
    return Domains({name: glyphs.of_scripts(name) for name in SCRIPTS})


def one_run(steps: int, seed: int, n_tasks: int) -> dict[str, dict[str, list[float]]]:
    """Figures of each method on each script, by one training for each script."""
    near_even, mostly_normal, five_shots = scripts(5, 0, 5, 5), scripts(1, 0, 18, 2), scripts(5, 0, 18, 2)
    layer, batch = (ConvNet((16, 32), kind, outputs=32) for kind in ("layer", "batch"))
    found: dict[str, dict[str, list[float]]] = {}
    for k, (name, train, valid, _) in enumerate(leave_one_out(near_even)):
        same = {"meta_steps": steps, "meta_lr": 0.01, "random_state": 10 * seed + k}
        proto = PrototypicalDetector(32, network=layer, meta_batch=17, **same).meta_fit(train, valid)
        rare = (mostly_normal.restrict(part.units) for part in (train, valid))
        acr = ACR(32, network=batch, meta_batch=13, **same).meta_fit(*rare)
        letters = [Glyphs(5, 0, 5, 5, size=SIZE).of_scripts(*part.units) for part in (train, valid)]
        named = PooledFeatures(network=layer, meta_batch=250, meta_tasks=1500, **same).meta_fit(*letters)
        tasks = five_shots.families[name].sample(n_tasks, random_state=1)
        own, asked = features(named, tasks)
        with torch.no_grad():
            embedded = proto.net(proto.meta_["start"], proto.scaled(tasks).query_x).numpy()
        scores = {
            "classifier, 5 images": ((asked - own.mean(1, keepdims=True)) ** 2).sum(-1),
            "classifier, batch": ((asked - asked.mean(1, keepdims=True)) ** 2).sum(-1),
            "prototypes, 5 images": proto.score_tasks(tasks)[0],
            "prototypes, batch": ((embedded - embedded.mean(1, keepdims=True)) ** 2).sum(-1),
            "ACR, batch": acr.score_tasks(tasks)[0],
            "pixels, shifted, 5 images": ShiftedNeighbor(standardize=False).score_tasks(tasks)[0],
            "pixels, batch": BatchNeighbor(k=3).score_tasks(tasks)[0],
            "pixels, shifted, batch": np.array([third(images) for images in tasks.query_x.numpy()]),
        }
        for method, score in scores.items():
            result = judge(tasks, score, 0.0 if method in LOGITS else np.inf)
            found.setdefault(method, {})[name] = [result.by_unit(figure).mean() for figure in FIGURES]
    return found


def third(images: np.ndarray) -> np.ndarray:
    """Distance (n,) of each image (n, h, w) to its third neighbour in the batch, whose images may move by one pixel."""
    n, h, w = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    moved = [padded[:, i : i + h, j : j + w].reshape(n, -1) for i in range(3) for j in range(3)]
    gaps = np.min([cdist(images.reshape(n, -1), points) for points in moved], axis=0)
    np.fill_diagonal(gaps, 0)
    return np.sort(gaps, axis=1)[:, 3]
