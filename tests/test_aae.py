"""The adversarial autoencoder of one data set: the game, scores, pictures, files and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from metaad_tutorial import AAE, ConvNet
from metaad_tutorial.metrics import auroc


def plane(n, seed):
    """Points near a plane in five dimensions."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(0).normal(size=(2, 5))
    return rng.normal(size=(n, 2)) @ basis + rng.normal(scale=0.1, size=(n, 5))


X, Q = plane(80, 1), np.concatenate([plane(60, 2), np.random.default_rng(3).normal(scale=2, size=(60, 5))])
Y = np.repeat([0, 1], 60)
QUICK = {"latent": 2, "hidden": (8,), "steps": 20, "batch_size": 16, "random_state": 0}


def test_it_finds_what_is_off_the_plane_in_ten_of_ten_starts():
    for seed in range(10):
        detector = AAE(latent=2, steps=120, random_state=seed).fit(X)
        assert auroc(Y, detector.anomaly_score(Q)) > 0.85
        assert all(np.isfinite(values).all() for values in detector.history_.values())
        assert 0 < (detector.predict(Q[Y == 0]) == -1).mean() < 0.5  # neither flags nothing nor everything
        made = detector.latent_codes(detector.virtual_anomalies(X, 0))
        assert made.std(0).min() > detector.latent_codes(X).std(0).min()  # G did not collapse onto the data


def test_the_same_seed_plays_the_same_rounds():
    short, long = AAE(**QUICK).fit(X), AAE(**QUICK | {"steps": 30}).fit(X)
    for name, losses in short.history_.items():
        assert len(losses) == 20 and losses == long.history_[name][:20]
    assert not np.array_equal(AAE(**QUICK | {"random_state": 1}).fit(X).anomaly_score(Q), short.anomaly_score(Q))


def test_each_player_descends_its_own_loss():
    def parts(**own):
        return AAE(**QUICK | own).fit(X).params_

    base, silent = parts(), parts(lambda_2=0)
    for name in ("encoder", "decoder"):  # E and D do not listen to the others
        assert all(torch.equal(base[name][k], silent[name][k]) for k in base[name])
    assert all(not silent["generator"][k].any() for k in ("weight1", "bias1"))  # the noise stays noise
    assert base["generator"]["weight1"].any()
    history = AAE(**QUICK | {"steps": 200}).fit(X).history_["reconstruction"]
    assert np.mean(history[-20:]) < 0.5 * np.mean(history[:5])


def test_labelled_anomalies_are_left_out():
    both, y = np.concatenate([X, Q[Y == 1]]), np.repeat([0, 1], [80, 60])
    assert np.array_equal(AAE(**QUICK).fit(both, y).anomaly_score(Q), AAE(**QUICK).fit(X).anomaly_score(Q))


def test_the_threshold_comes_from_points_kept_apart():
    detector = AAE(**QUICK, contamination=0.25).fit(X)
    apart = detector.anomaly_score(X[detector._apart])
    assert len(apart) == 20 and np.mean(apart > detector.threshold_) == 0.25
    assert len(AAE(**QUICK).fit(X[:5])._apart) == 5


def test_the_literal_score_is_the_logit():
    detector = AAE(**QUICK, literal=True).fit(X)
    assert np.array_equal(detector.anomaly_score(Q), detector.discriminator_logit(Q))
    assert detector.params_["discriminator"]["weight0"].shape == (8, 5)  # C reads points
    assert AAE(**QUICK).fit(X).params_["discriminator"]["weight0"].shape == (8, 3)  # C reads codes and errors


@pytest.mark.parametrize("network", [None, ConvNet((4, 4))])
def test_images(network):
    digits = load_digits()
    images = digits.images[digits.target == 0]
    detector = AAE(images=True, network=network, steps=30, batch_size=16, random_state=0).fit(images[:60])
    flat = images[60:64].reshape(4, -1)
    assert np.array_equal(detector.anomaly_score(images[60:64]), detector.anomaly_score(flat))
    assert detector.reconstruct(flat).shape == detector.virtual_anomalies(flat).shape == (4, 64)
    assert detector.latent_codes(flat).shape == (4, 8)
    assert detector.stats_["location"].dim() == 0  # pixels share one scale


@pytest.mark.parametrize("own", [{}, {"literal": True}, {"dtype": "float32"}])
def test_files(tmp_path, own):
    detector = AAE(**QUICK | own).fit(X)
    detector.save(tmp_path / "aae.npz")
    loaded = AAE.load(tmp_path / "aae.npz")
    assert loaded.get_params() == detector.get_params()
    assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
    assert np.array_equal(loaded.predict(Q), detector.predict(Q))
    assert loaded.history_ == detector.history_


def test_refusals(tmp_path):
    for own, words in (
        ({"latent": 0}, "latent"),
        ({"steps": 0}, "steps"),
        ({"lr": -1.0}, "lr"),
        ({"lambda_1": 0.0}, "lambda_1"),
        ({"lambda_2": -1.0}, "lambda_2"),
        ({"margin": -1.0}, "margin"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"network": ConvNet((4,))}, "set images=True"),
        ({"network": torch.nn.Linear(2, 2)}, "must be a ConvNet"),
        ({"network": ConvNet((4,), norm="batch"), "images": True}, "no norm"),
        ({"contamination": 0.9}, "contamination"),
    ):
        with pytest.raises(ValueError, match=words):
            AAE(**QUICK | own).fit(X)
    with pytest.raises(ValueError, match="at least 2 normal points"):
        AAE(**QUICK).fit(X[:3], [0, 1, 1])
    with pytest.raises(ValueError, match="diverged"):
        AAE(**QUICK | {"lr": 1e200}).fit(X)
    with pytest.raises(ValueError, match="call fit first"):
        AAE().save(tmp_path / "none.npz")
