"""The figures of chapter 1 show what they are given, where their captions say."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from metaad_tutorial import plots
from metaad_tutorial.figures import scores
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)
BOX = (-2.0, 2.0, -1.0, 2.0)


def test_labels_are_on_the_right_alone():
    normal, new = RNG.normal(size=(9, 2)), RNG.normal(size=(4, 2))
    left, right, _ = scores.strange(normal, new, np.array([0, 0, 1, 1]), lambda x: x[:, 1], 0.4, BOX).axes
    assert [len(marks.get_offsets()) for marks in left.collections] == [9]
    assert np.allclose(right.images[0].to_rgba(0.4)[:3], 1, atol=0.01)
    assert [len(m.get_offsets()) for m in right.collections if len(m.get_offsets())][-2:] == [2, 2]


def test_the_staircase_stands_on_the_pairs_in_order():
    normal, anomalous = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    won = np.array([[1, 1, 1], [0, 0.5, 1]])
    line, grid = scores.staircase(normal, anomalous, won, [0, 0, 1 / 3, 2 / 3, 1], [0, 0.5, 0.5, 1, 1]).axes
    assert [text.get_text() for text in grid.texts] == ["1", "1", "1", "0", "1/2", "1"]
    corners = [np.asarray(patch.get_xy()) for patch in grid.patches]
    assert len(corners) == 5 and min(len(xy) for xy in corners) == 4  # a triangle, closed
    blue, orange = (marks.get_offsets() for marks in line.collections)
    assert blue[1, 1] < blue[0, 1] == 0 < orange[0, 1]  # the tie at 2
    assert [tick.get_text() for tick in grid.get_xticklabels()] == ["0", "1/3", "2/3", "1"]


def test_base_rates_are_in_percent():
    rates = np.geomspace(0.001, 0.5, 5)
    measured = {"AP": [0.1, 0.9], "AUROC": [0.8, 0.8]}
    left, right = scores.base_rates(rates, {"ten": rates * 2}, rates, [0.01, 0.5], measured).axes
    assert np.allclose(left.lines[0].get_xdata(), 100 * rates)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["AP, predicted", "AP", "AUROC"]
    assert [line.get_linestyle() for line in right.lines] == ["--", "None", "-"]
    assert list(right.lines[1].get_xdata()) == [1, 50]


def test_best_scores_are_white_at_their_threshold():
    kinds = {"above": lambda x: x[:, 1], "right": lambda x: x[:, 0]}
    normal, anomalies = RNG.normal(size=(9, 2)), {"above": np.ones((3, 2)), "right": np.zeros((4, 2))}
    fig = scores.best_scores(kinds, normal, anomalies, BOX)
    assert [ax.get_title() for ax in fig.axes] == ["anomalies: above", "anomalies: right"]
    for ax, found in zip(fig.axes, anomalies.values(), strict=True):
        assert np.allclose(ax.images[0].to_rgba(0.0)[:3], 1, atol=0.01)
        assert [(line.get_color(), len(line.get_xdata())) for line in ax.lines] == [
            (plots.NORMAL, 9), (plots.ANOMALY, len(found)),
        ]  # fmt: skip


def test_kinds_frame_the_diagonal():
    (ax,) = scores.kinds(np.array([[0.9, 0.6], [0.7, 1.0], [0.8, 0.8]]), ["a", "b", "none"], ["a", "b"]).axes
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.60", "0.70", "1.00", "0.80", "0.80"]
    assert [round(frame.get_x() + 0.47) for frame in ax.patches] == [0, 1]
    shades = ax.images[0].to_rgba([0.6, 0.9])[:, 0]
    assert shades[1] < shades[0] and shades[1] > 0.2  # darker is better, and black is still read on it


def test_grouped_rows_hold_every_method_in_its_look():
    found = {"nearest neighbour": Interval(0.9, 0.8, 1.0), "Mahalanobis": Interval(0.7, 0.6, 0.8)}
    ax = plt.subplots()[1]
    scores.grouped(ax, {"kdd": found, "kc1": found})
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["kdd", "kc1"]
    labels, names = ax.get_legend_handles_labels()
    assert names == list(found)
    first, second = (handle.lines[0] for handle in labels)
    assert (first.get_color(), second.get_color()) == tuple(plots.look(name).color for name in found)
    assert np.all(first.get_ydata() > second.get_ydata()) and np.all(np.abs(first.get_ydata() - [1, 0]) < 0.5)
