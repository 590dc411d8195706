"""The inner loop against a plain loop over tasks, and its meta-gradient against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaad_tutorial import MLP, adapt, mgd
from metaad_tutorial.adapt import per_task
from metaad_tutorial.losses import LOSSES, balanced_mean, cross_entropy, focal

TASKS, SUPPORT, QUERY, WIDTH, RATE = 4, 6, 5, 3, 0.3


def problem(hidden=(), seed=0):
    """Random tasks and a random start whose last layer is not zero."""
    rng = np.random.default_rng(seed)
    start = {k: torch.as_tensor(rng.normal(size=v.shape)) for k, v in MLP(hidden).init(rng, WIDTH).items()}
    x, qx = (torch.as_tensor(rng.normal(size=(TASKS, n, WIDTH))) for n in (SUPPORT, QUERY))
    y, qy = (torch.as_tensor(rng.integers(0, 2, (TASKS, n))).double() for n in (SUPPORT, QUERY))
    return start, (x, y), (qx, qy)


def plain_forward(params, x):
    """One network on one task, layer by layer."""
    depth = len(params) // 2
    for i in range(depth):
        x = F.linear(x, params[f"weight{i}"], params[f"bias{i}"])
        x = F.relu(x) if i < depth - 1 else x
    return x[:, 0]


def plain_loss(name, logit, y):
    if name == "cross_entropy":
        return F.binary_cross_entropy_with_logits(logit, y)
    return (logit - torch.where(y == 1, 1.0, -1.0)).square().mean() / 2


def plain_adapt(start, x, y, steps, loss, create_graph=True):
    """Gradient descent on one task."""
    params = dict(start)
    for _ in range(steps):
        value = plain_loss(loss, plain_forward(params, x), y)
        grads = torch.autograd.grad(value, list(params.values()), create_graph=create_graph)
        params = {k: v - RATE * g for (k, v), g in zip(params.items(), grads, strict=True)}
    return params


def engine(start, support, steps, loss="cross_entropy", hidden=(), second_order=True):
    x, y = support
    network = MLP(hidden)
    return adapt(
        lambda p: LOSSES[loss](network(p, x), y).mean(-1),
        per_task(start, len(x)),
        lambda name, value, grad, k: value - RATE * grad,
        steps,
        second_order,
    )


def query_loss(start, support, query, steps, loss="cross_entropy", hidden=(), second_order=True):
    params = engine(start, support, steps, loss, hidden, second_order)
    return cross_entropy(MLP(hidden)(params, query[0]), query[1]).mean()


def attached(start):
    return {k: v.clone().requires_grad_() for k, v in start.items()}


def gradient(value, params):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(params.values()))])


CASES = pytest.mark.parametrize(
    ("hidden", "loss", "steps"),
    [(h, loss, k) for h in ((), (5,), (4, 3)) for loss in ("cross_entropy", "squared") for k in (1, 3)],
)


@CASES
def test_adapted_parameters_are_those_of_a_loop_over_tasks(hidden, loss, steps):
    start, support, _ = problem(hidden)
    adapted = engine(attached(start), support, steps, loss, hidden)
    for t in range(TASKS):
        alone = plain_adapt(attached(start), support[0][t], support[1][t], steps, loss)
        for name in alone:
            assert torch.allclose(adapted[name][t], alone[name], rtol=0, atol=1e-12)
        assert not torch.allclose(alone["bias0"], start["bias0"], rtol=0, atol=1e-3)  # it did move


@CASES
def test_second_order_meta_gradient_is_exact(hidden, loss, steps):
    start, support, query = problem(hidden)
    params = attached(start)
    got = gradient(query_loss(params, support, query, steps, loss, hidden), params)

    losses = []
    for t in range(TASKS):
        alone = plain_adapt(params, support[0][t], support[1][t], steps, loss)
        logit = plain_forward(alone, query[0][t])
        losses.append(F.binary_cross_entropy_with_logits(logit, query[1][t]))
    assert torch.allclose(got, gradient(torch.stack(losses).mean(), params), rtol=0, atol=1e-10)

    size, differences = 1e-5, []
    for name, value in start.items():
        for i in range(value.numel()):
            ends = []
            for sign in (1, -1):
                moved = attached(start)
                with torch.no_grad():
                    moved[name].view(-1)[i] += sign * size
                ends.append(query_loss(moved, support, query, steps, loss, hidden).item())
            differences.append((ends[0] - ends[1]) / (2 * size))
    assert torch.allclose(got, torch.tensor(differences, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_is_the_query_gradient_at_the_adapted_parameters(steps):
    start, support, query = problem((5,))
    params = attached(start)
    got = gradient(query_loss(params, support, query, steps, hidden=(5,), second_order=False), params)
    total = 0
    for t in range(TASKS):
        alone = plain_adapt(attached(start), support[0][t], support[1][t], steps, "cross_entropy", False)
        alone = attached({k: v.detach() for k, v in alone.items()})
        logit = plain_forward(alone, query[0][t])
        total = total + gradient(F.binary_cross_entropy_with_logits(logit, query[1][t]), alone) / TASKS
    assert torch.allclose(got, total, rtol=0, atol=1e-12)
    exact = gradient(query_loss(params, support, query, steps, hidden=(5,)), params)
    assert (got - exact).norm() > 1e-3 * exact.norm()  # the two orders do differ here


def test_tasks_do_not_mix():
    start, (x, y), _ = problem((5,))
    before = engine(attached(start), (x, y), 3, hidden=(5,))
    other = x.clone()
    other[1] += 1.0
    after = engine(attached(start), (other, y), 3, hidden=(5,))
    for name in before:
        rest = [0, 2, 3]
        assert torch.equal(before[name][rest], after[name][rest])
        assert not torch.equal(before[name][1], after[name][1])


def test_network_with_and_without_a_task_axis_agrees():
    start, (x, _), _ = problem((4, 3))
    network = MLP((4, 3))
    batched = network(per_task(start, TASKS), x)
    assert batched.shape == (TASKS, SUPPORT)
    for t in range(TASKS):
        assert torch.allclose(batched[t], network(start, x[t]), rtol=0, atol=1e-14)
        assert torch.allclose(batched[t], plain_forward(start, x[t]), rtol=0, atol=1e-14)


def test_a_fresh_network_scores_zero_and_repeats():
    first, again = (MLP((4,)).init(np.random.default_rng(1), WIDTH) for _ in range(2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert {v.dtype for v in first.values()} == {torch.float64}
    assert first["weight0"].abs().min() > 0
    assert torch.equal(MLP((4,))(first, torch.ones(2, WIDTH).double()), torch.zeros(2).double())


# --- Losses -----------------------------------------------------------------------------------------


def test_losses_by_their_definitions():
    logit = torch.linspace(-4, 4, 9, dtype=torch.float64)
    for label in (0.0, 1.0):
        y = torch.full_like(logit, label)
        p = torch.sigmoid(logit)
        right = p if label else 1 - p
        assert torch.allclose(cross_entropy(logit, y), -right.log())
        assert torch.allclose(LOSSES["squared"](logit, y), (logit - (1 if label else -1)) ** 2 / 2)
        assert torch.allclose(focal(logit, y), -((1 - right) ** 2) * right.log())
        assert torch.allclose(focal(logit, y, gamma=0.0), -right.log())
    far = torch.tensor([1e4, -1e4], dtype=torch.float64)
    assert cross_entropy(far, torch.tensor([0.0, 1.0]).double()).tolist() == [1e4, 1e4]


def test_balanced_mean_weighs_classes_not_points():
    loss = torch.tensor([[1.0, 2.0, 3.0, 10.0], [1.0, 2.0, 3.0, 6.0], [1.0, 2.0, 3.0, 6.0]])
    y = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert balanced_mean(loss, y).tolist() == [6.0, 3.0, 3.0]


# --- AADML's two gradients for one step -------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_the_gradients_of_aadml_have_their_closed_forms(loss):
    """dL/dtheta_j = -mean [grad l_Q]_j v_j and dL/dw = mean (I - diag(theta_w) - diag(theta_g) H)^T grad l_Q."""
    rng = np.random.default_rng(3)
    _, (x, y), (qx, qy) = problem()
    w, theta = rng.normal(size=WIDTH + 1), rng.normal(size=(WIDTH + 1, 2))

    start = {"weight0": w[None, :-1], "bias0": w[-1:]}
    rule = {"weight0": theta[None, :-1], "bias0": theta[-1:]}
    start, rule = ({k: torch.tensor(v, requires_grad=True) for k, v in d.items()} for d in (start, rule))
    network, point_loss = MLP(), LOSSES[loss]
    adapted = adapt(
        lambda p: point_loss(network(p, x), y).mean(-1),
        per_task(start, TASKS),
        lambda name, value, grad, k: value - mgd(torch.stack([value, grad], -1), rule[name]),
        steps=1,
    )
    value = point_loss(network(adapted, qx), qy).mean()
    names = ("weight0", "bias0")
    grads = torch.autograd.grad(value, [d[n] for d in (start, rule) for n in names])
    got_w = torch.cat([grads[0][0], grads[1]]).numpy()
    got_theta = torch.cat([grads[2][0], grads[3]]).numpy()

    def link(z):
        """Derivative of the loss by the logit is link(z) - target; also the derivative of link."""
        return (1 / (1 + np.exp(-z)), np.exp(-z) / (1 + np.exp(-z)) ** 2) if loss != "squared" else (z, 1 + 0 * z)

    want_w, want_theta = np.zeros_like(w), np.zeros_like(theta)
    for t in range(TASKS):
        xs, xq = (np.c_[a[t].numpy(), np.ones(a.shape[1])] for a in (x, qx))
        ys, yq = (a[t].numpy() if loss != "squared" else 2 * a[t].numpy() - 1 for a in (y, qy))
        value, slope = link(xs @ w)
        gradient_s, hessian = xs.T @ (value - ys) / SUPPORT, xs.T @ (slope[:, None] * xs) / SUPPORT
        v = np.c_[w, gradient_s]
        moved = w - (theta * v).sum(1)
        gradient_q = xq.T @ (link(xq @ moved)[0] - yq) / QUERY
        want_theta -= gradient_q[:, None] * v / TASKS
        jacobian = np.eye(WIDTH + 1) - np.diag(theta[:, 0]) - np.diag(theta[:, 1]) @ hessian
        want_w += jacobian.T @ gradient_q / TASKS
    assert np.allclose(got_theta, want_theta, rtol=0, atol=1e-12)
    assert np.allclose(got_w, want_w, rtol=0, atol=1e-12)
