"""MTFL (Zhang, Luo, Loy, Tang, ECCV 2014): 5 points, gender, smile, glasses and a pose class.

Two forms are read. Packed tars hold JPEGs and one ``annotations.csv`` (``image,x0,y0,…,y4,gender,smile,glasses,pose``).
The database's own lists are ``training.txt`` and ``testing.txt``. A line names a picture (with backslashes) and gives
x1…x5 y1…y5 and the four attributes, with blanks between. Pixels count from 1 there; we subtract 1. Points: left eye,
right eye, nose tip, left and right mouth corner, image-left first. Pose class: 1 left profile … 3 frontal … 5 right
profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .broken import Broken
from .database import Database, Table
from .packed_tar import open_packed
from .pictures import FolderPictures
from .text import numbers, read_lines

ATTRIBUTES = ("gender", "smile", "glasses", "pose")
TARS = {"train": "mtfl-train.tar", "dev": "mtfl-aflw-dev.tar"}
LISTS = {"train": "training.txt", "test": "testing.txt"}


def open_mtfl(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """Splits: "train" (packed tar or ``training.txt``), "dev" (packed tar) and "test" (``testing.txt``)."""
    tar = root / TARS[split] if split in TARS else None
    if tar is not None and (tar.is_file() or split not in LISTS):
        return open_packed(tar, "mtfl", split, "2d5", ATTRIBUTES, skip_broken)
    return _open_list(root, split, skip_broken)


def _open_list(root: Path, split: str, skip_broken: bool) -> Database:
    broken, pictures, path = Broken(skip_broken), FolderPictures(root), root / LISTS[split]
    names: list[str] = []
    rows: list[Sequence[float]] = []
    for where, line in read_lines(path):
        words = line.split()
        values = numbers(words[1:], 14, where, broken)
        if values is None:
            continue
        name = words[0].replace("\\", "/")
        if not pictures.has(name):
            broken.report(f"{where}: picture {pictures.where(name)} is missing")
            continue
        names.append(name)
        rows.append(values)
    table = np.asarray(rows, np.float32).reshape(-1, 14)
    points = np.stack([table[:, :5], table[:, 5:10]], -1) - 1
    attributes = {key: table[:, 10 + i].astype(np.int64) for i, key in enumerate(ATTRIBUTES)}
    return Table("mtfl", split, pictures, names, names, {"2d5": points}, None, attributes, broken.messages)
