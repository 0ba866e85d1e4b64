"""The ``.mat`` files of 300W-LP and AFLW2000-3D (Zhu et al., CVPR 2016).

``Pose_Para`` holds pitch, yaw, roll in radians, then shift and scale. ``pt3d_68`` (3, 68), in 300W-LP ``pt2d`` (2, 68),
holds the model's 68 points projected, with the hidden jaw line. Pixels count from 1 there; we subtract 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from acdc_fast.errors import InputError

from .beside import Labels


def read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(68, 2) float32 pixels; (3,) float32 yaw, pitch, roll in degrees. Raises `InputError` with file and field."""
    try:
        data = loadmat(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing") from error
    except Exception as error:  # for broken files scipy raises many kinds of errors, some of its own
        raise InputError(f"{path}: not a .mat file that can be read: {error}") from error
    field = "pt3d_68" if "pt3d_68" in data else "pt2d"
    for name, least in ((field, (2, 68)), ("Pose_Para", (1, 3))):
        shape = np.shape(data.get(name))
        if len(shape) != 2 or any(n < m for n, m in zip(shape, least, strict=True)):
            raise InputError(f"{path}: field {name} is missing or of shape {shape}; at least {least} expected")
    points = np.asarray(data[field], np.float32)[:2].T - 1
    pitch, yaw, roll = np.rad2deg(np.asarray(data["Pose_Para"], np.float64)[0, :3])
    pose = np.array([yaw, pitch, roll], np.float32)
    if points.shape != (68, 2) or not (np.isfinite(points).all() and np.isfinite(pose).all()):
        raise InputError(f"{path}: {field} must hold 68 finite points and Pose_Para finite angles")
    return points, pose


LABELS = Labels("3d68", ".mat", read_mat)
