"""Unusual input, changed parameters and failed fits of the detectors of chapters 6 to 9."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from metaad_tutorial import (
    AAE,
    ACR,
    MAML,
    ConvNet,
    Domains,
    Fleet,
    MetaAAE,
    PrototypicalDetector,
    meta_aae,
    table_tasks,
)

FLEET = Fleet(normal_shots=6, anomalous_shots=1, normal_queries=12, anomalous_queries=3, n_features=6)
TRAIN, VALID, TEST = FLEET.split(random_state=0)
RNG = np.random.default_rng(0)
X, Q = RNG.normal(size=(40, 6)), RNG.normal(size=(7, 6))
SHORT = {"hidden": (4,), "meta_steps": 5, "meta_batch": 4, "random_state": 0}
DETECTORS = (PrototypicalDetector, ACR, MetaAAE)


class Spare(nn.Module):
    """A module with a layer that it does not use."""

    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(6, 3), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


def test_unused_parameters_of_a_module_do_not_stop_the_averaging(tmp_path):
    def make(steps):
        torch.manual_seed(0)
        detector = PrototypicalDetector(network=Spare(), meta_steps=steps, meta_batch=4, random_state=0)
        detector.valid_every = 2
        return detector

    whole = make(5).meta_fit(TRAIN, VALID)
    make(2).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c.npz")
    again = make(5).meta_fit(TRAIN, VALID, checkpoint=tmp_path / "c.npz")
    assert torch.equal(whole.meta_["start.used.weight"], again.meta_["start.used.weight"])


@pytest.mark.parametrize("options", [{"hidden": (4,)}, {"network": ConvNet((4, 4), norm="batch")}])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_code_wider_than_the_encoder_can_fill(options, dtype):
    train, *_ = Fleet(anomalous_shots=0).split(random_state=0)
    detector = MetaAAE(**options, meta_steps=40, meta_batch=4, dtype=dtype, random_state=2).meta_fit(train)
    assert len(detector.meta_["start.generator.bias1"]) <= 4  # in a wider code S is singular


@pytest.mark.parametrize("changed", [{"literal": True}, {"images": True}, {"dtype": "float32"}, {"hidden": (3, 3)}])
def test_aae_scores_are_those_of_the_fit(changed, tmp_path):
    detector = AAE(steps=5, random_state=0).fit(X)
    before = detector.anomaly_score(Q)
    detector.set_params(**changed)
    try:
        after = detector.anomaly_score(Q)
        detector.save(tmp_path / "a.npz")
        loaded = AAE.load(tmp_path / "a.npz").anomaly_score(Q)
    except ValueError:
        return  # a refusal is as good
    assert np.array_equal(after, before) and np.array_equal(loaded, before)


def test_aae_survives_a_failed_fit():
    detector = AAE(steps=5, random_state=0).fit(X)
    before = detector.anomaly_score(Q)
    with pytest.raises(ValueError, match="diverged"):
        detector.set_params(lr=1e300).fit(X)
    assert np.array_equal(detector.anomaly_score(Q), before)


def test_aae_without_a_finished_fit_has_nothing_to_save(tmp_path):
    detector = AAE(steps=5, lr=1e300, random_state=0)
    with pytest.raises(ValueError, match="diverged"):
        detector.fit(X)
    with pytest.raises(ValueError, match="Nothing to save"):
        detector.save(tmp_path / "a.npz")


@pytest.mark.parametrize("detector", [AAE(steps=3, random_state=0), *(cls(**SHORT) for cls in DETECTORS)])
def test_a_refused_fit_leaves_the_width_alone(detector):
    before = detector.fit(X).anomaly_score(Q)
    with pytest.raises(ValueError, match="recode"):
        detector.fit(X[:, :3], np.full(len(X), 2))
    assert np.array_equal(detector.anomaly_score(Q), before)


@pytest.mark.parametrize("cls", DETECTORS)
def test_another_dtype_after_meta_fit(cls):
    detector = cls(**SHORT).meta_fit(TRAIN)
    before = detector.fit(X).anomaly_score(Q)
    try:
        after = detector.set_params(dtype="float32").fit(X).anomaly_score(Q)
    except ValueError:
        return
    assert np.allclose(after, before, atol=1e-3)


def test_acr_standardizes_as_it_was_trained_or_refuses():
    detector = ACR(**SHORT).meta_fit(TRAIN)
    before = detector.fit(X).anomaly_score(Q)
    with pytest.raises(ValueError, match="standardize changed"):
        detector.set_params(standardize=False).fit(X)
    assert np.array_equal(detector.set_params(standardize=True).fit(X).anomaly_score(Q), before)


@pytest.mark.parametrize("cls", [MAML, *DETECTORS])
def test_a_loaded_detector_may_not_change_either(cls, tmp_path):
    cls(**SHORT).meta_fit(TRAIN).save(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="hidden changed"):
        cls.load(tmp_path / "d.npz").set_params(hidden=(4, 4)).fit(X)


@pytest.mark.parametrize("cls", [MAML, MetaAAE])
def test_outputs_of_a_conv_net_are_refused_where_they_have_no_meaning(cls):
    with pytest.raises(ValueError, match="outputs"):
        cls(network=ConvNet((2,), shape=(2, 3), outputs=7), random_state=0).fit(X[:7])


def test_untrained_acr_without_a_seed_is_one_network():
    episodes = FLEET.sample(1, 0)[[0, 0, 0]]
    _, thresholds = ACR(4, contamination=0.2).score_tasks(episodes)
    assert np.ptp(thresholds) == 0


@pytest.mark.parametrize("share", [Fraction(1, 3), Fraction(1, 4), Fraction(1, 5), Fraction(3, 10)])
def test_acr_reaches_the_share_exactly(share):
    normal = 2 * share.denominator * (share.denominator - share.numerator)
    most = int(share / (1 - share) * normal)
    family = Fleet(normal_queries=normal, anomalous_queries=most, n_features=2)
    detector = ACR(anomaly_share=float(share))
    rng = np.random.default_rng(0)
    assert max(int(detector._sample(family, 1, rng).query_y.sum()) for _ in range(8 * most)) == most


def test_acr_refuses_nan():
    with pytest.raises(ValueError, match="anomaly_share"):
        ACR(anomaly_share=float("nan"), meta_steps=1).meta_fit(TRAIN)


@pytest.mark.parametrize("name", ["lambda_2", "margin"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_aae_names_what_is_not_finite(name, value):
    with pytest.raises(ValueError, match=name):
        AAE(steps=1, **{name: value}).fit(X)


@pytest.mark.parametrize("break_", ["missing array", "missing state", "list"])
def test_a_damaged_aae_file_is_named(tmp_path, break_):
    path = tmp_path / "a.npz"
    AAE(steps=1, random_state=0).fit(X).save(path)
    arrays = dict(np.load(path))
    header = json.loads(str(arrays.pop("header")))
    if break_ == "missing array":
        del arrays["encoder/weight0"]
    elif break_ == "missing state":
        del header["state"]
    else:
        header = [1]
    np.savez(path, header=np.array(json.dumps(header)), **arrays)
    with pytest.raises(ValueError, match=r"damaged|not"):
        AAE.load(path)


@pytest.mark.parametrize(
    ("scale", "offset", "dtype"), [(1e200, 0, "float64"), (1, 1e8, "float32"), (1e-300, 0, "float64")]
)
def test_aae_is_not_silently_blind(scale, offset, dtype):
    detector = AAE(steps=5, random_state=0, dtype=dtype)
    try:
        scores = detector.fit(X * scale + offset).anomaly_score(Q * scale + offset)
    except ValueError:
        return
    assert np.ptp(scores) > 0


def two_tables(d, name):
    y = np.arange(60) % 2
    return table_tasks(
        {f"{name}{i}": (RNG.normal(size=(60, d)), y) for i in range(2)}, normal_queries=3, anomalous_queries=3
    )


def test_domains_of_different_widths_or_names_are_refused():
    with pytest.raises(ValueError, match=r"width|features|shape"):
        Domains({"a": two_tables(3, "a"), "b": two_tables(4, "b")}).sample(2, 0)
    with pytest.raises(ValueError, match="kind"):
        Domains({1: two_tables(3, "a"), "b": two_tables(3, "b")}).sample(2, 0)


def test_virtual_anomalies_start_from_normal_points(monkeypatch):
    detector = MetaAAE(**SHORT, n_virtual=4).meta_fit(TRAIN)
    plain = detector.fit(X[3:10]).params_["center"]
    seen, real = [], meta_aae._Parts.part

    def spy(self, name, params, *inputs):
        if name == "generator":
            seen.append(inputs[0][0, :, : plain.shape[-1]] + plain)
        return real(self, name, params, *inputs)

    monkeypatch.setattr(meta_aae._Parts, "part", spy)
    # Labelled anomalies, far away, come first in the support set.
    detector.fit(X[:10] + 5 * (np.arange(10) < 3)[:, None], [1] * 3 + [0] * 7)
    normal = detector._codes(detector.params_, detector.scaling_, torch.as_tensor(X[None, 3:7]))[0]
    assert torch.allclose(seen[0], normal)


def test_prototype_scores_are_exact_bayes():
    """Held. Against joint Gaussians of support and query points, one dimension after the other."""
    detector = PrototypicalDetector(5, **SHORT).meta_fit(TRAIN)
    meta = {name: value.numpy() for name, value in detector.meta_.items()}
    task = TEST.sample(1, 1)
    x, y, query = task.support_x[0].numpy(), task.support_y[0].numpy(), task.query_x[0].numpy()

    def embed(points):
        points = (points - meta["location"].ravel()) / meta["scale"].ravel()
        hidden = np.maximum(points @ meta["start.weight0"].T + meta["start.bias0"], 0)
        return hidden @ meta["start.weight1"].T + meta["start.bias1"]

    support, asked, density = embed(x), embed(query), []
    for label in (0, 1):
        total, share = np.exp(meta["log_variance"][label]), 1 / (1 + np.exp(-meta["share"][label]))
        own = support[y == label]
        cov = total * (1 - share) * np.eye(len(own) + 1) + total * share
        joint = [
            [multivariate_normal.logpdf([*s, q], cov=cov) for s, q in zip(own.T, row, strict=True)] for row in asked
        ]
        alone = [multivariate_normal.logpdf(s, cov=cov[:-1, :-1]) for s in own.T]
        density.append((np.array(joint) - np.array(alone)).mean(1))
    logit = np.exp(meta["log_scale"]) * (density[1] - density[0]) + meta["bias"]
    assert np.allclose(detector.fit(x, y).anomaly_score(query), logit, atol=1e-10)


def test_meta_aae_gradient_in_every_parameter(monkeypatch):
    """Held. Central differences of the outer loss, the stretched codes kept as they are."""
    detector = MetaAAE(hidden=(3,), inner_steps=2, latent=2, width=3, n_virtual=4, meta_steps=3, meta_batch=4)
    detector.set_params(random_state=0).meta_fit(TRAIN)
    noise = torch.Generator().manual_seed(0)
    meta = {n: v + 0.2 * torch.randn(v.shape, generator=noise, dtype=v.dtype) for n, v in detector.meta_.items()}
    meta |= {n: detector.meta_[n] for n in ("location", "scale")}
    learnt = {n: v.requires_grad_() for n, v in meta.items() if n not in ("location", "scale")}
    task, first, real = TEST.sample(2, 0), [], meta_aae.stretched

    def frozen(normal, far):
        first.append(real(normal, far).detach())
        return first[0]

    monkeypatch.setattr(meta_aae, "stretched", frozen)
    detector._outer_loss(meta, task).backward()
    for name, value in learnt.items():
        flat, h = value.detach().view(-1), 1e-6
        for i in range(len(flat)):
            old, around = flat[i].item(), []
            for move in (h, -h):
                flat[i] = old + move
                around.append(detector._outer_loss(meta, task).item())
            flat[i] = old
            assert abs((around[0] - around[1]) / 2 / h - value.grad.view(-1)[i]) < 1e-6, name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scores_that_overflow_are_refused(dtype):
    detector = PrototypicalDetector(hidden=(4,), dtype=dtype, random_state=0).fit(X)
    assert np.isfinite(detector.anomaly_score(Q)).all()
    with pytest.raises(ValueError, match="overflow"):
        detector.anomaly_score(Q * (1e200 if dtype == "float64" else 1e30))


def test_codes_that_cannot_be_filled_are_refused():
    with pytest.raises(ValueError, match=r"latent=5 .* at most 4"):
        MetaAAE(latent=5, **SHORT).meta_fit(TRAIN)
    few = Fleet(anomalous_shots=0, normal_queries=2, n_features=6).split(random_state=0)[0]
    with pytest.raises(ValueError, match="cannot fill"):
        MetaAAE(latent=6, meta_batch=3, meta_steps=2, random_state=0).meta_fit(few)
