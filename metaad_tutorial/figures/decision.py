"""Figures of chapter 13: promises by machine, many machines at once, one machine in time, delays, the decision tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..metrics import Interval

NEUTRAL = ("#117733", "#999933", "#332288", "#7f7f7f")


def machines(kept: Mapping[str, np.ndarray], predicted: Mapping[str, np.ndarray], asked: float) -> Figure:
    """False alarm rate of each machine, sorted, one curve for each threshold; thin black curves: predicted.

    Args:
        kept: name of a threshold -> (T,) false alarm rates of the machines.
        predicted: some of these names -> (T,) the rates expected at the same ranks.
        asked: what was promised.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.3))
    for k, (name, rates) in enumerate(kept.items()):
        rank = (np.arange(len(rates)) + 0.5) / len(rates)
        if name in predicted:
            ax.plot(rank, np.sort(predicted[name]), color="black", linestyle="-", linewidth=1, zorder=3)
        style = {"color": NEUTRAL[k], "linestyle": plots.DASHES[k]}
        ax.plot(rank, np.sort(rates), linewidth=2.5, label=name, **style)
    plots.level(ax, asked, "promised", ":", "left")
    ax.set(xlabel="share of machines", ylabel="false alarm rate", ylim=(0, 0.4))
    ax.legend(title="threshold from", loc="upper left")
    return fig


def discoveries(shares: Sequence[float], rules: Mapping[str, tuple], asked: float) -> Figure:
    """Share of false ones among the alarms, and hits, over the share of faulty machines.

    Args:
        shares: (n,) shares of faulty machines, positive; rules: name -> n intervals of the one, n of the other.
        asked: false discovery rate asked for.
    """
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.8), sharex=True)
    for ax, part, title in zip(axes, (0, 1), ("false among the alarms", "faulty machines found"), strict=True):
        for k, (name, found) in enumerate(rules.items()):
            mean, low, high = np.transpose(found[part])
            style = {"color": NEUTRAL[k], "linestyle": plots.DASHES[k], "marker": plots.MARKS[k], "markersize": 5}
            ax.plot(shares, mean, label=name, **style)
            ax.fill_between(shares, low, high, color=NEUTRAL[k], alpha=0.18, linewidth=0)
        plots.counts_axis(ax, shares, "share of faulty machines")
        ax.set(title=title, ylim=(-0.03, 1.03))
    plots.level(axes[0], asked, "asked for", ":", "right")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def path(z: np.ndarray, watched: Mapping[str, np.ndarray], change: int) -> Figure:
    """One machine in time: its scores, and below several statistics in units of their thresholds.

    Args:
        z: (n,) scores; watched: name -> (n,) statistic / threshold; change: the step at which something changes.
    """
    fig, (ax, below) = plt.subplots(2, 1, figsize=(6.4, 4.2), sharex=True, height_ratios=(2, 3))
    steps = np.arange(len(z))
    ax.plot(steps, z, ".", color="#7f7f7f", markersize=3)
    ax.set(ylabel="score")
    for k, (name, values) in enumerate(watched.items()):
        below.plot(steps, values, color=NEUTRAL[k], linestyle=plots.DASHES[k], linewidth=1.8, label=name)
    plots.level(below, 1, "alarm", "-", "left")
    for part in (ax, below):
        part.axvline(change, color="black", linestyle=":", linewidth=1.2)
    below.set(xlabel="reading", ylabel="statistic / threshold", ylim=(-0.6, 3))
    below.legend(loc="upper left", bbox_to_anchor=(0, 0.95))
    return fig


def delays(rates: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[Interval]]]) -> Figure:
    """Readings until an alarm over the share of healthy machines with a false one; panels beside each other.

    Args:
        rates: (n,) positive; panels: title -> name of a watcher -> n intervals.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.8), sharey=True)
    for ax, (title, found) in zip(axes, panels.items(), strict=True):
        for k, (name, values) in enumerate(found.items()):
            mean, low, high = np.transpose(values)
            style = {"color": NEUTRAL[k], "linestyle": plots.DASHES[k], "marker": plots.MARKS[k], "markersize": 5}
            ax.plot(rates, mean, label=name, **style)
            ax.fill_between(rates, low, high, color=NEUTRAL[k], alpha=0.18, linewidth=0)
        plots.counts_axis(ax, rates, "machines with a false alarm")
        ax.set(title=title)
    axes[0].set(ylabel="readings to the alarm", ylim=(0, None))
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def tree(questions: tuple) -> Figure:
    """A decision tree as an outline, from top to bottom: questions, and in bold what to use.

    Args:
        questions: a question and what follows yes and no, each a tuple like this one or the text of a leaf.
    """
    rows = []

    def walk(node, depth: int, answer: str, parent: int) -> None:
        here = len(rows)
        rows.append((node if isinstance(node, str) else node[0], depth, answer, parent, isinstance(node, str)))
        if not isinstance(node, str):
            walk(node[1], depth + 1, "yes", here)
            walk(node[2], depth + 1, "no", here)

    walk(questions, 0, "", 0)
    fig, ax = plt.subplots(figsize=(6.4, 0.32 * len(rows) + 0.2))
    for i, (text, depth, answer, parent, final) in enumerate(rows):
        if depth:
            ax.plot(
                [depth - 0.8, depth - 0.8, depth - 0.15],
                [-parent - 0.35, -i, -i],
                color="#7f7f7f",
                linestyle="-",
                linewidth=1,
            )
        shown = f"{answer}: {text}" if answer else text
        ax.text(depth - 0.1 if depth else 0, -i, shown, va="center", weight="bold" if final else "normal")
    ax.set(xlim=(0, 11.5), ylim=(-len(rows) + 0.4, 0.6))
    ax.axis("off")
    return fig
