"""AFLW2000-3D (Zhu et al., CVPR 2016): 2000 pictures, 450×450, with 68 projected points and pose. For tests only."""

from __future__ import annotations

from pathlib import Path

from acdc_fast.errors import InputError

from .beside import FacesWithFiles, list_pictures
from .broken import Broken
from .database import Database
from .mat import LABELS


def open_aflw2000(root: Path, split: str = "test", skip_broken: bool = False) -> Database:
    """``root`` is the folder ``AFLW2000`` (or ``AFLW2000-3D``), or the folder that holds it."""
    home = next((root / n for n in ("AFLW2000", "AFLW2000-3D") if (root / n).is_dir()), root)
    broken = Broken(skip_broken)
    files = list_pictures(home, [home], LABELS, broken)
    if not files and not broken.messages:
        raise InputError(f"{home}: holds no .mat files of AFLW2000-3D")
    return FacesWithFiles("aflw2000", split, home, LABELS, files, broken.messages)
