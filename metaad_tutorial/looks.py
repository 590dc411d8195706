"""What everything looks like in every figure: one colour and one mark for each method, and the defaults of matplotlib.

Blue and orange are for normal and anomalous points alone. A method's colour says which experience it has: greys see one
task alone, greens pool the points of other tasks, violets and reds learnt across tasks, black is the truth.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.rcsetup import cycler

WIDTH = 6.4  # inches, of every figure
# Okabe and Ito's colours, told apart by every kind of colour vision.
NORMAL, ANOMALY = "#0072B2", "#D55E00"
# Lines that stand for no method: told apart by dash and mark as well as by colour.
COLORS = ("#000000", "#117733", "#999933", "#7f7f7f", "#332288")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKS = "os^Dv"
BOUNDARY = LinearSegmentedColormap.from_list("boundary", ["#7db4dc", "#ffffff", "#f0a878"])
ALONE, POOLED, LEARNT, TRUTH = "one task alone", "pooled", "learnt across tasks", "the truth"


class Look(NamedTuple):
    """How a method is drawn, and what its experience is."""

    color: str
    marker: str
    dash: str | tuple
    group: str


# The first of whose words one is in a method's name; "one-class SVM" stands before "MAML", which "one-class MAML" ends
# with, and "AADML" before "logistic", its loss.
LOOKS = {
    "from scratch|, scratch|descent|50 steps": Look("#8c8c8c", "X", ":", ALONE),
    "limit|best": Look("#000000", "|", "--", TRUTH),
    "Gaussianized": Look("#117733", "X", "-.", POOLED),
    "empirical Bayes": Look("#117733", "P", "--", POOLED),
    "features|classif": Look("#44aa99", "h", "-.", POOLED),
    "AADML": Look("#aa4499", "D", "-.", LEARNT),
    "logistic regression": Look("#5f7080", "h", "-", ALONE),
    "discriminant|LDA": Look("#857a8c", "p", "--", ALONE),
    "logistic": Look("#5b8c2a", "p", ":", POOLED),
    "centred": Look("#999933", "v", "-", POOLED),
    "pooled": Look("#5b8c2a", "d", ":", POOLED),
    "pixels|neighbour|nearest": Look("#7f7f7f", "s", "-", ALONE),
    "Mahalanobis": Look("#4d4d4d", "D", "--", ALONE),
    "forest": Look("#a89a7a", "^", "-.", ALONE),
    "one-class SVM": Look("#6f6a8a", "v", ":", ALONE),
    "local outlier": Look("#a0a0a0", "o", ":", ALONE),
    "prototypes": Look("#332288", "o", "-", LEARNT),
    "MetaAAE": Look("#6b4fbb", "P", "-.", LEARNT),
    "AAE": Look("#6d6045", "*", "--", ALONE),
    "FOMAML": Look("#b5495b", "<", "--", LEARNT),
    "ANIL": Look("#cc6677", "v", ":", LEARNT),
    "Reptile": Look("#cc6677", ">", "-.", LEARNT),
    "Meta-SGD": Look("#5e2a6b", "d", "-.", LEARNT),
    "MAML": Look("#882255", "^", "--", LEARNT),
    "ACR": Look("#5e2a6b", "s", ":", LEARNT),
}


def look(name: str, k: int = 0) -> Look:
    """The look of the method that `name` speaks of; of none, the k-th of the neutral ones."""
    for words, found in LOOKS.items():
        if re.search(words, name, re.IGNORECASE):
            return found
    return Look(COLORS[k % len(COLORS)], MARKS[k % len(MARKS)], DASHES[k % len(DASHES)], "")


def use_style() -> None:
    """Set matplotlib's defaults for the book: opaque white ground, large type, no clutter, the same bytes on every run.

    In a notebook, figures become SVG, as wide as they say, with a PNG beside it.
    """
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.6), "figure.dpi": 130, "figure.constrained_layout.use": True,
            "figure.facecolor": "white", "savefig.facecolor": "white", "font.size": 10, "axes.titlesize": 10,
            "legend.fontsize": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
            "image.cmap": "gray_r", "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=DASHES),
            "svg.hashsalt": "metaad_tutorial",
        }
    )  # fmt: skip
    shell = "IPython" in sys.modules and sys.modules["IPython"].get_ipython()
    if shell:
        shell.run_line_magic("matplotlib", "inline")
        # JupyterLab shows no SVG of a notebook that it does not trust yet: then it takes the PNG.
        shell.run_line_magic("config", "InlineBackend.figure_formats = ['svg', 'png']")
        shell.run_line_magic(
            "config", "InlineBackend.print_figure_kwargs = {'bbox_inches': None, 'metadata': {'Date': None}}"
        )
