"""The figures of chapter 6 show what they are given, where their captions say."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_hex

from metaad_tutorial import Fleet, plots
from metaad_tutorial.figures import novel
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)
VALUES = [Interval(0.9, 0.8, 0.95), Interval(0.5, 0.4, 0.6)]


def test_planes_show_the_support_set_filled():
    task = Fleet(5, 0, n_features=2, n_machines=10).sample(1, random_state=0)
    fig = novel.planes({name: lambda x: x[:, 0] for name in "abcd"}, task)
    assert [ax.get_title() for ax in fig.axes] == list("abcd")
    assert np.allclose(fig.axes[0].images[0].to_rgba(0.0)[:3], 1, atol=0.01)
    *queries, support = [c for c in fig.axes[0].collections if len(c.get_offsets()) > 1]
    assert np.allclose(support.get_offsets(), task.support_x[0]) and len(support.get_facecolors())
    assert not any(len(query.get_facecolors()) for query in queries)
    assert len(fig.legends[0].get_texts()) == len(fig.legends[0].legend_handles) == 3


def test_cosines_have_the_colour_of_their_method():
    values = {"one-class MAML": RNG.uniform(-1, 1, 50), "MAML, few-shot": np.full(9, 0.5), "random start": np.zeros(5)}
    fig = novel.cosines(values)
    assert [ax.get_title() for ax in fig.axes] == [*values, ""]
    for ax, (name, found) in zip(fig.axes, values.items(), strict=False):
        assert sum(bar.get_height() for bar in ax.patches) == len(found)
        assert ax.lines[0].get_xdata()[0] == found.mean()
        assert to_hex(ax.patches[0].get_facecolor()) == plots.look(name, 3).color


def test_a_turned_fault_is_hollow():
    centres = np.array([[0, 0], [3, 0], [1.5, 2.6]])
    points = dict(zip(("normal", "known", "turned"), RNG.normal(size=(3, 9, 2)) + centres[:, None], strict=True))
    (ax,) = novel.turned_fault(points, centres).axes
    normal, known, turned = ax.collections
    colors = [to_hex(cloud.get_edgecolors()[0]).upper() for cloud in ax.collections]
    assert colors == [plots.NORMAL, plots.ANOMALY, plots.ANOMALY]
    assert len(known.get_facecolors()) == len(normal.get_facecolors()) == 1 and not len(turned.get_facecolors())
    assert ax.lines[0].get_xdata()[0] == 1.5 and len(ax.texts) == 2  # the boundary, two arrows


def test_who_was_shown_faults_is_hollow_and_who_was_not_has_no_line():
    results = {"AADML, 10 normal": ([0, 90], VALUES), "AADML, 5 + 2 faults": ([0, 90], VALUES)}
    fig = novel.over_angles(results | {"Mahalanobis": ([0, 90], VALUES)}, [0, 90], [0.97, 0.5])
    (ax,) = fig.axes
    marks = [bars.lines[0] for bars in ax.containers]
    assert [mark.get_markerfacecolor() for mark in marks[:2]] == [plots.look("AADML").color, "white"]
    assert all(np.allclose(mark.get_ydata(), [0.9, 0.5]) for mark in marks)
    solid = [line for line in ax.lines if line.get_linestyle() != "None" and len(line.get_xdata()) == 2]
    assert len(solid) == 3  # the prediction, Mahalanobis, chance
    assert ax.get_legend_handles_labels()[1] == ["predicted", *results, "Mahalanobis"]


def test_variety_points_at_a_typical_fault_of_each_specialist():
    curves = {2: [0.9, 0.5], 16: [0.7, 0.7]}
    (ax,) = novel.variety([0, 90], dict.fromkeys(curves, VALUES), [0, 90], curves, {2: (69.0, 0.6)}).axes
    (typical,) = [text for text in ax.texts if text.get_text() == "typical"]
    assert np.allclose(typical.xy, (69.0, 0.61)) and typical.get_color() == plots.COLORS[0]
    assert ax.get_legend_handles_labels()[1] == ["m = 2", "m = 16"]


def test_large_letters_stand_under_their_titles():
    fig = novel.large_letters({"a": "0.8", "b": "0.9", "a  b": "0.7", "c": "0.6"})
    shown = [(ax.texts[0].get_text(), ax.get_title()) for ax in fig.axes if ax.texts]
    assert shown == [("a", "0.8"), ("b", "0.9"), ("a  b", "0.7"), ("c", "0.6")]


def test_reliability_is_seen_against_the_diagonal():
    (ax,) = novel.reliability({"valid": ([0.1, 0.9], [0.2, 0.8]), "new": ([0.1, 0.9], [0.0, 1.0])}).axes
    assert ax.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert ax.lines[1].get_xydata().tolist() == [[0.1, 0.2], [0.9, 0.8]] and ax.get_aspect() == 1
