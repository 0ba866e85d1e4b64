"""Head pose and camera of a shot.

Head-to-camera rotation in a frame x right, y up, z to the viewer: M = R_x(−pitch)·R_y(−yaw)·R_z(−roll), the transpose
of R_z(roll)·R_y(yaw)·R_x(pitch). 300W-LP and AFLW2000-3D use the same: over the 2000 shapes of the latter, the yaw of a
rigid fit of this model has a median error of 0.6° and a bias of −0.2°. Yaw > 0 turns the face to the image's left,
pitch > 0 lifts the chin, roll > 0 tilts the head clockwise in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acdc_fast.photo.coordinates import euler_to_matrix, matrix_to_euler

from ..data.pose_fit import NEUTRAL_PITCH


def _neutral() -> np.ndarray:
    return np.asarray(euler_to_matrix(0.0, NEUTRAL_PITCH, 0.0), np.float64)


def head_to_camera(pose: np.ndarray) -> np.ndarray:
    """(3, 3) rotation of this model's vertices for a pose (yaw, pitch, roll) in degrees."""
    return np.asarray(np.asarray(euler_to_matrix(*(float(a) for a in pose)), np.float64).T @ _neutral())


def pose_of(rotation: np.ndarray) -> np.ndarray:
    """The pose (yaw, pitch, roll) in degrees: the inverse of `head_to_camera`."""
    return np.stack(matrix_to_euler((rotation @ _neutral().T).T))


@dataclass(frozen=True)
class Camera:
    """Pinhole camera that looks at the middle of the head. ``distance`` in cm; a large one is weak perspective."""

    distance: float
    scale: float  # pixels for one centimetre at the middle of the head
    centre: np.ndarray  # (2,) pixels: the middle of the head in the image

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (N, 3) in cm from the middle of the head -> (N, 3): x right, y down in pixels, depth."""
        shrink = self.scale * self.distance / np.maximum(self.distance - points[:, 2], 1.0)
        return np.column_stack(
            [points[:, 0] * shrink + self.centre[0], self.centre[1] - points[:, 1] * shrink, points[:, 2]]
        )


#: The middle of the head in its own frame: between eyes and jaw, inside the skull.
MIDDLE = np.array([0.0, -0.5, 4.5], np.float32)


def sample_pose(rng: np.random.Generator, limit: float = 90.0) -> np.ndarray:
    """(yaw, pitch, roll) in degrees. Yaw: 45 % as in ordinary photos, the rest even over ±limit."""
    yaw = rng.normal(0, 22) if rng.random() < 0.45 else rng.uniform(-limit, limit)
    pitch = rng.normal(-1, 11) if rng.random() < 0.75 else rng.uniform(-40, 40)
    roll = rng.normal(0, 10) if rng.random() < 0.8 else rng.uniform(-35, 35)
    return np.array([np.clip(yaw, -limit, limit), np.clip(pitch, -45, 45), np.clip(roll, -45, 45)])
