"""Each crop seen with its mirror image: what a mirrored prediction means, the mean of two, and `Model(mirror=True)`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.paths import PHOTO
from helpers.small import small_weights
from PIL import Image

from acdc_fast import InputError, Model
from acdc_fast.markups import MARKUPS
from acdc_fast.photo.coordinates import euler_to_matrix
from acdc_fast.readout.mirror_image import mean, mirrored
from acdc_fast.types import Prediction

RNG = np.random.default_rng(8)


def prediction(count: int = 3) -> Prediction:
    points = {m: RNG.random((count, MARKUPS[m].points, 2)).astype(np.float32) for m in ("2d68", "2d5")}
    moments = {m: RNG.random((count, MARKUPS[m].points, 3)).astype(np.float32) for m in points}
    return Prediction(points, moments, RNG.uniform(-60, 60, (count, 3)).astype(np.float32), None)


def test_a_mirrored_prediction_by_hand() -> None:
    one = prediction()
    found = mirrored(one)
    # the outer eye corners change places (36, 45), the tip of the nose (30) keeps its number
    for here, there in ((36, 45), (45, 36), (30, 30)):
        x, y = one.landmarks["2d68"][:, there].T
        assert np.allclose(found.landmarks["2d68"][:, here].T, [1 - x, y])
        xx, xy, yy = one.covariance["2d68"][:, there].T
        assert np.allclose(found.covariance["2d68"][:, here].T, [xx, -xy, yy])
    flip = np.diag([-1.0, 1, 1])
    for before, after in zip(np.asarray(one.pose), np.asarray(found.pose), strict=True):
        assert np.allclose(euler_to_matrix(*after), flip @ euler_to_matrix(*before) @ flip, atol=1e-6)
    back = mirrored(found)
    assert all(np.allclose(back.landmarks[m], one.landmarks[m]) for m in one.landmarks)


def test_the_mean_by_hand() -> None:
    one, other = prediction(), prediction()
    found = mean(one, other)
    for name in one.landmarks:
        assert np.allclose(found.landmarks[name], (one.landmarks[name] + other.landmarks[name]) / 2)
        assert np.allclose(found.covariance[name], (one.covariance[name] + other.covariance[name]) / 2)
    assert np.allclose(found.pose, (np.asarray(one.pose) + np.asarray(other.pose)) / 2, atol=1e-4)
    across = [Prediction({}, {}, np.array([[0.0, 0, roll]]), None) for roll in (170.0, -174.0)]
    assert np.allclose(mean(across[0], across[1]).pose, [[0, 0, 178]])
    without = Prediction(one.landmarks, one.covariance, None, None)
    assert mean(without, without).pose is None


@pytest.mark.parametrize("weights", ["acdc-w16-fast", "acdc-w32"])
def test_a_mirrored_picture_gives_mirrored_faces(weights: str) -> None:
    """Two faces: with the mean, a picture and its mirror image agree to float32's rounding; without it they do not."""
    picture = np.asarray(Image.open(PHOTO).convert("RGB"))
    width = picture.shape[1]
    boxes = np.array([[173.0, 48, 275, 174], [185.0, 40, 300, 190]])
    other = np.stack([width - 1 - boxes[:, 2], boxes[:, 1], width - 1 - boxes[:, 0], boxes[:, 3]], 1)
    gaps = []
    for mirror in (True, False):
        model = Model.from_pretrained(weights, mirror=mirror)
        one, two = model.align(picture, boxes=boxes), model.align(picture[:, ::-1].copy(), boxes=other)
        far = []
        for name, points in two.landmarks.items():
            back = points[:, MARKUPS[name].mirror] * (-1, 1) + (width - 1, 0)
            far.append(np.abs(back - one.landmarks[name]).max())
            far.append(np.abs(two.spread[name][:, MARKUPS[name].mirror] - one.spread[name]).max())
        assert one.pose is not None and two.pose is not None
        far += [np.abs(one.pose.yaw + two.pose.yaw).max(), np.abs(one.pose.pitch - two.pose.pitch).max()]
        far.append(np.abs(one.pose.roll + two.pose.roll).max())
        gaps.append(max(map(float, far)))
    # pixels and degrees; the crops differ by float32's rounding, 1e-7, and a crop's side is about 180 pixels
    assert gaps[0] < 1e-3 and gaps[1] > 0.2, gaps


def test_it_is_an_option_like_others(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    Model(small_weights()).save(path)
    assert Model(path).options["mirror"] is False and Model(path, mirror=True).options["mirror"] is True
    with pytest.raises(InputError, match="mirror must be True or False, not 'yes'"):
        Model(path, mirror="yes")  # type: ignore[arg-type]
