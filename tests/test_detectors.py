"""What every detector does: adapts, scores without leaks, takes any input, refuses bad input."""

from __future__ import annotations

import importlib
import pickle
import random
import sys

import matplotlib
import numpy as np
import pytest
import torch
from helpers import task_of
from helpers import trained as quick
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold, cross_val_score

from metaad_tutorial import (
    AADML,
    AAE,
    ACR,
    MAML,
    MLP,
    ConvNet,
    EmpiricalBayes,
    Fleet,
    GaussianizedBayes,
    Glyphs,
    Mahalanobis,
    MetaAAE,
    NearestNeighbor,
    PooledFeatures,
    PooledLogistic,
    PrototypicalDetector,
    evaluate,
    table_tasks,
    training,
)
from metaad_tutorial.estimator import detector as as_detector
from metaad_tutorial.tree import flat

WIDTH = 4
TRAIN, VALID, TEST = Fleet(5, 2, 6, 6, n_machines=60, n_features=WIDTH).split(random_state=0)
TASKS = TEST.sample(6, random_state=1)
X, Y, Q = task_of(TEST)
BOTH_KINDS = Fleet(5, 2, 9, 3, n_machines=60, n_features=WIDTH).split(random_state=0)[0]  # for ACR, few anomalies

META = [AADML, MAML]


def trained(method, **parameters):
    return quick(method, TRAIN, VALID, **parameters)


READY = {
    "AADML": trained(AADML),
    "AADML-deep": trained(AADML, hidden=(5,)),
    "MAML": trained(MAML),
    "MAML-deep": trained(MAML, hidden=(5,), loss="focal", balanced=True),
    "MAML-task": trained(MAML, standardize="task"),
    "MAML-fresh": MAML(hidden=(5,), random_state=0),
    "EmpiricalBayes": EmpiricalBayes(0.2, random_state=0).meta_fit(TRAIN),
    "GaussianizedBayes": GaussianizedBayes(random_state=0).meta_fit(TRAIN),
    "PooledLogistic": PooledLogistic(random_state=0).meta_fit(TRAIN),
    "PooledFeatures": trained(PooledFeatures, head_steps=2),
    "NearestNeighbor": NearestNeighbor(),
    "NearestNeighbor-raw": NearestNeighbor(k=3, standardize=False),
    "Mahalanobis": Mahalanobis(),
}
EVERY = pytest.mark.parametrize("name", READY)


def copy_of(name):
    """A detector with the same meta-training, free to be fitted."""
    return clone(READY[name])


# --- No leak ------------------------------------------------------------------------------------------


@EVERY
def test_scores_do_not_depend_on_the_other_query_points(name):
    detector = copy_of(name).fit(X, Y)
    scores = detector.anomaly_score(Q)
    assert scores.shape == (len(Q),) and scores.dtype == np.float64
    assert scores.std() > 0
    order = np.random.default_rng(0).permutation(len(Q))
    close = {"rtol": 0, "atol": 1e-12}
    assert np.allclose(detector.anomaly_score(Q[order]), scores[order], **close)
    assert np.allclose(detector.anomaly_score(Q[::2]), scores[::2], **close)
    assert np.allclose([detector.anomaly_score(q[None])[0] for q in Q], scores, **close)
    assert np.array_equal(detector.anomaly_score(Q), scores)  # scoring changes nothing


@EVERY
def test_many_tasks_at_once_are_the_tasks_one_by_one(name):
    detector = copy_of(name)
    scores, thresholds = detector.score_tasks(TASKS)
    assert scores.shape == (6, 12) and thresholds.shape == (6,)
    for t, task in enumerate(TASKS):
        alone = copy_of(name).fit(task.support_x[0], task.support_y[0])
        assert np.allclose(alone.anomaly_score(task.query_x[0]), scores[t], rtol=0, atol=1e-12)
        assert alone.threshold_ == pytest.approx(thresholds[t], abs=1e-12)


@EVERY
def test_query_sets_of_other_tasks_do_not_matter(name):
    want, thresholds = copy_of(name).score_tasks(TASKS)
    part, part_thresholds = copy_of(name).score_tasks(TASKS[2:4])
    assert np.allclose(part, want[2:4], rtol=0, atol=1e-12)
    assert np.allclose(part_thresholds, thresholds[2:4], rtol=0, atol=1e-12)


def test_scoring_in_chunks_changes_nothing():
    detector = copy_of("AADML")
    want = detector.score_tasks(TASKS)
    detector.chunk = 4
    for got, whole in zip(detector.score_tasks(TASKS), want, strict=True):
        assert np.allclose(got, whole, rtol=0, atol=1e-12)


@EVERY
def test_adapting_to_one_task_leaves_nothing_for_the_next(name):
    detector = copy_of(name).fit(X, Y)
    first = detector.anomaly_score(Q)
    detector.fit(TASKS.support_x[1].numpy(), TASKS.support_y[1].numpy())
    assert not np.allclose(detector.anomaly_score(Q), first)
    assert np.array_equal(detector.fit(X, Y).anomaly_score(Q), first)


def generator_states():
    state = np.random.get_state()  # noqa: NPY002
    return state[1].tolist(), state[2], torch.get_rng_state().tolist(), random.getstate()


@pytest.mark.parametrize("method", META)
def test_global_generators_are_left_alone(method):
    before = generator_states()
    detector = method(hidden=(3,), meta_steps=2, meta_batch=3).meta_fit(TRAIN, VALID)
    detector.fit(X, Y).anomaly_score(Q)
    method(hidden=(3,)).fit(X, Y)
    evaluate(detector, TEST, n_tasks=3)
    evaluate(NearestNeighbor(), TEST, n_tasks=3)
    assert generator_states() == before


def settings():
    return (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        np.geterr(),
        dict(matplotlib.rcParams),
    )


@pytest.fixture
def another_thread():
    """One thread more than usual, so that a call of set_num_threads(1) would show."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    yield
    torch.set_num_threads(threads)


def test_importing_changes_no_setting(monkeypatch, another_thread):
    before, own = settings(), [name for name in sys.modules if name.split(".")[0] == "metaad_tutorial"]
    for name in own:
        monkeypatch.delitem(sys.modules, name)  # imported afresh below, put back after the test
    for name in own:
        assert importlib.import_module(name) is not None
    assert settings() == before


def test_using_changes_no_setting(capfd, another_thread):
    before = settings()
    for method in META:
        evaluate(trained(method, hidden=(3,)), TEST, n_tasks=3, random_state=0)
        method().fit(X, Y).predict(Q)
    assert settings() == before
    assert capfd.readouterr() == ("", "")  # silent unless a terminal asks for progress


@pytest.mark.parametrize("method", META)
def test_the_default_dtype_of_torch_does_not_matter(method):
    want = trained(method, hidden=(3,), balanced=True).fit(X, Y).anomaly_score(Q)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        got = trained(method, hidden=(3,), balanced=True).fit(X, Y).anomaly_score(Q)
    finally:
        torch.set_default_dtype(before)
    assert np.array_equal(got, want)


# --- scikit-learn's conventions -----------------------------------------------------------------------


@EVERY
def test_scores_and_decisions_fit_together(name):
    detector = copy_of(name).fit(X, Y)
    score = detector.anomaly_score(Q)
    assert np.array_equal(detector.score_samples(Q), -score)
    assert detector.offset_ == -detector.threshold_
    assert np.allclose(detector.decision_function(Q), detector.threshold_ - score, rtol=0, atol=1e-12)
    assert np.array_equal(detector.predict(Q), np.where(score > detector.threshold_, -1, 1))
    assert len(set(detector.predict(Q))) == 2


@EVERY
def test_no_labels_mean_all_normal(name):
    without, zeros = (copy_of(name).fit(X, y) for y in (None, np.zeros(len(X))))
    assert np.array_equal(without.anomaly_score(Q), zeros.anomaly_score(Q))
    assert without.threshold_ == zeros.threshold_


@pytest.mark.parametrize("labels", [Y.astype(int), Y.astype(bool), Y.tolist(), torch.as_tensor(Y)])
@EVERY
def test_labels_of_any_type(name, labels):
    want = copy_of(name).fit(X, Y).anomaly_score(Q)
    assert np.array_equal(copy_of(name).fit(X, labels).anomaly_score(Q), want)


@EVERY
def test_one_normal_point_is_enough(name):
    fitted = copy_of(name).fit(X[:1])
    assert np.isfinite(fitted.anomaly_score(Q)).all() and np.isfinite(fitted.threshold_)


# --- Inputs -------------------------------------------------------------------------------------------


def shapes_of(x):
    """The same points in all the ways a reader may hold them."""
    locked = x.copy()
    locked.setflags(write=False)
    yield from (x.tolist(), torch.as_tensor(x), torch.as_tensor(x).requires_grad_(), locked, np.asfortranarray(x))


@EVERY
def test_inputs_of_any_kind(name):
    want = copy_of(name).fit(X, Y).anomaly_score(Q)
    for points, queries in zip(shapes_of(X), shapes_of(Q), strict=True):
        detector = copy_of(name).fit(points, Y)
        assert np.array_equal(detector.anomaly_score(queries), want)
        assert np.array_equal(detector.anomaly_score(Q), want)  # the kinds may be mixed


@EVERY
def test_images_of_any_kind(name):
    images, asked = (x.reshape(len(x), 2, 2) for x in (X, Q))
    want = copy_of(name).fit(images, Y).anomaly_score(asked)
    for points, queries in ((images, Q), (torch.as_tensor(images), torch.as_tensor(asked))):
        assert np.array_equal(copy_of(name).fit(points, Y).anomaly_score(queries), want)
    if hasattr(READY[name], "meta_"):  # otherwise pixels share one scale
        assert np.array_equal(copy_of(name).fit(X, Y).anomaly_score(Q), want)


@EVERY
def test_single_precision_input(name):
    want = copy_of(name).fit(X, Y).anomaly_score(Q)
    got = copy_of(name).fit(X.astype(np.float32), Y).anomaly_score(Q.astype(np.float32))
    assert got.dtype == np.float64
    assert np.allclose(got, want, rtol=1e-4, atol=1e-4)


@EVERY
def test_data_frames(name):
    pd = pytest.importorskip("pandas")
    want = copy_of(name).fit(X, Y).anomaly_score(Q)
    columns = [f"sensor{i}" for i in range(WIDTH)]
    detector = copy_of(name).fit(pd.DataFrame(X, columns=columns), pd.Series(Y, index=range(10, 10 + len(Y))))
    assert np.array_equal(detector.anomaly_score(pd.DataFrame(Q, columns=columns)), want)


@EVERY
def test_inputs_are_left_alone(name):
    points, labels, queries = X.copy(), Y.copy(), Q.copy()
    copy_of(name).fit(points, labels).anomaly_score(queries)
    assert np.array_equal(points, X) and np.array_equal(labels, Y) and np.array_equal(queries, Q)


@pytest.mark.parametrize("method", META)
def test_single_precision_arithmetic(method):
    single = trained(method, hidden=(5,), dtype="float32").fit(X, Y)
    double = trained(method, hidden=(5,)).fit(X, Y)
    learnt = [*single.meta_["start"].values(), *single.params_["w"].values()]
    assert {v.dtype for v in learnt} == {torch.float32}
    assert single.anomaly_score(Q).dtype == np.float64
    assert np.allclose(single.anomaly_score(Q), double.anomaly_score(Q), rtol=0, atol=1e-3)
    assert not np.array_equal(single.anomaly_score(Q), double.anomaly_score(Q))


@pytest.mark.parametrize("method", [*META, ACR, MetaAAE, PrototypicalDetector])
def test_the_precision_may_change_after_the_training(method):
    detector = quick(method, BOTH_KINDS, hidden=(4,))
    double = detector.fit(X, Y).anomaly_score(Q)
    single = detector.set_params(dtype="float32").fit(X, Y).anomaly_score(Q)
    assert np.allclose(single, double, rtol=0, atol=1e-3) and not np.array_equal(single, double)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", META)
def test_cuda_gives_the_same_scores(method):
    cpu, cuda = (trained(method, hidden=(5,), device=device) for device in ("cpu", "cuda"))
    assert {v.device.type for v in flat(cuda.meta_).values()} == {"cuda"}
    one, two = (d.fit(X, Y).anomaly_score(Q) for d in (cpu, cuda))
    assert np.allclose(one, two, rtol=0, atol=1e-8)
    assert np.allclose(cpu.score_tasks(TASKS)[0], cuda.score_tasks(TASKS)[0], rtol=0, atol=1e-8)


# --- Bad input ----------------------------------------------------------------------------------------


def spoilt(value):
    bad = X.copy()
    bad[1, 2] = value
    return bad


BAD_SUPPORT = {
    "NaN": (lambda: (spoilt(np.nan), Y), r"X contains NaN"),
    "infinity": (lambda: (spoilt(np.inf), Y), r"X contains infinity"),
    "empty": (lambda: (X[:0], Y[:0]), r"0 sample\(s\).*minimum of 1 is required"),
    "one axis": (lambda: (X[:, 0], Y), r"(?s)Expected 2D array.*[Rr]eshape"),
    "labels 1 and 2": (lambda: (X, Y + 1), r"must be 0 \(normal\) or 1 \(anomaly\), got labels \[1.*2.*\]; recode"),
    "labels -1 and 1": (lambda: (X, 2 * Y - 1), r"must be 0 \(normal\) or 1.*recode"),
    "digits as words": (lambda: (X, Y.astype(int).astype(str)), r"must be 0 \(normal\) or 1.*'1'.*recode"),
    "words": (lambda: (X, np.where(Y == 1, "bad", "good")), r"must be 0 \(normal\) or 1.*'bad'.*recode"),
    "NaN label": (lambda: (X, np.where(Y == 1, np.nan, 0)), r"must be 0 \(normal\) or 1.*nan.*recode"),
    "no normal point": (lambda: (X, np.ones(len(X))), r"No normal point.*needs at least one"),
    "labels too few": (lambda: (X, Y[:-1]), r"one label for each of the 7 points, got shape \(6,\)"),
    "labels in a column": (lambda: (X, Y[:, None]), r"one label for each of the 7 points, got shape \(7, 1\)"),
}


@pytest.mark.parametrize("case", BAD_SUPPORT)
@EVERY
def test_bad_support_sets_are_named(name, case):
    build, message = BAD_SUPPORT[case]
    with pytest.raises(ValueError, match=message):
        copy_of(name).fit(*build())


@pytest.mark.parametrize("detector", [AAE(steps=3), ACR(8), MetaAAE(), PrototypicalDetector(8), *READY.values()])
def test_a_refused_fit_changes_nothing(detector):
    fitted = clone(detector).set_params(**{"random_state": 0} if "random_state" in detector.get_params() else {})
    before = fitted.fit(X, Y).anomaly_score(Q)
    with pytest.raises(ValueError, match="recode"):
        fitted.fit(X[:, :3], np.full(len(X), 2))
    assert np.array_equal(fitted.anomaly_score(Q), before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.where(np.arange(WIDTH) == 1, np.nan, Q), "contains NaN"),
        (np.where(np.arange(WIDTH) == 1, -np.inf, Q), "contains infinity"),
        (Q[:, :3], rf"X has 3 features, but \w+ is expecting {WIDTH} features"),
        (Q[0], "Expected 2D array"),
        (Q[:0], "minimum of 1 is required"),
    ],
)
@EVERY
def test_bad_query_points_are_named(name, bad, message):
    detector = copy_of(name).fit(X, Y)
    for score in (detector.anomaly_score, detector.predict):
        with pytest.raises(ValueError, match=message):
            score(bad)


@pytest.mark.parametrize("name", ["AADML", "AADML-deep", "MAML"])
def test_meta_training_fixes_the_width(name):
    with pytest.raises(ValueError, match=rf"X has 3 features, but \w+ is expecting {WIDTH} features"):
        copy_of(name).fit(X[:, :3], Y)


@pytest.mark.parametrize("name", ["MAML-fresh", "NearestNeighbor", "Mahalanobis"])
def test_without_meta_training_the_width_is_free(name):
    detector = copy_of(name).fit(X, Y).fit(X[:, :3], Y)
    assert detector.anomaly_score(Q[:, :3]).shape == (12,)


@EVERY
def test_scores_before_fit(name):
    for score in ("anomaly_score", "predict", "score_samples", "decision_function"):
        with pytest.raises(NotFittedError, match=r"not fitted yet.*[Cc]all 'fit'"):
            getattr(copy_of(name), score)(Q)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"inner_steps": -1}, "inner_steps"),
        ({"meta_steps": 0}, "meta_steps"),
        ({"meta_batch": 0}, "meta_batch"),
        ({"inner_lr": 0.0}, "inner_lr"),
        ({"inner_lr": -0.1}, "inner_lr"),
        ({"inner_lr": np.nan}, "inner_lr"),
        ({"meta_lr": np.inf}, "meta_lr"),
        ({"loss": "hinge"}, "loss must be 'cross_entropy', 'squared' or 'focal', got 'hinge'"),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64'"),
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": 3}, "hidden"),
        ({"standardize": "machine"}, "standardize must be True, False or 'task'"),
        ({"balanced": "yes"}, "balanced must be True or False, got 'yes'"),
        ({"inner_lr": np.ones(2)}, "inner_lr must be a finite number"),
        ({"device": "gpu"}, "device must be 'cpu', or 'cuda' where PyTorch sees a GPU, got 'gpu'"),
    ],
)
@pytest.mark.parametrize("method", META)
def test_bad_parameters_are_named_wherever_they_are_used(method, parameters, message):
    for use in (
        lambda d: d.fit(X, Y),
        lambda d: d.meta_fit(TRAIN),
        lambda d: d.score_tasks(TASKS),
    ):
        with pytest.raises(ValueError, match=message):
            use(method(**parameters))


@pytest.mark.parametrize("method", [*META, MetaAAE])
def test_outputs_of_a_convnet_are_refused_where_they_have_no_meaning(method):
    with pytest.raises(ValueError, match="a ConvNet without outputs"):
        method(network=ConvNet((2,), outputs=7), random_state=0).fit(X)


# --- What was learnt from other tasks -----------------------------------------------------------------


@EVERY
def test_a_clone_knows_the_other_tasks_and_not_this_one(name):
    detector = copy_of(name).fit(X, Y)
    fresh = clone(detector)
    assert fresh.get_params() == detector.get_params()
    with pytest.raises(NotFittedError):
        fresh.anomaly_score(Q)
    assert np.array_equal(fresh.fit(X, Y).anomaly_score(Q), detector.anomaly_score(Q))
    if name != "MAML-fresh" and "MAML" in name:
        steps = clone(detector).set_params(inner_steps=7).fit(X, Y)
        assert not np.allclose(steps.anomaly_score(Q), detector.anomaly_score(Q))
        with pytest.raises(ValueError, match="hidden changed since meta_fit"):
            clone(detector).set_params(hidden=(2,)).fit(X, Y)


@pytest.mark.parametrize(
    ("make", "changed"),
    [(lambda: trained(AADML), {"inner_lr": 0.5}), (lambda: trained(MAML, learn_lr="parameter"), {"inner_lr": 0.5})],
    ids=["AADML", "Meta-SGD"],
)
def test_a_step_size_that_was_learnt_over_cannot_be_set(make, changed):
    with pytest.raises(ValueError, match="inner_lr changed since meta_fit"):
        make().set_params(**changed).fit(X, Y)
    trained(MAML).set_params(**changed).fit(X, Y)  # there it is the step


def test_parameters_of_a_reader_s_own_subclass_are_checked_whatever_its_annotations():
    for more, less in ((int, float | None), ("int", "float | None")):  # evaluated at once, and postponed
        space = {"__annotations__": {"more": more, "less": less}, "more": 5, "less": None}
        kind = as_detector(type("Own", (MAML,), space))
        for bad, message in (({"more": -3}, "more must be"), ({"less": -1.0}, "less must be")):
            with pytest.raises(ValueError, match=message):
                kind(**bad).fit(X, Y)


def test_support_sets_are_scored_only_for_a_threshold(monkeypatch):
    detector, looked = trained(PrototypicalDetector), []
    logit = PrototypicalDetector.logit
    monkeypatch.setattr(PrototypicalDetector, "logit", lambda self, *args: looked.append(1) or logit(self, *args))
    detector.score_tasks(TASKS)
    assert len(looked) == 1
    detector.set_params(contamination=0.2).score_tasks(TASKS)
    assert len(looked) == 3


def test_a_clone_with_a_module_of_the_reader_s_own():
    detector = trained(MAML, network=torch.nn.Linear(WIDTH, 1)).fit(X, Y)
    before, fresh = detector.anomaly_score(Q), clone(detector)
    assert np.array_equal(fresh.fit(X, Y).anomaly_score(Q), before)
    clone(detector).meta_fit(TRAIN)
    assert np.array_equal(detector.anomaly_score(Q), before)  # nothing that learns is shared
    with pytest.raises(ValueError, match="network changed since meta_fit"):
        fresh.set_params(network=torch.nn.Linear(WIDTH, 1)).fit(X, Y)


def test_cross_validation_scores_the_trained_detector():
    points, labels, _ = task_of(TEST, seed=3)
    cut = StratifiedKFold(2)
    scores = cross_val_score(copy_of("MAML"), points, labels, scoring=lambda d, x, y: d.anomaly_score(x).mean(), cv=cut)
    want = [
        copy_of("MAML").fit(points[seen], labels[seen]).anomaly_score(points[new]).mean()
        for seen, new in cut.split(points, labels)
    ]
    assert np.array_equal(scores, want)


def test_a_detector_remembers_units_and_no_data():
    """What refuses the training units is a record of their names, also in a pickle."""
    rng, y = np.random.default_rng(0), np.arange(40) % 2
    tables = {f"press {i}": (rng.normal(size=(40, 300)), y) for i in range(12)}
    train, _, test = table_tasks(tables, normal_queries=5, anomalous_queries=5).split(random_state=0)
    detector = quick(MAML, train, meta_steps=1)
    assert [sorted(units) for _, units in detector.trained_on_] == [sorted(train.units)]
    assert len(pickle.dumps(detector)) < 40 * 300 * 8  # not even one table
    again = pickle.loads(pickle.dumps(detector))
    with pytest.raises(ValueError, match="overlap"):
        evaluate(again, train, n_tasks=2)
    assert len(evaluate(again, test, n_tasks=2).auroc) == 2


# --- Names of columns ---------------------------------------------------------------------------------

COLUMNS = [f"sensor {i}" for i in range(WIDTH)]


@pytest.fixture(scope="module")
def named():
    """A family of named tables, and a table of a new machine."""
    pd = pytest.importorskip("pandas")
    rng, y = np.random.default_rng(0), np.arange(40) % 2
    frames = [pd.DataFrame(rng.normal(size=(40, WIDTH)), columns=COLUMNS) for _ in range(7)]
    family = table_tasks(
        {f"press {i}": (f, y) for i, f in enumerate(frames[:6])}, normal_queries=5, anomalous_queries=5
    )
    return family, frames[6]


@pytest.mark.parametrize("method", META)
def test_columns_are_known_from_the_training_on(named, tmp_path, method):
    family, frame = named
    detector = quick(method, family)
    assert detector.feature_names_in_.tolist() == COLUMNS
    detector.save(tmp_path / "detector.npz")
    for known in (detector, clone(detector), method.load(tmp_path / "detector.npz")):
        want = known.fit(frame[:5]).anomaly_score(frame)
        for use in (lambda d, f: d.fit(f[:5]), lambda d, f: d.anomaly_score(f)):
            with pytest.raises(ValueError, match="feature names should match"):
                use(known, frame[COLUMNS[::-1]])
            with pytest.raises(ValueError, match="feature names should match"):
                use(known, frame.rename(columns={"sensor 0": "oil"}))
        assert np.array_equal(known.anomaly_score(frame), want)


@EVERY
def test_without_names_in_the_training_those_of_the_support_set_count(name):
    pd = pytest.importorskip("pandas")
    detector = copy_of(name).fit(pd.DataFrame(X, columns=COLUMNS), Y)
    with pytest.raises(ValueError, match="feature names should match"):
        detector.anomaly_score(pd.DataFrame(Q, columns=COLUMNS)[COLUMNS[::-1]])


# --- Explanations -------------------------------------------------------------------------------------


@EVERY
def test_an_explanation_takes_one_column_away_after_the_other(name):
    detector = copy_of(name).fit(X, Y)
    parts, score = detector.explain(Q), detector.anomaly_score(Q)
    assert parts.shape == Q.shape and parts.dtype == np.float64
    for j in range(WIDTH):
        usual = Q.copy()
        usual[:, j] = X[Y == 0, j].mean()
        assert np.allclose(parts[:, j], score - detector.anomaly_score(usual), rtol=0, atol=1e-12)
    usual = detector.explain(np.tile(X[Y == 0].mean(0), (2, 1)))
    assert np.allclose(usual, 0, rtol=0, atol=1e-7)  # nothing to take away


def test_the_explanation_of_a_linear_score_is_its_terms():
    detector = copy_of("MAML").fit(X, Y)
    w, scale = detector.params_["w"]["weight0"][0, :, 0].numpy(), detector.params_["scaling"]["scale"][0, 0].numpy()
    assert np.allclose(detector.explain(Q), w * (Q - X[Y == 0].mean(0)) / scale, rtol=0, atol=1e-10)


def test_an_explanation_of_images_has_a_column_for_each_pixel():
    detector = NearestNeighbor().fit(X.reshape(-1, 2, 2))
    assert np.array_equal(detector.explain(Q.reshape(-1, 2, 2)), detector.explain(Q))
    assert detector.explain(Q).shape == (len(Q), 4)


# --- Modules ------------------------------------------------------------------------------------------

SCORERS = {
    "AADML": lambda: trained(AADML),
    "MAML, float32": lambda: trained(MAML, hidden=(5,), dtype="float32"),
    "MAML, task": lambda: trained(MAML, standardize="task"),
    "MAML, batch norm": lambda: trained(MAML, network=ConvNet((4,), "batch")),
    "MAML, module": lambda: trained(MAML, network=torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3),
                                                                      torch.nn.Linear(3, 1))),
    "MAML, untrained": lambda: MAML(hidden=(3,), random_state=0),
    "MetaAAE": lambda: trained(MetaAAE),
    "PrototypicalDetector": lambda: trained(PrototypicalDetector, hidden=(5,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SCORERS)
def test_the_adapted_scorer_as_a_module(kind):
    detector = SCORERS[kind]()
    with pytest.raises(NotFittedError):
        detector.as_module()
    want = detector.fit(X, Y).anomaly_score(Q)
    module, points = detector.as_module(), torch.as_tensor(Q).requires_grad_()
    scores = module(points)
    assert scores.shape == (len(Q),)
    assert np.allclose(scores.detach().numpy(), want, rtol=0, atol=1e-12)
    (slope,) = torch.autograd.grad(scores.sum(), points)
    assert slope.shape == points.shape and (slope != 0).any(1).all()
    detector.fit(TASKS.support_x[1], TASKS.support_y[1])
    assert torch.equal(module(points), scores)  # a later fit does not reach it
    twin = detector.as_module()
    twin.load_state_dict(module.state_dict())  # what was adapted is its state
    assert torch.equal(twin(points), scores)


EXPORTED = {
    "AADML": (lambda: trained(AADML), X, Y, Q),
    "EmpiricalBayes": (lambda: EmpiricalBayes(random_state=0).meta_fit(TRAIN), X, Y, Q),
    "PrototypicalDetector": (lambda: trained(PrototypicalDetector, hidden=(5,), standardize="task"), X, Y, Q),
    "images": (
        lambda: quick(PrototypicalDetector, Glyphs(3, 0, 4, 4, size=8), dtype="float32"),
        np.random.default_rng(0).random((6, 8, 8)), None, np.random.default_rng(1).random((9, 8, 8)),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the exporter's own
@pytest.mark.parametrize("kind", EXPORTED)
def test_an_exported_scorer_gives_the_same_scores(kind, tmp_path):
    """In ONNX Runtime, for other numbers of rows than it was exported with."""
    from onnxruntime import InferenceSession

    make, x, y, q = EXPORTED[kind]
    detector, file, rows = make().fit(x, y), tmp_path / "scorer.onnx", torch.as_tensor(q).flatten(1)
    torch.onnx.export(detector.as_module(), (rows,), file, dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False)
    session = InferenceSession(file, providers=["CPUExecutionProvider"])
    for n in (len(q), 3):
        (scores,) = session.run(None, {session.get_inputs()[0].name: rows[:n].numpy()})
        assert np.allclose(scores, detector.anomaly_score(q[:n]), rtol=0, atol=1e-5 if kind == "images" else 1e-10)


# --- Images -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def letters():
    return Glyphs(5, 0, 6, 6, size=10).of_scripts("Greek")


@pytest.mark.parametrize("method", [AADML, MAML, MetaAAE, PrototypicalDetector])
def test_images_get_convolutions_when_nothing_else_is_said(letters, method):
    x, _, q = task_of(letters)
    short = {"meta_steps": 1, "meta_batch": 8}
    detector = quick(method, letters, **short)
    assert isinstance(detector.net, ConvNet) and detector.net.shape == (10, 10)
    assert detector.hidden is None and detector.network is None  # parameters stay what they were
    scores = detector.fit(x).anomaly_score(q)
    assert np.array_equal(scores, detector.fit(x.reshape(len(x), -1)).anomaly_score(q.reshape(len(q), -1)))
    assert isinstance(clone(detector).net, ConvNet)
    for own in ({"hidden": ()}, {"hidden": (3,)}):
        assert isinstance(quick(method, letters, **short, **own).net, MLP)
    assert isinstance(trained(method).net, MLP)  # points get none
    alone = method(random_state=0)
    assert isinstance(alone.fit(x).net, ConvNet) and isinstance(alone.fit(X).net, MLP)  # nor does a new fit remember


@pytest.mark.parametrize(
    ("family", "own", "want"),
    [
        ("points", {}, (0.02, 400, 25)),
        ("points", {"hidden": (3,)}, (0.02, 400, 25)),
        ("images", {}, (0.01, 600, 8)),
        ("images", {"hidden": (3,)}, (0.02, 400, 25)),
        ("images", {"network": ConvNet((4,))}, (0.003, 400, 25)),
        ("images", {"meta_lr": 0.1, "meta_steps": 3, "meta_batch": 2}, (0.1, 3, 2)),
    ],
    ids=str,
)
def test_the_training_suits_the_network(letters, monkeypatch, family, own, want):
    def looked_at(meta, draw, *_, lr, steps, **options):
        seen.append((lr, steps, len(draw())))
        return meta, {}

    seen = []
    monkeypatch.setattr(training, "meta_train", looked_at)
    MAML(random_state=0, **own).meta_fit({"points": TRAIN, "images": letters}[family])
    assert seen == [want]


def test_oblong_images_get_convolutions(letters):
    x, _, q = (points[..., 2:8] if points.ndim == 3 else points for points in task_of(letters))
    detector = MAML(random_state=0).fit(x)
    assert detector.net.shape == (10, 6) and detector.anomaly_score(q).shape == (len(q),)


# --- The promise --------------------------------------------------------------------------------------


def test_aadml_comes_close_to_the_ceiling_and_beats_maml():
    """95 % of the way from chance to the ceiling, and clearly more accurate than one fixed step."""
    family = Fleet()
    train, valid, test = family.split(random_state=0)
    aadml = AADML(meta_steps=120, random_state=0).meta_fit(train, valid)
    maml = MAML(inner_steps=1, meta_steps=120, random_state=0).meta_fit(train, valid)
    ours, theirs = (evaluate(d, test, n_tasks=150, random_state=0) for d in (aadml, maml))
    ceiling = family.bayes_auroc
    assert ours.mean >= 0.5 + 0.95 * (ceiling - 0.5)
    assert ours.mean <= ceiling + 0.01  # better than the best possible would be a leak
    assert ours.interval("accuracy").low > theirs.interval("accuracy").high
    # No threshold beats a perfect direction with a perfect offset.
    assert ours.accuracy.mean() <= norm.cdf(norm.ppf(ceiling) / np.sqrt(2)) + 0.01


# --- Images, untrained; modules of the reader's, changed later ----------------------------------------


@pytest.mark.parametrize("method", [AADML, MAML, PrototypicalDetector])
def test_an_untrained_detector_scores_images_alike_in_one_task_and_in_many(method):
    tasks = Glyphs(3, 2, 4, 4).sample(3, random_state=0)
    detector = method(random_state=0)
    scores, _ = detector.fit(X, Y).score_tasks(tasks)  # whatever it was fitted on before
    for task, score in zip(tasks, scores, strict=True):
        detector.fit(task.support_x[0], task.support_y[0])
        np.testing.assert_allclose(detector.anomaly_score(task.query_x[0]), score, rtol=1e-9, atol=1e-12)


def test_a_clone_keeps_what_was_frozen_in_a_module():
    module = torch.nn.Sequential(torch.nn.Linear(WIDTH, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    module[0].requires_grad_(False)
    detector = trained(MAML, network=module).fit(X, Y)
    before = detector.anomaly_score(Q)
    torch.nn.init.zeros_(module[0].weight)
    for one in (detector, clone(detector)):
        assert np.array_equal(one.fit(X, Y).anomaly_score(Q), before)


def test_meta_fit_takes_families_and_no_labels():
    with pytest.raises(ValueError, match="valid must be a family of tasks, got ndarray"):
        AADML().meta_fit(TRAIN, Y)


def test_what_has_no_support_set_has_nothing_to_explain_from():
    detector = ACR(3, meta_steps=2, random_state=0).meta_fit(BOTH_KINDS)
    detector.predict(Q)
    with pytest.raises(NotFittedError):
        detector.explain(Q)


@EVERY
def test_images_of_several_channels_are_refused(name):
    with pytest.raises(ValueError, match="dim 4"):
        copy_of(name).fit(np.zeros((5, 2, 2, 1)))
