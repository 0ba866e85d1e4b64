"""The verdict whether a box holds a face, and what `align` makes of it: the score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Model
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.confidence import narrowest_spread
from acdc_fast.readout.presence import POWER, presence
from acdc_fast.weights import bundled

#: The face of the photograph as the detector finds it, and places without one: the suit, the flag, the shuttle.
FACE = [178.0, 63.0, 267.0, 174.0]
NOWHERE = [[120.0, 300.0, 220.0, 400.0], [10.0, 380.0, 90.0, 460.0], [400.0, 60.0, 480.0, 150.0]]


def test_the_chance_falls_with_the_spread() -> None:
    chance = presence([0.01, 0.02, 0.04], 0.01, 2.0)
    assert chance.dtype == np.float32 and chance[1] == 0.5
    assert chance[2] == pytest.approx(1 / (1 + 2**POWER), abs=1e-7) and chance[0] == pytest.approx(1 - chance[2])
    assert (presence([0.0, 1e30], 0.01) == [1, 0]).all() and presence([0.3], np.inf)[0] == 1


@pytest.fixture(scope="module", params=list(bundled()))
def model(request: pytest.FixtureRequest) -> Model:
    return Model.from_pretrained(request.param, threads=1)


def loosened(scale: float, x: float, y: float) -> list[float]:
    x0, y0, x1, y1 = FACE
    w, h = x1 - x0, y1 - y0
    cx, cy = (x0 + x1) / 2 + x * w, (y0 + y1) / 2 + y * h
    return [cx - scale * w / 2, cy - scale * h / 2, cx + scale * w / 2, cy + scale * h / 2]


def test_faces_score_high_and_places_without_one_low(model: Model) -> None:
    faces = model.align(PHOTO, boxes=[FACE, *NOWHERE])
    assert faces.scores.dtype == np.float32 and faces.scores[0] > 0.95
    assert (faces.scores[1:] < 0.7).all() and np.median(faces.scores[1:]) < 0.25
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    assert model.align(noise, boxes=[[100, 60, 200, 160]]).scores[0] < 0.1
    blank = np.full((240, 320, 3), 99, np.uint8)
    assert model.align([blank, PHOTO], boxes=[[[100, 60, 200, 160]], [FACE]])[0].scores[0] < 0.1


def test_the_score_is_of_the_crop_that_was_read(model: Model) -> None:
    """Boxes of other kinds are cut again: the chance is of the last crop, whose side is not the box's."""
    boxes = np.array([FACE, loosened(2.2, 0, 0), loosened(0.6, 0, 0), loosened(1.5, 0.25, -0.2)], np.float32)
    faces, alignment = model.align(PHOTO, boxes=boxes), model.alignment
    squares, predictions = alignment.read([load_picture(PHOTO)], [boxes])
    assert squares[0][1, 2] < 0.75 * squares[0][0, 2] * 2.2, "the loose box was to be cut again"
    expected = presence(narrowest_spread(predictions[0]), alignment.usual_spread, alignment.presence_limit)
    assert faces.scores == pytest.approx(expected, abs=1e-6) and (faces.scores > 0.9).all()


def test_the_detectors_confidence_is_a_factor(model: Model) -> None:
    def detector(rgb: np.ndarray) -> tuple[list[list[float]], list[float]]:
        return [FACE, NOWHERE[0]], [0.6, 0.7]

    found = model.align(PHOTO, detector=detector)
    alone = model.align(PHOTO, boxes=found.boxes)
    assert found.boxes.tolist() == [NOWHERE[0], FACE]  # the larger one first
    assert found.scores == pytest.approx(alone.scores * [0.7, 0.6], abs=1e-6)
    assert found.scores[0] < found.scores[1] and found.scores[1] > 0.55


def test_weights_of_which_nothing_is_known_believe_the_detector() -> None:
    whole = Model.from_pretrained("acdc-w16-fast", threads=1)
    card = {k: v for k, v in whole.weights.card.items() if k != "narrowest_spread"}
    unknown = Model(replace(whole.weights, card=card), threads=1)
    assert (unknown.align(Image.new("L", (99, 99)), boxes=[[9, 9, 60, 60]]).scores == 1).all()
