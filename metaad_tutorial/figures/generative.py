"""Figures of chapter 9: known and new faults of a machine, what each detector trades, virtual anomalies."""

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


def tradeoff(best, shares: Mapping[float, Sequence], others: Mapping[str, Sequence]) -> Figure:
    """AUROC for new faults over that for known ones: the best curve, MetaAAE at several shares, other methods.

    Args:
        best: (n, 2) points of the curve.
        shares: kappa -> AUROC of each machine for known and for new faults; others: name -> the same.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.6))
    ax.plot(*np.transpose(best), color="black", linewidth=1.4, label="best for this hedge")
    for k, (kappa, pair) in enumerate(shares.items()):
        known, new = _cross(ax, pair, "MetaAAE, share κ", named=k == 0)
        ax.annotate(f"κ={kappa:g}", (known.mean, new.mean), xytext=(6, 5), textcoords="offset points", fontsize=9)
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


def variety(kinds: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[Interval]]], limit: float) -> Figure:
    """AUROC over the number of kinds of known faults, a panel for known and one for new faults, with a limit there.

    Args:
        kinds: (n,); panels: label of the axis -> name of a method -> n intervals; limit: of the last panel.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.4), sharey=True)
    for ax, (label, methods) in zip(axes, panels.items(), strict=True):
        for name, values in methods.items():
            plots.curve(ax, kinds, values, name)
        ax.set(title=label)
        plots.counts_axis(ax, kinds, "dimensions of known faults")
    plots.level(axes[-1], limit, "limit", ":", "right")
    axes[0].set_ylabel("AUROC")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def virtual(support, made: Mapping[str, Sequence], size: float) -> Figure:
    """Support points and virtual anomalies, along and across the known fault; a panel for each generator.

    Args:
        support: along (n,) and across (n,); made: title -> the same; size: of the known fault.
    """
    fig, axes = plt.subplots(1, len(made), figsize=(6.4, 3.2), sharex=True, sharey=True)
    for ax, (name, spots) in zip(axes, made.items(), strict=True):
        plots.points(ax, np.transpose(support), np.zeros(len(support[0])))
        plots.points(ax, np.transpose(spots), np.ones(len(spots[0])))
        ax.axvline(size, color="black", linestyle="--", linewidth=1)
        ax.set(title=name, xlabel="along the known fault")
    axes[0].set_ylabel("across it")
    handles = axes[0].get_legend_handles_labels()[0]
    fig.legend(handles, ["support point", "virtual anomaly"], loc="outside lower center", ncols=2)
    return fig
