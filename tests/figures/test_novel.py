"""The figures of chapter 6 show what they are given, where their captions say."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_hex

from metaad_tutorial import Fleet, plots
from metaad_tutorial.figures import novel
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)
VALUES = [Interval(0.9, 0.8, 0.95), Interval(0.5, 0.4, 0.6)]
CENTRES = np.array([[0, 0], [3, 0], [1.5, 2.6]])
CLOUDS = dict(zip(("normal", "known", "turned"), RNG.normal(size=(3, 9, 2)) + CENTRES[:, None], strict=True))


def test_planes_show_the_support_set_filled():
    task = Fleet(5, 0, n_features=2, n_machines=10).sample(1, random_state=0)
    fig = novel.planes({name: lambda x: x[:, 0] for name in "abcd"}, task)
    assert [ax.get_title() for ax in fig.axes] == list("abcd")
    assert np.allclose(fig.axes[0].images[0].to_rgba(0.0)[:3], 1, atol=0.01)
    *queries, support = [c for c in fig.axes[0].collections if len(c.get_offsets()) > 1]
    assert np.allclose(support.get_offsets(), task.support_x[0]) and len(support.get_facecolors())
    assert not any(len(query.get_facecolors()) for query in queries)
    assert len(fig.legends[0].get_texts()) == len(fig.legends[0].legend_handles) == 3


def test_a_turned_fault_is_hollow():
    left, _ = novel.turned(CLOUDS, CENTRES, {}, [0, 90], [0.97, 0.5]).axes
    normal, known, turned = left.collections
    colors = [to_hex(cloud.get_edgecolors()[0]).upper() for cloud in left.collections]
    assert colors == [plots.NORMAL, plots.ANOMALY, plots.ANOMALY]
    assert len(known.get_facecolors()) == len(normal.get_facecolors()) == 1 and not len(turned.get_facecolors())
    assert left.lines[0].get_xdata()[0] == 1.5 and len(left.texts) == 2  # the boundary, two arrows


def test_who_was_shown_faults_is_hollow_and_who_was_not_has_no_line():
    results = {"MAML, 10 normal": ([0, 90], VALUES), "AADML, 5 + 2 faults": ([0, 90], VALUES)}
    fig = novel.turned(CLOUDS, CENTRES, results | {"Mahalanobis": ([0, 90], VALUES)}, [0, 90], [0.97, 0.5])
    _, right = fig.axes
    marks = [bars.lines[0] for bars in right.containers]
    assert [mark.get_markerfacecolor() for mark in marks[:2]] == [plots.look("MAML").color, "white"]
    assert all(np.allclose(mark.get_ydata(), [0.9, 0.5]) for mark in marks)
    solid = [line for line in right.lines if line.get_linestyle() != "None" and len(line.get_xdata()) == 2]
    assert len(solid) == 3  # the prediction, Mahalanobis, chance
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["predicted", *results, "Mahalanobis"]


def test_variety_draws_a_line_and_marks_for_each_size():
    lines = {2: ([0, 45, 90], [0.9, 0.7, 0.5]), 16: ([0, 90], [0.7, 0.6])}
    (ax,) = novel.variety([0, 90], dict.fromkeys(lines, VALUES), lines).axes
    drawn = [line for line in ax.lines if line.get_linestyle() != "None" and len(line.get_xdata()) == len(lines[2][0])]
    assert np.allclose(drawn[0].get_ydata(), lines[2][1]) and len(ax.containers) == 2
    assert [to_hex(bars.lines[0].get_color()).upper() for bars in ax.containers] == list(plots.COLORS[:2])
    assert ax.get_legend_handles_labels()[1] == ["m = 2", "m = 16"]


def test_novelties_mark_what_stands_in_the_right_panel_alone():
    both = {"classifier features": VALUES, "one-class MAML": VALUES}
    fig = novel.novelties([1, 5], both, [1, 2], both | {"features, jitter 2": VALUES})
    left, right = fig.axes
    shown = [line for line in right.lines if line.get_marker() != "None"]
    assert [line.get_markerfacecolor() for line in shown] == [*(plots.look(name).color for name in both), "white"]
    assert all(np.allclose(line.get_ydata(), [0.9, 0.5]) for line in [*left.lines, *shown])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [*both, "features, jitter 2"]
