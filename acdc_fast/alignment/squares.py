"""Squares of several pictures, and the crops that are cut by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..photo.camera import Camera, Views
from ..photo.crops import crop_faces, crop_views
from ..photo.images import Picture


@dataclass(frozen=True, eq=False)
class Squares:
    """N squares, those of the first picture first."""

    pictures: Sequence[Picture]
    of: np.ndarray  # (N,) number of each square's picture
    values: np.ndarray  # (N, 4) as in `photo.coordinates`

    @classmethod
    def listed(cls, pictures: Sequence[Picture], values: Sequence[np.ndarray]) -> Squares:
        """(N, 4) for each picture."""
        of = np.repeat(np.arange(len(pictures)), [len(each) for each in values])
        return cls(pictures, of, np.concatenate(values))

    def part(self, which: np.ndarray, values: np.ndarray | None = None) -> Squares:
        """These alone; or other ``values`` in the pictures of these."""
        return Squares(self.pictures, self.of[which], self.values[which] if values is None else values)

    @cached_property
    def parts(self) -> list[slice]:
        """Those of each picture."""
        ends = np.searchsorted(self.of, np.arange(len(self.pictures) + 1)).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    def sizes(self) -> np.ndarray:
        """(N, 2) width and height of each one's picture."""
        sizes = np.array([(picture.width, picture.height) for picture in self.pictures])
        return np.asarray(sizes[self.of])

    def named(self, face: int) -> str:
        """The picture and the number in it, for people."""
        picture = int(self.of[face])
        return f"{named(self.pictures[picture])}: face {face - self.parts[picture].start}"

    def crops(self, size: int, camera: Camera | None) -> np.ndarray:
        """(N, 1, S, S) float32: of the squares, or with a camera, as a camera turned towards each face sees it."""
        cut = [np.zeros((0, 1, size, size), np.float32)]
        for picture, part in zip(self.pictures, self.parts, strict=True):
            if camera is None:
                cut.append(crop_faces(picture.rgb, self.values[part], size))
            else:
                views = Views(camera, picture.width, picture.height, self.values[part])
                cut.append(crop_views(picture.rgb, views.matrix, views.squares[:, 2], size))
        return np.concatenate(cut)

    def slanted(self, points: np.ndarray, camera: Camera) -> np.ndarray:
        """(N, P, 2) points of the straight crops → points in the squares."""
        found = [np.zeros((0, *points.shape[1:]))]
        for picture, part in zip(self.pictures, self.parts, strict=True):
            views = Views(camera, picture.width, picture.height, self.values[part])
            found.append(views.slanted(points[part]))
        return np.concatenate(found)


def named(picture: Picture) -> str:
    return picture.name or "image"
