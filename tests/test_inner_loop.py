"""The inner loop against a plain loop over tasks, and how MAML and AADML use it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import (
    D,
    Frozen,
    at_random,
    attached,
    gradient,
    plain_dense,
    plain_inner_loop,
    point_loss,
    relative,
    task_of,
    tasks,
    trained,
    with_meta,
)

from metaad_tutorial import AADML, MAML, MLP, Fleet
from metaad_tutorial.inner_loop import gradient_step, inner_loop, per_task
from metaad_tutorial.losses import LOSSES, balanced_mean, cross_entropy

TASKS, WIDTH, RATE = 4, 3, 0.3
FLEET = Fleet(5, 2, 6, 6, n_machines=60, n_features=WIDTH)
TRAIN, VALID, TEST = FLEET.split(random_state=0)
X, Y, Q = task_of(TEST)


def problem(hidden=()):
    """A random start whose last layer is not zero, and random tasks."""
    return at_random(MAML(hidden=hidden), WIDTH)["start"], tasks(TASKS, 6, 5, WIDTH)


def engine(start, episodes, steps, loss="cross_entropy", hidden=(), second_order=True):
    network, rule = MLP(hidden), gradient_step(RATE)
    support_loss = lambda w: LOSSES[loss](network(w, episodes.support_x), episodes.support_y).mean(-1)  # noqa: E731
    return inner_loop(support_loss, per_task(start, TASKS), rule, steps, second_order)


def reference(start, episodes, t, steps, loss="cross_entropy"):
    """Gradient descent on task t alone."""

    def support_loss(w, k):
        return point_loss(loss, plain_dense(w, episodes.support_x[t]), episodes.support_y[t]).mean()

    return plain_inner_loop(support_loss, start, lambda name, w, grad, k: w - RATE * grad, steps)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared", "focal"])
@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)])
def test_adapted_parameters_are_those_of_a_loop_over_tasks(hidden, loss, steps):
    start, episodes = problem(hidden)
    adapted = engine(attached(start), episodes, steps, loss, hidden)
    for t in range(TASKS):
        alone = reference(attached(start), episodes, t, steps, loss)
        for name in alone:
            assert torch.allclose(adapted[name][t], alone[name], rtol=0, atol=1e-12)
        assert not torch.allclose(alone["bias0"], start["bias0"], rtol=0, atol=1e-3)  # it did move


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_is_the_query_gradient_at_the_adapted_parameters(steps):
    start, episodes = problem((5,))
    start, network = attached(start), MLP((5,))

    def of(second_order):
        w = engine(start, episodes, steps, hidden=(5,), second_order=second_order)
        return gradient(cross_entropy(network(w, episodes.query_x), episodes.query_y).mean(), start)

    total = 0
    for t in range(TASKS):
        alone = attached(reference(start, episodes, t, steps))
        logit = plain_dense(alone, episodes.query_x[t])
        total = total + gradient(F.binary_cross_entropy_with_logits(logit, episodes.query_y[t]), alone) / TASKS
    assert torch.allclose(of(False), total, rtol=0, atol=1e-12)
    assert relative(of(False), of(True)) > 1e-3  # the two orders do differ here


def test_tasks_do_not_mix():
    start, episodes = problem((5,))
    before = engine(attached(start), episodes, 3, hidden=(5,))
    episodes.support_x[1] += 1.0
    after = engine(attached(start), episodes, 3, hidden=(5,))
    for name in before:
        rest = [0, 2, 3]
        assert torch.equal(before[name][rest], after[name][rest])
        assert not torch.equal(before[name][1], after[name][1])


def test_no_step_leaves_the_start():
    start, episodes = problem((5,))
    adapted = engine(attached(start), episodes, 0, hidden=(5,))
    assert all(torch.equal(adapted[name], start[name].expand_as(adapted[name])) for name in start)


# --- Losses -------------------------------------------------------------------------------------------


def test_cross_entropy_is_exact_at_large_logits():
    z, y = (torch.tensor(v, dtype=torch.float64) for v in ([1e4, -1e4, 25.0], [0.0, 1.0, 1.0]))
    assert cross_entropy(z, y).tolist() == pytest.approx([1e4, 1e4, np.log1p(np.exp(-25.0))], rel=1e-4, abs=0)


def test_balanced_mean_weighs_classes_not_points():
    loss = torch.tensor([[1.0, 2.0, 3.0, 10.0], [1.0, 2.0, 3.0, 6.0], [1.0, 2.0, 3.0, 6.0]])
    y = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert balanced_mean(loss, y).tolist() == [6.0, 3.0, 3.0]


# --- What MAML and AADML make of it -------------------------------------------------------------------


def logistic_descent(w, decay, rate, steps, X=X):
    """The inner loop of a linear logistic model on (X, Y) in NumPy."""
    points = np.c_[X, np.ones(len(X))]
    for _ in range(steps):
        slope = points.T @ (1 / (1 + np.exp(-points @ w)) - Y) / len(X)
        w = w - decay * w - rate * slope
    return w


def layer(w):
    """Numbers of each feature and of the constant, (d + 1, ...), as parameters of a linear network."""
    return {"weight0": torch.as_tensor(w[:-1, None]), "bias0": torch.as_tensor(w[None, -1:])}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("case", ["gradient descent", "Meta-SGD", "AADML"])
def test_rules_of_aadml_against_a_plain_loop(case, steps):
    rng = np.random.default_rng(0)
    start = rng.normal(size=WIDTH + 1)
    rate = np.full(WIDTH + 1, 0.2) if case == "gradient descent" else rng.normal(size=WIDTH + 1)
    decay = rng.normal(size=WIDTH + 1) if case == "AADML" else np.zeros(WIDTH + 1)
    meta = {"start": layer(start), "rule": layer(np.stack([decay, rate], -1))}
    detector = with_meta(AADML(inner_steps=steps), meta, d=WIDTH).fit(X, Y)
    w = logistic_descent(start, decay, rate, steps)
    assert np.allclose(detector.params_["w"]["weight0"][0, :, 0], w[:-1], rtol=0, atol=1e-12)
    assert np.allclose(detector.anomaly_score(Q), Q @ w[:-1] + w[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_aadml_with_the_rule_of_maml_is_maml(hidden):
    maml = trained(MAML, TRAIN, hidden=hidden, inner_lr=0.2)
    start, scaling = maml.meta_["start"], maml.meta_["scaling"]
    rule = {name: torch.stack([torch.zeros_like(w), torch.full_like(w, 0.2)], -1) for name, w in start.items()}
    aadml = with_meta(AADML(hidden=hidden), {"start": start, "rule": rule}, **scaling, d=WIDTH)
    for task in TEST.sample(6, random_state=1):
        one, two = (d.fit(task.support_x[0], task.support_y[0]).params_["w"] for d in (maml, aadml))
        assert all(torch.allclose(one[name], two[name], rtol=0, atol=1e-12) for name in start)


@pytest.mark.parametrize("method", [AADML, MAML])
def test_untrained_they_are_gradient_descent_from_zero(method):
    location, scale = X[Y == 0].mean(0), X[Y == 0].std(0)
    w = logistic_descent(np.zeros(WIDTH + 1), 0, 0.3, 5, (X - location) / scale)
    scores = method(inner_steps=5, inner_lr=0.3).fit(X, Y).anomaly_score(Q)
    assert np.allclose(scores, (Q - location) / scale @ w[:-1] + w[-1], rtol=0, atol=1e-12)


def test_the_rates_have_the_promised_shapes_and_start():
    rng = np.random.default_rng(0)
    for learn_lr, shapes in (("step", [(2,), (2,)]), ("parameter", [(D, 1), (1, 1)])):
        rate = MAML(learn_lr=learn_lr, inner_steps=2, inner_lr=0.3).init(rng, D)["rate"]
        assert [tuple(rate[name].shape) for name in ("weight0", "bias0")] == shapes
        assert all((value == 0.3).all() for value in rate.values())
    deep = MAML(learn_lr="step", head_only=True, hidden=(4,)).init(rng, D)
    assert set(deep["rate"]) == {"weight1", "bias1"}


@pytest.mark.parametrize("method", [AADML, MAML])
def test_head_only_leaves_the_body_to_all_tasks(method):
    detector = method(hidden=(4,), head_only=True, inner_lr=0.4)
    meta = at_random(detector, WIDTH)
    start = meta["start"]
    adapted = with_meta(detector, meta, d=WIDTH).fit(X, Y).params_["w"]
    same = {name: torch.equal(w, start[name].expand_as(w)) for name, w in adapted.items()}
    assert same == {"weight0": True, "bias0": True, "weight1": False, "bias1": False}


@pytest.mark.parametrize("method", [AADML, MAML])
def test_without_steps_the_learnt_start_scores(method):
    detector = trained(method, TRAIN, hidden=(4,))
    start, scaling = detector.meta_["start"], detector.meta_["scaling"]
    detector.set_params(inner_steps=0).fit(X, Y)
    want = plain_dense(start, (torch.as_tensor(Q) - scaling["location"][0]) / scaling["scale"][0])
    assert np.allclose(detector.anomaly_score(Q), want, rtol=0, atol=1e-12)
    assert np.array_equal(detector.fit(X[:1]).anomaly_score(Q), detector.fit(X, Y).anomaly_score(Q))


@pytest.mark.parametrize("method", [AADML, MAML])
def test_a_diverging_inner_loop_gives_no_silent_nan(method):
    detector = method(loss="squared", inner_lr=1e300, inner_steps=5)
    with pytest.raises(ValueError, match="inner_lr"):
        detector.fit(X, Y).anomaly_score(Q)


def test_a_diverging_meta_training_says_so():
    with pytest.raises(ValueError, match="diverged: lower"):
        MAML(loss="squared", inner_lr=1e200, meta_steps=3, inner_steps=4).meta_fit(Frozen(TEST.sample(6, 1)))
