"""Annotated faces: one file for each database, all opened by name.

    database = open_database("mtfl", root="/data")
    sample = database[0]        # Sample: image, landmarks by markup, pose, box, …

A database is a sequence of `Sample`s. A picture is decoded when it is asked for. A database can be pickled.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import cast

from acdc_fast.errors import InputError

from .database import Chosen, Database, Extended, readable
from .derived import FACE_MODEL, with_boxes, with_fit
from .sample import Annotation, Sample

#: name -> (module, function, splits). The first split is the default.
REGISTRY: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "300w": ("w300", "open_300w", ("train", "test", "lfpw", "helen", "ibug")),
    "300wlp": ("w300lp", "open_300wlp", ("train", "test", "all")),
    "aflw2000": ("aflw2000", "open_aflw2000", ("test",)),
    "celeba": ("celeba", "open_celeba", ("train", "val", "test")),
    "wflw": (
        "wflw", "open_wflw",
        ("train", "test", "pose", "expression", "illumination", "make-up", "occlusion", "blur"),
    ),
    "mtfl": ("mtfl", "open_mtfl", ("train", "dev", "test")),
    "mtfl-dev": ("mtfl", "open_mtfl", ("dev",)),
    "aflw68": ("aflw68", "open_aflw68", ("train", "five", "dev")),
    "aflw-pose": ("aflw_pose", "open_aflw_pose", ("dev",)),
    "lfw10": ("lfw10", "open_lfw10", ("train",)),
    "frames68": ("frames68", "open_frames68", ("train", "test", "all")),
    "csv": ("own", "open_csv", ("train", "dev", "test")),
    "coco": ("own", "open_coco", ("train", "dev", "test")),
    "synthetic": (".synthesis.dataset", "open_synthetic", ("train", "test", "more")),
    "skinned": (".synthesis.dataset", "open_skinned", ("train", "test", "more")),
    "expressive": (".synthesis.dataset", "open_expressive", ("train", "test", "more")),
    "reposed": (".synthesis.dataset", "open_reposed", ("train", "test")),
}  # fmt: skip

__all__ = ["REGISTRY", "Annotation", "Chosen", "Database", "Extended", "Sample", "open_database"]


#: Databases whose faces get the detector's boxes, and those whose pose is fitted to their 68 points.
BOXED = ("mtfl", "mtfl-dev", "frames68", "aflw68", "aflw-pose", "lfw10")
FITTED = ("frames68",)


def open_database(
    name: str, root: str | Path, split: str | None = None, skip_broken: bool = False, derived: bool = True
) -> Database:
    """A database under ``root``: the folder that its archive unpacks to, or the folder of the packed tar.

    ``skip_broken`` leaves out faces with a broken or missing annotation or picture, and lists them in ``.skipped``. It
    decodes every picture once, which takes a while. Without it a bad annotation raises here, and a bad picture raises
    when it is asked for. ``derived`` adds labels that the database lacks (`data.derived`), made once and cached: the
    detector's boxes, and fitted poses if ``ict_facekit.npz`` lies in ``root`` too. Raises `InputError` for an unknown
    name or split, and for missing or broken files, with file and line.
    """
    if name not in REGISTRY:
        raise InputError(f"unknown database {name!r}; known: {', '.join(REGISTRY)}")
    module, function, splits = REGISTRY[name]
    chosen = splits[0] if split is None else split
    if chosen not in splits:
        raise InputError(f"{name} has splits {', '.join(splits)}, not {chosen!r}")
    opener = getattr(importlib.import_module(f".{module}", __name__), function)
    database = cast(Database, opener(Path(root), chosen, skip_broken))
    if skip_broken:
        database = readable(database)
    if derived and name in BOXED:
        database = with_boxes(database)
    if derived and name in FITTED:
        model = Path(root) / FACE_MODEL
        if model.is_file():
            database = with_fit(database, model)
        else:
            warnings.warn(f"{name}: without {model} there are no poses and no 3d68 points", stacklevel=2)
    return database
