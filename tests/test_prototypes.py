"""The prototypical detector: its scores are those of Gaussian classes, and it keeps the promises of every detector."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import attached, gradient, task_of
from helpers import trained as quick
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from torch import nn

from metaad_tutorial import ConvNet, Fleet, MetaDetector, NearestNeighbor, PrototypicalDetector, class_tasks, evaluate
from metaad_tutorial.tree import flat

WIDTH = 4
ONE_CLASS = Fleet(5, 0, 6, 6, n_machines=60, n_features=WIDTH)
LABELLED = Fleet(5, 2, 6, 6, n_machines=60, n_features=WIDTH)
SMALL = {"embedding": 3, "hidden": (5,), "meta_steps": 4, "meta_batch": 5, "random_state": 0}
FAMILIES = pytest.mark.parametrize("family", [ONE_CLASS, LABELLED], ids=["one-class", "labelled"])


def trained(family, **parameters):
    train, valid, _ = family.split(random_state=0)
    return quick(PrototypicalDetector, train, valid, **SMALL | parameters)


def support_of(family):
    return task_of(family.split(random_state=0)[2])


def embedded(detector, x):
    """The embedding by hand: standardise, one hidden layer, a linear one."""
    (start, scaling) = ({n: v.numpy() for n, v in detector.meta_[part].items()} for part in ("start", "scaling"))
    x = (x - scaling["location"][0]) / scaling["scale"][0]
    return np.maximum(x @ start["weight0"] + start["bias0"], 0) @ start["weight1"] + start["bias1"]


def conditional_density(own, phi, within, between):
    """Log density of each row of phi given the rows of `own`, from the joint normal distribution of all of them."""
    n = len(own)
    joint = between * np.ones((n + 1, n + 1)) + within * np.eye(n + 1)
    known = np.linalg.inv(joint[:n, :n])
    mean = joint[n, :n] @ known @ own  # (q,)
    variance = joint[n, n] - joint[n, :n] @ known @ joint[:n, n]
    return stats.norm.logpdf(phi, mean, np.sqrt(variance)).sum(1)


@FAMILIES
def test_scores_are_log_odds_of_gaussian_classes(family):
    detector, (x, y, q) = trained(family), support_of(family)
    meta = {name: detector.meta_[name].numpy() for name in ("log_variance", "share", "log_scale", "bias")}
    total, share = np.exp(meta["log_variance"]), 1 / (1 + np.exp(-meta["share"]))
    phi, support = embedded(detector, q), embedded(detector, x)
    normal, anomalous = (
        conditional_density(support[y == k], phi, total[k] * (1 - share[k]), total[k] * share[k]) for k in (0, 1)
    )
    want = np.exp(meta["log_scale"]) / 3 * (anomalous - normal) + meta["bias"]
    assert np.allclose(detector.fit(x, y).anomaly_score(q), want, rtol=0, atol=1e-12)


def test_without_anomalies_their_share_says_nothing():
    detector, (x, y, q) = trained(ONE_CLASS), support_of(ONE_CLASS)
    before = detector.fit(x, y).anomaly_score(q)
    detector.meta_["share"][1] += 1
    assert np.allclose(detector.fit(x, y).anomaly_score(q), before, rtol=0, atol=1e-12)
    detector.meta_["share"][0] += 1
    assert not np.allclose(detector.fit(x, y).anomaly_score(q), before)


def test_a_detector_takes_both_kinds_of_support_set():
    task = support_of(LABELLED)
    for family in (ONE_CLASS, LABELLED):
        detector = trained(family, meta_steps=100, hidden=())
        x, y, q = task
        alone, both = detector.fit(x[y == 0]).anomaly_score(q), detector.fit(x, y).anomaly_score(q)
        assert not np.allclose(alone, both)
        labelled = x[y == 1]
        change = detector.anomaly_score(labelled) - detector.fit(x[y == 0]).anomaly_score(labelled)
        assert (change > 0).all()  # a labelled anomaly is one for sure


@FAMILIES
def test_every_task_alone_is_the_batch(family):
    detector = trained(family)
    episodes = family.split(random_state=0)[2].sample(5, random_state=2)
    scores, thresholds = detector.score_tasks(episodes)
    for task, score in zip(episodes, scores, strict=True):
        x, y, q = task.support_x[0], task.support_y[0], task.query_x[0]
        assert np.allclose(detector.fit(x, y).anomaly_score(q), score, rtol=0, atol=1e-12)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        assert np.allclose(detector.fit(x[order], y[order]).anomaly_score(q[:2]), score[:2], rtol=0, atol=1e-12)
    assert not thresholds.any()


@FAMILIES
def test_training_descends_the_loss_of_whole_and_single_supports(family):
    """The meta-gradient is that of a loop over tasks and over smaller support sets through `adapt` and `logit`."""
    detector, episodes = PrototypicalDetector(**SMALL), family.sample(3, random_state=0)
    meta = attached(detector.init(np.random.default_rng(0), WIDTH))

    def loss_of(x, y, q, labels):
        logit = detector.logit(detector.adapt(meta, x[None], y[None]), q[None])
        return F.binary_cross_entropy_with_logits(logit[0], labels)

    total = 0
    for t in range(3):
        x, y = episodes.support_x[t], episodes.support_y[t]
        query = episodes.query_x[t], episodes.query_y[t]
        alone = []
        for i in torch.where(y == 0)[0]:
            keep = (y == 1) | (torch.arange(len(y)) == i)
            alone.append(loss_of(x[keep], y[keep], *query))
        total = total + (loss_of(x, y, *query) + sum(alone) / len(alone)) / 2 / 3
    ours = detector.outer_loss(meta, episodes)
    assert torch.allclose(ours, total, rtol=0, atol=1e-12)
    assert torch.allclose(gradient(ours, meta), gradient(total, meta), rtol=0, atol=1e-12)
    assert all(gradient(ours, {path: value}).any() for path, value in flat(meta).items())


def test_adapting_is_one_forward_pass_and_no_backward_pass():
    calls, x, y, q = [], *support_of(LABELLED)

    class Counting(nn.Linear):
        def forward(self, points):
            calls.append((len(points), torch.is_grad_enabled()))
            return super().forward(points)

    detector = PrototypicalDetector(network=Counting(WIDTH, 3), meta_steps=1, random_state=0).meta_fit(LABELLED)
    scaled = detector.scaled(LABELLED.sample(1, 0))
    calls.clear()
    detector.adapt(detector.meta_, scaled.support_x, scaled.support_y)
    assert calls == [(len(x), True)]
    calls.clear()
    detector.fit(x, y)
    assert calls[0] == (len(x), False) and len(calls) <= 2  # once more for the threshold
    calls.clear()
    detector.anomaly_score(q)
    assert calls == [(len(q), False)]


@FAMILIES
def test_the_embedding_is_that_of_the_network(family):
    detector, (_, _, q) = trained(family), support_of(family)
    assert np.allclose(detector.embed(q), embedded(detector, q), rtol=0, atol=1e-12)
    with pytest.raises(NotFittedError):
        PrototypicalDetector(**SMALL).embed(q)


def test_a_linear_embedding_finds_the_direction_of_the_faults():
    """With one direction of faults u, the best linear score is Sigma^-1 u."""
    fleet = Fleet(5, 0, 15, 15, n_machines=400, n_features=6)
    train, _, test = fleet.split(random_state=0)
    detector = PrototypicalDetector(24, meta_steps=100, random_state=0).meta_fit(train)
    metric = (detector.meta_["start"]["weight0"].T / detector.meta_["scaling"]["scale"][0]).numpy()
    main = np.linalg.svd(metric)[2][0]
    best = np.linalg.solve(fleet.covariance, fleet.shifts[0])
    assert abs(main @ best) / np.linalg.norm(best) > 0.995  # that of u itself is 0.986
    near = evaluate(NearestNeighbor(), test, 80, 0)
    assert evaluate(detector, test, 80, 0).low > near.high


def digits(size=8):
    """scikit-learn's digits, drawn again in another size: (n, size, size)."""
    images, label = load_digits(return_X_y=True)
    images = torch.as_tensor(images.reshape(-1, 1, 8, 8) / 16)
    images = F.interpolate(images, (size, size), mode="bilinear")[:, 0]
    return class_tasks(images.numpy(), label, normal_shots=5, anomalous_shots=0)


@pytest.mark.parametrize("size", [8, 28])
def test_image_families_of_the_reader_s_own(size):
    """Seen classes, so that a few steps suffice; the images come as (n, h, w)."""
    family = digits(size)
    detector = PrototypicalDetector(
        8, network=ConvNet((8, 8), norm="layer"), meta_batch=8, meta_steps=25, meta_lr=0.01, random_state=0
    )
    untrained = evaluate(detector, family, 40, 1)
    detector.meta_fit(family)
    del detector.trained_on_  # the same classes on purpose: does it learn at all?
    assert evaluate(detector, family, 40, 1).low > untrained.high
    task = family.sample(1, 0)
    images = task.query_x[0].numpy()
    assert images.shape[1:] == (size, size)
    detector.fit(task.support_x[0].numpy())
    assert np.array_equal(detector.anomaly_score(images), detector.anomaly_score(images.reshape(len(images), -1)))


def test_oblong_images():
    images, label = load_digits(return_X_y=True)
    family = class_tasks(images.reshape(-1, 8, 8)[:, :, 1:7], label, normal_shots=5, anomalous_shots=0)
    network = ConvNet((4,), shape=(8, 6), outputs=5)
    detector = PrototypicalDetector(network=network, meta_steps=2, random_state=0).meta_fit(family)
    task = family.sample(1, 0)
    assert detector.fit(task.support_x[0]).params_["center"].shape == (1, 2, 5)
    assert detector.anomaly_score(task.query_x[0]).shape == (30,)


def module(outputs=3):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, outputs),
    )  # fmt: skip


@pytest.mark.parametrize("meta_trained", [True, False])
def test_a_network_of_the_reader_s_own_and_its_file(tmp_path, meta_trained):
    network, family = module(), digits()
    detector = PrototypicalDetector(network=network, meta_steps=2, random_state=0)
    if meta_trained:
        detector.meta_fit(family)
    task = family.sample(1, 0)
    scores = detector.fit(task.support_x[0]).anomaly_score(task.query_x[0])
    subset = detector.anomaly_score(task.query_x[0][:3])
    assert np.allclose(subset, scores[:3], rtol=0, atol=1e-12)  # batch normalisation looks at the support set alone
    detector.save(tmp_path / "mine.npz")
    again = PrototypicalDetector.load(tmp_path / "mine.npz", network=module())
    assert np.array_equal(again.anomaly_score(task.query_x[0]), scores)
    with pytest.raises(ValueError, match="not the one that was saved"):
        PrototypicalDetector.load(tmp_path / "mine.npz", network=module(2))


def test_files_and_single_precision(tmp_path):
    detector, (x, y, q) = trained(LABELLED), support_of(LABELLED)
    scores = detector.fit(x, y).anomaly_score(q)
    detector.save(tmp_path / "a.npz")
    again = PrototypicalDetector.load(tmp_path / "a.npz")
    assert again.get_params() == detector.get_params()
    assert np.array_equal(again.fit(x, y).anomaly_score(q), scores)
    single = trained(LABELLED, dtype="float32").fit(x, y).anomaly_score(q)
    assert np.allclose(single, scores, rtol=0, atol=1e-3) and not np.array_equal(single, scores)


def test_untrained_it_is_a_distance_to_the_mean():
    """A random linear embedding with many outputs keeps distances; of 10 points none says where 5 % begin."""
    x, _, q = support_of(ONE_CLASS)
    x = np.concatenate([x, q[:5]])
    detector = PrototypicalDetector(2000, random_state=0).fit(x)
    z = (q - x.mean(0)) / x.std(0)
    assert stats.spearmanr(detector.anomaly_score(q), (z**2).sum(1)).statistic > 0.9
    assert detector.threshold_ == detector.anomaly_score(x).max()


def test_all_parameters_are_shown():
    shown = {name: p.default for name, p in inspect.signature(PrototypicalDetector).parameters.items()}
    shared = {name: p.default for name, p in inspect.signature(MetaDetector).parameters.items()}
    assert shown == {"embedding": 64} | shared and next(iter(shown)) == "embedding"
    assert PrototypicalDetector().get_params() == shown
    assert repr(PrototypicalDetector(hidden=(3,))) == "PrototypicalDetector(hidden=(3,))"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"embedding": 0}, "embedding must be an integer of at least 1, got 0"),
        ({"embedding": 2.5}, "embedding must be an integer of at least 1, got 2.5"),
        ({"hidden": (3,), "network": ConvNet((4,))}, "Give either hidden or network"),
        ({"hidden": (), "network": nn.Linear(WIDTH, 1).double().weight}, "network must be a ConvNet"),
        ({"hidden": (), "network": nn.Flatten(0)}, "nothing can adapt"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    x, y, _ = support_of(LABELLED)
    for use in (lambda d: d.fit(x, y), lambda d: d.meta_fit(LABELLED)):
        with pytest.raises(ValueError, match=message):
            use(PrototypicalDetector(**SMALL | parameters))


def test_a_module_must_give_rows_of_features():
    x, y, _ = support_of(LABELLED)
    flat = nn.Sequential(nn.Linear(WIDTH, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match="must give a row of features per row"):
        PrototypicalDetector(network=flat).fit(x, y)


def test_what_it_was_trained_with_may_not_change():
    x, y, _ = support_of(LABELLED)
    detector = trained(LABELLED)
    with pytest.raises(ValueError, match="embedding changed since meta_fit"):
        detector.set_params(embedding=7).fit(x, y)


@pytest.mark.parametrize(("dtype", "factor"), [("float64", 1e200), ("float32", 1e30)])
def test_scores_that_overflow_are_refused(dtype, factor):
    x, y, q = support_of(LABELLED)
    detector = PrototypicalDetector(hidden=(4,), dtype=dtype, random_state=0).fit(x, y)
    assert np.isfinite(detector.anomaly_score(q)).all()
    with pytest.raises(ValueError, match="overflow"):
        detector.anomaly_score(q * factor)


def test_bad_support_sets_are_named():
    x, y, _ = support_of(LABELLED)
    detector = trained(LABELLED)
    for bad, message in ((np.ones(len(x)), "No normal point"), (y + 1, "recode"), (y[1:], "one label for each")):
        with pytest.raises(ValueError, match=message):
            detector.fit(x, bad)
    with pytest.raises(ValueError, match="NaN"):
        detector.fit(np.where(x > 0, np.nan, x), y)
    with pytest.raises(ValueError, match="is expecting 4 features"):
        detector.fit(x[:, :3], y)


def test_embedded_points_are_those_that_scores_are_made_of():
    """A network that normalises by the batch takes the support set's statistics, for one point as for many."""
    train, valid, test = LABELLED.split(random_state=0)
    X, Y, Q = task_of(test)
    net = nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    detector = quick(PrototypicalDetector, train, valid, network=net, meta_steps=2).fit(X, Y)
    phi = detector.embed(Q)
    np.testing.assert_allclose(phi[:1], detector.embed(Q[:1]), rtol=1e-9)
    params = detector.params_
    score = detector._odds(params, torch.as_tensor(phi)[None], params["center"], params["variance"])[0]
    np.testing.assert_allclose(score, detector.anomaly_score(Q), rtol=1e-9)
