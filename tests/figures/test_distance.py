"""The figures of chapter 7 show what they are given, where their captions say."""

from __future__ import annotations

import numpy as np
import pytest

from metaad_tutorial import Fleet, judge, plots
from metaad_tutorial.figures import distance
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)


def test_planes_are_the_scores_of_their_support_sets():
    one, three = np.zeros((1, 2)), np.ones((3, 2))
    fig = distance.planes([[(one, three[:0]), (one, three)]], lambda normal, odd, x: x[:, 0] - len(odd))
    assert [ax.get_title() for ax in fig.axes] == ["1 normal, 0 anomalous", "1 normal, 3 anomalous"]
    left, right = (ax.images[0].get_array() for ax in fig.axes)
    assert np.allclose(left - 3, right) and len(fig.axes[0].collections) == 2  # the points and the boundary
    assert np.allclose(fig.axes[0].images[0].to_rgba(0.0)[:3], 1, atol=0.01)


def test_each_space_has_a_panel_and_each_rule_its_look():
    values = [Interval(0.7, 0.6, 0.8)] * 2
    names = ("pixels, mean", "pixels, neighbour", "learnt, mean", "learnt, neighbour", "learnt, logit")
    fig = distance.by_shots([1, 5], dict.fromkeys(names, values))
    assert [ax.get_title() for ax in fig.axes] == ["pixels", "learnt"]
    rules = [[line.get_label() for line in ax.lines] for ax in fig.axes]
    assert rules == [["mean", "neighbour"], ["mean", "neighbour", "logit of prototypes"]]
    first, second = (ax.lines[1].get_color() for ax in fig.axes)
    assert first == second == plots.look("neighbour").color
    assert fig.axes[1].lines[2].get_color() == plots.look("prototypes").color


def test_collapse_has_the_variance_on_the_left():
    episodes = Fleet(n_machines=20).sample(10, random_state=0)
    ranked = judge(episodes, RNG.normal(size=(10, 30)))
    fig = distance.collapse(
        [0, 30], {"alone": [(3.0, ranked), (0.1, ranked)], "pushed": [(3.0, ranked), (9.0, ranked)]}
    )
    left, right = fig.axes
    assert left.get_yscale() == "log" and left.lines[0].get_ydata().tolist() == [3.0, 0.1]
    assert right.lines[0].get_ydata() == pytest.approx([ranked.mean] * 2)
    assert [line.get_color() for line in left.lines] == [line.get_color() for line in right.lines]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["alone", "pushed"]


def test_clouds_have_a_mark_for_each_class_and_a_cross_at_its_mean():
    spaces = {"before": RNG.normal(size=(5, 8, 2)), "after": RNG.normal(size=(5, 8, 2))}
    fig = distance.clouds(spaces)
    for ax, points in zip(fig.axes, spaces.values(), strict=True):
        assert np.allclose([cloud.get_offsets() for cloud in ax.collections], points)
        assert np.allclose(np.transpose(ax.lines[0].get_data()), points.mean(1))
    shapes = {cloud.get_paths()[0].vertices.tobytes() for cloud in fig.axes[0].collections}
    colors = {cloud.get_edgecolors().tobytes() for cloud in fig.axes[0].collections}
    assert len(shapes) == len(colors) == 5
