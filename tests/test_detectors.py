"""What every detector does: adapts, scores without leaks, takes any input, refuses bad input."""

from __future__ import annotations

import importlib
import random
import sys

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors

from metaad_tutorial import AADML, MAML, Fleet, Mahalanobis, NearestNeighbor, TaskFamily, evaluate, mgd

WIDTH = 4
FLEET = Fleet(5, 2, 6, 6, n_machines=60, n_features=WIDTH)
TRAIN, VALID, TEST = FLEET.split(random_state=0)
TASKS = TEST.sample(6, random_state=1)
X, Y = TASKS.support_x[0].numpy(), TASKS.support_y[0].numpy()
Q = TASKS.query_x[0].numpy()

META = [AADML, MAML]
BASELINES = [NearestNeighbor(), NearestNeighbor(k=3, standardize=True), Mahalanobis()]


def trained(method, **parameters):
    settings = {"meta_steps": 4, "meta_batch": 5, "random_state": 0} | parameters
    return method(**settings).meta_fit(TRAIN, VALID)


READY = {
    "AADML": trained(AADML),
    "AADML-deep": trained(AADML, hidden=(5,)),
    "MAML": trained(MAML),
    "MAML-deep": trained(MAML, hidden=(5,), loss="focal", balanced=True),
    "MAML-fresh": MAML(hidden=(5,), random_state=0),
    "NearestNeighbor": NearestNeighbor(),
    "NearestNeighbor-scaled": NearestNeighbor(k=3, standardize=True),
    "Mahalanobis": Mahalanobis(),
}
EVERY = pytest.mark.parametrize("name", READY)


def copy_of(name):
    """A detector with the same meta-training, free to be fitted; `clone` would forget it."""
    old = READY[name]
    new = clone(old)
    for attribute in ("meta_", "n_features_in_", "trained_on_", "history_"):
        if hasattr(old, "meta_") and hasattr(old, attribute):
            setattr(new, attribute, getattr(old, attribute))
    return new


class Frozen(TaskFamily):
    """The same episodes each time, whatever the seed."""

    def __init__(self, episodes, name):
        self.source, self.episodes = name, episodes
        super().__init__(np.arange(len(episodes)))

    def sample(self, n_tasks, random_state=None):
        return self.episodes


# --- Special cases of AADML ---------------------------------------------------------------------------


def with_rule(start, decay, rate, **parameters):
    """AADML with a given start and rule, as if meta-trained."""
    detector = AADML(standardize=False, **parameters)
    detector.meta_ = {
        "location": torch.zeros(1, 1, WIDTH).double(),
        "scale": torch.ones(1, 1, WIDTH).double(),
        "start.weight0": torch.as_tensor(start[None, :-1]),
        "start.bias0": torch.as_tensor(start[-1:]),
        "rule.weight0": torch.as_tensor(np.stack([decay, rate], -1)[None, :-1]),
        "rule.bias0": torch.as_tensor(np.stack([decay, rate], -1)[-1:]),
    }
    detector.n_features_in_ = WIDTH
    return detector


def logistic_descent(w, decay, rate, steps):
    """The inner loop of a linear logistic model on (X, Y) in NumPy."""
    points = np.c_[X, np.ones(len(X))]
    for _ in range(steps):
        gradient = points.T @ (1 / (1 + np.exp(-points @ w)) - Y) / len(X)
        w = w - decay * w - rate * gradient
    return w


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("case", ["gradient descent", "Meta-SGD", "AADML"])
def test_rules_of_aadml_against_a_plain_loop(case, steps):
    rng = np.random.default_rng(0)
    start = rng.normal(size=WIDTH + 1)
    rate = np.full(WIDTH + 1, 0.2) if case == "gradient descent" else rng.normal(size=WIDTH + 1)
    decay = rng.normal(size=WIDTH + 1) if case == "AADML" else np.zeros(WIDTH + 1)
    detector = with_rule(start, decay, rate, inner_steps=steps).fit(X, Y)
    w = logistic_descent(start, decay, rate, steps)
    assert np.allclose(detector.params_["weight0"][0, 0], w[:-1], rtol=0, atol=1e-12)
    assert np.allclose(detector.anomaly_score(Q), Q @ w[:-1] + w[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_aadml_with_the_rule_of_maml_is_maml(hidden):
    maml = trained(MAML, hidden=hidden, inner_lr=0.2)
    aadml = AADML(hidden=hidden)
    aadml.meta_ = dict(maml.meta_)
    for name, value in maml.meta_.items():
        if name.startswith("start."):
            fixed = torch.stack([torch.zeros_like(value), torch.full_like(value, 0.2)], -1)
            aadml.meta_[name.replace("start.", "rule.")] = fixed
    aadml.n_features_in_ = WIDTH
    for task in TASKS:
        one, two = (d.fit(task.support_x[0], task.support_y[0]) for d in (maml, aadml))
        assert all(torch.allclose(one.params_[n], two.params_[n], rtol=0, atol=1e-12) for n in one.params_)


def test_untrained_aadml_and_maml_are_gradient_descent_from_zero():
    scale = X[Y == 0].std(0)
    points = np.c_[(X - X[Y == 0].mean(0)) / scale, np.ones(len(X))]
    w = np.zeros(WIDTH + 1)
    for _ in range(5):
        w -= 0.3 * points.T @ (1 / (1 + np.exp(-points @ w)) - Y) / len(X)
    queries = np.c_[(Q - X[Y == 0].mean(0)) / scale, np.ones(len(Q))]
    for method in META:
        scores = method(inner_steps=5, inner_lr=0.3).fit(X, Y).anomaly_score(Q)
        assert np.allclose(scores, queries @ w, rtol=0, atol=1e-12)


def test_mgd_is_a_dot_product_per_parameter():
    state, theta = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0)), torch.ones(4, 2)
    assert torch.allclose(mgd(state, theta * 2), 2 * state[..., 0] + 2 * state[..., 1])
    assert mgd(torch.tensor([3.0, 5.0]), torch.tensor([0.5, 0.1])) == pytest.approx(2.0)


# --- Meta-training ------------------------------------------------------------------------------------


def reference_training(method, steps, inner_steps, inner_lr, meta_lr, loss):
    """Meta-training on all of TASKS each step, as a loop over tasks, with linear models; the losses and the result."""
    normal = TASKS.support_x[TASKS.support_y == 0]
    location, scale = normal.mean(0), normal.std(0, correction=0)
    w = torch.zeros(WIDTH + 1, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([[0.0, inner_lr]] * (WIDTH + 1), dtype=torch.float64, requires_grad=True)
    learnt = [w, theta] if method is AADML else [w]
    optimizer, losses = torch.optim.Adam(learnt, lr=meta_lr), []

    def point_loss(v, x, y):
        logit = (x - location) / scale @ v[:-1] + v[-1]
        if loss == "squared":
            return (logit - 2 * y + 1).square().mean() / 2
        return F.binary_cross_entropy_with_logits(logit, y)

    for _ in range(steps):
        total = 0
        for t in range(len(TASKS)):
            v = w
            for _ in range(inner_steps):
                inner = point_loss(v, TASKS.support_x[t], TASKS.support_y[t])
                (grad,) = torch.autograd.grad(inner, v, create_graph=True)
                v = v - theta[:, 0] * v - theta[:, 1] * grad
            logit = (TASKS.query_x[t] - location) / scale @ v[:-1] + v[-1]
            total = total + F.binary_cross_entropy_with_logits(logit, TASKS.query_y[t]) / len(TASKS)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return losses, w.detach(), theta.detach()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("method", META)
def test_meta_training_descends_the_exact_meta_gradient(method, loss):
    settings = {"inner_steps": 3, "inner_lr": 0.2, "meta_lr": 0.05, "loss": loss}
    detector = method(meta_steps=4, meta_batch=len(TASKS), **settings).meta_fit(Frozen(TASKS, "a"))
    losses, w, theta = reference_training(method, 4, **settings)
    assert np.allclose(detector.history_["loss"], losses, rtol=0, atol=1e-10)
    start = torch.cat([detector.meta_["start.weight0"][0], detector.meta_["start.bias0"]])
    assert torch.allclose(start, w, rtol=0, atol=1e-8)
    if method is AADML:
        rule = torch.cat([detector.meta_["rule.weight0"][0], detector.meta_["rule.bias0"]])
        assert torch.allclose(rule, theta, rtol=0, atol=1e-8)
        assert (rule - torch.tensor([0.0, 0.2])).abs().min() > 1e-3  # every entry has been learnt


def test_the_best_outer_step_on_the_validation_tasks_is_kept():
    """With a step size this large the loss goes up and down; on the same tasks, train and validation loss connect."""
    detector = MAML(meta_steps=12, meta_lr=3.0, inner_steps=1, random_state=0)
    detector.valid_every = 1
    detector.meta_fit(Frozen(TASKS, "a"), Frozen(TASKS, "b"))
    losses, valid = detector.history_["loss"], detector.history_["valid_loss"]
    assert len(losses) == len(valid) == 12
    assert np.allclose(losses[1:], valid[:-1], rtol=0, atol=1e-12)  # step i + 1 begins where step i was judged
    assert min(valid) < valid[-1] - 1e-3
    scores, _ = detector.score_tasks(TASKS)
    kept = F.binary_cross_entropy_with_logits(torch.as_tensor(scores), TASKS.query_y)
    assert kept.item() == pytest.approx(min(valid), abs=1e-12)


def test_validation_tasks_give_no_gradient():
    settings = {"meta_steps": 5, "random_state": 0}
    other = Frozen(VALID.sample(6, random_state=0), "b")
    with_, without = (MAML(**settings).meta_fit(Frozen(TASKS, "a"), valid) for valid in (other, None))
    assert with_.history_["loss"] == without.history_["loss"]
    assert without.history_["valid_loss"] == []


def test_meta_training_lowers_the_loss():
    for method in META:
        losses = method(meta_steps=60, random_state=0).meta_fit(TRAIN).history_["loss"]
        assert np.mean(losses[-10:]) < 0.75 * losses[0]


@pytest.mark.parametrize("hidden", [(), (5,)])
@pytest.mark.parametrize("method", META)
def test_the_seed_fixes_meta_training(method, hidden):
    first, again, other = (trained(method, hidden=hidden, random_state=s).meta_ for s in (0, 0, 1))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)
    from_generator = trained(method, hidden=hidden, random_state=np.random.default_rng(0)).meta_
    assert all(torch.equal(first[n], from_generator[n]) for n in first)


@pytest.mark.parametrize("method", META)
def test_meta_training_refuses_overlap(method):
    with pytest.raises(ValueError, match=r"overlap.*family\.split"):
        method(meta_steps=1).meta_fit(TRAIN, FLEET)


def test_meta_training_refuses_validation_tasks_of_another_width():
    other = Fleet(5, 2, 6, 6, n_machines=20, n_features=WIDTH + 1)
    with pytest.raises(ValueError, match="features"):
        MAML(meta_steps=1, random_state=0).meta_fit(TRAIN, other)


def test_a_diverging_meta_training_says_so():
    with pytest.raises(ValueError, match="diverged: lower"):
        MAML(loss="squared", inner_lr=1e200, meta_steps=3, inner_steps=4).meta_fit(Frozen(TASKS, "a"))


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


@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("method", [*META, Mahalanobis])
def test_contamination_is_the_share_of_normal_support_points_flagged(method, share):
    points = np.random.default_rng(0).normal(size=(40, WIDTH))
    y = np.repeat([0, 1], [32, 8])
    detector = method(contamination=share).fit(points, y)
    assert (detector.predict(points[:32]) == -1).mean() == share


def test_automatic_threshold():
    assert copy_of("MAML").fit(X, Y).threshold_ == 0  # logit 0: probability one half
    assert copy_of("MAML").fit(X).threshold_ == 0
    assert MAML().fit(X, Y).threshold_ == 0
    one_class = MAML().fit(X)  # nothing gave the logit a meaning
    assert one_class.threshold_ == np.quantile(one_class.anomaly_score(X), 0.95)


# --- Baselines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 99])
def test_nearest_neighbor_is_scikit_learn_s(k):
    normal = X[Y == 0]
    rank = min(k, len(normal))
    want = NearestNeighbors(n_neighbors=rank).fit(normal).kneighbors(Q)[0][:, -1]
    assert np.allclose(NearestNeighbor(k=k).fit(normal).anomaly_score(Q), want)
    minus = np.linalg.norm(Q[:, None] - X[Y == 1], axis=-1).min(1)
    labelled = NearestNeighbor(k=k).fit(X, Y)
    assert np.allclose(labelled.anomaly_score(Q), want - minus)
    assert labelled.threshold_ == 0


def test_nearest_neighbor_is_scaled_by_its_normal_points():
    scale = X[Y == 0].std(0)
    want = NearestNeighbor().fit(X / scale, Y).anomaly_score(Q / scale)
    assert np.allclose(NearestNeighbor(standardize=True).fit(X, Y).anomaly_score(Q), want)


def test_nearest_neighbor_threshold_leaves_each_point_out():
    points = np.array([[0.0], [1.0], [3.0], [10.0]])
    assert NearestNeighbor(contamination=0.5).fit(points).threshold_ == np.median([1, 1, 2, 7])


def test_nearest_neighbor_scaling_ignores_units_and_constant_columns():
    units = np.array([1.0, 1000.0, 0.01, 1.0])
    want = NearestNeighbor(standardize=True).fit(X, Y).anomaly_score(Q)
    assert np.allclose(NearestNeighbor(standardize=True).fit(X * units, Y).anomaly_score(Q * units), want)
    constant = np.c_[X, np.full(len(X), 7.0)]
    got = NearestNeighbor(standardize=True).fit(constant, Y).anomaly_score(np.c_[Q, np.full(len(Q), 7.0)])
    assert np.allclose(got, want)


def test_mahalanobis_is_scikit_learn_s():
    points = np.random.default_rng(0).normal(size=(30, WIDTH))
    want = np.sqrt(LedoitWolf().fit(points).mahalanobis(Q))
    assert np.allclose(Mahalanobis().fit(points).anomaly_score(Q), want)
    spoilt = np.concatenate([points, np.full((3, WIDTH), 50.0)])
    assert np.allclose(Mahalanobis().fit(spoilt, np.repeat([0, 1], [30, 3])).anomaly_score(Q), want)


@pytest.mark.parametrize("detector", [*BASELINES, MAML(), AADML()])
def test_one_normal_point_is_enough(detector):
    fitted = clone(detector).fit(X[:1])
    assert np.isfinite(fitted.anomaly_score(Q)).all() and np.isfinite(fitted.threshold_)


# --- Inputs -------------------------------------------------------------------------------------------


def shapes_of(x):
    """The same points in all the ways a reader may hold them."""
    locked = x.copy()
    locked.setflags(write=False)
    yield from (x.tolist(), torch.as_tensor(x), torch.as_tensor(x).requires_grad_(), locked, np.asfortranarray(x))
    yield x.reshape(len(x), 2, 2)
    yield torch.as_tensor(x.reshape(len(x), 2, 2))


@EVERY
def test_inputs_of_any_kind(name):
    want = copy_of(name).fit(X, Y).anomaly_score(Q)
    for points, queries in zip(shapes_of(X), shapes_of(Q), strict=True):
        detector = copy_of(name).fit(points, Y)
        assert np.array_equal(detector.anomaly_score(queries), want)
        assert np.array_equal(detector.anomaly_score(Q), want)  # the kinds may be mixed


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
    assert {v.dtype for v in [*single.meta_.values(), *single.params_.values()]} == {torch.float32}
    assert single.anomaly_score(Q).dtype == np.float64
    assert np.allclose(single.anomaly_score(Q), double.anomaly_score(Q), rtol=0, atol=1e-3)
    assert not np.array_equal(single.anomaly_score(Q), double.anomaly_score(Q))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e6 + 0.1])
def test_a_constant_feature_is_not_blown_up(dtype, value):
    """The mean of equal numbers may differ from them in the last digit: that is no scale to divide by."""
    for n in range(1, len(X) + 1):
        constant, query = (np.c_[points, np.full(len(points), value)] for points in (X[:n], Q))
        detector = MAML(dtype=dtype, hidden=(5,), inner_lr=1.0, random_state=0).fit(constant)
        near = query + [0, 0, 0, 0, 1e-4]
        assert np.allclose(detector.anomaly_score(query), detector.anomaly_score(near), rtol=0, atol=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", META)
def test_cuda_gives_the_same_scores(method):
    cpu, cuda = (trained(method, hidden=(5,), device=device) for device in ("cpu", "cuda"))
    assert {v.device.type for v in cuda.meta_.values()} == {"cuda"}
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
    "words": (lambda: (X, np.where(Y == 1, "bad", "good")), r"must be 0 \(normal\) or 1.*'bad'.*recode"),
    "NaN label": (lambda: (X, np.where(Y == 1, np.nan, 0)), r"must be 0 \(normal\) or 1.*nan.*recode"),
    "no normal point": (lambda: (X, np.ones(len(X))), r"No normal point.*needs at least one"),
    "labels too few": (lambda: (X, Y[:-1]), r"one label for each of the 7 support points, got shape \(6,\)"),
    "labels in a column": (lambda: (X, Y[:, None]), r"one label for each of the 7 support points, got shape \(7, 1\)"),
}


@pytest.mark.parametrize("case", BAD_SUPPORT)
@EVERY
def test_bad_support_sets_are_named(name, case):
    build, message = BAD_SUPPORT[case]
    with pytest.raises(ValueError, match=message):
        copy_of(name).fit(*build())


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
        ({"inner_steps": 0}, "inner_steps"),
        ({"meta_steps": 0}, "meta_steps"),
        ({"meta_batch": 0}, "meta_batch"),
        ({"inner_lr": 0.0}, "inner_lr"),
        ({"inner_lr": -0.1}, "inner_lr"),
        ({"inner_lr": np.nan}, "inner_lr"),
        ({"meta_lr": np.inf}, "meta_lr"),
        ({"loss": "hinge"}, "loss must be one of cross_entropy, squared, focal, got 'hinge'"),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64'"),
        ({"hidden": (0,)}, "hidden"),
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


@pytest.mark.parametrize("share", [0, -0.1, 0.6, 1, np.nan])
@EVERY
def test_contamination_out_of_range(name, share):
    with pytest.raises(ValueError, match="contamination"):
        copy_of(name).set_params(contamination=share).fit(X, Y)


def test_neighbors_out_of_range():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        NearestNeighbor(k=0).fit(X, Y)


@pytest.mark.parametrize("method", META)
def test_a_diverging_inner_loop_gives_no_silent_nan(method):
    detector = method(loss="squared", inner_lr=1e300, inner_steps=5)
    with pytest.raises(ValueError, match="inner_lr"):
        detector.fit(X, Y).anomaly_score(Q)


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
