"""CelebA (Liu, Luo, Wang, Tang, ICCV 2015): 5 points in text lists.

The official splits have 162 770, 19 867 and 19 962 pictures to train, to validate and to test.

The pictures in the wild (``img_celeba`` and ``list_landmarks_celeba.txt``) are used if the folder exists. The
rectangles of ``list_bbox_celeba.txt`` (x, y, width, height) become the attribute ``rect`` (xyxy); no detector made
them. Otherwise the aligned pictures are used (``img_align_celeba``, ``list_landmarks_align_celeba.txt``); rectangles do
not apply to them. The lists lie in the root or, as in the archive, in ``Anno`` and ``Eval``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError

from .broken import Broken
from .database import Database, Table
from .pictures import FolderPictures
from .text import numbers, read_lines

PARTITION = {"train": 0, "val": 1, "test": 2}


def open_celeba(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    broken = Broken(skip_broken)
    wild = (root / "img_celeba").is_dir() and _list(root, "list_landmarks_celeba.txt").is_file()
    pictures = FolderPictures(root / ("img_celeba" if wild else "img_align_celeba"))
    chosen = {
        name for name, (part,) in _read(_list(root, "list_eval_partition.txt"), 1, 0, broken).items()
        if int(part) == PARTITION[split]
    }  # fmt: skip
    points = _read(_list(root, f"list_landmarks_{'' if wild else 'align_'}celeba.txt"), 10, 2, broken, chosen)
    boxes = _read(_list(root, "list_bbox_celeba.txt"), 4, 2, broken, chosen) if wild else {}
    names = []
    for name in points:
        if not pictures.has(name):
            broken.report(f"{pictures.where(name)}: picture is missing")
        elif wild and name not in boxes:
            broken.report(f"{_list(root, 'list_bbox_celeba.txt')}: no line for {name}")
        else:
            names.append(name)
    table = np.array([points[n] for n in names], np.float32).reshape(-1, 5, 2)
    attributes = {}
    if wild:
        rect = np.array([boxes[n] for n in names], np.float32).reshape(-1, 4)
        attributes["rect"] = np.concatenate([rect[:, :2], rect[:, :2] + rect[:, 2:]], 1)
    return Table("celeba", split, pictures, names, names, {"2d5": table}, None, attributes, broken.messages)


def _list(root: Path, name: str) -> Path:
    return next((p for p in (root / d / name for d in (".", "Anno", "Eval")) if p.is_file()), root / name)


def _read(
    path: Path, count: int, header: int, broken: Broken, chosen: set[str] | None = None
) -> dict[str, list[float]]:
    """name → ``count`` numbers, for each line after the header (a count of faces, then column names)."""
    lines, found = list(read_lines(path)), {}
    if header:
        first = lines[0][1].split() if lines else []
        if len(first) != 1 or not first[0].isdigit():
            raise InputError(f"{path}:1: the number of faces expected")
        if int(first[0]) != len(lines) - header:
            broken.report(f"{path}:1: {first[0]} faces announced, {len(lines) - header} found")
    for where, line in lines[header:]:
        name, *words = line.split()
        if chosen is not None and name not in chosen:
            continue
        values = numbers(words, count, where, broken)
        if values is not None:
            found[name] = values
    return found
