"""Crop → image and back; Euler angles ↔ rotation matrix. Which crop belongs to a box: `photo.crop_convention`.

Image pixels: pixel centres at integer coordinates, x right, y down. Crop units: (0, 1) across the crop, so pixel
column j of a crop of S pixels has its centre at (j + ½)/S. A *square* is (cx, cy, side, angle): the crop's centre and
side in image pixels and its in-plane rotation in degrees, clockwise as seen in the image.

Pose: R = R_z(roll)·R_y(yaw)·R_x(pitch), angles in degrees, signs and order those of 300W-LP and AFLW2000-3D. In a
camera frame with x right, y up and z towards the viewer the rows of R are the head's right, up and forward axes (right
as seen by the viewer of a frontal face), so X_camera = Rᵀ·X_head. Checked against `Pose_Para` of AFLW2000-3D.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .crop_convention import BOX_SCALE as BOX_SCALE
from .crop_convention import BOX_SHIFT as BOX_SHIFT
from .crop_convention import FACE_ASPECT as FACE_ASPECT
from .crop_convention import FACE_LIFT as FACE_LIFT
from .crop_convention import FACE_SCALE as FACE_SCALE
from .crop_convention import box_from_five as box_from_five
from .crop_convention import box_from_points as box_from_points
from .crop_convention import box_from_square as box_from_square
from .crop_convention import square_from_box as square_from_box
from .crop_convention import square_from_points as square_from_points

Floats = NDArray[np.floating[Any]]


def crop_to_image_matrix(squares: ArrayLike) -> Floats:
    """(N, 4) squares → (N, 2, 3) affine maps from crop units to image pixels."""
    cx, cy, side, angle = np.asarray(squares, np.float64).reshape(-1, 4).T
    c, s = side * np.cos(np.deg2rad(angle)), side * np.sin(np.deg2rad(angle))
    rows = [c, -s, cx - (c - s) / 2, s, c, cy - (s + c) / 2]
    return np.stack(rows, 1).reshape(-1, 2, 3)


def crop_pixels_to_image_matrix(squares: ArrayLike, size: int) -> Floats:
    """(N, 4) squares → (N, 2, 3) affine maps from crop pixels, centres at integers, to image pixels.

    This is what `cv2.warpAffine` with `WARP_INVERSE_MAP` takes.
    """
    matrix = crop_to_image_matrix(squares)
    offset = matrix[:, :, 2] + matrix[:, :, :2].sum(2) * 0.5 / size
    return np.concatenate([matrix[:, :, :2] / size, offset[:, :, None]], 2)


def crop_to_image(points: ArrayLike, squares: ArrayLike) -> Floats:
    """(N, L, 2) crop units → (N, L, 2) image pixels."""
    matrix = crop_to_image_matrix(squares)
    image: Floats = np.asarray(points) @ matrix[:, :, :2].transpose(0, 2, 1) + matrix[:, None, :, 2]
    return image


def image_to_crop(points: ArrayLike, squares: ArrayLike) -> Floats:
    """(N, L, 2) image pixels → (N, L, 2) crop units: the inverse of `crop_to_image`."""
    matrix = crop_to_image_matrix(squares)
    inverse = np.linalg.inv(matrix[:, :, :2])
    crop: Floats = (np.asarray(points) - matrix[:, None, :, 2]) @ inverse.transpose(0, 2, 1)
    return crop


def euler_to_matrix(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> Floats:
    """Degrees, any common shape (…) → rotations (…, 3, 3)."""
    angles = np.deg2rad(np.stack(np.broadcast_arrays(yaw, pitch, roll)).astype(np.float64))
    (cy, cp, cr), (sy, sp, sr) = np.cos(angles), np.sin(angles)
    rows = [
        cr * cy, cr * sy * sp - sr * cp, cr * sy * cp + sr * sp,
        sr * cy, sr * sy * sp + cr * cp, sr * sy * cp - cr * sp,
        -sy, cy * sp, cy * cp,
    ]  # fmt: skip
    return np.stack(rows, -1).reshape(*angles.shape[1:], 3, 3)


def matrix_to_euler(matrix: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Rotations (…, 3, 3) → yaw in [-90, 90], pitch and roll in (-180, 180], degrees.

    At yaw = ±90 only pitch ∓ roll is defined; roll is then given as 0.
    """
    m = np.asarray(matrix, np.float64)
    yaw = np.arcsin(np.clip(-m[..., 2, 0], -1, 1))
    locked = np.hypot(m[..., 0, 0], m[..., 1, 0]) < 1e-9
    pitch = np.where(locked, np.arctan2(-m[..., 1, 2], m[..., 1, 1]), np.arctan2(m[..., 2, 1], m[..., 2, 2]))
    roll = np.where(locked, 0.0, np.arctan2(m[..., 1, 0], m[..., 0, 0]))
    return np.rad2deg(yaw), np.rad2deg(pitch), np.rad2deg(roll)


def turn_matrix(matrix: ArrayLike, angle: ArrayLike) -> Floats:
    """Pose in the image of a face whose pose (…, 3, 3) was seen in a crop turned by ``angle`` degrees clockwise."""
    zero = np.zeros_like(np.asarray(angle, np.float64))
    return np.asarray(matrix, np.float64) @ euler_to_matrix(zero, zero, angle)


def turned_pose(pose: ArrayLike, angle: ArrayLike) -> Floats:
    """(…, 3) yaw, pitch, roll in degrees, as `turn_matrix` turns them. Not roll alone: the convention turns by roll
    first, in the head's own frame."""
    matrix = euler_to_matrix(*np.moveaxis(np.asarray(pose, np.float64), -1, 0))
    return np.stack(matrix_to_euler(turn_matrix(matrix, angle)), axis=-1)


def head_axes(matrix: ArrayLike) -> Floats:
    """Rotations (…, 3, 3) → (…, 3, 2): the head's right, up and forward axes in image directions (y down)."""
    axes: Floats = np.asarray(matrix, np.float64)[..., :2] * np.array([1.0, -1.0])
    return axes
