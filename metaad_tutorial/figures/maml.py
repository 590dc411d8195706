"""The figure of chapter 5: the landscape that MAML descends."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots


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
