"""Figures of chapter 6: starts in the plane, turned faults, several known kinds, letters and their nuisances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..episodes import Episodes
from ..metrics import Interval
from .aadml import over_planes


def planes(scores: Mapping[str, Callable], task: Episodes) -> Figure:
    """Scores of the plane with threshold 0, two in a row, over the support points and the hollow queries of one task.

    Args:
        scores: title -> (m, 2) array -> (m,) scores.
        task: one task with two features.
    """
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 5.6), sharex=True, sharey=True)
    marks = over_planes(axes.flat, scores, task)
    fig.legend(marks, ["query, normal", "query, anomaly", "support, normal"], loc="outside lower center", ncols=3)
    return fig


def turned(
    points: Mapping[str, np.ndarray], centres: np.ndarray, results: Mapping[str, tuple], fine: Sequence[float],
    predicted: Sequence[float],
) -> Figure:  # fmt: skip
    """A turned fault beside a known one, and AUROC against the angle: the prediction as a line, methods as marks.

    Args:
        points: name -> (n, 2), normal points first, then the known and the turned fault.
        centres: (3, 2) their centres, to which arrows lead.
        results: name of a method -> its angles and an interval for each; hollow if it was shown faults.
        fine, predicted: (m,) angles and AUROC.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 4.2), width_ratios=(1, 1.35))
    looks = (("o", plots.NORMAL, True), ("^", plots.ANOMALY, True), ("s", plots.ANOMALY, False))
    for (name, own), centre, (marker, color, filled) in zip(points.items(), centres, looks, strict=True):
        face = color if filled else "none"
        left.scatter(*own.T, marker=marker, s=16, facecolors=face, edgecolors=color, label=name, alpha=0.8)
        if np.any(centre):
            arrow = {"arrowstyle": "-|>", "color": "black", "lw": 1.6, "shrinkA": 0}
            left.annotate("", centre, (0, 0), arrowprops=arrow)
    left.axvline(centres[1, 0] / 2, color="black", linestyle="--", linewidth=1.4)
    left.set(xlabel="along the known direction", ylabel="at right angles to it", aspect="equal")
    right.plot(fine, predicted, color="black", linestyle="-", label="predicted")
    for k, (name, (angles, values)) in enumerate(results.items()):
        own = plots.look(name, k)
        at = np.asarray(angles) + 0.9 * (k - (len(results) - 1) / 2)
        plots.whiskers(right, at, values, name)
        if "fault" in name:
            right.containers[-1].lines[0].set_markerfacecolor("white")
        if own.group == "one task alone":
            right.plot(at, [value.mean for value in values], color=own.color, linestyle=own.dash, linewidth=1)
    plots.level(right, 0.5)
    right.set(xlabel="angle of the new fault, degrees", ylabel="AUROC", xticks=range(0, 91, 15))
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return fig


def variety(angles, results: Mapping[int, Sequence[Interval]], lines: Mapping[int, tuple]) -> Figure:
    """AUROC against the angle for several sizes of the known space: measured marks and lines.

    Args:
        angles: of the marks.
        results: dimensions -> an interval for each of the angles.
        lines: dimensions -> angles and AUROC of a line.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.2))
    for k, (m, values) in enumerate(results.items()):
        own = plots.look("", k)
        ax.plot(*lines[m], color=own.color, linestyle=own.dash)
        at = np.asarray(angles) + 0.8 * (k - (len(results) - 1) / 2)
        plots.whiskers(ax, at, values, f"m = {m}", k)
    plots.level(ax, 0.5)
    ax.set(xlabel="angle between new fault and known space, degrees", ylabel="AUROC", xticks=angles)
    ax.legend(title="known directions")
    return fig


def novelties(shots: Sequence[int], by_shots: Mapping, jitters: Sequence[float], by_jitter: Mapping) -> Figure:
    """AUROC of methods against the number of normal images, and against the jitter of the images.

    Args:
        shots, jitters: of the marks of the two panels.
        by_shots, by_jitter: name of a method -> an interval for each of them.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.9), sharey=True)
    for name, values in by_shots.items():
        plots.curve(left, shots, values, name)
    for name, values in by_jitter.items():
        plots.curve(right, jitters, values, name)
        if name not in by_shots:
            right.lines[-1].set_markerfacecolor("white")
    plots.counts_axis(left, shots, "normal images of the letter")
    left.set(ylabel="AUROC on unseen scripts")
    right.set(xlabel="jitter of the images (training: 1)", xticks=jitters)
    plots.level(right, 0.5)
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig
