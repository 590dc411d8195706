"""MetaAAE: its losses, its meta-gradient, what it learns, its files and its errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone

from metaad_tutorial import MAML, ConvNet, Fleet, Glyphs, MetaAAE, NearestNeighbor, evaluate
from metaad_tutorial.adapt import adapt, gradient_step, per_task
from metaad_tutorial.losses import discrimination
from metaad_tutorial.meta_aae import prior, stretched
from metaad_tutorial.metrics import interval


def fleet(**options):
    return Fleet(**{"normal_shots": 10, "anomalous_shots": 0, "n_machines": 200, "n_features": 4} | options)


@pytest.fixture(scope="module")
def trained():
    train, valid, test = fleet().split(random_state=0)
    return MetaAAE(meta_steps=30, random_state=0).meta_fit(train, valid), test


def moved(meta, rng):
    """The same meta-parameters away from their start, where C's last layer is zero."""
    return {name: v + 0.3 * torch.as_tensor(rng.normal(size=v.shape)) for name, v in meta.items() if "." in name}


@pytest.fixture
def anywhere(trained):
    """A detector with random parameters, and tasks."""
    detector, test = trained
    scaling = {name: detector.meta_[name] for name in ("location", "scale")}
    return detector, scaling | moved(detector.meta_, np.random.default_rng(0)), test.sample(3, 0)


def test_inner_loss_is_the_discrimination_loss(anywhere):
    """One inner step, taken with `losses.discrimination` and plain autograd."""
    detector, meta, tasks = anywhere
    x, y = tasks.support_x, tasks.support_y
    start = {name[6:]: v for name, v in meta.items() if name.startswith("start.")}
    z = (x - meta["location"]) / meta["scale"] @ start["encoder.weight0"].T + start["encoder.bias0"]
    z = z - z.mean(1, keepdim=True)
    noise = torch.as_tensor(np.random.default_rng(0).normal(size=(20, 4))).expand(3, -1, -1)
    twice = torch.cat([z, z], 1)
    hidden = torch.cat([twice, noise], -1) @ start["generator.weight0"].T + start["generator.bias0"]
    virtual = twice + torch.relu(hidden) @ start["generator.weight1"].T + start["generator.bias1"]

    def judge(params, z):
        inputs = torch.cat([z, z.norm(dim=-1, keepdim=True) - 2], -1)
        hidden = torch.relu(inputs @ params["weight0"].mT + params["bias0"].unsqueeze(-2))
        return (hidden @ params["weight1"].mT + params["bias1"].unsqueeze(-2)).squeeze(-1)

    own = {n[14:]: v.clone().requires_grad_() for n, v in start.items() if n.startswith("discriminator.")}
    loss = lambda params: discrimination(judge(params, z), judge(params, virtual))  # noqa: E731
    one = adapt(loss, per_task(own, 3), gradient_step(1.0), 1, second_order=False)
    with torch.no_grad():
        got = detector._adapt(meta, x, y, second_order=False)
    for name, value in own.items():
        gradient = value - one[name]
        want = value - meta[f"rate.discriminator.{name}"] * gradient
        torch.testing.assert_close(got[f"discriminator.{name}"], want, rtol=0, atol=1e-10)


def test_labelled_anomalies_join_the_virtual_ones(trained):
    detector, test = trained
    task = test.sample(1, 1)
    x, query = task.support_x[0].numpy(), task.query_x[0].numpy()
    without = clone(detector)
    without.meta_, without.n_features_in_ = detector.meta_, 4
    far = x.mean(0) + np.array([[3.0, 0, 0, 0]])
    base = without.fit(x).anomaly_score(query)
    labelled = without.fit(np.vstack([x, far]), np.r_[np.zeros(10), 1.0])
    assert np.abs(labelled.anomaly_score(query) - base).max() > 1e-6
    np.testing.assert_allclose(labelled.params_["center"], without.fit(x).params_["center"])  # normal points alone


def test_meta_gradient_is_the_exact_one(anywhere):
    """Generator and step sizes against central differences; the query loss reaches them through the inner step."""
    detector, meta, tasks = anywhere
    for name in ("start.generator.weight0", "rate.discriminator.weight1", "start.discriminator.weight0"):
        leaves = {key: v.clone().requires_grad_("." in key) for key, v in meta.items()}
        (gradient,) = torch.autograd.grad(detector._query_loss(leaves, tasks), leaves[name])
        direction = torch.as_tensor(np.random.default_rng(1).normal(size=gradient.shape))
        h, ends = 1e-5, []
        for sign in (1, -1):
            at = meta | {name: meta[name] + sign * h * direction}
            with torch.no_grad():
                ends.append(detector._query_loss(at, tasks, second_order=False))
        want = (ends[0] - ends[1]) / (2 * h)
        assert want.abs() > 1e-6
        torch.testing.assert_close((gradient * direction).sum(), want, rtol=1e-5, atol=1e-9)


def test_first_order_leaves_the_generator_alone():
    train = fleet().split(random_state=0)[0]
    learns = {}
    for first_order in (True, False):
        start = MetaAAE(meta_steps=1, first_order=first_order, meta_lr=1e-300, random_state=0).meta_fit(train)
        after = MetaAAE(meta_steps=5, first_order=first_order, random_state=0).meta_fit(train)
        name = "start.generator.weight0"
        learns[first_order] = not torch.equal(start.meta_[name], after.meta_[name])
    assert learns == {True: False, False: True}


def test_stretched_points_have_the_lengths_of_anomalies():
    rng = torch.Generator().manual_seed(0)
    normal, anomalous = torch.randn(2, 5, 3, generator=rng), 4 * torch.randn(2, 3, 3, generator=rng)
    out = stretched(normal, anomalous)
    torch.testing.assert_close(out.norm(dim=-1), anomalous.norm(dim=-1)[:, [0, 1, 2, 0, 1]])
    torch.testing.assert_close(F.cosine_similarity(out, normal, dim=-1), torch.ones(2, 5))
    assert stretched(torch.zeros(1, 2, 3), anomalous[:1]).isfinite().all()


def test_prior_is_a_divergence():
    z = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ torch.diag(
        torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    )
    moment = z.T @ z / 500
    zero, eye = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    ours, unit = (torch.distributions.MultivariateNormal(zero, s) for s in (moment, eye))
    torch.testing.assert_close(prior(z), torch.distributions.kl_divergence(ours, unit) / 3, rtol=1e-5, atol=0)
    white = z @ torch.linalg.inv(torch.linalg.cholesky(moment)).T
    assert prior(z) > 0.2 and abs(prior(white)) < 1e-5


def test_scores_do_not_depend_on_where_the_machine_stands(trained):
    """With a linear encoder, what C sees is the distance from the support set's mean."""
    detector, test = trained
    task = test.sample(1, 2)
    x, query = task.support_x[0].numpy(), task.query_x[0].numpy()
    here = detector.fit(x).anomaly_score(query)
    there = detector.fit(x + 7).anomaly_score(query + 7)
    np.testing.assert_allclose(there, here, atol=1e-9)


def test_batched_scores_are_those_of_single_tasks_and_points(trained):
    detector, test = trained
    tasks = test.sample(4, 3)
    scores, thresholds = detector.score_tasks(tasks)
    assert (thresholds == 0).all()
    for i, task in enumerate(tasks):
        detector.fit(task.support_x[0])
        alone = np.array([detector.anomaly_score(q[None])[0] for q in task.query_x[0].numpy()])
        np.testing.assert_allclose(alone, scores[i], atol=1e-10)


def test_hears_unknown_directions_where_maml_is_deaf():
    family = Fleet(10, 0, n_machines=500)
    train, _, test = family.split(random_state=0)
    unseen = family.turned(90).split(random_state=0)[2]
    ours = MetaAAE(meta_steps=200, random_state=0).meta_fit(train)
    maml = MAML(hidden=(8,), meta_steps=200, random_state=0).meta_fit(train)
    new, deaf = (evaluate(d, unseen, 100, 1).auroc for d in (ours, maml))
    near = evaluate(NearestNeighbor(), test, 100, 1).auroc
    assert interval(new - deaf).low > 0.1
    assert interval(evaluate(ours, test, 100, 1).auroc - near).low > 0.1


def test_virtual_anomalies_are_points_near_but_off_the_support_set(trained):
    detector, test = trained
    x = test.sample(1, 4).support_x[0].numpy()
    virtual = detector.fit(x).virtual_anomalies(x)
    assert virtual.shape == (20, 4) and np.isfinite(virtual).all()
    assert np.array_equal(virtual, detector.virtual_anomalies(x))
    gaps = np.linalg.norm(virtual - x[np.arange(20) % 10], axis=1)
    assert 0.1 < np.median(gaps) < 20
    with pytest.raises(ValueError, match="features"):
        detector.virtual_anomalies(x[:, :2])


def test_saved_and_loaded_detector_is_the_same(trained, tmp_path):
    detector, test = trained
    task = test.sample(1, 5)
    x, query = task.support_x[0].numpy(), task.query_x[0].numpy()
    detector.fit(x).save(tmp_path / "detector.npz")
    loaded = MetaAAE.load(tmp_path / "detector.npz")
    assert loaded.get_params() == detector.get_params()
    assert np.array_equal(loaded.anomaly_score(query), detector.anomaly_score(query))
    assert np.array_equal(loaded.virtual_anomalies(x), detector.virtual_anomalies(x))
    assert np.array_equal(loaded.fit(x).anomaly_score(query), detector.fit(x).anomaly_score(query))


def test_images_through_a_convolution():
    letters = Glyphs(5, 0, 6, 6).of_scripts("Greek")
    detector = MetaAAE(
        network=ConvNet((4, 8), norm="batch"), latent=6, unseen=0.0, weight=0.1, meta_steps=3, meta_batch=4,
        dtype="float32", random_state=0,
    )  # fmt: skip
    detector.meta_fit(letters)
    task = letters.sample(2, 0)
    scores, _ = detector.score_tasks(task)
    fitted = detector.fit(task.support_x[0])
    np.testing.assert_allclose(fitted.anomaly_score(task.query_x[0]), scores[0], rtol=1e-3, atol=1e-4)
    assert fitted.virtual_anomalies(task.support_x[0]).shape == (20, 196)


def test_untrained_it_still_scores():
    task = fleet().sample(1, 0)
    detector = MetaAAE(hidden=(6,), latent=3, inner_steps=30, inner_lr=0.5, random_state=0).fit(task.support_x[0])
    assert detector.anomaly_score(task.query_x[0]).std() > 0
    assert detector.predict(task.support_x[0]).mean() > 0  # most support points are called normal


def test_same_seed_same_digits():
    train = fleet().split(random_state=0)[0]
    one, two, other = (MetaAAE(meta_steps=3, random_state=s).meta_fit(train).meta_ for s in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unseen": 1.5}, "unseen"),
        ({"unseen": np.nan}, "finite"),
        ({"weight": -1.0}, "weight"),
        ({"weight": np.inf}, "finite"),
        ({"latent": 0}, "latent"),
        ({"n_virtual": 0}, "n_virtual"),
        ({"inner_steps": 0}, "inner_steps"),
        ({"inner_lr": 0.0}, "inner_lr"),
        ({"width": 0}, "width"),
        ({"network": torch.nn.Linear(4, 1)}, "must be a ConvNet"),
        ({"network": ConvNet((4,)), "hidden": (3,)}, "either hidden or network"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MetaAAE(**options).fit(np.zeros((5, 4)))


def test_changed_parts_ask_for_new_training(trained):
    detector, test = trained
    changed = clone(detector).set_params(latent=2)
    changed.meta_, changed._trained_shape = detector.meta_, detector._trained_shape
    with pytest.raises(ValueError, match="latent changed since meta_fit"):
        changed.score_tasks(test.sample(1, 0))
