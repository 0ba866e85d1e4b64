"""Rendered faces in a tar: JPEGs and one ``annotations.npz`` with their points, pose, visibility and detector boxes.

`write_drawn` writes such a tar and `open_drawn` reads it; "drawn" means rendered. Tars of photographs have a CSV table:
`training.data.packed_tar` reads those.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.files import written_beside
from acdc_fast.photo.coordinates import box_from_points

from ..data.arrays import NOT_ARRAYS
from ..data.database import Database, Extended, Table
from ..data.derived import match
from ..data.pictures import TarPictures
from .render import Rendered

LABELS = "annotations.npz"
#: Of each face (52,) in the order of `readout.blendshapes.NAMES`, where they are known.
BLENDSHAPES = "blendshapes"
QUALITY = 92
CHUNK = 16  # faces that a process draws at a time; a multiple of the shots of a person
Draw = Callable[[int], Rendered]


class Made(NamedTuple):
    number: int
    jpeg: bytes
    face: Rendered
    box: np.ndarray | None  # (4,) xyxy pixels; NaN: the detector found none; None: the detector did not run


def detected_box(face: Rendered) -> np.ndarray:
    """(4,) the package's detector box for this face, or NaN. Training crops by it, as `Model.align` does."""
    from acdc_fast.photo.detection import detect

    finest = max(face.landmarks.values(), key=len)
    found, _ = detect(np.ascontiguousarray(np.repeat(face.image[..., None], 3, 2)))
    return match(found.astype(np.float64), box_from_points(finest[None])[0])


def _make(draw: Draw, boxes: bool, index: int) -> Made:
    cv2.setNumThreads(1)
    face = draw(index)
    _, code = cv2.imencode(".jpg", face.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return Made(index, code.tobytes(), face, detected_box(face) if boxes else None)


def make_many(draw: Draw, indices: Sequence[int], workers: int, boxes: bool = False) -> Iterator[Made]:
    """The faces of these numbers, in order, drawn by ``workers`` processes."""
    job = partial(_make, draw, boxes)
    if workers <= 1:
        yield from map(job, indices)
        return
    for library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # processes inherit it: one thread each
        os.environ.setdefault(library, "1")
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(job, indices, chunksize=CHUNK)


def write_drawn(path: Path, draw: Draw, markups: Sequence[str], indices: Sequence[int], workers: int = 2) -> None:
    """Renders faces into a tar. ``path`` changes only when all are done."""
    labels: dict[str, list[Any]] = {key: [] for key in ("index", "pose", "box")}
    for markup in markups:
        labels[markup], labels[f"visible-{markup}"] = [], []
    with written_beside(path) as beside, tarfile.open(beside, "w") as tar:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        for index, jpeg, face, box in make_many(draw, indices, workers, boxes=True):
            add(f"{index:07d}.jpg", jpeg)
            for key, value in (("index", index), ("pose", face.pose), ("box", box)):
                labels[key].append(value)
            for markup in markups:
                labels[markup].append(face.landmarks[markup])
                labels[f"visible-{markup}"].append(face.visible[markup])
            if face.blendshapes is not None:
                labels.setdefault(BLENDSHAPES, []).append(face.blendshapes)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {key: np.asarray(values) for key, values in labels.items()}
        np.savez(buffer, **arrays)
        add(LABELS, buffer.getvalue())


def open_drawn(path: Path, name: str, split: str) -> Database:
    """The faces of a tar from `write_drawn`. Raises `InputError` if it is not one."""
    pictures = TarPictures(path)
    if not pictures.has(LABELS):
        raise InputError(f"{path}: holds no {LABELS}; was it written by the synthesiser?")
    try:
        with np.load(io.BytesIO(pictures.read(LABELS)), allow_pickle=False) as file:
            data = {key: file[key] for key in file.files}
        files = [f"{i:07d}.jpg" for i in data["index"]]
    except NOT_ARRAYS as error:
        raise InputError(f"{path}: {LABELS} cannot be read: {error}") from error
    visible = {key: values for key, values in data.items() if key.startswith("visible-")}
    points = {key.removeprefix("visible-"): data[key.removeprefix("visible-")] for key in visible}
    more = {BLENDSHAPES: data[BLENDSHAPES]} if BLENDSHAPES in data else {}
    return Extended(
        Table(name, split, pictures, files, files, points, attributes=visible | more), data.get("box"), data["pose"]
    )
