"""Learnt distances beside their opponents with one and the same network: letters, their number, labelled anomalies,
thresholds, vowels; part 8 of evidence.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from metaad_tutorial import (
    MAML,
    Comparison,
    ConvNet,
    EmpiricalBayes,
    Evaluation,
    Glyphs,
    Mahalanobis,
    NearestNeighbor,
    PooledFeatures,
    PrototypicalDetector,
    class_tasks,
    evaluate,
    judge,
    load_classes,
)
from metaad_tutorial.comparison import Outcome

SEEDS = range(5)
SHOTS = (1, 2, 5, 10, 20)
FIGURES = ("auroc", "accuracy", "false_alarms", "hits")
NETWORK = ConvNet((8, 16, 32), "layer")
EMBEDDING = ConvNet((8, 16, 32), "layer", outputs=64)


class AveragedMAML(MAML):
    """MAML with the running mean of the meta-parameters that prototypes have."""

    averaging = 0.98


def distance(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """Nothing is chosen; the same network, images and steps of the package's own sizes for everybody."""
    steps = {"meta_steps": 5} if quick else {}
    yield from over_shots(quick, jobs, steps)
    yield "letters in training", over_letters(quick, jobs, steps)
    yield from labelled(quick, jobs, steps)
    yield from vowels(quick, jobs)


def letters(shots: int = 5, anomalous: int = 0, **options):
    """Training and validation letters, and those of other scripts."""
    family = Glyphs(shots, anomalous, 15, 15, **options)
    known = family.of_scripts("Latin", "Greek", "Cyrillic")
    return *known.split((0.85, 0.15), random_state=0), family.of_scripts("Armenian", "Georgian")


def learners(steps: dict) -> dict:
    own = {"dtype": "float32", "meta_lr": 0.01, "meta_batch": 8, "meta_steps": 450} | steps
    head = {"head_only": True, "inner_steps": 1, "learn_lr": "parameter"}
    return {
        "pooled features": PooledFeatures(dtype="float32", network=EMBEDDING, **steps),
        "MAML": MAML(network=NETWORK, **own | {"meta_lr": 0.003, "meta_batch": 16}, **head),
        "MAML, averaged": AveragedMAML(network=NETWORK, **own | {"meta_batch": 16}, **head),
        "prototypes": PrototypicalDetector(network=EMBEDDING, **own),
    }


def stack(named: dict[str, list[Evaluation]]) -> Comparison:
    """Evaluations of several runs as outcomes by name; who learns nothing has one for all runs."""
    units = list(dict.fromkeys(next(iter(named.values()))[0].units.tolist()))
    runs, outcomes = max(map(len, named.values())), {}
    for name, results in named.items():
        results = results * (runs // len(results))
        values = {figure: np.stack([r.by_unit(figure) for r in results]) for figure in FIGURES}
        means = [{f: v.mean(axis) for f, v in values.items()} for axis in (0, 1)]
        outcomes[name] = outcome(name, *means)
    return Comparison(outcomes, units, tuple(range(runs)), 0.5)


def outcome(name: str, by_unit: dict, by_seed: dict) -> Outcome:
    alone = any(word in name for word in ("neighbour", "Mahalanobis, own"))
    sees = "support" if alone else "other tasks, support"
    return Outcome(by_unit, by_seed, setting={}, tried=1, training=0.0, adapting=0.0, sees=sees)


# --- Letters of scripts never seen, with one to twenty images -----------------------------------------


def over_shots(quick: bool, jobs: int, steps: dict) -> Iterator[tuple[str, Comparison]]:
    """Rankings; and one threshold for every number of images: that of the logit, and those of fitted distances.

    A distance is fitted on five images, on as many as there are, or on five and divided by 1 + 1/n, by which the
    error of a mean of n images makes it longer. `two_covariances` is a posterior for the features.
    """
    n_tasks = 40 if quick else 470
    seeds = SEEDS[: 1 if quick else None]
    found = Parallel(n_jobs=jobs)(delayed(one_run)(seed, n_tasks, steps) for seed in seeds)
    for n in SHOTS:
        *_, test = letters(n)
        named = {"pixels, nearest neighbour": [evaluate(NearestNeighbor(standardize=False), test, n_tasks, 1)]}
        for run in found:
            for name, result in run[n].items():
                named.setdefault(name, []).append(result)
        yield f"letters, {n} image{'s' * (n > 1)}", stack(named)


def one_run(seed: int, n_tasks: int, steps: dict) -> dict:
    train, valid, _ = letters()
    trained = {
        name: clone(method).set_params(random_state=seed).meta_fit(train, valid)
        for name, method in learners(steps).items()
    }
    fitted, results = {}, {}
    model = two_covariances(trained["pooled features"], train.sample(10 * len(train.units), 2))
    for n in (5, *(n for n in SHOTS if n != 5)):
        _, watched, test = letters(n)
        watched, test = watched.sample(200, 1), test.sample(n_tasks, 1)
        results[n] = {name: judge(test, method.score_tasks(test)[0]) for name, method in trained.items()}
        for name in ("pooled features", "prototypes"):
            values, asked = (squares(trained[name], tasks) for tasks in (watched, test))
            line = LogisticRegression(C=1e6).fit(values.reshape(-1, 1), watched.query_y.flatten().numpy())
            fitted.setdefault(name, line)
            kept = {"five images": (fitted[name], 1.0), "as many images": (line, 1.0)}
            kept["five images, over 1 + 1/n"] = fitted[name], (1 + 1 / 5) / (1 + 1 / n)
            for when, (own, factor) in kept.items():
                score = own.decision_function(factor * asked.reshape(-1, 1)).reshape(asked.shape)
                results[n][f"{name}, distance with the threshold of {when}"] = judge(test, score)
        results[n]["pooled features, two covariances"] = judge(test, model(test))
    return results


def two_covariances(method, tasks):
    """Probabilistic linear discriminant analysis of the features (Ioffe, 2006), with one Gaussian within letters and
    one of their centres, both of the training letters: log odds of a new letter against that of the support set."""
    unit, which = np.unique(tasks.units, return_inverse=True)
    phi, y = features(method, tasks)[1], tasks.query_y.numpy()
    phi = [np.concatenate(phi[which == k])[np.concatenate(y[which == k]) == 0] for k in range(len(unit))]
    centres = np.array([own.mean(0) for own in phi])
    within = LedoitWolf(assume_centered=True).fit(np.concatenate([own - own.mean(0) for own in phi])).covariance_
    between = LedoitWolf().fit(centres).covariance_
    usual = centres.mean(0)

    def score(tasks) -> np.ndarray:
        own, asked = features(method, tasks)
        gain = between @ np.linalg.inv(between + within / own.shape[1])
        here = usual + (own.mean(1) - usual) @ gain.T
        known = multivariate_normal(cov=within + between - gain @ between)
        return multivariate_normal(usual, within + between).logpdf(asked) - known.logpdf(asked - here[:, None])

    return score


def features(method, tasks) -> tuple[np.ndarray, np.ndarray]:
    """Features of unit length of support and query images, (T, K, q) and (T, Q, q)."""
    scaled = method.scaled(tasks)
    with torch.no_grad():
        pair = (method.features(method.meta_, x) for x in (scaled.support_x, scaled.query_x))
        return tuple(torch.nn.functional.normalize(phi, dim=-1).double().numpy() for phi in pair)


def squares(method, tasks) -> np.ndarray:
    """Squared distances to the mean of the support set; of unit-length features, if the method takes them so."""
    if isinstance(method, PooledFeatures):
        own, asked = features(method, tasks)
    else:
        scaled = method.scaled(tasks)
        with torch.no_grad():
            own, asked = (
                method.net(method.meta_["start"], x).double().numpy() for x in (scaled.support_x, scaled.query_x)
            )
    return ((asked - own.mean(1, keepdims=True)) ** 2).sum(-1)


# --- From how many letters ----------------------------------------------------------------------------


def over_letters(quick: bool, jobs: int, steps: dict) -> Comparison:
    """Prototypes and features from 7 to all letters, three choices of them."""
    train, valid, test = letters()
    sizes, n_tasks = (7, 20, 60, len(train.units)), 40 if quick else 376
    orders = [np.random.default_rng(s).permutation(train.units) for s in range(1 if quick else 3)]
    lines = {name: method for name, method in learners(steps).items() if "MAML" not in name}
    runs = [
        (f"{name}, {n} letters", method, order[:n], seed)
        for name, method in lines.items() for n in sizes for seed, order in enumerate(orders)
    ]  # fmt: skip
    found = Parallel(n_jobs=jobs)(
        delayed(trained_on)(method, train.restrict(chosen), valid, test, seed, n_tasks)
        for _, method, chosen, seed in runs
    )
    named = {"pixels, nearest neighbour": [evaluate(NearestNeighbor(standardize=False), test, n_tasks, 1)]}
    for (name, *_), result in zip(runs, found, strict=True):
        named.setdefault(name, []).append(result)
    return stack(named)


def trained_on(method, train, valid, test, seed, n_tasks):
    return evaluate(clone(method).set_params(random_state=seed).meta_fit(train, valid), test, n_tasks, 1)


# --- Support sets of both kinds -----------------------------------------------------------------------


def labelled(quick: bool, jobs: int, steps: dict) -> Iterator[tuple[str, Comparison]]:
    """Trained on 5 + 5 images, anomalies of a task of one letter; judged with the five anomalies and without them."""
    seeds, n_tasks = SEEDS[: 1 if quick else None], 40 if quick else 376
    lines = {name: method for name, method in learners(steps).items() if "MAML" not in name}
    kinds = {shots: letters(5, shots, anomaly="one")[2] for shots in (5, 0)}
    found = {
        name: Parallel(n_jobs=jobs)(delayed(both_kinds)(method, seed, n_tasks) for seed in seeds)
        for name, method in lines.items()
    }
    for shots, test in kinds.items():
        near = evaluate(NearestNeighbor(standardize=False), test, n_tasks, 1)
        named = {name: [run[shots] for run in runs] for name, runs in found.items()}
        yield f"one kind of anomaly, 5 + {shots} images", stack({"pixels, nearest neighbour": [near]} | named)


def both_kinds(method, seed, n_tasks):
    train, valid, _ = letters(5, 5, anomaly="one")
    method = clone(method).set_params(random_state=seed).meta_fit(train, valid)
    return {
        shots: evaluate(method, letters(5, shots, anomaly="one")[2], n_tasks, 1) for shots in (5, 0)
    }  # the features' scale and bias are those for 5 + 5


# --- Vowels -------------------------------------------------------------------------------------------


def vowels(quick: bool, jobs: int) -> Iterator[tuple[str, Comparison]]:
    """Seven vowels to learn from, four to be judged on, in eleven splits, so that each vowel is held out four times.

    As they are, rows of one sound stand in support and query set; "one frame a sound" leaves one row of each.
    """
    order = np.random.default_rng(0).permutation(11)
    splits = [np.roll(order, -k) for k in range(2 if quick else 11)]
    found = Parallel(n_jobs=jobs)(delayed(of_vowels)(k, order[4:], order[:4], quick) for k, order in enumerate(splits))
    for kind in found[0]:
        outcomes, held = {}, sorted({int(u) for run in found for u in run[kind]["prototypes"].units})
        for name in found[0][kind]:
            values = {figure: {u: [] for u in held} for figure in FIGURES}
            for run in found:
                result = run[kind][name]
                for figure in FIGURES:
                    units = dict.fromkeys(int(u) for u in result.units)
                    for unit, value in zip(units, result.by_unit(figure), strict=True):
                        values[figure][unit].append(value)
            outcomes[name] = outcome(
                name,
                {f: np.array([np.mean(v[u]) for u in held]) for f, v in values.items()},
                {f: np.array([run[kind][name].by_unit(f).mean() for run in found]) for f in FIGURES},
            )
        yield f"vowels, {kind}", Comparison(outcomes, held, tuple(range(len(found))), 0.5)


def of_vowels(seed: int, seen, new, quick: bool) -> dict:
    table = load_classes("vowel")
    sound = table.group * 11 + table.label
    first = np.array([np.flatnonzero(sound == s)[2] for s in np.unique(sound)])  # the third of six frames
    shots = {"normal_shots": 5, "anomalous_shots": 0}
    train = class_tasks(table.X, table.label, normal_queries=6, anomalous_queries=6, **shots).restrict(seen)
    tests = {
        "as they are": class_tasks(table.X, table.label, **shots),
        "one frame a sound": class_tasks(
            table.X[first], table.label[first], normal_queries=10, anomalous_queries=10, **shots
        ),
    }
    own = {"meta_lr": 5e-3, "meta_steps": 5 if quick else 200, "random_state": seed}
    features = {"hidden": (64,), "target": "units", "random_state": seed, "meta_steps": 5 if quick else 500}
    everybody = {
        "nearest neighbour": NearestNeighbor(standardize=False),
        "nearest neighbour, standardised": NearestNeighbor(),
        "Mahalanobis, own points": Mahalanobis(standardize=False),
        "pooled covariance": EmpiricalBayes(unknown=1.0, random_state=seed).meta_fit(train),
        "pooled features": PooledFeatures(normalize=False, **features).meta_fit(train),
        "pooled features, unit length": PooledFeatures(**features).meta_fit(train),
        "MAML, averaged": AveragedMAML(hidden=(64,), **own).meta_fit(train),
        "prototypes": PrototypicalDetector(hidden=(64,), **own).meta_fit(train),
    }
    n_tasks = 40 if quick else 200
    return {
        kind: {name: evaluate(method, test.restrict(new), n_tasks, 1) for name, method in everybody.items()}
        for kind, test in tests.items()
    }
