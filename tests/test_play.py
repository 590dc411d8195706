"""Figures to play with: their data come from the package, and the directive refuses what it cannot draw."""

from __future__ import annotations

import base64
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special
from scipy.stats import norm

from metaad_tutorial import (
    ConvNet,
    Fleet,
    Glyphs,
    NearestNeighbor,
    PrototypicalDetector,
    class_tasks,
    load_images,
    losses,
    metrics,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import play  # noqa: E402


def test_the_machine_shows_the_effect_and_the_numbers_are_the_packages():
    data = play.guess()
    known, asked = (torch.tensor(data[name]) for name in ("known", "asked"))
    assert known.shape == (5, 2) and asked.shape == (12, 2) and sum(data["faulty"]) == play.MARKED
    score = NearestNeighbor().fit(data["known"]).anomaly_score(data["asked"])
    assert np.allclose(score, data["scores"]["neighbour"], rtol=0, atol=1e-12)
    for name, scores in data["scores"].items():
        top = np.argsort(scores)[-play.MARKED :]
        assert data["found"][name] == sum(np.array(data["faulty"])[top])
    assert data["found"]["neighbour"] <= play.MARKED / 2 < data["found"]["learnt"] == play.MARKED
    assert 3 < data["mean"]["neighbour"] < data["mean"]["learnt"] <= data["mean"]["limit"] + 0.02


def test_the_siblings_are_machines_of_the_training_half():
    data = play.guess()
    fleet = Fleet(normal_shots=5, anomalous_shots=0, n_features=2, n_machines=500, seed=0)
    train, _, test = fleet.split(random_state=0)
    assert data["learnt_from"] == len(train) and data["machines"] == len(test)
    assert all(len(one["normal"]) == 11 and len(one["faulty"]) == 6 for one in data["siblings"])


def test_without_a_script_the_readings_are_drawn_without_their_labels():
    picture = play._machine(play.guess())
    assert picture.count("<circle") == 5 and picture.count("<rect") == 12
    assert "faulty" not in picture and 'role="img"' in picture


def test_the_promise_has_the_packages_ranks_and_the_law_of_false_alarms():
    data = play.promise()
    rng = np.random.default_rng(0)
    for n, share in ((19, 0.05), (99, 0.1), (5, 0.01)):
        (found,) = (check for check in data["checks"] if (check["n"], check["share"]) == (n, share))
        assert found["rank"] == max(1, int(share * (n + 1) + 1e-9)) and found["promised"] == found["rank"] / (n + 1)
        cuts = [metrics.rank_threshold(rng.normal(size=n), share) for _ in range(4000)]
        rates = norm.sf(cuts)
        assert abs(np.mean(rates) - found["promised"]) < 4 * np.std(rates) / np.sqrt(4000)
        for name, level in (("low", 0.05), ("high", 0.95), ("share", found["kept"])):
            assert abs(np.mean(rates <= found[name]) - level) < 4 * 0.5 / np.sqrt(4000)
    assert len(data["checks"]) == len(data["sizes"]) * len(data["shares"])


def test_the_first_calibration_is_the_packages():
    data = play.promise()
    assert data["n"] in data["sizes"] and data["share"] in data["shares"] and len(data["scores"]) == data["n"]
    assert data["cut"] == metrics.rank_threshold(data["scores"], data["share"]) == max(data["scores"])
    picture = play._calibration(data)
    assert picture.count("v9") == data["n"] and picture.count("<circle") == 1 and 'role="img"' in picture


def test_the_starts_have_the_losses_and_slopes_of_the_whole_descent():
    data = play.start()

    def loss(w, name):
        x, y = (np.array(data[name][key]) for key in "xy")
        z = w[0] * x + w[1]
        return np.mean(np.logaddexp(0, z) - y * z)

    def slope(f, w, h=1e-5):
        return np.array([(f(w + h * e) - f(w - h * e)) / (2 * h) for e in np.eye(2)])

    def descended(w, alpha, steps):
        for _ in range(steps):
            w = w - alpha * slope(lambda v: loss(v, "seen"), w)
        return w

    for check in data["checks"]:
        way, w = (check["alpha"], check["K"]), np.array(check["w"])
        end = descended(w, *way)
        four = [loss(v, name) for name in ("seen", "asked") for v in (w, end)]
        exact = slope(lambda v, way=way: loss(descended(v, *way), "asked"), w, h=1e-4)
        wanted = [*end, *four, *exact, *slope(lambda v: loss(v, "asked"), end)]
        assert np.allclose(check["values"], wanted, rtol=0, atol=1e-4)
    assert any((data["start"], data["alpha"], data["K"]) == (c["w"], c["alpha"], c["K"]) for c in data["checks"])


def test_the_turned_fault_has_the_auroc_of_drawn_scores():
    data, rng, n = play.fault(), np.random.default_rng(0), 20_000
    assert np.isclose(norm.cdf(data["delta"] / np.sqrt(2)), data["ceiling"])
    for check in data["checks"]:
        points = rng.normal(size=(2, n, check["m"]))
        points[1, :, 0] += data["delta"] * np.cos(np.deg2rad(check["angle"]))
        score = points[..., 0] if check["m"] == 1 else np.linalg.norm(points, axis=-1)
        assert abs(metrics.auroc([0] * n + [1] * n, score.ravel()) - check["auroc"]) < 4 / np.sqrt(6 * n)
        for at, height in zip(check["at"], check["heights"], strict=True):
            near = np.mean(np.abs(score[1] - at) < 0.1) / 0.2
            assert abs(near - height) < 0.01 + 4 * np.sqrt(height / 0.2 / n)
    assert 0.6 < data["levels"][0] < data["levels"][1] < 0.85


def test_the_game_has_the_losses_of_drawn_points():
    data, rng, n = play.game(), np.random.default_rng(0), 200_000
    for check in data["checks"]:
        mu, sigma = check["mu"], check["sigma"]

        def logit(x, mu=mu, sigma=sigma):
            return torch.as_tensor(norm.logpdf(x, mu, sigma) - norm.logpdf(x))

        drawn = rng.normal(size=n)
        c, c_virtual = logit(drawn), logit(mu + sigma * drawn[::-1])
        loss, divergence, other, *slopes = check["values"]
        wobble = 5 * float(c_virtual.std() + c.std()) / np.sqrt(n)  # a softplus has slope at most 1
        assert abs(float(losses.discrimination(c, c_virtual)) - loss) < wobble + 1e-9
        assert abs(float(losses.adversarial(c_virtual)) - other) < wobble + 1e-9
        assert np.isclose(loss, 2 * np.log(2) - 2 * divergence) and 0 <= divergence < np.log(2) <= other + 1e-9
        assert np.allclose(check["best"], torch.sigmoid(logit(np.array(check["at"]))), rtol=0, atol=1e-12)
        assert (mu, sigma) != (0, 1) or np.allclose(slopes, 0)  # G stays where the game is in equilibrium
    assert any((check["mu"], check["sigma"]) == (0, 1) for check in data["checks"])


def test_the_hedge_sees_what_it_sees_of_drawn_points():
    data, rng, n = play.kappa(), np.random.default_rng(0), 20_000
    delta = data["delta"]
    assert np.isclose(norm.cdf(delta / np.sqrt(2)), data["ceiling"])

    def score(e, kappa):
        d, r = e.shape[1], np.linalg.norm(e, axis=1)
        with np.errstate(divide="ignore"):
            anywhere = np.log(kappa) + np.log(special.hyp0f1(d / 2, (delta * r) ** 2 / 4))
            return np.logaddexp(np.log1p(-kappa) + delta * e[:, 0], anywhere) - delta**2 / 2

    for d in data["dims"]:
        normal, known, new = rng.normal(size=(3, n, d))
        known[:, 0] += delta
        new[:, 1] += delta
        of_d = [check for check in data["checks"] if check["d"] == d]
        assert [check["kappa"] for check in of_d][:: len(of_d) - 1] == [0, 1]
        for check in of_d[::4]:
            still, *moved = (score(e, check["kappa"]) for e in (normal, known, new))
            cut = np.quantile(still, 0.95)
            found = [metrics.auroc([0] * n + [1] * n, np.r_[still, one]) for one in moved]
            found += [(one > cut).mean() for one in moved]
            assert np.allclose(check["values"], found, rtol=0, atol=0.015)
            places = np.zeros((len(data["at"]), d))
            places[:, :2] = data["at"]
            assert np.allclose(check["scores"], score(places, check["kappa"]), rtol=0, atol=1e-9)
        for name, moved in (("normal", normal), ("known", known), ("fresh", new)):
            mean = [moved[:, 0].mean(), np.linalg.norm(moved[:, 1:], axis=1).mean()]
            assert np.allclose(np.mean(data["points"][d][name], 0), mean, rtol=0, atol=0.8)


def test_the_majority_is_the_norm_where_no_kind_is_special():
    data = play.majority()
    size, noise = data["size"], np.array(data["noise"])
    for k in (1, 2, 3):
        for name in ("mean", "neighbour"):
            assert data["curves"][name][k][k * size // (k + 1) - 1] == 0.5  # in every batch, hence in the mean
            assert data["curves"][name][k][0] > 0.9 and data["curves"][name][k][-1] < 0.4
        assert min(data["curves"]["line"][k]) > 0.95
    for check in data["checks"]:
        name, k, anomalies, batch, own = check["of"]
        corner = np.exp(2j * np.pi * np.arange(k + 1) / (k + 1))
        corner *= -data["gap"] / abs(corner[1] - corner[0])
        order = [*range(own + 1, k + 1), *range(own)]  # the kinds that share the anomalies, the first ones getting more
        counts = {own: size - anomalies} | {
            q: len(part) for q, part in zip(order, np.array_split(range(anomalies), k), strict=True)
        }
        x = np.concatenate([noise[batch, q, : counts[q]] @ [1, 1j] + corner[q] for q in range(k + 1)])
        scores = {
            "mean": lambda x, _: np.abs(x - x.mean()),
            "neighbour": lambda x, _: np.sort(np.abs(x[:, None] - x))[:, 3],
            "line": lambda x, centre: ((x.mean() - x) * np.conj(centre)).real / abs(centre),
        }
        assert np.allclose(check["scores"], scores[name](x, corner[own]), rtol=0, atol=1e-8)


def test_a_reading_taken_apart_keeps_the_formulas_of_its_parts():
    data = play.apart()
    for check in data["checks"]:
        covariance = np.full((4, 4), check["load"]) + (1 - check["load"]) * np.eye(4)
        xi, parts = np.array(check["xi"]), {way: np.array(own) for way, own in check["parts"].items()}
        lean, own = np.linalg.solve(covariance, xi), np.diag(np.linalg.inv(covariance))
        assert np.isclose(check["score"], xi @ lean) and np.isclose(parts["Shapley"].sum(), check["score"])
        assert np.allclose(parts["filled in"], lean**2 / own) and np.allclose(parts["z-score"], xi**2)
        assert np.allclose(parts["gradient"], 2 * parts["Shapley"], atol=1e-6)
        assert np.allclose(2 * parts["Shapley"], parts["occlusion"] + own * xi**2)
    first = [check for check in data["checks"] if check["load"] == data["load"]]
    assert [check["xi"] for check in first] == [reading["xi"] for reading in data["readings"][:3]]
    assert {reading["broken"] for reading in data["readings"]} == {0, 1, 2, 3}
    assert all(abs(x) <= 3.5 for reading in data["readings"] for x in reading["xi"])


def test_the_network_of_the_page_is_the_packages_and_does_what_is_said_of_it():
    data = play.draw()
    assert (play.WEIGHTS / "draw.js").stat().st_size < 300 * 1024
    detector, about = play.drawing_network()
    grey = np.frombuffer(base64.b64decode(data["images"]), np.uint8).reshape(-1, 14, 14) / 255
    assert len(grey) == data["each"] * len(data["digits"]) >= 20
    own = detector.fit(grey[:5])
    assert np.allclose(own.anomaly_score(grey), data["checks"]["scores"][str(data["digits"][0])], rtol=0, atol=1e-6)
    assert own.threshold_ == 0  # as in the page
    images = load_images("mnist", 14)
    tasks = class_tasks(images.X, images.label, normal_shots=5, normal_queries=15, anomalous_queries=15).sample(200, 2)
    score, labels = detector.score_tasks(tasks)[0], tasks.query_y.numpy()
    assert abs(metrics.auroc(labels, score).mean() - about["auroc"]) < 0.02
    assert abs((score > 0)[labels == 0].mean() - about["false_alarms"]) < 0.04
    assert abs((score > 0)[labels == 1].mean() - about["hits"]) < 0.04


def test_weights_are_stored_as_they_are_read(tmp_path, monkeypatch):
    before = dict(os.environ)
    spec = importlib.util.spec_from_file_location("drawing", ROOT / "benchmarks" / "drawing.py")
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    os.environ.clear()
    os.environ.update(before)
    network = ConvNet((4, 4, 8), "layer", outputs=6)
    detector = PrototypicalDetector(network=network, dtype="float32", meta_steps=2, random_state=1)
    detector.meta_fit(Glyphs(5, 0, 2, 2))
    drawing.store(detector, {"auroc": 0.5}, tmp_path / "draw.js")
    monkeypatch.setattr(play, "WEIGHTS", tmp_path)
    read, about = play.drawing_network()
    images = load_images("mnist", 14).X[:20]
    assert about == {"auroc": 0.5}
    scores = [one.fit(images[:5]).anomaly_score(images) for one in (read, detector)]
    assert np.allclose(*scores, rtol=0, atol=1e-4)


def test_without_a_script_six_images_are_drawn():
    picture = play._six(play.draw())
    assert picture.count("<g ") == 6 and picture.count("<rect") > 300 and 'role="img"' in picture


@pytest.mark.parametrize(
    ("name", "circles"), [("start", 4), ("fault", 40), ("game", 1), ("kappa", 40), ("majority", 18), ("apart", 4)]
)
def test_without_a_script_the_first_state_is_drawn(name, circles):
    data_of, picture = play.FIGURES[name]
    drawn = picture(data_of())
    assert drawn.count("<circle") == circles and 'role="img"' in drawn and "nan" not in drawn


def test_every_figure_has_a_script():
    assert {path.stem for path in (ROOT / "book" / "_static" / "play").glob("*.js")} == set(play.FIGURES)


def test_every_figure_has_data_a_picture_and_words():
    assert set(play.WORDS) == set(play.FIGURES)


@pytest.mark.parametrize(
    ("lines", "message"), [("{play} nothing\n:alt: x", "no figure 'nothing'"), ("{play} guess", "needs :alt:")]
)
def test_what_cannot_be_drawn_is_refused(lines, message):
    from docutils.core import publish_doctree
    from docutils.parsers.rst import directives
    from myst_parser.docutils_ import Parser

    directives.register_directive("play", play.Play)
    text = f"```{lines}\n```\n"
    told = []

    class Listen:
        write = told.append
        flush = staticmethod(lambda: None)

    publish_doctree(text, parser=Parser(), settings_overrides={"warning_stream": Listen(), "report_level": 1})
    assert any(message in str(line) for line in told)
