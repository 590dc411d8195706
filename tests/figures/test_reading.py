"""Figures of chapter 12: what is shown where."""

from __future__ import annotations

import numpy as np

from metaad_tutorial import plots
from metaad_tutorial.figures import reading
from metaad_tutorial.metrics import Interval

RESULTS = [Interval(0.7, 0.65, 0.76), Interval(0.5, 0.4, 0.6)]


def test_columns_go_to_what_replaces_them():
    fig = reading.replaced(np.array([1.0, -0.5]), np.array([[1, 0.5], [0.5, 1]]), {"a": np.zeros(2), "b": np.ones(2)})
    for ax, ends in zip(fig.axes, ([(0, -0.5), (1, 0)], [(1, -0.5), (1, 1)]), strict=True):
        marks = [line for line in ax.lines if line.get_marker() in ("s", "v")]
        assert [tuple(np.ravel(line.get_data())) for line in marks] == ends
        (point,) = (line for line in ax.lines if line.get_marker() == "^")
        assert point.get_color() == plots.ANOMALY and np.allclose(np.ravel(point.get_data()), [1, -0.5])


def test_the_sweep_has_a_curve_for_each_way_and_two_levels():
    fig = reading.sweep([0.0, 0.8], {"z-score": RESULTS, "occlusion": RESULTS[::-1]}, 0.75, 0.125)
    (ax,) = fig.axes
    curves = [line for line in ax.lines if line.get_label() in ("z-score", "occlusion")]
    assert [list(line.get_ydata()) for line in curves] == [[0.7, 0.5], [0.5, 0.7]]
    assert [text.get_text() for text in ax.texts] == ["computed for no load", "chance"]
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["z-score", "occlusion"]


def test_sensors_that_fail_are_hatched():
    fig = reading.trusted({"a": [0.1, 1.5, 0.0], "b": [0.3, 1.0, 0.2]}, [1])
    for ax, values in zip(fig.axes, ([0.1, 1.5, 0.0], [0.3, 1.0, 0.2]), strict=True):
        assert [bar.get_height() for bar in ax.patches] == values
        assert [bar.get_hatch() == "///" for bar in ax.patches] == [False, True, False]


def test_each_row_has_the_image_its_maps_and_a_drawing():
    groups = np.arange(16).reshape(4, 4)
    image, parts = np.eye(4), np.array([0.1, 0.5, 0.2, 0.0])
    fig = reading.maps([(image, 2, {"x": parts, "y": -parts}, 1 - image)] * 2, groups)
    titles = [ax.get_title() for ax in fig.axes]
    assert titles == ["damaged", "x", "y", "nearest normal"] * 2
    assert len(fig.axes[1].images) == 2 and len(fig.axes[1].patches) == 2
    assert np.array_equal(fig.axes[3].images[0].get_array(), 1 - image)
