"""300W (Sagonas et al., ICCVW 2013): 68 points in ``.pts`` files beside the pictures.

Folders as the archives unpack them, in upper or lower case: ``afw``, ``helen/trainset``, ``helen/testset``, ``ibug``,
``lfpw/trainset``, ``lfpw/testset``. A ``.pts`` file counts pixels from 1; one is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError

from .sample import Annotation, Broken, Database, FolderPictures
from .text import numbers, read_lines

#: Official splits: train 811 + 2000 + 337 pictures, test 224 + 330 + 135.
SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("lfpw/trainset", "helen/trainset", "afw"),
    "test": ("lfpw/testset", "helen/testset", "ibug"),
    "lfpw": ("lfpw/testset",),
    "helen": ("helen/testset",),
    "ibug": ("ibug",),
}
PICTURES = (".jpg", ".png", ".jpeg")


def read_pts(path: Path, count: int = 68) -> np.ndarray:
    """(count, 2) float32 pixels, centres at integers. Raises `InputError` with file and line."""
    lines = list(read_lines(path))
    body = [i for i, (_, line) in enumerate(lines) if line.strip() in "{}"]
    if len(body) != 2 or [lines[i][1].strip() for i in body] != ["{", "}"]:
        raise InputError(f"{path}: a .pts file has its points between {{ and }}")
    rows = lines[body[0] + 1 : body[1]]
    if len(rows) != count:
        raise InputError(f"{lines[body[1]][0]}: {count} points expected, {len(rows)} found")
    strict = Broken()
    return np.array([numbers(line.split(), 2, where, strict) for where, line in rows], np.float32) - 1


def find_folder(root: Path, name: str) -> Path:
    """A folder under the root whatever the case of its name. Raises `InputError` where there is none."""
    here = root
    for part in Path(name).parts:
        found = [p for p in sorted(here.iterdir()) if p.is_dir() and p.name.lower() == part] if here.is_dir() else []
        if not found:
            raise InputError(f"{root}: holds no folder {name}")
        here = found[0]
    return here


class W300(Database):
    """Points are read when they are asked for."""

    markups = ("2d68",)

    def __init__(self, root: Path, split: str, files: Sequence[str], skipped: Sequence[str]) -> None:
        self.name, self.split, self.files, self.skipped = "300w", split, tuple(files), tuple(skipped)
        self.root, self.pictures = root, FolderPictures(root)

    def __len__(self) -> int:
        return len(self.files)

    def _picture(self, index: int) -> str:
        return self.files[index]

    def annotation(self, index: int) -> Annotation:
        file = self.files[index]
        points = read_pts((self.root / file).with_suffix(".pts"))
        return Annotation(source=self.name, name=file, landmarks={"2d68": points})


def open_300w(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    broken, files = Broken(skip_broken), []
    for name in SPLITS[split]:
        for pts in sorted(find_folder(root, name).glob("*.pts")):
            picture = next((p for p in map(pts.with_suffix, PICTURES) if p.is_file()), None)
            if picture is None:
                broken.report(f"{pts}: no picture beside it ({', '.join(PICTURES)})")
                continue
            if skip_broken:
                try:
                    read_pts(pts)
                except InputError as error:
                    broken.report(str(error), error)
                    continue
            files.append(str(picture.relative_to(root)))
    return W300(root, split, files, broken.messages)
