"""Episodes and families: shapes, counts, order, splits, seeds."""

from __future__ import annotations

import datetime
import json
import random
import uuid

import numpy as np
import pytest
import torch

from metaad_tutorial import Episodes, Fleet, TaskFamily, check_disjoint
from metaad_tutorial.episodes import check_family

COUNTS = {"normal_shots": 4, "anomalous_shots": 2, "normal_queries": 7, "anomalous_queries": 3}


def fleet(n_machines=30, **more):
    return Fleet(**(COUNTS | {"n_features": 5} | more), n_machines=n_machines)


def same(a: Episodes, b: Episodes) -> bool:
    names = ("support_x", "support_y", "query_x", "query_y")
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in names) and np.array_equal(a.units, b.units)


def test_shapes_types_and_label_counts():
    drawn = fleet().sample(12, random_state=0)
    assert len(drawn) == 12
    assert drawn.support_x.shape == (12, 6, 5) and drawn.query_x.shape == (12, 10, 5)
    assert drawn.support_y.shape == (12, 6) and drawn.query_y.shape == (12, 10)
    tensors = (drawn.support_x, drawn.support_y, drawn.query_x, drawn.query_y)
    assert {t.dtype for t in tensors} == {torch.float64}
    assert drawn.support_y.sum(1).unique().tolist() == [2]
    assert drawn.query_y.sum(1).unique().tolist() == [3]
    assert set(drawn.support_y.unique().tolist()) == set(drawn.query_y.unique().tolist()) == {0, 1}
    assert drawn.units.shape == (12,)


def test_position_does_not_betray_the_label():
    drawn = fleet(1000).sample(1000, random_state=0)
    for y in (drawn.support_y, drawn.query_y):
        rate = y.mean()
        error = (rate * (1 - rate) / len(y)).sqrt()
        assert ((y.mean(0) - rate).abs() < 5 * error).all()
        assert len(y.unique(dim=0)) > 10  # every task has an order of its own


def test_labels_travel_with_their_points():
    """With hardly any noise between machines and a large shift, the label can be read off the point."""
    family = fleet(spread=1e-9, ceiling=1 - 1e-12)
    drawn = family.sample(20, random_state=0)
    shift = family.shifts[0]
    weights = np.linalg.solve(family.covariance, shift)
    half = shift @ weights / 2
    for x, y in ((drawn.support_x, drawn.support_y), (drawn.query_x, drawn.query_y)):
        assert ((x.numpy() @ weights > half) == (y.numpy() == 1)).mean() > 0.99


def test_the_seed_fixes_the_episodes():
    family = fleet()
    first = family.sample(5, random_state=3)
    assert same(first, family.sample(5, random_state=3))
    assert same(first, fleet().sample(5, random_state=3))
    assert same(first, family.sample(5, random_state=np.random.default_rng(3)))
    assert not same(first, family.sample(5, random_state=4))
    rng = np.random.default_rng(3)
    assert same(first, family.sample(5, rng)) and not same(first, family.sample(5, rng))


def test_units_are_used_equally_often():
    family = fleet(10)
    used = family.sample(25, random_state=0).units
    assert len(set(used[:10])) == len(set(used[10:20])) == 10
    assert sorted(np.bincount(used)) == [2] * 5 + [3] * 5
    assert used[:10].tolist() != used[10:20].tolist()


def test_indexing_keeps_the_task_axis():
    drawn = fleet().sample(6, random_state=0)
    assert drawn[2].support_x.shape == (1, 6, 5)
    assert torch.equal(drawn[2].query_x[0], drawn.query_x[2]) and drawn[2].units.tolist() == [drawn.units[2]]
    assert drawn[np.int64(2)].support_x.shape == (1, 6, 5)
    assert same(drawn[1:3], drawn[[1, 2]])
    tasks = list(drawn)
    assert len(tasks) == 6 and same(tasks[5], drawn[5])


def test_casting_touches_every_tensor_and_not_the_original():
    drawn = fleet().sample(2, random_state=0)
    cast = drawn.to(torch.float32)
    assert {getattr(cast, n).dtype for n in ("support_x", "support_y", "query_x", "query_y")} == {torch.float32}
    assert drawn.support_x.dtype == torch.float64
    assert np.array_equal(cast.units, drawn.units)


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.2), (0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.1), (1.0,)])
def test_a_split_is_disjoint_and_exhaustive(fractions):
    family = fleet(31)
    parts = family.split(fractions, random_state=0)
    together = np.concatenate([part.units for part in parts])
    assert sorted(together) == list(range(31))
    for part, share in zip(parts, fractions, strict=True):
        assert abs(len(part.units) - 31 * share) <= 1
    check_disjoint(*parts)
    for part in parts:
        assert set(part.sample(40, random_state=1).units) <= set(part.units)


def test_a_split_is_random_and_repeats():
    family = fleet(31)
    first, again, other = (family.split(random_state=s)[0].units.tolist() for s in (0, 0, 1))
    assert first == again and sorted(first) != sorted(other)
    assert sorted(first) != list(range(len(first)))
    assert family.units.tolist() == list(range(31))  # the whole is left as it was


@pytest.mark.parametrize("fractions", [(0.5, 0.6), (0.5, 0.4), (1.2, -0.2), (1.0, 0.0), (np.nan, 1.0), ()])
def test_fractions_that_make_no_split(fractions):
    with pytest.raises(ValueError, match="positive and add up to 1"):
        fleet().split(fractions)


def test_too_few_units_for_the_parts():
    with pytest.raises(ValueError, match=r"at least 1 unit.*split into fewer parts"):
        fleet(2).split()


def test_restrict():
    part = fleet(10).restrict([7, 2])
    assert sorted(set(part.sample(9, random_state=0).units)) == [2, 7]
    with pytest.raises(ValueError, match=r"not part of the family: \[10, 99\]"):
        fleet(10).restrict([2, 99, 10])
    with pytest.raises(ValueError, match="at least 1 unit"):
        fleet(10).restrict([])
    with pytest.raises(ValueError, match="distinct"):
        fleet(10).restrict([2, 2])
    for one in ("press 00", 3):
        with pytest.raises(ValueError, match=r"restrict takes a list of units, got .*for one unit, \[unit\]"):
            fleet(10).restrict(one)


def test_a_part_keeps_of_what_is_stored_by_unit_its_own_alone():
    family = Fixed(["a", "b", "c"])
    family.points, family.notes = {"a": 1, "b": 2, "c": 3}, {"by": "me"}
    part = family.restrict(["b"])
    assert part.points == {"b": 2} and part.notes == family.notes and len(family.points) == 3


def test_restricted_machines_stay_themselves():
    family = fleet(10, spread=50.0)
    drawn = family.restrict([7, 2]).sample(2, random_state=0)
    for unit, x in zip(drawn.units, drawn.support_x, strict=True):
        distance = np.linalg.norm(family.means - x.numpy().mean(0), axis=1)
        assert distance.argmin() == unit


@pytest.mark.parametrize("n_tasks", [0, -1])
def test_no_tasks_asked_for(n_tasks):
    with pytest.raises(ValueError, match="n_tasks must be an integer of at least 1"):
        fleet().sample(n_tasks)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normal_shots", 0),
        ("anomalous_shots", -1),
        ("normal_queries", 0),
        ("anomalous_queries", -1),
        ("normal_shots", 2.0),
        ("normal_queries", "5"),
        ("anomalous_shots", None),
    ],
)
def test_counts_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least"):
        fleet(**{name: value})


class Fixed(TaskFamily):
    """A reader's own family."""

    source = "fixed"


@pytest.mark.parametrize(
    "units",
    [
        [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)],
        np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"),
        [np.datetime64("2024-01-01"), np.datetime64("2024-01-02")],
        [np.timedelta64(1, "D"), np.timedelta64(2, "D")],
        [uuid.UUID(int=1), uuid.UUID(int=2)],
        [("plant", "press"), ("plant", "saw")],
        [b"a", b"b"],
        ["a", 1],
        [1, "a"],
        [1.0, np.nan],
        ["a", None],
        [1 + 2j, 3.0],
        np.array(["a", "b"], object).reshape(1, 2),
        "ab",
        3,
    ],
    ids=repr,
)
def test_units_are_plain_numbers_or_strings(units):
    """What NumPy keeps as objects, or as something else, a file could not give back."""
    with pytest.raises(ValueError, match=r"plain numbers or strings.*str\(date\)"):
        Fixed(units)


@pytest.mark.parametrize(
    "units",
    [
        [3, 1],
        ["b", "a"],
        [True, False],
        [0.5, 2],
        [np.int32(3), np.int32(1)],
        [np.str_("b"), np.str_("a")],
        [np.float32(0.1), np.float32(0.2)],
        (np.bool_(True), np.bool_(False)),
        np.arange(2),
        np.array(["x", "y"]),
    ],
    ids=repr,
)
def test_units_of_any_plain_kind(units):
    family = Fixed(units)
    assert family.units.tolist() == list(units)
    assert all(unit in set(units) for unit in family.units.tolist())  # as keys they find what the reader's own found
    check_disjoint(family.restrict(family.units[:1]), family.restrict(family.units[1:]))


def test_repeated_units_are_refused():
    with pytest.raises(ValueError, match="both sides of a split"):
        Fixed(["a", "b", "a"])


def test_overlap_is_named():
    one, two = Fixed(["a", "b", "c"]), Fixed(["c", "d"])
    with pytest.raises(ValueError, match=r"overlap: they share 1 unit\(s\), e\.g\. .*c.*family\.split"):
        check_disjoint(one, two)
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(one, None, Fixed(["x"]), two)  # any pair counts, not neighbours only
    check_disjoint(one, None, Fixed(["x"]))


def test_units_of_other_kinds_are_other_units():
    check_disjoint(Fixed(["1", "2"]), Fixed([1, 2]))
    with pytest.raises(ValueError, match="not part of the family"):
        Fixed(["1", "2"]).restrict([1])


def test_what_a_file_holds_is_enough_to_find_an_overlap():
    """The identity of a family consists of strings and numbers, and stands for it."""
    train, test = fleet().split((0.5, 0.5), random_state=0)
    known = json.loads(json.dumps(train.identity()))
    with pytest.raises(ValueError, match=r"overlap.*share 15 unit"):
        check_disjoint(known, fleet())
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(fleet(), known)
    check_disjoint(known, test)
    check_disjoint(known, fleet(seed=1))


@pytest.mark.parametrize("other", [np.zeros((3, 2)), [1, 2], None, "fleet", Fleet])
def test_what_is_no_family(other):
    with pytest.raises(ValueError, match=r"train must be a family of tasks, got .*table_tasks"):
        check_family(other, "train")
    check_family(fleet(), "train")


def test_a_family_says_what_it_is():
    assert repr(Fleet()) == "Fleet(2500 units, 5 + 2 support, 15 + 15 query points)"
    assert repr(fleet().split(random_state=0)[1]) == "Fleet(6 units, 4 + 2 support, 7 + 3 query points)"
    assert len(fleet()) == 30 and len(fleet().restrict([3])) == 1


def test_episodes_without_anomalies():
    drawn = fleet(anomalous_shots=0, anomalous_queries=0).sample(3, random_state=0)
    assert drawn.query_x.shape == (3, 7, 5) and (drawn.query_y == 0).all()


def test_the_same_fleet_built_twice_overlaps_and_another_does_not():
    train = fleet().split(random_state=0)[0]
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(train, fleet())
    with pytest.raises(ValueError, match="overlap"):  # the shots do not make other machines
        check_disjoint(train, fleet(normal_shots=9))
    check_disjoint(train, fleet(seed=1))


def test_global_generators_are_left_alone():
    before = np.random.get_state()[1].copy(), np.random.get_state()[2], torch.get_rng_state(), random.getstate()  # noqa: NPY002
    train = fleet(20).split()[0]
    train.sample(5)
    train.sample(5, random_state=0)
    state = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(before[0], state[1]) and before[1] == state[2]
    assert torch.equal(before[2], torch.get_rng_state()) and before[3] == random.getstate()
