"""How long one second-order meta-step takes, for the package's engine and its peers.

A meta-step is what meta-training repeats: the inner loops of all tasks of a meta-batch, the query loss, its exact
gradient with respect to the shared start, and one outer Adam step. First the gradients of all routes, and their
starts after three meta-steps, are compared in float64 with those of a plain Python loop over tasks; then the meta-steps
are timed in float32, on one core, the routes taking turns in one process. Compiling and recording are timed apart, in
fresh processes on all cores.

Run it with `make bench`, or a small trial of it with

    python benchmarks/metastep.py --quick
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# One thread, before any library reads it.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from compiling import compiled, replayed
from torch import Tensor, nn

from metaad_tutorial.inner_loop import gradient_step, inner_loop, per_task
from metaad_tutorial.losses import cross_entropy
from metaad_tutorial.networks import MLP

RESULTS = Path(__file__).parent / "results"
INNER_LR, META_LR = 0.1, 1e-3
REFERENCE = "Python loop over tasks"
TOLERANCE = 1e-10  # of gradients in float64, relative

Params = dict[str, Tensor]


class Problem(NamedTuple):
    """Sizes of the meta-step."""

    tasks: int = 25
    support: int = 10
    query: int = 30
    features: int = 32
    hidden: tuple[int, ...] = (64, 64)
    inner_steps: int = 5

    def __str__(self):
        network = "-".join(map(str, (self.features, *self.hidden, 1)))
        return (
            f"{self.tasks} tasks, {self.support} support and {self.query} query points each, "
            f"{self.inner_steps} inner steps, network {network}"
        )


TRIAL = Problem(tasks=3, support=4, query=5, features=3, hidden=(4,), inner_steps=2)


class Episodes(NamedTuple):
    """A meta-batch: points (T, n, d), labels (T, n), and the number of inner steps."""

    x: Tensor
    y: Tensor
    query_x: Tensor
    query_y: Tensor
    steps: int


def draw(problem: Problem, dtype: torch.dtype) -> tuple[Params, Episodes]:
    """Random start and random tasks; time and exactness do not depend on what they mean.

    Weights (in, out), biases (1, out): for points in rows no route is slower so.
    """
    rng = np.random.default_rng(0)
    widths = (problem.features, *problem.hidden, 1)
    params = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        params[f"weight{i}"] = rng.normal(size=(fan_in, fan_out)) / np.sqrt(fan_in)
        params[f"bias{i}"] = 0.1 * rng.normal(size=(1, fan_out))
    arrays = []
    for n in (problem.support, problem.query):
        arrays += [rng.normal(size=(problem.tasks, n, problem.features)), rng.integers(0, 2, (problem.tasks, n))]
    leaves = {name: nn.Parameter(torch.as_tensor(value, dtype=dtype)) for name, value in params.items()}
    return leaves, Episodes(*(torch.as_tensor(a, dtype=dtype) for a in arrays), problem.inner_steps)


# --- Routes: (start, episodes) -> meta-gradient -----------------------------------------------------


def gradient(loss: Tensor, params: Params) -> Params:
    return dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))


def ours(params: Params, episodes: Episodes) -> Params:
    """The package: all tasks in one batched product, one autograd graph."""
    x, y, query_x, query_y, steps = episodes
    network = MLP(tuple(params[f"bias{i}"].shape[1] for i in range(len(params) // 2 - 1)))

    def loss(own, x, y):
        return cross_entropy(network(own, x), y).mean(-1)

    adapted = inner_loop(lambda own: loss(own, x, y), per_task(params, len(x)), gradient_step(INNER_LR), steps)
    return gradient(loss(adapted, query_x, query_y).mean(), params)


class Dense(nn.Module):
    """nn.Linear with given parameters, weights (in, out)."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        if isinstance(weight, nn.Parameter):  # the very tensors, so that their gradients are found
            self.weight, self.bias = weight, bias

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


def module(params: Params) -> nn.Sequential:
    """The network as an nn.Module of the given parameters, in microseconds."""
    tensors = list(params.values())
    layers = [Dense(*tensors[i : i + 2]) for i in range(0, len(tensors), 2)]
    return nn.Sequential(*(part for layer in layers[:-1] for part in (layer, nn.ReLU())), layers[-1])


def module_loss(logits: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.squeeze(-1), y)


def loop(params: Params, episodes: Episodes) -> Params:
    """What one writes first: task by task, step by step."""
    return gradient(loop_loss(params, episodes), params)


def loop_loss(params: Params, episodes: Episodes) -> Tensor:
    *tasks, steps = episodes
    total = 0.0
    for x, y, query_x, query_y in zip(*tasks, strict=True):
        own = list(params.values())
        for _ in range(steps):
            grads = torch.autograd.grad(module_loss(dense(own, x), y), own, create_graph=True)
            own = [value - INNER_LR * grad for value, grad in zip(own, grads, strict=True)]
        total = total + module_loss(dense(own, query_x), query_y)
    return total / len(episodes.x)


def dense(own: list[Tensor], x: Tensor) -> Tensor:
    for i in range(0, len(own), 2):
        x = torch.addmm(own[i + 1], torch.relu(x) if i else x, own[i])
    return x


def torch_func(params: Params, episodes: Episodes) -> Params:
    """torch.func as in PyTorch's own example: one task with functional_call and grad, vmap over tasks."""
    from torch.func import functional_call, grad, vmap

    network = module(params)

    def loss(own, x, y):
        return module_loss(functional_call(network, own, (x,)), y)

    def task(x, y, query_x, query_y):
        own = dict(zip(names, params.values(), strict=True))
        for _ in range(episodes.steps):
            grads = grad(loss)(own, x, y)
            own = {name: own[name] - INNER_LR * grads[name] for name in own}
        return loss(own, query_x, query_y)

    names = [name for name, _ in network.named_parameters()]
    return gradient(vmap(task)(*episodes[:4]).mean(), params)


def higher(params: Params, episodes: Episodes) -> Params:
    import higher

    network, total = module(params), 0.0
    optimizer = torch.optim.SGD(network.parameters(), lr=INNER_LR)
    for x, y, query_x, query_y in zip(*episodes[:4], strict=True):
        with higher.innerloop_ctx(network, optimizer, copy_initial_weights=False) as (own, inner):
            for _ in range(episodes.steps):
                inner.step(module_loss(own(x), y))
            total = total + module_loss(own(query_x), query_y)
    return gradient(total / len(episodes.x), params)


def torchopt(params: Params, episodes: Episodes) -> Params:
    import torchopt

    network, total = module(params), 0.0
    inner = torchopt.MetaSGD(network, lr=INNER_LR)
    start = torchopt.extract_state_dict(network, by="reference"), torchopt.extract_state_dict(inner, by="reference")
    for x, y, query_x, query_y in zip(*episodes[:4], strict=True):
        for _ in range(episodes.steps):
            inner.step(module_loss(network(x), y))
        total = total + module_loss(network(query_x), query_y)
        torchopt.recover_state_dict(network, start[0])
        torchopt.recover_state_dict(inner, start[1])
    return gradient(total / len(episodes.x), params)


def learn2learn(params: Params, episodes: Episodes) -> Params:
    from learn2learn.algorithms.maml import MAML

    learner, total = MAML(module(params), lr=INNER_LR), 0.0
    for x, y, query_x, query_y in zip(*episodes[:4], strict=True):
        own = learner.clone()
        for _ in range(episodes.steps):
            own.adapt(module_loss(own(x), y))
        total = total + module_loss(own(query_x), query_y)
    return gradient(total / len(episodes.x), params)


def jax_gradient(params, episodes: Episodes):
    """JAX: the gradient of one task's loss, vmapped; takes and returns JAX arrays."""
    import jax
    import jax.numpy as jnp

    def loss(own, x, y):
        for i in range(len(own) // 2):
            x = (jax.nn.relu(x) if i else x) @ own[f"weight{i}"] + own[f"bias{i}"]
        logit = x.squeeze(-1)
        return jnp.mean(jnp.logaddexp(0, logit) - y * logit)

    def task(start, x, y, query_x, query_y):
        own = start
        for _ in range(episodes.steps):
            own = jax.tree.map(lambda value, grad: value - INNER_LR * grad, own, jax.grad(loss)(own, x, y))
        return loss(own, query_x, query_y)

    def meta_loss(start):
        return jax.vmap(task, in_axes=(None, 0, 0, 0, 0))(start, *episodes[:4]).mean()

    return jax.grad(meta_loss)(params)


# --- Meta-steps: (start, episodes) -> a function that does one and gives the new start ------------------------------


def as_jax(values):
    import jax

    jax.config.update("jax_enable_x64", True)  # float32 stays float32
    return jax.tree.map(lambda v: jax.numpy.asarray(v.detach().numpy()) if isinstance(v, Tensor) else v, values)


def jax_float64(params: Params, episodes: Episodes) -> Params:
    import jax

    arrays = as_jax(episodes)
    grads = jax.jit(lambda start: jax_gradient(start, arrays))(as_jax(params))
    return {name: torch.tensor(np.asarray(grads[name])) for name in params}


def torch_step(route: Callable) -> Callable:
    def prepare(params: Params, episodes: Episodes) -> Callable[[], Params]:
        optimizer = torch.optim.Adam(params.values(), lr=META_LR, fused=True)

        def step():
            for name, grad in route(params, episodes).items():
                params[name].grad = grad.contiguous()  # a fused optimiser reads memory in its order
            optimizer.step()
            return params

        return step

    return prepare


class Moments(NamedTuple):
    """What Adam remembers."""

    steps: Tensor
    first: Params
    second: Params


def adam(params: Params, grads: Params, moments: Moments, decay=(0.9, 0.999), eps=1e-8) -> tuple[Params, Moments]:
    """One step of torch.optim.Adam as a function, since its own cannot be recorded."""
    steps = moments.steps + 1
    first = {name: decay[0] * moments.first[name] + (1 - decay[0]) * grad for name, grad in grads.items()}
    second = {name: decay[1] * moments.second[name] + (1 - decay[1]) * grad**2 for name, grad in grads.items()}
    shrunk = [1 - d**steps for d in decay]  # since both start at zero
    moved = {
        name: value - META_LR * (first[name] / shrunk[0]) / ((second[name] / shrunk[1]).sqrt() + eps)
        for name, value in params.items()
    }
    return moved, Moments(steps, first, second)


def whole(route: Callable) -> Callable:
    """(start, moments, episodes) -> start and moments after a meta-step, Adam included."""

    def step(start: Params, moments: Moments, episodes: Episodes) -> tuple[Params, Moments]:
        grads = route({name: value.requires_grad_() for name, value in detached(start).items()}, episodes)
        return adam(detached(start), detached(grads), moments)

    return step


def before_training(params: Params) -> tuple[Params, Moments]:
    zeros = {name: torch.zeros_like(value) for name, value in params.items()}
    return detached(params), Moments(torch.zeros((), dtype=zeros["bias0"].dtype), zeros, zeros)


def readied_step(ready: Callable, route: Callable) -> Callable:
    """The whole meta-step, compiled or recorded."""

    def prepare(params: Params, episodes: Episodes) -> Callable[[], Params]:
        state = list(before_training(params))
        update = ready(whole(route), *state, episodes)

        def step():
            state[:] = update(*state, episodes)
            return state[0]

        return step

    return prepare


def detached(values: Params) -> Params:
    return {name: value.detach() for name, value in values.items()}


def jax_step(params: Params, episodes: Episodes) -> Callable[[], Params]:
    """The whole meta-step jitted, optimizer included."""
    import jax
    import optax

    optimizer = optax.adam(META_LR)
    state = [as_jax(params), None]
    state[1] = optimizer.init(state[0])
    steps, arrays = episodes.steps, as_jax(episodes)[:4]

    @jax.jit
    def update(start, moments, arrays):
        changes, moments = optimizer.update(jax_gradient(start, Episodes(*arrays, steps)), moments)
        return optax.apply_updates(start, changes), moments

    def step():
        state[:] = jax.block_until_ready(update(*state, arrays))
        return state[0]

    return step


class Route(NamedTuple):
    """gradient: (params, episodes) -> meta-gradient; prepare: (params, episodes) -> a meta-step to repeat."""

    gradient: Callable
    prepare: Callable
    readied: bool = False  # compiled or recorded before the first step
    cached: bool = False  # and kept on disk for the next process
    note: str = ""


def eager(function: Callable, note: str = "") -> Route:
    return Route(function, torch_step(function), note=note)


def readied(ready: Callable, function: Callable) -> Route:
    return Route(lambda p, e: ready(function, p, e)(p, e), readied_step(ready, function), True, ready is compiled)


OURS, OURS_COMPILED, OURS_RECORDED = "this package", "this package, compiled", "this package, recorded"
JAX = "JAX, jitted"
ROUTES = {
    OURS_COMPILED: readied(compiled, ours),
    "torch.func, compiled the same way": readied(compiled, torch_func),
    JAX: Route(jax_float64, jax_step, readied=True, cached=True),
    OURS_RECORDED: readied(replayed, ours),
    "torch.func, recorded the same way": readied(replayed, torch_func),
    OURS: eager(ours),
    "torch.func": eager(torch_func),
    "torchopt": eager(torchopt),
    REFERENCE: eager(loop),
    "learn2learn": eager(
        learn2learn,
        "learn2learn 0.2.0 does not install on Python 3.11 or newer; its MAML module was taken from its source files",
    ),
    "higher": eager(higher),
}


# --- Measuring ------------------------------------------------------------------------------------


def relative_error(grads: Params, reference: Params) -> float:
    """Largest difference of an entry, relative to the largest entry of its tensor; the worst tensor counts."""
    return max(float((grads[k] - reference[k]).abs().max() / reference[k].abs().max()) for k in reference)


def values(start) -> Params:
    """What a meta-step gives, as tensors of PyTorch that nobody changes."""
    return {
        name: torch.tensor(np.array(v.detach().numpy() if isinstance(v, Tensor) else v)) for name, v in start.items()
    }


def after_steps(route: Route, problem: Problem, steps: int = 3) -> Params:
    """The start after some meta-steps in float64."""
    step = route.prepare(*draw(problem, torch.float64))
    *_, start = (step() for _ in range(steps))
    return values(start)


def compare(problem: Problem, names: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Each route's float64 gradient error against the loop, and why a route cannot run or goes elsewhere."""
    params, episodes = draw(problem, torch.float64)
    reference, goal, errors, reasons = loop(params, episodes), after_steps(ROUTES[REFERENCE], problem), {}, {}
    for name in names:
        try:
            error = relative_error(ROUTES[name].gradient(params, episodes), reference)
            apart = relative_error(after_steps(ROUTES[name], problem), goal) if error < TOLERANCE else 0
        except Exception as reason:  # whatever is wrong with a peer, the others are measured
            reasons[name] = f"{type(reason).__name__}: {reason}".splitlines()[0]
        else:
            if error >= TOLERANCE:
                reasons[name] = f"its gradient differs from the loop's by {error:.1e}"
            elif apart >= TOLERANCE:
                reasons[name] = f"after three meta-steps its start differs from the loop's by {apart:.1e}"
            else:
                errors[name] = error
        print(f"  {name:36} {reasons.get(name) or f'{errors[name]:.1e}, {apart:.1e}'}", flush=True)
    return errors, reasons


CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()  # not on macOS


def stay_on(cores: set[int]) -> None:
    """Keep this thread, and those that it starts from now on, on some cores, where the system lets one choose."""
    if CORES:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def only(cores: set[int], afterwards: set[int]):
    stay_on(cores)
    try:
        yield
    finally:
        stay_on(afterwards)


ONE = {max(CORES, default=0)}  # JAX spreads a step over threads whatever it is told: they share a core, like all others


def first_steps_seconds(problem: Problem, name: str, steps: int = 3) -> float:
    """Preparing a route and its first meta-steps, in which compilers may still be at work, less as many later ones."""
    params, episodes = draw(problem, torch.float32)
    if name == JAX:
        import optax  # noqa: F401

        as_jax(params)  # imports and starts JAX; PyTorch has started
    start = time.perf_counter()
    step = ROUTES[name].prepare(params, episodes)
    for _ in range(steps):
        step()
    middle = time.perf_counter()
    for _ in range(steps):
        step()
    return 2 * middle - start - time.perf_counter()


def ready_seconds(name: str) -> float:
    """`first_steps_seconds` in a process of its own."""
    command = [sys.executable, __file__, "--first-steps", name]
    with only(CORES, afterwards=ONE):  # what a process may use, it hands on
        run = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


def measure(problem: Problem, names: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Wall and processor milliseconds of a meta-step; each round times every route once, in an order of its own."""
    steps, starts = {}, {}
    for name in names:
        steps[name] = ROUTES[name].prepare(*draw(problem, torch.float32))
        for _ in range(3):
            starts[name] = values(steps[name]())
    wall, cpu = ({name: [] for name in names} for _ in range(2))
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(names):
            steps[name]()  # as in a training: after a step of its own, not with the caches others left
            start, busy = time.perf_counter(), time.process_time()
            steps[name]()
            cpu[name].append(1e3 * (time.process_time() - busy))
            wall[name].append(1e3 * (time.perf_counter() - start))
    found = {}
    for name in names:
        low, median, high = np.quantile(wall[name], [0.1, 0.5, 0.9])
        found[name] = {"median_ms": median, "p10_ms": low, "p90_ms": high, "cpu_ms": np.median(cpu[name])}
        found[name]["astray"] = astray(starts[name], starts[names[-1]], values(draw(problem, torch.float32)[0]))
    return found


def astray(start: Params, goal: Params, before: Params) -> float:
    """How far two routes are apart, relative to how far one has come, on average over the numbers of the start."""
    apart, way = (sum(float((a[k] - b[k]).abs().sum()) for k in goal) for a, b in ((start, goal), (goal, before)))
    return apart / way


def machine() -> dict:
    """What the numbers depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}


CACHES = "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR"


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def benchmark(problem: Problem, names: list[str], rounds: int) -> dict:
    load = [os.getloadavg()]
    print("Gradients, and starts after three meta-steps, against the loop, float64:", flush=True)
    errors, reasons = compare(problem, names)
    names = [name for name in names if name in errors]
    routes = {name: {"gradient_error": errors[name]} for name in names}
    routes |= {name: {"not_run": reason} for name, reason in reasons.items()}

    for name in names:
        if ROUTES[name].readied and problem != TRIAL:
            with tempfile.TemporaryDirectory() as cache:
                os.environ.update(dict.fromkeys(CACHES, cache))
                routes[name]["ready_s"] = ready_seconds(name)
                if ROUTES[name].cached:
                    routes[name]["ready_again_s"] = ready_seconds(name)
            for variable in CACHES:
                del os.environ[variable]
            print(f"Ready, {name}: {routes[name]['ready_s']:.1f} s", flush=True)

    load.append(os.getloadavg())
    for name, figures in measure(problem, names, rounds).items():
        routes[name] |= figures
    load.append(os.getloadavg())
    return {
        "date": datetime.date.today().isoformat(),
        "problem": problem._asdict(),
        "rounds": rounds,
        "machine": machine(),
        "load_average_1_min": [round(values[0], 2) for values in load],
        "versions": {p: version(p) for p in ("torch", "jax", "optax", "higher", "torchopt")},
        "routes": {name: routes[name] for name in ROUTES if name in routes},
    }


# --- Reporting ------------------------------------------------------------------------------------


def times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def summary(results: dict) -> str:
    """The measured comparisons in sentences, as far as the routes ran."""
    routes = {name: figures for name, figures in results["routes"].items() if "median_ms" in figures}
    own = routes[OURS]["median_ms"]
    peers = {
        REFERENCE: "the Python loop", "learn2learn": "learn2learn", "higher": "higher", "torchopt": "torchopt",
        "torch.func": "torch.func",
    }  # fmt: skip
    ratios = [
        f"{times(routes[n]['median_ms'] / own)} times as fast as {label}" for n, label in peers.items() if n in routes
    ]
    text = [f"Run as it is written, the package is {', '.join(ratios[:-1])} and {ratios[-1]}."]
    for name, label in ((OURS, "As written"), (OURS_RECORDED, "Recorded"), (OURS_COMPILED, "Compiled")):
        if {name, JAX} <= routes.keys():
            ratio = routes[name]["median_ms"] / routes[JAX]["median_ms"]
            text.append(f"{label}, it takes {ratio:.2f} times as long as jitted JAX.")
    recorded, compiled = (routes.get(name, {}) for name in (OURS_RECORDED, OURS_COMPILED))
    if "ready_s" in recorded and "ready_s" in compiled:
        pays = [
            1e3 * (after["ready_s"] - before.get("ready_s", 0)) / (before["median_ms"] - after["median_ms"])
            for before, after in ((routes[OURS], recorded), (routes[OURS], compiled), (recorded, compiled))
        ]
        if min(pays) > 0:
            written, both, later = (f"{float(f'{steps:.1g}'):,.0f}" for steps in pays)
            text.append(
                f"Recording takes {recorded['ready_s']:.1f} s and pays after about {written} meta-steps. Compiling "
                f"takes {compiled['ready_s']:.0f} s, or {compiled['ready_again_s']:.1f} s from disk; the first time it "
                f"pays after about {both} meta-steps, and after {later} against recording."
            )
    return " ".join(text)


def markdown(results: dict) -> str:
    """The part of the book's page that holds numbers: conditions, table, summary, figure."""
    where, load, versions = results["machine"], results["load_average_1_min"], results["versions"]
    found = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    reference = results["routes"][REFERENCE]["median_ms"]
    lines = [
        "% Made by benchmarks/metastep.py; do not edit.",
        "",
        f"Measured on {results['date']} on one core of {where['cores']} ({where['cpu']}, {where['system']}), with "
        f"Python {where['python']}, {found}. {Problem(**results['problem'])}. "
        f"Medians of {results['rounds']} rounds; load average {min(load)} to {max(load)}.",
        "",
        "| Route | Median, ms | 10 % to 90 %, ms | Speed, loop = 1 | Gradient error | Getting ready, s (again) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    notes = []
    absent = [(name, figures) for name, figures in results["routes"].items() if "not_run" in figures]
    for name, figures in ranked(results) + absent:
        if "not_run" in figures:
            lines.append(f"| {name} | not run: {figures['not_run']} | | | | |")
            continue
        ready = f"{figures['ready_s']:.1f}" if "ready_s" in figures else ""
        ready += f" ({figures['ready_again_s']:.1f})" if "ready_again_s" in figures else ""
        low, median, high = (figures[key] for key in ("p10_ms", "median_ms", "p90_ms"))
        error = f"{figures['gradient_error']:.0e}" if figures["gradient_error"] else "0"
        lines.append(
            f"| {name} | {median:.1f} | {low:.1f} to {high:.1f} | {times(reference / median)} | {error} | {ready} |"
        )
        if ROUTES[name].note:
            notes.append(ROUTES[name].note)
    lines += ["", *(f"{note}." for note in notes), "", summary(results), "", *figure(results)]
    return "\n".join(lines) + "\n"


def figure(results: dict) -> list[str]:
    """The figure's directive; its alternative text holds the numbers drawn."""
    values = ", ".join(f"{name} {f['median_ms']:.1f} ms" for name, f in ranked(results))
    return [
        "```{figure} ../benchmarks/results/metastep.svg",
        ":name: fig-metastep",
        f":alt: Dots with bars on a logarithmic axis of milliseconds, fastest first. {values}.",
        "",
        "Time of one second-order meta-step: dots are medians, bars go from the 10th to the 90th percentile. "
        "Filled: this package.",
        "```",
    ]


def ranked(results: dict) -> list[tuple[str, dict]]:
    timed = [(name, figures) for name, figures in results["routes"].items() if "median_ms" in figures]
    return sorted(timed, key=lambda item: item[1]["median_ms"])


def draw_figure(results: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from metaad_tutorial.plots import COLORS, use_style

    routes = ranked(results)
    with matplotlib.rc_context():
        use_style()
        fig, ax = plt.subplots(figsize=(6.4, 0.4 * len(routes) + 0.9))
        for row, (name, figures) in enumerate(reversed(routes)):
            median = figures["median_ms"]
            error = [[median - figures["p10_ms"]], [figures["p90_ms"] - median]]
            fill = COLORS[0] if name in (OURS, OURS_RECORDED, OURS_COMPILED) else "white"
            ax.errorbar(
                median, row, xerr=error, fmt="o", color=COLORS[0], markerfacecolor=fill, capsize=3, markersize=7
            )
            ax.annotate(
                f"{median:.1f}", (median, row), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9
            )
        ax.set_yticks(range(len(routes)), [name for name, _ in reversed(routes)])
        ax.set_ylim(-0.6, len(routes) - 0.3)
        ax.set_xscale("log")
        ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500) if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
        ax.set_xticks(ticks, map(str, ticks))
        ax.minorticks_off()
        ax.grid(axis="x", alpha=0.3)
        ax.set_xlabel("milliseconds per meta-step (logarithmic)")
        fig.savefig(path, metadata={"Date": None})
        plt.close(fig)


def write(results: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metastep.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "metastep.md").write_text(markdown(results))
    draw_figure(results, folder / "metastep.svg")
    print(f"Written: metastep.json, metastep.md and metastep.svg in {folder}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="times that each route is timed (default 100)")
    parser.add_argument("--quick", action="store_true", help="a tiny problem, 3 rounds; writes to --out alone")
    parser.add_argument("--out", type=Path, help=f"folder for the results (default {RESULTS.name}/ beside this file)")
    parser.add_argument("--report", action="store_true", help="write table and figure of the stored results again")
    parser.add_argument("--first-steps", metavar="ROUTE", choices=ROUTES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=SyntaxWarning)  # in the sources of `higher`
    problem, rounds = (TRIAL, 3) if options.quick else (Problem(), options.rounds)
    folder = options.out or (None if options.quick else RESULTS)
    if options.first_steps:
        print(first_steps_seconds(problem, options.first_steps))
        return
    if options.report:
        results = json.loads(((folder or RESULTS) / "metastep.json").read_text())
    else:
        with only(ONE, afterwards=CORES):
            results = benchmark(problem, list(ROUTES), rounds)
    print(markdown(results))
    if folder:
        write(results, folder)


if __name__ == "__main__":
    main()
