"""AFLW photographs with points marked by people: MTFL's five, and for most faces also 68, with a flag for each.

The five are MTFL's (Zhang, Luo, Loy, Tang, ECCV 2014). The 68 and their flags are MERL-RAV's (Kumar et al., CVPR 2020),
placed on these crops. Flags: 0 visible, 1 covered by something (a person guessed the place), 2 turned away (no place).
Columns: ``image``, ``x0 … y4``, ``X0 … Y67``, ``v0 … v67``, ``pose`` (MTFL's class), ``residual`` (of the placing).
A point that is turned away is NaN and has weight 0. A covered point has weight `COVERED`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError

from .broken import Broken
from .database import Chosen, Database, Extended, Table
from .packed_tar import TABLE
from .pictures import TarPictures
from .text import labelled_rows, numbers, read_bytes, table_rows

#: Weight of a covered point's label; a visible one has 1. The place of a covered point is a guess.
COVERED = 0.4
VISIBLE_FLAG, COVERED_FLAG, AWAY_FLAG = 0, 1, 2
#: Name of the attribute with the flags, (68,) int.
FLAGS = "flags-2d68"
COLUMNS = (
    "image", *(f"{axis}{k}" for k in range(5) for axis in "xy"), *(f"{axis}{k}" for k in range(68) for axis in "XY"),
    *(f"v{k}" for k in range(68)), "pose", "residual",
)  # fmt: skip
#: Tar and list of each split. None: the list lies in the tar.
FILES: dict[str, tuple[str, str | None]] = {
    "train": ("aflw68-train.tar", None),
    "five": ("aflw68-train.tar", None),
    "dev": ("mtfl-aflw-dev.tar", "mtfl-aflw-dev-68.csv"),
}


def open_aflw68(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """Splits: "train" (68 and five points), "five" (faces with five points only), "dev" (only to choose between runs).

    Attributes: "flags-2d68" (68,) int, "pose" (MTFL's class 1–5).
    """
    tar, listed = root / FILES[split][0], FILES[split][1]
    pictures, broken = TarPictures(tar), Broken(skip_broken)
    path = root / listed if listed else None
    where, text = (pictures.where(TABLE), _in_tar(pictures, tar)) if path is None else (str(path), read_bytes(path))
    rows = table_rows(text, where)
    if next(rows, ("", []))[1] != list(COLUMNS):
        raise InputError(f"{where}:1: columns {','.join(COLUMNS[:3])} … {','.join(COLUMNS[-2:])} expected")
    names, values = labelled_rows(rows, lambda row, line: _row(row, line, broken), pictures.fault, broken)
    table = np.asarray(values, np.float64).reshape(-1, len(COLUMNS) - 1)
    flags = table[:, 146:214]
    labelled = np.isfinite(flags).all(1)
    points = {"2d5": table[:, :10].reshape(-1, 5, 2), "2d68": table[:, 10:146].reshape(-1, 68, 2)}
    attributes = {FLAGS: np.nan_to_num(flags, nan=AWAY_FLAG).astype(np.int64), "pose": table[:, 214].astype(int)}
    if split == "five":
        del points["2d68"], attributes[FLAGS]
    faces = Table("aflw68", split, pictures, names, names, points, None, attributes, broken.messages)
    chosen = Chosen(faces, np.flatnonzero(labelled == (split != "five")), split)
    if split == "five":
        return chosen
    weights = np.select([flags == VISIBLE_FLAG, flags == COVERED_FLAG], [1.0, COVERED], 0.0)[labelled]
    return Extended(chosen, weights={"2d68": weights})


def _row(row: list[str], line: str, broken: Broken) -> np.ndarray | None:
    """(216,) numbers of a row, NaN where the list is empty. None after a report."""
    if len(row) != len(COLUMNS):
        broken.report(f"{line}: {len(COLUMNS)} columns expected, {len(row)} found")
        return None
    five = numbers(row[1:11], 10, line, broken)
    rest = numbers([word or "0" for word in row[11:]], len(COLUMNS) - 11, line, broken)
    if five is None or rest is None:
        return None
    values = np.array([*five, *rest])
    values[10:][[word == "" for word in row[11:]]] = np.nan
    flags, known = values[146:214], np.isfinite(values[10:146].reshape(68, 2)).all(1)
    if np.isnan(flags).all() and not known.any():
        return values  # five points alone
    if not np.isin(flags, (VISIBLE_FLAG, COVERED_FLAG, AWAY_FLAG)).all():
        broken.report(f"{line}: a flag is 0 (visible), 1 (covered) or 2 (turned away)")
        return None
    if (known != (flags != AWAY_FLAG)).any():
        broken.report(f"{line}: point {int(np.argmax(known != (flags != AWAY_FLAG)))}: the flag and the place disagree")
        return None
    return values


def _in_tar(pictures: TarPictures, tar: Path) -> bytes:
    if not pictures.has(TABLE):
        raise InputError(f"{tar}: holds no {TABLE}")
    return pictures.read(TABLE)
