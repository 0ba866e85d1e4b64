"""The verdict whether a box holds a face, and what `align` makes of it: the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Model
from acdc_fast.alignment import Squares
from acdc_fast.photo.coordinates import square_from_box
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.presence import DENIED, POWER, presence
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
    faces = model.align(PHOTO, boxes=boxes)
    squares, reading = model.reader.read(Squares.listed([load_picture(PHOTO)], [square_from_box(boxes)]))
    assert squares.values[1, 2] < 0.75 * squares.values[0, 2] * 2.2, "the loose box was to be cut again"
    expected = presence(reading.narrowest, model.usual_spread, float(model.weights.card["presence"]))
    assert faces.scores == pytest.approx(expected, abs=1e-6) and (faces.scores > 0.9).all()


def test_the_detectors_confidence_is_a_factor(model: Model) -> None:
    def detector(rgb: np.ndarray) -> tuple[list[list[float]], list[float]]:
        return [FACE, NOWHERE[0]], [0.6, 0.7]

    found = model.align(PHOTO, detector=detector, min_score=0)
    alone = model.align(PHOTO, boxes=found.boxes)
    assert found.boxes.tolist() == [NOWHERE[0], FACE]  # the larger one first
    assert found.scores == pytest.approx(alone.scores * [0.7, 0.6], abs=1e-6)
    assert found.scores[0] < found.scores[1] and found.scores[1] > 0.55


def test_weights_of_which_nothing_is_known_believe_the_detector() -> None:
    whole = Model.from_pretrained("acdc-w16-fast", threads=1)
    card = {k: v for k, v in whole.weights.card.items() if k != "narrowest_spread"}
    unknown = Model(replace(whole.weights, card=card), threads=1)
    assert (unknown.align(Image.new("L", (99, 99)), boxes=[[9, 9, 60, 60]]).scores == 1).all()


#: Boxes of a picture whose lower part is bare, the largest first, with the detector's scores; the last is the face.
FOUND = [[60.0, 310.0, 250.0, 500.0], [260.0, 310.0, 440.0, 490.0], FACE]
GIVEN = [0.9, 0.8, 0.6]


@pytest.fixture(scope="module")
def bare() -> np.ndarray:
    picture = np.asarray(Image.open(PHOTO).convert("RGB")).copy()
    picture[300:] = (90, 120, 90)
    return picture


def finder(boxes: list[list[float]] = FOUND, scores: list[float] = GIVEN) -> Callable[[np.ndarray], Any]:
    return lambda rgb: (boxes, scores)


@pytest.fixture(scope="module")
def fast() -> Model:
    return Model.from_pretrained("acdc-w16-fast", threads=1)


def test_a_box_that_the_maps_deny_gives_no_face(model: Model, bare: np.ndarray) -> None:
    """Every weights: those of a chance below the limit are left out, and what is left is as it would be alone."""
    chance = model.align(bare, boxes=FOUND).scores
    kept = np.flatnonzero(chance >= DENIED)
    assert chance[2] > 0.9 and 2 in kept
    found = model.align(bare, detector=finder())
    assert found == model.align(bare, detector=finder([FOUND[i] for i in kept], [GIVEN[i] for i in kept]))
    assert found.boxes.tolist() == [FOUND[i] for i in kept]
    assert found.scores == pytest.approx(chance[kept] * np.array(GIVEN)[kept], abs=1e-6)


def test_the_least_score_is_that_of_the_faces(fast: Model, bare: np.ndarray) -> None:
    """0 gives all; of the caller's own boxes none is left out; several pictures keep their own."""
    assert (fast.align(bare, boxes=FOUND).scores[:2] < DENIED).all()
    assert len(fast.align(bare, boxes=FOUND)) == 3 and len(fast.align(bare, detector=finder(), min_score=0)) == 3
    for least, count in ((0.55, 1), (0.65, 0)):
        assert len(fast.align(bare, detector=finder(), min_score=least)) == count
    shown = fast.align([bare, PHOTO, bare], boxes=[None, [FACE], FOUND], detector=finder())
    assert [len(faces) for faces in shown] == [1, 1, 3]
    assert shown[0].boxes.tolist() == [FACE] and shown[2].boxes.tolist() == FOUND


def test_the_largest_faces_are_chosen_among_those_that_are_faces(fast: Model, bare: np.ndarray) -> None:
    """``max_faces``: what is denied takes no place."""
    two = np.concatenate([bare, bare], 1)
    both = [FOUND[0], [FACE[0] + 512, FACE[1], FACE[2] + 512, FACE[3]], FACE, [700.0, 400.0, 740.0, 440.0]]
    scores = [0.5, 0.6, 0.7, 0.8]  # of faces of the same size the surer one comes first
    for most, expected in ((1, [2]), (2, [2, 1]), (3, [2, 1])):
        few = fast.align(two, detector=finder(both, scores), max_faces=most)
        assert few.boxes.tolist() == [both[i] for i in expected]
        assert few == fast.align(two, detector=finder(both, scores))[: len(expected)]
    assert len(fast.align(two, detector=finder(both, scores), max_faces=3, min_score=0)) == 3


def test_a_picture_with_a_bare_wall_has_no_face_on_the_command_line(
    bare: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; and what ``--debug`` writes is of the faces that are given."""
    from acdc_fast.commands import cli
    from acdc_fast.photo import finding

    Image.fromarray(bare).save(tmp_path / "wall.png")
    found = np.array(FOUND, np.float32), np.array(GIVEN, np.float32)
    options = ["align", str(tmp_path / "wall.png"), "--weights", "acdc-w16-fast"]
    monkeypatch.setattr(finding, "detect", lambda *_: found)
    assert cli.main([*options, "--debug", str(tmp_path / "debug")]) == 0
    said = capsys.readouterr()
    assert "wall.png: 1 face\n" in said.out and not said.err
    assert [path.name for path in (tmp_path / "debug").rglob("crop-*.png")] == ["crop-0.png"]
    monkeypatch.setattr(finding, "detect", lambda *_: tuple(each[:2] for each in found))
    assert cli.main(options) == 0
    said = capsys.readouterr()
    assert "wall.png: 0 faces" in said.out and "wall.png: no face found" in said.err


def test_at_another_resolution_no_face_is_denied(fast: Model) -> None:
    """Four times the training's: all maps are wide, and no score is a chance."""
    large = Model(fast.weights, threads=1, resolution=4 * fast.resolution)
    assert large.align(PHOTO, boxes=[FACE]).scores[0] < DENIED
    assert len(large.align(PHOTO, detector=finder([FACE], [1.0]))) == 1
    assert len(large.align(PHOTO, detector=finder([FACE], [1.0]), min_score=0.5)) == 0


def test_weights_of_which_nothing_is_known_deny_no_face(fast: Model, bare: np.ndarray) -> None:
    card = {k: v for k, v in fast.weights.card.items() if k != "narrowest_spread"}
    unknown = Model(replace(fast.weights, card=card), threads=1)
    assert len(unknown.align(bare, detector=finder())) == 3
