"""Annotated faces: one file a database, all opened by name.

    database = open_database("mtfl", root="/data")
    sample = database[0]        # Sample: image, landmarks by markup, pose, box, …

A database is a sequence of `Sample`s, decoded when asked for, and can be pickled.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from acdc_fast.errors import InputError

from .sample import Annotation, Chosen, Database, Extended, Sample

#: name -> (module, function, splits); the first split is the one opened where none is named.
REGISTRY: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "300w": ("w300", "open_300w", ("train", "test", "lfpw", "helen", "ibug")),
    "300wlp": ("w300lp", "open_300wlp", ("train", "test", "all")),
    "aflw2000": ("aflw2000", "open_aflw2000", ("test",)),
    "celeba": ("celeba", "open_celeba", ("train", "val", "test")),
    "wflw": ("wflw", "open_wflw", ("train", "test", "pose", "expression", "illumination", "make-up", "occlusion", "blur")),
    "mtfl": ("mtfl", "open_mtfl", ("train", "dev", "test")),
    "mtfl-dev": ("mtfl", "open_mtfl", ("dev",)),
    "frames68": ("frames68", "open_frames68", ("train", "test", "all")),
}  # fmt: skip

__all__ = ["REGISTRY", "Annotation", "Chosen", "Database", "Extended", "Sample", "open_database"]


def open_database(name: str, root: str | Path, split: str | None = None, skip_broken: bool = False) -> Database:
    """A database under ``root`` (the folder that the database's own archive unpacks to, or that holds the packed tar).

    ``skip_broken`` leaves out faces whose annotation is broken or whose picture is missing and lists them in
    ``.skipped``; otherwise the first one raises. Raises `InputError` for an unknown name or split, and for files that
    are missing or broken, with file and line.
    """
    if name not in REGISTRY:
        raise InputError(f"unknown database {name!r}; known: {', '.join(REGISTRY)}")
    module, function, splits = REGISTRY[name]
    chosen = splits[0] if split is None else split
    if chosen not in splits:
        raise InputError(f"{name} has splits {', '.join(splits)}, not {chosen!r}")
    opener = getattr(importlib.import_module(f".{module}", __name__), function)
    return cast(Database, opener(Path(root), chosen, skip_broken))
