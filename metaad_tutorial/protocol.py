"""A comparison by the book's rules: same units, same number of settings, chosen on other units, several runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier

from .comparison import Comparison, Outcome
from .episodes import TaskFamily
from .evaluation import evaluate, judge
from .experienced import ExperiencedDetector
from .overlap import check_disjoint
from .runtime import progress

FIGURES = ("auroc", "accuracy")


@dataclasses.dataclass(frozen=True)
class Contender:
    """One line of a comparison.

    Args:
        detector: as for `evaluate`, not trained yet, or a function of `Episodes` that gives scores (T, Q) and decides
            at 0, such as ``fleet.bayes_scores``.
        settings: dicts of parameters to choose among; () takes the detector as it is.
        calibrate: take the threshold with the best balanced accuracy on the validation units.
    """

    detector: object
    settings: Sequence[dict] = ()
    calibrate: bool = False

    @property
    def sees(self) -> str:
        """What it has learnt from, and what else it sees of a task than the query point."""
        known = self.detector
        if not hasattr(known, "fit"):
            return "the truth"
        before = ["other tasks' scores"] if self.calibrate else []
        if isinstance(known, ExperiencedDetector):
            before = ["other tasks"]
        foreign = ("support", "labels") if is_classifier(known) else ("support",)
        return ", ".join([*before, *getattr(known, "sees", foreign)])


def compare(
    contenders: Mapping[str, Contender], train: TaskFamily, valid: TaskFamily,
    test: TaskFamily | Mapping[str, TaskFamily], *,
    seeds: Sequence[int] = (0,), n_tasks: int = 500, n_jobs: int | None = None,
) -> Comparison | dict[str, Comparison]:  # fmt: skip
    """Judge contenders on held-out units by the rules of this book.

    Every contender with settings has the same number of them. The one with the highest AUROC on the validation units,
    with the first seed, is trained with every seed and judged on the same tasks of the held-out units.

    Args:
        contenders: by the name they have in the table.
        train: what `meta_fit` learns from.
        valid: where settings, outer steps and thresholds are chosen.
        test: held-out units; several families of them by name give a comparison each, of the same trainings.
        seeds: of the training runs.
        n_tasks: number of held-out tasks, and of validation tasks for each setting.
        n_jobs: trainings at once, as for `joblib.Parallel`; in ``with joblib.parallel_config(backend="dask")`` they
            run on a Dask cluster.

    Raises:
        ValueError: if the families overlap, or contenders have settings in different numbers.

    Example:
        >>> from metaad_tutorial import AADML, Contender, EmpiricalBayes, Fleet, compare
        >>> fleet = Fleet(n_machines=300)
        >>> lines = {"AADML": Contender(AADML(meta_steps=20)), "empirical Bayes": Contender(EmpiricalBayes())}
        >>> print(compare(lines, *fleet.split(random_state=0), n_tasks=60).winner())
        empirical Bayes
    """
    tests = test if isinstance(test, Mapping) else {"": test}
    for family in tests.values():
        check_disjoint(train, valid, family)
    counts = {len(contender.settings) for contender in contenders.values()} - {0}
    if len(counts) > 1:
        raise ValueError(f"Give every contender the same number of settings, or none; got {sorted(counts)}.")
    parallel = Parallel(n_jobs=n_jobs)
    tries = [(name, setting) for name, c in contenders.items() for setting in c.settings]
    found = parallel(
        delayed(_run)(contenders[name], setting, seeds[0], train, valid, {"": valid}, n_tasks)
        for name, setting in progress(tries, "settings")
    )
    chosen = {name: {} for name in contenders}
    reached = dict.fromkeys(contenders, -np.inf)
    for (name, setting), run in zip(tries, found, strict=True):
        if (mean := run.figures[""]["auroc"].mean()) > reached[name]:
            chosen[name], reached[name] = setting, mean
    runs = [(name, seed) for name in contenders for seed in seeds]
    done = parallel(
        delayed(_run)(contenders[name], chosen[name], seed, train, valid, tests, n_tasks)
        for name, seed in progress(runs, "runs")
    )
    found = {}
    for key, family in tests.items():
        outcomes = {}
        for name, contender in contenders.items():
            own = [run for (owner, _), run in zip(runs, done, strict=True) if owner == name]
            stacked = {figure: np.stack([run.figures[key][figure] for run in own]) for figure in FIGURES}
            outcomes[name] = Outcome(
                by_unit={f: values.mean(0) for f, values in stacked.items()},
                by_seed={f: values.mean(1) for f, values in stacked.items()},
                setting=chosen[name], tried=len(contender.settings) or 1,
                sees=contender.sees if family.anomalous_shots else contender.sees.replace(", labels", ""),
                training=float(np.mean([run.training for run in own])),
                adapting=float(np.mean([run.adapting[key] for run in own])),
            )  # fmt: skip
        tasks = family.sample(n_tasks, 1)
        never = float((tasks.query_y == 0).double().mean())
        found[key] = Comparison(outcomes, list(dict.fromkeys(tasks.units.tolist())), tuple(seeds), never)
    return found if isinstance(test, Mapping) else found[""]


class Run(NamedTuple):
    """CPU-seconds of one training; for each family its figures by unit, and CPU-seconds of adapting."""

    training: float
    figures: dict[str, dict[str, np.ndarray]]
    adapting: dict[str, float]


def _run(
    contender: Contender, setting: dict, seed: int, train: TaskFamily, valid: TaskFamily,
    tests: Mapping[str, TaskFamily], n_tasks: int,
) -> Run:  # fmt: skip
    torch.set_num_threads(1)
    detector, begin = contender.detector, time.process_time()
    if hasattr(detector, "get_params"):
        own = {"random_state": seed} if "random_state" in detector.get_params() else {}
        detector = clone(detector).set_params(**own, **setting)
    if isinstance(detector, ExperiencedDetector):
        detector.meta_fit(train, valid)
    if contender.calibrate:
        detector.calibrate(valid, None, n_tasks, 2)
    run = Run(time.process_time() - begin, {}, {})
    for key, family in tests.items():
        begin = time.process_time()
        if hasattr(detector, "fit"):
            judged = evaluate(detector, family, n_tasks, 1)
        else:
            episodes = family.sample(n_tasks, 1)
            judged = judge(episodes, detector(episodes))
        run.figures[key] = {figure: judged.by_unit(figure) for figure in FIGURES}
        run.adapting[key] = time.process_time() - begin
    return run
