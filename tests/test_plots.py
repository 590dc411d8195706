"""Every kind of figure draws what it is given, without a warning."""

from __future__ import annotations

import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from metaad_tutorial import looks, plots
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)
POINTS, LABELS = RNG.normal(size=(20, 2)), np.repeat([0, 1], [14, 6])
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


def test_line_art_has_the_same_bytes_on_every_run(ax):
    plots.comparison({"AUROC": RESULTS})
    pictures = []
    for _ in range(2):
        into = io.BytesIO()
        plt.gcf().savefig(into, format="svg", metadata={"Date": None})
        pictures.append(into.getvalue())
    plt.close()
    assert pictures[0] == pictures[1] and b"<dc:date>" not in pictures[0]


def test_every_method_has_a_look_of_its_own():
    seen = {}
    for word, own in looks.LOOKS.items():
        same = [w for w, look in looks.LOOKS.items() if look == own]
        seen[own[:2]] = seen.get(own[:2], same)
        assert seen[own[:2]] == same, f"{word} and {seen[own[:2]]} share colour and mark"
        assert own.color not in (plots.NORMAL, plots.ANOMALY)  # they are for points
    assert plots.look("one-class MAML") == looks.LOOKS["MAML"] != plots.look("FOMAML")
    assert plots.look("Meta-AAE") != plots.look("MetaAAE, share 0.1") == looks.LOOKS["MetaAAE"]
    assert plots.look("50 steps, hidden").group == plots.look("logistic regression").group == looks.ALONE
    assert plots.look("AADML, logistic") == looks.LOOKS["AADML"]
    assert plots.look("something", 1).color == plots.COLORS[1] and plots.look("something").group == ""


def test_points(ax):
    plots.points(ax, POINTS, LABELS)
    assert [len(c.get_offsets()) for c in ax.collections] == [14, 6]
    assert np.allclose(ax.collections[1].get_offsets(), POINTS[14:])
    assert ax.get_legend_handles_labels()[1] == ["normal", "anomaly"]
    shapes = [c.get_paths()[0].vertices.shape for c in ax.collections]
    assert shapes[0] != shapes[1]  # told apart without colour


def test_query_points_are_hollow_and_one_class_is_enough(ax):
    plots.points(ax, POINTS[:14], LABELS[:14], query=True)
    assert len(ax.collections) == 1
    assert len(ax.collections[0].get_facecolors()) == 0
    assert ax.get_legend_handles_labels()[1] == ["normal"]


def test_field(ax):
    def score(points):
        assert points.shape == (30 * 30, 2)
        return points[:, 0] + 10 * points[:, 1]

    shades = plots.field(ax, score, (0, 1, -1, 3), threshold=5.0, n=30)
    values = shades.get_array()
    assert (values[0, 0], values[0, -1], values[-1, 0]) == (-10, -9, 30)  # x runs along columns, y along rows
    assert np.allclose(shades.to_rgba(5.0)[:3], 1, atol=0.01)  # white is the boundary
    low, high = shades.to_rgba([-50.0, 50.0])
    assert low[2] > low[0] and high[0] > high[2]  # blue below it, orange above
    (line,) = ax.collections
    x, y = line.get_paths()[0].vertices.T
    assert np.allclose(x + 10 * y, 5)
    ax.figure.colorbar(shades)


def test_field_without_a_threshold_in_sight(ax):
    plots.field(ax, lambda p: p[:, 0], (0, 1, 0, 1), threshold=7.0, n=10)
    assert not ax.collections
    plots.field(ax, lambda p: np.zeros(len(p)), (0, 1, 0, 1), threshold=0.0)  # flat is drawn, too


def test_intervals(ax):
    plots.intervals(ax, RESULTS, ceiling=0.97, chance=0.5, xlabel="accuracy")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two", "three"]
    assert ax.get_yticks()[0] > ax.get_yticks()[2]  # the first on top
    assert ax.get_xlabel() == "accuracy"
    assert texts(ax) == ["0.700", "0.900", "0.500", "ceiling", "chance"]
    bars = [c.get_segments()[0][:, 0] for c in ax.collections]
    assert np.allclose(bars, [(low, high) for _, low, high in RESULTS.values()])


def test_intervals_show_who_is_who(ax):
    names = ("nearest neighbour", "Mahalanobis", "empirical Bayes", "MAML")
    plots.intervals(ax, dict.fromkeys(names, RESULTS["one"]))
    assert [line.get_marker() for line in ax.lines if line.get_marker() not in "|"] == [
        plots.look(n).marker for n in names
    ]
    (band,) = ax.patches  # what learnt across tasks
    assert (band.get_y(), band.get_height()) == (-0.5, 1)


def test_comparison_shares_the_names():
    with matplotlib.rc_context():
        plots.use_style()
        fig = plots.comparison({"AUROC": RESULTS, "accuracy": RESULTS}, limits={"AUROC": 0.95})
        fig.canvas.draw()
        left, right = fig.axes
        assert [t.get_text() for t in left.get_yticklabels()] == list(RESULTS)
        assert not any(t.get_visible() for t in right.get_yticklabels())
        assert "limit" in texts(left) and "limit" not in texts(right) and right.get_xlabel() == "accuracy"
        assert fig.get_figheight() <= 5.7
        names = {"AUROC": "ceiling", "accuracy": "limit"}
        both = dict.fromkeys(names, RESULTS)
        for ax in plots.comparison(both, limits=dict.fromkeys(names, 0.9), limit_label=names).axes:
            assert names[ax.get_xlabel()] in texts(ax)
        plt.close(fig)
        with pytest.raises(ValueError, match="accuracy has other methods"):
            plots.comparison({"AUROC": RESULTS, "accuracy": {"one": RESULTS["one"]}})
        plt.close("all")


def test_intervals_without_lines(ax):
    plots.intervals(ax, RESULTS)
    assert len(texts(ax)) == 3 and ax.get_xlabel()


def test_curve(ax):
    plots.curve(ax, [1, 2, 5], list(RESULTS.values()), "a method")
    plots.curve(ax, [1, 2, 5], list(RESULTS.values()), "another")
    first, second = ax.lines
    assert np.allclose(first.get_ydata(), [0.7, 0.9, 0.5])
    assert first.get_color() != second.get_color() and first.get_linestyle() != second.get_linestyle()
    plots.curve(ax, [1, 2, 5], list(RESULTS.values()), "MAML")
    assert ax.lines[-1].get_color() == plots.look("MAML").color
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.4, 0.91))
    assert ax.get_legend_handles_labels()[1] == ["a method", "another", "MAML"]


def test_whiskers_and_a_counts_axis(ax):
    plots.whiskers(ax, [1, 2, 5], list(RESULTS.values()), "ACR")
    (bars,) = ax.collections
    assert np.allclose([s[:, 1] for s in bars.get_segments()], [(low, high) for _, low, high in RESULTS.values()])
    assert ax.lines[0].get_color() == plots.look("ACR").color and ax.lines[0].get_linestyle() == "None"
    plots.counts_axis(ax, (1, 2, 5), "points")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "5"] and ax.get_xscale() == "log"
    assert len(ax.get_xticks(minor=True)) == 0


def test_level_has_its_name_on_it_or_below(ax):
    plots.level(ax, 0.5)
    plots.level(ax, 0.7, "asked for", "--", "right", "top")
    assert [line.get_ydata()[0] for line in ax.lines] == [0.5, 0.7]
    assert texts(ax) == ["chance", "asked for"] and [text.get_va() for text in ax.texts] == ["bottom", "top"]


def test_images_are_framed_by_label():
    fig, axes = plt.subplots(1, 3)
    plots.images(axes, np.zeros((2, 4, 5)), labels=[0, 1], titles=["a", "b"], name="query")
    colors = [matplotlib.colors.to_hex(ax.spines["left"].get_edgecolor()).upper() for ax in axes[:2]]
    assert colors == [plots.NORMAL.upper(), plots.ANOMALY.upper()]
    widths = [ax.spines["left"].get_linewidth() for ax in axes[:2]]
    assert widths[0] < widths[1]  # told apart without colour
    assert axes[1].spines["left"].get_capstyle() == "butt"  # longer ends would close the gaps of the dashes
    assert [len(ax.images) for ax in axes] == [1, 1, 0] and not axes[2].spines["left"].get_visible()
    assert [ax.get_title() for ax in axes] == ["a", "b", ""] and axes[0].get_ylabel() == "query"
    plots.images(axes[:1], np.zeros((1, 4, 5)))
    plt.close(fig)


def test_every_public_function_is_tested():
    public = {name for name in plots.__all__ if callable(getattr(plots, name))}
    tested = {
        "use_style", "look", "points", "field", "intervals", "comparison", "curve", "whiskers", "counts_axis",
        "images", "level",
    }  # fmt: skip
    assert public == tested
