"""What several test files share: tasks, quick trainings, and plain references that take one task at a time."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from metaad_tutorial import ConvNet, Episodes, TaskFamily
from metaad_tutorial.tree import flat, mapped, nested

SHAPE, D = (4, 5), 20  # small images, and the same points as rows


def draw(*shape, seed=1):
    """Standard normal numbers as a float64 tensor."""
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


# --- Tasks and detectors ------------------------------------------------------------------------------


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


def task_of(family, seed=1):
    """One task as arrays: support points, their labels, query points."""
    task = family.sample(1, seed)
    return tuple(getattr(task, name)[0].numpy() for name in ("support_x", "support_y", "query_x"))


def trained(method, train, valid=None, **parameters):
    """A detector after a training of a few steps."""
    return method(**{"meta_steps": 4, "meta_batch": 5, "random_state": 0} | parameters).meta_fit(train, valid)


def at_random(detector, d=D, seed=3):
    """Meta-parameters as in the middle of a training: nothing is 0, every learnt rate is its own."""
    rng = np.random.default_rng(seed)
    return nested(
        {
            path: value.double() + (0.4 if path.startswith("start/") else 0.05) * draw(*value.shape, seed=rng)
            for path, value in flat(detector.init(rng, d)).items()
        }
    )


def with_meta(detector, meta, location=0.0, scale=1.0, d=D):
    """The detector as if `meta_fit` had learnt `meta` on points of this location and scale."""
    place = {"location": location, "scale": scale}
    scaling = {name: torch.as_tensor(value, dtype=torch.float64).expand(1, 1, d) for name, value in place.items()}
    detector.meta_, detector.n_features_in_ = meta | {"scaling": scaling}, d
    return detector


# --- Trees and gradients ------------------------------------------------------------------------------


def attached(tree):
    """A copy of the tree whose leaves gather gradients."""
    return mapped(lambda value: value.detach().clone().requires_grad_(), tree)


def gradient(value, tree):
    """Gradient of a number by all leaves of a tree, in one vector."""
    grads = torch.autograd.grad(value, list(flat(tree).values()), retain_graph=True, materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads])


def relative(got, want):
    """The largest difference over the largest entry."""
    return ((got - want).abs().max() / want.abs().max()).item()


def differences(tree, other):
    """Paths at which two trees are not bit for bit the same."""
    one, two = flat(tree), flat(other)
    return {path for path in one | two if not (path in one and path in two and torch.equal(one[path], two[path]))}


# --- Networks with a task axis -------------------------------------------------------------------------


def with_task_axis(params, names, n_tasks):
    """The parameters `names` differ from task to task, the others are shared."""
    out = dict(params)
    for i, name in enumerate(sorted(names)):
        out[name] = params[name] + 0.3 * draw(n_tasks, *params[name].shape, seed=100 + i)
    return out


def of_task(params, names, t):
    """What task t has of them."""
    return {name: value[t] if name in names else value for name, value in params.items()}


# --- References: networks ------------------------------------------------------------------------------


def norm_by(support, x, gain, bias, eps=1e-5):
    """Batch normalisation of x (N, C, ...) with the statistics of `support`, by its definition."""
    variance, mean = torch.var_mean(support, [0, *range(2, x.dim())], correction=0)
    values = (v.reshape(1, -1, *[1] * (x.dim() - 2)) for v in (mean, variance, gain, bias))
    mean, variance, gain, bias = values
    return (x - mean) / (variance + eps).sqrt() * gain + bias


def plain_dense(params, x):
    """Logits of one task's points x (N, d), layer by layer."""
    depth = len(params) // 2
    for i in range(depth):
        x = F.linear(F.relu(x) if i else x, params[f"weight{i}"].T, params[f"bias{i}"][0])
    return x[:, 0]


def plain_convnet(params, x, shape, norm=None, context=None):
    """Logits of one task's points x (N, h*w), with the layers of torch.nn.functional."""
    x, support = (None if p is None else p.reshape(len(p), 1, *shape) for p in (x, context))
    depth = sum(name.startswith("weight") for name in params) - 1
    for i in range(depth):
        weight, bias = params[f"weight{i}"], params[f"bias{i}"].flatten()
        gain = params[f"gain{i}"].flatten() if norm else None
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
            x = F.group_norm(x, 1, gain, bias)
        x = F.relu(x)
    return F.linear(x.flatten(1), params[f"weight{depth}"].T, params[f"bias{depth}"][0])[:, 0]


def plain_sequence(layers, params, x, support):
    """Logits of an `nn.Sequential`, query points and support set side by side."""
    for i, layer in enumerate(layers):
        own = {n.removeprefix(f"{i}."): p for n, p in params.items() if n.startswith(f"{i}.")}
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            x = norm_by(support, x, own["weight"], own["bias"], layer.eps)
            support = F.batch_norm(support, None, None, own["weight"], own["bias"], training=True, eps=layer.eps)
        else:
            x, support = (torch.func.functional_call(layer, own, (part,)) for part in (x, support))
    return x.reshape(-1)


def plain_network(detector):
    """A function (params, x, support) -> logits of one task, out of PyTorch's own layers."""
    network = detector.network
    if isinstance(network, ConvNet):
        return lambda params, x, support: plain_convnet(params, x, SHAPE, network.norm, support)
    if isinstance(network, nn.Module):
        return lambda params, x, support: plain_sequence(network, params, x, support)
    return lambda params, x, support: plain_dense(params, x)


# --- References: the inner loop ------------------------------------------------------------------------


def point_loss(kind, logit, y):
    """The loss `kind` of each point, by its definition."""
    if kind == "squared":
        return (logit - torch.where(y == 1, 1.0, -1.0)) ** 2 / 2
    loss = F.binary_cross_entropy_with_logits(logit, y, reduction="none")
    return loss if kind == "cross_entropy" else (1 - torch.exp(-loss)) ** 2 * loss


def plain_inner_loop(loss, params, rule, steps, first_order=False, names=None):
    """Adapted parameters of one task.

    Args:
        loss: (params, k) -> number.
        rule: (name, value, gradient, k) -> new value.
        names: which parameters adapt; None means all.
    """
    for k in range(steps):
        own = {name: params[name] for name in names or params}
        grads = torch.autograd.grad(loss(params, k), list(own.values()), create_graph=True)
        grads = [grad.detach() for grad in grads] if first_order else grads
        params = params | {n: rule(n, w, grad, k) for (n, w), grad in zip(own.items(), grads, strict=True)}
    return params


def plain_rule(detector, meta):
    """The update of a detector's inner steps, by its formula."""
    if "rule" in meta:  # AADML
        theta = meta["rule"]
        return lambda name, w, grad, k: w - theta[name][..., 0] * w - theta[name][..., 1] * grad
    if getattr(detector, "learn_lr", None) is None:
        return lambda name, w, grad, k: w - detector.inner_lr * grad
    rate = meta["rate"]
    if detector.learn_lr == "step":
        return lambda name, w, grad, k: w - rate[name][k] * grad
    return lambda name, w, grad, k: w - rate[name] * grad


def plain_query_loss(detector, meta, episodes):
    """Mean query loss after adaptation, task by task, on standardised points."""
    logits, rule, total = plain_network(detector), plain_rule(detector, meta), 0
    for t in range(len(episodes)):
        x, y = episodes.support_x[t], episodes.support_y[t]

        def loss(params, k, x=x, y=y):
            points = point_loss(detector.loss, logits(params, x, x), y)
            return (points[y == 0].mean() + points[y == 1].mean()) / 2 if detector.balanced else points.mean()

        names = list(meta["start"])[-2:] if getattr(detector, "head_only", False) else None
        first_order = getattr(detector, "first_order", False)
        params = plain_inner_loop(loss, meta["start"], rule, detector.inner_steps, first_order, names)
        logit = logits(params, episodes.query_x[t], x)
        total = total + F.binary_cross_entropy_with_logits(logit, episodes.query_y[t])
    return total / len(episodes)


# --- The reader's own modules --------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A row is read as a sequence of numbers."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRU(1, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.cell(x[..., None])[0][:, -1])


class Unused(nn.Module):
    """One layer takes no part; logits come as (n,), features as (n, outputs)."""

    def __init__(self, outputs=1):
        super().__init__()
        self.used, self.idle = nn.Linear(D, outputs), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x).squeeze(-1)


class Tied(nn.Module):
    """One layer, used twice under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(D, D)
        self.second, self.out = self.first, nn.Linear(D, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


def frozen(d=D):
    module = nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, 1))
    module[0].requires_grad_(False)
    return module


def convolution(norm):
    return nn.Sequential(
        nn.Unflatten(1, (1, *SHAPE)), nn.Conv2d(1, 4, 2, stride=2), norm, nn.Tanh(), nn.Flatten(), nn.Linear(16, 1)
    )


MODULES = {
    "linear": lambda: nn.Linear(D, 1),
    "deep": lambda: nn.Sequential(nn.Linear(D, 5), nn.ReLU(), nn.Linear(5, 1)),
    "layer norm": lambda: nn.Sequential(nn.Linear(D, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1)),
    "group norm": lambda: convolution(nn.GroupNorm(2, 4)),
    "batch norm 1d": lambda: nn.Sequential(
        nn.Linear(D, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4, eps=0.1), nn.Linear(4, 1)
    ),
    "batch norm 2d": lambda: convolution(nn.BatchNorm2d(4)),
    "batch norm, no gain": lambda: nn.Sequential(nn.Linear(D, 5), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 1)),
    "dropout": lambda: nn.Sequential(nn.Linear(D, 5), nn.Dropout(0.9), nn.Linear(5, 1)),
    "frozen": frozen,
    "unused": Unused,
    "tied": Tied,
    "GRU": Recurrent,
}


def drawn(build, seed=0):
    """A module in double precision, its parameters drawn without touching the global generator."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # PyTorch's own start, overwritten
        module = build().double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.as_tensor(rng.normal(size=p.shape)))
    return module


def module_of(kind):
    """One of MODULES, the same at every call."""
    return drawn(MODULES[kind], seed=sum(map(ord, kind)))


# --- Files ----------------------------------------------------------------------------------------------

DAMAGE = ("cut off", "changed byte", "empty", "text")


def damaged(kind, whole):
    """The bytes of a file after an accident."""
    at = len(whole) // 3
    return {
        "cut off": whole[: len(whole) // 2],
        "changed byte": whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :],
        "empty": b"",
        "text": b"hello",
    }[kind]
