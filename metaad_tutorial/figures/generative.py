"""Figures of chapter 9: known and new faults of a machine, what each detector trades, invented anomalies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..metrics import Interval, interval


def machine(scores: Mapping[str, Callable], support, known, new) -> Figure:
    """Scores of one machine with two sensors beside each other, threshold 0: support points, known and new faults.

    Args:
        scores: title -> (m, 2) array -> (m,) scores.
        support, known, new: (n, 2) each.
    """
    everything = np.concatenate([support, known, new])
    (x0, y0), (x1, y1) = everything.min(0) - 0.7, everything.max(0) + 0.7
    fig, axes = plt.subplots(1, len(scores), figsize=(6.4, 4.2), sharex=True, sharey=True)
    for ax, (name, score) in zip(axes, scores.items(), strict=True):
        plots.field(ax, score, (x0, x1, y0, y1), threshold=0)
        plots.points(ax, support, np.zeros(len(support)))
        for marker, faults, kind in (("^", known, "known fault"), ("s", new, "new fault")):
            ax.scatter(
                *np.asarray(faults).T, marker=marker, s=36, facecolors="none", edgecolors=plots.ANOMALY, label=kind
            )
        ax.set(title=name, xlabel="sensor 1")
    axes[0].set_ylabel("sensor 2")
    handles = axes[0].get_legend_handles_labels()[0]
    fig.legend(handles, ["support point", "known fault", "new fault"], loc="outside lower center", ncols=3)
    return fig


def tradeoff(best, shares: Mapping[float, Sequence], others: Mapping[str, Sequence], who: str) -> Figure:
    """AUROC for new faults over that for known ones: the best curve, one method at several shares, other methods.

    Args:
        best: (n, 2) points of the curve.
        shares: kappa -> AUROC of each machine for known and for new faults, of the method `who`.
        others: name -> the same.
        who: the method with a share.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.4))
    ax.plot(*np.transpose(best), color="black", linewidth=1.4, label="who knows the fleet")
    for k, (kappa, pair) in enumerate(shares.items()):
        known, new = _cross(ax, pair, who, named=k == 0)
        ax.annotate(f"κ={kappa:g}", (known.mean, new.mean), xytext=(-4, -13), textcoords="offset points", fontsize=9,
                    ha="right")  # fmt: skip
    for name, pair in others.items():
        known, new = _cross(ax, pair, name)
        ax.annotate(name, (known.low, new.mean), xytext=(-4, 0), textcoords="offset points", ha="right", va="center",
                    fontsize=9)  # fmt: skip
    ax.set(xlabel="AUROC, known faults", ylabel="AUROC, new faults", xlim=(ax.get_xlim()[0] - 0.07, None))
    ax.legend(loc="lower left")
    return fig


def _cross(ax: Axes, pair: Sequence, name: str, named: bool = False) -> list[Interval]:
    """Draw the means of a pair of samples with both intervals, in a method's look, and return them."""
    known, new = found = [interval(values) for values in pair]
    x, y = ([[value.mean - value.low], [value.high - value.mean]] for value in found)
    own, label = plots.look(name), name if named else None
    ax.errorbar(known.mean, new.mean, xerr=x, yerr=y, fmt=own.marker, color=own.color, capsize=2, label=label)
    return found


def beside(normal, clouds: Mapping[str, np.ndarray], radius: float) -> Figure:
    """Normal points and, a panel for each, points that are or stand for anomalies, with a dashed circle.

    Args:
        normal: (n, 2); clouds: title -> (m, 2); radius: of the circle, the size of a fault.
    """
    fig, axes = plt.subplots(1, len(clouds), figsize=(6.4, 2.9), sharex=True, sharey=True)
    for ax, (title, cloud) in zip(axes, clouds.items(), strict=True):
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, color="black", linestyle="--", linewidth=1))
        plots.points(ax, cloud, np.ones(len(cloud)))
        plots.points(ax, normal, np.zeros(len(normal)))
        ax.set(title=title, aspect="equal", xlabel="along the known fault")
    axes[0].set_ylabel("across it")
    return fig


def kinds(shares: Sequence[float], worlds: Mapping[str, Mapping[str, Sequence[Interval]]]) -> Figure:
    """AUROC over the share kappa, a panel for each world, a band for each kind of fault: new, held out, known.

    Args:
        shares: (n,); worlds: title -> name of a curve -> n intervals.
    """
    fig, axes = plt.subplots(1, len(worlds), figsize=(6.4, 3.4), sharey=True)
    for ax, (title, curves) in zip(axes, worlds.items(), strict=True):
        for (name, values), color, dash, marker in zip(
            curves.items(), plots.COLORS, ("-", "--", ":"), "osD", strict=False
        ):
            low, high = ([value[i] for value in values] for i in (1, 2))
            ax.fill_between(shares, low, high, color=color, alpha=0.15, linewidth=0)
            ax.plot(
                shares, [v.mean for v in values], color=color, linestyle=dash, marker=marker, markersize=4, label=name
            )
        ax.set(title=title, xlabel="share κ of the unknown")
    axes[0].set_ylabel("AUROC")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def ways(normal, made: Mapping[str, np.ndarray]) -> Figure:
    """Normal rows with two columns and, a panel for each way, the anomalies made of them.

    Args:
        normal: (n, 2); made: name of the way -> (m, 2).
    """
    fig, axes = plt.subplots(1, len(made), figsize=(6.4, 2.7), sharex=True, sharey=True)
    for ax, (name, cloud) in zip(axes, made.items(), strict=True):
        plots.points(ax, normal, np.zeros(len(normal)))
        plots.points(ax, cloud, np.ones(len(cloud)))
        ax.set(title=name, xlabel="column 1")
    axes[0].set_ylabel("column 2")
    handles = axes[0].get_legend_handles_labels()[0]
    fig.legend(handles, ["normal row", "invented anomaly"], loc="outside lower center", ncols=2)
    return fig
