"""Faces on their side and upside down, through `Model.align`."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Model
from acdc_fast.photo.coordinates import turn_matrix
from acdc_fast.weights import Weights, bundled


def quarters(points: np.ndarray, times: int, size: tuple[int, int]) -> np.ndarray:
    """(…, 2) pixels of a picture of ``size`` (width, height) → of the picture turned clockwise by quarters."""
    for _ in range(times):
        points = np.stack([size[1] - 1 - points[..., 1], points[..., 0]], -1)
        size = size[::-1]
    return points


@pytest.fixture(scope="module", params=bundled())
def model(request: pytest.FixtureRequest) -> Model:
    return Model.from_pretrained(request.param)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_turned_photo_gives_the_turned_landmarks_and_pose(model: Model, times: int) -> None:
    picture = Image.open(PHOTO).convert("RGB")
    upright = model.align(picture)[:1]
    corners = quarters(upright.boxes.reshape(1, 2, 2), times, picture.size)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    lying = model.align(np.rot90(np.asarray(picture), -times).copy(), boxes=boxes)
    for markup, points in upright.landmarks.items():
        gap = np.linalg.norm(lying.landmarks[markup] - quarters(points, times, picture.size), axis=-1)
        assert gap.max() < 0.1 * np.sqrt(np.prod(boxes[0, 2:] - boxes[0, :2])), (markup, gap.max())
    assert upright.pose is not None and lying.pose is not None
    turned = turn_matrix(upright.pose.matrix, np.array([90.0 * times]))
    cosine = (np.trace(lying.pose.matrix[0] @ turned[0].T) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 12  # the box of a lying face is another square


def test_the_lying_one_of_two_faces_is_turned(model: Model) -> None:
    """Each face is judged by its own doubt: the one on its side comes second, then first."""
    upright = np.asarray(Image.open(PHOTO).convert("RGB"))
    lying = np.rot90(upright, -1)
    box = model.align(upright)[:1].boxes
    corners = quarters(box.reshape(1, 2, 2), 1, (upright.shape[1], upright.shape[0]))
    on_side = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    both = np.zeros((max(upright.shape[0], lying.shape[0]), upright.shape[1] + lying.shape[1], 3), np.uint8)
    both[: upright.shape[0], : upright.shape[1]] = upright
    both[: lying.shape[0], upright.shape[1] :] = lying
    boxes = np.concatenate([box, on_side + [upright.shape[1], 0, upright.shape[1], 0]])
    for order in ([0, 1], [1, 0]):
        pose = model.align(both, boxes=boxes[order]).pose
        assert pose is not None
        roll = pose.roll[np.argsort(order)]
        turn = (roll[1] - roll[0] + 180) % 360 - 180
        assert abs(abs(turn) - 90) < 15, (order, roll)


def test_upright_faces_are_left_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda crops, *a, **k: (seen.append(len(crops)), run(crops, *a, **k))[1])
    assert len(model.align(PHOTO)) == sum(seen)


def test_weights_that_do_not_know_their_spread_turn_nothing() -> None:
    whole = Model.from_pretrained()
    card = {k: v for k, v in whole.weights.card.items() if k != "narrowest_spread"}
    w = whole.weights
    plain = Model(Weights(w.config, w.arrays, w.markups, w.calibration, card))
    assert plain.usual_spread == np.inf and whole.usual_spread < 1
    picture = np.rot90(np.asarray(Image.open(PHOTO).convert("RGB")), 2).copy()
    box = np.array([[180.0, 200.0, 330.0, 400.0]])
    plain.align(picture, boxes=box)  # no turn, no error
