"""Figures of chapter 9: what is shown where."""

from __future__ import annotations

import numpy as np
import pytest

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
    others = {"1-nearest": pair + 0.1, "pooled Mahal.": pair}
    (ax,) = generative.tradeoff(best, {0.0: pair, 0.5: pair - 0.1}, others, "empirical Bayes").axes
    marks = [line for line in ax.lines if line.get_marker() not in ("None", "|", "_")]
    names = ("empirical Bayes", "empirical Bayes", "1-nearest", "pooled")
    assert [line.get_marker() for line in marks] == [plots.look(n).marker for n in names]
    assert np.allclose(marks[0].get_xydata(), pair.mean(1)[None])
    assert [text.get_text() for text in ax.texts] == ["κ=0", "κ=0.5", "1-nearest", "pooled Mahal."]
    assert ax.get_legend_handles_labels()[1] == ["who knows the fleet", "empirical Bayes"]


def test_clouds_stand_beside_each_other_around_one_circle():
    normal, cloud = RNG.normal(size=(2, 20, 2))
    fig = generative.beside(normal, {"known": cloud + 2, "stretched": cloud}, 2.7)
    assert [ax.get_title() for ax in fig.axes] == ["known", "stretched"]
    for ax, shift in zip(fig.axes, (2, 0), strict=True):
        triangles, circles = ax.collections
        assert np.allclose(triangles.get_offsets(), cloud + shift) and np.allclose(circles.get_offsets(), normal)
        assert ax.patches[0].radius == 2.7


def test_kinds_have_a_band_for_each_curve():
    values = [Interval(0.7, 0.65, 0.76)] * 3
    worlds = {title: {"held out": values, "new": values} for title in ("few", "any")}
    fig = generative.kinds([0, 0.5, 1], worlds)
    for ax in fig.axes:
        assert len(ax.collections) == len(ax.lines) == 2
        assert ax.collections[0].get_datalim(ax.transData).height == pytest.approx(0.11)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["held out", "new"]


def test_each_way_of_inventing_has_a_panel():
    normal = RNG.normal(size=(20, 2))
    fig = generative.ways(normal, {"inflated": normal * 2, "spiked": normal + 3})
    assert [ax.get_title() for ax in fig.axes] == ["inflated", "spiked"]
    assert np.allclose(fig.axes[1].collections[1].get_offsets(), normal + 3)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["normal row", "invented anomaly"]
