"""Nearest neighbour and Mahalanobis distance: scikit-learn's values, in whatever units the sensors have."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import task_of
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from metaad_tutorial import BatchNeighbor, Fleet, Mahalanobis, NearestNeighbor

X, Y, Q = task_of(Fleet(5, 2, 6, 6, n_machines=20, n_features=4))
MANY = np.random.default_rng(0).normal(size=(30, 4))
UNITS = np.array([1.0, 1000.0, 0.01, 1.0])
BOTH = pytest.mark.parametrize("method", [NearestNeighbor, Mahalanobis])


@pytest.mark.parametrize("k", [1, 3, 99])
def test_nearest_neighbor_is_scikit_learn_s(k):
    normal = X[Y == 0]
    rank = min(k, len(normal))
    want = NearestNeighbors(n_neighbors=rank).fit(normal).kneighbors(Q)[0][:, -1]
    assert np.allclose(NearestNeighbor(k, standardize=False).fit(normal).anomaly_score(Q), want)
    minus = np.linalg.norm(Q[:, None] - X[Y == 1], axis=-1).min(1)
    labelled = NearestNeighbor(k, standardize=False).fit(X, Y)
    assert np.allclose(labelled.anomaly_score(Q), want - minus)
    assert labelled.threshold_ == 0


def test_mahalanobis_is_scikit_learn_s():
    want = np.sqrt(LedoitWolf().fit(MANY).mahalanobis(Q))
    assert np.allclose(Mahalanobis(standardize=False).fit(MANY).anomaly_score(Q), want)
    spoilt = np.concatenate([MANY, np.full((3, 4), 50.0)])
    labelled = Mahalanobis(standardize=False).fit(spoilt, np.repeat([0, 1], [30, 3]))
    assert np.allclose(labelled.anomaly_score(Q), want)


@BOTH
def test_points_are_scaled_by_the_normal_ones(method):
    scaler = StandardScaler().fit(X[Y == 0])
    want = method(standardize=False).fit(scaler.transform(X), Y).anomaly_score(scaler.transform(Q))
    assert np.allclose(method().fit(X, Y).anomaly_score(Q), want)


@BOTH
def test_pixels_share_one_location_and_scale(method):
    images, asked = (x.reshape(len(x), 2, 2) for x in (MANY * UNITS, Q * UNITS))
    scaled = (MANY * UNITS - images.mean()) / images.std()
    want = method(standardize=False).fit(scaled).anomaly_score((Q * UNITS - images.mean()) / images.std())
    assert np.allclose(method().fit(images).anomaly_score(asked), want)


@BOTH
def test_units_do_not_matter(method):
    want = method().fit(MANY).anomaly_score(Q)
    assert np.allclose(method().fit(MANY * UNITS + 5).anomaly_score(Q * UNITS + 5), want)


def test_constant_columns_do_not_matter():
    constant, queries = (np.c_[points, np.full(len(points), 7.0)] for points in (X, Q))
    want = NearestNeighbor().fit(X, Y).anomaly_score(Q)
    assert np.allclose(NearestNeighbor().fit(constant, Y).anomaly_score(queries), want)


@pytest.mark.parametrize("value", [0.1, 0.5, 37.2])
@BOTH
def test_a_stuck_sensor_is_not_measured_in_its_rounding_noise(method, value):
    points, queries = (np.c_[x, np.full(len(x), value)] for x in (MANY, Q))
    detector = method().fit(points)
    near = queries * [1, 1, 1, 1, 1 + 1e-6]
    assert np.allclose(detector.anomaly_score(near), detector.anomaly_score(queries), rtol=0, atol=1e-3)


@BOTH
def test_values_whose_squares_overflow_are_refused(method):
    with pytest.raises(ValueError, match=r"overflow.*rescale that feature"):
        method().fit(MANY * 1e300)


def test_points_that_do_not_vary_at_all():
    detector = Mahalanobis().fit(np.full((20, 2), 2.0))
    assert detector.predict([[2.0, 2.0], [1e6, -1e6]]).tolist() == [1, -1]


def test_the_threshold_of_the_nearest_neighbor_leaves_each_point_out():
    points = np.array([[0.0], [1.0], [3.0], [10.0]])  # nearest others at 1, 1, 2, 7
    thresholds = [NearestNeighbor(standardize=False, contamination=c).fit(points).threshold_ for c in (0.1, 0.4, 0.5)]
    assert thresholds == [7, 2, 2]  # r = 1, 2, 2


@pytest.mark.parametrize("changed", [{"k": 2}, {"standardize": False}, {"contamination": 0.2}])
def test_what_scores_and_threshold_rely_on_may_not_change_after_the_fit(changed):
    for detector in (NearestNeighbor(k=1), BatchNeighbor(k=1)):
        detector.fit(X).set_params(**changed)
        with pytest.raises(ValueError, match=f"{next(iter(changed))} changed since fit"):
            detector.predict(X)
        assert detector.fit(X).predict(X).shape == (len(X),)


def test_neighbors_out_of_range():
    with pytest.raises(ValueError, match="k must be an integer of at least 1, got 0"):
        NearestNeighbor(k=0).fit(X, Y)
