"""Figures of chapter 11: what is shown where."""

from __future__ import annotations

import numpy as np

from metaad_tutorial import plots
from metaad_tutorial.figures import fields
from metaad_tutorial.metrics import Interval

WIDE, NARROW = Interval(0.7, 0.6, 0.8), Interval(0.8, 0.78, 0.82)


def test_a_group_has_a_row_and_a_field_a_name():
    pairs = {"medical": [(0.7, 0.8), (0.9, 0.85)], "radar": [(0.95, 0.9)]}
    fig = fields.before_after(pairs, ("before", "after"), (WIDE, NARROW))
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["medical", "radar", "mean of all"]
    before, after = (c.get_offsets() for c in ax.collections if c.get_label() in ("before", "after"))
    assert np.allclose(before[:, 0], [0.7, 0.9, 0.95]) and np.allclose(after[:, 0], [0.8, 0.85, 0.9])
    assert np.allclose(before[:, 1], [0, -1, -2]) and np.allclose(ax.get_yticks()[:2], [-0.5, -2])
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["before", "after"]


def test_a_column_off_its_promise_has_another_mark():
    fig = fields.kept({"a": Interval(0.1, 0.08, 0.12), "b": Interval(0.4, 0.3, 0.5)}, 0.1)
    (ax,) = fig.axes
    good, bad = (next(line for line in ax.lines if line.get_marker() == mark) for mark in "os")
    assert (list(good.get_xdata()), list(good.get_ydata())) == ([0.1], [1])
    assert (list(bad.get_xdata()), list(bad.get_ydata())) == ([0.4], [0])
    assert bad.get_color() == plots.COLORS[4]


def test_gains_stand_in_the_row_of_their_field():
    panels = {"labels": ({"a": [0.1, 0.2], "b": [-0.1]}, WIDE), "others": ({"a": [0.0, 0.1], "b": [0.3]}, NARROW)}
    fig = fields.gains(panels)
    assert [ax.get_title() for ax in fig.axes] == ["labels", "others"]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["a", "b", "mean of all"]
    first, second = fig.axes[0].lines[:2]
    assert list(first.get_xdata()) == [0.1, 0.2] and set(first.get_ydata()) == {0}
    assert list(second.get_xdata()) == [-0.1] and set(second.get_ydata()) == {-1}


def test_time_has_measured_points_on_a_curve():
    fig = fields.in_time([1, 100], [WIDE, NARROW], [0, 50, 100], [0.6, 0.7, 0.8], [10, 100], [WIDE, NARROW],
                         [0.65, 0.75], 0.5)  # fmt: skip
    ax, beside = fig.axes
    assert np.allclose(ax.lines[0].get_ydata(), [0.6, 0.7, 0.8]) and np.allclose(
        beside.lines[0].get_ydata(), [0.65, 0.75]
    )
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert np.allclose(points.get_ydata(), [0.7, 0.8])
    assert [t.get_text() for t in beside.get_xticklabels()] == ["10", "100"] and beside.get_xscale() == "log"
