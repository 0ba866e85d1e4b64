"""Crop coordinates and back, and the convention of the pose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acdc_fast.photo import coordinates as geometry

RNG = np.random.default_rng(0)


def squares(n: int) -> np.ndarray:
    return np.stack([RNG.uniform(-50, 500, n), RNG.uniform(-50, 500, n), RNG.uniform(8, 400, n),
                     RNG.uniform(-180, 180, n)], 1)  # fmt: skip


def test_crop_there_and_back() -> None:
    s, points = squares(50), RNG.uniform(-0.2, 1.2, (50, 68, 2))
    there = geometry.crop_to_image(points, s)
    assert np.abs(geometry.image_to_crop(there, s) - points).max() < 1e-12
    assert np.abs(there - points).max() > 1  # it did move them


def test_crop_centre_and_corners() -> None:
    corners = np.array([[[0.5, 0.5], [0, 0], [1, 0], [1, 1]]])
    upright = geometry.crop_to_image(corners, [[10.0, 20.0, 4.0, 0.0]])
    assert np.allclose(upright, [[[10, 20], [8, 18], [12, 18], [12, 22]]])
    # Turned clockwise by 90°: the crop's right is the image's down.
    turned = geometry.crop_to_image(corners, [[10.0, 20.0, 4.0, 90.0]])
    assert np.allclose(turned, [[[10, 20], [12, 18], [12, 22], [8, 22]]])


@pytest.mark.parametrize("size", [32, 128])
def test_pixel_matrix_agrees_with_crop_units(size: int) -> None:
    s, pixels = squares(20), RNG.uniform(0, size, (20, 7, 2))
    matrix = geometry.crop_pixels_to_image_matrix(s, size)
    by_matrix = pixels @ matrix[:, :, :2].transpose(0, 2, 1) + matrix[:, None, :, 2]
    assert np.allclose(by_matrix, geometry.crop_to_image((pixels + 0.5) / size, s), atol=1e-9)


def test_square_box_square() -> None:
    s = squares(20) * [1, 1, 1, 0]
    boxes = geometry.box_from_square(s)
    assert np.allclose(geometry.square_from_box(boxes), s)
    aspect = (boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0])
    assert np.allclose(aspect, geometry.FACE_ASPECT)


def test_square_from_box_by_hand() -> None:
    # 40 wide, 90 high: centre (30, 65) moved down by 0.12·90, side 1.4·√3600.
    assert np.allclose(geometry.square_from_box([10, 20, 50, 110]), [[30, 65 + 10.8, 84, 0]])


def test_box_from_points_by_hand() -> None:
    # Eyes 30 apart, mouth 40 below them: u = 50. The nose tip 2 to the right puts the box 2 to the left.
    five = np.array([[[85, 100], [115, 100], [102, 120], [90, 140], [110, 140]]], float)
    size = geometry.FACE_SCALE * 50
    x0, y0, x1, y1 = geometry.box_from_points(five)[0]
    assert np.isclose((x0 + x1) / 2, 98) and np.isclose((y0 + y1) / 2, 120 - geometry.FACE_LIFT * size)
    assert np.isclose((x1 - x0) * (y1 - y0), size**2) and np.isclose((y1 - y0) / (x1 - x0), geometry.FACE_ASPECT)
    assert np.allclose(geometry.square_from_points(five), geometry.square_from_box([x0, y0, x1, y1]))


angles = st.floats(-89.0, 89.0)


@given(angles, angles, st.floats(-179.0, 179.0))
def test_euler_there_and_back(yaw: float, pitch: float, roll: float) -> None:
    matrix = geometry.euler_to_matrix(yaw, pitch, roll)
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.allclose(geometry.matrix_to_euler(matrix), (yaw, pitch, roll), atol=1e-6)


def test_matrix_is_the_stated_product() -> None:
    def about(axis: int, degrees: float) -> np.ndarray:
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        m = np.eye(3)
        m[i, i], m[j, j], m[i, j], m[j, i] = c, c, -s, s
        return m

    yaw, pitch, roll = 31.0, -12.0, 57.0
    product = about(2, roll) @ about(1, yaw) @ about(0, pitch)
    assert np.allclose(geometry.euler_to_matrix(yaw, pitch, roll), product)


@pytest.mark.parametrize("yaw", [90.0, -90.0])
def test_gimbal_lock_still_gives_the_rotation(yaw: float) -> None:
    matrix = geometry.euler_to_matrix(yaw, 20.0, 30.0)
    assert np.allclose(geometry.euler_to_matrix(*geometry.matrix_to_euler(matrix)), matrix, atol=1e-7)


def test_signs() -> None:
    """yaw > 0: nose to the image's left; pitch > 0: chin lifted; roll > 0: clockwise as seen in the image."""
    forward = geometry.head_axes(geometry.euler_to_matrix(30, 0, 0))[2]
    assert forward[0] < -0.4 and abs(forward[1]) < 1e-9
    forward = geometry.head_axes(geometry.euler_to_matrix(0, 30, 0))[2]
    assert forward[1] < -0.4 and abs(forward[0]) < 1e-9
    up = geometry.head_axes(geometry.euler_to_matrix(0, 0, 30))[1]
    assert up[0] > 0.4 and up[1] < -0.8


def test_turned_crop_gives_its_angle_to_roll() -> None:
    frontal = geometry.euler_to_matrix(0, 0, 10)
    yaw, pitch, roll = geometry.matrix_to_euler(geometry.turn_matrix(frontal, 25.0))
    assert np.allclose((yaw, pitch, roll), (0, 0, 35))
    # In general: the axes seen in the crop, turned clockwise with it.
    pose = geometry.euler_to_matrix(40, -15, 10)
    c, s = np.cos(np.deg2rad(25.0)), np.sin(np.deg2rad(25.0))
    expected = geometry.head_axes(pose) @ np.array([[c, -s], [s, c]]).T
    assert np.allclose(geometry.head_axes(geometry.turn_matrix(pose, 25.0)), expected)
