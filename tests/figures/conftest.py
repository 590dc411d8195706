"""What all tests of figures share: the book's style, and a drawing of whatever they leave open."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from metaad_tutorial import plots


@pytest.fixture(autouse=True)
def drawn():
    """Every open figure is drawn after the test, where warnings of the layout come; settings are put back."""
    with matplotlib.rc_context():
        plots.use_style()
        yield
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")
