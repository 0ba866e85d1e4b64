"""A teacher's labels (`teach`) beside those that a database brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS

from ..settings import Source
from . import Database
from .sample import Extended

#: Mean distance between the two looks, in sizes of the shape, from which nothing is taken: 1.4 % of the faces of MTFL
#: by acdc-w32, whose median is 0.036. At 0.05 9 % would go, many of them in profile, which look well labelled.
APART = 0.07


def labels_path(root: Path, name: str, split: str, teacher: str) -> Path:
    """Where a teacher's labels of a split lie; the teacher is the stem of its weights file's name."""
    return root / f"{name}-{split}-by-{teacher}.npz"


def with_taught(database: Database, path: Path, source: Source) -> Database:
    """Adds the teacher's labels of the markups that the database lacks, and its pose where the database has none.

    They lie on the features, so what the source's points are to be moved by is taken off. Raises `InputError`
    where the labels are missing, broken or of other faces.
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
        raise InputError(f"{path}: nothing of {error} there: made for another list of faces?") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not labels of a teacher: {error}") from error
    markups = [m for m in made if m in MARKUPS and m not in database.markups]
    points = {m: made[m][rows] - np.asarray(source.shift_of(m), np.float32) for m in markups}
    weights = {m: np.repeat(good[:, None], p.shape[1], 1).astype(np.float32) for m, p in points.items()}
    posed = database.annotation(0).pose is not None
    poses = None if posed else np.where(good[:, None], made["pose"][rows], np.nan)
    return Extended(database, None, poses, points, weights)
