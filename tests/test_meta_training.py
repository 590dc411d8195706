"""The outer loop: meta-gradients of all networks and methods, the descent along them, early stopping."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import (
    SHAPE,
    Frozen,
    at_random,
    attached,
    differences,
    gradient,
    module_of,
    plain_inner_loop,
    plain_network,
    plain_query_loss,
    relative,
    tasks,
    trained,
)

from metaad_tutorial import AADML, MAML, ConvNet, Fleet, Reptile, class_tasks, evaluate
from metaad_tutorial.training import AveragingAdam, meta_train
from metaad_tutorial.tree import flat, nested

RATE = 0.4
FLEET = Fleet(5, 2, 6, 6, n_machines=60, n_features=4)
TRAIN, VALID, TEST = FLEET.split(random_state=0)
TASKS = TEST.sample(6, random_state=1)
POINTS = ("support_x", "query_x")
METHODS = pytest.mark.parametrize("method", [AADML, MAML])

# --- Meta-gradients -----------------------------------------------------------------------------------

NETWORKS = {
    "linear": dict,
    "dense": lambda: {"hidden": (5,)},
    "deep": lambda: {"hidden": (4, 3)},
    "convolutions": lambda: {"network": ConvNet((4, 4), shape=SHAPE)},
    "convolutions, layer": lambda: {"network": ConvNet((4, 4), "layer", SHAPE)},
    "convolutions, batch": lambda: {"network": ConvNet((4, 4), "batch", SHAPE)},
    "module, layer norm": lambda: {"network": module_of("layer norm")},
    "module, group norm": lambda: {"network": module_of("group norm")},
    "module, batch norm 1d": lambda: {"network": module_of("batch norm 1d")},
    "module, batch norm 2d": lambda: {"network": module_of("batch norm 2d")},
}


def slope(detector, meta, episodes, direction, size=1e-5):
    """Directional derivative of the outer loss by central differences."""
    ends = []
    for sign in (1, -1):
        leaves, parts = flat(meta), direction.split([value.numel() for value in flat(meta).values()])
        moved = {
            name: (value + sign * size * part.view(value.shape)).detach().requires_grad_()
            for (name, value), part in zip(leaves.items(), parts, strict=True)
        }
        ends.append(detector.outer_loss(nested(moved), episodes).item())
    return (ends[0] - ends[1]) / (2 * size)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_meta_gradient_is_that_of_a_loop_and_of_finite_differences(kind, steps):
    detector = MAML(inner_steps=steps, inner_lr=RATE, **NETWORKS[kind]())
    meta, episodes = attached(at_random(detector)), tasks()
    value, loop = detector.outer_loss(meta, episodes), plain_query_loss(detector, meta, episodes)
    got = gradient(value, meta)
    assert value.item() == pytest.approx(loop.item(), rel=1e-12)
    assert relative(got, gradient(loop, meta)) < 1e-10
    rng = np.random.default_rng(4)
    for _ in range(2):
        direction = torch.as_tensor(rng.normal(size=len(got)))
        direction /= direction.norm()
        want = slope(detector, meta, episodes, direction)
        assert abs(want - (got @ direction).item()) < 1e-7 * got.norm() + 1e-9
    dropped = gradient(detector.set_params(first_order=True).outer_loss(meta, episodes), meta)
    assert relative(dropped, got) > 1e-3  # the second-order part is there to be wrong


VARIANTS = {
    "first order": lambda: MAML(first_order=True),
    "head only": lambda: MAML(head_only=True),
    "head only, first order": lambda: MAML(head_only=True, first_order=True),
    "a rate per step": lambda: MAML(learn_lr="step"),
    "a rate per parameter": lambda: MAML(learn_lr="parameter"),
    "first order, rate per step": lambda: MAML(learn_lr="step", first_order=True),
    "head only, rate per parameter": lambda: MAML(learn_lr="parameter", head_only=True),
    "squared loss": lambda: MAML(loss="squared"),
    "focal, balanced": lambda: MAML(loss="focal", balanced=True),
    "AADML": lambda: AADML(),
    "AADML, head only": lambda: AADML(head_only=True),
}


@pytest.mark.parametrize("kind", ["dense", "convolutions, batch", "module, batch norm 1d"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_the_gradient_of_a_loop(variant, kind):
    detector = VARIANTS[variant]().set_params(inner_steps=3, inner_lr=RATE, **NETWORKS[kind]())
    meta, episodes = attached(at_random(detector)), tasks()
    value, loop = detector.outer_loss(meta, episodes), plain_query_loss(detector, meta, episodes)
    assert value.item() == pytest.approx(loop.item(), rel=1e-12)
    assert relative(gradient(value, meta), gradient(loop, meta)) < 1e-10
    own = meta.get("rate", meta.get("rule"))
    if own:
        assert (gradient(value, own).abs() > 1e-12).double().mean() > 0.5  # dead ReLUs have none
        assert ("head_only" in detector.get_params() and detector.head_only) == (len(own) == 2)


@pytest.mark.parametrize("kind", ["dense", "convolutions, batch", "module, batch norm 1d"])
def test_reptile_follows_the_mean_way_of_the_tasks(kind):
    detector = Reptile(inner_steps=3, inner_lr=RATE, **NETWORKS[kind]())
    meta, episodes = attached(at_random(detector)), tasks()
    value = detector.outer_loss(meta, episodes)
    logits, start = plain_network(detector), meta["start"]
    want, losses = 0, []
    for t in range(len(episodes)):
        x = torch.cat([episodes.support_x[t], episodes.query_x[t]])
        y = torch.cat([episodes.support_y[t], episodes.query_y[t]])

        def loss(params, k, x=x, y=y):
            losses.append(F.binary_cross_entropy_with_logits(logits(params, x[k::3], x[k::3]), y[k::3]))
            return losses[-1]

        w = plain_inner_loop(loss, start, lambda name, w, grad, k: w - RATE * grad, 3, first_order=True)
        way = torch.cat([(start[name] - w[name]).detach().flatten() for name in start])
        want = want + way / (3 * RATE) / len(episodes)
    assert relative(gradient(value, meta), want) < 1e-10
    assert value.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-12)


def test_more_minibatches_than_points():
    with pytest.raises(ValueError, match="inner_steps"):
        Reptile(inner_steps=40, meta_steps=1, random_state=0).meta_fit(TRAIN)


# --- The descent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@METHODS
def test_meta_training_descends_the_exact_meta_gradient(method, loss):
    """Adam along the gradient of a loop over tasks, on points standardised by hand."""
    detector = method(meta_steps=4, meta_batch=len(TASKS), inner_lr=0.2, meta_lr=0.05, loss=loss)
    normal = TASKS.support_x[TASKS.support_y == 0]
    scaled = {name: (getattr(TASKS, name) - normal.mean(0)) / normal.std(0, correction=0) for name in POINTS}
    scaled = dataclasses.replace(TASKS, **scaled)
    meta, losses = attached(detector.init(np.random.default_rng(0), 4)), []
    optimizer = torch.optim.Adam(flat(meta).values(), lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        losses.append(plain_query_loss(detector, meta, scaled))
        losses[-1].backward()
        optimizer.step()
    detector.meta_fit(Frozen(TASKS))
    assert np.allclose(detector.history_["loss"], torch.stack(losses).detach(), rtol=0, atol=1e-10)
    learnt = flat(detector.meta_)
    for name, value in flat(meta).items():
        assert torch.allclose(learnt[name], value, rtol=0, atol=1e-8)
    if method is AADML:  # every entry has been learnt
        assert all((v - torch.tensor([0.0, 0.2])).abs().min() > 1e-3 for v in meta["rule"].values())


def test_meta_training_lowers_the_loss():
    for method in (AADML, MAML):
        losses = method(meta_steps=60, random_state=0).meta_fit(TRAIN).history_["loss"]
        assert np.mean(losses[-10:]) < 0.75 * losses[0]


@pytest.mark.parametrize("hidden", [(), (5,)])
@METHODS
def test_the_seed_fixes_meta_training(method, hidden):
    first, again, other = (trained(method, TRAIN, VALID, hidden=hidden, random_state=s).meta_ for s in (0, 0, 1))
    assert not differences(first, again)
    assert differences(first, other)
    from_generator = trained(method, TRAIN, VALID, hidden=hidden, random_state=np.random.default_rng(0)).meta_
    assert not differences(first, from_generator)


@METHODS
def test_meta_training_refuses_overlap(method):
    with pytest.raises(ValueError, match=r"overlap.*family\.split"):
        method(meta_steps=1).meta_fit(TRAIN, FLEET)


def test_meta_training_refuses_validation_tasks_of_another_width():
    other = Fleet(5, 2, 6, 6, n_machines=20, n_features=5)
    with pytest.raises(ValueError, match="features"):
        MAML(meta_steps=1, random_state=0).meta_fit(TRAIN, other)


# --- Validation tasks and early stopping --------------------------------------------------------------


def looking(detector, every):
    """The detector with a look at the validation tasks every few outer steps."""
    detector.every = every
    return detector


def loss_of(detector, episodes):
    scores, _ = detector.score_tasks(episodes)
    return F.binary_cross_entropy_with_logits(torch.as_tensor(scores), episodes.query_y).item()


def test_the_best_outer_step_on_the_validation_tasks_is_kept():
    """With a step size this large the loss goes up and down; on the same tasks, train and validation loss connect."""
    detector = looking(MAML(meta_steps=12, meta_lr=3.0, inner_steps=1, random_state=0), 1)
    detector.meta_fit(Frozen(TASKS, "a"), Frozen(TASKS, "b"))
    losses, valid = detector.history_["loss"], detector.history_["valid_loss"]
    assert len(losses) == len(valid) == 12
    assert np.allclose(losses[1:], valid[:-1], rtol=0, atol=1e-12)  # step i + 1 begins where step i was judged
    assert min(valid) < valid[-1] - 1e-3
    assert loss_of(detector, TASKS) == pytest.approx(min(valid), abs=1e-12)


def test_validation_tasks_give_no_gradient():
    other = Frozen(VALID.sample(6, random_state=0), "b")
    with_, without = (trained(MAML, Frozen(TASKS, "a"), valid) for valid in (other, None))
    assert with_.history_["loss"] == without.history_["loss"]
    assert without.history_["valid_loss"] == []


def test_patience_stops_and_keeps_the_best():
    """On the same tasks with a step size this large the loss goes up and down."""
    episodes = tasks(8, 6, 12, seed=1)
    detector = looking(MAML(meta_steps=60, meta_lr=2.0, inner_steps=1, patience=3, random_state=0), 1)
    detector.meta_fit(Frozen(episodes, "a"), Frozen(episodes, "b"))
    valid = detector.history_["valid_loss"]
    best = int(np.argmin(valid))
    assert len(valid) == len(detector.history_["loss"]) == best + 1 + 3 < 60  # not one look more, not one less
    for i in range(3, len(valid) - 1):  # it could not have stopped before
        assert min(valid[i - 2 : i + 1]) < min(valid[: i - 2])
    assert loss_of(detector, episodes) == pytest.approx(valid[best], abs=1e-8)  # other looks differ by more than 1e-4


@pytest.mark.parametrize(
    ("parameters", "valid", "message"),
    [({"patience": 2}, False, r"meta_fit\(train, valid\)"), ({"patience": 0}, True, "patience"),
     ({"learn_lr": "layer"}, False, "learn_lr must be None, 'step' or 'parameter'")],
)  # fmt: skip
def test_bad_parameters_of_the_training_are_named(parameters, valid, message):
    train, valid = Frozen(tasks(), "a"), Frozen(tasks(), "b") if valid else None
    with pytest.raises(ValueError, match=message):
        MAML(meta_steps=1, **parameters).meta_fit(train, valid)


# --- Averaging ----------------------------------------------------------------------------------------


def test_the_kept_values_are_the_running_mean():
    values = torch.tensor([1.0, -2.0], dtype=torch.float64).requires_grad_()
    optimizer, seen = AveragingAdam([values], lr=0.1, decay=0.9), []
    for _ in range(30):
        optimizer.zero_grad()
        (values**2).sum().backward()
        optimizer.step()
        seen.append(values.detach().clone())
    mean = seen[0]
    for step, value in enumerate(seen, 1):
        weight = min(0.9, step / (step + 10))
        mean = weight * mean + (1 - weight) * value
    assert torch.allclose(optimizer.mean(values), mean, rtol=0, atol=1e-12)
    assert not torch.allclose(mean, seen[-1], atol=1e-3)
    assert AveragingAdam([values], lr=0.1).mean(values) is values


# --- Images it was not tuned on -----------------------------------------------------------------------


def test_a_convnet_learns_from_any_labelled_images():
    """300 classes of 28x28 images, patterns of patches under changing light; no option but the number of steps."""
    rng = np.random.default_rng(0)
    n, per_class = 300, 8
    patterns = np.kron(rng.normal(size=(n, 4, 4)), np.ones((7, 7)))[:, None]
    contrast, light = rng.uniform(0.5, 1.5, (n, per_class, 1, 1)), rng.normal(scale=2, size=(n, per_class, 1, 1))
    images = contrast * patterns + light + rng.normal(scale=0.5, size=(n, per_class, 28, 28))
    X, y = images.reshape(-1, 28, 28), np.repeat(np.arange(n), per_class)
    family = class_tasks(X, y, normal_shots=4, anomalous_shots=0, normal_queries=4, anomalous_queries=4)
    train, _, test = family.split(random_state=0)
    detector = MAML(network=ConvNet(), meta_steps=30, random_state=0).meta_fit(train)
    assert evaluate(detector, test, n_tasks=60, random_state=0).low > 0.7
    untrained = MAML(network=ConvNet(), random_state=0)
    assert evaluate(untrained, test, n_tasks=60, random_state=0).high < 0.7  # so it was learnt


def test_a_convnet_does_not_die_with_its_defaults():
    rng = np.random.default_rng(0)
    grid, n, per = np.indices((14, 14)) / 14, 60, 8
    a, f = rng.uniform(0, np.pi, (n, 1, 1, 1)), rng.uniform(1, 4, (n, 1, 1, 1))
    X = np.sin(2 * np.pi * f * (np.cos(a) * grid[0] + np.sin(a) * grid[1]) + rng.uniform(0, 6.28, (n, per, 1, 1)))
    family = class_tasks(
        (X + 0.3 * rng.normal(size=X.shape)).reshape(-1, 14, 14),
        np.repeat(np.arange(n), per),
        normal_shots=4,
        normal_queries=4,
        anomalous_queries=4,
    )
    detector = MAML(network=ConvNet(), meta_steps=40, random_state=0, dtype="float32").meta_fit(family)
    assert detector.score_tasks(family.sample(10, random_state=0))[0].std(1).min() > 0


def test_a_validation_loss_that_is_no_number_stops_the_training():
    start = {"w": torch.zeros(2)}
    with pytest.raises(ValueError, match="diverged"):
        meta_train(
            start, lambda: tasks(), lambda meta, _: meta["w"].square().sum(), steps=3, lr=0.1, every=1,
            watched=tasks(), valid_loss=lambda meta, _: meta["w"].sum() * float("nan"),
        )  # fmt: skip


def test_reptile_needs_a_step():
    with pytest.raises(ValueError, match="inner_steps must be an integer of at least 1"):
        Reptile(inner_steps=0).meta_fit(Fleet(n_machines=9))
