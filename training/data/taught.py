"""A teacher's labels (`teach`), added to those of a database."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS

from ..settings import Source
from . import Database
from .arrays import NOT_ARRAYS
from .database import Extended

#: A teacher labels each face twice. If the mean distance of the two is APART or more (in sizes of the shape), the
#: labels are not used: 1.4 % of MTFL with acdc-w32 (median 0.036). 0.05 would drop 9 %, many of them good profiles.
APART = 0.07


def labels_path(root: Path, name: str, split: str, teacher: str) -> Path:
    """Where a teacher's labels of a split lie. ``teacher`` is the stem of its weights file's name."""
    return root / f"{name}-{split}-by-{teacher}.npz"


def with_taught(database: Database, path: Path, source: Source) -> Database:
    """Adds the teacher's labels for markups that the database lacks, and its pose if the database has none.

    These labels lie on the features themselves. The loss will move the source's points by its shift, so the shift is
    subtracted here. Raises `InputError` if the labels are missing, broken or made for other faces.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            made = dict(file)
        places = {name: k for k, name in enumerate(made["names"].tolist())}
        rows = np.array([places[database.annotation(i).name] for i in range(len(database))])
        good = made["apart"][rows] < APART
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; python -m acdc_fast.training.teach writes it") from error
    except KeyError as error:
        raise InputError(f"{path}: has nothing for {error}: was it made for another list of faces?") from error
    except NOT_ARRAYS as error:
        raise InputError(f"{path}: not labels of a teacher: {error}") from error
    markups = [m for m in made if m in MARKUPS and m not in database.markups]
    points = {m: made[m][rows] - np.asarray(source.shift_of(m), np.float32) for m in markups}
    weights = {m: np.repeat(good[:, None], p.shape[1], 1).astype(np.float32) for m, p in points.items()}
    posed = database.annotation(0).pose is not None
    poses = None if posed else np.where(good[:, None], made["pose"][rows], np.nan)
    return Extended(database, None, poses, points, weights)
