"""Opponents without episodes: one line for all tasks, features of a classifier, neighbours in a batch."""

import numpy as np
import pytest
import torch
from helpers import Frozen, draw, task_of, tasks
from scipy.spatial.distance import cdist
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from metaad_tutorial import (
    BatchFeatures,
    BatchNeighbor,
    ConvNet,
    Episodes,
    Fleet,
    Glyphs,
    NearestNeighbor,
    PooledFeatures,
    PooledLogistic,
    class_tasks,
    evaluate,
    metrics,
)
from metaad_tutorial.tree import flat

TRAIN, VALID, TEST = Fleet(5, 2, 9, 3, n_machines=60, n_features=4).split(random_state=0)
X, Y, Q = task_of(TEST)
SHORT = {"meta_steps": 30, "meta_tasks": 50, "random_state": 0}


# --- One line for all ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [True, "task"])
def test_the_line_is_that_of_scikit_learn_on_all_points(how):
    detector = PooledLogistic(C=0.3, standardize=how, meta_tasks=40, random_state=0).meta_fit(TRAIN)
    episodes = TRAIN.sample(40, np.random.default_rng(0))
    place = detector._standardizer.at(detector._standardizer.measure(episodes), episodes.support_x, episodes.support_y)
    x = torch.cat([place(episodes.support_x), place(episodes.query_x)], 1).flatten(0, 1)
    y = torch.cat([episodes.support_y, episodes.query_y], 1).flatten()
    line = LogisticRegression(C=0.3, class_weight="balanced", max_iter=1000).fit(x.numpy(), y.numpy())
    assert np.allclose(detector.meta_["weight"], line.coef_[0], rtol=0, atol=1e-9)
    scaling = detector._standardizer.at(
        detector._standardizer.measure(episodes), torch.as_tensor(X)[None], torch.as_tensor(Y)[None]
    )
    score = line.decision_function(scaling(torch.as_tensor(Q)[None])[0].numpy())
    assert np.allclose(detector.fit(X, Y).anomaly_score(Q), score, rtol=0, atol=1e-9)


def test_a_centred_line_moves_with_the_machine_and_a_pooled_one_does_not():
    moved = X + 3, Y, Q + 3
    for how, same in (("task", True), (True, False)):
        detector = PooledLogistic(standardize=how, random_state=0).meta_fit(TRAIN)
        scores = detector.fit(X, Y).anomaly_score(Q)
        assert np.allclose(detector.fit(*moved[:2]).anomaly_score(moved[2]), scores) is same


# --- Features of a classifier -------------------------------------------------------------------------


def test_scores_are_differences_of_distances_in_features():
    detector = PooledFeatures(6, hidden=(5,), normalize=False, **SHORT).meta_fit(TRAIN, VALID)
    assert set(detector.meta_) == {"start", "scale", "bias", "scaling", "teller"}
    scaling = detector.meta_["scaling"]
    phi = [
        detector.features(detector.meta_, (torch.as_tensor(v)[None] - scaling["location"]) / scaling["scale"])[0]
        for v in (X, Q)
    ]
    normal, anomalous = (phi[0][torch.as_tensor(Y) == label].mean(0) for label in (0, 1))
    far, near = (((phi[1] - c) ** 2).sum(-1) for c in (normal, anomalous))
    a, b = detector.meta_["scale"], detector.meta_["bias"]
    assert np.allclose(detector.fit(X, Y).anomaly_score(Q), a * (far - near) + b, rtol=0, atol=1e-9)
    told = phi[1] @ detector.meta_["teller"]["weight0"][:, 0] + detector.meta_["teller"]["bias0"][0]
    assert np.allclose(detector.fit(X[Y == 0]).anomaly_score(Q), a * told + b, rtol=0, atol=1e-9)
    untrained = PooledFeatures(6, hidden=(5,), normalize=False, random_state=0).fit(X[Y == 0])
    assert "center" in untrained.params_  # which has no classifier, and measures distances


def test_without_labelled_anomalies_names_of_units_leave_distances():
    detector = PooledFeatures(6, hidden=(5,), normalize=False, target="units", **SHORT).meta_fit(TRAIN, VALID)
    assert set(detector.meta_) == {"start", "scale", "bias", "scaling"}  # the classifier's last layer is gone
    scaling = detector.meta_["scaling"]
    phi = [
        detector.features(detector.meta_, (torch.as_tensor(v)[None] - scaling["location"]) / scaling["scale"])[0]
        for v in (X[Y == 0], Q)
    ]
    a, b = detector.meta_["scale"], detector.meta_["bias"]
    alone = ((phi[1] - phi[0].mean(0)) ** 2).sum(-1)
    assert np.allclose(detector.fit(X[Y == 0]).anomaly_score(Q), a * alone + b, rtol=0, atol=1e-9)


def test_normalised_features_have_length_one():
    detector = PooledFeatures(6, target="units", **SHORT).meta_fit(TRAIN)
    center = detector.fit(X[Y == 0][:1]).params_["center"]
    assert float((center**2).sum()) == pytest.approx(1)


def test_validation_tasks_set_the_threshold_and_nothing_else():
    one, two = (PooledFeatures(6, **SHORT).meta_fit(TRAIN, valid) for valid in (None, VALID))
    for name, value in flat(one.meta_["start"]).items():
        assert torch.equal(value, flat(two.meta_["start"])[name])
    assert one.meta_["bias"] != two.meta_["bias"]


def test_it_learns_to_name_units_or_to_tell_anomalies():
    X, y = make_blobs(n_samples=600, centers=8, n_features=5, random_state=0)
    family = class_tasks(X, y, normal_shots=5, normal_queries=10, anomalous_queries=10)
    for target in ("units", "labels"):
        detector = PooledFeatures(16, target=target, **SHORT | {"meta_steps": 300}).meta_fit(family)
        loss = np.array(detector.history_["loss"])
        chance = np.log(8) if target == "units" else np.log(2)
        assert loss[0] == pytest.approx(chance, abs=0.02)
        assert loss[-20:].mean() < (0.3 if target == "units" else 0.98) * chance  # any blob is an anomaly for others
    named = PooledFeatures(16, target="units", **SHORT | {"meta_steps": 300}).meta_fit(
        family.restrict(family.units[:6])
    )
    assert evaluate(named, family.restrict(family.units[6:]), 40, 0).mean > 0.9


def test_steps_on_the_head_lower_the_support_loss():
    start = PooledFeatures(6, head_steps=0, **SHORT).meta_fit(TRAIN, VALID)
    losses = []
    for steps in (0, 1, 20):
        detector = start.__sklearn_clone__().set_params(head_steps=steps, head_lr=1.0).fit(X, Y)
        losses.append(np.logaddexp(0, (1 - 2 * Y) * detector.anomaly_score(X)).mean())
    assert losses[0] > losses[1] > losses[2]


def test_images_get_a_convolutional_network_and_name_letters():
    family = Glyphs(2, 0, 4, 4, size=8).of_scripts("Greek")
    detector = PooledFeatures(8, **SHORT | {"meta_steps": 3}).meta_fit(family)
    assert isinstance(detector.net, ConvNet) and detector.history_["loss"][0] == pytest.approx(
        np.log(len(family)), abs=0.02
    )
    normed = PooledFeatures(8, network=ConvNet((4, 4), norm="batch"), **SHORT | {"meta_steps": 3}).meta_fit(family)
    task = family.sample(1, 0)
    scores = normed.fit(task.support_x[0]).anomaly_score(task.query_x[0])
    assert np.allclose(normed.anomaly_score(task.query_x[0][::2]), scores[::2])  # statistics of the support set


@pytest.mark.parametrize("bad", [{"target": "letters"}, {"embedding": 0}, {"head_steps": -1}, {"head_lr": 0.0}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        PooledFeatures(**SHORT | bad).meta_fit(TRAIN)


# --- Batches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 50, None])
def test_a_point_is_measured_by_the_rest_of_its_batch(k):
    detector = BatchNeighbor(k, standardize=False).fit(X)
    scores = detector.anomaly_score(Q)
    if k is None:
        assert np.allclose(scores, np.linalg.norm(Q - Q.mean(0), axis=1))
    else:
        for i, score in enumerate(scores):
            others = np.sort(cdist(Q[[i]], np.delete(Q, i, 0))[0])
            assert score == pytest.approx(others[min(k, len(others)) - 1], abs=1e-12)


def test_a_batch_brings_its_own_place_and_scale():
    detector = BatchNeighbor(2).fit(X)
    assert np.allclose(detector.anomaly_score(5 * Q - 7), detector.anomaly_score(Q))


def test_features_with_the_mean_of_the_batch():
    detector = BatchFeatures(6, **SHORT).meta_fit(TRAIN, VALID)
    x = (torch.as_tensor(Q)[None] - detector.meta_["scaling"]["location"]) / detector.meta_["scaling"]["scale"]
    phi = torch.nn.functional.normalize(detector.features(detector.meta_, x)[0], dim=-1)
    distance = ((phi - phi.mean(0)) ** 2).sum(-1)
    want = detector.meta_["scale"] * distance + detector.meta_["bias"]
    assert np.allclose(detector.anomaly_score(Q), want, rtol=0, atol=1e-9)  # without any fit
    scores, thresholds = detector.score_tasks(TEST.sample(5, 0))
    assert scores.shape == (5, 12) and (thresholds == 0).all()
    with pytest.raises(ValueError, match="n_samples=2"):
        detector.anomaly_score(Q[:2])


# --- Thresholds from other units ----------------------------------------------------------------------


def test_the_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    scores = np.round(rng.normal(size=60) + y, 1)  # with ties

    def gain(cut):
        return np.mean(scores[y == 1] > cut) - np.mean(scores[y == 0] > cut)

    cut = metrics.best_threshold(y, scores)
    assert gain(cut) == pytest.approx(max(gain(c) for c in np.append(scores, scores.min() - 1)))
    assert cut not in scores
    assert metrics.best_threshold([1, 1, 0], [2.0, 2.0, 1.0]) == 1.5
    one, bad = "one class is missing", "must be finite"
    for y, s, message in (([0, 0], [1.0, 2.0], one), ([1, 1], [1.0, 2.0], one), ([0, 1], [np.nan, 1.0], bad)):
        with pytest.raises(ValueError, match=message):
            metrics.best_threshold(y, s)


def test_a_nearest_neighbour_decides_better_with_the_threshold_of_other_units():
    own, learnt = NearestNeighbor(), NearestNeighbor().calibrate(VALID, None)
    assert learnt.calibrated_ == metrics.best_threshold(
        VALID.sample(500, 0).query_y, NearestNeighbor().score_tasks(VALID.sample(500, 0))[0]
    )
    first, second = (evaluate(detector, TEST, 100, 0) for detector in (own, learnt))
    balanced = [(r.hits - r.false_alarms).mean() for r in (first, second)]
    assert balanced[1] > balanced[0] and second.mean == first.mean


def test_where_all_scores_tie_the_best_threshold_flags_all_or_none():
    assert metrics.best_threshold([0, 1], [1.0, 1.0]) == 0.0


def test_one_point_of_a_batch_is_no_batch():
    episodes = tasks(2, d=3)
    single = Episodes(episodes.support_x, episodes.support_y, draw(2, 2, 3), torch.tensor([[0.0, 1]] * 2), np.arange(2))
    detector = BatchFeatures(4, **SHORT).meta_fit(Frozen(episodes))
    with pytest.raises(ValueError, match="n_samples=2"):
        detector.score_tasks(single)
