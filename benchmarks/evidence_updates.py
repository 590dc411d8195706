"""Which update is learnt best, and from how many classes: MAML and its relatives; part 7 of evidence.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from evidence_handwriting import ShiftedNeighbor
from joblib import Parallel, delayed
from sklearn.base import clone

from metaad_tutorial import (
    AADML,
    MAML,
    Comparison,
    Contender,
    EmpiricalBayes,
    Fleet,
    Glyphs,
    NearestNeighbor,
    PooledFeatures,
    PrototypicalDetector,
    Reptile,
    class_tasks,
    compare,
    evaluate,
    load_images,
)
from metaad_tutorial.comparison import Outcome
from metaad_tutorial.protocol import FIGURES

SEEDS = (0, 1, 2, 3, 4)


class NormalFeatures(PooledFeatures):
    """`PooledFeatures` that leaves a support set's anomalies out: the distance to the normal mean alone."""

    def adapt(self, meta, x, y):
        n = int((y[0] == 0).sum())
        order = y.argsort(dim=1, stable=True)[:, :n]
        return super().adapt(meta, x.take_along_dim(order[..., None], 1), y.take_along_dim(order, 1))


def updates(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """MAML and what it could leave out, each with three step sizes, trained until nothing more is gained."""
    few, many = (5, 10) if quick else (1000, 2000)
    yield "fleet, plane", on_fleet(few, quick, jobs)
    for anomalous in (5, 0):
        yield f"letters, 5 + {anomalous}", on_letters(anomalous, many, quick, jobs)


def relatives(rates: tuple[float, ...], **own) -> dict[str, Contender]:
    """The methods of chapter 5 with three step sizes each."""
    sizes = [{"inner_lr": rate} for rate in rates]
    return {
        "MAML": Contender(MAML(**own), sizes),
        "FOMAML": Contender(MAML(first_order=True, **own), sizes),
        "ANIL": Contender(MAML(head_only=True, **own), sizes),
        "Reptile": Contender(Reptile(**own | {"inner_steps": 10}), sizes),
        "Meta-SGD": Contender(MAML(learn_lr="parameter", **own), sizes),
    }


def centred(contender: Contender) -> Contender:
    """The same with the place of every task taken from its support set."""
    return dataclasses.replace(contender, settings=[s | {"standardize": "task"} for s in contender.settings])


def on_fleet(steps: int, quick: bool, jobs: int) -> Comparison:
    """Faults in a plane, 5 + 2 points: who comes closest to the limit."""
    family = Fleet(directions=2)
    own = {"hidden": (32,), "meta_steps": steps, "dtype": "float32"}
    rates = [{"inner_lr": rate} for rate in (0.1, 0.3, 1.0)]
    known = relatives((0.1, 0.3, 1.0), **own) | {"AADML": Contender(AADML(**own), rates)}
    everybody = {
        "nearest neighbour": Contender(NearestNeighbor(), [{"k": k} for k in (1, 3, 5)], calibrate=True),
        "empirical Bayes": Contender(EmpiricalBayes(), [{}, {"certain": True}, {"shared": False}]),
        "pooled features": Contender(PooledFeatures(normalize=False), [
            {"standardize": "task"}, {"standardize": "task", "head_steps": 20, "head_lr": 1.0}, {"hidden": (64,)},
        ]),
        "prototypes": Contender(PrototypicalDetector(16), [{}, {"hidden": (32,)}, {"hidden": (64, 64)}]),
        **known,
        **{f"{name}, centred": centred(contender) for name, contender in known.items()},
        "FOMAML, 10 steps": Contender(MAML(first_order=True, inner_steps=10, **own), rates),
        "Reptile, 3 steps": Contender(Reptile(**own), rates),
        "limit": Contender(family.bayes_scores),
    }  # fmt: skip
    seeds = SEEDS[: 1 if quick else None]
    tasks = 40 if quick else 500
    return compare(everybody, *family.split(random_state=0), seeds=seeds, n_tasks=tasks, n_jobs=jobs)


def letters(anomalous: int):
    """Training and validation letters, and those of other scripts."""
    family = Glyphs(5, anomalous, 15, 15)
    known = family.of_scripts("Latin", "Greek", "Cyrillic")
    return *known.split((0.85, 0.15), random_state=0), family.of_scripts("Armenian", "Georgian")


def on_letters(anomalous: int, steps: int, quick: bool, jobs: int) -> Comparison:
    """Unknown scripts, the same dense network for everybody."""
    plain = {"standardize": False, "dtype": "float32", "meta_steps": steps}
    own = {"hidden": (64, 64), "meta_batch": 15, "meta_lr": 0.003} | plain
    dense = {"hidden": (64,), "embedding": 64, "target": "units"} | plain
    trained = [{"meta_lr": rate} for rate in (0.001, 0.003, 0.01)]
    everybody = {
        "pixels, nearest neighbour": Contender(NearestNeighbor(standardize=False)),
        "pixels, shifted": Contender(ShiftedNeighbor(standardize=False)),
        "empirical Bayes": Contender(EmpiricalBayes(), [{}, {"shared": False}, {"unknown": 1.0}]),
        "pooled features": Contender(PooledFeatures(**dense), trained),
    }
    known = relatives((0.1, 0.3, 1.0), **own)
    for name in ("MAML", "FOMAML", "ANIL") if anomalous else ("MAML",):  # the others take as long, and say no more
        everybody[name] = known[name]
    if anomalous:
        everybody["pooled features, normal points alone"] = Contender(NormalFeatures(**dense), trained)
    return compare(
        everybody, *letters(anomalous), seeds=SEEDS[: 1 if quick else None], n_tasks=40 if quick else 400, n_jobs=jobs
    )


def rare(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """10 normal and 2 anomalous support points, faults in a plane: losses of the inner loop, four step sizes each."""
    family = Fleet(normal_shots=10, anomalous_shots=2, directions=2)
    own = {"hidden": (32,), "meta_steps": 5 if quick else 600, "dtype": "float32"}
    kinds = {"plain": {}, "focal": {"loss": "focal"}, "balanced": {"balanced": True}}
    kinds["focal, balanced"] = kinds["focal"] | kinds["balanced"]
    rates = [{"inner_lr": rate} for rate in (0.1, 0.25, 0.5, 1.0)]
    everybody = {f"MAML, {name}": Contender(MAML(**own, **kind), rates) for name, kind in kinds.items()}
    everybody |= {f"{name}, centred": centred(everybody[name]) for name in ("MAML, plain", "MAML, balanced")}
    everybody["empirical Bayes"] = Contender(EmpiricalBayes())
    everybody["limit"] = Contender(family.bayes_scores)
    seeds, n_tasks = SEEDS[: 1 if quick else None], 40 if quick else 500
    split = family.split(random_state=0)
    yield "rare anomalies", compare(everybody, *split, seeds=seeds, n_tasks=n_tasks, n_jobs=jobs)


# --- Few classes --------------------------------------------------------------------------------------


def classes(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """From how many letters, and whether seven digits are enough."""
    yield "letters in training", by_letters(quick, jobs)
    yield "digits", on_digits(quick, jobs)


def by_letters(quick: bool, jobs: int) -> Comparison:
    """MAML and features from 7 to all letters, three choices of them, judged on other scripts; 5 normal images."""
    train, valid, test = letters(0)
    sizes = (7, 20, 60, len(train.units))
    orders = [np.random.default_rng(s).permutation(train.units) for s in range(1 if quick else 3)]
    steps = 5 if quick else 1000
    own = {"meta_lr": 0.003, "meta_steps": steps, "standardize": False, "dtype": "float32"}
    lines = {
        "MAML": MAML(hidden=(64, 64), inner_lr=0.3, meta_batch=15, **own),
        "pooled features": PooledFeatures(hidden=(64,), embedding=64, target="units", **own),
    }
    runs = [(f"{name}, {n} letters", method, order[:n], seed)
            for name, method in lines.items() for n in sizes for seed, order in enumerate(orders)]  # fmt: skip
    found = Parallel(n_jobs=jobs)(
        delayed(trained_on)(method, train.restrict(chosen), valid, test, seed, 40 if quick else 400)
        for _, method, chosen, seed in runs
    )
    near = evaluate(NearestNeighbor(standardize=False), test, 40 if quick else 400, 1)
    named = {"pixels, nearest neighbour": [near] * len(orders)}
    for (name, *_), result in zip(runs, found, strict=True):
        named.setdefault(name, []).append(result)
    return stack(named, list(dict.fromkeys(near.units.tolist())))


def trained_on(method, train, valid, test, seed, n_tasks):
    return evaluate(clone(method).set_params(random_state=seed).meta_fit(train, valid), test, n_tasks, 1)


def stack(named, units) -> Comparison:
    """Evaluations of several runs as outcomes by name."""
    outcomes = {}
    for name, results in named.items():
        values = {figure: np.stack([r.by_unit(figure) for r in results]) for figure in FIGURES}
        outcomes[name] = Outcome(
            by_unit={f: v.mean(0) for f, v in values.items()}, by_seed={f: v.mean(1) for f, v in values.items()},
            setting={}, tried=1, training=0.0, adapting=0.0,
            sees="support" if "neighbour" in name else "other tasks, support",
        )  # fmt: skip
    return Comparison(outcomes, units, tuple(range(max(map(len, named.values())))), 0.5)


def on_digits(quick: bool, jobs: int) -> Comparison:
    """10 + 10 labelled images; seven digits to learn from, three to be judged on, ten choices of them.

    The same network and steps from the random start and from starts after more and more outer steps. Every digit is
    held out three times; its figure is the mean of these.
    """
    scans = load_images("digits", 8)
    family = class_tasks(scans.X, scans.label, normal_shots=10, anomalous_shots=10)
    choices = range(2 if quick else 10)
    lengths = (0, 2) if quick else (0, 10, 60, 200, 600)
    found = Parallel(n_jobs=jobs)(delayed(one_choice)(family, s, lengths) for s in choices)
    names, digits = list(found[0]), sorted(family.units)
    outcomes = {}
    for name in names:
        of_digit = {figure: {d: [] for d in digits} for figure in FIGURES}
        for choice in found:
            result = choice[name]
            for figure in FIGURES:
                drawn = dict.fromkeys(result.units.tolist())
                for digit, value in zip(drawn, result.by_unit(figure), strict=True):
                    of_digit[figure][digit].append(value)
        held = [d for d in digits if of_digit["auroc"][d]]
        outcomes[name] = Outcome(
            by_unit={f: np.array([np.mean(v[d]) for d in held]) for f, v in of_digit.items()},
            by_seed={f: np.array([choice[name].by_unit(f).mean() for choice in found]) for f in FIGURES},
            setting={}, tried=1, training=0.0, adapting=0.0,
            sees="support, labels" if name.endswith(" 0 outer steps") or "neighbour" in name
            else "other tasks, support, labels",
        )  # fmt: skip
    return Comparison(outcomes, [int(d) for d in held], tuple(choices), 0.5)


def one_choice(family, s: int, lengths: tuple[int, ...]) -> dict:
    """Everybody on the three digits that choice s holds out."""
    cycle = np.random.default_rng(0).permutation(10)
    held = cycle[[(s + step) % 10 for step in (0, 1, 3)]]
    seen, new = family.restrict(np.setdiff1d(cycle, held)), family.restrict(held)
    own = {"hidden": (64, 64), "standardize": False, "inner_lr": 0.5, "meta_lr": 0.003, "random_state": s}
    results = {"pixels, nearest neighbour": evaluate(NearestNeighbor(standardize=False), new, 100, 1)}
    for length in lengths:
        maml = MAML(inner_steps=5, meta_steps=max(length, 1), **own)
        if length:
            maml.meta_fit(seen)
        for k in (5, 50):
            taken = maml.set_params(inner_steps=k)
            results[f"MAML, {k} inner steps, {length} outer steps"] = evaluate(taken, new, 100, 1)
    return results
