"""WFLW (Wu et al., CVPR 2018): 98 points, a rectangle and six attributes, in one text list for each split.

A line of ``list_98pt_rect_attr_train.txt`` or ``…_test.txt``: x0 y0 … x97 y97, x_min y_min x_max y_max, pose expression
illumination make-up occlusion blur (0 or 1), picture. Pictures lie in ``WFLW_images``; one may show several faces. The
six subsets of the test split are opened by the attribute's name. The rectangle is attribute ``rect``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError

from .broken import Broken
from .database import Chosen, Database, Table
from .pictures import FolderPictures
from .text import numbers, read_lines

ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
FOLDERS = (".", "WFLW_annotations/list_98pt_rect_attr_train_test")


def open_wflw(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """Splits: "train", "test" and the names of the attributes (parts of "test")."""
    broken, pictures = Broken(skip_broken), FolderPictures(root / "WFLW_images")
    file = f"list_98pt_rect_attr_{'train' if split == 'train' else 'test'}.txt"
    path = next((p for p in (root / d / file for d in FOLDERS) if p.is_file()), root / file)
    names: list[str] = []
    files: list[str] = []
    rows: list[list[float]] = []
    for number, (where, line) in enumerate(read_lines(path)):
        *words, picture = line.split()
        values = numbers(words, 206, where, broken)
        if values is None:
            continue
        if not pictures.has(picture):
            broken.report(f"{where}: picture {pictures.where(picture)} is missing")
            continue
        names.append(f"{picture}#{number}")
        files.append(picture)
        rows.append(values)
    table = np.array(rows, np.float32).reshape(-1, 206)
    flags = {name: table[:, 200 + i].astype(bool) for i, name in enumerate(ATTRIBUTES)}
    points = table[:, :196].reshape(-1, 98, 2)
    rest = {"rect": table[:, 196:200], **flags}
    faces = Table("wflw", split, pictures, names, files, {"2d98": points}, None, rest, broken.messages)
    if split in flags:
        return Chosen(faces, np.flatnonzero(flags[split]), split)
    if split not in ("train", "test"):
        raise InputError(f"wflw has splits train, test, {', '.join(ATTRIBUTES)}, not {split!r}")
    return faces
