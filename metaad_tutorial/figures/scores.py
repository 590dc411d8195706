"""Figures of chapter 1: scores of the plane, the staircase of the ROC curve, base rates, kinds of anomalies.

One, `grouped`, is of the benchmark of baselines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..metrics import Interval


def strange(normal, new, labels, score: Callable, threshold: float, box: Sequence[float]) -> Figure:
    """New points among normal ones, without and with a score, its threshold and their labels.

    Args:
        normal: (n, 2); new: (m, 2); labels: (m,) 0/1; score: (k, 2) array -> (k,) scores; box: x0, x1, y0, y1.
    """
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9), sharey=True)
    plots.points(axes[0], normal, np.zeros(len(normal)))
    axes[0].plot(*new.T, "kx", markersize=9, markeredgewidth=2, label="new", zorder=5)
    axes[0].legend(loc="lower right")
    shades = plots.field(axes[1], score, box, threshold=threshold)
    axes[1].plot(*normal.T, ".", color=plots.NORMAL, markersize=3)
    plots.points(axes[1], new, labels)
    bar = fig.colorbar(shades, ax=axes[1], label="score f(x)", shrink=0.82)
    bar.ax.set_ylim(max(shades.norm.vmin, shades.get_array().min()), None)  # no score is lower
    for ax, title in zip(axes, ("Which are strange?", "Score and threshold"), strict=True):
        ax.set(xlim=box[:2], ylim=box[2:], aspect="equal", xlabel="measurement 1", title=title)
    axes[0].set_ylabel("measurement 2")
    return fig


def staircase(normal, anomalous, won, fpr, tpr) -> Figure:
    """Scores on a line, and their ROC curve over the grid of all pairs of an anomaly and a normal point.

    Args:
        normal: (n,) scores; anomalous: (m,); won: (m, n) 1, 0.5 or 0, both from large to small scores.
        fpr, tpr: (k,) of the curve, from no alarm to all.
    """
    fig, (line, grid) = plt.subplots(2, 1, figsize=(6.4, 5.5), height_ratios=[1, 4.2])
    line.axhline(0, color="grey", linewidth=1, linestyle="-")
    for label, scores, others in ((0, normal, anomalous), (1, anomalous, normal)):
        lift = np.where(np.isin(scores, others), 0.25 if label else -0.25, 0)  # tied points stand above each other
        plots.points(line, np.stack([scores, lift], -1), np.full(len(scores), label))
        for s, h in zip(scores, lift, strict=True):
            at = (0, -17 if h < 0 else 8)
            line.annotate(f"{s}", (s, h), xytext=at, fontsize=9, textcoords="offset points", ha="center")
    line.set(ylim=(-1, 1), yticks=[], xlabel="score f(x)")
    line.spines["left"].set_visible(False)
    line.legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.4))
    (m, n), words = np.shape(won), {1: "1", 0.5: "1/2", 0: "0"}
    for (i, j), value in np.ndenumerate(won):
        corners = np.array([[j, i], [j + 1, i], [j + 1, i + 1], [j, i + 1]])[: 4 if value == 1 else 3] / [n, m]
        if value:
            grid.fill(*corners.T, facecolor="#dddddd", edgecolor="white" if value == 1 else "none", linestyle="-")
        x, y = (0.72, 0.3) if value == 0.5 else (0.5, 0.5)
        grid.text((j + x) / n, (i + y) / m, words[value], ha="center", va="center", color="#333333")
    grid.plot(fpr, tpr, color="black", linestyle="-", linewidth=2.2, marker="o", markersize=4, clip_on=False)
    grid.set(xlim=(0, 1), ylim=(0, 1), xlabel="false positive rate", ylabel="true positive rate")
    grid.set_xticks(np.arange(n + 1) / n, ["0", *(f"{j}/{n}" for j in range(1, n)), "1"])
    grid.set_yticks(np.arange(m + 1) / m, ["0", *(f"{i}/{m}" for i in range(1, m)), "1"])
    return fig


def base_rates(
    rates, precision: Mapping[str, np.ndarray], predicted, measured_at, measured: Mapping[str, list]
) -> Figure:
    """Precision by base rate at fixed rates of alarms; figures of one score at several base rates.

    Args:
        rates: (p,) base rates; precision: name -> (p,); predicted: (p,) average precision.
        measured_at: (k,) base rates; measured: name -> (k,), AP first.
    """
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharex=True, sharey=True)
    for name, values in precision.items():
        axes[0].plot(100 * rates, values, label=name)
    axes[1].plot(100 * rates, predicted, color=plots.COLORS[2], linestyle="--", label="AP, predicted")
    for (name, values), k, line in zip(measured.items(), (2, 0), ("", "-"), strict=True):
        own = {"color": plots.COLORS[k], "marker": plots.MARKS[k], "linestyle": line}
        axes[1].plot(100 * np.asarray(measured_at), values, label=name, **own)
    axes[0].set(ylabel="precision", ylim=(0, 1.03))
    axes[1].set_ylabel("AP or AUROC")
    axes[1].tick_params(labelleft=True)
    for ax in axes:
        plots.counts_axis(ax, [0.1, 1, 10, 50], "base rate (%)")
        ax.legend()
        ax.grid(alpha=0.3)
    return fig


def best_scores(scores: Mapping[str, Callable], normal, anomalies: Mapping[str, np.ndarray], box) -> Figure:
    """The best score for each kind of anomaly, with threshold 0, over normal points and anomalies of that kind.

    Args:
        scores: kind -> (k, 2) array -> (k,) scores; normal: (n, 2); anomalies: kind -> (m, 2); box: x0, x1, y0, y1.
    """
    fig, axes = plt.subplots(1, len(scores), figsize=(6.4, 3.1), sharey=True)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4, "linestyle": "none"}
    for ax, (kind, score) in zip(axes, scores.items(), strict=True):
        plots.field(ax, score, box, threshold=0)
        ax.plot(*normal.T, "o", markersize=3, color=plots.NORMAL, **edge)
        ax.plot(*anomalies[kind].T, "^", markersize=5, color=plots.ANOMALY, **edge)
        ax.set(xlim=box[:2], ylim=box[2:], aspect="equal", xlabel="measurement 1", title=f"anomalies: {kind}")
    axes[0].set_ylabel("measurement 2")
    return fig


def kinds(values, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """AUROC by what was trained and what is tested on, a stronger shade is better; diagonal framed, last row apart.

    Args:
        values: (len(rows), len(columns)).
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    ax.imshow(values, cmap="Greys", vmin=0.5, vmax=1.6, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center")
        if i == j:
            ax.add_patch(plt.Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False, linewidth=2))
    ax.axhline(len(rows) - 1.5, color="white", linestyle="-", linewidth=5, zorder=0.9)  # below the frames
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel="tested on", ylabel="trained on")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return fig


def grouped(ax: Axes, results: Mapping[str, Mapping[str, Interval]]) -> None:
    """A row of means with bars for each data set, one above the other, each method in its look.

    Args:
        results: data set -> method -> value; the same methods, in the same order, everywhere.
    """
    rows, methods = np.arange(len(results))[::-1], list(next(iter(results.values())))
    for k, method in enumerate(methods):
        mean, low, high = np.array([found[method] for found in results.values()]).T
        own = plots.look(method, k)
        at = rows + 0.7 * ((len(methods) - 1) / 2 - k) / len(methods)
        ax.errorbar(
            mean, at, xerr=[mean - low, high - mean], fmt=own.marker, color=own.color, markersize=5, capsize=2,
            elinewidth=1, label=method,
        )  # fmt: skip
    for at in rows[1:] + 0.5:
        ax.axhline(at, color="#dddddd", linewidth=0.8)
    ax.set_yticks(rows, list(results))
    ax.set_ylim(-0.5, len(results) - 0.5)
    ax.grid(axis="x", alpha=0.3)
