"""Figures of chapter 4: a step in the plane, methods beside the limit, the learnt rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..episodes import Episodes
from ..evaluation import Evaluation


def over_planes(axes: Iterable[Axes], scores: Mapping[str, Callable], task: Episodes) -> list[Artist]:
    """`plots.field` of several scores with threshold 0, over the support points and the hollow queries of one task.

    Args:
        scores: title -> (m, 2) array -> (m,) scores; task: one, with two features.

    Returns:
        The marks of the legend, those of normal queries, of anomalies and of support points.
    """
    query = task.query_x[0].numpy()
    (x0, y0), (x1, y1) = query.min(0) - 1, query.max(0) + 1
    for ax, (name, score) in zip(axes, scores.items(), strict=True):
        plots.field(ax, score, (x0, x1, y0, y1), threshold=0)
        plots.points(ax, query, task.query_y[0], query=True)
        plots.points(ax, task.support_x[0], task.support_y[0])
        ax.set(title=name, xlabel="sensor 1", ylabel="sensor 2")
        ax.label_outer()
    return ax.get_legend_handles_labels()[0]


def planes(scores: Mapping[str, Callable], task: Episodes) -> Figure:
    """Scores of the plane with threshold 0 beside each other, over the support and the query points of one task.

    Args:
        scores: title -> (m, 2) array -> (m,) scores.
        task: one task with two features.
    """
    fig, axes = plt.subplots(1, len(scores), figsize=(6.4, 3.2), sharey=True)
    marks = over_planes(axes, scores, task)
    names = ["query, normal", "query, anomaly", "support, normal", "support, anomaly"]
    fig.legend(marks, names, loc="outside lower center", ncols=2)
    return fig


def beside_the_limit(results: Mapping[str, Evaluation], ceiling: float) -> Figure:
    """AUROC and accuracy of all methods with intervals; lines at the ceiling in AUROC and at the limit in accuracy.

    Args:
        results: name of a method -> its figures; that named "limit" is the line.
    """
    rest = {name: result for name, result in results.items() if name != "limit"}
    figures = {
        label: {name: result.interval(label.lower()) for name, result in rest.items()}
        for label in ("AUROC", "accuracy")
    }
    limits = {"AUROC": ceiling, "accuracy": results["limit"].interval("accuracy").mean}
    return plots.comparison(figures, limits=limits, limit_label={"AUROC": "ceiling"})


def rule(start, decay, step) -> Figure:
    """What AADML learnt for each sensor and, in the last row, for the bias.

    Args:
        start, decay, step: (d + 1,) each.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.8))
    values = np.stack([start, decay, step], axis=1)
    limit = np.abs(values).max()
    ax.imshow(values, cmap="PRGn", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        dark = abs(value) > 0.65 * limit
        text = f"{round(value, 1) + 0.0:.1f}"  # no minus before a rounded 0
        ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    ax.set_xticks(range(3), ["start", "decay", "step size"])
    ax.set_yticks(range(len(start)), [*range(1, len(start)), "bias b"])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_ylabel("sensor")
    return fig
