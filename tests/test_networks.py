"""Networks with a task axis against plain PyTorch, one task at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import SHAPE, D, draw, of_task, plain_convnet, plain_dense, with_task_axis

from metaad_tutorial import MAML, MLP, ConvNet
from metaad_tutorial.convolutions import UpConvNet

NORMS = [None, "layer", "batch"]
POINTS, SUPPORT = 5, 4


def random_params(network, n_features, seed=0):
    """Values at which no layer is idle: no zeros in the last layer, no gains of 1."""
    rng = np.random.default_rng(seed)
    return {k: torch.as_tensor(rng.normal(size=v.shape)) for k, v in network.init(rng, n_features).items()}


AXES = {
    "shared": lambda network, params: set(),
    "own": lambda network, params: set(params),
    "shared body, own head": lambda network, params: set(network.head),
    "own body, shared head": lambda network, params: set(params) - set(network.head),
    "own biases": lambda network, params: {n for n in params if n.startswith("bias")},
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("shape", "n_tasks"), [((8, 8), 3), ((14, 14), 2), ((28, 28), 2), ((5, 9), 3), ((7, 7), 1), ((1, 3), 2)]
)
def test_convolutions_are_those_of_a_loop_over_tasks(shape, n_tasks, norm, axes):
    network = ConvNet((4, 8), norm, shape if shape[0] != shape[1] else None)
    d = shape[0] * shape[1]
    base = random_params(network, d)
    own = AXES[axes](network, base)
    params = with_task_axis(base, own, n_tasks)
    x, support = draw(n_tasks, POINTS, d), draw(n_tasks, SUPPORT, d, seed=2)
    for context in (None, support):
        got = network(params, x, context)
        assert got.shape == (n_tasks, POINTS)
        for t in range(n_tasks):
            mine, seen = of_task(params, own, t), None if context is None else context[t]
            want = plain_convnet(mine, x[t], shape, norm, seen)
            assert torch.allclose(got[t], want, rtol=1e-11, atol=1e-11)
            assert torch.allclose(network(mine, x[t], seen), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("network", [ConvNet((4,)), ConvNet((4,), "batch"), MLP((3,)), MLP()])
def test_tasks_may_share_their_points(network):
    """Own parameters, one set of points (N, d) for all tasks."""
    base = random_params(network, 16)
    params, x = with_task_axis(base, set(base), 3), draw(POINTS, 16)
    got = network(params, x)
    assert got.shape == (3, POINTS)
    for t in range(3):
        assert torch.allclose(got[t], network(of_task(params, set(base), t), x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", AXES)
def test_dense_layers_mix_shared_and_own_parameters(axes):
    network = MLP((4, 3))
    base = random_params(network, 5)
    own = AXES[axes](network, base)
    params, x = with_task_axis(base, own, 3), draw(3, POINTS, 5)
    for t, got in enumerate(network(params, x)):
        mine = of_task(params, own, t)
        want = plain_dense(mine, x[t])
        assert torch.allclose(got, want, rtol=0, atol=1e-12)
        assert torch.allclose(network(mine, x[t]), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_normalisation_looks_at_the_support_set(norm):
    network = ConvNet((4,), norm)
    params, x, support = random_params(network, 64), draw(2, POINTS, 64), draw(2, SUPPORT, 64, seed=2)
    alike = torch.allclose(network(params, x, support), network(params, x), rtol=0, atol=1e-6)
    assert alike == (norm != "batch") == (not network.uses_context)


def test_a_fresh_dense_network_scores_zero_and_repeats():
    network = MLP((4,))
    first, again = (network.init(np.random.default_rng(1), 3) for _ in range(2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert {v.dtype for v in first.values()} == {torch.float64}
    assert first["weight0"].abs().min() > 0
    assert torch.equal(network(first, draw(2, 3)), torch.zeros(2).double())


@pytest.mark.parametrize("norm", NORMS)
def test_a_fresh_convnet_scores_zero_keeps_the_scale_and_repeats(norm):
    network = ConvNet((8, 400), norm)
    first, again, other = (network.init(np.random.default_rng(seed), 16 * 16) for seed in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["weight0"], other["weight0"])
    assert {v.dtype for v in first.values()} == {torch.float64}
    assert first["weight2"].shape == (400 * 4 * 4, 1) and set(network.head) == {"weight2", "bias2"}
    assert first["weight1"].std() == pytest.approx((2 / (9 * 8)) ** 0.5, rel=0.02)
    assert ("gain0" in first) == (norm is not None)
    assert torch.equal(network(first, draw(3, 256)), torch.zeros(3).double())


def test_single_precision_stays_single():
    network = ConvNet((4,), "batch")
    params = {k: v.float() for k, v in random_params(network, 64).items()}
    assert network(params, draw(2, 3, 64).float(), draw(2, 4, 64).float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ()}, "channels must be a tuple of one or more integers above 0"),
        ({"channels": (4, 0)}, "channels must be a tuple of one or more integers above 0"),
        ({"channels": (4.0,)}, "channels must be a tuple of one or more integers above 0"),
        ({"channels": 32}, "channels must be a tuple of one or more integers above 0"),
        ({"shape": 28}, r"shape must be \(height, width\)"),
        ({"shape": (28,)}, r"shape must be \(height, width\)"),
        ({"shape": (-4, -5)}, r"shape must be \(height, width\)"),
        ({"shape": (4, 5, 1)}, r"shape must be \(height, width\)"),
        ({"norm": "instance"}, "norm must be None, 'layer' or 'batch'"),
    ],
)
def test_arguments_of_convnet_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvNet(**arguments)


@pytest.mark.parametrize("network", [ConvNet((4,)), ConvNet((4,), shape=(3, 5))])
def test_points_that_are_no_images(network):
    for use in (
        lambda: network.init(np.random.default_rng(0), 17),
        lambda: MAML(network=network).fit(draw(4, 17).numpy()),
        lambda: network(random_params(network, 15 if network.shape else 16), draw(2, 17)),
    ):
        with pytest.raises(ValueError, match=r"cannot read 17 features as an image.*shape="):
            use()


# --- Features instead of a logit ----------------------------------------------------------------------

WITH_FEATURES = {
    "linear": MLP(outputs=3),
    "dense": MLP((7, 5), outputs=3),
    **{f"ConvNet, {norm}": ConvNet((4, 8), norm=norm, shape=SHAPE, outputs=3) for norm in NORMS},
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", WITH_FEATURES)
def test_each_feature_is_what_a_network_with_this_last_column_alone_would_give(kind, axes):
    network = WITH_FEATURES[kind]
    one = dataclasses.replace(network, outputs=None)
    params = random_params(network, D)
    params = with_task_axis(params, AXES[axes](network, params), 2)
    x, context = draw(2, POINTS, D), draw(2, SUPPORT, D, seed=2)
    features = network(params, x, context)
    assert features.shape == (2, POINTS, 3)
    for i in range(3):
        column = {name: params[name][..., i : i + 1] for name in network.head}
        assert torch.allclose(features[..., i], one(params | column, x, context), atol=1e-12)


@pytest.mark.parametrize("kind", WITH_FEATURES)
def test_features_start_neither_silent_nor_loud(kind):
    network = WITH_FEATURES[kind]
    out = network(network.init(np.random.default_rng(0), D), draw(200, D))
    assert out.shape == (200, 3)
    assert 0.2 < out.std() < 3


@pytest.mark.parametrize("shape", [(14, 14), (8, 8), (7, 9), (1, 3)])
def test_the_way_back_to_images_is_a_dense_layer_and_convolutions_at_twice_the_size(shape):
    network = UpConvNet(shape, channels=(5, 3))
    params, z = random_params(network, 4), draw(2, POINTS, 4)
    small = [-(-side // 4) for side in shape]
    x = F.linear(z[1], params["weight0"].T, params["bias0"][0]).reshape(POINTS, 5, *small)
    for i in (1, 2):
        x = F.relu(x).repeat_interleave(2, -1).repeat_interleave(2, -2)
        x = F.conv2d(x, params[f"weight{i}"], params[f"bias{i}"].flatten(), padding=1)
    images = network(params, z)
    assert images.shape == (2, POINTS, shape[0] * shape[1])
    assert torch.allclose(images[1], x[:, 0, : shape[0], : shape[1]].flatten(1), atol=1e-12)
    assert torch.allclose(images[1], network(params, z[1]), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(outputs=0), "outputs"),
        (lambda: ConvNet(outputs=2.0), "outputs"),
        (lambda: UpConvNet((0, 4)), "shape"),
        (lambda: UpConvNet((4, 4), channels=()), "channels"),
    ],
)
def test_sizes_that_are_none_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
