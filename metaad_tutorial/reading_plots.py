"""Pictures of a score taken apart: bars for columns, a heat map for images (chapter 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .looks import ANOMALY, COLORS


def taken_apart(
    panels: Mapping[str, Sequence[float]], names: Sequence[str], *, marked: int | None = None, label: str = "sensor"
) -> Figure:
    """Parts of one point's score as bars, panels beside each other, the largest one hatched.

    Args:
        panels: title -> (d,) parts, such as a row of what `Detector.explain` gives.
        names: of the columns.
        marked: number of the column that is to blame, if it is known: its bars are orange.
        label: what the columns are.
    """
    rows = np.arange(len(names))
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 0.9 + 0.25 * len(names)), sharey=True, squeeze=False)
    for ax, (title, parts) in zip(axes[0], panels.items(), strict=True):
        parts = np.asarray(parts, dtype=float)
        bars = ax.barh(rows, parts, color=[ANOMALY if j == marked else COLORS[3] for j in rows], height=0.7)
        bars[int(parts.argmax())].set(hatch="///", edgecolor="black")
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(title=title)
    axes[0, 0].set_yticks(rows, names)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_ylabel(label)
    return fig


def heat_map(ax: Axes, image, parts, groups: Sequence, *, box: Sequence[int] | None = None) -> None:
    """An image with the parts of its patches over it, orange where they raise the score, and a box around the largest.

    Args:
        image: (h, w), values in [0, 1].
        parts: (G,) of the patches; groups: the pixel numbers of each, row by row, rectangles.
        box: pixel numbers of one more patch, drawn dashed, such as the one that is to blame.
    """
    image, parts = np.asarray(image), np.asarray(parts, dtype=float)
    shade = np.full(image.size, np.nan)
    for group, part in zip(groups, parts, strict=True):
        shade[list(group)] = part
    limit = np.abs(parts).max() or 1.0
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    ax.imshow(shade.reshape(image.shape), cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=0.6)
    for group, dash in ((groups[int(parts.argmax())], "-"), *(((box, "--"),) if box is not None else ())):
        y, x = np.divmod(np.asarray(group), image.shape[1])
        corner, size = (x.min() - 0.5, y.min() - 0.5), (np.ptp(x) + 1, np.ptp(y) + 1)
        ax.add_patch(plt.Rectangle(corner, *size, fill=False, linestyle=dash, linewidth=1.6))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="grey")
