"""Figures of chapter 3: a step in the plane, methods beside the limit, the learnt rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..episodes import Episodes
from ..evaluation import Evaluation


def planes(scores: Mapping[str, Callable], task: Episodes) -> Figure:
    """Scores of the plane with threshold 0 beside each other, over the support and the query points of one task.

    Args:
        scores: title -> (m, 2) array -> (m,) scores.
        task: one task with two features.
    """
    support, query = (task.support_x[0], task.support_y[0]), (task.query_x[0].numpy(), task.query_y[0])
    (x0, y0), (x1, y1) = query[0].min(0) - 1, query[0].max(0) + 1
    fig, axes = plt.subplots(1, len(scores), figsize=(6.4, 3.2), sharey=True)
    for ax, (name, score) in zip(axes, scores.items(), strict=True):
        plots.field(ax, score, (x0, x1, y0, y1), threshold=0)
        plots.points(ax, *query, query=True)
        plots.points(ax, *support)
        ax.set(title=name, xlabel="sensor 1")
    axes[0].set_ylabel("sensor 2")
    marks, names = axes[0].get_legend_handles_labels()
    names = [f"{kind}, {name}" for kind in ("query", "support") for name in names[:2]]
    fig.legend(marks, names, loc="outside lower center", ncols=2)
    return fig


def beside_the_limit(results: Mapping[str, Evaluation], ceiling: float) -> Figure:
    """AUROC and accuracy of all methods with intervals; lines at the ceiling in AUROC and at the limit in accuracy.

    Args:
        results: name of a method -> its figures; that named "limit" is the line.
    """
    rest = {name: result for name, result in results.items() if name != "limit"}
    return plots.comparison(
        {
            "AUROC": {name: result.interval() for name, result in rest.items()},
            "accuracy": {name: result.interval("accuracy") for name, result in rest.items()},
        },
        limits={"AUROC": ceiling, "accuracy": results["limit"].interval("accuracy").mean},
        limit_label={"AUROC": "ceiling", "accuracy": "limit"},
    )


def rule(start, decay, step) -> Figure:
    """What AADML learnt for each sensor and, in the last row, for the bias.

    Args:
        start, decay, step: (d + 1,) each.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.8))
    rows = [*(str(j) for j in range(1, len(start))), "bias b"]
    plots.heatmap(ax, np.stack([start, decay, step], axis=1), rows, ["start", "decay", "step size"])
    ax.set_ylabel("sensor")
    return fig
