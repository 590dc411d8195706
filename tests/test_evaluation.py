"""One door for every detector: same tasks, right figures, no leak."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.covariance import EmpiricalCovariance
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import OneClassSVM

from metaad_tutorial import (
    AADML,
    AAE,
    MAML,
    Detector,
    Fleet,
    Mahalanobis,
    NearestNeighbor,
    class_tasks,
    evaluate,
    judge,
)

FLEET = Fleet(6, 3, 8, 7, n_machines=60, n_features=4)
TRAIN, VALID, TEST = FLEET.split(random_state=0)
TASKS = TEST.sample(10, random_state=1)
FIGURES = ("auroc", "average_precision", "accuracy", "f1")


def arrays(task):
    names = ("support_x", "support_y", "query_x", "query_y")
    return tuple(getattr(task, n)[0].numpy() for n in names)


def check(result, scores, flagged):
    """Every field of an evaluation, from scikit-learn's metrics task by task."""
    for t, task in enumerate(TASKS):
        y = arrays(task)[3]
        assert result.auroc[t] == pytest.approx(reference.roc_auc_score(y, scores[t]))
        assert result.average_precision[t] == pytest.approx(reference.average_precision_score(y, scores[t]))
        assert result.accuracy[t] == pytest.approx(reference.accuracy_score(y, flagged[t]))
        assert result.f1[t] == pytest.approx(reference.f1_score(y, flagged[t], zero_division=0))
        assert result.correct[t] == (y == flagged[t]).sum()
    for name in FIGURES:
        assert getattr(result, name).shape == (10,)


# --- Detectors of this package and of scikit-learn ----------------------------------------------------


@pytest.mark.parametrize(
    "detector",
    [Mahalanobis(), NearestNeighbor(k=2), MAML(), AADML(inner_steps=2), AAE(steps=3, random_state=0)],
    ids=lambda detector: type(detector).__name__,
)
def test_detectors_of_this_package(detector):
    result = evaluate(detector, TEST, n_tasks=10, random_state=1)
    scores, flagged = [], []
    for task in TASKS:
        x, y, query, _ = arrays(task)
        fitted = type(detector)(**detector.get_params()).fit(x, y)
        scores.append(fitted.anomaly_score(query))
        flagged.append(fitted.predict(query) == -1)
    check(result, scores, flagged)
    assert not hasattr(detector, "threshold_")  # the reader's detector is left as it was


@pytest.mark.parametrize(
    "detector",
    [
        OneClassSVM(nu=0.3),
        LocalOutlierFactor(3, novelty=True, contamination=0.3),
        make_pipeline(StandardScaler(), OneClassSVM(nu=0.3)),
        make_pipeline(StandardScaler(), LocalOutlierFactor(3, novelty=True, contamination=0.3)),
    ],
    ids=["svm", "lof", "svm-pipeline", "lof-pipeline"],
)
def test_outlier_detectors_are_fitted_on_the_normal_support_points(detector):
    result = evaluate(detector, TEST, n_tasks=10, random_state=1)
    scores, flagged = [], []
    for task in TASKS:
        x, y, query, _ = arrays(task)
        detector.fit(x[y == 0])
        scores.append(-detector.score_samples(query))
        flagged.append(detector.predict(query) == -1)
    check(result, scores, flagged)


@pytest.mark.parametrize("classifier", [GaussianNB(), make_pipeline(StandardScaler(), LogisticRegression())])
def test_classifiers_see_the_labels(classifier):
    result = evaluate(classifier, TEST, n_tasks=10, random_state=1)
    scores, flagged = [], []
    for task in TASKS:
        x, y, query, _ = arrays(task)
        probability = classifier.fit(x, y).predict_proba(query)[:, 1]
        scores.append(probability)
        flagged.append(probability > 0.5)
    check(result, scores, flagged)


@pytest.mark.parametrize("classifier", [LogisticRegression(), KNeighborsClassifier(1)])
def test_a_classifier_without_anomalies_to_learn_from(classifier):
    with pytest.raises(ValueError, match="class"):
        evaluate(classifier, Fleet(anomalous_shots=0, n_machines=9), n_tasks=2, random_state=0)


def test_a_meta_trained_detector_in_a_pipeline_stays_meta_trained():
    detector = MAML(meta_steps=40, random_state=0).meta_fit(TRAIN)
    alone, piped = (
        evaluate(d, TEST, n_tasks=10, random_state=1)
        for d in (detector, make_pipeline(FunctionTransformer(), detector))
    )
    assert np.array_equal(alone.auroc, piped.auroc)


@pytest.mark.parametrize(
    "detector",
    [
        MAML(),
        NearestNeighbor(),
        OneClassSVM(),
        make_pipeline(StandardScaler(), GaussianNB()),
    ],
)
def test_images_are_flattened(detector):
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(60, 3, 2)), np.repeat([0, 1, 2], 20)
    shots = {"normal_shots": 4, "anomalous_shots": 2, "normal_queries": 5, "anomalous_queries": 5}
    results = [
        evaluate(detector, class_tasks(x, labels, **shots), n_tasks=3, random_state=0).auroc
        for x in (images, images.reshape(60, 6))
    ]
    assert np.array_equal(*results)


# --- Detectors that show what they are given ----------------------------------------------------------


class Recorder(Detector):
    """Keeps what it sees; scores by a rule given as a function of the points."""

    seen: list = []  # noqa: RUF012  shared by all clones on purpose

    def __init__(self, rule=None):
        self.rule = rule

    def _fit(self, X, y):
        self.seen.append((X.tolist(), y.tolist()))

    def _score(self, X):
        return self.rule(X)

    def _threshold(self, normal_scores, y):
        return 0.5


class Foreign(OutlierMixin, BaseEstimator):
    """An outlier detector from elsewhere that keeps what it sees."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y=None):
        self.seen.append(X.tolist())
        return self

    def score_samples(self, X):
        return -X[:, 0]


def test_the_seed_gives_every_detector_the_same_tasks():
    Recorder.seen.clear(), Foreign.seen.clear()
    evaluate(Recorder(lambda x: x[:, 0]), TEST, n_tasks=10, random_state=1)
    evaluate(Foreign(), TEST, n_tasks=10, random_state=1)
    want = [arrays(task) for task in TASKS]
    assert Recorder.seen == [(x.tolist(), y.tolist()) for x, y, *_ in want]
    assert Foreign.seen == [x[y == 0].tolist() for x, y, *_ in want]
    Recorder.seen.clear()
    evaluate(Recorder(lambda x: x[:, 0]), TEST, n_tasks=10, random_state=2)
    assert Recorder.seen != [(x.tolist(), y.tolist()) for x, y, *_ in want]


def test_a_constant_score_gets_one_half():
    result = evaluate(Recorder(lambda x: np.zeros(len(x))), TEST, n_tasks=10, random_state=0)
    assert (result.auroc == 0.5).all() and (result.mean, result.low, result.high) == (0.5, 0.5, 0.5)
    assert (result.accuracy == 8 / 15).all()  # nothing is flagged: the normal share
    assert (result.f1 == 0).all()


def test_guessing_by_position_is_worth_nothing():
    result = evaluate(Recorder(lambda x: np.arange(len(x))), FLEET, n_tasks=300, random_state=0)
    assert abs(result.mean - 0.5) < 4 * result.auroc.std() / np.sqrt(300)


def test_one_seed_one_result():
    first, again, other = (evaluate(Mahalanobis(), TEST, n_tasks=5, random_state=s).auroc for s in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


# --- Fields -------------------------------------------------------------------------------------------


def test_intervals_and_efficiency():
    begin = time.perf_counter()
    result = evaluate(Mahalanobis(), TEST, n_tasks=10, random_state=0)
    elapsed = time.perf_counter() - begin
    for name in FIGURES:
        values = getattr(result, name)
        want = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        got = result.interval(name)
        assert (got.mean, got.low, got.high) == pytest.approx((values.mean(), want.low, want.high))
    assert (result.mean, result.low, result.high) == result.interval("auroc")
    assert 0 < result.seconds < elapsed
    assert result.efficiency == pytest.approx(result.correct.sum() / result.seconds)


def test_judge_takes_one_threshold_or_one_per_task():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(10, 15))
    thresholds = rng.normal(size=10)
    check(judge(TASKS, scores, thresholds), scores, scores > thresholds[:, None])
    check(judge(TASKS, scores, 0.3), scores, scores > 0.3)
    check(judge(TASKS, scores), scores, scores > 0)
    assert np.isnan(judge(TASKS, scores).efficiency)


def test_a_score_at_the_threshold_is_not_flagged():
    assert (judge(TASKS, np.full((10, 15), 0.3), 0.3).accuracy == 8 / 15).all()


def test_judge_refuses_scores_that_are_not_finite():
    scores = np.zeros((10, 15))
    scores[3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        judge(TASKS, scores)


# --- Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [MAML, AADML])
def test_testing_on_training_units_is_refused(method):
    detector = method(meta_steps=1, random_state=0).meta_fit(TRAIN, VALID)
    for family in (TRAIN, FLEET, TRAIN.restrict(TRAIN.units[:2])):
        with pytest.raises(ValueError, match=r"overlap.*family\.split"):
            evaluate(detector, family, n_tasks=2)
    assert evaluate(detector, TEST, n_tasks=2, random_state=0).auroc.shape == (2,)


def test_a_pipeline_does_not_hide_training_units():
    detector = make_pipeline(FunctionTransformer(), MAML(meta_steps=1, random_state=0).meta_fit(TRAIN))
    with pytest.raises(ValueError, match="overlap"):
        evaluate(detector, TRAIN, n_tasks=2)


def test_tasks_of_another_width_are_refused():
    detector = MAML(meta_steps=1, random_state=0).meta_fit(TRAIN)
    with pytest.raises(ValueError, match=r"5 features.*expecting 4 features"):
        evaluate(detector, Fleet(n_machines=9, n_features=5), n_tasks=2)


@pytest.mark.parametrize("detector", [MAML(), Mahalanobis(), OneClassSVM()])
def test_no_tasks(detector):
    with pytest.raises(ValueError, match="n_tasks must be at least 1"):
        evaluate(detector, TEST, n_tasks=0)


def test_foreign_estimators_do_not_touch_torch():
    state = torch.get_rng_state()
    evaluate(EmpiricalPipeline(), TEST, n_tasks=2, random_state=0)
    assert torch.equal(state, torch.get_rng_state())


class EmpiricalPipeline(EmpiricalCovariance):
    """An estimator without `offset_` and `predict`: its scores count, its decisions are at 0."""

    def score_samples(self, X):
        return -self.mahalanobis(X)
