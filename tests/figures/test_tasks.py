"""The figures of chapter 2, and of chapter 3's fleet, show what they are given, where their captions say."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

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


def test_roc_gives_the_area():
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], [14, 6])
    scores = {"first": rng.normal(size=20) + labels, "second": rng.normal(size=20)}
    _, ax = plt.subplots()
    fleet.roc(ax, scores, labels)
    for line, (name, score) in zip(ax.lines, scores.items(), strict=False):
        area = np.trapezoid(*line.get_data()[::-1])
        assert area == pytest.approx(roc_auc_score(labels, score)) and line.get_label() == f"{name}: {area:.3f}"
    assert ax.get_legend() and ax.get_xlabel() == "false positive rate" and ax.get_ylabel() == "true positive rate"
