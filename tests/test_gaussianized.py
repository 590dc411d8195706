"""Gaussianization: normal scores against SciPy's ranks, one round undoes the warp, files and bad input."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer

from metaad_tutorial import EmpiricalBayes, Fleet, GaussianizedBayes, evaluate, judge, load, table_tasks
from metaad_tutorial.gaussianized import gaussian, normal_scores

TRAIN, _, TEST = Fleet(directions=2, n_machines=700, n_features=6, warp=1.2).split(random_state=0)


def test_normal_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    seen, new = np.sinh(2 * rng.normal(size=(3000, 4))), np.sinh(3 * rng.normal(size=(2, 50, 4)))
    grid = torch.as_tensor(np.quantile(seen, np.linspace(0, 1, 1000), axis=0))
    expected = (
        QuantileTransformer(n_quantiles=1000, output_distribution="normal").fit(seen).transform(new.reshape(-1, 4))
    )
    found = normal_scores(torch.as_tensor(new), grid).reshape(-1, 4)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert found.abs().max() < 5.5


def test_one_round_undoes_the_warp():
    detector, raw = (kind(random_state=0).meta_fit(TRAIN) for kind in (GaussianizedBayes, EmpiricalBayes))
    tasks = TEST.sample(150, 1)
    limit = judge(tasks, TEST.bayes_scores(tasks))
    found, before = (evaluate(each, TEST, 150, 1) for each in (detector, raw))
    assert found.mean > limit.mean - 0.03 > before.mean + 0.03
    points = torch.as_tensor(TEST.sample(300, 2).query_x)
    flat = points[TEST.sample(300, 2).query_y == 0]
    scaling = detector.meta_["scaling"]
    z = gaussian(detector.meta_["maps"], (flat - scaling["location"].squeeze()) / scaling["scale"].squeeze())
    assert (z.mean(0).abs() < 0.25).all() and ((z.std(0) - 1).abs() < 0.15).all()


def test_rounds_are_kept_in_a_file(tmp_path):
    detector = GaussianizedBayes(rounds=2, random_state=0).meta_fit(TRAIN)
    detector.save(tmp_path / "two.npz")
    tasks = TEST.sample(5, 0)
    np.testing.assert_allclose(load(tmp_path / "two.npz").score_tasks(tasks)[0], detector.score_tasks(tasks)[0])
    assert set(detector.meta_["maps"]) == {"round00", "round01"}


def test_without_experience_it_is_empirical_bayes():
    task = TEST.sample(1, 0)
    x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
    scores = [kind().fit(x, y).anomaly_score(task.query_x[0]) for kind in (GaussianizedBayes, EmpiricalBayes)]
    np.testing.assert_allclose(*scores)


@pytest.mark.parametrize("bad", [0, 1.5, "two"])
def test_bad_rounds_are_refused(bad):
    with pytest.raises(ValueError, match="rounds must be"):
        GaussianizedBayes(rounds=bad).meta_fit(TRAIN)


def test_a_constant_column_is_named():
    rng, y = np.random.default_rng(0), np.repeat([0, 1], [40, 10])
    tables = {i: (np.c_[rng.normal(size=50), np.ones(50)], y) for i in range(12)}
    with pytest.raises(ValueError, match="A column is constant"):
        GaussianizedBayes(meta_tasks=20, random_state=0).meta_fit(table_tasks(tables, anomalous_queries=5))
