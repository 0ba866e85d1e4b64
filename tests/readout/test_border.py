"""Points at and beyond the border of the picture: less sure with the distance, and not in sight."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Faces, Model
from acdc_fast.readout import border
from acdc_fast.readout.border import FROM, SLOPE, TO, beyond, in_sight, less_sure

#: The face of the photograph as the detector finds it.
FACE = np.array([178.0, 63.0, 267.0, 174.0], np.float32)


def test_distances_by_hand() -> None:
    """Pixels end half a pixel beyond their middles; distances are in sides of the box, a crop's side is 1.4 of them."""
    points = np.array([[[-10.5, 20], [50, 20], [109.5, 20], [50, -0.5], [50, 59.5], [105.5, 63.5]]])
    assert beyond(points, (100, 60), np.array([140.0])) == pytest.approx(np.array([[10, -20.5, 10, 0, 0, 6]]) / 100)
    two = beyond(np.concatenate([points, points]), (100, 60), np.array([140.0, 280.0]))
    assert two[1] == pytest.approx(two[0] / 2)


def test_the_odds_fall_with_the_distance() -> None:
    away = np.array([[-3, FROM - 1e-6, 0, TO, 5]])
    sure = less_sure(np.full((1, 5), 0.8, np.float32), away)[0]
    assert sure[0] == sure[1] == np.float32(0.8) and sure[3] == sure[4]
    odds = sure / (1 - sure)
    assert odds[2] == pytest.approx(4 * np.exp(SLOPE * FROM), rel=1e-5)
    assert odds[3] == pytest.approx(4 * np.exp(-SLOPE * (TO - FROM)), rel=1e-5)
    seen = in_sight(np.full((1, 6), 0.9, np.float32), np.array([[-3, -0.16, -0.05, 0, 0.05, 0.3]]))[0]
    assert seen[0] == seen[1] == np.float32(0.9) and 0.85 < seen[2] < 0.9 and 0.4 < seen[3] < 0.7
    assert seen[4] < 0.06 and seen[5] < 1e-6
    ends = less_sure(np.array([[0, 1.0]], np.float32), np.array([[1.0, 1.0]]))
    assert ends.tolist() == [[0, 1]]


def untouched(model: Model, picture: np.ndarray, box: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Faces:
    with monkeypatch.context() as patch:
        patch.setattr(border, "less_sure", lambda sure, away: sure)
        patch.setattr(border, "in_sight", lambda visible, away: visible)
        return model.align(picture, boxes=box[None])


def test_of_a_cut_picture_the_points_beyond_the_cut_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut on each of the four sides, several sizes of pictures in one call; far from the border nothing changes."""
    model, whole = Model.from_pretrained("acdc-w16-fast", threads=1), np.asarray(Image.open(PHOTO).convert("RGB"))
    pictures = [whole[:, 200:], whole[:, :245], whole[110:], whole[:145], whole]
    pictures = [np.ascontiguousarray(picture) for picture in pictures]
    moves = np.array([[200, 0] * 2, [0, 0] * 2, [0, 110] * 2, [0, 0] * 2, [0, 0] * 2])
    boxes = [(FACE - move)[None].astype(np.float32) for move in moves]
    for picture, box, faces in zip(pictures, boxes, model.align(pictures, boxes=boxes), strict=True):
        plain = untouched(model, picture, box[0], monkeypatch)
        height, width = picture.shape[:2]
        for markup, points in faces.landmarks.items():
            x, y = points[0].T
            pixels = np.max([-0.5 - x, x - width + 0.5, -0.5 - y, y - height + 0.5], 0)
            out, far = pixels > 0, pixels < -0.3 * 99
            assert out.any() == (picture is not pictures[4]) or markup == "2d5"
            sure, before = faces.confidence[markup][0], plain.confidence[markup][0]
            assert (sure[out] < before[out] - 1e-4).all() and (sure <= before).all()
            assert (sure[far] == before[far]).all()
            if markup in faces.visible:
                seen = faces.visible[markup][0]
                assert (seen[pixels > 8] < 0.05).all() and (seen[far] == plain.visible[markup][0][far]).all()
