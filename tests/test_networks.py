"""Networks with a task axis against plain PyTorch, one task at a time."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metaad_tutorial import MAML, MLP, ConvNet, ModuleNetwork
from metaad_tutorial.networks import UpConvNet

NORMS = [None, "layer", "group", "batch"]
POINTS, SUPPORT = 5, 4
SHAPE, D = (4, 5), 20  # of the images and rows for modules


def random_params(network, n_features, seed=0):
    """Values at which no layer is idle: no zeros in the last layer, no gains of 1."""
    rng = np.random.default_rng(seed)
    return {k: torch.as_tensor(rng.normal(size=v.shape)) for k, v in network.init(rng, n_features).items()}


def draw(*shape, seed=1):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


def norm_by(support, x, gain, bias, eps=1e-5):
    """Batch normalisation of x (N, C, ...) with the statistics of `support`, by its definition."""
    variance, mean = torch.var_mean(support, [0, *range(2, x.dim())], correction=0)
    values = (v.reshape(1, -1, *[1] * (x.dim() - 2)) for v in (mean, variance, gain, bias))
    mean, variance, gain, bias = values
    return (x - mean) / (variance + eps).sqrt() * gain + bias


def plain_convnet(params, x, shape, norm=None, context=None):
    """Logits of one task's points x (N, h*w), with the layers of torch.nn.functional."""
    x, support = (None if p is None else p.reshape(len(p), 1, *shape) for p in (x, context))
    depth = sum(name.startswith("weight") for name in params) - 1
    for i in range(depth):
        weight, bias, gain = params[f"weight{i}"], params[f"bias{i}"], params.get(f"gain{i}")
        x = F.conv2d(x, weight, stride=2, padding=1)
        if norm is None:
            x = x + bias[:, None, None]
        elif norm == "batch" and support is not None:
            support = F.conv2d(support, weight, stride=2, padding=1)
            x = norm_by(support, x, gain, bias)
            support = F.relu(F.batch_norm(support, None, None, gain, bias, training=True))
        elif norm == "batch":
            x = F.batch_norm(x, None, None, gain, bias, training=True)
        else:
            x = F.group_norm(x, 4 if norm == "group" else 1, gain, bias)
        x = F.relu(x)
    return F.linear(x.flatten(1), params[f"weight{depth}"], params[f"bias{depth}"])[:, 0]


def with_task_axis(params, names, n_tasks):
    """The parameters `names` differ from task to task, the others are shared."""
    out = dict(params)
    for i, name in enumerate(sorted(names)):
        out[name] = params[name] + 0.3 * draw(n_tasks, *params[name].shape, seed=100 + i)
    return out


def of_task(params, names, t):
    return {name: value[t] if name in names else value for name, value in params.items()}


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
        mine, h = of_task(params, own, t), x[t]
        for i in range(3):
            h = F.linear(F.relu(h) if i else h, mine[f"weight{i}"], mine[f"bias{i}"])
        assert torch.allclose(got, h[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_normalisation_looks_at_the_support_set(norm):
    network = ConvNet((4,), norm)
    params, x, support = random_params(network, 64), draw(2, POINTS, 64), draw(2, SUPPORT, 64, seed=2)
    alike = torch.allclose(network(params, x, support), network(params, x), rtol=0, atol=1e-6)
    assert alike == (norm != "batch") == (not network.uses_context)


@pytest.mark.parametrize("norm", NORMS)
def test_a_fresh_convnet_scores_zero_keeps_the_scale_and_repeats(norm):
    network = ConvNet((8, 400), norm)
    first, again, other = (network.init(np.random.default_rng(seed), 16 * 16) for seed in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["weight0"], other["weight0"])
    assert {v.dtype for v in first.values()} == {torch.float64}
    assert first["weight2"].shape == (1, 400 * 4 * 4) and set(network.head) == {"weight2", "bias2"}
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
        ({"channels": ()}, "channels must hold integers of at least 1"),
        ({"channels": (4, 0)}, "channels must hold integers of at least 1"),
        ({"channels": (4.0,)}, "channels must hold integers of at least 1"),
        ({"norm": "instance"}, 'norm must be None, "layer", "group" or "batch"'),
        ({"norm": "group", "channels": (8, 6)}, "multiples of 4"),
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


# --- The reader's own modules -----------------------------------------------------------------------


class Recurrent(nn.Module):
    """A row is read as a sequence of numbers."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRU(1, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.cell(x[..., None])[0][:, -1])


class Unused(nn.Module):
    """One layer takes no part; logits come as (n,)."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(D, 1), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)[:, 0]


class Tied(nn.Module):
    """One layer, used twice under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(D, D)
        self.second, self.out = self.first, nn.Linear(D, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


def frozen():
    module = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, 1))
    module[0].requires_grad_(False)
    return module


MODULES = {
    "linear": lambda: nn.Linear(D, 1),
    "deep": lambda: nn.Sequential(nn.Linear(D, 5), nn.ReLU(), nn.Linear(5, 1)),
    "layer norm": lambda: nn.Sequential(nn.Linear(D, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1)),
    "group norm": lambda: nn.Sequential(
        nn.Unflatten(1, (1, *SHAPE)),
        nn.Conv2d(1, 4, 2, stride=2),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16, 1),
    ),
    "batch norm 1d": lambda: nn.Sequential(
        nn.Linear(D, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4, eps=0.1), nn.Linear(4, 1)
    ),
    "batch norm 2d": lambda: nn.Sequential(
        nn.Unflatten(1, (1, *SHAPE)),
        nn.Conv2d(1, 4, 2, stride=2),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16, 1),
    ),
    "batch norm, no gain": lambda: nn.Sequential(nn.Linear(D, 5), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 1)),
    "dropout": lambda: nn.Sequential(nn.Linear(D, 5), nn.Dropout(0.9), nn.Linear(5, 1)),
    "frozen": frozen,
    "unused": Unused,
    "tied": Tied,
    "GRU": Recurrent,
}


def module_of(kind):
    """The module in double precision, its parameters drawn without touching the global generator."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    with torch.random.fork_rng():
        torch.manual_seed(0)  # PyTorch's own start, overwritten
        module = MODULES[kind]().double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.as_tensor(rng.normal(size=p.shape)))
    return module


def plain_module(module, params, x, context=None):
    """Logits of one task through PyTorch's own layers; batch norms learn their statistics from the context alone."""
    module = copy.deepcopy(module).eval()
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    context = x if context is None else context
    counts = {}

    def count(norm, args):
        counts[norm] = args[0].numel() // args[0].shape[1]

    hooks = [norm.register_forward_pre_hook(count) for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0  # running statistics become those of the next batch
    with torch.no_grad():
        torch.func.functional_call(module, params, (context,))
    for norm, hook in zip(norms, hooks, strict=True):
        norm.eval().running_var *= (counts[norm] - 1) / counts[norm]  # running_var holds the unbiased variance
        hook.remove()
    return torch.func.functional_call(module, params, (x,)).reshape(-1)


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("kind", MODULES)
def test_a_module_is_itself_task_by_task(kind, context):
    module = module_of(kind)
    network = ModuleNetwork(module)
    base = network.init(np.random.default_rng(0), D)
    assert all(torch.equal(base[n], p) for n, p in module.named_parameters() if p.requires_grad)
    x, support = draw(3, POINTS, D), draw(3, SUPPORT, D, seed=2)
    for own in (set(), set(base), set(network.head)):
        params = with_task_axis(base, own, 3)
        got = network(params, x, support if context else None)
        assert got.shape == (3, POINTS)
        for t in range(3):
            mine, seen = of_task(params, own, t), support[t] if context else None
            want = plain_module(module, mine, x[t], seen)
            assert torch.allclose(got[t], want, rtol=0, atol=1e-12)
            assert torch.allclose(network(mine, x[t], seen), want, rtol=0, atol=1e-12)


def test_the_reader_s_module_is_left_alone():
    module = module_of("batch norm 1d").float().train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    detector = MAML(network=module, meta_steps=1, random_state=0).fit(draw(4, D).numpy())
    detector.anomaly_score(draw(3, D).numpy())
    assert module.training and isinstance(module[1], nn.BatchNorm1d)
    after = module.state_dict()
    assert all(torch.equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)


def test_frozen_parameters_do_not_adapt_and_the_head_is_the_last_layer():
    network = ModuleNetwork(module_of("frozen"))
    assert set(network.init(None, D)) == {"2.weight", "2.bias"} == set(network.head)
    assert set(ModuleNetwork(module_of("deep")).head) == {"2.weight", "2.bias"}
    assert set(ModuleNetwork(module_of("linear")).head) == {"weight", "bias"}


def test_a_layer_without_effect_stays_where_it_is():
    module = module_of("unused")
    detector = MAML(network=module, inner_lr=0.5).fit(draw(4, D).numpy())
    assert torch.equal(detector.params_["idle.weight"][0], module.idle.weight)
    assert not torch.allclose(detector.params_["used.weight"][0], module.used.weight, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(5, 1), r"cannot read rows of 20 features.*nn\.Unflatten"),
        (lambda: nn.Conv2d(1, 4, 3), r"cannot read rows of 20 features.*nn\.Unflatten"),
        (lambda: nn.Linear(D, 2), r"one logit per row: for 2 rows \(2,\) or \(2, 1\), not \(2, 2\)"),
        (lambda: nn.Sequential(nn.Linear(D, 1), nn.Flatten(0), nn.Unflatten(0, (1, 2))), "one logit per row"),
        (lambda: nn.Linear(D, 1).requires_grad_(False), "nothing can adapt"),
        (nn.ReLU, "nothing can adapt"),
    ],
)
def test_modules_that_do_not_fit_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        MAML(network=build()).fit(draw(4, D).numpy())


@pytest.mark.parametrize("network", [nn.Linear, "ConvNet", ConvNet, MLP((3,))])
def test_what_is_no_network_is_named(network):
    with pytest.raises(ValueError, match=r"network must be a ConvNet or a torch\.nn\.Module"):
        MAML(network=network).fit(draw(4, D).numpy())


def test_a_network_and_hidden_layers_exclude_each_other():
    with pytest.raises(ValueError, match="either hidden or network"):
        MAML(network=nn.Linear(D, 1), hidden=(3,)).fit(draw(4, D).numpy())


# Networks that give features instead of a logit.

WITH_FEATURES = {
    "linear": MLP(outputs=3),
    "dense": MLP((7, 5), outputs=3),
    **{f"ConvNet, {norm}": ConvNet((4, 8), norm=norm, shape=SHAPE, outputs=3) for norm in NORMS},
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", WITH_FEATURES)
def test_each_feature_is_what_a_network_with_this_last_row_alone_would_give(kind, axes):
    network = WITH_FEATURES[kind]
    one = dataclasses.replace(network, outputs=None)
    params = random_params(network, D)
    params = with_task_axis(params, AXES[axes](network, params), 2)
    x, context = draw(2, POINTS, D), draw(2, SUPPORT, D, seed=2)
    features = network(params, x, context)
    assert features.shape == (2, POINTS, 3)
    weight, bias = network.head
    for i in range(3):
        row = {weight: params[weight][..., i : i + 1, :], bias: params[bias][..., i : i + 1]}
        assert torch.allclose(features[..., i], one(params | row, x, context), atol=1e-12)


@pytest.mark.parametrize("kind", WITH_FEATURES)
def test_features_start_neither_silent_nor_loud(kind):
    network = WITH_FEATURES[kind]
    out = network(network.init(np.random.default_rng(0), D), draw(200, D))
    assert out.shape == (200, 3)
    assert 0.2 < out.std() < 3


def test_a_module_may_give_features():
    module = nn.Sequential(nn.Linear(D, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
    network = ModuleNetwork(module, features=True)
    params = network.init(np.random.default_rng(0), D)
    x, context = draw(2, POINTS, D), draw(2, SUPPORT, D, seed=2)
    for t in range(2):
        hidden = norm_by(module[0](context[t]), module[0](x[t]), *module[1].parameters())
        assert torch.allclose(network(params, x, context)[t], module[3](hidden.tanh()), atol=1e-12)
    with pytest.raises(ValueError, match=r"row of features per row.*not \(2,\)"):
        ModuleNetwork(nn.Sequential(nn.Linear(D, 1), nn.Flatten(0)).double(), features=True).init(None, D)


@pytest.mark.parametrize("shape", [(14, 14), (8, 8), (7, 9), (1, 3)])
def test_the_way_back_to_images_is_a_dense_layer_and_convolutions_at_twice_the_size(shape):
    network = UpConvNet(shape, channels=(5, 3))
    params, z = random_params(network, 4), draw(2, POINTS, 4)
    small = [-(-side // 4) for side in shape]
    x = F.linear(z[1], params["weight0"], params["bias0"]).reshape(POINTS, 5, *small)
    for i in (1, 2):
        x = F.relu(x).repeat_interleave(2, -1).repeat_interleave(2, -2)
        x = F.conv2d(x, params[f"weight{i}"], params[f"bias{i}"], padding=1)
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
