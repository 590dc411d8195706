"""Figures of chapter 8: scores of the plane, the discriminator's optimum, letters redrawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots


def planes(scores: Mapping[str, tuple[Callable, float]], extent: Sequence[float], normal) -> Figure:
    """Four scores of the same plane, two by two, each with its threshold, over normal points.

    Args:
        scores: title -> score, (m, 2) array -> (m,), and its threshold.
        extent: x0, x1, y0, y1.
        normal: (n, 2) points.
    """
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 5.6), sharex=True, sharey=True)
    for ax, (name, (score, threshold)) in zip(axes.flat, scores.items(), strict=True):
        plots.field(ax, score, extent, threshold=threshold)
        plots.points(ax, normal, np.zeros(len(normal)))
        ax.set(title=name, xlabel="feature 1", ylabel="feature 2")
        ax.label_outer()
    return fig


def discriminator(x, normal, virtual, trained, formula) -> Figure:
    """A trained discriminator and the formula of the best, over the densities of normal and of virtual points.

    Args:
        x: (n,) where all the others, (n,) too, are known.
    """
    fig, ax = plt.subplots()
    ax.fill_between(x, normal, color=plots.NORMAL, alpha=0.25, label="normal points")
    look = {"facecolor": plots.ANOMALY, "edgecolor": "black", "linewidth": 0, "alpha": 0.25, "hatch": "//"}
    ax.fill_between(x, virtual, label="virtual points", **look)
    ax.plot(x, trained, "-", color=plots.COLORS[3], linewidth=4, label="trained C")
    ax.plot(x, formula, "--", color=plots.COLORS[0], label="formula")
    ax.set(xlabel="x", ylabel="C(x), or density", ylim=(0, 1))
    ax.legend()
    return fig


def redrawn(pictures, labels, drawn, errors) -> Figure:
    """Images in a row, framed by label, and below each what the autoencoder makes of it, with its error.

    Args:
        pictures, drawn: (n, h, w).
        labels, errors: (n,).
    """
    fig, axes = plt.subplots(2, len(pictures), figsize=(6.4, 2.1))
    plots.images(axes[0], pictures, labels=labels, name="image")
    plots.images(axes[1], drawn, labels=labels, name="redrawn")
    for ax, error in zip(axes[1], errors, strict=True):
        ax.set_xlabel(f"{error:.0f}")
    return fig
