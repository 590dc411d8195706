"""Figures of chapter 3's fleet: the best score and its ceilings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.metrics import roc_curve

from .. import plots
from ..episodes import Episodes
from ..metrics import Interval, auroc


def roc(ax: Axes, scores: Mapping[str, np.ndarray], y) -> None:
    """ROC curves of several scores of the same points; the legend gives the area under each."""
    for k, (name, score) in enumerate(scores.items()):
        own, rates = plots.look(name, k), roc_curve(y, score)[:2]
        ax.plot(*rates, label=f"{name}: {auroc(y, score):.3f}", color=own.color, linestyle=own.dash)
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
    ax.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    ax.legend(title="AUROC", loc="lower right")


def best_score(task: Episodes, score: Callable, box, mean, arrows: Mapping[str, np.ndarray], separation) -> Figure:
    """The best score for a known machine over the plane, with directions as arrows, and its two densities.

    Args:
        score: (m, 2) array -> (m,) log odds; box: x0, x1, y0, y1; mean: (2,) where the arrows start.
        arrows: name -> (2,) direction, the first drawn dashed; separation: of the two densities, in their deviation.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1), width_ratios=(1.25, 1))
    plots.field(left, score, box, threshold=0.0)
    plots.points(left, task.query_x[0], task.query_y[0])
    for (name, vector), dash, lift in zip(arrows.items(), ("--", "-"), (-13, 4), strict=True):
        tip = mean + 2.8 * vector / np.linalg.norm(vector)
        arrow = {"arrowstyle": "->", "linewidth": 2.2, "linestyle": dash, "shrinkA": 0, "shrinkB": 0}
        left.annotate("", tip, mean, arrowprops=arrow, zorder=5)
        left.annotate(name, tip, (2, lift), textcoords="offset points")
    left.set(xlabel="sensor 1 (units)", ylabel="sensor 2 (units)", aspect="equal", xlim=box[:2], ylim=box[2:])
    s = np.linspace(-20, 20, 300)
    for sign, name, color, dash in ((-1, "normal", plots.NORMAL, "-"), (1, "anomaly", plots.ANOMALY, "--")):
        density = norm.pdf(s, sign * separation**2 / 2, separation)
        right.plot(s, density, color=color, linestyle=dash, label=name)
        right.fill_between(s, density, color=color, alpha=0.15, linewidth=0)
    right.axvline(0, color="black", linewidth=1.2)
    right.set(xlabel="score $f(x)$ (log odds)", ylabel="density", ylim=(0, None))
    for ax in (left, right):
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return fig


def ceilings(scores, labels, computed, counts, measured: Sequence[Interval], limits, known: float) -> Figure:
    """The ROC curve of the best score, simulated and computed, and the best accuracy by the number of support points.

    Args:
        scores, labels: (n,) simulated; computed: false and true positive rates, (m,) each, and the area.
        measured: accuracy at each of `counts`; limits: (N,) computed for 1 to N points; known: for a known machine.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3))
    roc(left, {"simulated": scores}, labels)
    false, true, area = computed
    left.plot(false, true, color=plots.COLORS[1], linestyle="--", label=f"computed: {area:.3f}")
    left.legend(title="AUROC", loc="lower right")
    right.plot(range(1, len(limits) + 1), limits, label="best given the support")
    plots.whiskers(right, counts, measured, "simulated")
    right.axhline(known, color="black", linestyle="--", linewidth=1.2)
    right.annotate("machine known", (1, known + 0.003))
    plots.counts_axis(right, counts, "support points $n$")
    right.set(ylabel="accuracy", ylim=(None, 0.925))
    right.legend(loc="lower right")
    return fig
