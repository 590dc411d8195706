"""Figures of chapter 7: the logit in the plane, means and neighbours, a collapse, letters in the learnt space."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..evaluation import Evaluation
from ..metrics import Interval


def planes(rows: Sequence[Sequence[tuple]], score: Callable) -> Figure:
    """A score of the plane with threshold 0 for each support set, in rows and columns.

    Args:
        rows: of panels, each (n, 2) normal and (m, 2) anomalous support points.
        score: normal points, anomalous points, (k, 2) array -> (k,) scores.
    """
    fig, axes = plt.subplots(len(rows), len(rows[0]), figsize=(6.4, 5.4), sharex=True, sharey=True, squeeze=False)
    for ax, (normal, odd) in zip(axes.flat, itertools.chain(*rows), strict=True):
        plots.field(ax, lambda x, n=normal, a=odd: score(n, a, x), (-2.5, 2.5, -2.5, 2.5), threshold=0)
        plots.points(ax, np.concatenate([normal, odd]), np.repeat([0, 1], [len(normal), len(odd)]))
        ax.plot(0, 0, "+", color="black", markersize=10)
        title = f"{len(normal)} normal, {len(odd)} anomalous"
        ax.set(title=title, xlabel="$\\phi_1$", ylabel="$\\phi_2$", aspect="equal")
        ax.label_outer()
    return fig


def by_shots(shots: Sequence[int], results: Mapping[str, Sequence[Interval]]) -> Figure:
    """AUROC against the number of normal images, one panel for each space.

    Args:
        results: "space, rule" -> an interval for each number of images.
    """
    spaces = list(dict.fromkeys(name.partition(", ")[0] for name in results))
    fig, axes = plt.subplots(1, len(spaces), figsize=(6.4, 3.3), sharey=True, squeeze=False)
    for ax, space in zip(axes[0], spaces, strict=True):
        for name, values in results.items():
            own, _, rule = name.partition(", ")
            if own == space:
                plots.curve(ax, shots, values, "logit of prototypes" if rule == "logit" else rule)
        plots.counts_axis(ax, shots, "normal images in the support set")
        ax.set_title(space)
        ax.legend(loc="lower right")
    axes[0, 0].set_ylabel("AUROC")
    return fig


def collapse(steps: Sequence[int], paths: Mapping[str, Sequence[tuple[float, Evaluation]]]) -> Figure:
    """How the variance of an embedding, on the left, and its AUROC, on the right, go along with outer steps.

    Args:
        paths: name of a loss -> variance and figures at each of the steps.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3))
    for k, (name, path) in enumerate(paths.items()):
        variance, ranked = zip(*path, strict=True)
        own = plots.look(name, k)
        left.semilogy(steps, variance, color=own.color, linestyle=own.dash, marker=own.marker, markersize=5)
        plots.curve(right, steps, [result.interval() for result in ranked], name)
    left.set(xlabel="outer step", ylabel="variance of the embedding")
    right.set(xlabel="outer step", ylabel="AUROC, letters held out")
    fig.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=len(paths))
    return fig


def clouds(spaces: Mapping[str, np.ndarray]) -> Figure:
    """Points of several classes in a panel for each space, a marker for each class, crosses at the means.

    Args:
        spaces: title -> (classes, n, 2) points.
    """
    fig, axes = plt.subplots(1, len(spaces), figsize=(6.4, 3.7), squeeze=False)
    for ax, (name, points) in zip(axes[0], spaces.items(), strict=True):
        for k, cloud in enumerate(points):
            look = {"marker": plots.MARKS[k], "edgecolors": plots.COLORS[k], "facecolors": "none"}
            ax.scatter(*cloud.T, s=20, linewidths=0.9, label=f"letter {k + 1}", **look)
        ax.plot(*np.mean(points, 1).T, "x", color="black", markersize=9, mew=2)
        ax.set(title=name, xlabel="first main axis")
    axes[0, 0].set_ylabel("second main axis")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, columnspacing=1)
    return fig
