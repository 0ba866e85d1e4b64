"""Poses of the development list's faces that AFLW2000-3D has too: to choose between runs, never to train on.

Pictures: ``mtfl-aflw-dev.tar``. ``mtfl-aflw-dev-pose.csv`` gives ``image``, ``yaw``, ``pitch``, ``roll`` in degrees
(signs of AFLW2000-3D), ``residual`` of the placing, ``pose`` (MTFL's class) and ``X0,Y0,Z0 …`` of 68 points: a fit of a
face model (Zhu et al., CVPR 2016), not clicks. The points' x and y are pixels of the stored picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError

from .broken import Broken
from .database import Database, Extended, Table
from .pictures import TarPictures
from .text import labelled_rows, numbers, read_bytes, table_rows

TAR, LIST = "mtfl-aflw-dev.tar", "mtfl-aflw-dev-pose.csv"
COLUMNS = (
    "image", "yaw", "pitch", "roll", "residual", "pose", *(f"{axis}{k}" for k in range(68) for axis in "XYZ"),
)  # fmt: skip


def open_aflw_pose(root: Path, split: str = "dev", skip_broken: bool = False) -> Database:
    """The faces of the list, with pose and the points of "3d68"."""
    tar, path = root / TAR, root / LIST
    pictures, broken = TarPictures(tar), Broken(skip_broken)
    rows = table_rows(read_bytes(path), str(path))
    if next(rows, ("", []))[1] != list(COLUMNS):
        raise InputError(f"{path}:1: columns {','.join(COLUMNS[:4])} … {','.join(COLUMNS[-2:])} expected")
    names, values = labelled_rows(
        rows, lambda row, line: numbers(row[1:], len(COLUMNS) - 1, line, broken), pictures.fault, broken
    )
    table = np.asarray(values, np.float64).reshape(-1, len(COLUMNS) - 1)
    points = table[:, 5:].reshape(-1, 68, 3)[..., :2]
    classes = {"pose": table[:, 4].astype(int)}
    faces = Table("aflw-pose", split, pictures, names, names, {"3d68": points}, None, classes, broken.messages)
    return Extended(faces, poses=table[:, :3])
