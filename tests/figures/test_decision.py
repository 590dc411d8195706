"""Figures of chapter 13: what is shown where."""

from __future__ import annotations

import numpy as np
import pytest

from metaad_tutorial.figures import decision
from metaad_tutorial.metrics import Interval

VALUES = [Interval(0.7, 0.65, 0.76), Interval(0.3, 0.2, 0.4)]


def test_machines_are_sorted_and_laws_are_black():
    fig = decision.machines({"own": np.array([0.1, 0.0]), "both": np.array([0.06, 0.04])}, {"own": [0.09, 0.01]}, 0.05)
    (ax,) = fig.axes
    law, own, both, _ = ax.lines
    assert law.get_color() == "black" and np.allclose(law.get_ydata(), [0.01, 0.09])
    assert own.get_label() == "own" and np.allclose(own.get_ydata(), [0.0, 0.1])
    assert np.allclose(both.get_xdata(), [0.25, 0.75]) and np.allclose(both.get_ydata(), [0.04, 0.06])
    assert [text.get_text() for text in ax.texts] == ["promised"]


def test_discoveries_show_false_shares_and_hits():
    fig = decision.discoveries([0.01, 0.1], {"5 %": (VALUES, VALUES[::-1])}, 0.1)
    left, right = fig.axes
    assert np.allclose(left.lines[0].get_ydata(), [0.7, 0.3]) and np.allclose(right.lines[0].get_ydata(), [0.3, 0.7])
    assert left.texts[0].get_text() == "asked for" and not right.texts
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["5 %"]


def test_path_has_a_line_for_each_watcher_and_one_for_the_alarm():
    fig = decision.path(np.arange(5.0), {"sum": np.ones(5), "bet": np.zeros(5)}, 3)
    above, below = fig.axes
    assert np.allclose(above.lines[0].get_ydata(), np.arange(5))
    assert [t.get_text() for t in below.get_legend().get_texts()] == ["sum", "bet"]
    assert below.texts[0].get_text() == "alarm"
    assert above.lines[-1].get_xdata()[0] == below.lines[-1].get_xdata()[0] == 3


def test_delays_have_a_panel_for_each_drift():
    fig = decision.delays([0.05, 0.1], {"up": {"sum": VALUES}, "slow": {"sum": VALUES[::-1]}})
    up, slow = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["up", "slow"] and up.get_xscale() == "log"
    assert np.allclose(up.lines[0].get_ydata(), [0.7, 0.3]) and np.allclose(slow.lines[0].get_ydata(), [0.3, 0.7])


def test_tree_names_answers_in_order_and_leaves_in_bold():
    fig = decision.tree(("a?", ("b?", "use b", "not b"), "not a"))
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.texts] == ["a?", "yes: b?", "yes: use b", "no: not b", "no: not a"]
    assert [t.get_weight() == "bold" for t in ax.texts] == [False, False, True, True, True]
    assert ax.texts[2].get_position()[0] > ax.texts[1].get_position()[0] > ax.texts[0].get_position()[0]
    # each branch starts below the question that it answers
    assert [line.get_ydata()[0] for line in ax.lines] == pytest.approx([-0.35, -1.35, -1.35, -0.35])
