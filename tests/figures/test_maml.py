"""The figures of chapter 5 show what they are given, where their captions say."""

from __future__ import annotations

import numpy as np
import pytest

from metaad_tutorial import Fleet, judge, plots
from metaad_tutorial.figures import maml

RNG = np.random.default_rng(0)


def test_arrows_go_against_the_gradients():
    axis = np.linspace(-4, 4, 9)
    loss = 1 + axis[:, None] ** 2 + axis**2
    paths = RNG.normal(size=(4, 2, 2))
    slopes = {"exact": np.array([[1.0, 0.0], [0.0, 2.0]]), "first order": np.ones((2, 2))}
    fig = maml.landscapes(axis, loss, loss, paths, slopes)
    left, right = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["support loss, and inner loops", "query loss after the inner loop"]
    assert np.allclose([line.get_xydata() for line in left.lines], np.moveaxis(paths, 1, 0))
    assert not left.texts and len(right.texts) == 4
    steps = np.array([text.xy for text in right.texts[:2]]) - paths[0]
    assert np.allclose(steps, [[-1.3, 0], [0, -1.3]])
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == ["−gradient, exact", "−gradient, first order"]


def test_accuracy_is_on_the_right():
    episodes = Fleet(n_machines=20).sample(10, random_state=0)
    found = judge(episodes, RNG.normal(size=(10, 30)))
    fig = maml.by_steps(range(3), {"MAML": [found] * 3, "ANIL": [found] * 3}, trained=1)
    assert [ax.get_title() for ax in fig.axes] == ["AUROC", "accuracy"]
    means = [ax.lines[0].get_ydata()[0] for ax in fig.axes]
    assert means == pytest.approx([found.mean, found.accuracy.mean()])
    assert all(ax.lines[-1].get_xdata()[0] == 1 for ax in fig.axes)
    assert [line.get_color() for line in fig.axes[0].lines[:2]] == [plots.look(n).color for n in ("MAML", "ANIL")]


def test_held_out_digits_have_marks_of_their_own():
    digit = np.repeat([0, 1, 2, 3], 5)
    layers = {"random start": RNG.normal(size=(20, 2)), "learnt start": RNG.normal(size=(20, 2))}
    fig = maml.hidden_layers(layers, digit, [3, 1])
    for ax, layer in zip(fig.axes, layers.values(), strict=True):
        known, one, three = (cloud.get_offsets() for cloud in ax.collections)
        assert np.allclose(known, layer[(digit == 0) | (digit == 2)])
        assert np.allclose(one, layer[digit == 1]) and np.allclose(three, layer[digit == 3])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["training digits", "digit 1", "digit 3"]
