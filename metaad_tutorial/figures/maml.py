"""Figures of chapter 5: the landscape that MAML descends, steps at meta-test, a hidden layer before adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..evaluation import Evaluation


def _heights(ax: Axes, axis, loss) -> None:
    """Contours of the logarithm of a loss, the lower the paler."""
    height = np.log(loss)
    low, high = height.min(), height.max()
    ax.contourf(axis, axis, height, levels=24, cmap="Greys", vmin=low, vmax=2 * high - low)
    ax.contour(axis, axis, height, levels=24, colors="black", alpha=0.35, linewidths=0.6, linestyles="solid")
    ax.set(xlabel="weight ω", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))


def landscapes(axis, support_loss, query_loss, paths, slopes: Mapping[str, np.ndarray]) -> Figure:
    """Left, the support loss with inner loops; right, the query loss after them with directions of descent.

    Args:
        axis: (n,) weights and biases.
        support_loss, query_loss: (n, n), biases in rows.
        paths: (steps + 1, m, 2) of the inner loops.
        slopes: name of a gradient -> (m, 2) at the starts; drawn against it.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.8), sharey=True)
    _heights(left, axis, support_loss)
    _heights(right, axis, query_loss)
    left.plot(*np.moveaxis(paths, -1, 0), color="black", marker="o", markersize=3.5, linestyle="-")
    left.set(title="support loss, and inner loops", ylabel="bias b")
    right.set_title("query loss after the inner loop")
    for (name, slope), color, dash in zip(slopes.items(), plots.COLORS, plots.DASHES, strict=False):
        way = -1.3 * slope / np.linalg.norm(slope, axis=1, keepdims=True)
        for start, step in zip(paths[0], way, strict=True):
            arrow = {"arrowstyle": "->", "color": color, "linestyle": dash, "linewidth": 1.8, "shrinkA": 0}
            right.annotate("", xy=start + step, xytext=start, arrowprops=arrow)
        right.plot([], [], color=color, linestyle=dash, label=f"−gradient, {name}")
    right.scatter(*paths[0].T, color="black", s=18, zorder=5)
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return fig


def by_steps(steps: Sequence[int], results: Mapping[str, Sequence[Evaluation]], trained: int) -> Figure:
    """AUROC, on the left, and accuracy, on the right, against inner steps; a dotted line at those of training.

    Args:
        results: name of a method -> its figures at each of the steps.
    """
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.3), sharey=True)
    for ax, figure in zip(axes, ("auroc", "accuracy"), strict=True):
        for name, values in results.items():
            plots.curve(ax, steps, [result.interval(figure) for result in values], name)
        ax.axvline(trained, color="black", linestyle=":", linewidth=1)
        ax.set(xlabel="inner steps at meta-test", xticks=steps[::2])
        ax.set_title("AUROC" if figure == "auroc" else figure)
    axes[1].legend(loc="lower right")
    return fig


def hidden_layers(layers: Mapping[str, np.ndarray], digit, held_out: Sequence[int]) -> Figure:
    """All digits in a panel for each start: grey points for training digits, a marker for each one held out.

    Args:
        layers: title -> (n, 2) points.
        digit: (n,) what they are.
    """
    fig, axes = plt.subplots(1, len(layers), figsize=(6.4, 3.9), squeeze=False)
    for ax, (name, layer) in zip(axes[0], layers.items(), strict=True):
        known = ~np.isin(digit, held_out)
        ax.scatter(*layer[known].T, s=5, color="0.75", label="training digits", rasterized=True)
        for value, color, marker in zip(sorted(held_out), plots.COLORS, plots.MARKS, strict=False):
            own = layer[digit == value]
            ax.scatter(*own.T, s=20, marker=marker, facecolors="none", edgecolors=color, linewidths=0.8,
                       label=f"digit {value}", rasterized=True)  # fmt: skip
        ax.set(title=name, xlabel="first main axis")
    axes[0, 0].set_ylabel("second main axis")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig
