"""Figures of chapter 10: two speakers, false alarms of a moved domain, scripts held out, batches that break down."""

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


def alarms(shots: Sequence[int], measured: Sequence[Interval], fine, predicted, *, raw: float, asked: float) -> Figure:
    """False alarms over the number of points used for centring: measured, predicted, and two rates as lines.

    Args:
        shots, measured: (n,); fine, predicted: (m,), the curve.
        raw: without centring; asked: what the threshold was set for.
    """
    fig, ax = plt.subplots()
    ax.plot(fine, predicted, color="black", label="predicted")
    mean, low, high = np.transpose(measured)
    ax.errorbar(shots, mean, [mean - low, high - mean], fmt="o", color=plots.COLORS[1], capsize=4, label="measured")
    plots.level(ax, raw, "not centred", "--", "right")
    plots.level(ax, asked, "asked for", ":", "right", "top")
    ax.set(ylim=(0.02, 0.3), ylabel="false alarm rate")
    plots.counts_axis(ax, shots, "normal points of the new machine")
    ax.legend()
    return fig


def breakdown(shares, curves: Mapping[str, Sequence[float]], at, measured: Mapping[str, Sequence[Interval]]) -> Figure:
    """AUROC over the share of anomalies in a batch, predicted and measured, with lines at one half.

    Args:
        shares: (m,); curves: name -> (m,); at: (n,); measured: name -> n intervals, in the same order.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4))
    for k, (name, values) in enumerate(curves.items()):
        own = plots.look(name, k)
        ax.plot(shares, values, color=own.color, linestyle=own.dash)
        plots.whiskers(ax, at, measured[name], name, k)
    plots.level(ax, 0.5)
    ax.axvline(0.5, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel="share of anomalies in the batch", ylabel="AUROC")
    ax.legend()
    return fig


def held_out(results: Mapping[str, Mapping[str, Interval]], unit: str) -> Figure:
    """AUROC of several methods on each domain that was held out, side by side.

    Args:
        results: domain -> name of a method -> its figure.
        unit: what a domain is.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4))
    methods = list(next(iter(results.values())))
    middle = (len(methods) - 1) / 2
    for k, method in enumerate(methods):
        at = np.arange(len(results)) + 0.14 * (k - middle)
        plots.whiskers(ax, at, [found[method] for found in results.values()], method)
    ax.set_xticks(range(len(results)), results)
    ax.set(xlabel=f"{unit} held out", ylabel="AUROC")
    ax.grid(axis="y", alpha=0.3)
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def crowds(shares, found: Mapping[str, Sequence[Interval]], breaks: Mapping[str, float]) -> Figure:
    """AUROC over the share of anomalies in a batch for several kinds of crowds; lines where a batch method must break.

    Args:
        shares: (n,); found: name -> n intervals; breaks: how a share is written -> the share.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4))
    for name, values in found.items():
        plots.curve(ax, shares, values, name)
    for text, share in breaks.items():
        ax.axvline(share, color="black", linestyle=":", linewidth=1)
        ax.annotate(text, (share, 0.97), xytext=(-2, 0), textcoords="offset points", ha="right")
    plots.level(ax, 0.5)
    ax.set(xlabel="share of anomalies in the batch", ylabel="AUROC", ylim=(0, 1.03))
    ax.legend(loc="lower left")
    return fig
