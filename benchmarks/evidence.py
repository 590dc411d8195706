"""The comparisons that the book's claims stand on: every method beside the simple ones that see the same.

    make bench-evidence                         all of it (hours)
    make bench-evidence ARGS="fleet letters"    parts, kept beside the others' results
    python benchmarks/evidence.py warped --only AADML         one method, kept beside the others' results
    python benchmarks/evidence.py fleet --quick --out DIR     a trial that proves the script runs

Every comparison is one call of `metaad_tutorial.compare`: the same number of settings for every method, chosen on
validation units, five training runs unless a part says why fewer, intervals over held-out units.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

# One thread, before any library reads it.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

from evidence_batches import batches
from evidence_distance import distance
from evidence_handwriting import ShiftedNeighbor, contrast, handwriting
from evidence_report import report, stored
from evidence_speakers import speakers
from evidence_tables import tables
from evidence_updates import classes, rare, updates
from metastep import machine

from metaad_tutorial import (
    AADML,
    MAML,
    Comparison,
    Contender,
    ConvNet,
    EmpiricalBayes,
    Fleet,
    GaussianizedBayes,
    Glyphs,
    MetaAAE,
    NearestNeighbor,
    PooledFeatures,
    PooledLogistic,
    PrototypicalDetector,
    class_tasks,
    compare,
    load_images,
    meta_aae,
)

RESULTS = Path(__file__).parent / "results" / "evidence"
SEEDS = (0, 1, 2, 3, 4)
Found = Iterator[tuple[str, Comparison]]
ONLY: set[str] = set()  # what --only says; none is all


# --- 1. The fleet -------------------------------------------------------------------------------------


def opponents(labels: bool) -> dict[str, Contender]:
    """What uses other tasks without episodes, and the nearest neighbour; three settings each."""
    fine = {"head_steps": 20, "head_lr": 1.0} if labels else {"hidden": (64,)}
    features = [{"standardize": "task"}, {"standardize": "task"} | fine, {"hidden": (64,)}]
    return {
        "nearest neighbour": Contender(NearestNeighbor(), [{"k": k} for k in (1, 3, 5)], calibrate=True),
        "centred logistic": Contender(PooledLogistic(), [{"C": c} for c in (0.01, 1.0, 100.0)]),
        "empirical Bayes": Contender(EmpiricalBayes(), [{}, {"certain": True}, {"shared": False}]),
        "pooled features": Contender(PooledFeatures(normalize=False), features),
    }


def learners(deep: bool) -> dict[str, Contender]:
    """What learns through episodes; three settings each, of the size that the fleet asks for."""
    if not deep:
        return {
            "AADML": Contender(AADML(), [
                {"loss": "squared", "inner_steps": 5}, {"inner_steps": 5}, {"hidden": (32,), "inner_steps": 5},
            ]),
            "MAML": Contender(MAML(), [
                {"inner_lr": 0.5, "inner_steps": 5}, {"hidden": (32,), "inner_lr": 0.5},
                {"learn_lr": "parameter", "inner_lr": 0.5},
            ]),
            "prototypes": Contender(PrototypicalDetector(16), [{}, {"hidden": (32,)}, {"hidden": (64, 64)}]),
        }  # fmt: skip
    long = {"dtype": "float32", "meta_steps": 1500}
    wide = {"hidden": (64, 64), "meta_lr": 0.005}
    return {
        "AADML": Contender(AADML(**long), [
            {"hidden": (64,)}, {"hidden": (64,), "inner_steps": 5, "meta_lr": 0.01},
            wide | {"inner_steps": 5, "head_only": True},
        ]),
        "MAML": Contender(MAML(**long, learn_lr="parameter"), [
            wide, wide | {"inner_steps": 5, "head_only": True}, wide | {"standardize": "task"},
        ]),
        "prototypes": Contender(PrototypicalDetector(**long | {"meta_steps": 3000}), [
            {"hidden": (64, 64)}, {"hidden": (64, 64, 64)}, {"hidden": (64, 64, 64), "meta_lr": 0.01},
        ]),
    }  # fmt: skip


def fleet(quick: bool, jobs: int) -> Found:
    """Faults in one direction and in a plane; with labelled anomalies and without.

    Settings are chosen with the most machines; the few have no better way to choose them.
    """
    for labels in (True, False):
        for directions in (1, 2):
            yield from of_fleet(labels, directions, 0.0, (300, 100, 50, 25, 10) if labels else (300,), quick, jobs)


def warped(quick: bool, jobs: int) -> Found:
    """The same with sensors that bend; one number of machines, for the trainings are long."""
    for labels in (True, False):
        for directions in (1, 2):
            yield from of_fleet(labels, directions, 1.2, (1500,), quick, jobs)


def bent(quick: bool, jobs: int) -> Found:
    """Sensors bent twice along different axes, so that no independent components are left."""
    yield from of_fleet(True, 2, 1.2, (1500,), quick, jobs, bends=2)


def longer(quick: bool, jobs: int) -> Found:
    """The warped plane with minutes for each training; nothing is chosen, and two runs, for each takes that long."""
    family = Fleet(normal_shots=5, anomalous_shots=2, directions=2, warp=1.2)
    wide = {"hidden": (64, 64), "meta_lr": 0.005, "meta_steps": 6000, "dtype": "float32"}
    head = {"inner_steps": 5, "head_only": True}
    deep = {"hidden": (64, 64, 64), "meta_lr": 0.01, "meta_steps": 10_000, "dtype": "float32"}
    everybody = {
        "empirical Bayes": Contender(EmpiricalBayes(certain=True)),
        "pooled features": Contender(PooledFeatures(normalize=False, **wide | {"meta_steps": 10_000})),
        "AADML": Contender(AADML(**wide, **head)),
        "MAML": Contender(MAML(**wide, **head, learn_lr="parameter")),
        "prototypes": Contender(PrototypicalDetector(**deep)),
        "limit": Contender(family.bayes_scores),
    }
    yield "few-shot, warped plane, longer", run(everybody, *family.split(random_state=0), quick, jobs, seeds=(0, 1))


def of_fleet(
    labels: bool, directions: int, warp: float, sizes: tuple[int, ...], quick: bool, jobs: int, bends: int = 1,
) -> Found:  # fmt: skip
    """All contenders on one fleet, with fewer and fewer machines to learn from."""
    shots = {"normal_shots": 5, "anomalous_shots": 2} if labels else {"normal_shots": 10, "anomalous_shots": 0}
    family = Fleet(**shots, directions=directions, warp=warp, bends=bends)
    train, valid, test = family.split(random_state=0)
    everybody = opponents(labels) | learners(warp > 0) | {"limit": Contender(family.bayes_scores)}
    if warp:
        unbent = [{}, {"certain": True}, {"rounds": 2}]
        everybody["Gaussianized Bayes"] = Contender(GaussianizedBayes(), unbent)
    if not labels:
        del everybody["AADML"]  # it needs both classes
    kind = f"{'bent twice, ' if bends > 1 else 'warped ' if warp else ''}{'plane' if directions == 2 else 'line'}"
    for n in sizes if not ONLY or ONLY & set(everybody) else ():
        part = train.restrict(train.units[:n])
        found = run(everybody, part, valid, test, quick, jobs)
        yield f"{'few-shot' if labels else 'one-class'}, {kind}, {n} machines", found
        everybody = settled(everybody, found)


def run(everybody, train, valid, test, quick, jobs, n_tasks=500, seeds=SEEDS):
    """One comparison."""
    lines = {name: contender for name, contender in everybody.items() if not ONLY or name in ONLY}
    return compare(
        lines, train, valid, test, seeds=seeds[: 1 if quick else None], n_tasks=40 if quick else n_tasks, n_jobs=jobs
    )


def settled(everybody: dict[str, Contender], found: Comparison) -> dict[str, Contender]:
    """The same contenders with the settings that were chosen."""
    chosen = {name: [o.setting] for name, o in found.outcomes.items() if everybody[name].settings}
    return {name: dataclasses.replace(c, settings=chosen.get(name, ())) for name, c in everybody.items()}


# --- 2. Letters and digits ----------------------------------------------------------------------------


def letters(quick: bool, jobs: int) -> Found:
    """One class of letters; learnt from Latin, Greek and Cyrillic, judged on other scripts and on handwriting."""
    seen = Glyphs(5, 0, 15, 15).of_scripts("Latin", "Greek", "Cyrillic")
    train, valid = seen.split((0.85, 0.15), random_state=0)
    tests = {}
    for shots in (5, 1):
        tests[f"Armenian and Georgian, {shots} shots"] = Glyphs(shots, 0, 15, 15).of_scripts("Armenian", "Georgian")
        for name in ("mnist", "digits"):
            images = load_images(name, 14)
            tests[f"{name}, {shots} shots"] = class_tasks(
                images.X, images.label, normal_shots=shots, normal_queries=15, anomalous_queries=15
            )
    convolutions = {"small": ConvNet((8, 16, 32), "layer"), "wide": ConvNet((16, 32, 64), "layer")}
    embeddings = {name: dataclasses.replace(net, outputs=64) for name, net in convolutions.items()}
    everybody = {
        "pixels, nearest neighbour": Contender(NearestNeighbor(standardize=False)),
        "pixels, shifted": Contender(ShiftedNeighbor(standardize=False)),
        "empirical Bayes": Contender(EmpiricalBayes(), [{}, {"shared": False}, {"unknown": 1.0}]),
        "pooled features": Contender(PooledFeatures(dtype="float32"), [
            {}, {"network": embeddings["wide"]}, {"network": embeddings["wide"], "meta_steps": 3000},
        ]),
        "MAML": Contender(MAML(dtype="float32", meta_lr=0.003, meta_batch=16), [
            {"network": convolutions["small"], "meta_steps": 500},
            {"network": convolutions["small"], "meta_steps": 500, "head_only": True, "learn_lr": "parameter"},
            {"network": convolutions["wide"], "meta_steps": 500, "head_only": True, "learn_lr": "parameter"},
        ]),
        "prototypes": Contender(PrototypicalDetector(dtype="float32", meta_lr=0.01, meta_batch=8), [
            {"meta_steps": 450}, {"network": embeddings["wide"], "meta_steps": 450}, {"meta_steps": 1000},
        ]),
    }  # fmt: skip
    yield from run(everybody, train, valid, tests, quick, jobs, n_tasks=400).items()


# --- 6. Invented anomalies ----------------------------------------------------------------------------


class FixedAnomalies(MetaAAE):
    """A MetaAAE without generator: in its inner loop a virtual anomaly is a normal code at 1.5 times its length."""

    def virtual(self, params, z):
        return 1.5 * z


class WithoutPrior(MetaAAE):
    """A MetaAAE whose codes may have any shape."""

    def outer_loss(self, meta, tasks):
        with mock.patch.object(meta_aae, "prior", lambda z: z.new_zeros(())):
            return super().outer_loss(meta, tasks)

    valid_loss = outer_loss


class WithoutReconstruction(MetaAAE):
    """A MetaAAE whose codes are round and need not say what the point was."""

    def outer_loss(self, meta, tasks):
        with mock.patch.object(meta_aae, "reconstruction", lambda x, rebuilt: x.new_zeros(x.shape[:-1])):
            return super().outer_loss(meta, tasks)

    valid_loss = outer_loss


def hedge(quick: bool, jobs: int) -> Found:
    """The meta-learned AAE and what is left of it without its parts, beside the plug-in hedge.

    For known faults and for new ones at right angles; ten training runs.
    """
    train, valid, test = Fleet(10, 0).split(random_state=0)
    lines = {}
    for share in (0.25, 0.5, 0.75, 0.9):
        lines |= {
            f"empirical Bayes, {share}": Contender(EmpiricalBayes(unknown=share)),
            f"MetaAAE, {share}": Contender(MetaAAE(unseen=share)),
            f"MetaAAE without inner loop, {share}": Contender(MetaAAE(unseen=share, inner_steps=0)),
        }
    lines["MetaAAE without generator, 0.75"] = Contender(FixedAnomalies(unseen=0.75))
    lines["MetaAAE without prior, 0.75"] = Contender(WithoutPrior(unseen=0.75))
    lines["MetaAAE without reconstruction, 0.75"] = Contender(WithoutReconstruction(unseen=0.75))
    lines["MetaAAE without reconstruction and prior, 0.75"] = Contender(MetaAAE(unseen=0.75, weight=0.0))
    tests = {"known": test, "new": test.turned(90)}
    yield from run(lines, train, valid, tests, quick, jobs, seeds=tuple(range(10))).items()


PARTS = {
    "fleet": fleet, "warped": warped, "bent": bent, "longer": longer, "letters": letters, "handwriting": handwriting,
    "contrast": contrast, "speakers": speakers, "tables": tables, "hedge": hedge, "updates": updates,
    "rare": rare, "classes": classes, "distance": distance, "batches": batches,
}  # fmt: skip


def save(name: str, found: dict[str, Comparison], out: Path) -> None:
    """One JSON file and one page of tables."""
    out.mkdir(parents=True, exist_ok=True)
    header = {"date": datetime.date.today().isoformat(), "machine": machine()}
    content = header | {"comparisons": {key: value.to_dict() for key, value in found.items()}}
    (out / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    where = ", ".join(f"{name} {value}" for name, value in header["machine"].items())
    lines = [f"Measured on {header['date']}, one thread; {where}.", ""]
    for key, value in found.items():
        head, *body = value.table.cells
        lines += [f"**{key}**", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(row) + " |" for row in body] + ["", value.caption, ""]
    (out / f"{name}.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"parts to measure, of {', '.join(PARTS)}; none is all")
    parser.add_argument("--quick", action="store_true", help="one small run of each part, for trying the script")
    parser.add_argument("--only", action="append", default=[], help="measure this method alone, and keep the others")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if args.quick and args.out == RESULTS:
        parser.error("a trial must not replace results: give it --out DIR")
    ONLY.update(args.only)
    for part in args.parts or PARTS:
        found = stored(args.out).get(part, {}) if ONLY else {}
        for name, comparison in PARTS[part](args.quick, args.jobs):
            print(f"{part}: {name}\n{comparison}\n", flush=True)
            if name in found:  # the same units, tasks and seeds
                comparison = dataclasses.replace(comparison, outcomes=found[name].outcomes | comparison.outcomes)
            found[name] = comparison
            save(part, found, args.out)  # after each, for they take long
            if args.quick:
                break
    if not args.quick:
        report(args.out)


if __name__ == "__main__":
    main()
