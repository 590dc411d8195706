"""The protocol: same number of settings, chosen on validation units, paired by unit and by seed."""

import json

import joblib
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from metaad_tutorial import (
    AADML,
    ACR,
    MAML,
    BatchNeighbor,
    Comparison,
    Contender,
    EmpiricalBayes,
    Fleet,
    Mahalanobis,
    MetaAAE,
    NearestNeighbor,
    compare,
    evaluate,
)
from metaad_tutorial.metrics import best_threshold

FLEET = Fleet(5, 2, 6, 4, n_machines=60, n_features=4)
PARTS = FLEET.split(random_state=0)
LINES = {
    "MAML": Contender(MAML(meta_steps=5, meta_batch=4), [{"inner_lr": 0.1}, {"inner_lr": 3.0}]),
    "empirical Bayes": Contender(EmpiricalBayes(meta_tasks=30)),
    "neighbour": Contender(NearestNeighbor(), [{"k": 1}, {"k": 5}], calibrate=True),
    "forest": Contender(IsolationForest(n_estimators=5)),
    "limit": Contender(FLEET.bayes_scores),
}
FOUND = compare(LINES, *PARTS, seeds=(3, 4), n_tasks=24)


def test_figures_are_those_of_evaluate():
    train, valid, test = PARTS
    for name, seed in (("MAML", 3), ("MAML", 4), ("empirical Bayes", 3)):
        detector = (
            LINES[name].detector.__sklearn_clone__().set_params(random_state=seed, **FOUND.outcomes[name].setting)
        )
        want = evaluate(detector.meta_fit(train, valid), test, 24, 1)
        i = FOUND.seeds.index(seed)
        assert FOUND.outcomes[name].by_seed["auroc"][i] == pytest.approx(want.mean, abs=1e-12)
        assert FOUND.outcomes[name].by_seed["accuracy"][i] == pytest.approx(want.accuracy.mean(), abs=1e-12)
    assert FOUND.units == list(dict.fromkeys(test.sample(24, 1).units.tolist()))
    assert FOUND.never == 0.6


def test_the_setting_is_the_best_on_validation_units_and_the_first_seed():
    train, valid, _ = PARTS
    tried = [evaluate(MAML(meta_steps=5, meta_batch=4, random_state=3, **s).meta_fit(train, valid), valid, 24, 1).mean
             for s in LINES["MAML"].settings]  # fmt: skip
    assert FOUND.outcomes["MAML"].setting == LINES["MAML"].settings[int(np.argmax(tried))]
    assert FOUND.outcomes["MAML"].tried == 2 and FOUND.outcomes["empirical Bayes"].tried == 1


def test_a_threshold_from_other_units_moves_decisions_alone():
    _, valid, test = PARTS
    plain = evaluate(NearestNeighbor(**FOUND.outcomes["neighbour"].setting), test, 24, 1)
    moved = FOUND.outcomes["neighbour"]
    assert (
        moved.by_seed["auroc"][0] == pytest.approx(plain.mean)
        and moved.by_seed["auroc"][0] == moved.by_seed["auroc"][1]
    )
    tasks = valid.sample(24, 2)
    cut = best_threshold(tasks.query_y, NearestNeighbor(**moved.setting).score_tasks(tasks)[0])
    want = ((plain.scores > cut) == plain.labels).mean()
    assert moved.by_seed["accuracy"][0] == pytest.approx(want)


def test_differences_are_paired():
    values = [FOUND.outcomes[name] for name in ("empirical Bayes", "MAML")]
    by_unit = values[0].by_unit["auroc"] - values[1].by_unit["auroc"]
    assert FOUND.minus("empirical Bayes", "MAML").mean == pytest.approx(by_unit.mean())
    by_seed = values[0].by_seed["auroc"] - values[1].by_seed["auroc"]
    assert FOUND.minus("empirical Bayes", "MAML", over="seeds").mean == pytest.approx(by_seed.mean())
    assert by_unit.mean() == pytest.approx(by_seed.mean())
    same = FOUND.minus("MAML", "MAML")
    assert same.mean == same.low == same.high == 0
    assert FOUND.winner() == "empirical Bayes"  # the limit knows the truth and does not compete


def test_what_each_has_seen():
    sees = {name: outcome.sees for name, outcome in FOUND.outcomes.items()}
    assert sees == {
        "MAML": "other tasks, support, labels", "empirical Bayes": "other tasks, support, labels",
        "neighbour": "other tasks' scores, support, labels", "forest": "support", "limit": "the truth",
    }  # fmt: skip
    assert Contender(Mahalanobis()).sees == "support" and Contender(BatchNeighbor()).sees == "batch"
    assert Contender(ACR()).sees == "other tasks, batch" and Contender(MetaAAE()).sees == "other tasks, support"


def test_as_text_html_and_json():
    text = str(FOUND)
    assert text.count("\n") == 6 and "never raising an alarm has accuracy 0.600" in text
    for name, outcome in FOUND.outcomes.items():
        assert name in text and f"{outcome.by_unit['auroc'].mean():.3f} [" in text
    page = FOUND._repr_html_()
    assert page.count("<tr>") == 6 and "other tasks&#x27; scores" in page
    again = Comparison.from_dict(json.loads(json.dumps(FOUND.to_dict())))
    assert str(again) == text and again.minus("MAML", "forest").mean == pytest.approx(
        FOUND.minus("MAML", "forest").mean, abs=1e-4
    )


def test_several_test_families_share_the_trainings():
    train, valid, test = PARTS
    both = compare(LINES, train, valid, {"as it is": test, "turned": test.turned(90)}, seeds=(3, 4), n_tasks=24)
    assert list(both) == ["as it is", "turned"]
    for name, outcome in both["as it is"].outcomes.items():
        if name != "forest":
            assert np.array_equal(outcome.by_unit["auroc"], FOUND.outcomes[name].by_unit["auroc"])
    assert both["turned"].interval("empirical Bayes").mean < 0.7 < both["as it is"].interval("empirical Bayes").mean


def few():
    lines = {name: LINES[name] for name in ("MAML", "empirical Bayes")}
    found = compare(lines, *PARTS, seeds=(3, 4), n_tasks=24, n_jobs=2)
    for name in lines:
        assert np.array_equal(found.outcomes[name].by_unit["auroc"], FOUND.outcomes[name].by_unit["auroc"])


def test_two_processes_find_the_same():
    few()


def test_a_dask_cluster_finds_the_same(tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        few()


def test_refusals():
    train, valid, test = PARTS
    with pytest.raises(ValueError, match="same number of settings"):
        compare(LINES | {"AADML": Contender(AADML(), [{}])}, train, valid, test)
    with pytest.raises(ValueError, match="overlap"):
        compare(LINES, train, valid, train)
    for wrong in ({"name": "MAMML"}, {"figure": "f2"}, {"over": "tasks"}):
        with pytest.raises(ValueError, match=next(iter(wrong.values()))):
            FOUND.interval(**{"name": "MAML"} | wrong)


def test_nobody_sees_labels_where_a_support_set_has_none():
    family = Fleet(n_machines=40, normal_shots=5, anomalous_shots=0)
    found = compare({"nearest": Contender(NearestNeighbor())}, *family.split(random_state=0), n_tasks=8)
    assert found.outcomes["nearest"].sees == "support"
    assert Contender(NearestNeighbor()).sees == "support, labels"
