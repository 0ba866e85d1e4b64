"""Pictures that are read together: every picture gets its own faces, or its own error."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Camera, Faces, InputError, Model
from acdc_fast.alignment import Alignment, FaceReadout, Squares
from acdc_fast.photo.finding import Found
from acdc_fast.photo.images import Picture, load_picture
from acdc_fast.readout.reading import Reading
from acdc_fast.types import Prediction

SLICES = {"2d5": slice(0, 5), "3d68": slice(5, 73)}
RNG = np.random.default_rng(0)
FACE = [178.0, 63.0, 267.0, 174.0]


def reading(count: int) -> Reading:
    """No number twice."""
    points, spread, narrow, pose = (RNG.random((count, *shape)) for shape in ((73, 2), (73,), (), (3,)))
    return Reading(points, spread, narrow, pose, np.arange(count) % 2 == 0, SLICES)


def rows(of: Reading) -> list[tuple[Any, ...]]:
    """Each crop's numbers."""
    assert of.pose is not None
    each = zip(of.points, of.spread, of.narrowest, of.pose, of.finite, strict=True)
    return [(p.tolist(), s.tolist(), float(n), a.tolist(), bool(f)) for p, s, n, a, f in each]


def test_crops_of_a_reading_keep_all_their_numbers() -> None:
    one, other = reading(5), reading(4)
    before = rows(one)
    assert rows(one.part(np.array([3, 0]))) == [before[3], before[0]] and rows(one.part(slice(1, 3))) == before[1:3]
    new = one.replaced(np.array([1, 4]), other, np.array([3, 0]))
    assert rows(new) == [before[0], rows(other)[3], before[2], before[3], rows(other)[0]] and rows(one) == before
    assert np.array_equal(one.of("3d68"), one.points[:, 5:]) and len(one.part(np.zeros(0, int))) == 0


def test_squares_know_their_pictures() -> None:
    pictures = [Picture(np.full((20 + i, 30 + 2 * i, 3), 60 * i, np.uint8), name) for i, name in enumerate("abcd")]
    values = [RNG.random((count, 4)) * 20 + 5 for count in (2, 0, 3, 1)]
    squares = Squares.listed(pictures, [each * (1, 1, 1, 0) for each in values])
    assert [part.stop - part.start for part in squares.parts] == [2, 0, 3, 1]
    for each, part in zip(values, squares.parts, strict=True):
        assert np.array_equal(squares.values[part], each * (1, 1, 1, 0))
    assert squares.sizes().tolist() == [[30, 20]] * 2 + [[34, 22]] * 3 + [[36, 23]]
    assert [squares.named(face)[::8] for face in range(6)] == ["a0", "a1", "c0", "c1", "c2", "d0"]  # "a: face 0"
    assert (squares.crops(32, None)[:, 0, 3, 4] * 255).round().tolist() == [0, 0, 120, 120, 120, 180]
    some = squares.part(np.array([1, 4, 5]))
    assert [part.stop - part.start for part in some.parts] == [1, 0, 1, 1]
    assert squares.part(np.array([5, 5]), squares.values[:2]).of.tolist() == [3, 3]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast", threads=1)


def broken(model: Model, crop: int, change: str, camera: Camera | None) -> Alignment:
    """Its alignment, with a number that is not finite in one crop of each batch."""
    usual = model.reader.run

    def run(crops: np.ndarray) -> Prediction:
        seen = usual(crops)
        arrays = {"landmarks": seen.landmarks["2d68"], "covariance": seen.covariance["3d68"], "pose": seen.pose}
        new = np.array(arrays[change])
        new.reshape(len(new), -1)[crop, 1] = np.nan if change == "pose" else -np.inf
        return replace(seen, pose=new) if change == "pose" else replace(
            seen, **{change: {**getattr(seen, change), {"landmarks": "2d68"}.get(change, "3d68"): new}}
        )  # fmt: skip

    reader = replace(model.reader, run=run, usual_spread=np.inf, camera=camera)
    readout = FaceReadout(model.weights, np.inf, 2.0, model.calibration, model.markups, camera)
    return Alignment(reader, readout)


@pytest.mark.parametrize("camera", [None, Camera()])
@pytest.mark.parametrize("change", ["landmarks", "covariance", "pose"])
def test_a_picture_with_numbers_that_are_not_finite_leaves_the_others_alone(
    model: Model, change: str, camera: Camera | None
) -> None:
    photo = load_picture(PHOTO)
    boxes = [np.array([FACE, FACE], np.float32) + i for i in range(3)]
    found = [Found(Picture(photo.rgb, f"{i}.jpg"), b, np.ones(2, np.float32), True) for i, b in enumerate(boxes)]
    whole = broken(model, 3, change, camera)
    (one, error, three), plain = whole.each(found), model.align([photo.rgb] * 3, boxes=boxes, camera=camera)
    assert isinstance(error, InputError) and str(error).startswith("1.jpg: face 1: the network's results are not fini")
    for got, wanted in ((one, plain[0]), (three, plain[2])):
        assert isinstance(got, Faces) and got.boxes.tolist() == wanted.boxes.tolist()
        assert np.array_equal(got.landmarks["2d68"], wanted.landmarks["2d68"]) and got.pose == wanted.pose


def test_the_next_boxes_take_the_place_of_dropped_ones_in_each_picture(model: Model) -> None:
    """Eight boxes, of which the maps deny some: of each picture the largest faces of those that are left."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    nowhere = [[10, 380, 190, 490], [120, 300, 220, 400], [400, 60, 480, 150]]
    places = [*nowhere, FACE, [182, 68, 262, 168], [190, 75, 258, 160]]

    def detector(rgb: np.ndarray) -> tuple[list[list[float]], list[float]]:
        return [[x - rgb[0, 0, 0] / 64 for x in place] for place in places], [0.9] * len(places)

    pictures = []
    for i in range(4):
        pictures.append(photo.copy())
        pictures[-1][0, 0] = 64 * i
    settings: dict[str, Any] = {"detector": detector, "overlap": 1.0}
    every = [model.align(picture, **settings) for picture in pictures]
    assert all(0 < len(faces) < len(places) for faces in every)
    for most in (1, 2, 3, 6):
        for faces, wanted in zip(model.align(pictures, max_faces=most, **settings), every, strict=True):
            assert faces == wanted[:most]


def test_a_camera_of_another_picture_is_that_pictures_error(model: Model) -> None:
    photo = Image.open(PHOTO).convert("RGB")
    small = photo.resize((128, 128))
    camera = Camera(matrix=[[300, 0, 300], [0, 300, 300], [0, 0, 1]])
    assert isinstance(camera.numbers(512, 512), tuple)
    far = Camera(matrix=[[9.0, 0, 255], [0, 9.0, 255], [0, 0, 1]])
    one, two, three = model.align_each([photo, small, photo], camera=far)
    assert isinstance(two, InputError) and "128×128" in str(two)
    assert isinstance(one, Faces) and one == three == model.align(photo, camera=far)


def test_faces_of_a_group_carry_nothing_of_the_others(model: Model) -> None:
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    alone, many = model.align(photo), model.align([photo] * 5)
    assert all(faces == alone for faces in many)
    assert len(pickle.dumps(many[3])) <= len(pickle.dumps(alone)) + 100
