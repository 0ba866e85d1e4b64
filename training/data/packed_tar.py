"""Packed tars: JPEGs and one ``annotations.csv`` with a header ``image,x0,y0,x1,y1,…`` and attributes after the points.

This module only reads such tars; the package has no writer of them. Tars of rendered faces have another table,
``annotations.npz``: `training.synthesis.face_tar` writes and reads those.

Coordinates are pixels of the stored picture, with pixel centres at integers. Pictures stay encoded in the tar and are
decoded one at a time (0.3 ms for a crop of 224 px). Decoded pictures would take far more memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS

from .broken import Broken
from .database import Table
from .pictures import TarPictures
from .text import labelled_rows, numbers, table_rows

TABLE = "annotations.csv"


def open_packed(
    tar: Path, name: str, split: str, markup: str, attributes: Sequence[str] = (), skip_broken: bool = False
) -> Table:
    """The faces of a packed tar. Raises `InputError` with the file, the line and what is wrong."""
    pictures, broken = TarPictures(tar), Broken(skip_broken)
    if not pictures.has(TABLE):
        raise InputError(f"{tar}: holds no {TABLE}")
    where = pictures.where(TABLE)
    rows = table_rows(pictures.read(TABLE), where)
    count = MARKUPS[markup].points
    wanted = ["image", *(f"{axis}{k}" for k in range(count) for axis in "xy"), *attributes]
    _, header = next(rows, ("", []))
    if header != wanted:
        raise InputError(f"{where}:1: columns {','.join(wanted[:5])}… expected ({len(wanted)}), found {header[:5]}…")
    names, values = labelled_rows(
        rows, lambda row, line: numbers(row[1:], len(wanted) - 1, line, broken), pictures.fault, broken
    )
    table = np.asarray(values, np.float32).reshape(-1, len(wanted) - 1)
    points = table[:, : 2 * count].reshape(-1, count, 2)
    extra = {key: table[:, 2 * count + i].astype(np.int64) for i, key in enumerate(attributes)}
    return Table(name, split, pictures, names, names, {markup: points}, None, extra, broken.messages)
