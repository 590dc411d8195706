"""Figures of chapter 6: starts in the plane, gradients, turned faults, letters drawn large, probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..episodes import Episodes
from ..metrics import Interval


def planes(scores: Mapping[str, Callable], task: Episodes) -> Figure:
    """Scores of the plane with threshold 0, two in a row, over the support points and the hollow queries of one task.

    Args:
        scores: title -> (m, 2) array -> (m,) scores.
        task: one task with two features.
    """
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 5.6), sharex=True, sharey=True)
    marks = plots.planes(axes.flat, scores, task)
    fig.legend(marks, ["query, normal", "query, anomaly", "support, normal"], loc="outside lower center", ncols=3)
    return fig


def cosines(values: Mapping[str, np.ndarray]) -> Figure:
    """Histograms of cosines on one scale, two in a row, with dashed lines at their means.

    Args:
        values: name of a start -> (T,) cosines.
    """
    rows = -(-len(values) // 2)
    fig, axes = plt.subplots(rows, 2, figsize=(6.4, 4.4), sharex=True, sharey=True, squeeze=False)
    for ax, (name, found) in zip(axes.flat, values.items(), strict=False):
        ax.hist(found, bins=np.linspace(-1, 1, 41), color=plots.look(name, 3).color)
        ax.axvline(found.mean(), color="black", linestyle="--", linewidth=1.2)
        ax.set_title(name)
        ax.set_yticks([])
    fig.supxlabel("cosine of one-class and balanced gradient (dashed: mean)", fontsize=10)
    fig.supylabel("number of machines", fontsize=10)
    return fig


def turned_fault(points: Mapping[str, np.ndarray], centres: np.ndarray) -> Figure:
    """Noise, a known fault and a turned one, hollow, with arrows from the origin and the known fault's boundary.

    Args:
        points: name -> (n, 2), normal points first, then the known and the turned fault.
        centres: (3, 2) their centres.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.4))
    looks = (("o", plots.NORMAL, True), ("^", plots.ANOMALY, True), ("s", plots.ANOMALY, False))
    for (name, own), centre, (marker, color, filled) in zip(points.items(), centres, looks, strict=True):
        face = color if filled else "none"
        ax.scatter(*own.T, marker=marker, s=30, facecolors=face, edgecolors=color, label=name, alpha=0.8)
        if np.any(centre):
            arrow = {"arrowstyle": "-|>", "color": "black", "lw": 1.6, "shrinkA": 0}
            ax.annotate("", centre, (0, 0), arrowprops=arrow)
    ax.axvline(centres[1, 0] / 2, color="black", linestyle="--", linewidth=1.4)
    ax.set(xlabel="along the known direction", ylabel="at right angles to it", aspect="equal")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


def over_angles(results: Mapping[str, tuple], fine: Sequence[float], predicted: Sequence[float]) -> Figure:
    """AUROC against the angle of the fault: the prediction as a line, methods as marks with intervals.

    Args:
        results: name of a method -> its angles and an interval for each; hollow if it was shown faults.
        fine, predicted: (m,) angles and AUROC.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.4))
    ax.plot(fine, predicted, color="black", linestyle="-", label="predicted")
    for k, (name, (angles, values)) in enumerate(results.items()):
        own = plots.look(name, k)
        at = np.asarray(angles) + 0.9 * (k - (len(results) - 1) / 2)
        plots.whiskers(ax, at, values, name)
        if "fault" in name:
            ax.containers[-1].lines[0].set_markerfacecolor("white")
        if own.group == "one task alone":
            ax.plot(at, [value.mean for value in values], color=own.color, linestyle=own.dash, linewidth=1)
    plots.level(ax, 0.5)
    ax.set(xlabel="angle between known and new fault, degrees", ylabel="AUROC", xticks=range(0, 91, 15))
    fig.legend(loc="outside lower center", ncols=3)
    return fig


def variety(
    angles, results: Mapping[int, Sequence[Interval]], fine, expected: Mapping[int, Sequence], typical
) -> Figure:
    """AUROC against the angle for several sizes of the known space: predicted lines, measured marks, arrows.

    Args:
        results: dimensions -> an interval for each of the angles.
        fine, expected: (m,) angles, and dimensions -> (m,) predicted AUROC.
        typical: dimensions -> angle and predicted AUROC of a typical random fault.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.4))
    for k, (m, values) in enumerate(results.items()):
        own = plots.look("", k)
        ax.plot(fine, expected[m], color=own.color, linestyle=own.dash)
        at = np.asarray(angles) + 0.8 * (k - (len(results) - 1) / 2)
        plots.whiskers(ax, at, values, f"m = {m}", k)
        if m in typical:
            angle, seen = typical[m]
            arrow = {"arrowstyle": "-|>", "color": own.color}
            place = {"xy": (angle, seen + 0.01), "xytext": (angle, seen + 0.1), "ha": "center"}
            ax.annotate("typical", **place, color=own.color, fontsize=8.5, arrowprops=arrow)
    plots.level(ax, 0.5)
    ax.set(xlabel="angle between new fault and known space, degrees", ylabel="AUROC", xticks=angles)
    ax.legend(title="trained on")
    return fig


def large_letters(titles: Mapping[str, str]) -> Figure:
    """Letters, or several side by side, drawn large in a frame, three in a row.

    Args:
        titles: text -> what stands above it.
    """
    rows = -(-len(titles) // 3)
    fig, axes = plt.subplots(rows, 3, figsize=(6.4, 1.6 * rows), squeeze=False)
    for ax, (text, title) in zip(axes.flat, titles.items(), strict=False):
        ax.text(0.5, 0.45, text, fontsize=50, ha="center", va="center")
        ax.set_title(title)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    return fig


def reliability(curves: Mapping[str, tuple]) -> Figure:
    """Share of anomalies against the probability, with the diagonal.

    Args:
        curves: name -> (bins,) mean probabilities, and (bins,) shares.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4))
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    for k, (name, (p, share)) in enumerate(curves.items()):
        own = plots.look(name, k)
        ax.plot(p, share, color=own.color, linestyle=own.dash, marker=own.marker, markersize=5, label=name)
    ax.set(xlabel="probability of an anomaly", ylabel="share of anomalies", aspect="equal")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig
