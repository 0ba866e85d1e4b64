"""Each picture shows what its name says, at its place; several faces can be told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Faces, InputError, Model
from acdc_fast.commands.align import SHOWN as CHOICES
from acdc_fast.photo.draw import AXES, draw_faces
from acdc_fast.photo.show import SHOWN, attention_sheet, edges, number_places, show_faces, side_of


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast", threads=1)


@pytest.fixture(scope="module")
def faces(model: Model) -> Faces:
    return model.align(PHOTO, boxes=[[178, 62, 267, 174]])


def changed(what: str, faces: Faces) -> np.ndarray:
    before = np.asarray(Image.open(PHOTO).convert("RGB"))
    after = show_faces(PHOTO, faces, what)
    assert after.size == (512, 512)
    return np.asarray((np.asarray(after).astype(int) - before).any(2))


def test_every_kind_draws_something_of_its_own(faces: Faces) -> None:
    kinds = {what: changed(what, faces) for what in SHOWN if what != "index"}
    for what, where in kinds.items():
        assert where.sum() > 300 and not where[:, 330:].any() and not where[260:].any(), what
    names = list(kinds)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert (kinds[a] != kinds[b]).sum() > 300, (a, b)
    assert set(CHOICES) == {*SHOWN, "attention"}


def test_doubt_is_drawn_as_wide_as_the_spread(faces: Faces) -> None:
    """Each point alone on black: what is drawn is as wide as twice its spread."""
    black = np.zeros((512, 512, 3), np.uint8)
    for spread in (6.0, 20.0):
        points, sure = ({"2d68": each["2d68"]} for each in (faces.landmarks, faces.confidence))
        narrow = {"2d68": np.full((1, 68), 0.5, np.float32)}
        one = replace(faces, landmarks=points, spread=narrow, confidence=sure)
        one.spread["2d68"][0, 8] = spread  # the chin
        y = one.landmarks["2d68"][0, 8, 1]
        rows = np.asarray(show_faces(black, one, "doubt")).any(2)[round(float(y)) + 3 :]
        assert abs(np.flatnonzero(rows.any(1)).max() + 3 - spread) < 2


def test_axes_of_the_pose_end_where_the_head_points(faces: Faces) -> None:
    turned = np.asarray(show_faces(np.zeros((512, 512, 3), np.uint8), faces, "pose")).astype(int)
    red, green = (np.abs(turned - axis[:3]).sum(2) < 60 for axis in AXES[:2])
    middle = faces.landmarks["2d68"][0].mean(0)
    assert np.nonzero(red)[1].max() > middle[0] + 50 and np.nonzero(green)[0].min() < middle[1] - 50


def test_numbers_are_drawn_large_enough_to_read(faces: Faces) -> None:
    """The picture is cut to the face and enlarged a whole number of times; a number stands beside each point."""
    picture, box, side = show_faces(PHOTO, faces, "index"), faces.boxes[0].astype(float), side_of(faces, 0)
    low = np.maximum(np.floor(box[:2] - side / 2), 0)
    times = picture.width / (np.ceil(box[2] + side / 2) - low[0])
    assert times == round(times) and side * times >= 900 and max(picture.size) <= 4096
    assert picture.height == times * (np.ceil(box[3] + side / 2) - low[1])
    black = np.asarray(show_faces(np.zeros((512, 512, 3), np.uint8), faces, "index"))
    white = np.argwhere((black > 250).all(2))[:, ::-1] / times + low
    for point in faces.landmarks["2d68"][0]:
        away = white - point
        assert ((np.abs(away) < 6).all(1)).any()
    photo = np.asarray(Image.open(PHOTO).convert("RGB")).astype(int)
    x, y = (low + 4).astype(int)  # a place with no point: the part lies where the dots say
    assert np.abs(np.asarray(picture)[int(4.5 * times), int(4.5 * times)] - photo[y, x]).max() < 30


def test_numbers_do_not_lie_on_each_other(faces: Faces) -> None:
    points, side = faces.landmarks["2d68"][0].astype(np.float64), side_of(faces, 0)
    places = number_places(points, side)
    apart, near = (np.linalg.norm(p[:, None] - p, axis=2) + side * np.eye(68) for p in (places, points))
    assert apart.min() > max(1.2 * near.min(), 0.015 * side)  # how near the lips' points lie is the weights' matter
    assert np.linalg.norm(places - points, axis=1) == pytest.approx(np.full(68, 0.026 * side))


def test_numbers_of_faces_at_the_edge_and_far_apart(faces: Faces) -> None:
    card = np.zeros((200, 900, 3), np.uint8)
    far = np.array([[-60, 20, 40, 150], [840, 20, 960, 150], [2000, 0, 2100, 120]], np.float32)
    several = replace(faces[[0, 0, 0]], boxes=far)
    assert show_faces(card, several[:1], "index").width > 600
    assert show_faces(card, several[:2], "index").size == (900 * 4, 200 * 4)
    assert show_faces(card, several[2:], "index").size == (900 * 4, 200 * 4)
    assert show_faces(card, faces[:0], "index").size == (900, 200)


def test_the_mesh_is_of_all_points() -> None:
    sides = edges()
    assert {k for pair in sides for k in pair} == set(range(68)) and all(a < b for a, b in sides)
    assert len(sides) <= 3 * 68 - 6  # of a planar graph


def test_several_faces_are_told_apart_and_dots_shrink(faces: Faces) -> None:
    black = np.zeros((512, 512, 3), np.uint8)
    two = replace(faces[[0, 0]], boxes=np.array([[20, 40, 100, 140], [300, 40, 380, 140]], np.float32),
                  landmarks={"2d68": np.full((2, 68, 2), 450, np.float32)})  # fmt: skip
    drawn = np.asarray(draw_faces(black, two)).astype(int)
    left, right = drawn[90, 18:23].max(0), drawn[90, 298:303].max(0)
    assert np.abs(left - right).max() > 60  # the boxes have colours of their own
    point = {"2d68": np.full((1, 68, 2), 256, np.float32)}
    dots = []
    for side in (20, 60, 240):
        box = np.array([[0, 0, side, side]], np.float32)
        only = replace(faces, boxes=box, landmarks=point, pose=None)
        dots.append(int(np.asarray(draw_faces(black, only))[250:263, 250:263].sum(dtype=np.int64)))
    assert dots[0] < 0.9 * dots[1] and dots[1] < 0.5 * dots[2], dots


def test_attention_sheet_has_a_row_a_face_and_a_column_a_stage(model: Model) -> None:
    crops = np.zeros((2, 1, 64, 64), np.float32)
    masks = [np.zeros((2, 1, side, side), np.float32) for side in (64, 32, 64)]  # the second with patches of two pixels
    masks[1][1, 0, :, 16:] = 1
    sheet = np.asarray(attention_sheet(crops, masks)).astype(int)
    assert sheet.shape == (20 + 2 * 192, 4 * 192, 3)
    tile = sheet[20 + 192 : 20 + 2 * 192, 2 * 192 : 3 * 192]
    assert tile[96, 150, 0] > tile[96, 40, 0] + 80  # orange where the mask is 1
    assert abs(tile[96, 40] - sheet[20 + 96, 192 + 40]).max() < 3


def test_what_cannot_be_shown(faces: Faces) -> None:
    for what, markup, said in (("nose", None, "nose"), ("mesh", "2d5", "68"), ("doubt", "2d1", "2d1")):
        with pytest.raises(InputError, match=said):
            show_faces(PHOTO, faces, what, markup)
    with pytest.raises(InputError, match="pose"):
        show_faces(PHOTO, replace(faces, pose=None), "pose")
