"""Ten points marked by people on the LFW faces of MTFL's training list (Dantone et al., CVPR 2012).

They are nearly points of the 68, so they have no maps of their own. The loss compares them with means of the 68
(`acdc_fast.markups.Markup.means`). The wings of the nose have no counterpart among the 68 and get weight 0.
The constant difference between the two definitions, `OFFSETS`, is subtracted when the list is read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS

from .broken import Broken
from .database import Database, Extended, Table
from .packed_tar import TABLE
from .pictures import TarPictures
from .text import labelled_rows, numbers, read_bytes, table_rows

MARKUP = "2d10"
TAR, LIST = "mtfl-train.tar", "mtfl-train-lfw10.csv"
POINTS = (
    "left_eye_outer_ibug36", "left_eye_inner_ibug39", "mouth_left_ibug48", "mouth_right_ibug54",
    "lower_lip_outer_bottom_ibug57", "upper_lip_outer_top_ibug51", "right_eye_inner_ibug42", "right_eye_outer_ibug45",
    "nose_left_wing_near_ibug31", "nose_right_wing_near_ibug35",
)  # fmt: skip
MEANS = (MARKUPS[MARKUP].means or ("", ()))[1]
COLUMNS = ("image", *(f"{point}_{axis}" for point in POINTS for axis in "xy"), "headpose", "pose", "residual")
#: Mean place of each label minus that mean of the 68, along the eyes and across them (down), in distances between the
#: outer eye corners: medians over 955 faces and their mirror images, by acdc-w32 brought to people's points (`aflw68`).
OFFSETS = np.array([
    [-0.030, 0.009], [-0.009, -0.010], [0.005, 0.015], [-0.005, 0.015], [0.000, 0.013], [0.000, -0.020],
    [0.009, -0.010], [0.030, 0.009], [0.000, 0.000], [0.000, 0.000],
])  # fmt: skip


def open_lfw10(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """The faces of ``mtfl-train-lfw10.csv``: MTFL's five points and the ten. Pictures: ``mtfl-train.tar``."""
    tar, path = root / TAR, root / LIST
    pictures, broken = TarPictures(tar), Broken(skip_broken)
    five = _five(pictures, tar, broken)
    rows = table_rows(read_bytes(path), str(path))
    if next(rows, ("", []))[1] != list(COLUMNS):
        raise InputError(f"{path}:1: columns {','.join(COLUMNS[:3])} … {','.join(COLUMNS[-2:])} expected")
    names, values = labelled_rows(
        rows, lambda row, line: numbers(row[1:], len(COLUMNS) - 1, line, broken),
        lambda picture: None if picture in five else f"{picture} is not in {tar}", broken,
    )  # fmt: skip
    table = np.asarray(values, np.float64).reshape(-1, len(COLUMNS) - 1)
    ten = without_offsets(table[:, :20].reshape(-1, 10, 2))
    points = {"2d5": np.array([five[n] for n in names]).reshape(-1, 5, 2), MARKUP: ten}
    faces = Table(
        "lfw10", split, pictures, names, names, points, None, {"pose": table[:, 21].astype(int)}, broken.messages
    )
    kept = np.array([float(bool(of)) for of in MEANS])
    return Extended(faces, weights={MARKUP: np.broadcast_to(kept, (len(names), 10))})


def without_offsets(points: np.ndarray) -> np.ndarray:
    """(N, 10, 2) pixels as listed → the same minus `OFFSETS`."""
    along = points[:, 7] - points[:, 0]
    axes = np.stack([along, along[:, ::-1] * (-1, 1)], 1)  # (N, 2, 2): along the eyes, and across them, downwards
    return np.asarray(points - OFFSETS @ axes)


def _five(pictures: TarPictures, tar: Path, broken: Broken) -> dict[str, np.ndarray]:
    """picture → MTFL's five points (5, 2), for every face of the tar."""
    if not pictures.has(TABLE):
        raise InputError(f"{tar}: holds no {TABLE}")
    rows = table_rows(pictures.read(TABLE), pictures.where(TABLE))
    next(rows, None)
    found = {row[0]: numbers(row[1:11], 10, line, broken) for line, row in rows}
    return {name: np.array(five).reshape(5, 2) for name, five in found.items() if five is not None}
