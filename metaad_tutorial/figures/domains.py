"""Figures of chapter 10: two speakers, false alarms, choices, how many domains, scripts held out, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..metrics import Interval


def strips(panels: Mapping[str, tuple]) -> Figure:
    """Scores of normal points and of anomalies in two strips, threshold 0; panels beside each other.

    Args:
        panels: title -> scores (n,) and labels (n,).
    """
    jitter = np.random.default_rng(0)
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 2.6), sharex=True, sharey=True)
    for ax, (title, (scores, y)) in zip(axes, panels.items(), strict=True):
        height = y + jitter.uniform(-0.3, 0.3, len(y))
        plots.points(ax, np.c_[scores, height], y)
        ax.axvline(0, color="black", linestyle="--", linewidth=1.2)
        ax.set(yticks=[0, 1], yticklabels=["normal", "anomaly"], ylim=(-0.5, 1.5), xlabel="score", title=title)
    return fig


def alarms(
    shots: Sequence[int], measured: Sequence[Interval], fine, predicted, machines: Mapping[str, tuple], *,
    raw: float, asked: float,
) -> Figure:  # fmt: skip
    """False alarms over the points used for centring; beside them the alarms of each machine, from few to many.

    Args:
        shots, measured: (n,); fine, predicted: (m,), the curve.
        machines: name -> alarms of the machines (T,), and predicted ones at the same ranks (T,), of one threshold.
        raw: without centring; asked: what the threshold was set for.
    """
    fig, (ax, beside) = plt.subplots(1, 2, figsize=(6.4, 3.4))
    ax.plot(fine, predicted, color="black", label="predicted")
    mean, low, high = np.transpose(measured)
    ax.errorbar(shots, mean, [mean - low, high - mean], fmt="o", color=plots.COLORS[1], capsize=4, label="measured")
    plots.level(ax, raw, "not centred", "--", "right")
    plots.level(ax, asked, "asked for", ":", "right", "top")
    ax.set(ylim=(0.02, 0.3), ylabel="mean false alarm rate", title="threshold of the middle")
    plots.counts_axis(ax, shots, "own normal points")
    for k, (name, (found, expected)) in enumerate(machines.items(), 1):
        rank = (np.arange(len(found)) + 0.5) / len(found)
        beside.plot(rank, expected, color="black", linewidth=1)
        beside.plot(rank, np.sort(found), color=plots.COLORS[k], linestyle=plots.DASHES[k], linewidth=2.5, label=name)
    plots.level(beside, asked, "asked for", ":", "left")
    beside.set(xlabel="share of machines", ylabel="false alarm rate", title="threshold of many machines")
    for part in (ax, beside):
        part.legend(loc="center" if part is ax else "upper left")
    return fig


def choices(panels: Mapping[str, tuple]) -> Figure:
    """AUROC over a setting as several judges see it; panels beside each other.

    Args:
        panels: title -> settings (n,), name of the setting, ticks to show, and judge -> (n,).
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.6), sharey=True)
    for ax, (title, (settings, name, ticks, judges)) in zip(axes, panels.items(), strict=True):
        for k, (judge, values) in enumerate(judges.items()):
            ax.plot(settings, values, color=plots.COLORS[k], linestyle=plots.DASHES[k], marker=plots.MARKS[k],
                    label=judge)  # fmt: skip
        plots.counts_axis(ax, ticks, name)
        ax.set(title=title)
    axes[0].set_ylabel("AUROC")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def many(sizes: Sequence[int], found: Mapping[str, Sequence[Interval]], unit: str) -> Figure:
    """AUROC over the number of training domains; a method with one value for all sizes is a level.

    Args:
        sizes: (n,); found: name -> n intervals; unit: what a domain is, in the plural.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for name, values in found.items():
        plots.curve(ax, sizes, values, name)
    plots.counts_axis(ax, sizes, f"training {unit}")
    ax.set_ylabel("AUROC")
    ax.legend()
    return fig


def held_out(results: Mapping[str, Mapping[str, Interval]], unit: str) -> Figure:
    """AUROC of several methods on each domain that was held out, side by side; batch methods are hollow.

    Args:
        results: domain -> name of a method -> its figure.
        unit: what a domain is.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4))
    methods = list(next(iter(results.values())))
    middle = (len(methods) - 1) / 2
    for k, method in enumerate(methods):
        at = np.arange(len(results)) + 0.12 * (k - middle)
        before = len(ax.lines)
        plots.whiskers(ax, at, [found[method] for found in results.values()], method)
        if "batch" in method:
            ax.lines[before].set_markerfacecolor("white")
    ax.set_xticks(range(len(results)), results)
    ax.set(xlabel=f"{unit} held out", ylabel="AUROC")
    ax.grid(axis="y", alpha=0.3)
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def crowds(shares, panels: Mapping[str, Mapping[str, Sequence[Interval]]], breaks: Mapping[str, float]) -> Figure:
    """AUROC over the share of anomalies in a batch, panels beside each other; lines in the first where all must break.

    Args:
        shares: (n,); panels: title -> name -> n intervals; breaks: how a share is written -> the share.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 4.2), sharey=True)
    for ax, (title, found) in zip(axes, panels.items(), strict=True):
        for name, values in found.items():
            plots.curve(ax, shares, values, name)
        plots.level(ax, 0.5)
        ax.set(xlabel="share of anomalies", title=title, ylim=(0, 1.03))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    for text, share in breaks.items():
        axes[0].axvline(share, color="black", linestyle=":", linewidth=1)
        axes[0].annotate(text, (share, 0.97), xytext=(-2, 0), textcoords="offset points", ha="right")
    axes[0].set_ylabel("AUROC")
    return fig
