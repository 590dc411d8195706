"""Every kind of figure draws what it is given, without a warning."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from sklearn.metrics import roc_auc_score

from metaad_tutorial import plots
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)
POINTS, LABELS = RNG.normal(size=(20, 2)), np.repeat([0, 1], [14, 6])
SCORES = {"first": RNG.normal(size=20) + LABELS, "second": RNG.normal(size=20)}
RESULTS = {"one": Interval(0.7, 0.65, 0.76), "two": Interval(0.9, 0.88, 0.91), "three": Interval(0.5, 0.4, 0.6)}


@pytest.fixture
def ax():
    """Axes in the book's style, drawn after the test; matplotlib's settings are put back."""
    with matplotlib.rc_context():
        plots.use_style()
        fig, axes = plt.subplots()
        yield axes
        fig.canvas.draw()  # warnings of the layout and of fonts come here
        plt.close(fig)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_style_is_readable_on_a_dark_page(ax):
    assert ax.figure.get_facecolor() == (1, 1, 1, 1)
    assert plt.rcParams["savefig.facecolor"] == "white"
    cycle = plt.rcParams["axes.prop_cycle"].by_key()
    assert len(set(cycle["color"])) == len(set(cycle["linestyle"])) == 5  # told apart without colour


def test_points(ax):
    assert plots.points(ax, POINTS, LABELS) is ax
    assert [len(c.get_offsets()) for c in ax.collections] == [14, 6]
    assert np.allclose(ax.collections[1].get_offsets(), POINTS[14:])
    assert ax.get_legend_handles_labels()[1] == ["normal", "anomaly"]
    shapes = [c.get_paths()[0].vertices.shape for c in ax.collections]
    assert shapes[0] != shapes[1]  # told apart without colour


def test_query_points_are_hollow_and_one_class_is_enough(ax):
    plots.points(ax, POINTS[:14], LABELS[:14], query=True, labels=False)
    assert len(ax.collections) == 1
    assert len(ax.collections[0].get_facecolors()) == 0
    assert ax.get_legend_handles_labels()[1] == []


def test_field(ax):
    def score(points):
        assert points.shape == (30 * 30, 2)
        return points[:, 0] + 10 * points[:, 1]

    filled = plots.field(ax, score, (0, 1, -1, 3), threshold=5.0, n=30)
    assert isinstance(filled, QuadContourSet)
    assert (filled.zmin, filled.zmax) == pytest.approx((-10, 31))  # x runs along columns, y along rows
    (line,) = [c for c in ax.collections if c is not filled]
    x, y = line.get_paths()[0].vertices.T
    assert np.allclose(x + 10 * y, 5)
    ax.figure.colorbar(filled)


def test_field_without_a_threshold_in_sight(ax):
    filled = plots.field(ax, lambda p: p[:, 0], (0, 1, 0, 1), threshold=7.0, n=10)
    assert list(ax.collections) == [filled]


def test_intervals(ax):
    assert plots.intervals(ax, RESULTS, ceiling=0.97, chance=0.5, xlabel="accuracy") is ax
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two", "three"]
    assert ax.get_yticks()[0] > ax.get_yticks()[2]  # the first on top
    assert ax.get_xlabel() == "accuracy"
    assert texts(ax) == ["0.700", "0.900", "0.500", "ceiling", "chance"]
    bars = [c.get_segments()[0][:, 0] for c in ax.collections]
    assert np.allclose(bars, [(low, high) for _, low, high in RESULTS.values()])


def test_intervals_without_lines(ax):
    plots.intervals(ax, RESULTS)
    assert len(texts(ax)) == 3 and ax.get_xlabel()


def test_curve(ax):
    assert plots.curve(ax, [1, 2, 5], list(RESULTS.values()), "a method") is ax
    assert plots.curve(ax, [1, 2, 5], list(RESULTS.values()), "another") is ax
    first, second = ax.lines
    assert np.allclose(first.get_ydata(), [0.7, 0.9, 0.5])
    assert first.get_color() != second.get_color() and first.get_linestyle() != second.get_linestyle()
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.4, 0.91))
    assert ax.get_legend_handles_labels()[1] == ["a method", "another"]


def test_roc(ax):
    assert plots.roc(ax, SCORES, LABELS) is ax
    for line, (name, score) in zip(ax.lines, SCORES.items(), strict=False):
        x, y = line.get_data()
        area = np.trapezoid(y, x)
        assert area == pytest.approx(roc_auc_score(LABELS, score))
        assert line.get_label() == f"{name}: {area:.3f}"
    assert ax.get_legend() and ax.get_xlabel() == "false positive rate" and ax.get_ylabel() == "true positive rate"


@pytest.mark.parametrize("values", [[[1.0, -2.5, 0.04], [0.0, 2.0, -0.5]], np.zeros((2, 3))])
def test_heatmap(ax, values):
    assert plots.heatmap(ax, values, ["a", "b"], ["x", "y", "z"], digits=2) is ax
    assert texts(ax) == [f"{v:.2f}" for v in np.ravel(values)]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y", "z"]
    low, high = ax.images[0].get_clim()
    assert low == -high


def test_every_public_function_is_tested():
    public = {n for n, f in vars(plots).items() if callable(f) and getattr(f, "__module__", "") == plots.__name__}
    tested = {"use_style", "points", "field", "intervals", "curve", "roc", "heatmap"}
    assert public == tested
