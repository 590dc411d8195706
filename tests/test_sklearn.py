"""Every detector behaves as scikit-learn expects of an outlier detector.

scikit-learn skips one check by itself, on array-API input, unless SCIPY_ARRAY_API is set; the detectors
take NumPy, pandas and torch and claim no more.
"""

import inspect
import pydoc

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from metaad_tutorial import (
    AADML,
    AAE,
    ACR,
    MAML,
    BatchFeatures,
    BatchNeighbor,
    ConvNet,
    EmpiricalBayes,
    Fleet,
    GaussianizedBayes,
    Mahalanobis,
    MetaAAE,
    NearestNeighbor,
    PooledFeatures,
    PooledLogistic,
    PrototypicalDetector,
    Reptile,
)

LABELS = "the check passes labels 1 and 2; `fit` refuses labels other than 0 and 1, and must"
RANK = (
    "the check wants the share of training points flagged to be `contamination`; the threshold is the r-th largest "
    "training score, r = floor(contamination (n + 1)), so that this is the share of new points, and r - 1 exceed it"
)
ITSELF = "a point fitted on is its own nearest neighbour at distance 0, so no training point is an outlier"
APART = "the threshold comes from points that were not trained on, so the share of flagged training points may differ"
BATCH = "scores depend on the batch, and a single point is refused; the detector's own documentation says so"


def allowed_failures(estimator) -> dict[str, str]:
    """Checks that contradict what the detector is meant to do, each with its reason."""
    reasons = dict.fromkeys(
        ("check_estimators_dtypes", "check_fit2d_1feature", "check_classifier_data_not_an_array"), LABELS
    )
    if not isinstance(estimator, AADML | Reptile):  # linear here, and blind to one class: their scores all tie
        share = ITSELF if isinstance(estimator, NearestNeighbor) else APART if isinstance(estimator, AAE) else RANK
        reasons |= {"check_outliers_fit_predict": share, "check_outliers_train": share}
    if isinstance(estimator, ACR | BatchFeatures | BatchNeighbor):
        reasons["check_methods_subset_invariance"] = BATCH
    return reasons


DETECTORS = [
    AADML(random_state=0),
    AAE(steps=30, random_state=0),
    ACR(8, random_state=0),
    MAML(hidden=(8,), random_state=0),
    MetaAAE(random_state=0),
    Reptile(random_state=0),
    PrototypicalDetector(8, random_state=0),
    EmpiricalBayes(random_state=0),
    GaussianizedBayes(random_state=0),
    PooledLogistic(random_state=0),
    PooledFeatures(8, random_state=0),
    BatchFeatures(8, random_state=0),
    NearestNeighbor(),
    BatchNeighbor(),
    Mahalanobis(),
]


@parametrize_with_checks(DETECTORS, expected_failed_checks=allowed_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", DETECTORS, ids=lambda e: type(e).__name__)
def test_allowed_failures_pass_with_labels_0_and_1(estimator, monkeypatch):
    """What the excused checks look at holds once their labels are recoded to 0 and 1."""
    from sklearn.utils import estimator_checks as checks

    monkeypatch.setattr(checks, "_enforce_estimator_tags_y", lambda _, y: (y > y.min()).astype(int))
    name = type(estimator).__name__
    for check, reason in allowed_failures(estimator).items():
        if reason is LABELS:
            getattr(checks, check)(name, estimator)


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("estimator", DETECTORS, ids=lambda e: type(e).__name__)
def test_all_but_the_share_of_flagged_training_points_holds(estimator, share):
    """What `check_outliers_train` and `check_outliers_fit_predict` look at, with the number that the rule gives."""
    X, _ = make_blobs(n_samples=300, random_state=0)
    own = {"hidden": (8,)} if isinstance(estimator, AADML | Reptile) else {}
    detector = clone(estimator).set_params(contamination=share, **own).fit(X)
    flagged, scores = detector.predict(X), detector.decision_function(X)
    assert flagged.dtype.kind == "i" and set(flagged) <= {-1, 1}
    assert np.array_equal(flagged == -1, scores < 0)
    assert np.allclose(scores, detector.score_samples(X) - detector.offset_)
    assert np.array_equal(clone(detector).fit_predict(X), flagged)
    if not isinstance(estimator, NearestNeighbor | AAE):  # its own training scores say where it cuts
        assert (flagged == -1).sum() == int(share * 301) - 1
    for bad in (-0.5, 0.0, 0.51, 2.0):
        with pytest.raises(ValueError, match="contamination"):
            detector.set_params(contamination=bad).fit(X)


SHARED = {
    "inner_steps": 3, "inner_lr": 0.1, "hidden": None, "network": None, "loss": "cross_entropy", "balanced": False,
    "meta_lr": None, "meta_steps": None, "meta_batch": None, "patience": None, "standardize": True,
    "contamination": "auto", "dtype": "float64", "device": "cpu", "random_state": None,
}  # fmt: skip
OWN = {MAML: {"first_order": False, "head_only": False, "learn_lr": None}, Reptile: {}, AADML: {"head_only": False}}
META = pytest.mark.parametrize("method", OWN)


@META
def test_all_parameters_and_their_defaults_are_shown(method):
    """The chapters name these; a change of a default changes what they say."""
    want = OWN[method] | SHARED
    shown = {n: p.default for n, p in inspect.signature(method).parameters.items()}
    assert shown == want and list(shown)[: len(OWN[method])] == list(OWN[method])
    assert method().get_params() == want
    head = pydoc.plain(pydoc.render_doc(method)).split("Method resolution order")[0]
    assert all(name in head for name in want) and "shared" not in head.split(" |")[0]


@META
def test_parameters_are_set_copied_and_shown(method):
    network = ConvNet((4,))
    detector = method().set_params(inner_lr=0.5, network=network)
    assert repr(detector).replace("\n", "").replace(" ", "") == (
        f"{method.__name__}(inner_lr=0.5,network=ConvNet(channels=(4,),norm=None,shape=None,outputs=None))"
    )
    assert repr(method()) == f"{method.__name__}()"
    assert (
        clone(detector).get_params()
        == detector.get_params()
        == OWN[method]
        | SHARED
        | {
            "inner_lr": 0.5,
            "network": network,
        }
    )
    with pytest.raises(ValueError, match="Invalid parameter 'learning_rate'"):
        detector.set_params(learning_rate=1)
    with pytest.raises(TypeError, match="learning_rate"):
        method(learning_rate=1)


def test_a_copy_has_a_module_of_its_own():
    module = torch.nn.Linear(4, 1)
    copied = clone(MAML(network=module)).network
    assert copied is not module and torch.equal(copied.weight, module.weight)


@META
def test_a_detector_works_at_the_end_of_a_pipeline(method):
    task = Fleet(5, 2, 6, 6, n_machines=5, n_features=4).sample(1, random_state=0)
    X, y, Q = (getattr(task, n)[0].numpy() for n in ("support_x", "support_y", "query_x"))
    detector = method(hidden=(3,), random_state=0)
    pipeline = make_pipeline(StandardScaler(), clone(detector))
    pipeline.set_params(**{f"{method.__name__.lower()}__inner_steps": 2}).fit(X, y)
    scaler = StandardScaler().fit(X)
    alone = detector.set_params(inner_steps=2).fit(scaler.transform(X), y)
    assert np.array_equal(pipeline.score_samples(Q), alone.score_samples(scaler.transform(Q)))
    assert np.array_equal(pipeline.predict(Q), alone.predict(scaler.transform(Q)))
    assert pipeline.score_samples(Q).std() > 0
