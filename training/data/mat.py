"""Faces of 300W-LP and AFLW2000-3D (Zhu et al., CVPR 2016): a picture and a ``.mat`` of the same name.

``Pose_Para`` holds pitch, yaw, roll in radians (then shift and scale); ``pt3d_68`` (3, 68) or, in 300W-LP, ``pt2d``
(2, 68) the projections of the model's 68 points, hidden jaw line included. Pixels count from 1; one is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from acdc_fast.errors import InputError

from .sample import Annotation, Broken, Database, FolderPictures


def read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(68, 2) float32 pixels, (3,) float32 yaw, pitch, roll in degrees. Raises `InputError` naming file and field."""
    try:
        data = loadmat(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing") from error
    except Exception as error:  # scipy raises errors of many kinds, some its own, for files that are broken
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


class MatFaces(Database):
    """``files``: pictures relative to the root. Each ``.mat`` is read when it is asked for."""

    markups = ("3d68",)

    def __init__(self, name: str, root: Path, split: str, files: Sequence[str], skipped: Sequence[str]) -> None:
        self.name, self.split, self.files, self.skipped = name, split, tuple(files), tuple(skipped)
        self.root, self.pictures = root, FolderPictures(root)

    def __len__(self) -> int:
        return len(self.files)

    def _picture(self, index: int) -> str:
        return self.files[index]

    def annotation(self, index: int) -> Annotation:
        file = self.files[index]
        points, pose = read_mat((self.root / file).with_suffix(".mat"))
        return Annotation(source=self.name, name=file, landmarks={"3d68": points}, pose=pose)


def list_faces(root: Path, folders: Sequence[Path], broken: Broken) -> list[str]:
    """Pictures with a ``.mat`` in the folders, relative to the root; broken ones are reported."""
    files = []
    for folder in folders:
        for mat in sorted(folder.glob("*.mat")):
            picture = mat.with_suffix(".jpg")
            if not picture.is_file():
                broken.report(f"{mat}: picture {picture.name} is missing")
                continue
            if broken.skip:
                try:
                    read_mat(mat)
                except InputError as error:
                    broken.report(str(error), error)
                    continue
            files.append(str(picture.relative_to(root)))
    return files
