"""One door for every detector: same tasks, right figures, no leak."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.covariance import EmpiricalCovariance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, OneClassSVM

from metaad_tutorial import (
    AADML,
    AAE,
    ACR,
    MAML,
    Detector,
    Episodes,
    Fleet,
    Mahalanobis,
    NearestNeighbor,
    class_tasks,
    evaluate,
    judge,
    table_tasks,
)
from metaad_tutorial.metrics import interval, rank_threshold

FLEET = Fleet(6, 3, 8, 7, n_machines=60, n_features=4)
TRAIN, VALID, TEST = FLEET.split(random_state=0)
TASKS = TEST.sample(10, random_state=1)
FIGURES = ("auroc", "average_precision", "accuracy", "f1", "false_alarms", "hits")


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
        assert result.hits[t] == pytest.approx(flagged[t][y == 1].mean())
        assert result.false_alarms[t] == pytest.approx(flagged[t][y == 0].mean())
    for name in FIGURES:
        assert getattr(result, name).shape == (10,)
    assert np.array_equal(result.units, TASKS.units) and np.array_equal(result.labels, TASKS.query_y)


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


def test_a_classifier_without_probabilities_decides_by_the_sign_of_its_score():
    classifier, scores = SVC(), []
    result = evaluate(classifier, TEST, n_tasks=10, random_state=1)
    flagged = []
    for task in TASKS:
        x, y, query, _ = arrays(task)
        scores.append(classifier.fit(x, y).decision_function(query))
        flagged.append(classifier.predict(query) == 1)
    check(result, scores, flagged)


class NeighborsOfPyOD:
    """As PyOD's detectors are: no estimator of scikit-learn, a larger score is more anomalous, `threshold_` decides."""

    def __init__(self, contamination=0.1):
        self.contamination = contamination

    def fit(self, X, y=None):
        self.points = X
        self.decision_scores_ = np.sort(np.linalg.norm(X[:, None] - X, axis=-1), axis=1)[:, 1]
        self.threshold_ = np.percentile(self.decision_scores_, 100 * (1 - self.contamination))
        return self

    def decision_function(self, X):
        return np.linalg.norm(X[:, None] - self.points, axis=-1).min(1)

    def predict(self, X):
        return (self.decision_function(X) > self.threshold_).astype(int)

    def predict_proba(self, X):
        raise AssertionError("no classifier")


class TaggedNeighborsOfPyOD(BaseEstimator, NeighborsOfPyOD):
    """What a pipeline of scikit-learn takes."""


@pytest.mark.parametrize(
    ("detector", "factor"),
    [
        (NeighborsOfPyOD(), 1),
        (make_pipeline(FunctionTransformer(lambda x: 2 * x), TaggedNeighborsOfPyOD()), 2),
    ],
    ids=["alone", "pipeline"],
)
def test_detectors_of_pyod(detector, factor):
    result = evaluate(detector, TEST, n_tasks=10, random_state=1)
    scores, flagged = [], []
    for task in TASKS:
        x, y, query, _ = arrays(task)
        fitted = NeighborsOfPyOD().fit(factor * x[y == 0])
        scores.append(fitted.decision_function(factor * query))
        flagged.append(fitted.predict(factor * query) == 1)
    check(result, scores, flagged)
    assert not hasattr(detector, "threshold_")  # the reader's detector is left as it was


@pytest.mark.parametrize(
    "estimator", [GaussianMixture(random_state=0), KernelDensity(), make_pipeline(KernelDensity())]
)
def test_density_estimators_get_the_threshold_that_their_support_scores_promise(estimator):
    """They have no threshold of their own; at 0 all points or none would be flagged."""
    result = evaluate(estimator, TEST, n_tasks=10, random_state=1)
    scores, flagged = [], []
    for task in TASKS:
        x, y, query, _ = arrays(task)
        fitted = estimator.fit(x[y == 0])
        scores.append(-fitted.score_samples(query))
        flagged.append(scores[-1] > rank_threshold(-fitted.score_samples(x[y == 0]), 0.05))
    check(result, scores, flagged)
    assert 0 < result.false_alarms.mean() < 1


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
        MAML(hidden=()),  # without, images get convolutions
        NearestNeighbor(standardize=False),  # else all pixels share one scale
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


def test_an_evaluation_prints_its_figures():
    result = evaluate(NearestNeighbor(), TEST, 24, random_state=0)
    head, *lines = repr(result).splitlines()
    assert head.startswith("24 tasks of 12 units in ") and head.endswith(" s")
    assert lines == [f"{name:18}{result.interval(name):.3f}" for name in FIGURES]
    assert repr(result) == str(result)


def test_an_evaluation_prints_no_figure_that_it_cannot_have():
    one = judge(Fleet(anomalous_queries=0, n_machines=3).restrict([1]).sample(2, 0), np.zeros((2, 15)))
    assert repr(one).splitlines() == ["2 tasks of 1 unit"] + [
        f"{name:18}{value:.3f}" for name, value in (("accuracy", 1), ("false_alarms", 0))
    ]


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

    def _decide(self, y, normal_scores):
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
        assert got.mean == pytest.approx(values.mean())
        if want.low > 0 and want.high < 1:
            assert (got.low, got.high) == pytest.approx((want.low, want.high))
    assert (result.mean, result.low, result.high) == result.interval("auroc")
    assert 0 < result.seconds < elapsed
    assert result.efficiency == pytest.approx(result.correct.sum() / result.seconds)


def results(units, spread, rng, queries=(6, 6)):
    """Results whose AUROC depends on the unit: `spread` is the standard deviation of the anomalies' shift."""
    y = np.repeat([0.0, 1.0], queries)
    shift = 1 + spread * rng.normal(size=1 + max(units))
    scores = rng.normal(size=(len(units), len(y))) + shift[units][:, None] * y
    points, labels = torch.zeros(len(units), len(y), 1), torch.as_tensor(np.tile(y, (len(units), 1)))
    return judge(Episodes(points, labels, points, labels, np.asarray(units)), scores)


def test_tasks_of_one_unit_are_averaged_before_the_interval():
    units = np.array([4, 2, 2, 4, 4, 0])
    result = results(units, 1.0, np.random.default_rng(0))
    for name in FIGURES:
        values = getattr(result, name)
        means = [values[units == unit].mean() for unit in (4, 2, 0)]
        assert result.by_unit(name) == pytest.approx(means)
        want = stats.ttest_1samp(means, 0).confidence_interval(0.95)
        assert result.interval(name) == pytest.approx((np.mean(means), max(want.low, 0), min(want.high, 1)))
    assert result.mean == pytest.approx(np.mean(result.by_unit()))


def test_without_repeated_units_the_interval_is_that_over_tasks():
    result = results(np.random.default_rng(0).permutation(40), 1.0, np.random.default_rng(0))
    assert np.array_equal(result.by_unit(), result.auroc)
    assert result.interval() == interval(result.auroc)


def test_twelve_units_cover_what_many_would_show_as_often_as_they_say():
    """500 tasks of 12 units: were the tasks taken for independent, two intervals in three would miss."""
    rng = np.random.default_rng(0)
    truth = results(np.arange(20_000), 0.5, rng).mean
    held, naive = [], []
    for _ in range(100):
        result = results(np.arange(500) % 12, 0.5, rng)
        for found, kept in ((result.interval(), held), (interval(result.auroc), naive)):
            kept.append(found.low <= truth <= found.high)
    assert 0.88 <= np.mean(held) <= 1 and np.mean(naive) < 0.6


def test_an_interval_stays_within_what_a_mean_can_be():
    y = torch.tensor([[0.0, 1.0]] * 3)
    points = torch.zeros(3, 2, 1)
    result = judge(Episodes(points, y, points, y, np.arange(3)), np.array([[0, 1], [0, 1], [1, 1]]), 0.5)
    assert interval(result.auroc).high > 1 and result.high == 1 == result.interval("hits").high
    assert interval(result.false_alarms).low < 0 == result.interval("false_alarms").low


def test_one_unit_has_a_mean_and_no_interval():
    result = results(np.zeros(5, dtype=int), 1.0, np.random.default_rng(0))
    assert result.mean == pytest.approx(result.auroc.mean())
    with pytest.raises(ValueError, match=r"An interval needs at least 2 units, .*got shape \(1,\)"):
        result.interval()


def test_differences_are_paired_by_unit():
    units = np.array([4, 2, 2, 4, 4, 0])
    one, other = (results(units, 1.0, np.random.default_rng(seed)) for seed in (0, 1))
    for name in FIGURES:
        got, gaps = one.minus(other, name), one.by_unit(name) - other.by_unit(name)
        assert got == pytest.approx((gaps.mean(), *np.clip(interval(gaps)[1:], -1, 1)))
        assert other.minus(one, name) == pytest.approx((-got.mean, -got.high, -got.low))
    assert one.minus(one) == (0, 0, 0)
    with pytest.raises(ValueError, match="same tasks"):
        one.minus(results(units[::-1], 1.0, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="same tasks"):
        one.minus(results(units[:5], 1.0, np.random.default_rng(0)))


@pytest.mark.parametrize("name", ["AUROC", "correct", "seconds", "units"])
def test_figures_that_there_are_not(name):
    with pytest.raises(ValueError, match=f"figure must be .auroc., .average_precision.*got .{name}."):
        judge(TASKS, np.zeros((10, 15))).interval(name)


def test_tasks_without_anomalies_have_false_alarms_and_nothing_else():
    healthy = Fleet(5, 0, 8, 0, n_machines=10, n_features=4)
    result = evaluate(NearestNeighbor(), healthy, n_tasks=20, random_state=0)
    assert 0 < result.interval("false_alarms").mean < 0.5
    assert result.accuracy == pytest.approx(1 - result.false_alarms)
    for name in ("auroc", "average_precision", "hits"):
        with pytest.raises(ValueError, match="in every task"):
            result.interval(name)


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


def test_columns_in_another_order_are_refused():
    pd = pytest.importorskip("pandas")
    rng, y = np.random.default_rng(0), np.repeat([0, 1], (30, 20))
    tables = {i: (pd.DataFrame(rng.normal(size=(50, 2)) + y[:, None], columns=["a", "b"]), y) for i in range(8)}
    turned = {f"new {i}": (X[["b", "a"]], y) for i, (X, _) in tables.items()}
    train, test = table_tasks(tables, normal_shots=5).split((0.5, 0.5), random_state=0)
    detector = MAML(meta_steps=1, random_state=0).meta_fit(train)
    for way in (detector, make_pipeline(FunctionTransformer(), detector)):
        assert evaluate(way, test, n_tasks=2, random_state=0).auroc.shape == (2,)
        with pytest.raises(ValueError, match=r"columns are \['b', 'a'\], and the detector has learnt \['a', 'b'\]"):
            evaluate(way, table_tasks(turned, normal_shots=5), n_tasks=2)
    other = table_tasks(turned, normal_shots=5)
    for use in (lambda: detector.calibrate(other, n_tasks=2), lambda: MAML(meta_steps=1).meta_fit(train, other)):
        with pytest.raises(ValueError, match=r"columns are \['b', 'a'\]"):
            use()
    evaluate(
        NearestNeighbor().fit(tables[0][0]), table_tasks(turned, normal_shots=5), n_tasks=2
    )  # learnt nothing across


def test_points_changed_before_a_meta_trained_detector_are_noticed():
    rng, y = np.random.default_rng(0), np.repeat([0, 1], (30, 20))
    tables = {i: (rng.normal(size=(50, 2)) + y[:, None] + 500, y) for i in range(8)}
    train, test = table_tasks(tables, normal_shots=5).split((0.5, 0.5), random_state=0)
    detector = MAML(meta_steps=1, random_state=0).meta_fit(train)
    with pytest.warns(UserWarning, match=r"from the mean of those in column 0.*scaled before"):
        evaluate(make_pipeline(StandardScaler(), detector), test, n_tasks=1)


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (NearestNeighbor, "object with a method fit, such as NearestNeighbor"),
        (lambda x: x.sum(1), "object with a method fit"),
        ("NN", "object with a method fit.*'NN'"),
        (None, "object with a method fit"),
        (LinearRegression(), "LinearRegression gives no scores"),
        (LocalOutlierFactor(3), "LocalOutlierFactor gives no scores"),
    ],
    ids=("class", "function", "word", "none", "regressor", "no novelty"),
)
def test_what_is_no_detector(detector, message):
    with pytest.raises(ValueError, match=message):
        evaluate(detector, TEST, n_tasks=2)


@pytest.mark.parametrize("family", [np.zeros((5, 4)), [1, 2], None, TASKS])
def test_what_is_no_family(family):
    with pytest.raises(ValueError, match=r"family must be a family of tasks, got .*table_tasks\(tables\)"):
        evaluate(NearestNeighbor(), family)


@pytest.mark.parametrize("detector", [MAML(), Mahalanobis(), OneClassSVM()])
def test_no_tasks(detector):
    with pytest.raises(ValueError, match="n_tasks must be an integer of at least 1"):
        evaluate(detector, TEST, n_tasks=0)


def test_foreign_estimators_do_not_touch_torch():
    state = torch.get_rng_state()
    evaluate(EmpiricalPipeline(), TEST, n_tasks=2, random_state=0)
    assert torch.equal(state, torch.get_rng_state())


class EmpiricalPipeline(EmpiricalCovariance):
    """An estimator without `offset_` and `predict`."""

    def score_samples(self, X):
        return -self.mahalanobis(X)


@pytest.mark.parametrize(
    "wrap", [lambda d: make_pipeline(make_pipeline(d)), lambda d: GridSearchCV(d, {}, scoring=len)]
)
def test_training_units_are_refused_however_the_detector_is_wrapped(wrap):
    with pytest.raises(ValueError, match="overlap"):
        evaluate(wrap(AADML(meta_steps=1, random_state=0).meta_fit(TRAIN)), TRAIN, 5, 0)


def test_a_difference_needs_the_same_labels():
    ours = evaluate(NearestNeighbor(), TEST, 20, 0)
    with pytest.raises(ValueError, match="needs the same tasks"):
        ours.minus(evaluate(NearestNeighbor(), TEST, 20, 1))
    other = dataclasses.replace(ours, labels=1 - ours.labels)
    with pytest.raises(ValueError, match="needs the same tasks"):
        ours.minus(other)


@pytest.mark.filterwarnings("error")
def test_tasks_of_tables_with_names_give_no_warning():
    pd = pytest.importorskip("pandas")
    rng, y = np.random.default_rng(0), np.repeat([0, 1], [40, 10])
    tables = {i: (pd.DataFrame(rng.normal(size=(50, 2)) + y[:, None], columns=["a", "b"]), y) for i in range(12)}
    train, _, test = table_tasks(tables, normal_queries=20, anomalous_queries=4).split(random_state=0)
    evaluate(ACR(2, contamination=0.1, meta_steps=1, random_state=0).meta_fit(train), test, 3, 0)
