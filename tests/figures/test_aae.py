"""Figures of chapter 8: what is shown where."""

from __future__ import annotations

import matplotlib
import numpy as np

from metaad_tutorial import plots
from metaad_tutorial.figures import aae

RNG = np.random.default_rng(0)


def test_planes_have_a_boundary_each():
    scores = {f"score {k}": (lambda p, k=k: p[:, k % 2], 0.2 * k) for k in range(4)}
    fig = aae.planes(scores, (-1, 1, -1, 1), RNG.uniform(-1, 1, (9, 2)))
    assert [ax.get_title() for ax in fig.axes] == list(scores)
    for k, ax in enumerate(fig.axes):
        circles, line = sorted(ax.collections, key=lambda c: len(c.get_offsets()), reverse=True)
        assert len(circles.get_offsets()) == 9
        assert np.allclose(line.get_paths()[0].vertices[:, k % 2], 0.2 * k)
    assert fig.axes[2].get_xlabel() and not fig.axes[0].get_xlabel() and fig.get_figheight() <= 5.7


def test_discriminator_lies_over_the_densities():
    x = np.linspace(-1, 1, 20)
    fig = aae.discriminator(x, x**2, 1 - x**2, x / 2 + 0.5, x / 2 + 0.4)
    trained, formula = fig.axes[0].lines
    assert np.allclose(trained.get_ydata(), x / 2 + 0.5) and np.allclose(formula.get_ydata(), x / 2 + 0.4)
    normal, virtual = fig.axes[0].collections
    assert matplotlib.colors.to_hex(normal.get_facecolor()[0]).upper() == plots.NORMAL
    assert virtual.get_hatch() and not normal.get_hatch()  # told apart without colour


def test_redrawn_letters_stand_below_their_images():
    pictures, labels = RNG.uniform(size=(4, 5, 5)), np.array([0, 0, 1, 1])
    fig = aae.redrawn(pictures, labels, 1 - pictures, [1.2, 2.0, 7.8, 9.0])
    above, below = np.reshape(fig.axes, (2, 4))
    for i in range(4):
        assert np.allclose(above[i].images[0].get_array() + below[i].images[0].get_array(), 1)
    assert [ax.get_xlabel() for ax in below] == ["1", "2", "8", "9"]
    assert above[3].spines["top"].get_linewidth() > above[0].spines["top"].get_linewidth()
