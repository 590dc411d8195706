"""The 37 tables, each field of application held out as a whole; part 5 of evidence.py."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from metaad_tutorial import (
    TABLES,
    Comparison,
    Episodes,
    Evaluation,
    NearestNeighbor,
    PooledFeatures,
    PooledLogistic,
    PrototypicalDetector,
    StoredTasks,
    TaskFamily,
    common_tasks,
    evaluate,
    judge,
    load_table,
)
from metaad_tutorial.comparison import Outcome
from metaad_tutorial.families.columns import filled
from metaad_tutorial.families.invented import synthetic_table, virtual_anomalies
from metaad_tutorial.metrics import rank_threshold

PAIR = ["nearest 5, size", "trees, size"]
FIGURES = ("auroc", "accuracy")
FIELDS = sorted({table.domain for table in TABLES.values()})
GROUPS = sorted({table.group for table in TABLES.values()})
LEARN, JUDGE = 10, 20  # tasks of each table, to learn from and to be judged on
Found = dict[str, tuple[float, float]]  # table -> its figures


def simple(labelled: bool) -> dict[str, object]:
    """What sees one task alone."""
    scaled = {
        "isolation forest": IsolationForest(random_state=0),
        "LOF": LocalOutlierFactor(n_neighbors=10, novelty=True),
        "one-class SVM": OneClassSVM(gamma="scale", nu=0.1),
    }
    if labelled:
        scaled |= {
            "logistic regression": LogisticRegression(class_weight="balanced", max_iter=1000),
            "LDA": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
            "trees": RandomForestClassifier(100, class_weight="balanced", random_state=0),
        }
    try:
        from pyod.models.copod import COPOD
        from pyod.models.ecod import ECOD
        from pyod.models.hbos import HBOS
    except ImportError:
        print("PyOD is not installed: its detectors are left out (make bench-evidence installs it)")
    else:
        scaled |= {"PyOD's ECOD": ECOD(), "PyOD's COPOD": COPOD(), "PyOD's HBOS": HBOS()}
    neighbours = {"1-NN": NearestNeighbor(1), "5-NN": NearestNeighbor(5)}
    return neighbours | {name: make_pipeline(StandardScaler(), detector) for name, detector in scaled.items()}


@dataclasses.dataclass(frozen=True)
class Learner:
    """A detector on common columns, what it learns from, and two settings to choose among."""

    detector: object
    experience: str
    settings: tuple[dict, dict]


def learners() -> dict[str, Learner]:
    """A linear combination, episodes and features; the first two also from experience that is invented."""
    deep = {}, {"hidden": (16,)}
    episodes = PrototypicalDetector(8, meta_steps=200, meta_batch=8)
    features = PooledFeatures(16, target="labels", normalize=False, meta_steps=400, meta_tasks=400)
    made = {"features, real": Learner(features, "real", deep)}
    for experience in ("real", "virtual", "synthetic"):
        line = Learner(PooledLogistic(standardize=True), experience, ({"C": 0.01}, {"C": 1.0}))
        made |= {f"logistic, {experience}": line, f"prototypes, {experience}": Learner(episodes, experience, deep)}
    return dict(sorted(made.items()))


def with_virtual(table: tuple[np.ndarray, np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The normal rows of a table, with virtual anomalies in place of its own."""
    X, y = table
    normal = filled(X[y == 0], (y == 0).sum())
    made = virtual_anomalies(normal, 60, seed)
    return np.concatenate([normal, made]), np.repeat([0, 1], [len(normal), len(made)])


def families(shots: dict, seed: int) -> dict[str, TaskFamily]:
    """What there is to learn from, tasks of every table described once: real, virtual and synthetic experience."""
    real = {name: load_table(name) for name in TABLES}
    worlds = {
        "real": real,
        "virtual": {name: with_virtual(table, i) for i, (name, table) in enumerate(real.items())},
        "synthetic": {f"world {i}": synthetic_table(i) for i in range(40)},
    }
    return {what: StoredTasks(common_tasks(made, what, **shots), LEARN, seed) for what, made in worlds.items()}


def others(field: str) -> list[str]:
    """The tables that neither belong to a field nor are related to one of its tables."""
    related = {table.group for table in TABLES.values() if table.domain == field}
    return [name for name, table in TABLES.items() if table.domain != field and table.group not in related]


def figures(judged) -> tuple[float, float]:
    return tuple(float(judged.by_unit(figure)[0]) for figure in FIGURES)


def learnt(
    learner: Learner,
    setting: dict,
    seed: int,
    field: str,
    experience: dict[str, TaskFamily],
    tasks: dict[str, Episodes],
) -> tuple[Found, float]:
    """Figures on the tables of one field after training on the others, and CPU-seconds of the training."""
    train, begin = experience[learner.experience], time.process_time()
    if learner.experience != "synthetic":
        train = train.restrict(others(field))
    detector = clone(learner.detector).set_params(random_state=seed, **setting).meta_fit(train)
    spent = time.process_time() - begin
    own = [name for name, table in TABLES.items() if table.domain == field]
    return {name: figures(judge(tasks[name], *detector.score_tasks(tasks[name]))) for name in own}, spent


def combined(tasks: Episodes, columns: list[int], in_batch: bool = False) -> Evaluation:
    """The mean of some columns, nothing learnt; 5 % of the normal support points would exceed its threshold."""
    normal = tasks.support_x[..., columns].mean(-1).numpy(), tasks.support_y.numpy() == 0
    cuts = [rank_threshold(scores[own], 0.05) for scores, own in zip(*normal, strict=True)]
    if in_batch:  # ranks among the query points, which have no threshold
        return judge(tasks, rankdata(tasks.query_x[..., columns].numpy(), axis=1).mean(-1), np.inf)
    return judge(tasks, tasks.query_x[..., columns].mean(-1).numpy(), cuts)


def outcome(runs: list[Found], tried: int, sees: str, setting: dict, training: float, adapting: float) -> Outcome:
    """Averaged over the tables of a group, and over training runs."""
    members = {group: [name for name, table in TABLES.items() if table.group == group] for group in GROUPS}
    # (runs, groups, figures)
    values = np.array([[np.mean([run[name] for name in own], axis=0) for own in members.values()] for run in runs])
    by_unit = {figure: values[..., i].mean(0) for i, figure in enumerate(FIGURES)}
    by_seed = {figure: values[..., i].mean(1) for i, figure in enumerate(FIGURES)}
    return Outcome(by_unit, by_seed, setting, tried, training, adapting, sees)


def tables(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """Unlabelled and labelled support sets; experience from other fields, from invented anomalies and tables.

    Unit: a group of related tables. The setting for a field is that which was best on the other fields. Five training
    runs with 40 normal points, two at the other sizes: describing the tasks takes most of the time, and two runs differ
    by less than the interval over groups is wide.
    """
    warnings.filterwarnings("ignore", "Variables are collinear|n_neighbors|invalid value|divide by zero|Precision loss")
    for normal in (40, 10, 100):
        for anomalous in (0, 5):
            yield f"{normal} normal points, {anomalous} anomalies", one(normal, anomalous, quick)


def one(normal: int, anomalous: int, quick: bool) -> Comparison:
    """All lines at one size of the support set."""
    shots = {
        "normal_shots": normal, "anomalous_shots": anomalous, "normal_queries": 20, "anomalous_queries": 10,
        "short": "drop",
    }  # fmt: skip
    seeds = (0,) if quick else (0, 1, 2, 3, 4) if normal == 40 else (0, 1)
    known = common_tasks({name: load_table(name) for name in TABLES}, "tables", **shots)
    tasks = {name: known.restrict([name]).sample(JUDGE, 1) for name in TABLES}
    sees = "support, labels" if anomalous else "support"
    outcomes = {}
    for name, detector in simple(anomalous > 0).items():
        begin = time.process_time()
        found = {table: figures(evaluate(detector, known.own_columns(table), JUDGE, 1)) for table in TABLES}
        labels = anomalous and name in ("logistic regression", "LDA", "trees")
        outcomes[name] = outcome(
            [found] * len(seeds), 1, "support, labels" if labels else "support", {}, 0.0, time.process_time() - begin
        )
    sizes = [name for name in known.feature_names if name.endswith("size")]
    combinations = {"mean of all scores": sizes} | ({"5-NN and trees": PAIR} if anomalous else {})
    for name, columns in combinations.items():
        which = [known.feature_names.index(column) for column in columns]
        found = {table: figures(combined(own, which)) for table, own in tasks.items()}
        outcomes[name] = outcome([found] * len(seeds), 1, sees, {}, 0.0, 0.0)
    if anomalous:
        found = {table: figures(combined(own, which, True)) for table, own in tasks.items()}
        outcomes["5-NN and trees, ranks in the batch"] = outcome(
            [found] * len(seeds), 1, f"{sees}, batch", {}, 0.0, 0.0
        )
    experience = families(shots, 0)
    for name, learner in learners().items():
        settings = learner.settings[:1] if quick else learner.settings
        tried, spent = [], []
        for setting in settings:
            found = {}
            for field in FIELDS:
                own, seconds = learnt(learner, setting, 0, field, experience, tasks)
                found |= own
                spent.append(seconds)
            tried.append(found)

        def best(field: str, tried=tried) -> int:
            """The setting with the highest mean AUROC on the tables of other fields."""
            return int(np.argmax([np.mean([found[table][0] for table in others(field)]) for found in tried]))

        runs = [{t: tried[best(TABLES[t].domain)][t] for t in TABLES}]
        for seed in seeds[1:]:
            found = {}
            for field in FIELDS:
                found |= learnt(learner, settings[best(field)], seed, field, experience, tasks)[0]
            runs.append(found)
        setting = {field: settings[best(field)] for field in FIELDS}
        outcomes[name] = outcome(runs, len(settings), f"other tables, {sees}", setting, float(np.mean(spent)), 0.0)
        print(f"  {name}: {outcomes[name].by_unit['auroc'].mean():.3f}, {np.sum(spent):.0f} s", flush=True)
    never = float((next(iter(tasks.values())).query_y == 0).double().mean())
    return Comparison(outcomes, GROUPS, seeds, never)
