"""Figures of chapter 2: tasks, and what the query loss is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..episodes import Episodes


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
