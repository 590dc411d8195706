"""Figures to play with: their data come from the package, and the directive refuses what it cannot draw."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from metaad_tutorial import Fleet, NearestNeighbor, metrics

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
