"""Any module of PyTorch as a network: itself, task by task, with batch statistics of the support set."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers import MODULES, D, Frozen, draw, module_of, norm_by, of_task, tasks, trained, with_task_axis
from torch import nn

from metaad_tutorial import MAML, MLP, ConvNet, ModuleNetwork

POINTS, SUPPORT = 5, 4
X, Q = draw(6, D).numpy(), draw(5, D, seed=9).numpy()


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
    detector = MAML(network=module, meta_steps=1, random_state=0).fit(X)
    detector.anomaly_score(Q)
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
    detector = MAML(network=module, inner_lr=0.5).fit(X)
    assert torch.equal(detector.params_["w"]["idle.weight"][0], module.idle.weight)
    assert not torch.allclose(detector.params_["w"]["used.weight"][0], module.used.weight, rtol=0, atol=1e-3)


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

    detector = trained(MAML, Frozen(tasks()), network=Attention(), meta_steps=2)
    assert np.isfinite(detector.history_["loss"]).all()


def test_a_changed_module_is_seen():
    module = module_of("linear")
    detector = MAML(network=module).fit(X)
    with torch.no_grad():
        module.weight += 1
    assert np.array_equal(detector.fit(X).anomaly_score(Q), MAML(network=module).fit(X).anomaly_score(Q))


class Odd(nn.Module):
    """What a function makes of the rows, and a parameter that does nothing."""

    def __init__(self, function):
        super().__init__()
        self.function, self.w = function, nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(5, 1), r"cannot read rows of 20 features.*nn\.Unflatten"),
        (lambda: nn.Conv2d(1, 4, 3), r"cannot read rows of 20 features.*nn\.Unflatten"),
        (lambda: nn.Linear(D, 2), r"one logit per row: \(2,\) or \(2, 1\) for 2 rows, not \(2, 2\)"),
        (lambda: nn.Sequential(nn.Linear(D, 1), nn.Flatten(0), nn.Unflatten(0, (1, 2))), "one logit per row"),
        (lambda: nn.Linear(D, 1).requires_grad_(False), "nothing can adapt"),
        (nn.ReLU, "nothing can adapt"),
        (lambda: nn.Sequential(nn.LazyLinear(5), nn.Linear(5, 1)), "uninitialized parameter.*Call `forward`"),
        (lambda: Odd(lambda x: x[:, 77]), r"cannot read rows of 20 features \(IndexError"),
        (lambda: Odd(lambda x: (x[:, 0], x)), "one logit per row.*not tuple"),
    ],
)
def test_modules_that_do_not_fit_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        MAML(network=build()).fit(X)


@pytest.mark.parametrize("network", [nn.Linear, "ConvNet", ConvNet, MLP((3,))])
def test_what_is_no_network_is_named(network):
    with pytest.raises(ValueError, match=r"network must be a ConvNet or a torch\.nn\.Module"):
        MAML(network=network).fit(X)


def test_a_network_and_hidden_layers_exclude_each_other():
    with pytest.raises(ValueError, match="either hidden or network"):
        MAML(network=nn.Linear(D, 1), hidden=(3,)).fit(X)


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
