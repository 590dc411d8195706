"""How far longer meta-training goes: one-class detection on letters of scripts that no training saw.

Train on Latin, Greek and Cyrillic letters (15 % of them for validation), test on 500 tasks of Armenian and Georgian
ones: five normal letters in the support set, no anomaly. The chapters train for less than a minute in float64, so that
their digits are the same everywhere; here training is in float32 on one thread and takes minutes.

    make bench-glyphs                                  all variants
    python benchmarks/glyphs.py --only "head only"     one of them, kept beside the others' results
    python benchmarks/glyphs.py --quick --out DIR      a trial that proves the script runs
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from pathlib import Path

# One thread, before any library reads it.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import torch
from metastep import machine
from sklearn.ensemble import IsolationForest
from sklearn.svm import OneClassSVM

from metaad_tutorial import (
    MAML,
    ConvNet,
    Glyphs,
    Mahalanobis,
    NearestNeighbor,
    PrototypicalDetector,
    Reptile,
    evaluate,
)

RESULTS = Path(__file__).parent / "results"
SHARED = {"dtype": "float32", "meta_batch": 16, "meta_lr": 2e-3, "inner_steps": 3, "random_state": 0}
SMALL = ConvNet((32, 32, 32), norm="layer")
WIDE = ConvNet((32, 64, 64), norm="layer")
METRIC = {"dtype": "float32", "meta_batch": 16, "meta_lr": 0.01, "random_state": 0}  # of the prototypes
LONGER = SHARED | {"meta_batch": 25, "inner_steps": 5, "meta_steps": 2000, "learn_lr": "step"}
EMBED = ConvNet((16, 32, 64), norm="layer", outputs=64)
WIDER = ConvNet((32, 64, 64), norm="layer", outputs=128)


class AveragedMAML(MAML):
    """MAML that keeps the running mean of its outer steps, as prototypes do."""

    averaging = PrototypicalDetector.averaging


class LastStep(PrototypicalDetector):
    """Prototypes that keep their last outer step, as MAML does."""

    averaging = 0.0


# What is learnt with the start, and which layers the inner loop changes; about a minute each, and the longer runs.
VARIANTS = {
    "all layers": MAML(network=SMALL, learn_lr="step", meta_steps=500, **SHARED),
    "all layers, first order": MAML(network=SMALL, learn_lr="step", first_order=True, meta_steps=900, **SHARED),
    "all layers, Meta-SGD": MAML(network=SMALL, learn_lr="parameter", meta_steps=500, **SHARED),
    "Reptile": Reptile(network=SMALL, meta_steps=900, **SHARED),
    "head only": MAML(network=SMALL, learn_lr="step", head_only=True, meta_steps=1200, **SHARED),
    "head only, averaged": AveragedMAML(network=SMALL, learn_lr="step", head_only=True, meta_steps=1200, **SHARED),
    "head only, no norm": MAML(network=ConvNet(), learn_lr="step", head_only=True, meta_steps=1200, **SHARED),
    "head only, longer": MAML(network=WIDE, head_only=True, **LONGER),
    "all layers, longer": MAML(network=SMALL, **LONGER),
    "prototypes": PrototypicalDetector(network=EMBED, meta_steps=1200, **METRIC),
    "prototypes, last step": LastStep(network=EMBED, meta_steps=1200, **METRIC),
    "prototypes, longer": PrototypicalDetector(network=WIDER, meta_steps=3000, **METRIC),
}
BASELINES = {
    "nearest neighbour in pixels": NearestNeighbor(standardize=False),
    "Mahalanobis distance": Mahalanobis(standardize=False),
    "isolation forest": IsolationForest(random_state=0),
    "one-class SVM": OneClassSVM(gamma="scale"),
}


def families(shots: int, size: int):
    """Meta-training and validation letters, and the letters of the held-out scripts."""
    glyphs = Glyphs(normal_shots=shots, anomalous_shots=0, size=size)
    train, valid = glyphs.of_scripts("Latin", "Greek", "Cyrillic").split((0.85, 0.15), random_state=0)
    return train, valid, glyphs.of_scripts("Armenian", "Georgian")


def run(name: str, size: int, quick: bool) -> dict:
    """Train one variant with five shots; judge it with five and with one."""
    train, valid, _ = families(5, size)
    detector, seconds = {**VARIANTS, **BASELINES}[name], 0.0
    if name in VARIANTS:
        if quick:
            detector.set_params(meta_steps=2)
        begin = time.process_time()
        detector.meta_fit(train, valid)
        seconds = time.process_time() - begin
    row = {"seconds": round(seconds), "steps": detector.meta_steps if name in VARIANTS else 0}
    for shots in (5, 1):
        family = families(shots, size)[2]
        result = evaluate(detector, family, n_tasks=20 if quick else 500, random_state=1)
        row[f"auroc_{shots}"] = [round(v, 4) for v in result.interval("auroc")]
        row[f"accuracy_{shots}"] = round(result.interval("accuracy").mean, 3)
    return row


def table(results: dict) -> str:
    """The results as Markdown, with a sentence on when and where they were made."""

    def cell(interval):
        return "{:.3f} [{:.3f}, {:.3f}]".format(*interval)

    lines = ["| method | outer steps | training, s | AUROC, 5 shots | AUROC, 1 shot | accuracy, 5 shots |"]
    lines.append("|---|---|---|---|---|---|")
    known = [name for name in (*BASELINES, *VARIANTS) if name in results["rows"]]
    for name in known:
        row = results["rows"][name]
        training = (row["steps"], row["seconds"]) if row["steps"] else ("", "")
        figures = (cell(row["auroc_5"]), cell(row["auroc_1"]), f"{row['accuracy_5']:.3f}")
        lines.append("| " + " | ".join(map(str, (name, *training, *figures))) + " |")
    made = f"Measured on {results['date']}, one thread, {results['machine']['cpu']}, float32."
    return "\n".join(lines) + f"\n\n{made}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*BASELINES, *VARIANTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"one or more of: {', '.join(names)}")
    parser.add_argument("--size", type=int, default=14, help="height and width of the images in pixels (14)")
    parser.add_argument("--quick", action="store_true", help="two outer steps and 20 tasks")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for glyphs.json and glyphs.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "glyphs.json"
    results = json.loads(file.read_text()) if file.exists() else {"rows": {}}
    for name in args.only or names:
        row = results["rows"][name] = run(name, args.size, args.quick)
        print(f"{name:30}{row}", flush=True)
        results |= {"date": datetime.date.today().isoformat(), "machine": machine()}
        file.write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "glyphs.md").write_text(table(results))


if __name__ == "__main__":
    main()
