"""How points are standardised: from normal support points alone, in float64, alike or from each task's own place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers import SHAPE, D, Frozen, task_of, tasks
from helpers import trained as quick
from sklearn.base import clone

from metaad_tutorial import AADML, AAE, ACR, MAML, ConvNet, Fleet, MetaAAE, PrototypicalDetector, evaluate, table_tasks
from metaad_tutorial.scaling import Scaling

WIDTH = 4
TRAIN, VALID, TEST = Fleet(5, 2, 6, 6, n_machines=60, n_features=WIDTH).split(random_state=0)
X, Y, Q = task_of(TEST)
META = pytest.mark.parametrize("method", [AADML, MAML, MetaAAE, PrototypicalDetector])


def shifted(episodes, by):
    """The same tasks, each at a place of its own: by (T, 1, d)."""
    return dataclasses.replace(episodes, support_x=episodes.support_x + by, query_x=episodes.query_x + by)


# --- Alike on all tasks -------------------------------------------------------------------------------


@META
def test_it_is_measured_on_the_normal_support_points_of_the_first_tasks(method):
    episodes = tasks(20, 6, 12, WIDTH)
    detector = quick(method, Frozen(episodes), meta_steps=1)
    normal = episodes.support_x[episodes.support_y == 0]
    scaling = detector.meta_["scaling"]
    assert torch.allclose(scaling["location"][0, 0], normal.mean(0), rtol=0, atol=1e-12)
    assert torch.allclose(scaling["scale"][0, 0], normal.std(0, correction=0), rtol=0, atol=1e-12)
    scaled = detector.scaled(episodes)
    for name in ("support_x", "query_x"):
        want = (getattr(episodes, name) - scaling["location"]) / scaling["scale"]
        assert torch.allclose(getattr(scaled, name), want, rtol=0, atol=1e-12)


@META
def test_units_do_not_matter(method):
    """Powers of two, so that not even the rounding differs; offsets go into the location."""
    episodes, units = tasks(8, 6, 12, WIDTH), torch.tensor([1.0, 1024.0, 2.0**-10, 4.0])
    other = dataclasses.replace(episodes, support_x=episodes.support_x * units, query_x=episodes.query_x * units)
    one, two = (quick(method, Frozen(part)).score_tasks(part)[0] for part in (episodes, other))
    assert np.allclose(one, two, rtol=0, atol=1e-9)


def test_standardising_can_be_undone():
    points, scaling = tasks().support_x, Scaling.of(tasks().support_x, tasks().support_y == 0)
    assert torch.allclose(scaling.undone(scaling(points)), points, rtol=0, atol=1e-12)
    assert torch.equal(scaling.undone(torch.zeros_like(points)), scaling.location.expand_as(points))


def test_pixels_share_one_location_and_scale_under_a_convolution():
    episodes = tasks(support=6)
    for network, pixels in ((ConvNet((4,), shape=SHAPE), True), (None, False)):
        scaling = quick(MAML, Frozen(episodes), network=network, meta_steps=1).meta_["scaling"]
        normal, axes = episodes.support_x[episodes.support_y == 0], () if pixels else (0,)
        for name, want in (("location", normal.mean(*axes)), ("scale", normal.std(*axes, correction=0))):
            assert scaling[name].shape == (1, 1, D)
            assert torch.allclose(scaling[name], want.expand(1, 1, D), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e6 + 0.1])
def test_a_constant_feature_is_not_blown_up(dtype, value):
    """The mean of equal numbers may differ from them in the last digit: that is no scale to divide by."""
    for n in range(1, len(X) + 1):
        constant, query = (np.c_[points, np.full(len(points), value)] for points in (X[:n], Q))
        detector = MAML(dtype=dtype, hidden=(5,), inner_lr=1.0, random_state=0).fit(constant)
        near = query + [0, 0, 0, 0, 1e-4]
        assert np.allclose(detector.anomaly_score(query), detector.anomaly_score(near), rtol=0, atol=1e-2)


@pytest.mark.parametrize("factor", [1e200, 1e-200])
@pytest.mark.parametrize("method", [AADML, AAE, MetaAAE, PrototypicalDetector])
def test_values_whose_squares_overflow_or_vanish_are_refused(method, factor):
    with pytest.raises(ValueError, match="overflow or vanish: rescale"):
        method(random_state=0).fit(X * factor)


# --- Single precision ---------------------------------------------------------------------------------


@META
def test_single_precision_keeps_small_changes_on_a_large_offset(method):
    """A counter at 1.7e9 that moves by tens: float32 alone knows it to the next 128."""
    offset = torch.tensor([1.7e9, 0, 0, 0], dtype=torch.float64)
    spread = torch.tensor([13.0, 1, 1, 1], dtype=torch.float64)
    episodes = tasks(20, 6, 12, WIDTH)
    far = dataclasses.replace(
        episodes, support_x=offset + spread * episodes.support_x, query_x=offset + spread * episodes.query_x
    )
    for standardize in (True, "task"):
        near, single = (
            quick(method, Frozen(part), hidden=(8,), dtype="float32", standardize=standardize).score_tasks(part)[0]
            for part in (episodes, far)
        )
        assert np.allclose(single, near, rtol=0, atol=1e-2) and near.std() > 0.05
    alone = method(hidden=(8,), dtype="float32", random_state=0)
    scores = [alone.fit(part.support_x[0]).anomaly_score(part.query_x[0]) for part in (episodes, far)]
    assert np.allclose(*scores, rtol=0, atol=1e-2)


# --- From each task's own place -----------------------------------------------------------------------


@META
def test_from_its_own_place_no_task_s_place_matters(method):
    episodes = tasks(20, 6, 12, WIDTH)
    away = torch.as_tensor(np.random.default_rng(0).normal(scale=1000, size=(20, 1, WIDTH)))
    plain, moved = (
        quick(method, Frozen(part), standardize="task").score_tasks(part)[0]
        for part in (episodes, shifted(episodes, away))
    )
    assert np.allclose(plain, moved, rtol=0, atol=1e-8) and plain.std() > 0.05
    detector = quick(method, Frozen(episodes), standardize="task")
    scores = [detector.fit(X + place, Y).anomaly_score(Q + place) for place in (0, 1e6)]  # nor is a new place far away
    assert np.allclose(*scores, rtol=0, atol=1e-6)


def test_its_place_is_the_support_mean_and_its_scale_that_within_tasks():
    episodes = tasks(20, 6, 12, WIDTH)
    detector = quick(MAML, Frozen(episodes), standardize="task", meta_steps=1)
    y = episodes.support_y.unsqueeze(-1)
    place = (episodes.support_x * (1 - y)).sum(1, keepdim=True) / (1 - y).sum(1, keepdim=True)
    normal = (episodes.query_x - place)[episodes.query_y == 0]
    assert torch.allclose(detector.meta_["scaling"]["scale"][0, 0], normal.std(0, correction=0), rtol=0, atol=1e-12)
    scaled = detector.scaled(episodes)
    for name in ("support_x", "query_x"):
        want = (getattr(episodes, name) - place) / detector.meta_["scaling"]["scale"]
        assert torch.allclose(getattr(scaled, name), want, rtol=0, atol=1e-12)
    detector.fit(X, Y)
    assert torch.allclose(detector.params_["scaling"]["location"][0, 0], torch.as_tensor(X[Y == 0].mean(0)))


def test_machines_with_set_points_of_their_own_are_told_apart_from_faults():
    """Set points 30 times as far apart as a machine's own noise: measured from its own place, a fault shows."""
    train, _, test = Fleet(10, 0, spread=30, n_machines=300).split(random_state=0)
    alike, task = (
        evaluate(quick(PrototypicalDetector, train, meta_steps=100, standardize=how), test, 100, 0).mean
        for how in (True, "task")
    )
    assert task > 0.95 > alike + 0.05


def test_a_batch_has_no_place_but_its_own():
    with pytest.raises(ValueError, match="standardize must be True or False"):
        ACR(standardize="task").fit(X)


# --- Support sets far away ----------------------------------------------------------------------------


@META
def test_a_support_set_far_from_the_training_tasks_gets_a_warning(method):
    detector = quick(method, TRAIN)
    for column, factor in ((1, 1000.0), (3, -500.0)):
        with pytest.warns(UserWarning, match=rf"meta-training tasks from the mean of those in column {column}"):
            detector.fit(X + factor * np.eye(WIDTH)[column], Y)
    detector.fit(X, Y)  # no warning here, which would be an error
    method(random_state=0).fit(X + 1000, Y)  # without meta-training there is nothing to be far from


@pytest.mark.parametrize("method", [MAML, PrototypicalDetector])
def test_from_its_own_place_only_the_spread_can_be_far(method):
    detector = quick(method, TRAIN, standardize="task")
    detector.fit(X + 1e6, Y)  # no warning here, which would be an error
    with pytest.warns(UserWarning, match=r"tasks from their own median in column 1: other units"):
        detector.fit(X * np.array([1, 1000, 1, 1]), Y)


def test_a_detector_of_batches_is_nowhere():
    detector = quick(ACR, Fleet(4, 0, 9, 3, n_features=WIDTH, n_machines=20))
    assert np.allclose(detector.fit(X).anomaly_score(Q), detector.fit(X + 1000).anomaly_score(Q + 1000))


def test_the_warning_names_the_column():
    pd = pytest.importorskip("pandas")
    rng, columns = np.random.default_rng(0), ["pressure", "oil"]
    presses = {
        f"press {i}": (pd.DataFrame(rng.normal(size=(40, 2)), columns=columns), np.arange(40) % 2) for i in range(6)
    }
    detector = quick(MAML, table_tasks(presses, normal_queries=5, anomalous_queries=5))
    with pytest.warns(UserWarning, match="column 'oil'"):
        detector.fit(pd.DataFrame(rng.normal(size=(5, 2)) + [0, 99], columns=columns))


def test_a_rare_value_is_not_far_away():
    """A flag that is hardly ever up, a pixel that is hardly ever lit: only if all support points are far is it odd."""
    dark, episodes = torch.tensor([0.001, 1, 1, 1]), tasks(20, 6, 12, WIDTH)
    rare = {name: getattr(episodes, name) * dark for name in ("support_x", "query_x")}
    detector, x = quick(MAML, Frozen(dataclasses.replace(episodes, **rare))), X.copy()
    x[:, 0] = 0
    x[np.flatnonzero(Y == 0)[1:], 0] = 1
    detector.fit(x, Y)  # any warning is an error
    clone(detector).set_params(standardize="task").meta_fit(Frozen(dataclasses.replace(episodes, **rare))).fit(x, Y)
    x[:, 0] = 1
    with pytest.warns(UserWarning, match="column 0"):
        detector.fit(x, Y)


# --- What must not change -----------------------------------------------------------------------------


@META
def test_it_may_not_change_after_the_training(method):
    detector = quick(method, TRAIN)
    with pytest.raises(ValueError, match="standardize changed since meta_fit"):
        detector.set_params(standardize=False).fit(X, Y)
    assert np.isfinite(detector.set_params(standardize=True).fit(X, Y).anomaly_score(Q)).all()


@pytest.mark.parametrize("level", [1.0, 1e6])
def test_a_column_that_is_constant_within_each_machine_keeps_its_scale(level):
    """A set point: its own mean subtracted, rounding is left, which is no scale."""
    rng, y = np.random.default_rng(0), np.repeat([0, 1], [30, 6])
    tables = {i: (np.c_[rng.normal(size=(36, 2)), np.full(36, level * rng.uniform(0.1, 1))], y) for i in range(20)}
    train = table_tasks(tables, normal_shots=10, anomalous_queries=5)
    scale = quick(AADML, train, standardize="task").meta_["scaling"]["scale"].flatten()
    assert scale[2] == 1 and 0.8 < scale[0] < 1.2
