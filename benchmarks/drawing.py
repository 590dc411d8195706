"""The network of the figure "Draw five, then draw another": trained on printed letters, stored for the page.

Prototypes, learnt from all printed letters of the glyph family, moved and bent twice as much as elsewhere, as in
evidence_handwriting.py: one training in float32 on one thread, a minute or two. It takes more steps than the evidence;
with as many, 1,200, one training had an AUROC of 0.969. The weights go, as float32 in base64, into a script that a page
loads from disk, and beside them what the network was trained on and how well it does on handwritten digits, which it
never saw: one digit against the others, five normal images, 500 tasks.

    python benchmarks/drawing.py                   train, measure, store
    python benchmarks/drawing.py --quick --out F   a trial that proves the script runs
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
from pathlib import Path

# One thread, before any library reads it.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import numpy as np

from metaad_tutorial import ConvNet, Glyphs, NearestNeighbor, PrototypicalDetector, class_tasks, load_images
from metaad_tutorial.metrics import auroc

OUT = Path(__file__).parents[1] / "book" / "_static" / "play" / "data" / "draw.js"
CHANNELS, FEATURES = (16, 32, 64), 64


def store(detector: PrototypicalDetector, about: dict, file: Path) -> None:
    """Weights as float32, one after the other in the order of `shapes`; what is no weight of the network as numbers."""
    meta = detector.meta_
    weights = {name: value.numpy().astype("<f4") for name, value in meta["start"].items()}
    packed = base64.b64encode(b"".join(value.tobytes() for value in weights.values())).decode()
    own = {
        name: np.float64(meta[name].numpy().astype("f4")).tolist()
        for name in ("log_variance", "share", "log_scale", "bias")
    }
    scaling = {name: float(np.float32(meta["scaling"][name].flatten()[0])) for name in ("location", "scale")}
    content = {"about": about, "shapes": {name: list(value.shape) for name, value in weights.items()}}
    content |= own | scaling | {"packed": packed}
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "// The network of the figure draw, written by benchmarks/drawing.py.\nPLAY.weights = "
    file.write_text(lines + json.dumps(content, separators=(",", ":")) + ";\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    steps = 20 if options.quick else 4000
    train, valid = Glyphs(5, 0, 15, 15, jitter=2).split((0.85, 0.15), random_state=0)
    network = ConvNet(CHANNELS, "layer", outputs=FEATURES)
    detector = PrototypicalDetector(
        network=network, dtype="float32", meta_lr=0.01, meta_batch=16, meta_steps=steps, random_state=0
    )
    begin = time.process_time()
    detector.meta_fit(train, valid)
    seconds = time.process_time() - begin
    images = load_images("mnist", 14)
    found = {"auroc": [], "false_alarms": [], "hits": [], "pixels": []}
    family = class_tasks(images.X, images.label, normal_shots=5, normal_queries=15, anomalous_queries=15)
    tasks = family.sample(40 if options.quick else 500, random_state=1)
    score, labels = detector.score_tasks(tasks)[0], tasks.query_y.numpy()
    pixels = NearestNeighbor(standardize=False).score_tasks(tasks)[0]
    for digit in np.unique(tasks.units):
        own = tasks.units == digit
        found["auroc"].append(auroc(labels[own], score[own]).mean())
        found["pixels"].append(auroc(labels[own], pixels[own]).mean())
        found["false_alarms"].append((score[own] > 0)[labels[own] == 0].mean())
        found["hits"].append((score[own] > 0)[labels[own] == 1].mean())
    about = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
    about |= {
        "trained_on": f"{len(train)} printed letters in many typefaces, jitter 2; {len(valid)} to validate",
        "network": f"ConvNet({CHANNELS}, 'layer', outputs={FEATURES})",
        "steps": steps,
        "tested_on": "one digit of MNIST against the others, five images of it, 500 tasks, mean over digits",
    }
    store(detector, about, options.out)
    print(json.dumps(about, indent=1), f"\n{seconds:.0f} CPU-seconds, {options.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
