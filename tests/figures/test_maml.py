"""The figure of chapter 5 shows what it is given, where its caption says."""

from __future__ import annotations

import numpy as np

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
