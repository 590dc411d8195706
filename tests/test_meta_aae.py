"""MetaAAE: its losses, its meta-gradient, what it learns, its files and its errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone

from metaad_tutorial import MAML, ConvNet, Fleet, Glyphs, MetaAAE, NearestNeighbor, evaluate, meta_aae
from metaad_tutorial.inner_loop import gradient_step, inner_loop, per_task
from metaad_tutorial.losses import discrimination
from metaad_tutorial.meta_aae import prior, stretched
from metaad_tutorial.metrics import interval
from metaad_tutorial.tree import flat, mapped, nested


def fleet(**options):
    return Fleet(**{"normal_shots": 10, "anomalous_shots": 0, "n_machines": 200, "n_features": 4} | options)


@pytest.fixture(scope="module")
def trained():
    train, valid, test = fleet().split(random_state=0)
    return MetaAAE(meta_steps=30, random_state=0).meta_fit(train, valid), test


@pytest.fixture
def anywhere(trained):
    """A detector, meta-parameters away from the start, where C's last layer is zero, and standardised tasks."""
    detector, test = trained
    rng = np.random.default_rng(0)
    start = mapped(lambda v: v + 0.3 * torch.as_tensor(rng.normal(size=v.shape)), detector.meta_["start"])
    return detector, {"start": start}, detector.scaled(test.sample(3, 0))


def test_inner_loss_is_the_discrimination_loss(anywhere):
    """One inner step, taken with `losses.discrimination` and plain autograd."""
    detector, meta, tasks = anywhere
    E, G, C = (meta["start"][name] for name in "EGC")
    z = tasks.support_x @ E["weight0"] + E["bias0"]
    z = z - z.mean(1, keepdim=True)
    virtual = z + torch.relu(z @ G["weight0"] + G["bias0"]) @ G["weight1"] + G["bias1"]

    def judge(params, z):
        inputs = torch.cat([z, z.norm(dim=-1, keepdim=True) - 2], -1)
        hidden = torch.relu(inputs @ params["weight0"] + params["bias0"])
        return (hidden @ params["weight1"] + params["bias1"]).squeeze(-1)

    own = per_task({n: v.clone().requires_grad_() for n, v in C.items()}, 3)
    loss = lambda params: discrimination(judge(params, z), judge(params, virtual))  # noqa: E731
    want = inner_loop(loss, own, gradient_step(0.1), 1, second_order=False)
    with torch.no_grad():
        got = detector.adapt(meta, tasks.support_x, tasks.support_y)["C"]
    for name, value in want.items():
        torch.testing.assert_close(got[name], value.detach(), rtol=0, atol=1e-10)
        assert (value - own[name]).abs().max() > 1e-3


def test_labelled_anomalies_are_left_out(trained):
    detector, test = trained
    task = test.sample(1, 1)
    x, query = task.support_x[0].numpy(), task.query_x[0].numpy()
    base = detector.fit(x).anomaly_score(query)
    far = x.mean(0) + np.array([[3.0, 0, 0, 0]])
    labelled = detector.fit(np.vstack([far, x]), np.r_[1.0, np.zeros(10)])
    np.testing.assert_allclose(labelled.anomaly_score(query), base, atol=1e-12)


def test_the_order_of_the_support_points_does_not_matter(trained):
    detector, test = trained
    task = test.sample(1, 6)
    x, query = task.support_x[0].numpy(), task.query_x[0].numpy()
    np.testing.assert_allclose(
        detector.fit(x[::-1]).anomaly_score(query), detector.fit(x).anomaly_score(query), atol=1e-12
    )


def test_meta_gradient_is_the_exact_one(anywhere):
    """Every meta-parameter against central differences; the query loss reaches G through the inner step alone."""
    detector, meta, tasks = anywhere
    detector = clone(detector).set_params(unseen=0.0, inner_steps=2)  # no gradient passes through stretched points
    leaves = mapped(lambda v: v.clone().requires_grad_(), meta)
    detector.outer_loss(leaves, tasks).backward()
    for i, (name, leaf) in enumerate(flat(leaves).items()):
        direction = torch.as_tensor(np.random.default_rng(i).normal(size=leaf.shape))
        h, ends = 1e-7, []  # small: the inner gradient jumps where a unit of G or C turns on
        for sign in (1, -1):
            at = mapped(lambda v, leaf=leaf, move=sign * h * direction: v + move if v is leaf else v, leaves)
            with torch.no_grad():
                ends.append(detector.outer_loss(at, tasks))
        want = (ends[0] - ends[1]) / (2 * h)
        assert want.abs() > 1e-6, name
        torch.testing.assert_close((leaf.grad * direction).sum(), want, rtol=1e-5, atol=1e-8)


def test_the_gradient_with_stretched_points_is_exact_if_they_are_kept_as_they_are(monkeypatch):
    """Central differences in every parameter; no gradient may pass through the stretched codes."""
    detector, rng = MetaAAE(hidden=(3,), inner_steps=2, latent=2, width=3), np.random.default_rng(0)
    start = flat(detector.init(rng, 4))
    leaves = {path: (v + 0.2 * torch.as_tensor(rng.normal(size=v.shape))).requires_grad_() for path, v in start.items()}
    tasks, first = fleet().sample(2, 0), []

    def frozen(normal, far):
        first.append(stretched(normal, far).detach())
        return first[0]

    monkeypatch.setattr(meta_aae, "stretched", frozen)
    detector.outer_loss(nested(leaves), tasks).backward()
    for path, leaf in leaves.items():
        values, h = leaf.detach().view(-1), 1e-6
        for i in range(len(values)):
            old, ends = values[i].item(), []
            for move in (h, -h):
                values[i] = old + move
                ends.append(detector.outer_loss(nested(leaves), tasks).item())
            values[i] = old
            assert abs((ends[0] - ends[1]) / 2 / h - leaf.grad.view(-1)[i]) < 1e-6, path


def test_without_inner_steps_nothing_reaches_the_generator(anywhere):
    detector, meta, tasks = anywhere
    leaves = mapped(lambda v: v.clone().requires_grad_(), meta)
    still = clone(detector).set_params(inner_steps=0)
    loss = still.outer_loss(leaves, tasks)
    grads = torch.autograd.grad(loss, list(leaves["start"]["G"].values()), allow_unused=True, materialize_grads=True)
    assert not any(grad.any() for grad in grads)
    adapted = still.adapt(meta, tasks.support_x, tasks.support_y)["C"]
    assert all(torch.equal(adapted[n][t], v) for n, v in meta["start"]["C"].items() for t in range(3))


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
    assert virtual.shape == (10, 4) and np.isfinite(virtual).all()
    assert np.array_equal(virtual, detector.virtual_anomalies(x))
    gaps = np.linalg.norm(virtual - x, axis=1)
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
    assert fitted.virtual_anomalies(task.support_x[0]).shape == (5, 196)


def test_untrained_it_still_scores():
    task = fleet().sample(1, 0)
    detector = MetaAAE(hidden=(6,), latent=3, inner_steps=30, inner_lr=0.5, random_state=0).fit(task.support_x[0])
    assert detector.anomaly_score(task.query_x[0]).std() > 0
    assert detector.predict(task.support_x[0]).mean() > 0  # most support points are called normal


def test_same_seed_same_digits():
    train = fleet().split(random_state=0)[0]
    one, two, other = (flat(MetaAAE(meta_steps=3, random_state=s).meta_fit(train).meta_) for s in (0, 0, 1))
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
        ({"latent": 5}, r"latent=5 .* at most 4"),
        ({"hidden": (3,), "latent": 4}, r"latent=4 .* at most 3"),
        ({"inner_steps": -1}, "inner_steps"),
        ({"inner_lr": 0.0}, "inner_lr"),
        ({"width": 0}, "width"),
        ({"network": torch.nn.Linear(4, 1)}, "must be a ConvNet"),
        ({"network": ConvNet((4,)), "hidden": (3,)}, "either hidden or network"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MetaAAE(**options).fit(np.zeros((5, 4)))


@pytest.mark.parametrize("options", [{"hidden": (4,)}, {"network": ConvNet((4, 4), norm="batch")}])
def test_a_code_is_no_wider_than_the_encoder_can_fill(options):
    train = fleet(n_features=16).split(random_state=0)[0]
    detector = MetaAAE(**options, meta_steps=2, meta_batch=4, random_state=2).meta_fit(train)
    assert detector.meta_["start"]["G"]["bias1"].shape == (1, 4)  # in a wider code S is singular


def test_too_few_points_for_a_code_are_refused():
    few = fleet(normal_queries=2).split(random_state=0)[0]
    with pytest.raises(ValueError, match="cannot fill"):
        MetaAAE(meta_batch=2, meta_steps=2, random_state=0).meta_fit(few)


def test_changed_parts_ask_for_new_training(trained):
    detector, test = trained
    with pytest.raises(ValueError, match="latent changed since meta_fit"):
        clone(detector).set_params(latent=2).score_tasks(test.sample(1, 0))
