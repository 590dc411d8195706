"""Speakers of vowels: known and new kinds of anomalies, and how many speakers it takes; part 4 of evidence.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metaad_tutorial import (
    MAML,
    Comparison,
    Contender,
    EmpiricalBayes,
    Mahalanobis,
    NearestNeighbor,
    PooledFeatures,
    PooledLogistic,
    PrototypicalDetector,
    compare,
    speaker_tasks,
)
from metaad_tutorial.comparison import Outcome

FIGURES = ("auroc", "accuracy")
SPEAKERS = np.arange(15)
SIZES = (13, 8, 4, 2, 1)  # numbers of training speakers


def labellings(n: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Normal vowels, known and new anomalous ones: five, three and three of eleven, dealt at random."""
    rng = np.random.default_rng(0)
    return [tuple(np.split(rng.permutation(11), [5, 8])) for _ in range(n)]


def everybody() -> dict[str, Contender]:
    short = {"meta_steps": 100, "meta_batch": 12}
    return {
        "nearest neighbour": Contender(NearestNeighbor(), [{}, {"k": 3}, {"k": 5}], calibrate=True),
        "Mahalanobis": Contender(Mahalanobis(), calibrate=True),
        "pooled logistic": Contender(PooledLogistic(standardize=True), [{"C": c} for c in (0.01, 0.1, 1.0)]),
        "centred logistic": Contender(PooledLogistic(), [{"C": c} for c in (0.01, 0.1, 1.0)]),
        "empirical Bayes": Contender(EmpiricalBayes(), [{}, {"unknown": 0.5}, {"unknown": 1.0}]),
        "pooled features": Contender(PooledFeatures(normalize=False, target="labels", meta_steps=400), [
            {}, {"hidden": (64,)}, {"hidden": (64,), "standardize": "task"},
        ]),
        "MAML": Contender(MAML(**short, meta_lr=0.01), [
            {}, {"hidden": (32,)}, {"hidden": (32,), "standardize": "task"},
        ]),
        "prototypes": Contender(PrototypicalDetector(16, **short, meta_lr=0.01), [
            {"hidden": (64,)}, {"hidden": (64,), "standardize": "task"}, {},
        ]),
    }  # fmt: skip


def speakers(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """Every speaker is held out once; the others, or some of them, train.

    Settings are chosen on a labelling of the vowels that is not measured, with eight training and four validation
    speakers. Of the fourteen others that a held-out speaker has, those that do not train, at least one, validate. Each
    of five further labellings and each speaker has a training of its own, with another seed: the interval is
    over speakers, each averaged over labellings; how labellings differ stands in `by_seed`.
    """
    first, *measured = labellings(2 if quick else 6)
    lines = everybody()
    known = speaker_tasks(normal=first[0], anomalous=first[1])
    parts = [known.restrict(part) for part in np.split(np.random.default_rng(1).permutation(SPEAKERS), [8, 12])]
    tried = compare(lines, *parts, n_tasks=120, n_jobs=jobs).outcomes
    for name, contender in lines.items():
        contender.detector.set_params(**tried[name].setting)
    chosen = {name: Contender(line.detector, calibrate=line.calibrate) for name, line in lines.items()}
    for size in (4,) if quick else SIZES:
        if size == 1:
            del chosen["empirical Bayes"]  # one speaker does not show how speakers differ
        runs = []
        for i, (normal, old, new) in enumerate(measured):
            known, strange = (speaker_tasks(normal=normal, anomalous=kind) for kind in (old, new))
            for who in SPEAKERS[: 3 if quick else None]:
                others = np.random.default_rng(15 * i + who).permutation(np.delete(SPEAKERS, who))
                train, valid = known.restrict(others[:size]), known.restrict(others[size:])
                tests = {"known kinds": known.restrict([who]), "new kinds": strange.restrict([who])}
                runs.append(compare(chosen, train, valid, tests, seeds=(15 * i + int(who),), n_tasks=20))
        for kind in ("known kinds", "new kinds"):
            yield f"{size} training speakers, {kind}", merged([run[kind] for run in runs], tried, len(measured))


def merged(runs: list[Comparison], tried: dict[str, Outcome], n_labellings: int) -> Comparison:
    """Comparisons of one speaker each, by labelling and speaker, as one over speakers."""
    outcomes = {}
    for name in runs[0].outcomes:
        outcome = tried[name]
        apart = name.startswith("pooled") and "standardize" not in outcome.setting  # its logit reads no support set
        own = [run.outcomes[name] for run in runs]
        values = {
            figure: np.reshape([o.by_unit[figure][0] for o in own], (n_labellings, -1)) for figure in FIGURES
        }  # (labellings, speakers)
        outcomes[name] = Outcome(
            {figure: v.mean(0) for figure, v in values.items()}, {figure: v.mean(1) for figure, v in values.items()},
            outcome.setting, outcome.tried, float(np.mean([o.training for o in own])),
            float(np.mean([o.adapting for o in own])), "other tasks" if apart else own[0].sees,
        )  # fmt: skip
    units = [run.units[0] for run in runs[: len(runs) // n_labellings]]
    return Comparison(outcomes, units, tuple(range(n_labellings)), runs[0].never)
