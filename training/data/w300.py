"""300W (Sagonas et al., ICCVW 2013): 68 points in ``.pts`` files beside the pictures.

Folders as the archives unpack them, in upper or lower case: ``afw``, ``helen/trainset``, ``helen/testset``, ``ibug``,
``lfpw/trainset``, ``lfpw/testset``.
"""

from __future__ import annotations

from pathlib import Path

from acdc_fast.errors import InputError

from .beside import FacesWithFiles, list_pictures
from .broken import Broken
from .database import Database
from .pts import LABELS

#: Official splits: train 811 + 2000 + 337 pictures, test 224 + 330 + 135.
SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("lfpw/trainset", "helen/trainset", "afw"),
    "test": ("lfpw/testset", "helen/testset", "ibug"),
    "lfpw": ("lfpw/testset",),
    "helen": ("helen/testset",),
    "ibug": ("ibug",),
}


def find_folder(root: Path, name: str) -> Path:
    """A folder under the root, with its name in any case. Raises `InputError` if there is none."""
    here = root
    for part in Path(name).parts:
        found = [p for p in sorted(here.iterdir()) if p.is_dir() and p.name.lower() == part] if here.is_dir() else []
        if not found:
            raise InputError(f"{root}: holds no folder {name}")
        here = found[0]
    return here


def open_300w(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    broken = Broken(skip_broken)
    files = list_pictures(root, (find_folder(root, name) for name in SPLITS[split]), LABELS, broken)
    return FacesWithFiles("300w", split, root, LABELS, files, broken.messages)
