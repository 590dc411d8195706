"""Meta-gradients of all networks and methods; early stopping, checkpoints, several processes, unknown images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from test_files import damaged
from test_networks import SHAPE, D, module_of, norm_by, plain_convnet
from torch import nn

from metaad_tutorial import (
    AADML,
    MAML,
    ConvNet,
    Episodes,
    Fleet,
    Reptile,
    TaskFamily,
    class_tasks,
    evaluate,
)

RATE = 0.4


class Frozen(TaskFamily):
    """The same episodes each time, whatever the seed."""

    def __init__(self, episodes, name="frozen"):
        self.source, self.episodes = name, episodes
        super().__init__(np.arange(len(episodes)))

    def sample(self, n_tasks, random_state=None):
        return self.episodes


def tasks(n_tasks=3, support=4, query=5, d=D, seed=0):
    """Random tasks; the classes differ by a shift, and both occur in every set."""
    rng = np.random.default_rng(seed)
    y = [torch.as_tensor(rng.permuted(np.tile(np.arange(n) % 2.0, (n_tasks, 1)), axis=1)) for n in (support, query)]
    x = [torch.as_tensor(rng.normal(size=(*labels.shape, d))) + labels[..., None] for labels in y]
    return Episodes(x[0], y[0], x[1], y[1], np.arange(n_tasks))


def at_random(detector, d=D, seed=3):
    """Meta-parameters as in the middle of a training: nothing is 0, every rate is its own."""
    rng = np.random.default_rng(seed)
    learnt = {}
    for name, value in detector._start(d, rng).items():
        noise = torch.as_tensor(rng.normal(size=value.shape))
        learnt[name] = (value.double() + (0.4 if name.startswith("start") else 0.05) * noise).requires_grad_()
    location, scale = (torch.as_tensor(rng.uniform(0.5, 1.5, (1, 1, d))) for _ in range(2))
    return learnt, {"location": location, "scale": scale}


# --- The reference: a loop over tasks with an inner loop of its own -----------------------------------


def plain_network(detector):
    """A function (params, x, support) -> logits of one task, out of PyTorch's own layers."""
    network = detector.network
    if isinstance(network, ConvNet):
        return lambda params, x, support: plain_convnet(params, x, SHAPE, network.norm, support)
    if isinstance(network, nn.Module):
        return lambda params, x, support: module_logits(network, params, x, support)

    def dense(params, x, support):
        for i in range(len(detector.hidden) + 1):
            x = F.linear(F.relu(x) if i else x, params[f"weight{i}"], params[f"bias{i}"])
        return x[:, 0]

    return dense


def module_logits(module, params, x, support):
    """A sequence of layers, query points and support set side by side."""
    for i, layer in enumerate(module):
        own = {n.removeprefix(f"{i}."): p for n, p in params.items() if n.startswith(f"{i}.")}
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            x = norm_by(support, x, own["weight"], own["bias"], layer.eps)
            support = F.batch_norm(support, None, None, own["weight"], own["bias"], training=True, eps=layer.eps)
        else:
            x, support = (torch.func.functional_call(layer, own, (part,)) for part in (x, support))
    return x.reshape(-1)


def point_loss(kind, logit, y):
    if kind == "squared":
        return (logit - (2 * y - 1)) ** 2 / 2
    loss = F.binary_cross_entropy_with_logits(logit, y, reduction="none")
    return loss if kind == "cross_entropy" else (1 - torch.exp(-loss)) ** 2 * loss


def plain_inner_loss(detector, logit, y):
    loss = point_loss(detector.loss, logit, y)
    return (loss[y == 0].mean() + loss[y == 1].mean()) / 2 if detector.balanced else loss.mean()


def plain_step(detector, learnt, name, value, grad, k):
    if isinstance(detector, AADML):
        rule = learnt[f"rule.{name}"]
        return value - rule[..., 0] * value - rule[..., 1] * grad
    if detector.learn_lr is None:
        return value - detector.inner_lr * grad
    rate = learnt[f"rate.{name}"]
    return value - (rate[k] if detector.learn_lr == "step" else rate) * grad


def plain_meta_loss(detector, learnt, scaling, episodes):
    """Mean query loss after adaptation, task by task."""
    logits = plain_network(detector)
    sx, qx = (((x - scaling["location"]) / scaling["scale"]) for x in (episodes.support_x, episodes.query_x))
    start = {n.removeprefix("start."): v for n, v in learnt.items() if n.startswith("start.")}
    names = list(start)
    if getattr(detector, "head_only", False):
        names = names[-2:]
    total = 0
    for t in range(len(episodes)):
        params = dict(start)
        for k in range(detector.inner_steps):
            loss = plain_inner_loss(detector, logits(params, sx[t], sx[t]), episodes.support_y[t])
            grads = torch.autograd.grad(loss, [params[n] for n in names], create_graph=True)
            if getattr(detector, "first_order", False):
                grads = [g.detach() for g in grads]
            params |= {n: plain_step(detector, learnt, n, params[n], g, k) for n, g in zip(names, grads, strict=True)}
        logit = logits(params, qx[t], sx[t])
        total = total + F.binary_cross_entropy_with_logits(logit, episodes.query_y[t])
    return total / len(episodes)


def gradient(value, learnt):
    grads = torch.autograd.grad(value, list(learnt.values()), materialize_grads=True)
    return torch.cat([g.flatten() for g in grads])


def relative(got, want):
    return ((got - want).abs().max() / want.abs().max()).item()


def slope(detector, learnt, scaling, episodes, direction, size=1e-5):
    """Directional derivative of the engine's query loss by central differences."""
    ends = []
    for sign in (1, -1):
        moved, at = {}, 0
        for name, value in learnt.items():
            step = direction[at : at + value.numel()].view(value.shape)
            moved[name] = (value + sign * size * step).detach().requires_grad_()
            at += value.numel()
        ends.append(detector._outer_loss(scaling | moved, episodes).item())
    return (ends[0] - ends[1]) / (2 * size)


NETWORKS = {
    "linear": dict,
    "dense": lambda: {"hidden": (5,)},
    "convolutions": lambda: {"network": ConvNet((4, 4), shape=SHAPE)},
    "convolutions, layer": lambda: {"network": ConvNet((4, 4), "layer", SHAPE)},
    "convolutions, group": lambda: {"network": ConvNet((8, 8), "group", SHAPE)},
    "convolutions, batch": lambda: {"network": ConvNet((4, 4), "batch", SHAPE)},
    "module, layer norm": lambda: {"network": module_of("layer norm")},
    "module, group norm": lambda: {"network": module_of("group norm")},
    "module, batch norm 1d": lambda: {"network": module_of("batch norm 1d")},
    "module, batch norm 2d": lambda: {"network": module_of("batch norm 2d")},
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_meta_gradient_is_that_of_a_loop_and_of_finite_differences(kind, steps):
    detector = MAML(inner_steps=steps, inner_lr=RATE, **NETWORKS[kind]())
    learnt, scaling = at_random(detector)
    episodes = tasks()
    value = detector._outer_loss(scaling | learnt, episodes)
    got = gradient(value, learnt)
    loop = plain_meta_loss(detector, learnt, scaling, episodes)
    assert value.item() == pytest.approx(loop.item(), rel=1e-12)
    assert relative(got, gradient(loop, learnt)) < 1e-10
    rng = np.random.default_rng(4)
    for _ in range(2):
        direction = torch.as_tensor(rng.normal(size=len(got)))
        direction /= direction.norm()
        want = slope(detector, learnt, scaling, episodes, direction)
        assert abs(want - (got @ direction).item()) < 1e-7 * got.norm() + 1e-9
    first = MAML(first_order=True, inner_steps=steps, inner_lr=RATE, **NETWORKS[kind]())
    dropped = gradient(first._outer_loss(scaling | learnt, episodes), learnt)
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
}


@pytest.mark.parametrize("kind", ["dense", "convolutions, batch", "module, batch norm 1d"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_the_gradient_of_a_loop(variant, kind):
    detector = VARIANTS[variant]().set_params(inner_steps=3, inner_lr=RATE, **NETWORKS[kind]())
    learnt, scaling = at_random(detector)
    episodes = tasks()
    value = detector._outer_loss(scaling | learnt, episodes)
    loop = plain_meta_loss(detector, learnt, scaling, episodes)
    assert value.item() == pytest.approx(loop.item(), rel=1e-12)
    got, want = gradient(value, learnt), gradient(loop, learnt)
    assert relative(got, want) < 1e-10
    if any(name.startswith(("rate.", "rule.")) for name in learnt):
        own = {name: v for name, v in learnt.items() if name.startswith(("rate.", "rule."))}
        rates = gradient(detector._outer_loss(scaling | learnt, episodes), own)
        assert (rates.abs() > 1e-12).double().mean() > 0.5  # dead ReLUs have none
        assert ("head_only" in detector.get_params() and detector.head_only) == (len(own) == 2)


def test_the_rates_have_the_promised_shapes_and_start():
    for learn_lr, shapes in (("step", [(2,), (2,)]), ("parameter", [(1, D), (1,)])):
        meta = MAML(learn_lr=learn_lr, inner_steps=2, inner_lr=0.3)._start(D, np.random.default_rng(0))
        rates = [meta["rate.weight0"], meta["rate.bias0"]]
        assert [tuple(rate.shape) for rate in rates] == shapes
        assert all((rate == 0.3).all() for rate in rates)
    deep = MAML(learn_lr="step", head_only=True, hidden=(4,))._start(D, np.random.default_rng(0))
    assert {n for n in deep if n.startswith("rate.")} == {"rate.weight1", "rate.bias1"}


@pytest.mark.parametrize("kind", ["dense", "convolutions, batch", "module, batch norm 1d"])
def test_reptile_follows_the_mean_way_of_the_tasks(kind):
    detector = Reptile(inner_steps=3, inner_lr=RATE, **NETWORKS[kind]())
    learnt, scaling = at_random(detector)
    episodes = tasks()
    got = gradient(detector._outer_loss(scaling | learnt, episodes), learnt)
    logits, start = plain_network(detector), {n[6:]: v for n, v in learnt.items()}
    want, first_losses = 0, []
    for t in range(len(episodes)):
        x = (torch.cat([episodes.support_x[t], episodes.query_x[t]]) - scaling["location"][0]) / scaling["scale"][0]
        y = torch.cat([episodes.support_y[t], episodes.query_y[t]])
        params = dict(start)
        for k in range(3):
            batch, labels = x[k::3], y[k::3]
            loss = F.binary_cross_entropy_with_logits(logits(params, batch, batch), labels)
            grads = torch.autograd.grad(loss, list(params.values()))
            params = {n: v - RATE * g for (n, v), g in zip(params.items(), grads, strict=True)}
            first_losses.append(loss.item())
        way = torch.cat([(start[n] - params[n]).detach().flatten() for n in start])
        want = want + way / (3 * RATE) / len(episodes)
    assert relative(got, want) < 1e-10
    assert detector._outer_loss(scaling | learnt, episodes).item() == pytest.approx(np.mean(first_losses), rel=1e-12)


def test_head_only_leaves_the_body_to_all_tasks():
    detector = MAML(hidden=(4,), head_only=True, inner_lr=RATE)
    learnt, scaling = at_random(detector)
    detector.meta_ = scaling | {n: v.detach() for n, v in learnt.items()}
    detector.n_features_in_ = D
    episodes = tasks()
    detector.fit(episodes.support_x[0], episodes.support_y[0])
    start = {n.removeprefix("start."): v for n, v in learnt.items()}
    same = {n: torch.equal(v, start[n].detach().expand_as(v)) for n, v in detector.params_.items()}
    assert same == {"weight0": True, "bias0": True, "weight1": False, "bias1": False}


# --- No score depends on the other query points -------------------------------------------------------


def ready(method, kind, **parameters):
    detector = method(inner_lr=RATE, **NETWORKS[kind](), **parameters)
    learnt, scaling = at_random(detector)
    detector.meta_ = scaling | {n: v.detach() for n, v in learnt.items()}
    detector.n_features_in_ = D
    return detector


@pytest.mark.parametrize(("method", "kind"), [*((MAML, kind) for kind in NETWORKS), (AADML, "convolutions, batch")])
def test_scores_are_the_same_in_any_company(method, kind):
    detector, episodes = ready(method, kind), tasks(query=8)
    scores, thresholds = detector.score_tasks(episodes)
    assert scores.std() > 1e-3
    order = np.random.default_rng(0).permutation(8)
    for chosen in (order, np.arange(0, 8, 2), np.arange(4, 8), [3]):
        part = Episodes(*(getattr(episodes, n) for n in ("support_x", "support_y")),
                        episodes.query_x[:, chosen], episodes.query_y[:, chosen], episodes.units)  # fmt: skip
        got, same = detector.score_tasks(part)
        assert np.allclose(got, scores[:, chosen], rtol=0, atol=1e-12)
        assert np.allclose(same, thresholds, rtol=0, atol=1e-12)
        if len(chosen) > 1:
            want = [roc_auc_score(y, s) for y, s in zip(part.query_y, scores[:, chosen], strict=True)
                    if 0 < y.sum() < len(y)]  # fmt: skip
            if len(want) == len(part):
                assert np.allclose(evaluate(detector, Frozen(part)).auroc, want, rtol=0, atol=1e-12)
    for t, task in enumerate(episodes):
        detector.fit(task.support_x[0], task.support_y[0])
        alone = detector.anomaly_score(task.query_x[0].reshape(8, *SHAPE))  # images are accepted as they are
        assert np.allclose(alone, scores[t], rtol=0, atol=1e-12)
        assert np.allclose(detector.anomaly_score(task.query_x[0][order]), alone[order], rtol=0, atol=1e-12)
        assert np.allclose(detector.anomaly_score(task.query_x[0][::2]), alone[::2], rtol=0, atol=1e-12)


def test_a_convnet_has_one_location_and_scale_for_all_pixels():
    episodes = tasks(support=6)
    for network, pixels in ((ConvNet((4,), shape=SHAPE), True), (None, False)):
        detector = MAML(network=network, meta_steps=1, random_state=0).meta_fit(Frozen(episodes))
        normal = episodes.support_x[episodes.support_y == 0]
        for name, want in (("location", normal.mean(*(() if pixels else (0,)))),
                           ("scale", normal.std(*(() if pixels else (0,)), correction=0))):  # fmt: skip
            assert detector.meta_[name].shape == (1, 1, D)
            assert torch.allclose(detector.meta_[name], want.expand(1, 1, D), rtol=0, atol=1e-12)


# --- Early stopping -------------------------------------------------------------------------------------


def test_patience_stops_and_keeps_the_best():
    """On the same tasks with a step size this large the loss goes up and down."""
    episodes = tasks(8, 6, 12, seed=1)
    detector = MAML(meta_steps=60, meta_lr=2.0, inner_steps=1, patience=3, random_state=0)
    detector.valid_every = 1
    detector.meta_fit(Frozen(episodes, "a"), Frozen(episodes, "b"))
    valid = detector.history_["valid_loss"]
    best = int(np.argmin(valid))
    assert len(valid) == len(detector.history_["loss"]) == best + 1 + 3 < 60  # not one look more, not one less
    for i in range(3, len(valid) - 1):  # it could not have stopped before
        assert min(valid[i - 2 : i + 1]) < min(valid[: i - 2])
    scores, _ = detector.score_tasks(episodes)
    kept = F.binary_cross_entropy_with_logits(torch.as_tensor(scores), episodes.query_y)
    assert kept.item() == pytest.approx(valid[best], abs=1e-8)  # other looks differ by more than 1e-4


@pytest.mark.parametrize(
    ("parameters", "valid", "message"),
    [({"patience": 2}, False, r"meta_fit\(train, valid\)"), ({"patience": 0}, True, "patience"),
     ({"learn_lr": "layer"}, False, 'learn_lr must be None, "step" or "parameter"')],
)  # fmt: skip
def test_bad_parameters_of_the_training_are_named(parameters, valid, message):
    train, valid = Frozen(tasks(), "a"), Frozen(tasks(), "b") if valid else None
    with pytest.raises(ValueError, match=message):
        MAML(meta_steps=1, **parameters).meta_fit(train, valid)


# --- Checkpoints ----------------------------------------------------------------------------------------

TRAIN, _, TEST = Fleet(3, 1, 4, 4, n_machines=40, n_features=D).split(random_state=0)
VALID = Frozen(TEST.sample(5, random_state=0), "valid")  # 100 tasks would take their time


class Interrupted(Exception):
    """The power went off."""


def make(kind, every=3, **parameters):
    settings = {"meta_steps": 11, "meta_batch": 4, "random_state": 5, "inner_steps": 2}
    method, own = {
        "MAML": (MAML, {}),
        "AADML": (AADML, {"hidden": (3,)}),
        "rates": (MAML, {"learn_lr": "step", "network": ConvNet((4,), "batch", SHAPE), "dtype": "float32"}),
        "module": (MAML, {"network": module_of("unused"), "head_only": True}),
        "Reptile": (Reptile, {"network": module_of("batch norm 1d")}),
    }[kind]
    detector = method(**settings | own | parameters)
    detector.valid_every = every
    return detector


def stop_in_step(detector, n):
    """Let the training fail in the middle of outer step n, after the episodes are drawn."""
    loss, calls = detector._outer_loss, []

    def outer_loss(meta, episodes):
        calls.append(1)
        if len(calls) == n:
            raise Interrupted
        return loss(meta, episodes)

    detector._outer_loss = outer_loss
    return detector


def assert_same_training(one, two):
    assert one.history_ == two.history_
    assert one.meta_.keys() == two.meta_.keys()
    assert all(torch.equal(one.meta_[n], two.meta_[n]) for n in one.meta_)


@pytest.mark.parametrize(
    ("kind", "step"),  # before the first checkpoint, or after the first or the second
    [("MAML", 2), ("MAML", 4), ("MAML", 9), ("AADML", 4), ("rates", 9), ("module", 4), ("Reptile", 4)],
)
def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path, kind, step):
    path = tmp_path / "run.npz"
    whole = make(kind).meta_fit(TRAIN, VALID)
    broken = stop_in_step(make(kind), step)
    with pytest.raises(Interrupted):
        broken.meta_fit(TRAIN, VALID, checkpoint=path)
    assert not hasattr(broken, "meta_") and not hasattr(broken, "history_")
    assert [p.name for p in tmp_path.iterdir()] == (["run.npz"] if step > 3 else [])
    resumed = make(kind).meta_fit(TRAIN, VALID, checkpoint=path)
    assert_same_training(resumed, whole)
    assert {v.dtype for v in resumed.meta_.values()} == {v.dtype for v in whole.meta_.values()}
    before = path.read_bytes()
    assert_same_training(make(kind).meta_fit(TRAIN, VALID, checkpoint=path), whole)  # nothing is left to do
    assert path.read_bytes() == before


def test_a_checkpoint_changes_nothing_and_may_lie_between_two_lengths(tmp_path):
    assert_same_training(make("MAML").meta_fit(TRAIN, checkpoint=str(tmp_path / "a")), make("MAML").meta_fit(TRAIN))
    half = make("MAML", meta_steps=6).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "b")
    whole = make("MAML", meta_steps=12).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "b")
    assert len(half.history_["loss"]) == 6
    assert_same_training(whole, make("MAML", meta_steps=12).meta_fit(TRAIN, VALID))


def test_early_stopping_survives_an_interruption(tmp_path):
    parameters = {"meta_steps": 40, "meta_lr": 2.0, "patience": 4, "every": 1}
    whole = make("MAML", **parameters).meta_fit(TRAIN, VALID)
    stopped = len(whole.history_["loss"])
    assert stopped < 40
    with pytest.raises(Interrupted):
        stop_in_step(make("MAML", **parameters), stopped - 1).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c")
    for _ in range(2):
        assert_same_training(make("MAML", **parameters).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c"), whole)
    patient = make("MAML", **parameters | {"patience": 40}).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c")
    assert len(patient.history_["loss"]) == 40


OTHERS = {
    "class": lambda: (AADML(meta_steps=11, meta_batch=4, random_state=5, inner_steps=2), TRAIN),
    "step size": lambda: (make("MAML", inner_lr=0.2), TRAIN),
    "seed": lambda: (make("MAML", random_state=6), TRAIN),
    "layers": lambda: (make("MAML", hidden=(3,)), TRAIN),
    "network": lambda: (make("MAML", network=ConvNet((4,), shape=SHAPE)), TRAIN),
    "module": lambda: (make("MAML", network=nn.Linear(D, 1)), TRAIN),
    "variant": lambda: (make("MAML", first_order=True), TRAIN),
    "fleet": lambda: (make("MAML"), Fleet(3, 1, 4, 4, n_machines=40, n_features=D, seed=1).split(random_state=0)[0]),
    "machines": lambda: (make("MAML"), TRAIN.restrict(TRAIN.units[:-1])),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run.npz"
    make("MAML", meta_steps=3).meta_fit(TRAIN, checkpoint=path)
    return path.read_bytes()


@pytest.mark.parametrize("other", OTHERS)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, checkpoint, other):
    path = tmp_path / "run.npz"
    path.write_bytes(checkpoint)
    detector, family = OTHERS[other]()
    with pytest.raises(ValueError, match=r"run\.npz is the checkpoint of another training.*same parameters"):
        detector.meta_fit(family, checkpoint=path)
    assert path.read_bytes() == checkpoint
    assert not hasattr(detector, "meta_")


@pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["cut off", "changed byte", "empty", "text"])
def test_a_damaged_checkpoint_is_named_and_left_alone(tmp_path, checkpoint, kind):
    path = tmp_path / "run.npz"
    path.write_bytes(damaged(kind, checkpoint))
    detector = make("MAML").meta_fit(TRAIN)
    before, content = dict(detector.meta_), path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.npz is damaged"):
        detector.meta_fit(TRAIN, checkpoint=path)
    assert path.read_bytes() == content
    assert detector.meta_.keys() == before.keys() and all(detector.meta_[n] is v for n, v in before.items())


def test_a_detector_is_no_checkpoint_and_a_checkpoint_no_detector(tmp_path, checkpoint):
    make("MAML").meta_fit(TRAIN).save(tmp_path / "detector.npz")
    with pytest.raises(ValueError, match=r"detector\.npz is damaged or not a checkpoint"):
        make("MAML").meta_fit(TRAIN, checkpoint=tmp_path / "detector.npz")
    (tmp_path / "run.npz").write_bytes(checkpoint)
    with pytest.raises(ValueError, match=r"run\.npz.*give it to meta_fit"):
        MAML.load(tmp_path / "run.npz")


def test_a_failing_write_keeps_the_old_checkpoint(tmp_path, checkpoint, monkeypatch):
    path = tmp_path / "run.npz"
    path.write_bytes(checkpoint)

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make("MAML").meta_fit(TRAIN, checkpoint=path)
    assert path.read_bytes() == checkpoint
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_a_generator_has_no_state_that_a_checkpoint_could_hold(tmp_path):
    with pytest.raises(ValueError, match="needs an integer random_state"):
        make("MAML", random_state=np.random.default_rng(0)).meta_fit(TRAIN, checkpoint=tmp_path / "run.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_diverging_training_leaves_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    make("MAML", meta_steps=3).meta_fit(TRAIN, checkpoint=path)
    content = path.read_bytes()
    detector = make("MAML", meta_steps=9)
    detector._outer_loss = lambda meta, episodes: sum(v.sum() for v in meta.values()) * torch.nan
    with pytest.raises(ValueError, match="diverged"):
        detector.meta_fit(TRAIN, checkpoint=path)
    assert path.read_bytes() == content and not hasattr(detector, "meta_")


# --- Several processes ----------------------------------------------------------------------------------

SCRIPT = """
import json, sys
import numpy as np
import torch
from metaad_tutorial import MAML, Fleet, ranks

where = sys.argv[1]
train, valid, _ = Fleet(3, 1, 4, 4, n_machines=40, n_features=20).split(random_state=0)


def run(steps, checkpoint=None, **parameters):
    detector = MAML(meta_steps=steps, meta_batch=5, inner_steps=2, **parameters)
    detector.valid_every = 2
    return detector.meta_fit(train, valid, checkpoint)


path = f"{where}/checkpoint.npz"
run(4, path, random_state=0)
torch.distributed.barrier()
detector = run(6, path, random_state=0)
detector.save(f"{where}/rank{ranks.rank()}.npz")
unseeded = run(2)
np.savez(f"{where}/unseeded{ranks.rank()}.npz", **{n: v.numpy() for n, v in unseeded.meta_.items()})
try:
    MAML(meta_steps=1, meta_batch=1, random_state=0).meta_fit(train)
    message = ""
except ValueError as error:
    message = str(error)
json.dump([message, torch.distributed.get_world_size()], open(f"{where}/message{ranks.rank()}.json", "w"))
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What two processes under torchrun leave behind."""
    where = tmp_path_factory.mktemp("ranks")
    (where / "script.py").write_text(SCRIPT)
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, "script.py", str(where)], cwd=where, env=env, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return where


def test_two_processes_learn_what_one_learns(two_ranks):
    whole = MAML(meta_steps=6, meta_batch=5, inner_steps=2, random_state=0)  # 5 tasks: shares of 3 and 2
    whole.valid_every = 2
    whole.meta_fit(*Fleet(3, 1, 4, 4, n_machines=40, n_features=D).split(random_state=0)[:2])
    first, second = (MAML.load(two_ranks / f"rank{i}.npz") for i in (0, 1))
    for name, value in whole.meta_.items():
        assert relative(first.meta_[name], value) < 1e-12
        assert torch.equal(first.meta_[name], second.meta_[name])
    assert first.history_ == second.history_
    for name, values in whole.history_.items():
        assert len(values) == {"loss": 6, "valid_loss": 3}[name]
        assert np.allclose(first.history_[name], values, rtol=1e-12, atol=0)


def test_processes_without_a_seed_agree(two_ranks):
    one, two = (dict(np.load(two_ranks / f"unseeded{i}.npz")) for i in (0, 1))
    assert one.keys() == two.keys() and len(one) == 4
    assert all(np.array_equal(one[n], two[n]) for n in one)


def test_too_few_tasks_for_the_processes(two_ranks):
    for i in (0, 1):
        message, ranks = json.loads((two_ranks / f"message{i}.json").read_text())
        assert ranks == 2 and "1 tasks cannot be shared by 2 processes: raise meta_batch" in message


# --- Images it was not tuned on -------------------------------------------------------------------------


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
