"""Figures of chapter 11: fields before and after five labels, kept promises, gains by field, false alarms over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..metrics import Interval


def before_after(
    fields: Mapping[str, Sequence[tuple[float, float]]], labels: tuple[str, str], means: tuple[Interval, Interval],
) -> Figure:  # fmt: skip
    """AUROC of each group of tables twice, a line between; a row for each group, the fields beneath each other.

    Args:
        fields: field -> its groups' figures, before and after.
        labels: what before and after are.
        means: of all groups, drawn at the bottom.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4.6))
    rows = [(name, pair) for name, pairs in fields.items() for pair in pairs]
    values = np.array([pair for _, pair in rows])  # (groups, 2)
    height = -np.arange(len(rows), dtype=float)
    ax.hlines(height, values.min(1), values.max(1), color="0.6", linewidth=1.2)
    for k, face in enumerate(("white", plots.COLORS[1])):
        ax.scatter(values[:, k], height, s=24, marker="os"[k], facecolors=face, edgecolors=plots.COLORS[k],
                   zorder=3, label=labels[k])  # fmt: skip
    bottom, names = height[-1] - 1.6, [name for name, _ in rows]
    for k, found in enumerate(means):
        error = [[found.mean - found.low], [found.high - found.mean]]
        ax.errorbar(found.mean, bottom - k, xerr=error, fmt="os"[k], color=plots.COLORS[k], capsize=3, markersize=5,
                    markerfacecolor=("white", plots.COLORS[1])[k])  # fmt: skip
    middle = {name: float(np.mean([h for own, h in zip(names, height, strict=True) if own == name])) for name in fields}
    for name in list(fields)[1::2]:
        own = [h for found, h in zip(names, height, strict=True) if found == name]
        ax.axhspan(min(own) - 0.5, max(own) + 0.5, color="black", alpha=0.05, linewidth=0)
    ax.set_yticks([*middle.values(), bottom - 0.5], [*middle, "mean of all"], fontsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.axvline(0.5, color="black", linestyle=":", linewidth=1.2)
    ax.set(xlabel="AUROC", ylim=(bottom - 1.8, 0.8))
    ax.grid(axis="x", alpha=0.3)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def kept(found: Mapping[str, Interval], promised: float) -> Figure:
    """Share of new normal points that each column calls rarer than promised, and the promise as a line.

    Args:
        found: column -> its share with an interval; promised: what every share should be.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.3))
    rows = np.arange(len(found))[::-1]
    mean, low, high = np.array(list(found.values())).T
    held = (low <= promised) & (promised <= high)
    for own, marker, color in ((held, "o", plots.COLORS[0]), (~held, "s", plots.COLORS[4])):
        if own.any():
            ax.errorbar(mean[own], rows[own], xerr=[(mean - low)[own], (high - mean)[own]], fmt=marker, color=color,
                        capsize=3)  # fmt: skip
    ax.axvline(promised, color="black", linestyle="--", linewidth=1.2)
    ax.annotate("promised", (promised, 1), xycoords=("data", "axes fraction"), xytext=(3, 2),
                textcoords="offset points", fontsize=8.5)  # fmt: skip
    ax.set_yticks(rows, list(found))
    ax.set(xlabel="share of new normal points", xlim=(0, None))
    ax.grid(axis="x", alpha=0.3)
    return fig


def gains(panels: Mapping[str, tuple[Mapping[str, Sequence[float]], Interval]]) -> Figure:
    """Differences of AUROC, a dot for each group in the row of its field, their mean at the bottom.

    Args:
        panels: title -> field -> the differences of its groups; and their mean with its interval.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 4.2), sharex=True, sharey=True)
    for ax, (title, (fields, mean)) in zip(axes, panels.items(), strict=True):
        for row, values in enumerate(fields.values()):
            ax.plot(values, np.full(len(values), -row), "o", color=plots.COLORS[1], markersize=4, alpha=0.8)
        row = -len(fields) - 0.4
        error = [[mean.mean - mean.low], [mean.high - mean.mean]]
        ax.errorbar(mean.mean, row, xerr=error, fmt="s", color=plots.COLORS[0], capsize=3)
        ax.axvline(0, color="black", linestyle=":", linewidth=1.2)
        ax.set(title=title, xlabel="difference of AUROC")
        ax.grid(axis="x", alpha=0.3)
    axes[0].set_yticks([*-np.arange(len(fields)), row], [*fields, "mean of all"], fontsize=8.5)
    return fig


def in_time(
    lags: Sequence[int], measured: Sequence[Interval], fine: Sequence[float], predicted: Sequence[float],
    periods: Sequence[int], again: Sequence[Interval], expected: Sequence[float], asked: float,
) -> Figure:  # fmt: skip
    """False alarms over the age of the support set; beside them those of a detector that is adapted again and again.

    Args:
        lags, measured: (n,); fine, predicted: (m,) the curve.
        periods, again, expected: (k,) readings between two adaptations, what was measured and what predicted.
        asked: the rate that the threshold was set for.
    """
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharey=True)
    parts = (lags, measured, fine, predicted), (periods, again, periods, expected)
    for ax, (at, found, curve_at, curve) in zip(axes, parts, strict=True):
        mean, low, high = np.transpose(found)
        ax.plot(curve_at, curve, color="black", label="predicted")
        ax.errorbar(at, mean, [mean - low, high - mean], fmt="o", color=plots.COLORS[1], capsize=3, label="measured")
        plots.level(ax, asked, "asked for", ":", "right", "top")
    plots.counts_axis(axes[1], periods, "readings between adaptations")
    axes[0].set(
        xlabel="readings since the support set", ylabel="false alarm rate", title="adapted once", ylim=(0, None)
    )
    axes[1].set_title("adapted again")
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 0.25))
    return fig
