"""Figures of chapter 8: scores of a plane, the discriminator's optimum, the game, codes, tables, letters redrawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..metrics import interval


def planes(scores: Mapping[str, tuple[Callable, float]], extent: Sequence[float], points, labels) -> Figure:
    """Four scores of the same plane, two by two, each with its threshold, over points.

    Args:
        scores: title -> score, (m, 2) array -> (m,), and its threshold.
        extent: x0, x1, y0, y1.
        points: (n, 2); labels: (n,).
    """
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 5.6), sharex=True, sharey=True)
    for ax, (name, (score, threshold)) in zip(axes.flat, scores.items(), strict=True):
        plots.field(ax, score, extent, threshold=threshold)
        plots.points(ax, points, labels)
        ax.set(title=name, xlabel="place 1", ylabel="place 2")
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


def starts(rounds: Sequence[int], losses, by_C, by_error) -> Figure:
    """The literal game from many starts: its two losses beside their equilibrium, and the AUROC of C, a line each.

    Args:
        rounds: (R,) when it was looked at.
        losses: (R, 2) means over the starts, of the discriminator and of the generator.
        by_C: (R, T); by_error: (R,) a mean.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.4))
    names = (r"$\mathcal{L}_{dis}$", r"$2\,\log\,2$"), (r"$\mathcal{L}_{adv}$", r"$\log\,2$")
    for k, ((name, limit), values) in enumerate(zip(names, np.transpose(losses), strict=True)):
        own = {"color": plots.COLORS[k], "linestyle": plots.DASHES[k], "marker": plots.MARKS[k], "markersize": 5}
        left.plot(rounds, values, label=name, **own)
        plots.level(left, (2 - k) * np.log(2), limit, ha="right")
    left.set(ylim=(0, 1.1 * max(np.max(losses), 2 * np.log(2))), ylabel="loss")
    left.legend(loc="lower left")
    by_C = np.asarray(by_C)
    right.plot(rounds, by_C, color=plots.COLORS[4], linestyle="-", linewidth=0.7, alpha=0.8)
    right.lines[0].set_label("C, one start each")
    own = plots.look("AAE")
    right.plot(rounds, by_error, color=own.color, linestyle=own.dash, marker=own.marker, label="error, mean")
    plots.level(right, 0.5, ha="right")
    right.set(ylim=(0, 1.22), yticks=np.linspace(0, 1, 6), ylabel="AUROC")
    right.legend(loc="upper left", ncols=2, columnspacing=0.8)
    for ax in (left, right):
        plots.counts_axis(ax, rounds[::2], "rounds of the game")
    return fig


def codes(normal, noisy, logit: Callable, reach: float) -> Figure:
    """Two-dimensional codes and the same with noise beside what C makes of such codes.

    Args:
        normal, noisy: (n, 2) codes.
        logit: (m, 2) codes -> (m,).
        reach: how far the axes go in all directions.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.4), sharey=True)
    plots.points(left, noisy, np.ones(len(noisy)))
    plots.points(left, normal, np.zeros(len(normal)))
    extent = (-reach, reach, -reach, reach)
    plots.field(right, logit, extent)
    left.set(xlim=extent[:2], ylim=extent[2:], ylabel="code 2, standardised", title="codes, and with noise")
    right.set(title="logit of C")
    for ax in (left, right):
        ax.set(xlabel="code 1, standardised")
    return fig


def beside(figures: Mapping[str, np.ndarray], reference: str) -> Figure:
    """Differences to one method, paired by unit, with intervals over units; the method itself is a line at 0.

    Args:
        figures: name of a method -> (U,) AUROC by unit.
        reference: one of the names.
    """
    gaps = {name: interval(values - figures[reference]) for name, values in figures.items() if name != reference}
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    plots.intervals(ax, gaps, ceiling=0, ceiling_label=reference, xlabel=f"AUROC less that of the {reference}")
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
