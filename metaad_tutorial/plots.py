"""Every kind of figure once; readable in black and white, on a phone and on a dark page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve, roc_curve

from .metrics import Interval, auroc

# Okabe and Ito's colours, told apart by every kind of colour vision; markers and dashes tell them apart in grey.
NORMAL, ANOMALY, ACCENT = "#0072B2", "#D55E00", "#009E73"
COLORS = (NORMAL, ANOMALY, ACCENT, "#CC79A7", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = {0: "o", 1: "^"}
NAMES = {0: "normal", 1: "anomaly"}


def use_style() -> None:
    """Set matplotlib's defaults for the book: opaque white ground, large type, no clutter."""
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 130,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=DASHES),
            "legend.frameon": False,
            "image.cmap": "cividis",
        }
    )


def points(ax: Axes, X, y, *, query: bool = False, labels: bool = True) -> Axes:
    """Scatter 2-D points: normal ones as circles, anomalies as triangles; query points hollow.

    Args:
        X: (n, 2) points.
        y: (n,) 0/1 labels.
    """
    X, y = np.asarray(X), np.asarray(y)
    for label, color in ((0, NORMAL), (1, ANOMALY)):
        own = y == label
        if own.any():
            face = "none" if query else color
            edge = color if query else "white"
            ax.scatter(
                *X[own].T, marker=MARKERS[label], s=44 if query else 60, facecolors=face, edgecolors=edge, linewidths=1,
                label=NAMES[label] if labels else None, zorder=3 if query else 4,
            )  # fmt: skip
    return ax


def field(ax: Axes, score: Callable, extent: Sequence[float], *, threshold: float | None = None, n: int = 120):
    """Draw a score over the plane as filled contours, lighter where more anomalous, and its threshold as a line.

    Args:
        score: (m, 2) array -> (m,) scores.
        extent: x0, x1, y0, y1.

    Returns:
        The filled contours, for a colour bar.
    """
    x, y = np.linspace(*extent[:2], n), np.linspace(*extent[2:], n)
    grid = np.stack(np.meshgrid(x, y), -1)
    values = np.asarray(score(grid.reshape(-1, 2))).reshape(n, n)
    filled = ax.contourf(x, y, values, levels=14, cmap="cividis", alpha=0.75)
    if threshold is not None and values.min() < threshold < values.max():
        ax.contour(x, y, values, levels=[threshold], colors="black", linewidths=1.6)
    return filled


def intervals(
    ax: Axes, results: Mapping[str, Interval], *, ceiling: float | None = None, chance: float | None = None,
    xlabel: str = "AUROC on held-out tasks", ceiling_label: str = "ceiling",
) -> Axes:  # fmt: skip
    """Compare methods: a dot for each mean, a bar for its 95 % interval, lines for ceiling and chance."""
    rows = np.arange(len(results))[::-1]
    for row, value in zip(rows, results.values(), strict=True):
        error = [[value.mean - value.low], [value.high - value.mean]]
        ax.errorbar(value.mean, row, xerr=error, fmt="o", color=NORMAL, capsize=4, markersize=6)
        ax.annotate(f"{value.mean:.3f}", (value.mean, row), xytext=(0, 7), textcoords="offset points",
                    ha="center", fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
    ax.set_yticks(rows, list(results))
    ax.set_ylim(-0.6, len(results) - 0.2)
    for at, name, dash in ((ceiling, ceiling_label, "--"), (chance, "chance", ":")):
        if at is not None:
            ax.axvline(at, color="black", linestyle=dash, linewidth=1.2)
            ax.annotate(name, (at, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
                        textcoords="offset points", ha="center", fontsize=9)  # fmt: skip
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", alpha=0.3)
    return ax


def curve(ax: Axes, x: Sequence[float], values: Sequence[Interval], label: str) -> Axes:
    """A line through means with its interval as a band, in the next colour and dash of the cycle."""
    mean, low, high = np.array(values).T
    (line,) = ax.plot(x, mean, label=label, marker="o", markersize=4)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    return ax


def roc(ax: Axes, scores: Mapping[str, np.ndarray], y) -> Axes:
    """ROC curves of several scores of the same points; the legend gives the area under each."""
    for name, score in scores.items():
        fpr, tpr, _ = roc_curve(y, score)
        ax.plot(fpr, tpr, label=f"{name}: {auroc(y, score):.3f}")
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
    ax.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    ax.legend(title="AUROC", loc="lower right", fontsize=9)
    return ax


def precision_recall(ax: Axes, scores: Mapping[str, np.ndarray], y) -> Axes:
    """Precision against recall of several scores; the dotted line is the share of anomalies."""
    for name, score in scores.items():
        precision, recall, _ = precision_recall_curve(y, score)
        ax.step(recall, precision, where="post", label=name)
    ax.axhline(np.mean(y), color="grey", linewidth=1, linestyle=":")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    ax.legend(fontsize=9)
    return ax


def heatmap(ax: Axes, values, rows: Sequence[str], columns: Sequence[str], *, digits: int = 1) -> Axes:
    """A matrix with its numbers written in; the scale is symmetric about 0."""
    values = np.asarray(values)
    limit = np.abs(values).max()
    ax.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        dark = abs(value) > 0.65 * limit
        ax.text(
            j,
            i,
            f"{round(value, digits) + 0.0:.{digits}f}",  # no minus before a rounded 0
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax
