"""Figures of chapter 8: what is shown where."""

from __future__ import annotations

import matplotlib
import numpy as np

from metaad_tutorial import plots
from metaad_tutorial.figures import aae

RNG = np.random.default_rng(0)


def test_planes_have_a_boundary_each():
    scores = {f"score {k}": (lambda p, k=k: p[:, k % 2], 0.2 * k) for k in range(4)}
    fig = aae.planes(scores, (-1, 1, -1, 1), RNG.uniform(-1, 1, (9, 2)), np.repeat([0, 1], [6, 3]))
    assert [ax.get_title() for ax in fig.axes] == list(scores)
    for k, ax in enumerate(fig.axes):
        circles, triangles, line = sorted(ax.collections, key=lambda c: len(c.get_offsets()), reverse=True)
        assert len(circles.get_offsets()) == 6 and len(triangles.get_offsets()) == 3
        assert np.allclose(line.get_paths()[0].vertices[:, k % 2], 0.2 * k)
    assert fig.axes[2].get_xlabel() and not fig.axes[0].get_xlabel() and fig.get_figheight() <= 5.7


def test_starts_show_both_losses_beside_the_equilibrium_and_a_line_for_each_start():
    rounds, losses, by_C = (5, 25, 100, 400), RNG.uniform(0.5, 1.5, (4, 2)), RNG.uniform(size=(4, 7))
    left, right = aae.starts(rounds, losses, by_C, [0.9, 0.9, 0.8, 0.8]).axes
    shown = [np.asarray(line.get_ydata()) for line in left.lines]
    assert all(any(np.array_equal(values, y) for y in shown) for values in losses.T)
    limits = sorted(y[0] for y in shown if len(y) == 2)
    assert np.allclose(limits, [np.log(2), 2 * np.log(2)])
    shown = [np.asarray(line.get_ydata()) for line in right.lines]
    assert all(any(np.array_equal(values, y) for y in shown) for values in by_C.T)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["C, one start each", "error, mean"]
    assert left.get_xscale() == right.get_xscale() == "log" and left.get_ylim()[1] > losses.max()


def test_codes_stand_beside_what_c_makes_of_them():
    normal, noisy = RNG.normal(size=(2, 8, 2))
    left, right = aae.codes(normal, noisy, lambda z: z[:, 0] - 0.5, 3.0).axes
    circles, triangles = sorted(left.collections, key=lambda c: c.get_zorder() + np.allclose(c.get_offsets(), noisy))
    assert np.allclose(circles.get_offsets(), normal) and np.allclose(triangles.get_offsets(), noisy)
    (line,) = right.collections
    assert np.allclose(line.get_paths()[0].vertices[:, 0], 0.5)
    assert left.get_xlim() == (-3, 3) and left.get_ylabel() and right.get_xlabel()


def test_methods_stand_beside_one_of_them():
    figures = {"AAE": RNG.uniform(size=6)}
    figures |= {"A": figures["AAE"] + 0.1, "B": RNG.uniform(size=6)}
    (ax,) = aae.beside(figures, "AAE").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B"]
    texts = [text.get_text() for text in ax.texts]
    assert "0.100" in texts and "AAE" in texts
    assert any(np.allclose(line.get_xdata(), 0) and line.get_linestyle() == "--" for line in ax.lines)


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
