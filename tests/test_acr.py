"""ACR judges by the batch, learns to do so across tasks, and says so where a batch is too small."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import trained as quick
from torch import nn

from metaad_tutorial import ACR, ConvNet, Fleet, Glyphs, evaluate, judge
from metaad_tutorial.metrics import interval

TRAIN, VALID, TEST = Fleet(4, 0, 18, 6, n_machines=200, n_features=5).split(random_state=0)
TASKS = TEST.sample(6, random_state=1)
SMALL = {"meta_steps": 5, "meta_batch": 4, "random_state": 0}


def trained(**parameters):
    return quick(ACR, TRAIN, **{"embedding": 6, "hidden": (8,)} | SMALL | parameters)


@pytest.fixture(scope="module")
def detector():
    return trained().fit(TASKS.support_x[0])


def test_score_is_the_distance_from_the_middle_of_the_batch(detector):
    """Equation batch-score by hand, in NumPy."""
    x, meta = TASKS.query_x[0].numpy(), detector.meta_
    start = {name: value.numpy() for name, value in meta["start"].items()}
    h = (x - x.mean(0)) / x.std(0)
    phi = np.maximum(h @ start["weight0"] + start["bias0"], 0) @ start["weight1"] + start["bias1"]
    distance = ((phi - phi.mean(0)) ** 2).sum(1) / 6
    by_hand = meta["log_scale"].exp().item() * (distance - meta["log_radius"].exp().item())
    np.testing.assert_allclose(detector.anomaly_score(x), by_hand, rtol=1e-10)


def test_order_of_the_batch_is_irrelevant_and_its_members_are_not(detector):
    x = TASKS.query_x[0].numpy()
    score, order = detector.anomaly_score(x), np.random.default_rng(0).permutation(len(x))
    np.testing.assert_allclose(detector.anomaly_score(x[order]), score[order], rtol=1e-9)
    assert np.abs(detector.anomaly_score(x[:12]) - score[:12]).max() > 0.01


def test_a_shift_or_a_change_of_units_of_the_whole_batch_changes_nothing(detector):
    x = TASKS.query_x[0].numpy()
    moved = 1000 + x * np.array([2, 0.1, 30, 1, 5])
    np.testing.assert_allclose(detector.anomaly_score(moved), detector.anomaly_score(x), rtol=1e-6)


def test_single_precision_is_enough_for_a_column_far_from_zero():
    """A clock in seconds since 1970, in which the fault is minutes: standardised before the cast."""
    x = TASKS.query_x[0].numpy() + 1.7e9 * np.eye(5)[2]
    double, single = (trained(dtype=dtype).fit(TASKS.support_x[0]).anomaly_score(x) for dtype in ("float64", "float32"))
    assert np.corrcoef(double, single)[0, 1] > 0.9999


def test_the_support_set_changes_nothing():
    one, two = trained(), trained()
    one.fit(TASKS.support_x[0])
    two.fit(100 + TASKS.support_x[1], [0, 1, 0, 0])
    assert np.array_equal(one.anomaly_score(TASKS.query_x[0]), two.anomaly_score(TASKS.query_x[0]))
    assert one.threshold_ == two.threshold_ == 0


@pytest.mark.parametrize("contamination", ["auto", 0.1])
@pytest.mark.parametrize("labelled", [0, 2])
def test_score_tasks_agrees_with_one_task_at_a_time(contamination, labelled):
    family = Fleet(4, labelled, 18, 6, n_machines=200, n_features=5).split(random_state=0)[2]
    tasks, detector = family.sample(5, random_state=1), trained(contamination=contamination)
    scores, thresholds = detector.score_tasks(tasks)
    for t, task in enumerate(tasks):
        detector.fit(task.support_x[0], task.support_y[0])
        np.testing.assert_allclose(detector.anomaly_score(task.query_x[0]), scores[t], rtol=1e-9)
        assert detector.threshold_ == pytest.approx(thresholds[t], rel=1e-9)
    assert (np.unique(thresholds).size == 1) == (contamination == "auto")


def test_meta_training_batches_hold_few_anomalies():
    detector, rng = trained(anomaly_share=0.25), np.random.default_rng(0)
    drawn = {int(detector.draw(TRAIN, 3, rng).query_y.sum(1).unique().item()) for _ in range(60)}
    assert drawn == set(range(1, 7))  # 6 of 24 points are a quarter
    part = detector.draw(TRAIN, 3, rng)
    assert ((part.query_y == 0).sum(1) == 18).all() and part.query_x.shape[:2] == part.query_y.shape


@pytest.mark.parametrize("share", [Fraction(1, 3), Fraction(1, 4), Fraction(1, 5), Fraction(3, 10)])
def test_the_share_is_reached_exactly(share):
    normal = 2 * share.denominator * (share.denominator - share.numerator)
    most = int(share / (1 - share) * normal)
    family = Fleet(normal_queries=normal, anomalous_queries=most, n_features=2)
    detector, rng = ACR(anomaly_share=float(share)), np.random.default_rng(0)
    assert max(int(detector.draw(family, 1, rng).query_y.sum()) for _ in range(8 * most)) == most


def test_it_learns():
    """Raw distances from the batch mean are near chance on a fleet of many sensors; the learnt ones are not."""
    train, _, test = Fleet(1, 0, 27, 3, n_machines=500).split(random_state=0)
    detector = ACR(8, hidden=(), meta_steps=80, meta_batch=10, random_state=0)
    tasks = test.sample(100, random_state=1)
    raw = ((tasks.query_x - tasks.query_x.mean(1, keepdim=True)) ** 2).sum(-1).numpy()
    learnt = detector.meta_fit(train).score_tasks(tasks)[0]
    gain = judge(tasks, learnt).auroc - judge(tasks, raw).auroc
    assert interval(gain).low > 0.1
    assert detector.history_["loss"][-1] < detector.history_["loss"][0]


def test_images_other_networks_and_files(tmp_path):
    glyphs = Glyphs(1, 0, 9, 1, size=10).of_scripts("Greek")
    task = glyphs.sample(1, random_state=0)
    module = nn.Sequential(nn.Linear(100, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)).double()
    for network in (ConvNet((4, 4), norm="batch"), ConvNet((4,), outputs=3), module):
        detector = ACR(5, network=network, **SMALL).meta_fit(glyphs).fit(task.support_x[0])
        score = detector.anomaly_score(task.query_x[0])
        assert score.shape == (10,) and np.isfinite(score).all()
        np.testing.assert_allclose(detector.score_tasks(task)[0][0], score, rtol=1e-9)
        detector.save(tmp_path / "acr.npz")
        loaded = ACR.load(tmp_path / "acr.npz", **({"network": module} if network is module else {}))
        np.testing.assert_allclose(loaded.anomaly_score(task.query_x[0]), score, rtol=1e-12)


def test_batch_normalisation_uses_the_batch_and_not_the_support_set():
    glyphs = Glyphs(6, 0, 9, 1, size=10).of_scripts("Greek")
    one, two = glyphs.sample(2, random_state=0)
    detector = ACR(5, network=ConvNet((4, 4), norm="batch"), **SMALL).meta_fit(glyphs)
    scores = [detector.fit(task.support_x[0]).anomaly_score(one.query_x[0]) for task in (one, two)]
    assert np.array_equal(*scores)
    assert "support" not in detector.params_  # nor does a saved file hold it


def test_after_meta_training_it_judges_without_a_support_set(detector):
    x = TASKS.query_x[0]
    assert np.array_equal(trained().anomaly_score(x), detector.anomaly_score(x))
    assert np.array_equal(trained().predict(x), detector.predict(x))


def test_evaluate_refuses_the_training_tasks():
    with pytest.raises(ValueError, match="overlap"):
        evaluate(trained(), TRAIN, n_tasks=2)


def test_bad_input(detector):
    for n in (1, 2):
        with pytest.raises(ValueError, match=f"n_samples={n} is too small a batch to judge.*at least 3"):
            detector.anomaly_score(TASKS.query_x[0][:n])
    assert detector.anomaly_score(TASKS.query_x[0][:3]).shape == (3,)
    with pytest.raises(ValueError, match=r"n_samples=2 is too small a batch .* or to set a threshold"):
        trained(contamination=0.1).fit(TASKS.support_x[0][:2])
    with pytest.raises(ValueError, match="too small a batch to judge"):
        detector.score_tasks(Fleet(4, 0, 1, 1, n_features=5).sample(2, 0))
    for share in (0, 0.5, -1, np.nan):
        with pytest.raises(ValueError, match="anomaly_share"):
            trained(anomaly_share=share)
    assert trained().fit(TASKS.support_x[0][:1]).threshold_ == 0  # one point will do where nothing is taken from it
    with pytest.raises(ValueError, match="embedding"):
        trained(embedding=0)
    with pytest.raises(ValueError, match="more normal_queries"):
        ACR(5, **SMALL).meta_fit(Fleet(4, 0, 3, 2))
    for changed in ({"embedding": 7}, {"standardize": False}):
        with pytest.raises(ValueError, match=f"{next(iter(changed))} changed since meta_fit"):
            trained().set_params(**changed).fit(TASKS.support_x[0])


def test_predict_is_scikit_learns(detector):
    x = TASKS.query_x[0]
    assert np.array_equal(detector.predict(x) == -1, detector.anomaly_score(x) > detector.threshold_)
    torch.testing.assert_close(-detector.score_samples(x), detector.anomaly_score(x))
