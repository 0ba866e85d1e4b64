"""Box → crop → image and back; Euler angles ↔ rotation matrix. Imports nothing of ours.

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

Floats = NDArray[np.floating[Any]]

#: The crop convention: the crop's centre lies (dx·w, dy·h) from the centre of the detector's box of w×h pixels, its
#: side is scale·√(w·h). Measured: where the box of the detector lies about the points (see `square_from_points`).
BOX_SHIFT = (0.0, 0.0)
BOX_SCALE = 1.35

#: The same square from five points: centre = mean of the points + shift·side, side = scale·max(distance between the
#: eyes, distance from the middle of the eyes to the middle of the mouth).
POINTS_SHIFT = (0.0, 0.0)
POINTS_SCALE = 2.2


def square_from_box(boxes: ArrayLike) -> Floats:
    """(N, 4) xyxy image pixels → (N, 4) upright squares."""
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    w, h = x1 - x0, y1 - y0
    cx, cy = (x0 + x1) / 2 + BOX_SHIFT[0] * w, (y0 + y1) / 2 + BOX_SHIFT[1] * h
    return np.stack([cx, cy, BOX_SCALE * np.sqrt(w * h), np.zeros_like(w)], 1)


def box_from_square(squares: ArrayLike) -> Floats:
    """(N, 4) squares → (N, 4) xyxy, the inverse of `square_from_box` for square boxes; the angle is ignored."""
    cx, cy, side = np.asarray(squares, np.float64).reshape(-1, 4).T[:3]
    w = side / BOX_SCALE
    cx, cy = cx - BOX_SHIFT[0] * w, cy - BOX_SHIFT[1] * w
    return np.stack([cx - w / 2, cy - w / 2, cx + w / 2, cy + w / 2], 1)


def five_points(points: ArrayLike) -> Floats:
    """(…, L, 2) of a 98-, 68- or 5-point markup → (…, 5, 2): eyes, nose tip, mouth corners, image-left first."""
    points = np.asarray(points, np.float64)
    count = points.shape[-2]
    groups: dict[int, list[slice | int]] = {
        5: [0, 1, 2, 3, 4],
        68: [slice(36, 42), slice(42, 48), 30, 48, 54],
        98: [slice(60, 68), slice(68, 76), 54, 76, 82],
    }
    if count not in groups:
        raise ValueError(f"five points are known of markups with 98, 68 or 5 points, not {count}")
    parts = [points[..., g, :].mean(-2) if isinstance(g, slice) else points[..., g, :] for g in groups[count]]
    return np.stack(parts, -2)


def square_from_points(points: ArrayLike) -> Floats:
    """(N, L, 2) landmarks in image pixels, L of `five_points` → (N, 4) upright squares."""
    five = five_points(np.asarray(points, np.float64).reshape(-1, *np.shape(points)[-2:]))
    eyes, mouth = five[:, :2].mean(1), five[:, 3:].mean(1)
    between = np.linalg.norm(five[:, 1] - five[:, 0], axis=1)
    side = POINTS_SCALE * np.maximum(between, np.linalg.norm(mouth - eyes, axis=1))
    centre = five.mean(1) + side[:, None] * np.array(POINTS_SHIFT)
    return np.concatenate([centre, side[:, None], np.zeros_like(side)[:, None]], 1)


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
    return np.asarray(points) @ matrix[:, :, :2].transpose(0, 2, 1) + matrix[:, None, :, 2]


def image_to_crop(points: ArrayLike, squares: ArrayLike) -> Floats:
    """(N, L, 2) image pixels → (N, L, 2) crop units: the inverse of `crop_to_image`."""
    matrix = crop_to_image_matrix(squares)
    inverse = np.linalg.inv(matrix[:, :, :2])
    return (np.asarray(points) - matrix[:, None, :, 2]) @ inverse.transpose(0, 2, 1)


def euler_to_matrix(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> Floats:
    """Degrees, any common shape (…) → rotations (…, 3, 3)."""
    y, p, r = np.broadcast_arrays(*(np.deg2rad(np.asarray(a, np.float64)) for a in (yaw, pitch, roll)))
    cy, sy, cp, sp, cr, sr = np.cos(y), np.sin(y), np.cos(p), np.sin(p), np.cos(r), np.sin(r)
    rows = [
        cr * cy, cr * sy * sp - sr * cp, cr * sy * cp + sr * sp,
        sr * cy, sr * sy * sp + cr * cp, sr * sy * cp - cr * sp,
        -sy, cy * sp, cy * cp,
    ]  # fmt: skip
    return np.stack(rows, -1).reshape(*y.shape, 3, 3)


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


def head_axes(matrix: ArrayLike) -> Floats:
    """Rotations (…, 3, 3) → (…, 3, 2): the head's right, up and forward axes in image directions (y down)."""
    axes: Floats = np.asarray(matrix, np.float64)[..., :2] * np.array([1.0, -1.0])
    return axes
