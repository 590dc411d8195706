"""Saving and loading: the same scores bit for bit, plain arrays only, nothing half-written."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from metaad_tutorial import AADML, MAML, ConvNet, Fleet, Reptile, evaluate

TRAIN, VALID, TEST = Fleet(5, 2, 6, 6, n_machines=30, n_features=4).split(random_state=0)
TASK = TEST.sample(1, random_state=0)
X, Y, Q = (getattr(TASK, n)[0].numpy() for n in ("support_x", "support_y", "query_x"))

SETTINGS = {
    "linear": {"inner_steps": 2},
    "deep": {"hidden": (5, 3), "loss": "focal", "balanced": True, "contamination": 0.2, "inner_lr": 0.3},
    "single": {"hidden": (5,), "dtype": "float32", "standardize": False},
}


def trained(method=AADML, **settings):
    return method(meta_steps=3, meta_batch=4, random_state=7, **settings).meta_fit(TRAIN, VALID)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("method", [AADML, MAML])
@pytest.mark.parametrize("stage", ["meta-trained", "fitted", "fitted without meta-training"])
def test_round_trip(tmp_path, method, settings, stage):
    if stage == "fitted without meta-training":
        detector = method(random_state=7, **settings).fit(X, Y)
    else:
        detector = trained(method, **settings)
        if stage == "fitted":
            detector.fit(X, Y)
    detector.save(tmp_path / "detector.npz")
    loaded = method.load(tmp_path / "detector.npz")
    assert loaded.get_params() == detector.get_params()
    assert type(loaded.hidden) is tuple
    if stage != "meta-trained":
        assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
        assert np.array_equal(loaded.predict(Q), detector.predict(Q))
        assert (loaded.threshold_, loaded.offset_) == (detector.threshold_, detector.offset_)
    if stage != "fitted without meta-training":
        assert loaded.history_ == detector.history_
        assert loaded.meta_.keys() == detector.meta_.keys()
        assert all(torch.equal(loaded.meta_[n], detector.meta_[n]) for n in detector.meta_)
        assert {v.dtype for v in loaded.meta_.values()} == {getattr(torch, detector.dtype)}
        with pytest.raises(ValueError, match="X has 3 features"):
            loaded.fit(X[:, :3], Y)
    one, two = (d.fit(X, Y).anomaly_score(Q) for d in (detector, loaded))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("norm", [None, "group", "batch"])
@pytest.mark.parametrize("method", [MAML, AADML, Reptile])
def test_round_trip_of_a_convnet(tmp_path, method, norm):
    """With batch normalisation the support set goes into the file, too: scores need its statistics."""
    detector = trained(method, network=ConvNet((4, 8), norm)).fit(X, Y)
    detector.save(tmp_path / "detector.npz")
    loaded = method.load(tmp_path / "detector.npz")
    assert loaded.network == ConvNet((4, 8), norm) and loaded.get_params() == detector.get_params()
    assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
    assert np.array_equal(loaded.fit(X, Y).anomaly_score(Q), detector.anomaly_score(Q))
    assert np.array_equal(loaded.score_tasks(TASK)[0], detector.score_tasks(TASK)[0])


@pytest.mark.parametrize("layer", [lambda: nn.LayerNorm(5), lambda: nn.BatchNorm1d(5)])
def test_round_trip_of_a_module(tmp_path, layer):
    """The file holds what was learnt, the reader brings the module, whatever its own values are by then."""

    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(4, 5), layer(), nn.Linear(5, 1))

    detector = trained(MAML, network=build(0), learn_lr="step").fit(X, Y)
    detector.save(tmp_path / "detector.npz")
    module = build(1)
    loaded = MAML.load(tmp_path / "detector.npz", network=module)
    assert loaded.network is module
    assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
    assert np.array_equal(loaded.fit(X, Y).anomaly_score(Q), detector.anomaly_score(Q))
    with pytest.raises(ValueError, match=r"your own network Sequential: pass one as load\(path, network="):
        MAML.load(tmp_path / "detector.npz")


def test_a_loaded_detector_can_be_trained_and_saved_again(tmp_path):
    trained().save(tmp_path / "a.npz")
    again = AADML.load(tmp_path / "a.npz")
    again.save(tmp_path / "b.npz")
    contents = [{k: v.tobytes() for k, v in np.load(tmp_path / f).items()} for f in ("a.npz", "b.npz")]
    assert contents[0] == contents[1]
    want = trained().meta_
    assert all(torch.equal(v, want[n]) for n, v in again.meta_fit(TRAIN, VALID).meta_.items())


def test_a_loaded_detector_still_refuses_its_training_units(tmp_path):
    trained().save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="overlap"):
        evaluate(AADML.load(tmp_path / "a.npz"), TRAIN, n_tasks=2)


def test_the_file_holds_arrays_and_json_only(tmp_path):
    path = tmp_path / "detector.npz"
    trained(hidden=(5,)).fit(X, Y).save(path)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            assert name.endswith(".npy")
            array = np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            assert array.dtype.kind in "fiU"
    with np.load(path, allow_pickle=False) as file:
        assert json.loads(str(file["header"]))["class"] == "AADML"
    assert [p.name for p in tmp_path.iterdir()] == ["detector.npz"]


def test_names_are_kept_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    detector = trained()
    for name in ("plain", "with.dots.npz", str(tmp_path / "whole.npz")):
        detector.save(name)
        assert AADML.load(name).inner_steps == 3
    assert {p.name for p in tmp_path.iterdir()} == {"plain", "with.dots.npz", "whole.npz"}


def test_a_saved_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").write_text("")
    trained().save(tmp_path / "detector.npz")
    modes = [(tmp_path / n).stat().st_mode & 0o777 for n in ("other", "detector.npz")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("random_state", [np.random.default_rng(0), np.random.SeedSequence(0)])
def test_what_is_not_plain_cannot_be_saved(tmp_path, random_state):
    detector = MAML(random_state=random_state).fit(X, Y)
    with pytest.raises(ValueError, match="use an integer random_state"):
        detector.save(tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_save(tmp_path):
    with pytest.raises(ValueError, match="call meta_fit or fit first"):
        MAML().save(tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_save_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    detector = trained()
    detector.save(path)
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        detector.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_saving_over_a_folder_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        trained().save(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_the_wrong_class(tmp_path):
    trained().save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"holds a AADML; load it with AADML\.load"):
        MAML.load(tmp_path / "a.npz")


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        MAML.load(tmp_path / "none.npz")


def damaged(kind, whole):
    at = len(whole) // 3
    return {
        "cut off": whole[: len(whole) // 2],
        "changed byte": whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :],
        "empty": b"",
        "text": b"hello",
    }[kind]


def no_detector(kind, path):
    if kind == "array file":
        np.save(path.with_suffix(".npy"), np.ones(3))
        return path.with_suffix(".npy").read_bytes()
    if kind == "other archive":
        np.savez(path, values=np.ones(3))
        return path.read_bytes()
    if kind == "header is no JSON":
        np.savez(path, header=np.array("{"))
        return path.read_bytes()
    if kind == "header of another program":
        np.savez(path, header=np.array('["class"]'))
        return path.read_bytes()
    trained().save(path)
    whole = path.read_bytes()
    return pickle.dumps({"class": "AADML"}) if kind == "pickle" else damaged(kind, whole)


@pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "kind",
    ["cut off", "changed byte", "empty", "text", "pickle", "array file", "other archive", "header is no JSON",
     "header of another program"],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, kind):
    path = tmp_path / "a.npz"
    path.write_bytes(no_detector(kind, path))
    with pytest.raises(ValueError, match=r"a\.npz.*(not|damaged|detector)"):
        AADML.load(path)


def test_a_pickle_inside_the_file_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    header = json.dumps({"class": "MAML", "params": {}, "state": {}})
    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb()
    np.savez(tmp_path / "a.npz", header=np.array(header), **{"meta_/start.weight0": bomb})
    with pytest.raises(ValueError, match=r"Object arrays|detector"):
        MAML.load(tmp_path / "a.npz")
    assert not (tmp_path / "exploded").exists()
