"""Figures of chapter 2: tasks, splits, leaks, three families of methods (those of the fleet are in `fleet`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..episodes import Episodes
from ..metrics import Interval
from .scores import grouped


def machines(tasks: Sequence[Episodes], names: str) -> Figure:
    """Tasks with two features on the same axes, three in a row; of the last one the labels are withheld.

    Args:
        tasks: of one task each; names: a letter for each.
    """
    fig, axes = plt.subplots(-(-len(names) // 3), 3, figsize=(6.4, 4.6), sharex=True, sharey=True)
    for task, ax, name in zip(tasks, axes.flat, names, strict=True):
        x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
        if name == names[-1]:
            plots.points(ax, x[y == 0], y[y == 0])
            open_mark = {"marker": "s", "facecolors": "none", "edgecolors": "black"}
            ax.scatter(*task.query_x[0].numpy().T, s=26, zorder=2, label="withheld", **open_mark)
        else:
            plots.points(ax, x, y)
            plots.points(ax, task.query_x[0], task.query_y[0], query=True)
        ax.set(title=f"machine {name}", xlabel="sensor 1 (units)", ylabel="sensor 2 (units)")
        ax.label_outer()
    marks = axes[0, 0].get_legend_handles_labels()[0] + axes[-1, -1].get_legend_handles_labels()[0][-1:]
    kinds = ["normal, support", "anomaly, support", "normal, query", "anomaly, query", "query, label withheld"]
    fig.legend(marks, kinds, loc="outside upper center", ncols=3)
    return fig


def optimism(sizes, theory, simulated, penalties, losses: Mapping[str, np.ndarray], best: float) -> Figure:
    """Errors of least squares by the number of points, and losses of ridge regression by its penalty.

    Args:
        sizes: (n,); theory, simulated: (n, 2) error on the support points and with fresh noise.
        penalties: (p,); losses: name -> (p,); best: the penalty known to be best.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    for k, (name, mark) in enumerate((("support points", "o"), ("same inputs, fresh noise", "^"))):
        (line,) = left.plot(sizes, theory[:, k], label=name)
        left.plot(sizes, simulated[:, k], mark, color=line.get_color())
    left.set(xlabel="support points $n$", ylabel="mean squared error", ylim=(0, 2.5))
    for name, loss in losses.items():
        right.plot(penalties, loss, label=name)
    right.axvline(best, color="black", linewidth=1.2, linestyle=":")
    right.annotate("best", (best, 1.02), xycoords=("data", "axes fraction"), ha="center")
    right.set(xscale="log", xlabel=r"penalty $\theta$", ylabel="mean loss over tasks", ylim=(0, 5))
    for ax in (left, right):
        ax.legend(loc="upper left" if ax is right else "upper right")
    return fig


def splits(groups: Mapping[str, tuple[Sequence[int], str]]) -> Figure:
    """Units in groups, side by side, each with filled support points above hollow query points.

    Args:
        groups: name of a group -> its units and what it is for.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3))
    column = 0.0
    five = np.array([(-1, 0.7), (0, 0.7), (1, 0.7), (-0.5, -0.7), (0.5, -0.7)]) * 0.2
    six = np.array([(a, b) for b in (0.7, -0.7) for a in (-1, 0, 1)]) * 0.2
    for name, (units, purpose) in groups.items():
        first = column
        for unit in units:
            for y, spots, fill in ((1.0, five, "black"), (0.0, six, "none")):
                ax.scatter(*(spots + [column, y]).T, s=22, facecolors=fill, edgecolors="black")
            ax.text(column, 1.55, str(unit), ha="center")
            column += 1
        ax.axvspan(first - 0.5, column - 0.5, color="black", alpha=0.05, linewidth=0)
        middle = (first + column - 1) / 2
        ax.text(middle, 1.9, name, ha="center", fontweight="bold", fontsize=9.5)
        ax.text(middle, -0.75, purpose, ha="center", style="italic")
        column += 1.0
    ax.axhline(0.5, color="black", linewidth=1, linestyle=":")
    ax.set(xlim=(-0.6, column - 1.4), ylim=(-0.95, 2.45), xticks=[])
    ax.set_yticks([1.55, 1, 0], ["unit (digit)", "support", "query"])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return fig


def leaks(changes: Mapping[str, Mapping[str, Interval]], title: str) -> Figure:
    """Change by table and by what leaked, about a line at 0.

    Args:
        changes: table -> what leaked -> change in AUROC; title: of the legend.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    grouped(ax, changes)
    ax.axvline(0, color="black", linewidth=1)
    ax.set_xlabel("change in AUROC against scaling with the support set")
    ax.legend(title=title, loc="upper left")
    return fig


def families(
    task: Episodes, box, steps: Mapping[str, Callable], distance: Callable, radius: float, prototype,
    boundary: Callable, virtual,
) -> Figure:  # fmt: skip
    """Three ways to adapt to one task: steps from a start, a distance to a prototype, a boundary around virtual points.

    Args:
        box: x0, x1, y0, y1; steps: line style -> (m, 2) array -> (m,) scores with threshold 0, the last adapted.
        distance: the same kind of score, with threshold `radius` about `prototype` (2,).
        boundary: a probability; virtual: (v, 2) points that were made up.
    """
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.9), sharex=True, sharey=True)
    x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
    *before, adapted = steps.values()
    shown = {"optimisation": (adapted, 0.0), "metric": (distance, radius), "generative": (boundary, 0.5)}
    for ax, (name, (score, threshold)) in zip(axes, shown.items(), strict=True):
        plots.field(ax, score, box, threshold=threshold)
        used = np.ones(len(y), dtype=bool) if name == "optimisation" else y == 0
        plots.points(ax, x[used], y[used])
        plots.points(ax, task.query_x[0], task.query_y[0], query=True)
        ax.set(xlim=box[:2], ylim=box[2:], xlabel="sensor 1 (units)", title=name)
    for dash, score in zip(steps, before, strict=False):
        _level(axes[0], score, box, [0.0], colors="black", linestyles=dash)
    _level(axes[1], distance, box, [1, 2, 4, 5], colors="grey", linewidths=0.7)
    axes[1].plot(*prototype, "*", color="white", mec="black", markersize=15, zorder=5)
    axes[2].plot(*virtual.T, "x", color="black", markersize=5)
    axes[0].set_ylabel("sensor 2 (units)")
    return fig


def _level(ax: Axes, score: Callable, box, levels: Sequence[float], **style) -> None:
    """Lines where a score takes the values `levels`."""
    u, v = np.meshgrid(np.linspace(*box[:2], 100), np.linspace(*box[2:], 100))
    values = score(np.stack([u, v], -1).reshape(-1, 2)).reshape(u.shape)
    ax.contour(u, v, values, levels=levels, **style)
