"""The figures of chapter 2 show what they are given, where their captions say."""

from __future__ import annotations

import numpy as np
import pytest

from metaad_tutorial import Fleet, plots
from metaad_tutorial.figures import fleet, tasks
from metaad_tutorial.metrics import Interval

BOX = (-4.0, 8.0, -4.5, 4.5)
SMALL = Fleet(n_features=2, n_machines=20, ceiling=0.995)


def test_the_last_machine_keeps_its_labels_back():
    six = list(SMALL.sample(6, random_state=0))
    fig = tasks.machines(six, "ABCDEF")
    first, *_, last = fig.axes
    assert (first.get_title(), last.get_title()) == ("machine A", "machine F")
    assert [len(marks.get_offsets()) for marks in first.collections] == [5, 2, 15, 15]
    normal, withheld = last.collections
    assert (len(normal.get_offsets()), len(withheld.get_offsets())) == (5, 30)
    assert not len(withheld.get_facecolors())


def test_optimism_marks_the_best_penalty():
    sizes, penalties = np.array([12, 15, 20]), np.geomspace(0.1, 100, 5)
    theory = np.stack([1 - 10 / sizes, 1 + 10 / sizes], axis=1)
    losses = {"support loss": penalties / 50, "query loss": 2 - penalties / 100}
    left, right = tasks.optimism(sizes, theory, theory + 0.01, penalties, losses, 4.0).axes
    assert np.allclose(left.lines[1].get_ydata(), left.lines[0].get_ydata() + 0.01)
    assert left.lines[1].get_color() == left.lines[0].get_color() != left.lines[2].get_color()
    assert list(right.lines[-1].get_xdata()) == [4.0, 4.0]
    assert [text.get_text() for text in right.get_legend().get_texts()] == list(losses)


def test_each_unit_has_a_column_with_filled_support_points_above():
    (ax,) = tasks.splits({"training": ([0, 3, 4], "learn"), "testing": ([1], "report")}).axes
    support, query = ax.collections[:2]
    assert len(ax.collections) == 2 * 4
    assert support.get_offsets()[:, 1].min() > query.get_offsets()[:, 1].max()
    assert len(support.get_facecolors()) and not len(query.get_facecolors())
    places = {text.get_text(): text.get_position()[0] for text in ax.texts}
    assert places["0"] < places["4"] < places["1"] and places["report"] == places["1"]


def test_the_best_score_is_white_where_its_densities_cross():
    task = SMALL.sample(1, random_state=0)
    arrows = {"u": np.array([1.0, 0.0]), "best": np.array([1.0, 1.0])}
    left, right = fleet.best_score(task, lambda x: x[:, 0], BOX, np.zeros(2), arrows, 2.0).axes
    assert np.allclose(left.images[0].to_rgba(0.0)[:3], 1, atol=0.01)
    assert {"u", "best"} <= {text.get_text() for text in left.texts}
    normal, anomaly = right.lines[:2]
    assert (normal.get_color(), anomaly.get_color()) == (plots.NORMAL, plots.ANOMALY)
    x = normal.get_xdata()
    assert x[np.argmax(normal.get_ydata())] == pytest.approx(-2, abs=0.1)
    assert x[np.argmax(anomaly.get_ydata())] == pytest.approx(2, abs=0.1)


def test_ceilings():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    rate = np.linspace(0, 1, 9)
    measured = [Interval(0.86, 0.85, 0.87), Interval(0.9, 0.89, 0.91)]
    fig = fleet.ceilings(
        rng.normal(size=100) + labels, labels, (rate, rate**0.5, 0.97), [1, 5], measured, [0.87] * 9, 0.91
    )
    left, right = fig.axes
    assert [text.get_text() for text in left.get_legend().get_texts()][-1] == "computed: 0.970"
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["1", "5"]
    (bars,) = right.collections
    assert np.allclose([bar[:, 1] for bar in bars.get_segments()], [(0.85, 0.87), (0.89, 0.91)])


def test_settings_stand_in_columns_and_figures_in_rows():
    values = {"MAML": Interval(0.8, 0.7, 0.9), "nearest neighbour": Interval(0.7, 0.6, 0.8)}
    results = {label: {"one": values, "two": values} for label in ("AUROC", "accuracy")}
    fig = fleet.settings(results, {"AUROC": 0.97, "accuracy": 0.9})
    assert [ax.get_xlabel() for ax in fig.axes] == ["AUROC, one", "AUROC, two", "accuracy, one", "accuracy, two"]
    tops = [next(text.xy[0] for text in ax.texts if text.get_text() == "ceiling") for ax in fig.axes]
    assert tops == [0.97, 0.97, 0.9, 0.9]


def test_leaks_are_told_apart_without_colour():
    change = {"all rows": Interval(-0.1, -0.2, 0.0), "normal rows": Interval(0.1, 0.0, 0.2)}
    (ax,) = tasks.leaks({"pima": change, "yeast": change}, "scaled with").axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["pima", "yeast"]
    marks = [line for line in ax.lines if line.get_marker() in list(plots.MARKS)]
    assert len({mark.get_marker() for mark in marks}) == 2
    assert not {plots.NORMAL, plots.ANOMALY} & {mark.get_color() for mark in marks}


def test_families_use_all_points_or_the_normal_ones():
    task = SMALL.sample(1, random_state=0)
    steps = {":": lambda x: x[:, 1], "-": lambda x: x[:, 0]}
    far, near = (lambda x: np.hypot(*x.T)), (lambda x: 1 / (1 + np.exp(-x[:, 0])))
    fig = tasks.families(task, BOX, steps, far, 2.8, np.zeros(2), near, np.ones((6, 2)))
    assert [ax.get_title() for ax in fig.axes] == ["optimisation", "metric", "generative"]
    for ax, threshold in zip(fig.axes, (0.0, 2.8, 0.5), strict=True):
        assert np.allclose(ax.images[0].to_rgba(threshold)[:3], 1, atol=0.01)
    drawn = [sum(len(c.get_offsets()) for c in ax.collections if c.get_offsets().any()) for ax in fig.axes]
    assert drawn[0] - 2 == drawn[1] == drawn[2] == 35
