"""Figures of chapter 9: what is shown where."""

from __future__ import annotations

import numpy as np

from metaad_tutorial import plots
from metaad_tutorial.figures import generative
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)


def test_a_machine_shows_all_its_points():
    support, known, new = (RNG.normal(size=(n, 2)) + shift for n, shift in ((10, 0), (7, 3), (5, -3)))
    fig = generative.machine({"one": lambda p: p[:, 0], "two": lambda p: p.sum(1)}, support, known, new)
    assert [ax.get_title() for ax in fig.axes] == ["one", "two"]
    x0, x1 = fig.axes[0].get_xlim()
    assert x0 < min(new[:, 0]) and x1 > max(known[:, 0])
    shown = [c for c in fig.axes[1].collections if len(c.get_offsets()) > 1]
    assert [len(c.get_offsets()) for c in shown] == [10, 7, 5]
    assert len(shown[1].get_facecolors()) == 0  # faults are hollow: no detector has seen them
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["support point", "known fault", "new fault"]


def test_tradeoff_has_a_look_for_each_method():
    best = np.array([[0.7, 0.7], [0.9, 0.6]])
    pair = RNG.uniform(0.6, 0.8, (2, 30))
    fig = generative.tradeoff(best, {0.0: pair, 0.5: pair - 0.1}, {"one-class MAML": pair + 0.1, "pooled Mahal.": pair})
    (ax,) = fig.axes
    marks = [line for line in ax.lines if line.get_marker() not in ("None", "|", "_")]
    assert [line.get_marker() for line in marks] == [
        plots.look(n).marker for n in ("MetaAAE", "MetaAAE", "one-class MAML", "pooled")
    ]
    assert np.allclose(marks[0].get_xydata(), pair.mean(1)[None])
    assert [text.get_text() for text in ax.texts] == ["κ=0", "κ=0.5", "one-class MAML", "pooled Mahal."]


def test_variety_shares_one_legend():
    values = [Interval(0.7, 0.65, 0.76)] * 3
    panels = {kind: {"MetaAAE": values, "one-class MAML": values} for kind in ("known faults", "new faults")}
    fig = generative.variety([1, 2, 4], panels, 0.75)
    left, right = fig.axes
    assert (left.get_title(), right.get_title()) == tuple(panels)
    assert left.lines[0].get_color() == plots.look("MetaAAE").color
    assert [len(left.lines), len(right.lines)] == [2, 3]  # the limit stands on the right alone
    assert len(fig.legends[0].get_texts()) == 2


def test_virtual_anomalies_have_a_panel_for_each_generator():
    support = RNG.normal(size=(2, 10))
    fig = generative.virtual(support, {"start": support + 1, "trained": support + 3}, 2.7)
    assert [ax.get_title() for ax in fig.axes] == ["start", "trained"]
    for ax, shift in zip(fig.axes, (1, 3), strict=True):
        circles, triangles = ax.collections
        assert np.allclose(circles.get_offsets(), support.T) and np.allclose(triangles.get_offsets(), support.T + shift)
        assert ax.lines[0].get_xdata()[0] == 2.7
