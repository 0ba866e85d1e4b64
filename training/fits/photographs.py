"""Photographs of a database in colour, with the labels and the box of one face in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from acdc_fast.photo.coordinates import box_from_points

from ..data import Database
from ..data.sample import Annotation
from ..observations import chosen
from ..sampling.batches import moved
from ..settings import Source

#: Photographs that are held in memory at a time.
BATCH = 16


@dataclass(frozen=True)
class Photograph:
    index: int  # of the face in its database
    face: Annotation
    box: np.ndarray  # (4,) xyxy pixels: the detector's if there is one, else that of the points
    rgb: np.ndarray  # (H, W, 3) uint8


def photographs(database: Database, limit: int | None, source: Source | None = None) -> Iterator[list[Photograph]]:
    """At most ``limit`` faces, spread evenly over the database, a few at a time. Shows the progress.

    ``source``: labels are moved as it says. Raises `InputError` for a picture that cannot be read.
    """
    indices = chosen(database, limit)
    for start in tqdm(range(0, len(indices), BATCH), desc=database.name, leave=False, disable=None):
        batch = []
        for index in indices[start : start + BATCH]:
            face = database.annotation(index)
            if source is not None:
                face = moved(face, source)
            box = face.box if face.box is not None else box_from_points(face.five[None])[0]
            batch.append(Photograph(index, face, box, database.colour(index)))
        yield batch
