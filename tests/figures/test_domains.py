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


def test_alarms_stand_between_the_two_rates():
    fig = domains.alarms([1, 2, 5], RESULTS, [1, 3, 5], [0.2, 0.1, 0.06], raw=0.25, asked=0.05)
    (ax,) = fig.axes
    assert ax.get_xscale() == "log" and [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "5"]
    assert [text.get_text() for text in ax.texts] == ["not centred", "asked for"]
    measured = next(line for line in ax.lines if line.get_marker() == "o")
    assert np.allclose(measured.get_ydata(), [0.7, 0.9, 0.5])


def test_breakdown_draws_each_prediction_in_the_colour_of_its_measurements():
    curves, measured = {"d = 1": [0.9, 0.1], "d = 4": [0.8, 0.2]}, {"d = 1": RESULTS, "d = 4": RESULTS[::-1]}
    fig = domains.breakdown([0, 1], curves, [0.2, 0.5, 0.8], measured)
    lines = [line for line in fig.axes[0].lines if line.get_color() == plots.COLORS[1]]
    assert [list(line.get_ydata()) for line in lines[:2]] == [[0.8, 0.2], [0.5, 0.9, 0.7]]
    assert lines[0].get_linestyle() == "--" and lines[1].get_linestyle() == "None"


def test_methods_stand_beside_each_other_on_each_domain():
    methods = ("letter classifier", "prototypes", "batch (ACR)")
    found = dict(zip(methods, RESULTS, strict=True))
    fig = domains.held_out({"Latin": found, "Greek": found}, "script")
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["Latin", "Greek"]
    bars = [line for line in ax.lines if line.get_marker() not in ("|", "_")]
    assert [line.get_color() for line in bars] == [plots.look(name).color for name in methods]
    assert bars[0].get_xdata()[0] < bars[1].get_xdata()[0] == 0 < bars[2].get_xdata()[0]
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(methods)


def test_crowds_have_a_line_where_a_batch_method_breaks():
    found = {"1 other letter": RESULTS, "all different": RESULTS[::-1]}
    fig = domains.crowds([0.1, 0.5, 0.8], found, {"1/2": 0.5, "2/3": 2 / 3})
    (ax,) = fig.axes
    assert ax.get_legend_handles_labels()[1] == list(found)
    assert [text.get_text() for text in ax.texts] == ["1/2", "2/3", "chance"]
    assert [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1] == [0.5, 2 / 3]
