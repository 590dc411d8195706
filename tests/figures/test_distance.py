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
    panels = {"one": (one, three[:0], lambda x: x[:, 0]), "both": (one, three, lambda x: x[:, 0] - 3)}
    fig = distance.planes(panels)
    assert [ax.get_title() for ax in fig.axes] == ["one", "both"]
    left, right = (ax.images[0].get_array() for ax in fig.axes)
    assert np.allclose(left - 3, right) and len(fig.axes[0].collections) == 2  # the points and the boundary
    assert np.allclose(fig.axes[0].images[0].to_rgba(0.0)[:3], 1, atol=0.01)


def test_rankings_stand_on_the_left_and_alarms_on_the_right():
    high, low = [Interval(0.9, 0.8, 1.0)] * 2, [Interval(0.1, 0.0, 0.2)] * 2
    fig = distance.by_shots([1, 5], {"prototypes": high, "pixels": high}, {"prototypes": low})
    left, right = fig.axes
    assert [line.get_label() for line in left.lines] == ["prototypes", "pixels"]
    assert [line.get_label() for line in right.lines] == ["prototypes"]
    assert left.lines[0].get_ydata().tolist() == [0.9, 0.9] and right.lines[0].get_ydata().tolist() == [0.1, 0.1]
    assert left.lines[0].get_color() == right.lines[0].get_color() == plots.look("prototypes").color
    assert left.get_ylabel() == "AUROC" and "false alarms" in right.get_ylabel()


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


def test_rows_are_sorted_by_their_distance():
    support, queries = np.zeros((2, 3, 3)), np.arange(4)[:, None, None] / 4 * np.ones((4, 3, 3))
    odd = np.array([False, True, False, True])
    fig = distance.sorted_rows(support, queries, odd, {"near": np.arange(4), "far": -np.arange(4)})
    rows = np.reshape(fig.axes, (3, 4))
    shown = [[ax.images[0].get_array()[0, 0] for ax in row] for row in rows[1:]]
    assert shown == [[0, 0.25, 0.5, 0.75], [0.75, 0.5, 0.25, 0]]
    widths = [[ax.spines["left"].get_linewidth() for ax in row] for row in rows[1:]]
    assert widths == [[1.2, 3, 1.2, 3], [3, 1.2, 3, 1.2]]
    assert [row[0].get_ylabel() for row in rows] == ["normal", "near", "far"] and not rows[0, 3].images
