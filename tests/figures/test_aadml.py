"""The figures of chapter 4 show what they are given, where their captions say."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from metaad_tutorial import Fleet, judge
from metaad_tutorial.figures import aadml


def test_planes_show_a_task_over_each_score():
    fig, axes = plt.subplots(2, 2)
    task = Fleet(n_features=2, n_machines=9).sample(1, random_state=0)
    scores = {f"column {k % 2}, {k}": lambda x, k=k: x[:, k % 2] for k in range(4)}
    marks = aadml.over_planes(axes.flat, scores, task)
    assert [ax.get_title() for ax in axes.flat] == list(scores) and len(marks) == 4
    assert [len(mark.get_offsets()) for mark in marks] == [15, 15, 5, 2]
    assert [ax.get_xlabel() for ax in axes.flat] == ["", "", "sensor 1", "sensor 1"]
    assert [ax.get_ylabel() for ax in axes.flat] == ["sensor 2", "", "sensor 2", ""]
    plt.close(fig)


def test_planes_are_white_at_the_threshold():
    task = Fleet(n_features=2, n_machines=10).sample(1, random_state=0)
    fig = aadml.planes({"right": lambda x: x[:, 0], "left": lambda x: -x[:, 0]}, task)
    assert [ax.get_title() for ax in fig.axes] == ["right", "left"]
    shades = [ax.images[0] for ax in fig.axes]
    assert all(np.allclose(image.to_rgba(0.0)[:3], 1, atol=0.01) for image in shades)
    assert np.allclose(shades[0].get_array(), -shades[1].get_array())
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == ["query, normal", "query, anomaly", "support, normal", "support, anomaly"]
    assert len(fig.legends[0].get_patches() + list(fig.legends[0].legend_handles)) == 4


def test_the_ceiling_belongs_to_auroc_and_the_limit_to_accuracy():
    fleet = Fleet(n_machines=20)
    episodes = fleet.sample(10, random_state=0)
    limit = judge(episodes, fleet.bayes_scores(episodes))
    noise = np.random.default_rng(0).normal(size=(10, 30))
    fig = aadml.beside_the_limit({"MAML": judge(episodes, noise), "limit": limit}, 0.97)
    fig.canvas.draw()
    left, right = fig.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["MAML"]
    assert {"ceiling", "chance"} < {text.get_text() for text in left.texts}
    assert {"limit", "chance"} < {text.get_text() for text in right.texts}
    at = next(text.xy[0] for text in right.texts if text.get_text() == "limit")
    assert at == limit.accuracy.mean()


def test_the_bias_is_the_last_row():
    fig = aadml.rule(np.array([1.0, 2.0, -3.0]), np.zeros(3), np.array([0.0, 0.5, 1.7]))
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1", "2", "bias b"]
    assert [text.get_text() for text in ax.texts] == ["1.0", "0.0", "0.0", "2.0", "0.0", "0.5", "-3.0", "0.0", "1.7"]
    assert ax.images[0].get_clim() == (-3, 3)  # white is 0
