"""One-class detection on Omniglot, the field's standard, by the protocol of OC-MAML (Frikha et al., 2021).

Of the 30 background alphabets 25 train and 5 choose settings and thresholds; the 20 evaluation alphabets judge. A task
has K drawings of one character as its support set, and asks about 10 more of them and 10 of other characters. The data
are not part of this project: give the folder with `images_background.zip` and `images_evaluation.zip` of
https://github.com/brendenlake/omniglot, or one `.npz` file with images (1623, 20, 28, 28) uint8, alphabet (1623,) and
split (1623,), 1 for evaluation.

    make bench-omniglot DATA=path                                  all of it (hours)
    python benchmarks/omniglot.py --data path "2 drawings"         parts of it, kept beside the others' results
    python benchmarks/omniglot.py --data path --quick --out DIR    a trial that proves the script runs
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from evidence import ONLY, RESULTS, report, run, save, stored  # sets one thread, before any library reads it

from metaad_tutorial import (
    MAML,
    Contender,
    ConvNet,
    Episodes,
    NearestNeighbor,
    PooledFeatures,
    PrototypicalDetector,
    class_tasks,
)

NETWORKS = {width: ConvNet(width, "layer") for width in ((16, 32, 64), (32, 64, 64), (64, 64, 64))}
EMBEDDINGS = {width: dataclasses.replace(net, outputs=64) for width, net in NETWORKS.items()}


def drawings(path: Path) -> dict[str, np.ndarray]:
    """images (1623, 20, 28, 28) uint8, ink = 255; alphabet (1623,); split (1623,), 0 background and 1 evaluation."""
    if path.is_file():
        with np.load(path) as packed:
            return {name: packed[name] for name in ("images", "alphabet", "split")}
    from PIL import Image  # comes with matplotlib

    images, alphabets, split = [], [], []
    for part, name in enumerate(("images_background", "images_evaluation")):
        with zipfile.ZipFile(path / f"{name}.zip") as archive:
            files = sorted(file for file in archive.namelist() if file.endswith(".png"))
            for character in sorted({file.rsplit("/", 1)[0] for file in files}):
                own = [file for file in files if file.startswith(character + "/")]
                drawn = [Image.open(io.BytesIO(archive.read(file))).convert("L") for file in own]
                images.append([255 - np.asarray(one.resize((28, 28), Image.Resampling.BOX)) for one in drawn])
                alphabets.append(character.split("/")[1])
                split.append(part)
    return {
        "images": np.array(images, np.uint8), "alphabet": np.unique(alphabets, return_inverse=True)[1],
        "split": np.array(split),
    }  # fmt: skip


def families(data: dict[str, np.ndarray], shots: int, rotations: bool) -> tuple:
    """Tasks of the training, validation and evaluation characters; `rotations` makes new characters for training."""
    alphabets = np.random.default_rng(0).permutation(np.unique(data["alphabet"][data["split"] == 0]))
    parts = [np.isin(data["alphabet"], own) for own in (alphabets[5:], alphabets[:5])] + [data["split"] == 1]
    made = []
    for i, part in enumerate(parts):
        images, names = data["images"][part] / 255, np.flatnonzero(part)
        if rotations and i == 0:
            images = np.concatenate([np.rot90(images, turn, (2, 3)) for turn in range(4)])
            names = np.concatenate([names + 10_000 * turn for turn in range(4)])
        X, y = images.reshape(-1, 28, 28), np.repeat(names, images.shape[1])
        made.append(
            class_tasks(
                X, y, "Omniglot", normal_shots=shots, anomalous_shots=0, normal_queries=10, anomalous_queries=10
            )
        )
    return tuple(made)


class FourTurns:
    """A detector that asks four times, with support and query drawings turned by 0, 90, 180 and 270 degrees alike.

    The mean score decides, and the mean threshold. Nothing more is learnt: the network knows turned characters from
    its training.
    """

    def score_tasks(self, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
        turned = [
            dataclasses.replace(
                episodes,
                **{part: torch.rot90(getattr(episodes, part), k, (-2, -1)) for part in ("support_x", "query_x")},
            )
            for k in range(4)
        ]
        return tuple(np.mean(found, axis=0) for found in zip(*map(super().score_tasks, turned), strict=True))


class TurnedFeatures(FourTurns, PooledFeatures):
    """`PooledFeatures` that asks four times."""


class TurnedPrototypes(FourTurns, PrototypicalDetector):
    """`PrototypicalDetector` that asks four times."""


def short() -> dict[str, Contender]:
    """What is trained within four minutes; two settings each. One run, for each takes that long."""
    maml = MAML(dtype="float32", meta_lr=0.003, meta_batch=16, inner_steps=3)
    heads = {"head_only": True, "learn_lr": "parameter", "meta_steps": 1500}
    return {
        "pixels, nearest neighbour": Contender(NearestNeighbor(standardize=False), [{}, {"k": 2}], calibrate=True),
        "pooled features": Contender(PooledFeatures(dtype="float32", meta_steps=3000), [
            {"network": EMBEDDINGS[16, 32, 64]}, {"network": EMBEDDINGS[32, 64, 64]},
        ], calibrate=True),
        "MAML": Contender(maml, [
            {"network": NETWORKS[16, 32, 64], "learn_lr": "step", "meta_steps": 500},
            {"network": NETWORKS[32, 64, 64]} | heads,
        ], calibrate=True),
        "prototypes": Contender(PrototypicalDetector(dtype="float32", meta_batch=16), [
            {"network": EMBEDDINGS[32, 64, 64], "meta_steps": 1800, "meta_lr": 0.003},
            {"network": EMBEDDINGS[32, 64, 64], "meta_steps": 1800, "meta_lr": 0.01},
        ], calibrate=True),
    }  # fmt: skip


def long() -> dict[str, Contender]:
    """A quarter of an hour each, with rotations as new characters; nothing is chosen."""
    features = {"dtype": "float32", "network": EMBEDDINGS[64, 64, 64], "meta_steps": 12_000}
    episodes = {"dtype": "float32", "network": EMBEDDINGS[64, 64, 64], "meta_batch": 16, "meta_steps": 5000}
    return {
        "pooled features": Contender(PooledFeatures(**features), calibrate=True),
        "pooled features, four turns": Contender(TurnedFeatures(**features), calibrate=True),
        "prototypes": Contender(PrototypicalDetector(**episodes, meta_lr=0.005), calibrate=True),
        "prototypes, four turns": Contender(TurnedPrototypes(**episodes, meta_lr=0.005), calibrate=True),
    }


LONG = ", longer training, rotated characters"
PARTS = {f"{shots} drawings{kind}": (shots, bool(kind)) for kind in ("", LONG) for shots in (5, 2, 10)}
del PARTS["5 drawings" + LONG]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"what to measure, of {'; '.join(PARTS)}; none is all")
    parser.add_argument("--data", type=Path, required=True, help="folder of the two zip files, or one .npz file")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="METHOD", help="measure these, keep the others' figures"
    )
    parser.add_argument("--quick", action="store_true", help="one small run, for trying the script")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if args.quick and args.out == RESULTS:
        parser.error("a trial must not replace results: give it --out DIR")
    ONLY.update(args.only)
    data, found = drawings(args.data), {} if args.quick else stored(args.out).get("omniglot", {})
    for name in args.parts or ["5 drawings"] if args.quick else args.parts or PARTS:
        shots, rotations = PARTS[name]
        everybody = long() if rotations else short()
        if args.quick:
            small = PrototypicalDetector(network=EMBEDDINGS[16, 32, 64], meta_steps=20)
            everybody = {"pixels": Contender(NearestNeighbor(standardize=False)), "prototypes": Contender(small)}
        new = run(everybody, *families(data, shots, rotations), args.quick, 1, n_tasks=1300, seeds=(0,))
        if ONLY and name in found:  # the same units, tasks and seeds
            new = dataclasses.replace(new, outcomes=found[name].outcomes | new.outcomes)
        found[name] = new
        print(f"{name}\n{found[name]}\n", flush=True)
        save("omniglot", found, args.out)
    if not args.quick:
        report(args.out)


if __name__ == "__main__":
    main()
