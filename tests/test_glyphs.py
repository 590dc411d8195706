"""Glyphs: the right letters, the right labels, scripts and faces that stay apart, and a jitter as documented.

Pixels depend on the version of Pillow, so nothing here compares them with stored ones. Without jitter and in one
face, however, an image shows which letter it is.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaad_tutorial import NearestNeighbor, check_disjoint, evaluate
from metaad_tutorial.families import glyphs
from metaad_tutorial.families.glyphs import FACES, SCRIPTS, Glyphs

SHOTS = {"normal_shots": 3, "anomalous_shots": 2, "normal_queries": 4, "anomalous_queries": 5}
PLAIN = {"faces": "Sans", "jitter": 0, "size": 28}


def portraits(family):
    """Image bytes -> letter, for a family that draws each letter in one way."""
    drawn = family.sample(len(family.units), random_state=0)
    normal = [x[y == 0][0].numpy().tobytes() for x, y in zip(drawn.support_x, drawn.support_y, strict=True)]
    assert len(set(normal)) == len(family.units)
    return dict(zip(normal, drawn.units.tolist(), strict=True))


def letters_of(x, known):
    return np.array([[known[image.tobytes()] for image in task] for task in x.numpy()])


def test_images_have_the_promised_shapes_and_range():
    drawn = Glyphs(**SHOTS).sample(6, random_state=0)
    assert drawn.support_x.shape == (6, 5, 14, 14) and drawn.query_x.shape == (6, 9, 14, 14)
    assert {t.dtype for t in (drawn.support_x, drawn.support_y, drawn.query_x, drawn.query_y)} == {torch.float64}
    assert (drawn.support_y.sum(1) == 2).all() and (drawn.query_y.sum(1) == 5).all()
    for x in (drawn.support_x, drawn.query_x):
        assert x.min() == 0 and x.amax((2, 3)).min() > 0.2 and x.max() <= 1
    assert Glyphs(size=20).sample(2, random_state=0).query_x.shape == (2, 30, 20, 20)


def test_letters_of_five_scripts_remain():
    family = Glyphs()
    assert 295 <= len(family.units) <= 330
    least = {"Latin": 140, "Greek": 25, "Cyrillic": 35, "Armenian": 60, "Georgian": 33}
    assert list(least) == list(SCRIPTS)
    for script, count in least.items():
        assert (family.script == script).sum() >= count
    assert set("AQZagzΓΩλωБЯджԹՋթջაჰ") <= set(family.units)


def test_look_alikes_are_gone():
    family = Glyphs(1, **PLAIN)
    assert not set("ΑАΟоօРхհոԼl") & set(family.units) and set("AOoPxhnLI") <= set(family.units)
    # The images come from smaller pages than the choice of letters, hence the allowance.
    drawn = family.sample(len(family.units), random_state=0)
    pixels = torch.nn.functional.normalize(drawn.support_x[:, 0].flatten(1), dim=1)
    likeness = pixels @ pixels.T - torch.eye(len(pixels))
    assert likeness.max() < glyphs.LIKENESS + 0.015
    assert (likeness > glyphs.LIKENESS - 0.3).any()  # the measure does tell near from far


@pytest.mark.parametrize("anomaly", ["any", "one"])
def test_labels_tell_the_letter_and_anomalies_stay_on_their_side(anomaly):
    family = Glyphs(**SHOTS, **PLAIN, anomaly=anomaly)
    known = portraits(family)
    for part in family.of_scripts("Greek", "Cyrillic").split((0.5, 0.5), random_state=3):
        drawn = part.sample(500, random_state=1)
        labels = torch.cat([drawn.support_y, drawn.query_y], 1).numpy()
        shown = np.concatenate([letters_of(drawn.support_x, known), letters_of(drawn.query_x, known)], 1)
        assert np.array_equal(shown != drawn.units[:, None], labels == 1)
        assert set(shown[labels == 1]) == set(part.units.tolist())
        kinds = [len(set(row[label == 1])) for row, label in zip(shown, labels, strict=True)]
        assert max(kinds) == 1 if anomaly == "one" else np.mean(kinds) > 5


def test_position_does_not_betray_the_label():
    drawn = Glyphs(2, 2, 2, 2, size=8).sample(1500, random_state=0)
    for y in (drawn.support_y, drawn.query_y):
        assert ((y.mean(0) - 0.5).abs() < 5 * 0.5 / len(y) ** 0.5).all()


def test_scripts_are_apart():
    family = Glyphs()
    parts = [family.of_scripts("Latin", "Greek", "Cyrillic"), family.of_scripts("Armenian", "Georgian")]
    check_disjoint(*parts)
    assert sum(len(part.units) for part in parts) == len(family.units)
    assert set(parts[1].script) == {"Armenian", "Georgian"} and "Ω" in parts[0].units
    assert "А" not in family.of_scripts("Cyrillic").units  # somebody may have trained on the Latin A


def test_a_letter_in_another_face_or_size_is_the_same_unit():
    train, test = Glyphs(faces="Sans").split((0.5, 0.5), random_state=0)
    check_disjoint(train, test.of_faces("Serif"))
    for other in (train.of_faces("Serif"), Glyphs(size=20), Glyphs(1, 1).of_scripts("Latin")):
        with pytest.raises(ValueError, match=r"overlap"):
            check_disjoint(train, other)


def test_each_image_has_a_face_of_its_own():
    family = Glyphs(6, jitter=0).restrict(["Q", "Я"])

    def looks(family):
        drawn = family.sample(60, random_state=0)
        return {image.tobytes() for task in drawn[drawn.units == "Q"].support_x.numpy() for image in task}

    assert set(family.faces) == set(FACES) and len(FACES) == 12
    one_by_one = [looks(family.of_faces(face)) for face in FACES]
    assert [len(look) for look in one_by_one] == [1] * 12
    assert looks(family) == set.union(*one_by_one) and len(looks(family)) == 12
    assert looks(family.of_faces("Serif", "SansMono-Bold")) == one_by_one[FACES.index("Serif")] | looks(
        Glyphs(6, jitter=0, faces="SansMono-Bold").restrict(["Q", "Я"])
    )


def test_the_seed_fixes_the_images():
    first, again, other = (Glyphs().sample(30, random_state=seed) for seed in (1, 1, 2))
    assert torch.equal(first.query_x, again.query_x) and torch.equal(first.support_x, again.support_x)
    assert not torch.equal(first.query_x, other.query_x)
    images = first.query_x[first.query_y == 0].flatten(1)
    assert len(torch.unique(images, dim=0)) == len(images)  # no two images of a letter are alike


def moments(images):
    """Ink, centre (x, y) and covariance of each image, in pixels."""
    images = images.numpy()
    place = np.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    ink = images.sum((1, 2))
    centre = np.stack([(images.sum(1) * place).sum(1), (images.sum(2) * place).sum(1)], 1) / ink[:, None]
    x, y = place - centre[:, :1], place - centre[:, 1:]
    cross = np.einsum("nij,ni,nj->n", images, y, x) / ink
    return ink, centre, ((images.sum(1) * x**2).sum(1) / ink, (images.sum(2) * y**2).sum(1) / ink, cross)


def normal_images(letter, n=400, **options):
    """Images of a letter that is its own mirror image, both ways, so that its centre of ink is the middle."""
    family = Glyphs(n, 0, 1, 1, size=28, faces="Sans", **options).restrict([letter, "A"])
    drawn = family.sample(2, random_state=0)
    return drawn[drawn.units == letter].support_x[0]


def only(monkeypatch, name):
    for other in {"ROTATION", "STRETCH", "SHEAR", "SHIFT"} - {name}:
        monkeypatch.setattr(glyphs, other, 0.0)


def uniform(values, half_width, slack=0.1):
    """Whether values look like a uniform draw within plus or minus half_width."""
    spread = half_width / np.sqrt(3)
    assert abs(np.mean(values)) < 5 * spread / np.sqrt(len(values)) + 0.02 * half_width
    assert np.std(values) == pytest.approx(spread, rel=slack)
    assert np.abs(values).max() <= half_width * (1 + slack)


def test_shift(monkeypatch):
    only(monkeypatch, "SHIFT")
    _, centre, _ = moments(normal_images("I"))
    uniform(centre[:, 0], 28 / 14)
    uniform(centre[:, 1], 28 / 14)
    assert abs(np.corrcoef(centre.T)[0, 1]) < 0.2


def test_rotation(monkeypatch):
    only(monkeypatch, "ROTATION")
    ink, centre, (xx, yy, xy) = moments(normal_images("I"))
    uniform(np.rad2deg(np.arctan2(2 * xy, yy - xx) / 2), 15)
    assert ink.std() < 0.02 * ink.mean() and np.abs(centre).max() < 0.3


def test_stretch(monkeypatch):
    only(monkeypatch, "STRETCH")
    _, _, (xx, yy, _) = moments(normal_images("O"))
    plain = moments(normal_images("O", n=1, jitter=0))[2]
    across, along = np.log(xx / plain[0]) / 2, np.log(yy / plain[1]) / 2
    uniform(across, 0.15, slack=0.15)
    uniform(along, 0.15, slack=0.15)
    assert abs(np.corrcoef(across, along)[0, 1]) < 0.2


def test_shear(monkeypatch):
    only(monkeypatch, "SHEAR")
    ink, _, (_, yy, xy) = moments(normal_images("I"))
    uniform(xy / yy, 0.15)
    assert yy.std() < 0.02 * yy.mean() and ink.std() < 0.02 * ink.mean()


def test_jitter_keeps_the_ink_on_the_canvas():
    x = Glyphs().sample(200, random_state=0).query_x.flatten(0, 1)
    inner = x[:, 1:-1, 1:-1].sum((1, 2))
    outer = x.sum((1, 2)) - inner
    assert (outer / (outer + inner)).mean() < 0.005  # ink in the outermost pixels, where cutting off would begin
    assert (x.amax((1, 2)) > 0.2).all()
    plain = Glyphs(jitter=0).sample(200, random_state=0).query_x
    assert x.mean() == pytest.approx(plain.mean().item(), rel=0.05)


def test_large_batches_are_drawn_in_parts_without_a_trace():
    """2,000 images and more go through the sampler in blocks; all come out, and none twice."""
    drawn = Glyphs(5, 0, 15, 15, size=8).sample(70, random_state=0)
    images = torch.cat([drawn.support_x, drawn.query_x], 1).flatten(0, 1).flatten(1)
    assert len(torch.unique(images, dim=0)) == 70 * 35


def test_pixels_alone_do_not_solve_unseen_scripts():
    unseen = {k: Glyphs(k).of_scripts("Armenian", "Georgian") for k in (1, 5)}
    one, five = (evaluate(NearestNeighbor(), unseen[k], 60, random_state=0).mean for k in (1, 5))
    assert 0.55 < one < five < 0.87


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Glyphs().of_scripts("Klingon"), r"scripts must be one or more of Latin, Greek.*Klingon"),
        (lambda: Glyphs().of_scripts(), r"scripts must be one or more"),
        (lambda: Glyphs(faces=["Sans", "Comic"]), r"faces must be one or more of Sans, Sans-Bold.*Comic"),
        (lambda: Glyphs().of_faces(), r"faces must be one or more"),
        (lambda: Glyphs().of_scripts("latin"), r"scripts must be one or more"),
        (lambda: Glyphs().of_scripts("Greek").of_scripts("Latin"), r"Glyphs needs at least 2 unit\(s\), got 0"),
        (lambda: Glyphs().restrict(["Q"]), r"needs at least 2 unit"),
        (lambda: Glyphs().restrict(["Q", "А"]), r"not part of the family"),
        (lambda: Glyphs(size=7), r"size must be an integer from 8 to 64, got 7"),
        (lambda: Glyphs(size=65), r"size must be an integer from 8 to 64"),
        (lambda: Glyphs(size=14.0), r"size must be an integer"),
        (lambda: Glyphs(jitter=-0.1), r"jitter must be a finite number in \[0, 2\], got -0.1"),
        (lambda: Glyphs(jitter=float("nan")), r"jitter must be a finite number in \[0, 2\]"),
        (lambda: Glyphs(anomaly="two"), r"anomaly must be 'any' or 'one'"),
        (lambda: Glyphs(normal_shots=0), r"normal_shots must be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
