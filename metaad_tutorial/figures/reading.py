"""Figures of chapter 12: two ways to replace a column, hits over a shared load, a learnt rule, heat maps of letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..metrics import Interval
from ..reading_plots import heat_map


def replaced(point, covariance, panels: Mapping[str, np.ndarray]) -> Figure:
    """A reading of two sensors among ellipses of equal score, and where it goes as each column is replaced.

    Args:
        point: (2,) deviation from the normal mean; covariance: (2, 2).
        panels: title -> (2,) values that replace the two columns.
    """
    angle = np.linspace(0, 2 * np.pi, 200)
    ring = np.linalg.cholesky(covariance) @ np.stack([np.cos(angle), np.sin(angle)])
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.4), sharex=True, sharey=True)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        for radius in (1, 2, 3):
            ax.plot(*(radius * ring), color=plots.NORMAL, linestyle="-", linewidth=1)
        for j, mark in enumerate("sv"):
            end = np.where(np.arange(2) == j, values, point)
            ax.annotate("", end, point, arrowprops={"arrowstyle": "->", "shrinkA": 6, "shrinkB": 6})
            ax.plot(*end, mark, color="black", markersize=7, label=f"sensor {j + 1} replaced")
        ax.plot(*point, "^", color=plots.ANOMALY, markersize=9, label="reading")
        ax.set(title=title, xlabel="sensor 1", ylabel="sensor 2", aspect="equal")
        ax.label_outer()
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def sweep(loads: Sequence[float], found: Mapping[str, Sequence[Interval]], limit: float, chance: float) -> Figure:
    """Share of readings whose largest part is that of the faulty sensor, over what the sensors share.

    Args:
        loads: (n,); found: way of reading -> n intervals.
        limit: without any load; chance: of a guess.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.8))
    for name, values in found.items():
        plots.curve(ax, loads, values, name)
    plots.level(ax, limit, "computed for no load", "--", "right")
    plots.level(ax, chance, "chance")
    ax.set(xlabel="share of each sensor's variance that is load", ylabel="hit rate of the top sensor", ylim=(0, 0.9))
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def trusted(columns: Mapping[str, Sequence[float]], failing: Sequence[int]) -> Figure:
    """Numbers of each sensor as bars, panels beside each other; sensors that fail are orange and hatched.

    Args:
        columns: title -> (d,) numbers; failing: the sensors that fail, from 0.
    """
    fig, axes = plt.subplots(1, len(columns), figsize=(6.4, 3.0))
    for ax, (title, values) in zip(axes, columns.items(), strict=True):
        for j, value in enumerate(values):
            fails = j in failing
            ax.bar(j + 1, value, color=plots.ANOMALY if fails else plots.COLORS[3], hatch="///" if fails else "")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(title=title, xlabel="sensor", xticks=range(1, len(values) + 1))
    return fig


def maps(rows: Sequence[tuple], groups: Sequence) -> Figure:
    """Damaged images, how several scores see their patches, and the nearest normal drawing; one row each.

    Args:
        rows: image (h, w), number of the damaged patch, name of a score -> (G,) parts, nearest drawing (h, w).
        groups: pixel numbers of the patches.
    """
    names = list(rows[0][2])
    fig, axes = plt.subplots(len(rows), len(names) + 2, figsize=(6.4, 1.3 * len(rows) + 0.1), squeeze=False)
    for line, (image, patch, parts, nearest) in zip(axes, rows, strict=True):
        plots.images(line[:1], [image], titles=["damaged"])
        for ax, name in zip(line[1:-1], names, strict=True):
            heat_map(ax, image, parts[name], groups, box=groups[patch])
            ax.set_title(name, fontsize=9)
        plots.images(line[-1:], [nearest], titles=["nearest normal"])
    return fig
