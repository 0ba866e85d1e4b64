"""A database: a lazy sequence of annotated faces.

Opening a database lists its faces. A picture is decoded when it is asked for. A database holds no open file, so it can
be pickled and sent to worker processes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import overload

import numpy as np

from acdc_fast.errors import InputError

from .pictures import Pictures, decode_colour, decode_grey
from .sample import Annotation, Sample


class Database(Sequence[Sample]):
    """Faces of one split of one database. A subclass defines `annotation` and `_picture`."""

    name: str
    split: str
    markups: tuple[str, ...]
    pictures: Pictures
    #: One line for each face that was left out because it was broken (only with skip_broken).
    skipped: Sequence[str] = ()

    @abstractmethod
    def annotation(self, index: int) -> Annotation:
        """Labels of one face, without its picture."""

    @abstractmethod
    def _picture(self, index: int) -> str:
        """Name of the picture that shows the face."""

    def picture(self, index: int) -> np.ndarray:
        """(H, W) uint8 grey. Raises `InputError` with the missing or broken file."""
        return decode_grey(*self._read(index))

    def colour(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB. Raises `InputError` with the missing or broken file."""
        return decode_colour(*self._read(index))

    def _read(self, index: int) -> tuple[bytes, str]:
        """The encoded picture, and where it lies."""
        name = self._picture(index)
        where = self.pictures.where(name)
        try:
            return self.pictures.read(name), where
        except (OSError, KeyError) as error:
            raise InputError(f"{where}: cannot be read: {error}") from error

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return Chosen(self, np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name}: face {index} asked for, but there are {len(self)}")
        index %= len(self)
        known = self.annotation(index)
        return Sample(image=self.picture(index), **{f.name: getattr(known, f.name) for f in fields(Annotation)})


class Table(Database):
    """A database with all annotations in a few arrays: for text lists and packed tars.

    ``names`` and ``files`` (N), ``points`` markup -> (N, L, 2), ``boxes`` (N, 4) or None, ``attributes`` name -> (N,).
    """

    def __init__(
        self,
        name: str,
        split: str,
        pictures: Pictures,
        names: Sequence[str],
        files: Sequence[str],
        points: Mapping[str, np.ndarray],
        boxes: np.ndarray | None = None,
        attributes: Mapping[str, np.ndarray] | None = None,
        skipped: Sequence[str] = (),
    ) -> None:
        self.name, self.split, self.pictures, self.skipped = name, split, pictures, tuple(skipped)
        self.names, self.files, self.boxes = tuple(names), tuple(files), boxes
        self.points = {markup: np.asarray(values, np.float32) for markup, values in points.items()}
        self.attributes = dict(attributes or {})
        self.markups = tuple(self.points)

    def __len__(self) -> int:
        return len(self.names)

    def _picture(self, index: int) -> str:
        return self.files[index]

    def annotation(self, index: int) -> Annotation:
        return Annotation(
            source=self.name,
            name=self.names[index],
            landmarks={markup: values[index] for markup, values in self.points.items()},
            box=None if self.boxes is None else self.boxes[index],
            attributes={key: values[index] for key, values in self.attributes.items()},
        )


class Chosen(Database):
    """Some faces of a database, in the order of ``indices``."""

    def __init__(self, base: Database, indices: Iterable[int], split: str | None = None) -> None:
        self.base, self.indices = base, np.asarray(list(indices), np.int64)
        self.name, self.markups, self.pictures, self.skipped = base.name, base.markups, base.pictures, base.skipped
        self.split = base.split if split is None else split

    def __len__(self) -> int:
        return len(self.indices)

    def _picture(self, index: int) -> str:
        return self.base._picture(int(self.indices[index]))

    def annotation(self, index: int) -> Annotation:
        return self.base.annotation(int(self.indices[index]))


def readable(database: Database) -> Database:
    """The faces with a readable annotation and picture. The others are added to ``.skipped``."""
    good, bad = [], []
    for index in range(len(database)):
        try:
            database[index]
            good.append(index)
        except InputError as error:
            bad.append(str(error))
    if not bad:
        return database
    chosen = Chosen(database, good)
    chosen.skipped = (*database.skipped, *bad)
    return chosen


class Extended(Database):
    """A database with labels added: detector boxes, fitted poses, fitted points, weights.

    ``boxes`` (N, 4) and ``poses`` (N, 3): a row of NaN leaves the face as it is. ``points`` markup -> (N, L, 2) and
    ``weights`` markup -> (N, L) are added to every face.
    """

    def __init__(
        self,
        base: Database,
        boxes: np.ndarray | None = None,
        poses: np.ndarray | None = None,
        points: Mapping[str, np.ndarray] | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        for label, values in {"boxes": boxes, "poses": poses, **(points or {}), **(weights or {})}.items():
            if values is not None and len(values) != len(base):
                raise InputError(f"{base.name}: {len(values)} {label} for {len(base)} faces: made for another split?")
        self.base, self.boxes, self.poses = base, boxes, poses
        self.points, self.weights = dict(points or {}), dict(weights or {})
        self.name, self.split, self.pictures, self.skipped = base.name, base.split, base.pictures, base.skipped
        self.markups = (*base.markups, *(m for m in self.points if m not in base.markups))

    def __len__(self) -> int:
        return len(self.base)

    def _picture(self, index: int) -> str:
        return self.base._picture(index)

    def annotation(self, index: int) -> Annotation:
        known = self.base.annotation(index)
        box, pose = known.box, known.pose
        if self.boxes is not None and np.isfinite(self.boxes[index]).all():
            box = np.asarray(self.boxes[index], np.float32)
        if self.poses is not None and np.isfinite(self.poses[index]).all():
            pose = np.asarray(self.poses[index], np.float32)
        return replace(
            known,
            box=box,
            pose=pose,
            landmarks={**known.landmarks, **{m: np.asarray(v[index], np.float32) for m, v in self.points.items()}},
            weights={**known.weights, **{m: np.asarray(v[index], np.float32) for m, v in self.weights.items()}},
        )
