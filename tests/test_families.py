"""Tasks from labelled arrays and tables: nothing crosses a split, nothing is in support and query at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaad_tutorial import check_disjoint, class_tasks, table_tasks

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
        (lambda X, y: class_tasks(np.where(X == 5, np.nan, X), y, **SHOTS), r"X contains NaN.*impute or drop"),
        (lambda X, y: class_tasks(np.where(X == 5, np.inf, X), y, **SHOTS), r"X contains NaN or infinity"),
        (lambda X, y: class_tasks(X[:, 0], y, **SHOTS), r"X must be an array of points.*\(96,\)"),
        (lambda X, y: class_tasks(X[:0], y[:0], **SHOTS), r"X must be an array of points"),
        (lambda X, y: class_tasks(X, y, normal_shots=3), r"Unit 'a' has 12 normal points.*needs 18.*lower the shots"),
        (lambda X, y: class_tasks(X[:24], y[:24], **(SHOTS | {"anomalous_queries": 11})), r"12 anomalous.*needs 13"),
        (lambda X, y: class_tasks(X[:12], y[:12], **SHOTS), r"at least 2 unit"),
        (lambda X, y: class_tasks(X, y, **SHOTS).restrict(["a"]), r"at least 2 unit"),
        (lambda X, y: class_tasks(X[:60], y[:60], **SHOTS).split(), r"at least 2 unit.*split into fewer parts"),
        (lambda X, y: class_tasks(X, y, **(SHOTS | {"normal_shots": 0})), r"normal_shots must be an integer"),
        (lambda X, y: table_tasks({}, **SHOTS), r"table"),
        (lambda X, y: table_tasks(bad_tables(q=(X, y == "a")), **SHOTS), r"same columns.*\(2,\).*\(9,\)"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2], y)), **SHOTS), r"y of table 'q' must be one 0"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2], [0, 1])), **SHOTS), r"y of table 'q' must be one 0"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2] * np.nan, y == "a")), **SHOTS), r"table 'q' contains NaN"),
        (lambda X, y: table_tasks(bad_tables(q=(X[:, :2], y == "z")), **SHOTS), r"Unit 'q' has 0 anomalous points"),
    ],
)
def test_bad_data_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build(*labelled())


@pytest.mark.parametrize("names", [[7, 3], ["b", "a"], [1.5, 0.5]])
def test_tables_may_be_named_by_numbers_or_words(names):
    X, y = tables("p")["p"]
    drawn = table_tasks({name: (X + i, y) for i, name in enumerate(names)}, **SHOTS).sample(2, random_state=0)
    assert sorted(drawn.units) == sorted(names)
