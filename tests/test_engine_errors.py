"""Unusual modules, changed parameters and checkpoints that do not fit: each gets a clear error or the right result."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_meta_training import TEST, TRAIN, VALID, Frozen, make
from test_networks import SHAPE, D, draw, module_of
from torch import nn

from metaad_tutorial import MAML, ConvNet, Fleet, ModuleNetwork, Reptile, class_tasks
from metaad_tutorial.losses import cross_entropy

X, Q = draw(6, D).numpy(), draw(5, D, seed=9).numpy()
Y = np.array([0, 0, 0, 0, 1, 1.0])


def test_one_batch_norm_used_twice():
    norm = nn.BatchNorm1d(5)
    module = nn.Sequential(nn.Linear(D, 5), norm, nn.Tanh(), nn.Linear(5, 5), norm, nn.Linear(5, 1)).double()
    assert not any(isinstance(m, nn.BatchNorm1d) for m in ModuleNetwork(module).module.modules())


def test_attention_has_second_derivatives():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.out = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Linear(4, 1)

        def forward(self, x):
            return self.out(self.mix(x.unflatten(1, (-1, 4))).mean(1))

    MAML(network=Attention(), meta_steps=1, random_state=0).meta_fit(TRAIN)


@pytest.mark.parametrize("module", [nn.Sequential(nn.LazyLinear(5), nn.Linear(5, 1))])
def test_lazy_modules_are_named(module):
    with pytest.raises(ValueError, match="lazy layers: run it once"):
        MAML(network=module).fit(X)


def test_a_module_failing_otherwise_is_named():
    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x[:, 77] * self.w

    class Pair(Columns):
        def forward(self, x):
            return x[:, 0] * self.w, x

    for module in (Columns(), Pair()):
        with pytest.raises(ValueError, match="network"):
            MAML(network=module).fit(X)


@pytest.mark.parametrize(
    "arguments", [{"channels": 32}, {"shape": 28}, {"shape": (28,)}, {"shape": (-4, -5)}, {"shape": (4, 5, 1)}]
)
def test_bad_arguments_of_convnet(arguments):
    with pytest.raises(ValueError, match=r"channels|shape"):
        MAML(network=ConvNet(**arguments)).fit(X)


def test_hidden_as_a_number_is_named():
    with pytest.raises(ValueError, match="hidden"):
        MAML(hidden=3).fit(X)


def test_shape_survives_saving(tmp_path):
    detector = MAML(network=ConvNet((4,), shape=SHAPE)).fit(X)
    detector.save(tmp_path / "a")
    assert MAML.load(tmp_path / "a").get_params() == detector.get_params()


def test_a_changed_module_is_seen():
    module = module_of("linear")
    detector = MAML(network=module).fit(X)
    with torch.no_grad():
        module.weight += 1
    assert np.array_equal(detector.fit(X).anomaly_score(Q), MAML(network=module).fit(X).anomaly_score(Q))


def test_frozen_parameters_and_buffers_are_saved(tmp_path):
    module, other = module_of("frozen"), module_of("frozen")
    with torch.no_grad():
        other[0].weight += 1
    detector = MAML(network=module).fit(X)
    detector.save(tmp_path / "a")
    loaded = MAML.load(tmp_path / "a", network=other)
    assert np.allclose(loaded.anomaly_score(Q), detector.anomaly_score(Q))  # or a ValueError from load


@pytest.mark.parametrize("other", [lambda: nn.Linear(3, 1), lambda: nn.Sequential(nn.Linear(D, 1)), lambda: "x"])
def test_loading_with_another_network_is_refused(tmp_path, other):
    MAML(network=module_of("linear")).fit(X).save(tmp_path / "a")
    with pytest.raises(ValueError, match="network"):
        MAML.load(tmp_path / "a", network=other())


@pytest.mark.parametrize("network", [None, ConvNet((4,), shape=SHAPE)])
def test_loading_with_a_network_nobody_asked_for_is_refused(tmp_path, network):
    MAML(network=network).fit(X).save(tmp_path / "a")
    with pytest.raises(ValueError, match="network"):
        MAML.load(tmp_path / "a", network=nn.Linear(D, 1))


@pytest.mark.parametrize(
    "parameters",
    [{"random_state": np.int64(3)}, {"inner_steps": np.int64(3)}, {"network": ConvNet((np.int64(4),), shape=SHAPE)}],
)
def test_numpy_integers_are_plain(tmp_path, parameters):
    MAML(**parameters).fit(X).save(tmp_path / "a")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"learn_lr": "step", "inner_steps": 2}, {"inner_steps": 4}),
        ({}, {"learn_lr": "step"}),
        ({}, {"hidden": (3,)}),
        ({"hidden": (3,), "head_only": True, "learn_lr": "step"}, {"head_only": False}),
        ({"network": nn.Linear(D, 1)}, {"network": nn.Sequential(nn.Linear(D, 1))}),
    ],
)
def test_parameters_that_no_longer_fit_the_training_are_named(first, then):
    detector = make("MAML", **first).meta_fit(TRAIN).set_params(**then)
    with pytest.raises(ValueError, match=next(iter(then))):
        detector.fit(X, Y)


def test_more_minibatches_than_points():
    with pytest.raises(ValueError, match="inner_steps"):
        Reptile(inner_steps=40, meta_steps=1, random_state=0).meta_fit(TRAIN)


def test_cross_entropy_is_exact_at_large_logits():
    z = torch.tensor([25.0], dtype=torch.float64)
    assert cross_entropy(z, torch.ones(1).double()).item() == pytest.approx(np.log1p(np.exp(-25.0)), rel=1e-4)


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


OTHER = {
    "shots": lambda: Fleet(4, 1, 4, 4, n_machines=40, n_features=D).split(random_state=0)[0],
    "turned": lambda: TRAIN.turned(90),
    "ceiling and directions": lambda: Fleet(3, 1, 4, 4, n_machines=40, n_features=D, ceiling=0.6, directions=3).split(
        random_state=0
    )[0],
}


@pytest.mark.parametrize("kind", OTHER)
def test_a_checkpoint_on_other_tasks_is_refused(tmp_path, kind):
    make("MAML", meta_steps=3).meta_fit(TRAIN, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="another training"):
        make("MAML").meta_fit(OTHER[kind](), checkpoint=tmp_path / "a")


@pytest.mark.parametrize("other", [None, Frozen(TEST.sample(4, random_state=9), "other")])
def test_a_checkpoint_with_other_validation_tasks_is_refused(tmp_path, other):
    make("MAML", meta_steps=3).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="another training"):
        make("MAML").meta_fit(TRAIN, other, checkpoint=tmp_path / "a")


def test_a_checkpoint_without_a_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="random_state"):
        make("MAML", random_state=None, meta_steps=3).meta_fit(TRAIN, checkpoint=tmp_path / "a")


def test_a_generator_is_refused_before_the_training_starts(tmp_path):
    detector = make("MAML", random_state=np.random.default_rng(0))
    detector._outer_loss = lambda *args: pytest.fail("training had started")
    with pytest.raises(ValueError, match="random_state"):
        detector.meta_fit(TRAIN, checkpoint=tmp_path / "a")


def test_a_generator_is_refused_when_the_file_exists(tmp_path):
    make("MAML", meta_steps=3).meta_fit(TRAIN, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="random_state"):
        make("MAML", random_state=np.random.default_rng(0)).meta_fit(TRAIN, checkpoint=tmp_path / "a")


def test_a_missing_folder_is_named_before_the_training_starts(tmp_path):
    detector = make("MAML")
    detector._outer_loss = lambda *args: pytest.fail("training had started")
    with pytest.raises((OSError, ValueError)):
        detector.meta_fit(TRAIN, checkpoint=tmp_path / "none" / "a")


def test_fewer_steps_than_the_checkpoint_are_refused(tmp_path):
    make("MAML", meta_steps=6).meta_fit(TRAIN, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="meta_steps"):
        make("MAML", meta_steps=3).meta_fit(TRAIN, checkpoint=tmp_path / "a")


def test_a_checkpoint_of_another_module_of_the_same_class_is_refused(tmp_path):
    nets = [nn.Sequential(nn.Linear(D, n), nn.ReLU(), nn.Linear(n, 1)) for n in (2, 3)]
    make("MAML", meta_steps=3, network=nets[0]).meta_fit(TRAIN, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="another training"):
        make("MAML", network=nets[1]).meta_fit(TRAIN, checkpoint=tmp_path / "a")


def edited(path, drop=(), header=None):
    arrays = dict(np.load(path))
    head = json.loads(str(arrays["header"]))
    arrays["header"] = np.array(
        json.dumps({k: v for k, v in head.items() if k not in drop} if header is None else header)
    )
    np.savez(path, **{k: v for k, v in arrays.items() if not k.startswith(tuple(drop) or ("\0",))})


@pytest.mark.parametrize(
    "change",
    [
        {"drop": ["rng"]},
        {"drop": ["state"]},
        {"drop": ["adam"]},
        {"drop": ["meta/start.weight0"]},
        {"header": ["x"]},
        {"header": 1},
    ],
)
def test_an_incomplete_checkpoint_is_named(tmp_path, change):
    make("MAML", meta_steps=3).meta_fit(TRAIN, checkpoint=tmp_path / "a.npz")
    edited(tmp_path / "a.npz", **change)
    with pytest.raises(ValueError, match=r"damaged|another training|not a"):
        make("MAML").meta_fit(TRAIN, checkpoint=tmp_path / "a.npz")
