"""Where a detector cuts: the rank rule on its support points, logit 0, what other units taught, or your own number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Frozen, draw, task_of, with_meta
from helpers import trained as quick
from sklearn.base import clone

from metaad_tutorial import (
    AADML,
    ACR,
    MAML,
    Episodes,
    Fleet,
    Mahalanobis,
    NearestNeighbor,
    PrototypicalDetector,
    evaluate,
    load,
)

FLEET = Fleet(5, 2, 20, 10, n_machines=300, n_features=4)
TRAIN, VALID, TEST = FLEET.split(random_state=0)
X, Y, Q = task_of(TEST)
MANY = np.random.default_rng(0).normal(size=(40, 4))
LABELS = np.repeat([0, 1], [32, 8])
DETECTORS = {
    "AADML": quick(AADML, TRAIN),
    "MAML": quick(MAML, TRAIN, meta_steps=40),
    "MAML-task": quick(MAML, TRAIN, standardize="task"),
    "PrototypicalDetector": quick(PrototypicalDetector, TRAIN, embedding=8, meta_steps=40),
    "NearestNeighbor": NearestNeighbor(),
    "Mahalanobis": Mahalanobis(),
}
EVERY = pytest.mark.parametrize("name", DETECTORS)


# --- The rank rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "rank"), [(0.01, 1), (0.05, 1), (0.25, 8), (0.5, 16)])
@pytest.mark.parametrize("name", ["AADML", "MAML", "PrototypicalDetector", "Mahalanobis"])
def test_the_threshold_is_the_score_of_that_rank(name, share, rank):
    """r = floor(share (32 + 1)), at least 1; only the r - 1 normal points above it are flagged."""
    detector = clone(DETECTORS[name]).set_params(contamination=share).fit(MANY, LABELS)
    scores = np.sort(detector.anomaly_score(MANY[LABELS == 0]))[::-1]
    assert detector.threshold_ == scores[rank - 1]
    assert (detector.predict(MANY[LABELS == 0]) == -1).sum() == rank - 1


def test_a_new_normal_point_exceeds_it_with_probability_r_of_n_plus_1():
    """Of 9 points and a share of 0.25, r = 2. The score is a coordinate, whatever the support set."""
    start = {"weight0": torch.tensor([[1.0], [0.0]]).double(), "bias0": torch.zeros(1, 1).double()}
    detector = with_meta(MAML(contamination=0.25, inner_steps=0), {"start": start}, d=2)
    x, q = draw(4000, 9, 2), draw(4000, 20, 2, seed=2)
    episodes = Episodes(x, torch.zeros(4000, 9), q, torch.zeros(4000, 20), np.arange(4000))
    scores, thresholds = detector.score_tasks(episodes)
    assert np.mean(scores > thresholds[:, None]) == pytest.approx(2 / 10, abs=0.01)


def test_automatic_threshold():
    trained = clone(DETECTORS["MAML"])
    assert trained.fit(X, Y).threshold_ == 0  # logit 0: probability one half
    assert trained.fit(X).threshold_ == 0
    assert MAML().fit(X, Y).threshold_ == 0
    one_class = MAML().fit(MANY)  # nothing gave the logit a meaning: 5 % of new points, floor(0.05 * 41) = 2
    assert one_class.threshold_ == np.sort(one_class.anomaly_score(MANY))[-2]


@pytest.mark.parametrize("share", [0, -0.1, 0.6, 1, np.nan])
@EVERY
def test_contamination_out_of_range(name, share):
    with pytest.raises(ValueError, match="contamination"):
        clone(DETECTORS[name]).set_params(contamination=share).fit(X, Y)


# --- A threshold of one's own -------------------------------------------------------------------------


@EVERY
def test_the_threshold_decides_and_may_be_set(name):
    detector = clone(DETECTORS[name]).fit(X, Y)
    scores = detector.anomaly_score(Q)
    for threshold in np.quantile(scores, [0.1, 0.5, 0.9]):
        detector.threshold_ = threshold
        assert detector.offset_ == -threshold
        assert np.array_equal(detector.predict(Q) == -1, scores > threshold)
        assert np.allclose(detector.decision_function(Q), threshold - scores, rtol=0, atol=1e-12)
    with pytest.raises(AttributeError):
        detector.offset_ = 1.0


# --- The threshold from other units -------------------------------------------------------------------


@EVERY
def test_calibration_keeps_its_promise_on_new_units(name):
    detector = clone(DETECTORS[name])
    assert detector.calibrate(VALID, false_alarms=0.1) is detector
    result = evaluate(detector, TEST, n_tasks=200, random_state=1)
    assert result.false_alarms.mean() == pytest.approx(0.1, abs=0.04)
    for task in TEST.sample(3, random_state=2):
        assert detector.fit(task.support_x[0], task.support_y[0]).threshold_ == detector.calibrated_
    assert np.unique(detector.score_tasks(TEST.sample(3, random_state=2))[1]).tolist() == [detector.calibrated_]


def test_the_calibrated_threshold_is_the_rank_of_the_normal_query_scores():
    detector, tasks = clone(DETECTORS["MAML"]), VALID.sample(7, random_state=3)
    detector.calibrate(VALID, false_alarms=0.2, n_tasks=7, random_state=3)
    scores = np.concatenate(
        [
            detector.fit(task.support_x[0], task.support_y[0]).anomaly_score(task.query_x[0][task.query_y[0] == 0])
            for task in tasks
        ]
    )
    assert len(scores) == 140
    assert detector.calibrated_ == pytest.approx(np.sort(scores)[-28], abs=1e-12)  # floor(0.2 * 141)


def test_calibration_changes_a_fitted_detector_and_nothing_but_its_threshold():
    detector = clone(DETECTORS["MAML"]).fit(X, Y)
    scores = detector.anomaly_score(Q)
    assert detector.calibrate(VALID).threshold_ == detector.calibrated_ != 0
    assert np.array_equal(detector.anomaly_score(Q), scores)
    assert clone(detector).fit(X, Y).threshold_ == detector.calibrated_  # a clone knows it
    again = clone(detector).calibrate(VALID)  # the same tasks give the same number
    assert again.calibrated_ == detector.calibrated_


def test_a_new_meta_training_forgets_the_calibration():
    detector = clone(DETECTORS["MAML"]).calibrate(VALID, n_tasks=20)
    assert detector.meta_fit(TRAIN).fit(X, Y).threshold_ == 0


def test_a_batch_detector_can_be_calibrated():
    family = Fleet(4, 0, 18, 6, n_machines=60, n_features=4)
    train, valid, test = family.split(random_state=0)
    detector = quick(ACR, train, embedding=6).calibrate(valid, 0.2, n_tasks=50)
    task = test.sample(1, 0)
    assert detector.fit(task.support_x[0]).threshold_ == detector.calibrated_


def test_calibration_on_training_units_is_refused():
    with pytest.raises(ValueError, match="overlap"):
        clone(DETECTORS["MAML"]).calibrate(TRAIN)
    clone(DETECTORS["NearestNeighbor"]).calibrate(TRAIN, n_tasks=5)  # it has no training units


@pytest.mark.parametrize("share", [0, -0.1, 0.6, np.nan])
def test_false_alarms_out_of_range(share):
    with pytest.raises(ValueError, match="false_alarms"):
        clone(DETECTORS["MAML"]).calibrate(Frozen(VALID.sample(2, 0)), false_alarms=share)


@pytest.mark.parametrize(("name", "changed"), [("NearestNeighbor", {"k": 4}), ("AADML", {"inner_steps": 0})])
def test_a_calibration_holds_for_the_parameters_it_was_made_with(name, changed, tmp_path):
    valid = TEST
    detector = clone(DETECTORS[name]).calibrate(valid, n_tasks=20)
    detector.save(tmp_path / "a.npz")
    for one in (detector, clone(detector), load(tmp_path / "a.npz")):
        assert one.fit(X, Y).threshold_ == detector.calibrated_
        one.set_params(contamination=0.2).fit(X, Y)
        with pytest.raises(ValueError, match=f"{next(iter(changed))} changed since calibrate"):
            one.set_params(**changed).fit(X, Y)
        with pytest.raises(ValueError, match="changed since calibrate"):
            one.score_tasks(valid.sample(2, 0))
        with pytest.raises(ValueError, match="changed since"):
            one.save(tmp_path / "b.npz")
    assert detector.calibrate(valid, n_tasks=20).fit(X, Y).threshold_ == detector.calibrated_


@EVERY
def test_calibration_on_what_is_no_family(name):
    with pytest.raises(ValueError, match="valid must be a family of tasks"):
        clone(DETECTORS[name]).calibrate(X)
