"""Whether a point is in sight: what the terms are, and what the two functions make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.paths import PHOTO
from helpers.small import sighted

from acdc_fast import Model
from acdc_fast.readout.refinement import Refinement
from acdc_fast.readout.visibility import COMPONENTS, Visibility, terms, terms_of, visible
from acdc_fast.types import Faces
from acdc_fast.weights import bundled, load_weights

POINTS = 73


def refinement() -> Refinement:
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(2 * POINTS, 2 * POINTS)))[0].astype(np.float32)
    return Refinement(np.zeros(2 * POINTS, np.float32), basis[:40], {})


def seen(count: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, spreads and poses of some faces."""
    rng = np.random.default_rng(1)
    points, spread = rng.normal(0, 30, (count, POINTS, 2)), rng.uniform(1, 9, (count, POINTS))
    return points, spread, rng.normal(0, 20, (count, 3))


def test_terms_know_neither_place_nor_size() -> None:
    points, spread, pose = seen()
    here = terms(points, spread, pose, refinement())
    assert here.shape == (6, terms_of(POINTS)) and (here[:, 0] == 1).all()
    there = terms(3 * points + [5, -7], 3 * spread, pose, refinement())
    assert there == pytest.approx(here, abs=1e-9)
    wider = terms(points, spread * np.where(np.arange(POINTS) < 68, 1, 2), pose, refinement())
    moved = np.flatnonzero(np.abs(wider - here).max(0) > 1e-9)
    assert moved.tolist() == list(range(6 + 68, 6 + 73)) and wider[:, moved] - here[:, moved] == pytest.approx(
        np.log(2)
    )


def test_terms_stay_within_what_was_fitted() -> None:
    points, spread, pose = seen()
    spread[0, 3] = 0.0  # a map of one pixel
    far = terms(points, spread, 100 * pose, refinement())
    assert np.isfinite(far).all() and np.abs(far[:, 1:6]).max() <= 3.5**2
    assert np.abs(far[:, -COMPONENTS:]).max() <= 4


def test_either_cause_hides_a_point() -> None:
    known = np.zeros((4, terms_of(POINTS)))
    known[:, 0], known[[1, 3], 1], known[[2, 3], 2] = 1, 1, 1  # cause one, cause two, both
    numbers = np.zeros((terms_of(POINTS), 2 * 68))
    numbers[0], numbers[1, :68], numbers[2, 68:] = -8, 16, 16
    chance = visible(known, Visibility({"2d68": numbers}, np.array([0.0, 1.0, 0.0])), "2d68")
    assert chance.shape == (4, 68) and chance.dtype == np.float32
    assert (chance[0] > 0.99).all() and (chance[1:] < 0.01).all()
    sooner = visible(known, Visibility({"2d68": numbers}, np.array([8.0, 1.0, 0.0])), "2d68")
    assert sooner[0] == pytest.approx(0.5, abs=1e-3)  # turned away counts for more
    flat = visible(known, Visibility({"2d68": numbers}, np.array([0.0, 0.0, 1.0])), "2d68")
    assert flat == pytest.approx(1 / (1 + np.e), abs=1e-6)


def model(**changes: object) -> Model:
    """A trained network, which tells faces apart, with made-up numbers."""
    weights = load_weights(bundled()["acdc-w16-fast"])
    weights = replace(weights, visibility=sighted(weights))
    return Model(replace(weights, **changes), backend="native", threads=1)  # type: ignore[arg-type]


BOXES = [[178.0, 63.0, 267.0, 174.0], [160.0, 50.0, 290.0, 190.0], [30.0, 40.0, 90.0, 100.0]]


def told(faces: Faces) -> np.ndarray:
    assert list(faces.visible) == ["2d68"]
    return faces.visible["2d68"]


def test_through_align() -> None:
    """By the terms of what is handed out, each face its own; none gives arrays of none; without numbers nothing."""
    whole = model()
    faces = whole.align(PHOTO, boxes=BOXES)
    weights = whole.weights
    assert faces.pose is not None and weights.refinement is not None and weights.visibility is not None
    pose = np.stack([faces.pose.yaw, faces.pose.pitch, faces.pose.roll], 1)
    points, spread = (np.concatenate([v[m] for m in weights.config.order], 1) for v in (faces.landmarks, faces.spread))
    known = terms(points, spread, pose, weights.refinement)
    # Pixels of 512 in float32 are 3e-5 apart; of a crop of 150 that is 2e-7, of a shape's components 1e-4.
    assert told(faces) == pytest.approx(visible(known, weights.visibility, "2d68"), abs=1e-3)
    assert np.ptp(told(faces), 0).max() > 0.05 and np.ptp(told(faces), 1).max() > 0.05
    for i, box in enumerate(BOXES):
        assert told(whole.align(PHOTO, boxes=[box]))[0] == pytest.approx(told(faces)[i], abs=1e-4)
    assert told(whole.align(PHOTO, boxes=[])).shape == (0, 68)
    assert model(visibility=None).align(PHOTO, boxes=BOXES).visible == {}
    assert model(markups=("2d5",)).align(PHOTO, boxes=BOXES).visible == {}
    fewer = model(markups=("2d68",)).align(PHOTO, boxes=BOXES)
    assert told(fewer) == pytest.approx(told(faces), abs=1e-6)


def test_the_packaged_weights_tell_a_covered_mouth() -> None:
    """A card from the nose to below the chin; the eyes stay in sight. A face on its side is read as it is upright."""
    from PIL import Image, ImageDraw

    whole = Model.from_pretrained(threads=1)
    picture = Image.open(PHOTO).convert("RGB")
    plain = whole.align(picture, boxes=BOXES[:1])
    points = plain.landmarks["2d68"][0]
    (left, chin), right, nose = points[[4, 8], [0, 1]], points[12, 0], points[33, 1]
    ImageDraw.Draw(picture).rectangle([left - 9, nose + 3, right + 9, chin + 15], fill=(90, 90, 90))
    covered = whole.align(picture, boxes=BOXES[:1])
    mouth, eyes = slice(48, 60), slice(36, 48)
    assert told(plain)[0, mouth].mean() > 0.75 > 0.65 > told(covered)[0, mouth].mean()
    assert told(plain)[0, eyes].mean() > 0.75 and told(covered)[0, eyes].mean() > 0.75
    turned = whole.align(np.rot90(np.asarray(Image.open(PHOTO).convert("RGB"))).copy(), boxes=[[63, 245, 174, 334]])
    assert told(turned)[0] == pytest.approx(told(plain)[0], abs=0.2)  # by a crop of its own
