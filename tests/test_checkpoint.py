"""An interrupted training goes on bit for bit; a file that does not fit or is damaged is named and left alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import DAMAGE, SHAPE, D, Frozen, Unused, damaged, differences, drawn, module_of
from torch import nn

from metaad_tutorial import AADML, MAML, ConvNet, Fleet, PrototypicalDetector, Reptile

TRAIN, _, TEST = Fleet(3, 1, 4, 4, n_machines=40, n_features=D).split(random_state=0)
VALID = Frozen(TEST.sample(5, random_state=0), "valid")  # 100 tasks would take their time


class Interrupted(Exception):
    """The power went off."""


def make(kind="MAML", every=3, **parameters):
    """A detector that writes its checkpoint every few outer steps."""
    settings = {"meta_steps": 11, "meta_batch": 4, "random_state": 5}
    method, own = {
        "MAML": (MAML, {"inner_steps": 2}),
        "AADML": (AADML, {"inner_steps": 2, "hidden": (3,)}),
        "rates": (MAML, {"learn_lr": "step", "network": ConvNet((4,), "batch", SHAPE), "dtype": "float32"}),
        "module": (MAML, {"network": module_of("unused"), "head_only": True}),
        "Reptile": (Reptile, {"network": module_of("batch norm 1d")}),
        "averaging": (PrototypicalDetector, {"embedding": 3, "hidden": (5,)}),
        "averaging, idle layer": (PrototypicalDetector, {"network": drawn(lambda: Unused(3))}),
    }[kind]
    detector = method(**settings | own | parameters)
    detector.every = every
    return detector


def before_step(detector, n, do):
    """Let something happen in the middle of outer step n, after the tasks are drawn."""
    loss, calls = detector.outer_loss, []

    def outer_loss(meta, tasks):
        calls.append(1)
        if len(calls) == n:
            do()
        return loss(meta, tasks)

    detector.outer_loss = outer_loss
    return detector


def stop():
    raise Interrupted


def never_trained(detector):
    return before_step(detector, 1, lambda: pytest.fail("training had started"))


def assert_same_training(one, two):
    assert one.history_ == two.history_
    assert not differences(one.meta_, two.meta_)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The bytes of a checkpoint after 3 outer steps, without validation tasks."""
    path = tmp_path_factory.mktemp("checkpoint") / "run.npz"
    make(meta_steps=3).meta_fit(TRAIN, checkpoint=path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, checkpoint):
    """A file of its own with these bytes."""
    (tmp_path / "run.npz").write_bytes(checkpoint)
    return tmp_path / "run.npz"


# --- Going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "step"),  # before the first checkpoint, or after the first or the second
    [("MAML", 2), ("MAML", 4), ("MAML", 9), ("AADML", 4), ("rates", 9), ("module", 4), ("Reptile", 4),
     ("averaging", 4), ("averaging, idle layer", 4)],
)  # fmt: skip
def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path, kind, step):
    path = tmp_path / "run.npz"
    whole = make(kind).meta_fit(TRAIN, VALID)
    broken = before_step(make(kind), step, stop)
    with pytest.raises(Interrupted):
        broken.meta_fit(TRAIN, VALID, checkpoint=path)
    assert not hasattr(broken, "meta_") and not hasattr(broken, "history_")
    assert [p.name for p in tmp_path.iterdir()] == (["run.npz"] if step > 3 else [])
    resumed = make(kind).meta_fit(TRAIN, VALID, checkpoint=path)
    assert_same_training(resumed, whole)  # dtypes included
    before = path.read_bytes()
    assert_same_training(make(kind).meta_fit(TRAIN, VALID, checkpoint=path), whole)  # nothing is left to do
    assert path.read_bytes() == before


def test_a_checkpoint_changes_nothing_and_may_lie_between_two_lengths(tmp_path):
    assert_same_training(make().meta_fit(TRAIN, checkpoint=str(tmp_path / "a")), make().meta_fit(TRAIN))
    half = make(meta_steps=6).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "b")
    whole = make(meta_steps=12).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "b")
    assert len(half.history_["loss"]) == 6
    assert_same_training(whole, make(meta_steps=12).meta_fit(TRAIN, VALID))


def test_early_stopping_survives_an_interruption(tmp_path):
    parameters = {"meta_steps": 40, "meta_lr": 2.0, "patience": 4, "every": 1}
    whole = make(**parameters).meta_fit(TRAIN, VALID)
    stopped = len(whole.history_["loss"])
    assert stopped < 40
    with pytest.raises(Interrupted):
        before_step(make(**parameters), stopped - 1, stop).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c")
    for _ in range(2):
        assert_same_training(make(**parameters).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c"), whole)
    patient = make(**parameters | {"patience": 40}).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c")
    assert len(patient.history_["loss"]) == 40


def test_a_diverging_training_leaves_the_last_good_checkpoint(path, checkpoint):
    detector = make(meta_steps=9)
    detector.outer_loss = lambda meta, tasks: meta["start"]["weight0"].sum() * np.nan
    with pytest.raises(ValueError, match="diverged"):
        detector.meta_fit(TRAIN, checkpoint=path)
    assert path.read_bytes() == checkpoint and not hasattr(detector, "meta_")


def test_a_failing_write_keeps_the_old_checkpoint(path, checkpoint, monkeypatch):
    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make().meta_fit(TRAIN, checkpoint=path)
    assert path.read_bytes() == checkpoint
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"]


# --- The checkpoint of another training ---------------------------------------------------------------


def sister(**options):
    """Tasks of the same shape as TRAIN's."""
    return Fleet(**{"normal_shots": 3, "anomalous_shots": 1, "normal_queries": 4, "anomalous_queries": 4,
                    "n_machines": 40, "n_features": D} | options).split(random_state=0)[0]  # fmt: skip


OTHERS = {  # and what the message names
    "class": lambda: (AADML(meta_steps=11, meta_batch=4, random_state=5, inner_steps=2), TRAIN, "method"),
    "step size": lambda: (make(inner_lr=0.2), TRAIN, "inner_lr"),
    "seed": lambda: (make(random_state=6), TRAIN, "random_state"),
    "layers": lambda: (make(hidden=(3,)), TRAIN, "hidden"),
    "network": lambda: (make(network=ConvNet((4,), shape=SHAPE)), TRAIN, "network"),
    "module": lambda: (make(network=nn.Linear(D, 1)), TRAIN, "network"),
    "variant": lambda: (make(first_order=True), TRAIN, "first_order"),
    "fleet": lambda: (make(), sister(seed=1), "points of tasks"),
    "shots": lambda: (make(), sister(normal_shots=4), "points of tasks"),
    "turned": lambda: (make(), TRAIN.turned(90), "points of tasks"),
    "ceiling and directions": lambda: (make(), sister(ceiling=0.6, directions=3), "points of tasks"),
    "machines": lambda: (make(), TRAIN.restrict(TRAIN.units[:-1]), "units"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_checkpoint_of_another_training_is_refused(path, checkpoint, other):
    detector, family, named = OTHERS[other]()
    with pytest.raises(ValueError, match=rf"run\.npz is the checkpoint of another training.*in .*{named}.*same param"):
        detector.meta_fit(family, checkpoint=path)
    assert path.read_bytes() == checkpoint
    assert not hasattr(detector, "meta_")


@pytest.mark.parametrize(
    ("before", "now"),
    [(VALID, None), (None, VALID), (VALID, Frozen(TEST.sample(5, random_state=9), "other"))],
    ids=["now none", "before none", "others"],
)
def test_a_checkpoint_with_other_validation_tasks_is_refused(tmp_path, before, now):
    make(meta_steps=3).meta_fit(TRAIN, before, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="another training, which differs in points of tasks"):
        make().meta_fit(TRAIN, now, checkpoint=tmp_path / "a")


def test_a_checkpoint_of_another_module_of_the_same_class_is_refused(tmp_path):
    nets = [nn.Sequential(nn.Linear(D, n), nn.ReLU(), nn.Linear(n, 1)) for n in (2, 3)]
    make(meta_steps=3, network=nets[0]).meta_fit(TRAIN, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="another training, which differs in network"):
        make(network=nets[1]).meta_fit(TRAIN, checkpoint=tmp_path / "a")


def test_fewer_steps_than_the_checkpoint_are_refused(path):
    with pytest.raises(ValueError, match="meta_steps"):
        make(meta_steps=2).meta_fit(TRAIN, checkpoint=path)


# --- Refused before the training starts ---------------------------------------------------------------


@pytest.mark.parametrize("random_state", [None, np.random.default_rng(0)], ids=["no seed", "a generator"])
def test_without_a_seed_there_is_no_state_that_a_checkpoint_could_hold(tmp_path, path, random_state):
    for file in (path, tmp_path / "new.npz"):
        with pytest.raises(ValueError, match="needs an integer random_state"):
            never_trained(make(random_state=random_state)).meta_fit(TRAIN, checkpoint=file)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no folder.*none.*make it first"):
        never_trained(make()).meta_fit(TRAIN, checkpoint=tmp_path / "none" / "a")


# --- Damaged files ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_left_alone(path, kind):
    path.write_bytes(damaged(kind, path.read_bytes()))
    detector = make().meta_fit(TRAIN)
    before, content = detector.meta_, path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.npz is damaged"):
        detector.meta_fit(TRAIN, checkpoint=path)
    assert path.read_bytes() == content
    assert detector.meta_ is before


def edit(path, drop=None, header=None):
    """Leave out a part of the file's header or arrays, or put another header."""
    arrays = dict(np.load(path))
    if header is None:
        header = {k: v for k, v in json.loads(str(arrays["header"])).items() if k != drop}
    arrays["header"] = np.array(json.dumps(header))
    kept = {k: v for k, v in arrays.items() if drop is None or not k.startswith(drop)}
    assert len(kept) < len(arrays) or drop in (None, "rng", "history")
    np.savez(path, **kept)


@pytest.mark.parametrize(
    "change",
    [{"drop": "rng"}, {"drop": "history"}, {"drop": "adam"}, {"drop": "meta/start/weight0"}, {"header": ["x"]},
     {"header": 1}],
    ids=str,
)  # fmt: skip
def test_an_incomplete_checkpoint_is_named(path, change):
    edit(path, **change)
    with pytest.raises(ValueError, match=r"run\.npz is (damaged|the checkpoint of another training)"):
        make().meta_fit(TRAIN, checkpoint=path)


def test_a_detector_is_no_checkpoint_and_a_checkpoint_no_detector(tmp_path, path):
    make().meta_fit(TRAIN).save(tmp_path / "detector.npz")
    with pytest.raises(ValueError, match=r"detector\.npz is a saved detector, not a checkpoint"):
        make().meta_fit(TRAIN, checkpoint=tmp_path / "detector.npz")
    with pytest.raises(ValueError, match=r"run\.npz is a checkpoint, not a saved detector.*meta_fit"):
        MAML.load(path)


@pytest.mark.parametrize("other", ["weights", "activation"])
def test_a_checkpoint_of_a_module_that_is_frozen_otherwise_is_refused(tmp_path, other):
    def net(start, activation):
        module = nn.Sequential(nn.Linear(D, 2), activation, nn.Linear(2, 1))
        nn.init.constant_(module[0].weight, start)
        module[0].requires_grad_(False)
        return module

    make(meta_steps=3, network=net(0.1, nn.Tanh())).meta_fit(TRAIN, checkpoint=tmp_path / "a")
    changed = net(0.2, nn.Tanh()) if other == "weights" else net(0.1, nn.ReLU())
    with pytest.raises(ValueError, match="another training, which differs in"):
        make(network=changed).meta_fit(TRAIN, checkpoint=tmp_path / "a")
