"""Labels that the databases lack, kept in a cache: the detector's boxes, and pose and solid points from a fit.

Training sees faces as `Model.align` will: cropped by the detector's own box. The cache is `$ACDC_CACHE`, or else
`~/.cache/acdc_fast`. The name of a cached file is a digest of its inputs, so it cannot be mistaken for another.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from acdc_fast.errors import AcdcError, InputError
from acdc_fast.files import written_beside
from acdc_fast.photo.coordinates import box_from_points

from .arrays import NOT_ARRAYS
from .database import Database, Extended

#: Raise this when the fit, the rules below or how pictures are searched change: files of an older version are then made
#: again. Other weights of the detector, or another detector, need no new number: see `detectors_digest`.
VERSION = "1"
FACE_MODEL = "ict_facekit.npz"

#: A detected box belongs to the labelled face if its centre is at most NEAR sides from where the points put it, and its
#: sides differ from the expected ones by at most a factor ALIKE: more than six standard deviations of those in
#: `photo/crop_convention.py`.
NEAR, ALIKE = 0.35, 1.6

#: A fit is rejected if the median distance of the inner points from it is above this (cm on the head). 0.12 is usual.
POOR = 0.35


def cache_folder() -> Path:
    return Path(os.environ.get("ACDC_CACHE") or Path.home() / ".cache" / "acdc_fast")


def with_boxes(database: Database) -> Database:
    """Adds the boxes of the package's detector. A face that it does not find keeps its box, or none."""
    made = _cached(database, "boxes", lambda: {"boxes": detected_boxes(database)}, detectors_digest())
    return Extended(database, boxes=made["boxes"])


def detectors_digest() -> str:
    """Of the files with the weights of the detectors that `detect` takes by default; of the library, its code too."""
    from acdc_fast.detector.pyramid import WEIGHTS
    from acdc_fast.photo.detection import Search
    from acdc_fast.photo.libfacedetection import library_file

    detector = Search().detector
    paths = ([WEIGHTS] if detector != "library" else []) + ([library_file()] if detector != "own" else [])
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def with_fit(database: Database, face_model: Path) -> Database:
    """Adds pose and "3d68": pseudo-labels fitted to "2d68". A rejected fit gives no pose and points of weight 0."""
    made = _cached(database, "fit", lambda: fitted(database, face_model))
    return Extended(database, poses=made["pose"], points={"3d68": made["points"]}, weights={"3d68": made["weights"]})


def fitted(database: Database, face_model: Path) -> dict[str, np.ndarray]:
    """``pose`` (N, 3), ``points`` (N, 68, 2) and their ``weights`` (N, 68) by `training.pose_fit`."""
    from .pose_fit import FaceModel, fit_pose

    model = FaceModel.load(face_model)
    _note(f"{database.name}: fitting the pose of {len(database)} faces (once)")
    found = fit_pose(np.stack([database.annotation(i).landmarks["2d68"] for i in range(len(database))]), model)
    good = np.isfinite(found.pose).all(1) & (found.error < POOR)
    return {
        "pose": np.where(good[:, None], found.pose, np.nan).astype(np.float32),
        "points": np.where(good[:, None, None], found.points, 0).astype(np.float32),
        "weights": np.repeat(good[:, None], 68, 1).astype(np.float32),
    }


def detected_boxes(database: Database) -> np.ndarray:
    """(N, 4) xyxy: the detected box of the labelled face, or NaN."""
    faces = range(len(database))
    if len(faces) < 200:
        return np.array([_detected(database, i) for i in faces], np.float32).reshape(-1, 4)
    _note(f"{database.name}: finding the detector's boxes of {len(faces)} faces (once)")
    workers = min(os.cpu_count() or 1, 8)
    blocks = [faces[i : i + 100] for i in range(0, len(faces), 100)]
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
            found = [box for part in pool.map(partial(_detected_block, database), blocks) for box in part]
    except BrokenProcessPool as error:
        ended = f"{database.name}: a process that looks for the faces' boxes ended, as for want of memory"
        raise AcdcError(f"{ended}; free some, and give the same command again") from error
    return np.array(found, np.float32)


def _one_thread() -> None:
    """More threads do not help on small pictures. On shared cores they wait for each other in busy loops."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _detected_block(database: Database, faces: range) -> list[np.ndarray]:
    return [_detected(database, i) for i in faces]


def _detected(database: Database, index: int) -> np.ndarray:
    from acdc_fast.photo.detection import detect

    nothing = np.full(4, np.nan, np.float32)
    try:
        grey = database.picture(index)
    except InputError:
        return nothing  # the error is raised when training asks for this face
    boxes = detect(np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3))))[0].astype(np.float64)
    return match(boxes, box_from_points(database.annotation(index).five[None])[0])


def match(boxes: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(N, 4) boxes, (4,) box expected from the points → the (4,) box of this face, or NaN."""
    sides, wanted = boxes[:, 2:] - boxes[:, :2], expected[2:] - expected[:2]
    away = np.abs(boxes[:, :2] + boxes[:, 2:] - expected[:2] - expected[2:]) / 2 / wanted
    factor = np.abs(np.log(np.maximum(sides, 1e-3) / wanted))
    fits = np.flatnonzero((away < NEAR).all(1) & (factor < np.log(ALIKE)).all(1))
    if not len(fits):
        return np.full(4, np.nan, np.float32)
    return np.asarray(boxes[fits[away[fits].max(1).argmin()]], np.float32)


def _cached(
    database: Database, kind: str, make: Callable[[], dict[str, np.ndarray]], maker: str = ""
) -> dict[str, np.ndarray]:
    """Arrays with one row for each face, from the cache, or made and written there. ``maker``: what else they go by."""
    digest = hashlib.sha256(f"{VERSION} {kind} {database.name}{maker}".encode())
    for index in range(len(database)):
        known = database.annotation(index)
        digest.update(known.name.encode())
        for markup, points in known.landmarks.items():
            digest.update(markup.encode() + np.ascontiguousarray(points).tobytes())
    path = cache_folder() / f"{database.name}-{kind}-{digest.hexdigest()[:16]}.npz"
    if path.is_file():
        try:
            with np.load(path) as data:
                return dict(data)
        except NOT_ARRAYS as error:
            _note(f"{path}: broken ({error}); it is made again")
    values = make()
    save: Any = np.savez  # its type stubs differ between numpy versions
    with written_beside(path) as beside:
        save(beside, **values)
    return values


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
