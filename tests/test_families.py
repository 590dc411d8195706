"""Tasks from labelled arrays and tables: nothing crosses a split, nothing is in support and query at once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from metaad_tutorial import (
    Domains,
    NearestNeighbor,
    StoredTasks,
    check_disjoint,
    class_tasks,
    domain_tasks,
    table_tasks,
)

SHOTS = {"normal_shots": 3, "anomalous_shots": 2, "normal_queries": 5, "anomalous_queries": 4}


def labelled(classes="abcdefgh", per_class=12):
    """Points that show where they come from: (index, one-hot class)."""
    y = np.repeat(np.array(list(classes)), per_class)
    X = np.c_[np.arange(len(y)), np.repeat(np.eye(len(classes)), per_class, axis=0)]
    return X, y


def tables(names="pqrs", rows=20):
    """Tables whose rows have ids of their own: 100 * table + row; half of the rows are anomalous."""
    y = np.tile([0, 1], rows // 2)
    return {name: (np.c_[100 * i + np.arange(rows), y], y) for i, name in enumerate(names)}


def classes_of(x):
    return x[..., 1:].argmax(-1).numpy()


def test_one_class_is_normal_and_the_others_are_anomalous():
    family = class_tasks(*labelled(), **SHOTS)
    assert sorted(family.units) == list("abcdefgh")
    drawn = family.sample(16, random_state=0)
    assert drawn.support_x.shape == (16, 5, 9) and drawn.query_x.shape == (16, 9, 9)
    assert {t.dtype for t in (drawn.support_x, drawn.support_y, drawn.query_x, drawn.query_y)} == {torch.float64}
    assert (drawn.support_y.sum(1) == 2).all() and (drawn.query_y.sum(1) == 4).all()
    own = np.array(["abcdefgh".index(unit) for unit in drawn.units])
    for x, y in ((drawn.support_x, drawn.support_y), (drawn.query_x, drawn.query_y)):
        assert np.array_equal(classes_of(x) != own[:, None], y.numpy() == 1)


def test_anomalies_never_come_from_the_other_side_of_a_split():
    family = class_tasks(*labelled(), **SHOTS)
    for seed in range(5):
        parts = family.split((0.5, 0.25, 0.25), random_state=seed)
        for part in parts:
            drawn = part.sample(30, random_state=seed)
            seen = set(classes_of(drawn.support_x).ravel()) | set(classes_of(drawn.query_x).ravel())
            assert seen == {"abcdefgh".index(unit) for unit in part.units}


def test_anomalies_come_from_every_other_class():
    drawn = class_tasks(*labelled(), **SHOTS).restrict(["a", "b", "c"]).sample(60, random_state=0)
    for unit in "abc":
        x, y = drawn.query_x[drawn.units == unit], drawn.query_y[drawn.units == unit]
        assert set(classes_of(x)[y.numpy() == 1]) == {"abc".index(o) for o in "abc" if o != unit}


@pytest.mark.parametrize("family", [class_tasks(*labelled(), **SHOTS), table_tasks(tables(), **SHOTS)])
def test_no_point_is_drawn_twice_in_a_task(family):
    drawn = family.sample(50, random_state=0)
    ids = torch.cat([drawn.support_x[..., 0], drawn.query_x[..., 0]], 1).numpy()
    assert all(len(set(row)) == 14 for row in ids)
    assert len({frozenset(row) for row in ids}) > 40  # tasks of one unit still differ


def test_every_point_of_a_pool_is_used():
    """Support and query together use up the pools: 3 + 9 normal and 2 + 10 anomalous points of 12."""
    X, y = labelled("ab")
    shots = {"normal_shots": 3, "anomalous_shots": 2, "normal_queries": 9, "anomalous_queries": 10}
    drawn = class_tasks(X, y, **shots).sample(4, random_state=0)
    ids = torch.cat([drawn.support_x[..., 0], drawn.query_x[..., 0]], 1).numpy()
    assert all(sorted(row) == list(range(24)) for row in ids)


def test_tables_keep_their_labels_and_stay_apart():
    family = table_tasks(tables(), **SHOTS)
    drawn = family.sample(12, random_state=0)
    for x, y in ((drawn.support_x, drawn.support_y), (drawn.query_x, drawn.query_y)):
        assert torch.equal(x[..., 1], y)  # the second column is the label
        assert np.array_equal(x[..., 0].numpy() // 100, np.array([["pqrs".index(u)] * x.shape[1] for u in drawn.units]))


def test_position_does_not_betray_the_label():
    drawn = class_tasks(*labelled(), **SHOTS).sample(1000, random_state=0)
    for y in (drawn.support_y, drawn.query_y):
        rate = y.mean()
        assert ((y.mean(0) - rate).abs() < 5 * (rate * (1 - rate) / len(y)).sqrt()).all()


def test_the_seed_fixes_the_tasks():
    family = class_tasks(*labelled(), **SHOTS)
    first, again, other = (family.sample(5, random_state=s).query_x for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_images_keep_their_shape():
    X, y = labelled("abc")
    images = np.stack([X, X], 1)  # (n, 2, 4)
    drawn = class_tasks(images, y, **SHOTS).sample(2, random_state=0)
    assert drawn.support_x.shape == (2, 5, 2, 4)


def test_inputs_may_be_tensors_lists_and_frames():
    X, y = labelled("abc")
    want = class_tasks(X, y, **SHOTS).sample(3, random_state=0).query_x
    others = [(torch.as_tensor(X), y), (X.tolist(), y.tolist()), (X.astype(np.float32), y)]
    try:
        import pandas as pd
    except ImportError:
        pass
    else:
        others.append((pd.DataFrame(X), pd.Series(y)))
    for points, labels in others:
        assert torch.equal(class_tasks(points, labels, **SHOTS).sample(3, random_state=0).query_x, want)


def test_the_reader_s_arrays_are_left_alone():
    X, y = labelled("abc")
    kept = X.copy()
    family = class_tasks(X, y, **SHOTS)
    family.sample(3, random_state=0).support_x.zero_()
    assert np.array_equal(X, kept)
    assert not torch.equal(family.sample(3, random_state=0).support_x, torch.zeros(3, 5, 4).double())


@pytest.mark.parametrize("build", [lambda: class_tasks(*labelled(), **SHOTS), lambda: table_tasks(tables(), **SHOTS)])
def test_a_family_built_twice_from_the_same_data_overlaps(build):
    train, test = build().split((0.5, 0.5), random_state=0)
    check_disjoint(train, test)
    with pytest.raises(ValueError, match=r"overlap.*family\.split"):
        check_disjoint(train, build())


def test_families_of_other_data_do_not_overlap():
    X, y = labelled()
    check_disjoint(class_tasks(X, y, **SHOTS), class_tasks(X + 1, y, **SHOTS))


def test_other_shots_of_the_same_data_overlap():
    X, y = labelled()
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(class_tasks(X, y, **SHOTS), class_tasks(X, y, **(SHOTS | {"anomalous_shots": 0})))


def bad_tables(**changes):
    return tables() | changes


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda X, y: class_tasks(X, y[:-1], **SHOTS), r"one label for each of the 96 points"),
        (
            lambda X, y: class_tasks(np.where(X == 5, np.nan, X), y, **SHOTS),
            r"X must hold finite .*NaN.*impute or drop",
        ),
        (lambda X, y: class_tasks(np.where(X == 5, np.inf, X), y, **SHOTS), r"X must hold finite numbers .*infinity"),
        (lambda X, y: class_tasks(X[:, 0], y, **SHOTS), r"X must be an array of points.*\(96,\)"),
        (lambda X, y: class_tasks(X[:, :, None, None], y, **SHOTS), r"X must be an array of points.*\(96, 9, 1, 1\)"),
        (lambda X, y: class_tasks(X[:0], y[:0], **SHOTS), r"at least 2 unit\(s\), got 0"),
        (lambda X, y: class_tasks(X, y, normal_shots=3), r"8 of 8 .*needs 18 normal.*'a' has 12 and.*Lower the shots"),
        (
            lambda X, y: class_tasks(X[:24], y[:24], **(SHOTS | {"anomalous_queries": 11})),
            r"13 anomal.*'a' has 12 and 12",
        ),
        (lambda X, y: class_tasks(X[:12], y[:12], **SHOTS), r"at least 2 unit"),
        (lambda X, y: class_tasks(X, y, **SHOTS).restrict(["a"]), r"at least 2 unit"),
        (lambda X, y: class_tasks(X[:60], y[:60], **SHOTS).split(), r"at least 2 unit.*split into fewer parts"),
        (lambda X, y: class_tasks(X, y, **(SHOTS | {"normal_shots": 0})), r"normal_shots must be an integer"),
        (lambda X, y: class_tasks(X, np.where(y == "a", np.nan, 1.0), **SHOTS), r"not NaN.*nan"),
        (lambda X, y: class_tasks(X, np.where(y == "a", None, y), **SHOTS), r"y must hold labels of one kind"),
        (lambda X, y: class_tasks(X.astype(complex), y, **SHOTS), r"X must hold finite numbers \(complex128"),
        (lambda X, y: class_tasks(y[:, None], y, **SHOTS), r"X must hold finite numbers .*'a'.*encode words"),
        (lambda X, y: table_tasks({}, **SHOTS), r"tables must be a dict, name -> \(X, y\), not empty"),
        (lambda X, y: table_tasks([(X, y)], **SHOTS), r"tables must be a dict, name -> \(X, y\).*got list"),
        (lambda X, y: table_tasks({"q": X}, **SHOTS), r"Table 'q' must be a pair \(X, y\), got ndarray"),
        (lambda X, y: table_tasks(bad_tables(q=(X, y == "a")), **SHOTS), r"same columns.*lacks \[\] and has .*, 8\]"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2], y)), **SHOTS), r"y of table 'q' must be 0.*'a'.*recode"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2], 2 * (y == "a") - 1)), **SHOTS), r"labels \[1, -1\]; recode"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2], [0, 1])), **SHOTS), r"y of table 'q' must hold one label"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2] * np.nan, y == "a")), **SHOTS), r"table .q. must hold .*NaN"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2], y == "z")), **SHOTS), r"'q' has 96 and 0"),
        (lambda X, y: table_tasks(tables() | {1: tables()["p"]}, **SHOTS), r"all of one kind"),
        (lambda X, y: table_tasks(tables(), short="keep", **SHOTS), r"short must be 'error' or 'drop', got 'keep'"),
    ],
)
def test_bad_data_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build(*labelled())


# --- Columns with names -------------------------------------------------------------------------------


def frames(*orders):
    """Tables as DataFrames with the columns in these orders; column "id" has the ids, "label" the labels."""
    pd = pytest.importorskip("pandas")
    return {
        name: (pd.DataFrame(X, columns=["id", "label"])[list(order)], pd.Series(y, index=range(7, 7 + len(y))))
        for order, (name, (X, y)) in zip(orders, tables().items(), strict=False)
    }


def test_columns_are_matched_by_name():
    same = table_tasks(frames(("id", "label"), ("id", "label")), **SHOTS)
    mixed = table_tasks(frames(("id", "label"), ("label", "id")), **SHOTS)
    plain = table_tasks(dict(list(tables().items())[:2]), **SHOTS)
    for family in (mixed, plain):
        assert torch.equal(family.sample(6, 0).query_x, same.sample(6, 0).query_x)
    assert plain.feature_names is None
    assert mixed.feature_names == mixed.split((0.5, 0.5), 0)[1].feature_names == ("id", "label")


def test_names_of_columns_are_kept():
    pd = pytest.importorskip("pandas")
    X, y = labelled("abc")
    names = tuple(f"x{i}" for i in range(4))
    frame = pd.DataFrame(X, columns=names)
    odd = np.arange(len(y)) % 2
    shots = dict.fromkeys(SHOTS, 1)
    for family in (class_tasks(frame, y, **shots), domain_tasks(frame, odd, y, **shots)):
        assert family.feature_names == family.restrict(["a", "b"]).feature_names == names
    assert class_tasks(pd.DataFrame(X), y, **shots).feature_names is None  # numbers are no names, as in scikit-learn


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.rename(columns={"label": "fault"}), r"'q' lacks \['label'\] and has \['fault'\] that 'p' has not"),
        (lambda X: X[["id"]], r"'q' lacks \['label'\] and has \[\] that"),
        (lambda X: X.assign(more=1.0), r"'q' lacks \[\] and has \['more'\] that"),
        (lambda X: X.to_numpy(), r"or all without \(2 in 'p'\); 'q' lacks \['id', 'label'\] and has \[0, 1\] that"),
        (lambda X: X.to_numpy()[:, :1], r"or all without \(2 in 'p'\); 'q' lacks \['id', 'label'\] and has \[0\] that"),
        (lambda X: X[["id", "id"]], r"table 'q' has several columns of one name"),
        (lambda X: X.assign(id="45.1 °C"), r"table 'q', column 'id' must hold finite numbers .*45.1 °C.*encode words"),
        (lambda X: X.assign(id=np.datetime64("2024-01-01")), r"table 'q', column 'id' must hold .*datetime64"),
        (lambda X: X.assign(id=1j), r"table 'q', column 'id' must hold finite numbers .*complex"),
        (lambda X: X.assign(id=X["id"].astype("Int64").where(X["id"] > 103)), r"table 'q', column 'id' .*missing|NaN"),
        (lambda X: X.where(X["id"] > 103), r"table 'q', column 'id' must hold .*contains NaN.*impute or drop"),
    ],
)
def test_columns_that_do_not_fit_are_named(change, message):
    both = frames(("id", "label"), ("id", "label"))
    with pytest.raises(ValueError, match=message):
        table_tasks(both | {"q": (change(both["q"][0]), both["q"][1])}, **SHOTS)


# --- Short tables, ordered tables, populations with a name --------------------------------------------


def uneven():
    """Tables "p" to "s" with 10 + 10, 10 + 1, 3 + 10 and 10 + 0 normal and anomalous rows."""
    rng, counts = np.random.default_rng(0), {"p": (10, 10), "q": (10, 1), "r": (3, 10), "s": (10, 0)}
    return {name: (rng.normal(size=(sum(n), 2)), np.repeat([0, 1], n)) for name, n in counts.items()}


def test_one_message_lists_every_short_table():
    listed = r"'q' has 10 and 1, 'r' has 3 and 10, 's' has 10 and 0\. "
    with pytest.raises(ValueError, match=rf"3 of 4 units .*8 normal and 6 anomalous ones: {listed}.*short"):
        table_tasks(uneven(), **SHOTS)


def test_short_tables_are_left_out_on_demand():
    family = table_tasks(uneven(), short="drop", **SHOTS)
    assert family.units.tolist() == ["p"] and family.sample(2, 0).query_x.shape == (2, 9, 2)
    with pytest.raises(ValueError, match="4 of 4 units"):
        table_tasks(uneven(), short="drop", **(SHOTS | {"normal_queries": 90}))


def test_tables_without_anomalies_serve_for_false_alarms():
    healthy = table_tasks(uneven(), short="drop", **(SHOTS | {"anomalous_shots": 0, "anomalous_queries": 0}))
    assert healthy.units.tolist() == ["p", "q", "s"]
    assert healthy.sample(3, 0).query_y.sum() == 0
    with pytest.raises(ValueError, match="overlap"):  # they are units of the same population
        check_disjoint(healthy, table_tasks(uneven(), short="drop", **SHOTS))


def ordered(tables, *counts):
    return table_tasks(tables, ordered=True, **dict(zip(SHOTS, counts, strict=True)))


@pytest.mark.parametrize("shots", [(3, 2), (3, 0), (1, 4)])
def test_ordered_tables_are_judged_on_what_comes_after_the_support_set(shots):
    rng = np.random.default_rng(1)
    y = [rng.permutation(np.repeat([0, 1], 20)) for _ in range(3)]
    family = ordered({i: (np.c_[np.arange(40), label].astype(float), label) for i, label in enumerate(y)}, *shots, 4, 4)
    drawn = family.sample(30, random_state=0)
    rows = (part[..., 0].numpy() for part in (drawn.support_x, drawn.query_x))
    for unit, support, query in zip(drawn.units, *rows, strict=True):
        first = [np.flatnonzero(y[unit] == label)[:n] for label, n in enumerate(shots)]
        assert np.sort(support).tolist() == np.sort(np.concatenate(first)).tolist()
        assert query.min() > support.max() and len(set(query)) == 8
    assert len(set(drawn.query_x[drawn.units == 0][..., 0].flatten().tolist())) > 12  # any later row can be drawn
    assert torch.equal(drawn.query_x[..., 1], drawn.query_y)


def test_ordered_tables_need_enough_later_rows():
    y = np.r_[np.zeros(10), np.ones(4), 0, 0, 0]  # after two anomalies come two more and three normal rows
    made = {"late": (np.c_[np.arange(17), y], y), "never": (np.zeros((4, 2)), np.r_[0, 0, 0, 1])}
    assert ordered({"late": made["late"]}, 3, 2, 3, 2).sample(1, 0).query_x.min() == 0
    with pytest.raises(ValueError, match=r"2 of 2 units.*'late' has 6 and 4, 'never' has 3 and 1"):
        ordered(made, 3, 2, 4, 2)


def test_a_population_with_a_name_stays_itself_while_it_grows():
    train = table_tasks(tables(), source="plant A", **SHOTS).split((0.5, 0.5), random_state=0)[0]
    grown = tables("pqrstu", rows=30)
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(train, table_tasks(grown, source="plant A", **SHOTS))
    new = table_tasks(grown, source="plant A", **SHOTS).restrict(["t", "u"])
    check_disjoint(train, new)
    check_disjoint(train, table_tasks(tables(), source="plant B", **SHOTS))
    X, y = labelled()
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(class_tasks(X, y, source="A", **SHOTS), class_tasks(X + 1, y, source="A", **SHOTS))


@pytest.mark.parametrize("build", [lambda: class_tasks(*labelled(), **SHOTS), lambda: table_tasks(tables(), **SHOTS)])
def test_a_part_holds_the_points_of_its_own_units_only(build):
    whole = build()
    part = whole.split((0.5, 0.5), random_state=0)[0]
    assert len(pickle.dumps(part)) < 0.7 * len(pickle.dumps(whole))
    assert set(part.normal) == set(part.units.tolist()) and len(whole.normal) == len(whole)


@pytest.mark.parametrize("names", [[7, 3], ["b", "a"], [1.5, 0.5]])
def test_tables_may_be_named_by_numbers_or_words(names):
    X, y = tables("p")["p"]
    drawn = table_tasks({name: (X + i, y) for i, name in enumerate(names)}, **SHOTS).sample(2, random_state=0)
    assert sorted(drawn.units) == sorted(names)


# --- One population, however it is wrapped --------------------------------------------------------------


def test_the_order_of_a_dict_makes_no_other_tables():
    both = tables()
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(table_tasks(both, **SHOTS), table_tasks(dict(reversed(both.items())), **SHOTS))


def test_stored_tasks_tell_what_lies_inside_their_units():
    parts = {name: table_tasks(tables(name), **SHOTS) for name in ("pq", "rs")}
    stored = StoredTasks(Domains(parts), 2, random_state=0)
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(stored, parts["rs"])
    check_disjoint(stored.restrict(["pq"]), parts["rs"])


def test_stored_tasks_whose_anomalies_are_other_units_cannot_be_split():
    X, y = labelled()
    family = class_tasks(X, y, **SHOTS)
    with pytest.raises(ValueError, match="split first, then store each part"):
        StoredTasks(family, 2, random_state=0).split((0.5, 0.5), 0)
    parts = [StoredTasks(part, 2, random_state=0) for part in family.split((0.5, 0.5), 0)]
    for part in parts:
        tasks = part.sample(8, 0)
        own = set(np.flatnonzero(np.isin(list("abcdefgh"), part.units)))
        assert set(classes_of(tasks.query_x).ravel()) <= own


def test_a_class_that_is_left_out_takes_its_points_from_the_anomalies_of_others():
    y = np.repeat(list("abc"), [20, 20, 10])
    shots = {"normal_shots": 5, "normal_queries": 10}
    assert len(class_tasks(np.zeros((50, 2)), y, short="drop", anomalous_queries=15, **shots)) == 2
    with pytest.raises(ValueError, match="too few points"):
        class_tasks(np.zeros((50, 2)), y, short="drop", anomalous_queries=25, **shots)


def test_another_order_of_columns_needs_names_that_later_points_can_be_compared_by():
    pd = pytest.importorskip("pandas")
    frames = {name: (pd.DataFrame(X), y) for name, (X, y) in tables("pq").items()}
    assert table_tasks(frames, **SHOTS).feature_names is None
    X, y = frames["q"]
    with pytest.raises(ValueError, match="'q' has the columns of 'p' in another order: give them strings"):
        table_tasks(frames | {"q": (X[[1, 0]], y)}, **SHOTS)


def test_masked_values_are_missing_ones():
    X, y = tables("p")["p"]
    masked = np.ma.masked_equal(X, X[3, 0])
    with pytest.raises(ValueError, match="contains NaN"):
        table_tasks({"p": (masked, y)}, **SHOTS)
    with pytest.raises(ValueError, match="NaN"):
        NearestNeighbor().fit(masked)
