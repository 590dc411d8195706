"""Which column made a score high: parts of scores whose answer is known, groups, references, refusals, pictures."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from metaad_tutorial import reading, reading_plots
from metaad_tutorial.looks import ANOMALY

X, MEAN = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 2.0]]), np.array([0.5, 0.0, 1.0])


def product(X):
    return X.prod(1)


def test_groups_are_replaced_together_and_the_rest_stays():
    def score(X):
        return X[:, 0] * X[:, 1] + 10 * X[:, 2]

    together = reading.occlusion(score, X, np.zeros(3), [[0, 1]])
    assert np.allclose(together[:, 0], X[:, 0] * X[:, 1])
    parts = reading.shapley(score, X, np.zeros(3), [[0, 1], [2]])
    assert np.allclose(parts, np.c_[X[:, 0] * X[:, 1], 10 * X[:, 2]])
    assert np.allclose(reading.shapley(score, X, np.zeros(3), [[0], [1]]).sum(1), X[:, 0] * X[:, 1])


def test_shapley_values_share_a_product_and_give_nothing_to_a_bystander():
    parts = reading.shapley(lambda X: X[:, 0] * X[:, 1], X, np.zeros(3))
    assert np.allclose(parts, np.c_[X[:, 0] * X[:, 1] / 2, X[:, 0] * X[:, 1] / 2, [0, 0]])


def test_many_sets_in_several_calls_are_the_same():
    rng = np.random.default_rng(0)
    Y, weights = rng.normal(size=(2, 10)), rng.normal(size=10)
    sizes = []

    def score(X):
        sizes.append(len(X))
        return np.tanh(X @ weights)

    parts = reading.shapley(score, Y, np.zeros(10))
    assert max(sizes) <= 2 * reading.AT_ONCE and sum(sizes) == 2 * 2**10
    assert np.allclose(parts.sum(1), np.tanh(Y @ weights))


def test_each_point_may_have_a_reference_of_its_own():
    own = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    for way in (reading.occlusion, reading.shapley, reading.gradient_parts):
        both = way(product, X, own)
        assert np.allclose(both, np.concatenate([way(product, X[i : i + 1], own[i]) for i in (0, 1)]))


def test_slopes_are_those_of_the_point():
    parts = reading.gradient_parts(product, X, MEAN)
    slopes = np.stack([X[:, 1] * X[:, 2], X[:, 0] * X[:, 2], X[:, 0] * X[:, 1]], 1)
    assert np.allclose(parts, slopes * (X - MEAN), atol=1e-8)


def test_without_correlations_nothing_is_expected_of_the_others():
    assert np.allclose(reading.expected(X, MEAN, np.diag([1.0, 2.0, 3.0])), MEAN)
    copies = np.array([[1.0, 0.999], [0.999, 1.0]])
    assert np.allclose(reading.expected([[3.0, -1.0]], [0, 0], copies), [[-1, 3]], atol=0.01)


def test_hits_are_of_the_largest_part():
    assert reading.top_hits([[1, 3, 2], [0, -1, -5]], [1, 2]).tolist() == [1, 0]
    assert reading.top_hits([[1, 3, 2], [0, -1, -5]], 0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reading.occlusion(product, X[0], MEAN), "flatten images"),
        (lambda: reading.occlusion(product, X * np.nan, MEAN), "finite points"),
        (lambda: reading.shapley(product, X, MEAN[:2]), "reference must be"),
        (lambda: reading.shapley(product, X, MEAN, [[0, 3]]), "from 0 to 2"),
        (lambda: reading.occlusion(product, X, MEAN, [[-1]]), "from 0 to 2"),
        (lambda: reading.shapley(product, np.ones((1, 17)), np.zeros(17)), "at most 16 groups"),
        (lambda: reading.gradient_parts(product, X, MEAN, step=0.0), "step must be positive"),
        (lambda: reading.expected(X, MEAN, np.ones((3, 3))), "positive definite"),
        (lambda: reading.expected(X, MEAN, np.eye(2)), "3 columns wide"),
    ],
)
def test_what_cannot_be_read_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def drawn():
    yield
    plt.close("all")


def test_bars_show_the_parts_the_largest_and_the_one_to_blame(drawn):
    fig = reading_plots.taken_apart({"a": [1, 3, -2], "b": [2, 0, 1]}, ["x", "y", "z"], marked=2)
    for ax, parts, top in zip(fig.axes, ([1, 3, -2], [2, 0, 1]), (1, 0), strict=True):
        bars = ax.patches
        assert [bar.get_width() for bar in bars] == parts
        assert [bar.get_hatch() is not None for bar in bars] == [j == top for j in range(3)]
        assert matplotlib.colors.to_hex(bars[2].get_facecolor()) == ANOMALY.lower()
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["x", "y", "z"]


def test_a_heat_map_boxes_the_largest_patch(drawn):
    groups = np.arange(16).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    _, ax = plt.subplots()
    reading_plots.heat_map(ax, np.eye(4), [0.1, -0.4, 0.3, 0.0], groups, box=groups[0])
    largest, blamed = ax.patches
    assert largest.get_xy() == (-0.5, 1.5) and largest.get_width() == largest.get_height() == 2
    assert blamed.get_xy() == (-0.5, -0.5) and blamed.get_linestyle() == "--"
    shade = ax.images[1].get_array()
    assert shade[0, 3] == -0.4 and shade[2, 0] == 0.3
