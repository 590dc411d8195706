"""Saving and loading: the same scores bit for bit, plain arrays only, nothing half-written."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from helpers import DAMAGE, damaged, differences, drawn, frozen, task_of
from helpers import trained as quick
from sklearn.base import clone
from torch import nn

from metaad_tutorial import (
    AADML,
    AAE,
    ACR,
    MAML,
    ConvNet,
    Detector,
    Fleet,
    Glyphs,
    Mahalanobis,
    MetaAAE,
    MetaDetector,
    NearestNeighbor,
    PooledLogistic,
    PrototypicalDetector,
    Reptile,
    evaluate,
    load,
)
from metaad_tutorial.files import FORMAT

TRAIN, VALID, TEST = Fleet(5, 2, 9, 3, n_machines=30, n_features=4).split(random_state=0)
TASK = TEST.sample(1, random_state=0)
X, Y, Q = task_of(TEST, 0)

SETTINGS = {
    "linear": {"inner_steps": 2},
    "deep": {"hidden": (5, 3), "loss": "focal", "balanced": True, "contamination": 0.2, "inner_lr": 0.3},
    "single": {"hidden": (5,), "dtype": "float32", "standardize": False},
}


def trained(method=AADML, **settings):
    return quick(method, TRAIN, VALID, **{"meta_steps": 3, "random_state": 7} | settings)


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
    assert type(loaded.hidden) is type(detector.hidden)  # a tuple has become a list and a tuple again
    if stage != "meta-trained":
        assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
        assert np.array_equal(loaded.predict(Q), detector.predict(Q))
        assert (loaded.threshold_, loaded.offset_) == (detector.threshold_, detector.offset_)
    if stage != "fitted without meta-training":
        assert loaded.history_ == detector.history_
        assert not differences(loaded.meta_, detector.meta_)
        assert {v.dtype for v in loaded.meta_["start"].values()} == {getattr(torch, detector.dtype)}
        with pytest.raises(ValueError, match="X has 3 features"):
            loaded.fit(X[:, :3], Y)
    one, two = (d.fit(X, Y).anomaly_score(Q) for d in (detector, loaded))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("norm", [None, "layer", "batch"])
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
    module, other = (drawn(lambda: nn.Sequential(nn.Linear(4, 5), layer(), nn.Linear(5, 1)), seed) for seed in (0, 1))
    detector = trained(MAML, network=other, learn_lr="step").fit(X, Y)
    detector.save(tmp_path / "detector.npz")
    loaded = MAML.load(tmp_path / "detector.npz", network=module)
    assert loaded.network is module
    assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
    assert np.array_equal(loaded.fit(X, Y).anomaly_score(Q), detector.anomaly_score(Q))
    with pytest.raises(ValueError, match=r"your own network Sequential: pass one as load\(path, network="):
        MAML.load(tmp_path / "detector.npz")


def test_frozen_parameters_and_buffers_are_saved(tmp_path):
    module, other = (drawn(lambda: frozen(4), seed) for seed in (0, 1))
    detector = MAML(network=module).fit(X)
    detector.save(tmp_path / "a")
    assert np.array_equal(MAML.load(tmp_path / "a", network=other).anomaly_score(Q), detector.anomaly_score(Q))


@pytest.mark.parametrize("other", [lambda: nn.Linear(3, 1), lambda: nn.Sequential(nn.Linear(4, 1)), lambda: "x"])
def test_loading_with_another_network_is_refused(tmp_path, other):
    MAML(network=nn.Linear(4, 1)).fit(X).save(tmp_path / "a")
    with pytest.raises(ValueError, match="network"):
        MAML.load(tmp_path / "a", network=other())


@pytest.mark.parametrize("network", [None, ConvNet((4,))])
def test_loading_with_a_network_nobody_asked_for_is_refused(tmp_path, network):
    MAML(network=network).fit(X).save(tmp_path / "a")
    with pytest.raises(ValueError, match="network"):
        MAML.load(tmp_path / "a", network=nn.Linear(4, 1))


@pytest.mark.parametrize(
    "parameters",
    [
        {"network": ConvNet((4,), shape=(1, 4))},
        {"network": ConvNet((np.int64(4),))},
        {"random_state": np.int64(3)},
        {"inner_steps": np.int64(3)},
    ],
    ids=str,
)
def test_plain_parameters_survive(tmp_path, parameters):
    detector = MAML(**parameters).fit(X)
    detector.save(tmp_path / "a")
    assert MAML.load(tmp_path / "a").get_params() == detector.get_params()


def test_a_loaded_detector_can_be_trained_and_saved_again(tmp_path):
    trained().save(tmp_path / "a.npz")
    again = AADML.load(tmp_path / "a.npz")
    again.save(tmp_path / "b.npz")
    contents = [{k: v.tobytes() for k, v in np.load(tmp_path / f).items()} for f in ("a.npz", "b.npz")]
    assert contents[0] == contents[1]
    assert not differences(again.meta_fit(TRAIN, VALID).meta_, trained().meta_)


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


def test_the_number_of_the_format_stands_for_these_shapes(tmp_path):
    """Whoever changes one of them gives the format another number: a square layer would be read turned over."""
    shapes = {}
    for name, network in (("dense", {"hidden": (5,)}), ("images", {"network": ConvNet((3,), "layer")})):
        trained(MAML, **network).save(tmp_path / name)
        with np.load(tmp_path / name) as file:
            shapes |= {f"{name} {n.rpartition('/')[2]}": file[n].shape for n in file if "start" in n}
    assert (FORMAT, shapes) == (4, {
        "dense weight0": (4, 5), "dense bias0": (1, 5), "dense weight1": (5, 1), "dense bias1": (1, 1),
        "images weight0": (3, 1, 3, 3), "images bias0": (1, 3, 1, 1), "images gain0": (1, 3, 1, 1),
        "images weight1": (3, 1), "images bias1": (1, 1),
    })  # fmt: skip


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
    with pytest.raises(ValueError, match=r"holds a AADML, not a MAML: use metaad_tutorial\.load"):
        MAML.load(tmp_path / "a.npz")


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        MAML.load(tmp_path / "none.npz")


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
    [*DAMAGE, "pickle", "array file", "other archive", "header is no JSON", "header of another program"],
)
def test_a_damaged_file_is_named(tmp_path, kind):
    path = tmp_path / "a.npz"
    path.write_bytes(no_detector(kind, path))
    with pytest.raises(ValueError, match=r"a\.npz.*(not|damaged|detector)"):
        AADML.load(path)


INCOMPLETE = ("an array", "learnt arrays", "state", "params", "class", "format", "arrays", "everything", "a list")


def without(part, path):
    """Take a part out of a saved file."""
    content = dict(np.load(path))
    header = json.loads(str(content.pop("header")))
    if part == "an array":
        del content[next(name for name in content if name.endswith("weight0"))]
    elif part == "learnt arrays":
        content = {name: value for name, value in content.items() if not name.startswith(("meta_", "params_"))}
    elif part in ("everything", "a list"):
        header = {} if part == "everything" else [1]
    else:
        del header[part]
    np.savez(path, header=np.array(json.dumps(header)), **content)


@pytest.mark.parametrize("part", INCOMPLETE)
@pytest.mark.parametrize("build", [trained, lambda: AAE(steps=1, random_state=0).fit(X)], ids=["AADML", "AAE"])
def test_an_incomplete_file_is_named(tmp_path, build, part):
    detector = build()
    detector.save(tmp_path / "a.npz")
    without(part, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz is damaged"):
        type(detector).load(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [AADML, MAML, ACR, MetaAAE, PrototypicalDetector])
def test_what_a_loaded_detector_was_trained_with_may_not_change(tmp_path, method):
    trained(method, hidden=(4,)).save(tmp_path / "a.npz")
    loaded = method.load(tmp_path / "a.npz")
    for changed in ({"hidden": (4, 4)}, {"standardize": False}):
        with pytest.raises(ValueError, match=f"{next(iter(changed))} changed since meta_fit"):
            clone(loaded).set_params(**changed).fit(X, Y)
    assert np.isfinite(loaded.fit(X, Y).threshold_)


# --- Any detector -------------------------------------------------------------------------------------

KINDS = {
    "AADML": trained,
    "AAE": lambda: AAE(steps=1, random_state=0),
    "ACR": lambda: trained(ACR, hidden=(4,)),
    "MAML": lambda: trained(MAML, standardize="task"),
    "MetaAAE": lambda: trained(MetaAAE, hidden=(4,)),
    "PrototypicalDetector": lambda: trained(PrototypicalDetector, hidden=(4,)),
    "Reptile": lambda: trained(Reptile),
    "NearestNeighbor": lambda: NearestNeighbor(k=2),
    "Mahalanobis": Mahalanobis,
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_load_for_all(tmp_path, kind):
    detector = KINDS[kind]().fit(X, Y)
    detector.save(tmp_path / "a.npz")
    for loaded in (
        load(tmp_path / "a.npz"),
        Detector.load(tmp_path / "a.npz"),
        type(detector).load(tmp_path / "a.npz"),
    ):
        assert type(loaded) is type(detector) and loaded.get_params() == detector.get_params()
        assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))
        assert np.array_equal(loaded.predict(Q), detector.predict(Q))
        assert np.array_equal(loaded.explain(Q), detector.explain(Q))
        assert loaded.threshold_ == detector.threshold_ == -loaded.offset_
    if hasattr(detector, "meta_"):
        assert isinstance(MetaDetector.load(tmp_path / "a.npz"), type(detector))
    else:
        with pytest.raises(ValueError, match=f"holds a {kind}, not a MetaDetector"):
            MetaDetector.load(tmp_path / "a.npz")


def test_load_with_a_network_of_one_s_own(tmp_path):
    detector = MAML(network=nn.Linear(4, 1)).fit(X, Y)
    detector.save(tmp_path / "a.npz")
    loaded = load(tmp_path / "a.npz", network=nn.Linear(4, 1))
    assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))


@pytest.mark.parametrize("kind", ["AADML", "NearestNeighbor"])
def test_a_calibration_is_saved(tmp_path, kind):
    detector = KINDS[kind]().calibrate(TEST, n_tasks=10).fit(X)
    detector.save(tmp_path / "a.npz")
    loaded = load(tmp_path / "a.npz")
    assert loaded.calibrated_ == loaded.threshold_ == detector.calibrated_
    assert loaded.fit(X[:3]).threshold_ == detector.calibrated_


def test_names_of_columns_are_saved(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    detector = NearestNeighbor().fit(frame, Y)
    detector.save(tmp_path / "a.npz")
    loaded = load(tmp_path / "a.npz")
    assert loaded.feature_names_in_.tolist() == list("abcd")
    assert np.array_equal(loaded.anomaly_score(frame), detector.anomaly_score(frame))  # without a warning
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.anomaly_score(frame[list("dcba")])


def test_images_by_themselves_are_saved(tmp_path):
    images = X.reshape(-1, 2, 2)
    detector = MAML(random_state=0).fit(images, Y)
    detector.save(tmp_path / "a.npz")
    loaded = load(tmp_path / "a.npz")
    assert loaded.net == detector.net and isinstance(loaded.net, ConvNet)
    assert np.array_equal(loaded.anomaly_score(Q), detector.anomaly_score(Q))


def test_a_file_of_another_format_is_named(tmp_path):
    trained().save(tmp_path / "a.npz")
    content = dict(np.load(tmp_path / "a.npz"))
    header = json.loads(str(content.pop("header")))
    header["format"] += 1
    np.savez(tmp_path / "a.npz", header=np.array(json.dumps(header)), **content)
    with pytest.raises(ValueError, match=rf"has format {header['format']}, this version of the package reads format"):
        load(tmp_path / "a.npz")


def test_a_parameter_that_this_version_does_not_know_is_named(tmp_path):
    trained().save(tmp_path / "a.npz")
    content = dict(np.load(tmp_path / "a.npz"))
    header = json.loads(str(content.pop("header")))
    header["params"]["temperature"] = 3
    np.savez(tmp_path / "a.npz", header=np.array(json.dumps(header)), **content)
    with pytest.raises(ValueError, match=r"a\.npz has parameters that AADML does not know.*temperature"):
        load(tmp_path / "a.npz")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*none: make it first"):
        trained().save(tmp_path / "none" / "a.npz")


def test_a_pickle_inside_the_file_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    trained().save(tmp_path / "a.npz")
    content = dict(np.load(tmp_path / "a.npz"))
    content["meta_/start/weight0"] = np.array([Bomb()], dtype=object)
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(ValueError, match=r"a\.npz is damaged"):
        AADML.load(tmp_path / "a.npz")
    assert not (tmp_path / "exploded").exists()


def test_what_was_changed_since_learning_is_not_saved(tmp_path):
    for detector in (NearestNeighbor().fit(X), trained()):
        with pytest.raises(ValueError, match="standardize changed since"):
            detector.set_params(standardize=False).save(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_made_on_a_device_that_is_not_here(tmp_path):
    detector = trained().fit(X, Y)
    scores = detector.anomaly_score(Q)
    detector.device = "cuda:7"
    detector.save(tmp_path / "a.npz")
    loaded = load(tmp_path / "a.npz")
    assert loaded.device == "cpu" and np.array_equal(loaded.anomaly_score(Q), scores)


def test_a_damaged_tail_is_named(tmp_path):
    NearestNeighbor().fit(X).save(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-3] + b"xyz")
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "b.npz")


@pytest.mark.parametrize("method", [MAML, PooledLogistic])
def test_what_was_learnt_has_the_same_types_afterwards(tmp_path, method):
    images = Glyphs(3, 0, 4, 4, size=8) if method is MAML else TRAIN
    detector = method(random_state=0).set_params(**({"meta_steps": 1} if method is MAML else {})).meta_fit(images)
    detector.save(tmp_path / "a.npz")
    loaded = load(tmp_path / "a.npz")
    assert loaded.image_shape_ == detector.image_shape_ and type(loaded.image_shape_) is type(detector.image_shape_)
    assert loaded.history_ == detector.history_ and set(loaded.history_) == {"loss", "valid_loss"}
