"""Figures of chapter 7: images by distance, the logit in the plane, a collapse, rankings and alarms over shots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..evaluation import Evaluation
from ..metrics import Interval


def planes(panels: Mapping[str, tuple[np.ndarray, np.ndarray, Callable]]) -> Figure:
    """Scores of the plane with threshold 0, two panels in a row.

    Args:
        panels: title -> (n, 2) normal points, (m, 2) anomalous points, and a score (k, 2) array -> (k,) scores.
    """
    rows = -(-len(panels) // 2)
    fig, axes = plt.subplots(rows, 2, figsize=(6.4, 2.75 * rows), sharex=True, sharey=True, squeeze=False)
    for ax, (title, (normal, odd, score)) in zip(axes.flat, panels.items(), strict=True):
        plots.field(ax, score, (-2.5, 2.5, -2.5, 2.5), threshold=0)
        plots.points(ax, np.concatenate([normal, odd]), np.repeat([0, 1], [len(normal), len(odd)]))
        ax.plot(0, 0, "+", color="black", markersize=10)
        ax.set(title=title, xlabel="$\\phi_1$", ylabel="$\\phi_2$", aspect="equal")
        ax.label_outer()
    return fig


def by_shots(
    shots: Sequence[int], ranked: Mapping[str, Sequence[Interval]], alarms: Mapping[str, Sequence[Interval]]
) -> Figure:
    """AUROC, on the left, and false alarms at one threshold, on the right, against the number of normal images.

    Args:
        ranked, alarms: name of a method -> an interval for each number of images.
    """
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.9))
    for ax, results, label in zip(axes, (ranked, alarms), ("AUROC", "false alarms, threshold kept"), strict=True):
        for name, values in results.items():
            plots.curve(ax, shots, values, name)
        plots.counts_axis(ax, shots, "normal images")
        ax.set_ylabel(label)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
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


def sorted_rows(support, queries, odd: np.ndarray, distances: Mapping[str, np.ndarray], name: str = "normal") -> Figure:
    """Support images, and below them the queries once for each distance, from near to far, with their frames.

    Args:
        support, queries: (n, h, w) and (k, h, w) images; odd: (k,) whether a query is an anomaly.
        distances: name of a row -> (k,) distances of the queries.
    """
    fig, axes = plt.subplots(1 + len(distances), len(queries), figsize=(6.4, 0.7 * (1 + len(distances))))
    plots.images(axes[0], support, labels=np.zeros(len(support)), name=name)
    for row, (title, distance) in zip(axes[1:], distances.items(), strict=True):
        order = np.argsort(distance)
        plots.images(row, queries[order], labels=odd[order], name=title)
    return fig
