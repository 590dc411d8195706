"""Figures of chapter 10: what is shown where."""

from __future__ import annotations

import numpy as np

from metaad_tutorial import plots
from metaad_tutorial.figures import domains
from metaad_tutorial.metrics import Interval

RNG = np.random.default_rng(0)
RESULTS = [Interval(0.7, 0.65, 0.76), Interval(0.9, 0.88, 0.91), Interval(0.5, 0.4, 0.6)]


def test_strips_keep_normal_rows_and_anomalies_apart():
    scores, y = RNG.normal(size=12), np.repeat([0, 1], 6)
    fig = domains.strips({"a": (scores, y), "b": (scores - 1, y)})
    for ax, shift in zip(fig.axes, (0, 1), strict=True):
        normal, anomalous = (c.get_offsets() for c in ax.collections)
        assert np.allclose(normal[:, 0], scores[:6] - shift) and np.allclose(anomalous[:, 0], scores[6:] - shift)
        assert normal[:, 1].max() < 0.5 < anomalous[:, 1].min()
        assert ax.lines[0].get_xdata()[0] == 0


def test_alarms_stand_between_the_two_rates_and_machines_are_sorted():
    machines = {"raw": (np.array([0.4, 0.0, 0.1, 0.2]), np.array([0.0, 0.1, 0.2, 0.3]))}
    fig = domains.alarms([1, 2, 5], RESULTS, [1, 3, 5], [0.2, 0.1, 0.06], machines, raw=0.25, asked=0.05)
    ax, beside = fig.axes
    assert ax.get_xscale() == "log" and [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "5"]
    assert [text.get_text() for text in ax.texts] == ["not centred", "asked for"]
    measured = next(line for line in ax.lines if line.get_marker() == "o")
    assert np.allclose(measured.get_ydata(), [0.7, 0.9, 0.5])
    expected, found, _ = beside.lines
    assert np.allclose(found.get_ydata(), [0.0, 0.1, 0.2, 0.4]) and found.get_label() == "raw"
    assert np.allclose(expected.get_ydata(), [0.0, 0.1, 0.2, 0.3])
    assert np.allclose(found.get_xdata(), [0.125, 0.375, 0.625, 0.875])


def test_choices_show_the_judges_of_each_panel():
    judges = {"rows": [0.9, 1.0], "domains": [0.8, 0.7]}
    fig = domains.choices({"a": ([1, 10], "gamma", [1, 10], judges), "b": ([1, 100], "C", [1], judges)})
    for ax, name, ticks in zip(fig.axes, ("gamma", "C"), (["1", "10"], ["1"]), strict=True):
        assert ax.get_xlabel() == name and [t.get_text() for t in ax.get_xticklabels()] == ticks
        assert [list(line.get_ydata()) for line in ax.lines] == list(judges.values())
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(judges)


def test_many_has_a_curve_for_each_method():
    fig = domains.many([1, 4, 13], {"pooled logistic": RESULTS, "prototypes": RESULTS[::-1]}, "speakers")
    (ax,) = fig.axes
    assert ax.get_xlabel() == "training speakers" and ax.get_xscale() == "log"
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.7, 0.9, 0.5], [0.5, 0.9, 0.7]]
    assert ax.lines[1].get_color() == plots.look("prototypes").color


def test_methods_stand_beside_each_other_and_batch_methods_are_hollow():
    methods = ("classifier, 5 images", "prototypes", "ACR, batch")
    found = dict(zip(methods, RESULTS, strict=True))
    fig = domains.held_out({"Latin": found, "Greek": found}, "script")
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["Latin", "Greek"]
    bars = [line for line in ax.lines if line.get_marker() not in ("|", "_")]
    assert [line.get_color() for line in bars] == [plots.look(name).color for name in methods]
    assert [line.get_markerfacecolor() == "white" for line in bars] == [False, False, True]
    assert bars[0].get_xdata()[0] < bars[1].get_xdata()[0] == 0 < bars[2].get_xdata()[0]
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(methods)


def test_crowds_have_a_line_where_a_batch_method_breaks():
    found = {"1 other letter": RESULTS, "all different": RESULTS[::-1]}
    fig = domains.crowds([0.1, 0.5, 0.8], {"a": found, "b": {"ACR": RESULTS}}, {"1/2": 0.5, "2/3": 2 / 3})
    ax, beside = fig.axes
    assert ax.get_legend_handles_labels()[1] == list(found) and beside.get_legend_handles_labels()[1] == ["ACR"]
    assert [text.get_text() for text in ax.texts] == ["chance", "1/2", "2/3"]
    assert [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1] == [0.5, 2 / 3]
