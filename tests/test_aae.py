"""The adversarial autoencoder of one data set: the game, scores, pictures, files and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from metaad_tutorial import AAE, ConvNet
from metaad_tutorial.aae_game import Game
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
    alarms = []
    for seed in range(10):
        detector = AAE(latent=2, steps=120, random_state=seed).fit(X)
        assert auroc(Y, detector.anomaly_score(Q)) > 0.85
        assert all(np.isfinite(values).all() for values in detector.history_.values())
        flagged = detector.predict(Q) == -1
        assert flagged.mean() > 0.1
        alarms.append(flagged[Y == 0].mean())
        made = detector.virtual_anomalies(X, 0)
        assert made.std() > 1.1 * detector.reconstruct(X).std()  # virtual anomalies are not the data
    assert 0 < np.mean(alarms) < 0.2 and max(alarms) < 0.5


def test_c_sees_along_the_surface_what_the_error_cannot():
    """Normal points at two places on a line, anomalies between them and beyond."""
    rng = np.random.default_rng(0)

    def line(at):
        return np.outer(at, [1.0, 2.0, -1.0]) + rng.normal(scale=0.05, size=(len(at), 3))

    normal = [line(rng.choice((-1.0, 1.0), n) + rng.normal(scale=0.1, size=n)) for n in (300, 100)]
    far = line(np.concatenate([rng.uniform(-0.3, 0.3, 50), rng.choice((-2.0, 2.0), 50)]))
    test, y = np.concatenate([normal[1], far]), np.repeat([0, 1], 100)
    detector = AAE(latent=1, hidden=(32, 32), lr=0.005, random_state=1).fit(normal[0])
    assert auroc(y, detector.reconstruction_error(test)) < 0.95
    assert min(auroc(y, f(test)) for f in (detector.discriminator_logit, detector.anomaly_score)) > 0.99


@pytest.mark.parametrize("literal", [False, True])
def test_the_same_seed_plays_the_same_rounds(literal):
    short, again, long = (AAE(**QUICK | {"steps": steps}, literal=literal).fit(X) for steps in (20, 20, 30))
    assert short.history_ == again.history_
    assert list(short.history_) == ["reconstruction", "discrimination", "adversarial"][: 2 + literal]
    for name in short.history_ if literal else ["reconstruction"]:  # otherwise C plays after the longer training of E
        assert len(short.history_[name]) == 20 and short.history_[name] == long.history_[name][:20]
    other = AAE(**QUICK | {"random_state": 1}, literal=literal).fit(X)
    assert not np.array_equal(other.anomaly_score(Q), short.anomaly_score(Q))


def test_no_player_moves_another():
    """With and without the others' steps, E and D go where they go; C goes somewhere else against G."""
    plain, literal = (AAE(**QUICK, literal=literal).fit(X) for literal in (False, True))
    assert plain.params_.keys() & set("EDCG") == set("EDC") and literal.params_.keys() & set("EDCG") == set("EDCG")
    start = Game(5, 2, (8,), literal=True).init(np.random.default_rng(0))
    game, x = Game(5, 2, (8,), literal=True), torch.as_tensor(X[None])

    def played(**frozen):
        params = {player: {k: v.clone().requires_grad_() for k, v in own.items()} for player, own in start.items()}
        for player in frozen:
            params[player] = {k: torch.zeros_like(v).requires_grad_() for k, v in start[player].items()}
        history = game.play(params, x, np.random.default_rng(1), steps=10, batch_size=16, lr=0.01)
        return params, history["reconstruction"]

    (base, losses), (silent, same) = played(), played(C=True, G=True)
    assert losses == same
    for player in "ED":
        assert all(torch.equal(base[player][k], silent[player][k]) for k in base[player])
    history = AAE(**QUICK | {"steps": 200}).fit(X).history_["reconstruction"]
    assert np.mean(history[-20:]) < 0.5 * np.mean(history[:5])


def test_labelled_anomalies_are_left_out():
    both, y = np.concatenate([X, Q[Y == 1]]), np.repeat([0, 1], [80, 60])
    told, untold = AAE(**QUICK).fit(both, y), AAE(**QUICK).fit(X)
    assert np.array_equal(told.anomaly_score(Q), untold.anomaly_score(Q))
    assert told.threshold_ == untold.threshold_


def test_the_threshold_comes_from_points_kept_apart():
    detector = AAE(**QUICK, contamination=0.25).fit(X)
    apart = detector.anomaly_score(X[detector.params_["apart"]])
    assert len(apart) == 20 and detector.threshold_ == np.sort(apart)[-5]  # the rank rule: 0.25 * 21 is 5
    assert len(AAE(**QUICK).fit(X[:5]).params_["apart"]) == 5


def test_the_points_kept_apart_train_nothing():
    detector = AAE(**QUICK, standardize=False).fit(X)
    moved = X.copy()
    moved[detector.params_["apart"]] += 100
    again = AAE(**QUICK, standardize=False).fit(moved)
    assert again.history_ == detector.history_
    assert again.threshold_ != detector.threshold_


def test_the_literal_score_is_the_logit():
    detector = AAE(**QUICK, literal=True).fit(X)
    assert np.array_equal(detector.anomaly_score(Q), detector.discriminator_logit(Q))
    assert detector.params_["C"]["weight0"].shape == (5, 8)  # C reads points
    assert AAE(**QUICK).fit(X).params_["C"]["weight0"].shape == (2, 8)  # C reads codes


@pytest.mark.parametrize("network", [None, ConvNet((4, 4))])
@pytest.mark.parametrize("literal", [False, True])
def test_images(network, literal):
    digits = load_digits()
    images = digits.images[digits.target == 0]
    detector = AAE(network=network, literal=literal, steps=30, batch_size=16, random_state=0).fit(images[:60])
    flat = images[60:64].reshape(4, -1)
    assert np.array_equal(detector.anomaly_score(images[60:64]), detector.anomaly_score(flat))
    assert detector.reconstruct(flat).shape == detector.virtual_anomalies(flat).shape == (4, 64)
    assert detector.params_["scaling"]["scale"].unique().numel() == 1  # pixels share one scale
    first = detector.params_["C"]["weight0"]
    assert first.shape == ((64, 32) if network is None else (4, 1, 3, 3))  # C sees pixels


def test_the_score_as_a_module():
    detector = AAE(**QUICK).fit(X)
    module = detector.as_module()
    points = torch.as_tensor(Q).requires_grad_()
    np.testing.assert_allclose(module(points).detach(), detector.anomaly_score(Q), rtol=1e-12)
    assert torch.autograd.grad(module(points).sum(), points)[0].abs().max() > 0
    assert detector.explain(Q).shape == Q.shape


@pytest.mark.parametrize("own", [{}, {"literal": True}, {"dtype": "float32"}])
def test_files(tmp_path, own):
    detector = AAE(**QUICK | own).fit(X)
    detector.save(tmp_path / "aae.npz")
    loaded = AAE.load(tmp_path / "aae.npz")
    assert loaded.get_params() == detector.get_params()
    assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
    assert np.array_equal(loaded.predict(Q), detector.predict(Q))
    assert loaded.history_ == detector.history_


def test_images_stay_images_in_a_file(tmp_path):
    images = load_digits().images
    detector = AAE(steps=3, random_state=0).fit(images[:30])
    detector.save(tmp_path / "aae.npz")
    assert np.array_equal(AAE.load(tmp_path / "aae.npz").anomaly_score(images), detector.anomaly_score(images))


@pytest.mark.parametrize(
    "changed", [{"literal": True}, {"hidden": (3, 3)}, {"latent": 3}, {"dtype": "float32"}, {"standardize": False}]
)
def test_changed_networks_ask_for_another_fit(changed):
    detector = AAE(**QUICK).fit(X).set_params(**changed)
    for read in (detector.anomaly_score, detector.reconstruct):
        with pytest.raises(ValueError, match=f"{next(iter(changed))} changed since fit"):
            read(Q)


def test_a_failed_fit_changes_nothing(tmp_path):
    detector = AAE(**QUICK)
    with pytest.raises(ValueError, match="diverged"):
        detector.set_params(lr=1e300).fit(X)
    with pytest.raises(ValueError, match="Nothing to save"):
        detector.save(tmp_path / "none.npz")
    before = detector.set_params(lr=0.003).fit(X).anomaly_score(Q)
    with pytest.raises(ValueError, match="diverged"):
        detector.set_params(lr=1e300).fit(X)
    assert np.array_equal(detector.anomaly_score(Q), before)


@pytest.mark.parametrize(("scale", "offset", "dtype"), [(1e6, 0, "float64"), (1, 1e8, "float32"), (1e-9, 0, "float64")])
def test_units_do_not_matter(scale, offset, dtype):
    scores = [
        AAE(**QUICK, dtype=dtype).fit(f(X)).anomaly_score(f(Q)) for f in (lambda x: x, lambda x: x * scale + offset)
    ]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3)


@pytest.mark.parametrize("scale", [1e200, 1e-300])
def test_it_is_not_silently_blind(scale):
    with pytest.raises(ValueError, match="overflow or vanish"):
        AAE(**QUICK).fit(X * scale)


def test_refusals(tmp_path):
    for own, words in (
        ({"latent": 0}, "latent"),
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"hidden": (0,)}, "hidden"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"network": torch.nn.Linear(2, 2)}, "must be a ConvNet"),
        ({"network": ConvNet((4,), norm="batch")}, "must be a ConvNet"),
        ({"network": ConvNet((4,), outputs=2)}, "must be a ConvNet"),
        ({"network": ConvNet((4,))}, "as an image"),
        ({"contamination": 0.9}, "contamination"),
    ):
        with pytest.raises(ValueError, match=words):
            AAE(**QUICK | own).fit(X)
    with pytest.raises(ValueError, match="at least 2 normal points"):
        AAE(**QUICK).fit(X[:3], [0, 1, 1])
    with pytest.raises(ValueError, match="diverged"):
        AAE(**QUICK | {"lr": 1e200}).fit(X)
    with pytest.raises(ValueError, match="call meta_fit or fit first"):
        AAE().save(tmp_path / "none.npz")
