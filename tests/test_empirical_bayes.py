"""Empirical Bayes: moments against simulation, posterior and scores against brute force, the fleet's limit."""

import numpy as np
import pytest
import torch
from helpers import Frozen, draw, tasks
from scipy.stats import multivariate_normal

from metaad_tutorial import EmpiricalBayes, Episodes, Fleet, Mahalanobis, evaluate, judge, load
from metaad_tutorial.empirical_bayes import from_anywhere, moments, points_of, posterior

D = 3


def covariance(seed, scale=1.0):
    a = np.random.default_rng(seed).normal(size=(D, D))
    return scale * (a @ a.T / D + 0.3 * np.eye(D))


KNOWN = {
    "within": covariance(1), "within_anomalous": covariance(2), "between": covariance(3, 2),
    "between_shift": covariance(4), "mean": np.array([1.0, -2, 0.5]), "shift": np.array([2.0, 0, 1]),
}  # fmt: skip


def units(n_units, n_normal, n_anomalous, seed=0):
    """Points of units with the parameters above."""
    rng = np.random.default_rng(seed)
    normal, anomalous = [], []
    for _ in range(n_units):
        mean = rng.multivariate_normal(KNOWN["mean"], KNOWN["between"])
        shift = rng.multivariate_normal(KNOWN["shift"], KNOWN["between_shift"])
        normal.append(rng.multivariate_normal(mean, KNOWN["within"], n_normal))
        anomalous.append(rng.multivariate_normal(mean + shift, KNOWN["within_anomalous"], n_anomalous))
    return normal, anomalous


# --- What other units tell ----------------------------------------------------------------------------


@pytest.mark.parametrize(("n_normal", "n_anomalous"), [(30, 20), (4, 2)])
def test_moments_are_those_of_the_units_whatever_their_size(n_normal, n_anomalous):
    found = moments(*units(8000, n_normal, n_anomalous), shared=False)
    for name, true in KNOWN.items():
        assert np.abs(found[name] - true).max() < 0.2, name  # 4 and 2 points a unit add noise of 0.5 to covariances


def test_noise_of_the_means_is_taken_off():
    """Without it, the covariance of the means of 2 points would be half the covariance within too large."""
    normal, anomalous = units(8000, 2, 2)
    found = moments(normal, anomalous, shared=False)["between"]
    raw = np.cov(np.array([x.mean(0) for x in normal]).T)
    assert np.abs(raw - KNOWN["between"] - KNOWN["within"] / 2).max() < 0.2
    assert np.abs(found - KNOWN["between"]).max() < 0.2 < np.abs(raw - KNOWN["between"]).max()


def test_a_shared_covariance_is_that_of_all_points():
    apart, together = (moments(*units(4000, 12, 6), shared=shared) for shared in (False, True))
    assert np.array_equal(together["within"], together["within_anomalous"])
    want = (11 * apart["within"] + 5 * apart["within_anomalous"]) / 16
    assert np.allclose(together["within"], want, rtol=0, atol=0.005)


def test_covariances_are_never_negative_and_few_points_leave_none_within_singular():
    rng = np.random.default_rng(0)
    same = [rng.normal(size=(3, D)) for _ in range(40)]  # units that do not differ
    found = moments(same, [rng.normal(size=(3, D)) for _ in range(40)], shared=False)
    for name in ("between", "between_shift"):
        assert np.linalg.eigvalsh(found[name]).min() > -1e-12
    few = moments(*units(2, 2, 2), shared=False)  # 2 degrees of freedom in 3 dimensions
    assert min(np.linalg.eigvalsh(few[name]).min() for name in ("within", "within_anomalous")) > 1e-3


def test_points_are_counted_once_however_often_they_were_drawn():
    episodes = tasks(4, d=D)
    again = Episodes(*(torch.cat([t, t]) for t in (episodes.support_x, episodes.support_y, episodes.query_x,
                                                   episodes.query_y)), np.tile(episodes.units, 2))  # fmt: skip
    for label in (0, 1):
        once, twice = points_of(episodes, label), points_of(again, label)
        assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))
        own = [episodes.support_x[i][episodes.support_y[i] == label] for i in range(4)]
        assert [len(x) for x in once] == [len(x) + int((episodes.query_y[0] == label).sum()) for x in own]


# --- What a support set adds --------------------------------------------------------------------------


def conditioned(x, y):
    """Mean and covariance of the next normal and the next anomalous point, by conditioning one large Gaussian."""
    n = len(x)
    labels = np.append(y, [0, 1])
    shift = labels[:, None] * np.ones(D)
    mean = (KNOWN["mean"] + shift * KNOWN["shift"]).ravel()
    full = np.kron(np.ones((n + 2, n + 2)), KNOWN["between"])
    full += np.kron(np.outer(labels, labels), KNOWN["between_shift"])
    for i, label in enumerate(labels):
        full[i * D : (i + 1) * D, i * D : (i + 1) * D] += KNOWN["within_anomalous" if label else "within"]
    seen = slice(0, n * D)
    gain = full[n * D :, seen] @ np.linalg.inv(full[seen, seen])
    new = mean[n * D :] + gain @ (np.ravel(x) - mean[seen])
    rest = full[n * D :, n * D :] - gain @ full[seen, n * D :]
    return new.reshape(2, D), [rest[:D, :D], rest[D:, D:]]


@pytest.mark.parametrize("n_anomalous", [0, 1, 3])
def test_the_posterior_is_that_of_one_large_gaussian(n_anomalous):
    x, y = draw(2, 4 + n_anomalous, D), np.repeat([0, 1], [4, n_anomalous])
    know = {name: torch.as_tensor(value) for name, value in KNOWN.items()}
    center, spread = posterior(know, x[:, :4], x[:, 4:])
    for t in range(2):
        new, rest = conditioned(x[t].numpy(), y)
        assert np.allclose(center[t], new, rtol=0, atol=1e-10)
        assert np.allclose(spread[0], rest, rtol=0, atol=1e-10)
    method = EmpiricalBayes()
    params = method.adapt(know, x, torch.as_tensor(np.tile(y, (2, 1))).double())
    points = draw(2, 5, D, seed=9)
    for t in range(2):
        new, rest = conditioned(x[t].numpy(), y)
        density = [multivariate_normal(new[c], rest[c]).logpdf(points[t]) for c in (0, 1)]
        assert np.allclose(method.logit(params, points)[t], density[1] - density[0], rtol=0, atol=1e-9)


def test_a_shift_that_all_units_share_is_allowed():
    """Its covariance is 0, and nothing is inverted that must not be."""
    know = {name: torch.as_tensor(value) for name, value in KNOWN.items()} | {
        "between_shift": torch.zeros(D, D).double()
    }
    center, spread = posterior(know, draw(1, 5, D), draw(1, 2, D, seed=2))
    assert np.allclose(center[:, 1] - center[:, 0], KNOWN["shift"], rtol=0, atol=1e-12)
    assert spread.isfinite().all()


# --- Shifts from anywhere -----------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3, 16])
def test_a_shift_from_anywhere_is_the_mean_over_directions(d):
    rng, reach, r = np.random.default_rng(0), 2.5, np.array([0.3, 1.0, 3.0])
    u = rng.normal(size=(400_000, d))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    ratio = np.exp(reach * r[:, None] * u[:, 0] - reach**2 / 2).mean(1)
    found = from_anywhere(torch.as_tensor(r), torch.tensor(reach).double(), d)
    assert np.allclose(found, np.log(ratio), rtol=0, atol=0.02)


def test_it_is_finite_and_rises_in_many_dimensions():
    r = torch.linspace(0, 200, 400).double()
    for d in (2, 16, 784, 5000):
        found = from_anywhere(r, torch.tensor(6.0).double(), d)
        assert found.isfinite().all() and (found.diff() > 0).all() and found[0] == -18


FLEET = Fleet(normal_shots=10, anomalous_shots=0)
TRAIN, _, TEST = FLEET.split(random_state=0)


def test_all_from_anywhere_ranks_by_the_pooled_mahalanobis_distance():
    detector = EmpiricalBayes(unknown=1.0, random_state=0).meta_fit(TRAIN)
    task = TEST.sample(1, 0)
    score = detector.fit(task.support_x[0]).anomaly_score(task.query_x[0])
    x = (task.query_x[0] - detector.params_["scaling"]["location"][0]) / detector.params_["scaling"]["scale"][0]
    gap = x - detector.params_["center"][0, 0]
    distance = (gap @ detector.params_["precision"][0, 0] * gap).sum(-1)
    assert np.array_equal(np.argsort(score), np.argsort(distance.numpy()))


def test_the_hedge_gives_up_known_faults_for_new_ones():
    turned = TEST.turned(90)
    pairs = []
    for share in (0.0, 0.5, 1.0):
        detector = EmpiricalBayes(share, random_state=0).meta_fit(TRAIN)
        pairs.append([evaluate(detector, family, 200, 0).mean for family in (TEST, turned)])
    known, new = zip(*pairs, strict=True)
    assert known[0] > known[1] > known[2] and new[0] < new[1] < new[2]
    assert new[0] == pytest.approx(0.5, abs=0.03) and new[2] > 0.73


# --- The limit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("directions", [1, 2])
def test_as_machines_grow_it_comes_to_the_limit(directions):
    fleet = Fleet(directions=directions)
    train, _, test = fleet.split(random_state=0)
    episodes = test.sample(300, 1)
    limit = judge(episodes, fleet.bayes_scores(episodes))
    behind = []
    for n in (3, 1000):
        detector = EmpiricalBayes(random_state=0).meta_fit(train.restrict(train.units[:n]))
        found = evaluate(detector, test, 300, 1)
        behind.append([limit.minus(found, figure).mean for figure in ("auroc", "accuracy")])
    assert behind[0][1] > behind[1][1]
    assert max(behind[1]) < 0.006


def test_it_beats_one_machine_alone_with_ten_others():
    train, _, test = Fleet().split(random_state=0)
    detector = EmpiricalBayes(random_state=0).meta_fit(train.restrict(train.units[:10]))
    assert evaluate(detector, test, 200, 0).minus(evaluate(Mahalanobis(), test, 200, 0)).low > 0.1


# --- Around it ----------------------------------------------------------------------------------------


def test_posterior_means_that_are_certain_make_a_line():
    train, _, test = Fleet().split(random_state=0)
    task = test.sample(1, 0)
    x, y, q = task.support_x[0].numpy(), task.support_y[0].numpy(), task.query_x[0].numpy()
    for certain in (True, False):
        detector = EmpiricalBayes(certain=certain, random_state=0).meta_fit(train).fit(x, y)
        score = detector.anomaly_score(np.concatenate([q, (q[:-1] + q[1:]) / 2]))
        between = (score[: len(q) - 1] + score[1 : len(q)]) / 2
        assert np.allclose(score[len(q) :], between, rtol=0, atol=1e-9) is certain


def test_a_file_brings_it_back(tmp_path):
    task = TEST.sample(1, 0)
    detector = EmpiricalBayes(0.3, random_state=0).meta_fit(TRAIN).fit(task.support_x[0])
    detector.save(tmp_path / "eb.npz")
    again, scores = load(tmp_path / "eb.npz"), detector.anomaly_score(task.query_x[0])
    assert np.allclose(again.anomaly_score(task.query_x[0]), scores, rtol=0, atol=1e-9)


def test_refusals():
    with pytest.raises(ValueError, match="single unit"):
        EmpiricalBayes().meta_fit(TRAIN.restrict(TRAIN.units[:1]))
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match="unknown"):
            EmpiricalBayes(unknown=bad).meta_fit(TRAIN)
    with pytest.raises(ValueError, match="anomalous_queries"):
        EmpiricalBayes().meta_fit(Fleet(5, 0, 5, 0))


def test_constant_columns_and_more_columns_than_points_do_no_harm():
    episodes = tasks(3, d=40)
    episodes.support_x[..., 0], episodes.query_x[..., 0] = 1.0, 1.0
    detector = EmpiricalBayes(random_state=0).meta_fit(Frozen(episodes))
    scores = detector.score_tasks(episodes)[0]
    assert np.isfinite(scores).all() and scores.std() > 0
