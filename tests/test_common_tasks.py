"""Tables of different widths as one family, grouped rows, stored tasks, missing values, invented anomalies."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import norm

from metaad_tutorial import (
    Fleet,
    PooledLogistic,
    StoredTasks,
    check_disjoint,
    common_columns,
    common_tasks,
    domain_tasks,
    evaluate,
    load_classes,
    load_table,
    speaker_tasks,
    table_tasks,
)
from metaad_tutorial.families.common_columns import LABELLED, UNLABELLED, column_names
from metaad_tutorial.families.invented import synthetic_table, virtual_anomalies
from metaad_tutorial.families.speakers import GroupedTasks

SHOTS = {"normal_shots": 12, "normal_queries": 10, "anomalous_queries": 5}


def cloud(n=40, d=6, anomalies=20, seed=0):
    """A round cloud and anomalies two standard deviations beside it; one column never changes among normal points."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n + anomalies, d)), np.repeat([0, 1], [n, anomalies])
    X[y == 1] += 2
    X[:, 0] = np.where(y == 1, rng.integers(2, size=len(y)), 0)
    return X, y


def worlds():
    return {f"w{d}": cloud(60, d, 30, seed=d) for d in (3, 5, 9)}


@pytest.mark.parametrize("labelled", [False, True])
def test_columns_do_not_depend_on_units_order_or_other_query_points(labelled):
    X, y = cloud()
    support = np.r_[0:20, 40:45] if labelled else np.r_[0:20]
    query = np.r_[25:35, 50:60]
    a, b = common_columns(X[support], y[support], X[query])
    assert a.shape == (len(support), len(column_names(labelled))) and b.shape == (20, a.shape[1])
    assert np.isfinite(a).all() and np.isfinite(b).all()
    for part in (X[query][:1], X[query][7:9]):  # a query point is judged alone
        alone = common_columns(X[support], y[support], part)[1]
        at = 0 if len(part) == 1 else slice(7, 9)
        assert np.allclose(alone, np.atleast_2d(b[at]), atol=1e-9)
    moved = X * np.linspace(0.5, 900, X.shape[1]) - 3e3  # other units of measurement
    c, d = common_columns(moved[support], y[support], moved[query])
    few = len(UNLABELLED) * 2  # trees cut between values, so that rounding may turn a tie
    assert np.allclose(a[:, :few], c[:, :few], atol=1e-5) and np.allclose(b[:, :few], d[:, :few], atol=1e-5)


def test_ranks_of_unseen_normal_points_are_those_of_conformal_p_values():
    """About the share p of normal query points lies beyond the quantile of p; only place and scale saw the support."""
    rng, beyond = np.random.default_rng(0), []
    names = column_names(False)
    ranks = [i for i, name in enumerate(names) if name in ("nearest, rank", "nearest 5, rank", "local, rank")]
    for _ in range(200):
        X = rng.normal(size=(39, 4))
        beyond.append(common_columns(X[:19], np.zeros(19), X[19:])[1][:, ranks] > norm.isf(0.1) - 1e-9)
    shares = np.concatenate(beyond).mean(0)
    assert (shares < 0.14).all() and (shares > 0.06).all()


def test_support_points_are_described_as_if_they_had_not_been_fitted_on():
    """Normal support points and normal query points have the same distribution, with leave-one-out scores."""
    rng = np.random.default_rng(1)
    drawn = [rng.normal(size=(40, 4)) for _ in range(150)]
    pairs = [common_columns(X[:20], np.zeros(20), X[20:]) for X in drawn]
    own, new = (np.concatenate(side) for side in zip(*pairs, strict=True))
    names = column_names(False)
    for name in ("nearest", "nearest 5", "manhattan 5", "local", "tails"):
        i = names.index(f"{name}, size")
        assert abs(np.median(own[:, i]) - np.median(new[:, i])) < 0.25, name


def test_labelled_columns_tell_anomalies_and_see_no_own_label():
    rng = np.random.default_rng(2)
    names, gaps = column_names(True), []
    for _ in range(20):  # labels that mean nothing: no column may know them
        X, y = rng.normal(size=(40, 5)), np.repeat([0, 1], [30, 10])
        own = common_columns(X, y, X[:1])[0]
        gaps.append(own[y == 1].mean(0) - own[y == 0].mean(0))
    for name in LABELLED:
        i = names.index(f"{name}, size")
        spread = np.std([gap[i] for gap in gaps], ddof=1) / np.sqrt(len(gaps))
        assert abs(np.mean([gap[i] for gap in gaps])) < 4 * spread + 0.3, name
    X, y = cloud(seed=3)
    query = common_columns(X[np.r_[0:25, 40:48]], y[np.r_[0:25, 40:48]], X[np.r_[25:40, 48:60]])[1]
    for name in LABELLED:
        i = names.index(f"{name}, size")
        assert query[15:, i].mean() > query[:15, i].mean() + 1, name


def test_changed_constants_are_counted_and_a_constant_table_is_described():
    X, y = cloud()
    query = X[20:].copy()
    query[:, 0] = np.arange(len(query)) % 2
    described = common_columns(X[:20], y[:20], query)[1]
    assert np.array_equal(described[:, -1], query[:, 0])
    support, flat = common_columns(np.ones((5, 3)), np.zeros(5), np.array([[1.0, 1, 1], [1, 2, 2]]))
    assert np.isfinite(support).all() and flat[:, -1].tolist() == [0, 2]


@pytest.mark.parametrize(("normal", "anomalous"), [(2, 0), (5, 2)])
def test_too_few_points_to_describe_are_refused(normal, anomalous):
    X, y = cloud()
    rows = np.r_[0:normal, 40 : 40 + anomalous]
    with pytest.raises(ValueError, match=f"at least 3 normal.*got {normal} and {anomalous}"):
        common_columns(X[rows], y[rows], X)
    with pytest.raises(ValueError, match=f"at least 3 normal.*got {normal} and {anomalous}"):
        common_tasks(worlds(), **SHOTS | {"normal_shots": normal, "anomalous_shots": anomalous})


def test_tables_of_any_width_make_one_family_that_a_detector_learns_from():
    family = common_tasks(worlds(), source="worlds", **SHOTS)
    drawn = family.sample(6, 0)
    assert drawn.query_x.shape == (6, 15, 17) and family.feature_names == column_names(False)
    assert drawn.support_x.dtype == torch.float64 and sorted(drawn.units.tolist()) == sorted([*worlds()] * 2)
    detector = PooledLogistic(standardize=True, meta_tasks=12, random_state=0).meta_fit(family.restrict(["w3", "w5"]))
    assert evaluate(detector, family.restrict(["w9"]), 20, 0).by_unit()[0] > 0.9
    with pytest.raises(ValueError, match="w3"):
        evaluate(detector, family.restrict(["w3"]), 5, 0)


def test_own_columns_are_the_same_rows():
    tables = worlds()
    family = common_tasks(tables, **SHOTS)
    described, plain = family.restrict(["w5"]).sample(4, 3), family.own_columns("w5").sample(4, 3)
    assert plain.query_x.shape[-1] == 5 and torch.equal(described.query_y, plain.query_y)
    for i in range(4):
        again = common_columns(plain.support_x[i], plain.support_y[i], plain.query_x[i])[1]
        assert np.array_equal(described.query_x[i].numpy(), again)


def test_short_tables_are_dropped_or_listed_at_once():
    tables = worlds() | {"a": cloud(8), "b": cloud(9)}
    with pytest.raises(ValueError, match=r"2 of 5 units have too few.*'a' has 8 and 20, 'b' has 9 and 20"):
        common_tasks(tables, **SHOTS)
    assert sorted(common_tasks(tables, short="drop", **SHOTS).units) == sorted(worlds())
    with pytest.raises(ValueError, match="must be a dict"):
        common_tasks([cloud()], **SHOTS)


def test_missing_values_take_the_median_of_the_support_set_alone():
    X = np.arange(40.0).reshape(20, 2)
    X[5:9, 1] = np.nan
    y = np.repeat([0, 1], [14, 6])
    shots = {"normal_shots": 3, "normal_queries": 5, "anomalous_queries": 5}
    with pytest.raises(ValueError, match=r"table 'a' must hold finite numbers .*contains NaN.*missing="):
        table_tasks({"a": (X, y)}, **shots)
    family = table_tasks({"a": (X, y)}, missing="median", **shots)
    filled = 0
    for task in family.sample(60, 0):
        support, query = task.support_x[0].numpy(), task.query_x[0].numpy()
        known = ~np.isin(support[:, 0], X[5:9, 0])
        lost = np.isin(query[:, 0], X[5:9, 0])
        expected = np.median(support[known, 1]) if known.any() else 0.0
        assert (query[lost, 1] == expected).all()
        if not known.any():
            assert (query[:, 1] == 0).all() and (support[:, 1] == 0).all()
        filled += lost.sum()
    assert filled > 20
    assert domain_tasks(X, y, np.repeat("d", 20), missing="median", **shots).sample(1, 0).query_x.isfinite().all()
    with pytest.raises(ValueError, match=r"contains infinity.*drop infinity"):
        table_tasks({"a": (np.where(X == 3, np.inf, X), y)}, missing="median", **shots)
    with pytest.raises(ValueError, match="missing must be"):
        table_tasks({"a": (X, y)}, missing="mean", **shots)


def test_stored_tasks_are_drawn_once_and_kept_by_their_owner():
    family = Fleet(n_machines=12)
    stored = StoredTasks(family, 3, random_state=0)
    first = stored.sample(36, 1)
    assert len(torch.unique(first.query_x.flatten(1), dim=0)) == 36  # none twice before all were used
    assert stored.sizes == family.sizes and not torch.equal(first.query_x, stored.sample(36, 2).query_x)
    train, valid = stored.split((0.5, 0.5), 0)
    assert set(train.sample(10, 0).units) <= set(train.units) and len(train.tasks) == 18
    assert len(pickle.dumps(train)) < 0.7 * len(pickle.dumps(stored))
    check_disjoint(train, valid)
    with pytest.raises(ValueError, match=r"overlap|share"):
        check_disjoint(train, family)


def test_windows_of_one_sound_are_never_in_support_and_query():
    vowel = load_classes("vowel")
    sound = {
        tuple(x): (s, v) for x, s, v in zip(vowel.X.tolist(), vowel.group.tolist(), vowel.label.tolist(), strict=True)
    }
    family = speaker_tasks(anomalous=(1, 4, 7), anomalous_shots=2)
    drawn = family.sample(30, 0)
    for task in drawn:
        own, asked = ([sound[tuple(x)] for x in part[0].tolist()] for part in (task.support_x, task.query_x))
        assert not set(own) & set(asked)
        assert {speaker for speaker, _ in own + asked} == {task.units[0]}
        for sounds, labels in ((own, task.support_y[0]), (asked, task.query_y[0])):
            assert [v in (1, 4, 7) for _, v in sounds] == labels.bool().tolist()
    assert set(family.restrict([3, 1]).groups) == {1, 3}  # a part holds nothing of other speakers
    with pytest.raises(ValueError, match=r"overlap|share"):
        check_disjoint(family, speaker_tasks(anomalous=(0, 2), normal=(3, 5, 6), normal_shots=4, normal_queries=8))


def test_normal_vowels_can_be_chosen_and_what_cannot_be_drawn_is_refused():
    labels = load_classes("vowel")
    family = speaker_tasks(anomalous=(9,), normal=(0, 1, 2, 3), normal_queries=12)
    rows = {tuple(x) for x in labels.X[np.isin(labels.label, (0, 1, 2, 3))].tolist()}
    drawn = family.sample(5, 0)
    assert {tuple(x) for x in drawn.query_x[drawn.query_y == 0].tolist()} <= rows
    for bad in ({"anomalous": (11,)}, {"anomalous": (1,), "normal": (1, 2)}, {"anomalous": ()}, {"normal": (0,)}):
        with pytest.raises(ValueError, match="different vowels of 0 to 10"):
            speaker_tasks(**bad)
    with pytest.raises(ValueError, match="different groups"):
        speaker_tasks(anomalous=(9,), anomalous_shots=2, anomalous_queries=2)  # one sound cannot be on both sides
    pool = {"u": np.arange(12.0)[:, None]}
    with pytest.raises(ValueError, match=r"3 groups of \[1, 1, 10\]"):
        GroupedTasks(
            pool, pool, {"u": (np.r_[0, 1, np.full(10, 2)],) * 2}, normal_shots=3, normal_queries=3, anomalous_queries=3
        )


def test_virtual_anomalies_are_unusual_and_come_from_normal_rows_alone():
    X = np.random.default_rng(0).normal(size=(200, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
    made = virtual_anomalies(X, 300, 0)
    gap = made - X.mean(0)
    distance = np.einsum("nd,de,ne->n", gap, np.linalg.inv(np.cov(X.T)), gap)
    assert made.shape == (300, 5) and np.median(distance) > 3 * 5  # chi-square with 5 degrees has mean 5
    assert np.array_equal(made, virtual_anomalies(X, 300, 0))
    with pytest.raises(ValueError, match="at least 2 rows"):
        virtual_anomalies(X[:1], 3)


def test_synthetic_tables_differ_and_their_anomalies_can_be_found():
    tables = {f"s{i}": synthetic_table(i) for i in range(6)}
    assert len({X.shape[1] for X, _ in tables.values()}) > 2
    family = common_tasks(tables, **SHOTS)
    drawn = family.sample(12, 0)
    near = drawn.query_x[..., column_names(False).index("nearest, size")]
    assert near[drawn.query_y == 1].mean() > near[drawn.query_y == 0].mean() + 1


def test_a_real_table_with_missing_values_is_described():
    tables = {name: load_table(name) for name in ("hypothyroid", "hepatitis")}
    drawn = common_tasks(tables, anomalous_shots=3, **SHOTS).sample(4, 0)
    assert drawn.query_x.isfinite().all()


def test_a_counter_that_counts_high_is_no_constant():
    rng, y = np.random.default_rng(0), np.zeros(100, int)
    X, query = rng.normal(size=(100, 2)), rng.normal(size=(20, 2))
    query[:10, 0] += 20
    found = common_columns(X + [1.7e9, 0], y, query + [1.7e9, 0])[1]
    assert found[:10, 0].min() > found[10:, 0].max() and not found[:, -1].any()
    constant = [np.c_[points, np.full(len(points), 1.7e9 + 0.1)] for points in (X, query)]
    assert not common_columns(constant[0], y, constant[1])[1][:, -1].any()
