"""Reads the next pictures and finds their faces while earlier ones are in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .boxes import given_boxes
from .detection import Search, detect
from .images import ImageLike, Picture, load_picture
from .prefetch import Pause, prefetch

#: Pictures that are searched ahead, and pixels of those that wait: as many as are aligned together. While the caller's
#: thread reads out their points, the other threads so have work.
AHEAD, WAITING = 16, 16_000_000


class Found(NamedTuple):
    """A picture and its boxes."""

    picture: Picture
    boxes: np.ndarray  # (N, 4) float32 xyxy pixels
    scores: np.ndarray  # (N,) float32
    given: bool  # by the caller, not found

    def part(self, which: slice) -> Found:
        """With these boxes alone."""
        return self._replace(boxes=self.boxes[which], scores=self.scores[which])


def find_each(
    images: Iterable[ImageLike],
    boxes: Iterable[Any] | None,
    search: Search,
    threads: int,
    pause: Pause | None = None,
) -> Iterator[Found | InputError]:
    """Each image with its boxes, those of the caller where they are not None; or why it cannot be used. In order.

    The next images are worked on by ``threads`` threads, which begin none while ``pause`` is held. A detector of the
    caller's runs on the caller's thread alone, because nobody knows whether it bears others.
    """
    own, threaded = callable(search.detector), threads > 1 and not (isinstance(images, list) and len(images) == 1)
    each = 1 if threaded else threads

    def look(picture: Picture, given: Any) -> Found | InputError:
        try:
            found = detect(picture.rgb, search, each) if given is None else given_boxes(given, picture)
        except InputError as error:
            return error
        return Found(picture, *found, given is not None)

    def read(item: tuple[ImageLike, Any]) -> Picture | InputError:
        try:
            return load_picture(item[0])
        except InputError as error:
            return error

    def read_and_look(item: tuple[ImageLike, Any]) -> Picture | Found | InputError:
        picture = read(item)
        if isinstance(picture, InputError) or (own and item[1] is None):
            return picture
        return look(picture, item[1])

    items = ((image, None) for image in images) if boxes is None else _paired(images, boxes)
    ahead = prefetch(read_and_look, items, threads, AHEAD, _pixels, WAITING, pause)
    for found in ahead if threaded else map(read_and_look, items):
        yield look(found, None) if isinstance(found, Picture) else found


def _pixels(found: Picture | Found | InputError) -> int:
    picture = found.picture if isinstance(found, Found) else found
    return picture.width * picture.height if isinstance(picture, Picture) else 0


def _paired(images: Iterable[ImageLike], boxes: Iterable[Any]) -> Iterator[tuple[ImageLike, Any]]:
    try:
        yield from zip(images, boxes, strict=True)
    except ValueError as error:
        raise InputError("there are not as many boxes as images") from error
