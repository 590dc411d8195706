"""Domains stay whole: no split, no training and no test shares one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaad_tutorial import (
    MAML,
    Domains,
    Fleet,
    Glyphs,
    check_disjoint,
    class_tasks,
    domain_tasks,
    evaluate,
    leave_one_out,
    load_classes,
    table_tasks,
)

SHOTS = {"normal_shots": 2, "anomalous_shots": 1, "normal_queries": 3, "anomalous_queries": 2}
NAMES = ("p", "q", "r", "s", "t")


def points(rows=40):
    """Rows that show their domain: (domain, label, index)."""
    domain = np.repeat(np.arange(len(NAMES)), rows)
    y = np.tile([0, 1], len(domain) // 2)
    return np.c_[domain, y, np.arange(len(domain))].astype(float), y, np.array(NAMES)[domain]


def classes(d):
    """A family of six classes whose points show the domain d and their class."""
    label = np.repeat(np.arange(6), 8)
    return class_tasks(np.c_[np.full(48, d), label, np.arange(48)].astype(float), label, **SHOTS)


def of_domains():
    return Domains({name: classes(d) for d, name in enumerate(NAMES)})


EVERY = pytest.mark.parametrize("family", [of_domains(), domain_tasks(*points(), **SHOTS)], ids=["families", "table"])


@EVERY
def test_a_task_lies_inside_its_domain(family):
    tasks = family.sample(23, random_state=0)
    assert tasks.support_x.shape == (23, 3, 3) and tasks.query_x.shape == (23, 5, 3)
    expected = torch.as_tensor([NAMES.index(unit) for unit in tasks.units])
    for x in (tasks.support_x, tasks.query_x):
        assert (x[..., 0] == expected[:, None]).all()  # also: the order of the parts is put right
    assert (tasks.support_y.sum(1) == 1).all() and (tasks.query_y.sum(1) == 2).all()
    assert min(np.unique(tasks.units, return_counts=True)[1]) >= 4  # each domain as often as the others


def test_the_same_seed_gives_the_same_tasks():
    one, two, other = (of_domains().sample(9, random_state=seed) for seed in (0, 0, 1))
    assert torch.equal(one.query_x, two.query_x) and not torch.equal(one.query_x, other.query_x)


def test_domain_tasks_is_table_tasks_by_domain():
    X, y, domain = points()
    by_hand = table_tasks({name: (X[domain == name], y[domain == name]) for name in NAMES}, **SHOTS)
    assert torch.equal(domain_tasks(X, y, domain, **SHOTS).sample(7, 3).query_x, by_hand.sample(7, 3).query_x)


@EVERY
def test_leave_one_out_keeps_whole_domains_apart(family):
    folds = list(leave_one_out(family, n_valid=2))
    assert [name for name, *_ in folds] == list(NAMES)
    for name, train, valid, test in folds:
        parts = [set(part.units.tolist()) for part in (train, valid, test)]
        assert parts[2] == {name} and len(parts[1]) == 2
        assert set.union(*parts) == set(NAMES) and sum(map(len, parts)) == len(NAMES)
        seen = [set(part.sample(20, 0).query_x[..., 0].unique().tolist()) for part in (train, valid, test)]
        assert [len(s) for s in seen] == [2, 2, 1] and len(set.union(*seen)) == 5  # the points themselves
    assert all(sum(n in valid.units for _, _, valid, _ in folds) == 2 for n in NAMES)


@EVERY
def test_without_validation(family):
    for _, train, valid, _ in leave_one_out(family, n_valid=0):
        assert valid is None and len(train.units) == 4


@EVERY
def test_a_leak_of_a_domain_is_refused(family):
    """The guard: training on, validating on and testing on one domain."""
    (_, train, valid, test), *_ = leave_one_out(family)
    leaky = family.restrict([*train.units, *test.units])
    with pytest.raises(ValueError, match=r"overlap.*'p'"):
        check_disjoint(leaky, test)
    detector = MAML(meta_steps=1, meta_batch=2, random_state=0)
    with pytest.raises(ValueError, match="overlap"):
        detector.meta_fit(leaky, test)
    with pytest.raises(ValueError, match="overlap"):
        evaluate(detector.meta_fit(leaky), test, n_tasks=2)
    assert 0 <= evaluate(detector.meta_fit(train, valid), test, n_tasks=2, random_state=0).mean <= 1


def test_a_leak_of_a_unit_is_refused_however_it_is_wrapped():
    """Domains with other names, or the same tasks without domains, hold the same letters."""
    greek, georgian = (Glyphs(2, 0, 3, 2, size=8).of_scripts(name) for name in ("Greek", "Georgian"))
    detector = MAML(meta_steps=1, meta_batch=2, random_state=0).meta_fit(Domains({"Greek": greek}))
    for leak in (greek, Domains({"ancient": greek}), Domains({"both": Glyphs(2, 0, 3, 2, size=8)})):
        with pytest.raises(ValueError, match="overlap"):
            evaluate(detector, leak, n_tasks=2)
    assert len(evaluate(detector, Domains({"new": georgian}), n_tasks=2).auroc) == 2


def test_a_loaded_detector_still_knows_its_domains_and_what_lies_inside_them(tmp_path):
    family = of_domains()
    (_, train, _, test), *_ = leave_one_out(family)
    MAML(meta_steps=1, meta_batch=2, random_state=0).meta_fit(train).save(tmp_path / "d.npz")
    loaded = MAML.load(tmp_path / "d.npz")
    for leak in (train, train.families[train.units[0]], Domains({"x": train.families[train.units[1]]})):
        with pytest.raises(ValueError, match="overlap"):
            evaluate(loaded, leak, n_tasks=2)
    for fresh in (test, family.families["p"]):
        evaluate(loaded, fresh, n_tasks=2)


def test_a_part_holds_its_own_domains_only():
    part = of_domains().restrict(["q", "s"])
    assert list(part.families) == ["q", "s"] and set(part.sample(9, 0).units) == {"q", "s"}


def test_domains_need_the_same_columns():
    pd = pytest.importorskip("pandas")
    X, y, domain = points()
    frame = pd.DataFrame(X, columns=["domain", "label", "row"])
    first, second = domain == "p", domain == "q"
    one = domain_tasks(frame[first], y[first], domain[first], **SHOTS)
    same = domain_tasks(frame[second], y[second], domain[second], **SHOTS)
    turned = domain_tasks(frame[second][["row", "label", "domain"]], y[second], domain[second], **SHOTS)
    assert Domains({"one": one, "two": same}).feature_names == ("domain", "label", "row")
    with pytest.raises(ValueError, match="same columns"):
        Domains({"one": one, "two": turned})


def test_a_domain_column_of_a_frame():
    pd = pytest.importorskip("pandas")
    X, y, domain = points()
    frame = pd.DataFrame(X, columns=["domain", "label", "row"]).assign(speaker=domain, odd=y)
    family = domain_tasks(frame.drop(columns=["speaker", "odd"]), frame["odd"], frame["speaker"], source="x", **SHOTS)
    assert family.units.tolist() == list(NAMES) and family.source == "x"
    assert torch.equal(family.sample(7, 3).query_x, domain_tasks(X, y, domain, **SHOTS).sample(7, 3).query_x)


def test_real_domains():
    table = load_classes("vowel")
    odd = np.isin(table.label, [8, 9, 10]).astype(int)
    speakers = domain_tasks(table.X, odd, table.group, normal_shots=5)
    assert len(list(leave_one_out(speakers, 2))) == 15
    scripts = Domains({name: Glyphs(2, 0, 3, 2).of_scripts(name) for name in ("Greek", "Armenian", "Georgian")})
    assert scripts.sample(4, 0).query_x.shape == (4, 5, 14, 14)


def test_bad_input():
    glyphs = Glyphs(2, 0, 3, 2)
    with pytest.raises(ValueError, match="overlap"):
        Domains({"one": glyphs.of_scripts("Greek"), "two": glyphs.of_scripts("Greek", "Georgian")})
    with pytest.raises(ValueError, match="same numbers of points"):
        Domains({"one": glyphs.of_scripts("Greek"), "two": Glyphs(3, 0, 3, 2).of_scripts("Georgian")})
    with pytest.raises(ValueError, match="points of one shape"):
        Domains({"one": glyphs.of_scripts("Greek"), "two": Glyphs(2, 0, 3, 2, size=10).of_scripts("Georgian")})
    with pytest.raises(ValueError, match="The domain 'one' must be a family of tasks, got ndarray"):
        Domains({"one": np.zeros((3, 2))})
    with pytest.raises(ValueError, match="families must be a dict, domain -> family, not empty, got list"):
        Domains([glyphs])
    with pytest.raises(ValueError, match="all of one kind"):
        Domains({"one": glyphs.of_scripts("Greek"), 2: glyphs.of_scripts("Georgian")})
    with pytest.raises(ValueError, match=r"families must be a dict, .* not empty, got dict"):
        Domains({})
    X, y, domain = points()
    with pytest.raises(ValueError, match="domain must hold one label for each of the 200 points"):
        domain_tasks(X, y, domain[:-1], **SHOTS)
    with pytest.raises(ValueError, match="y must hold one label for each of the 200 points"):
        domain_tasks(X, y[:-1], domain, **SHOTS)
    with pytest.raises(ValueError, match="domain must hold labels of one kind"):
        domain_tasks(X, y, np.where(domain == "p", None, domain), **SHOTS)
    with pytest.raises(ValueError, match="family must be a family of tasks"):
        next(leave_one_out(X))
    for n_valid in (-1, 4):
        with pytest.raises(ValueError, match="n_valid for 5 domains must be an integer from 0 to 3"):
            list(leave_one_out(of_domains(), n_valid))
    assert len(list(leave_one_out(Fleet(n_machines=3), 1))) == 3  # any family whose units are the domains
