"""A film that lies there as pictures: some files, a folder, a pattern, or files such as ``frames/%05d.png``."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import InputError
from ..photo.folders import inside, is_named_as_picture
from ..photo.images import load_picture

#: Frames a second where the user names no rate.
RATE = 25.0


def pictures_of(source: str) -> tuple[list[str], str | None] | None:
    """Files in their order, and what is said of numbers that are missing; None where the source is no set of pictures.

    The order is that of people: ``2.png`` comes before ``10.png``. Raises `InputError` where there are none.
    """
    numbered = re.fullmatch(r"([^%]*)%(?:0([1-9]))?d([^%]*)", os.path.basename(source))
    if numbered and not os.path.exists(source):
        return _numbered(source, numbered[1], int(numbered[2] or 1), numbered[3])
    paths = inside(source)
    if paths is None:
        return None
    if not paths:
        holds = "holds no images (.jpg, .png and others that Pillow reads)"
        raise InputError(f"{source}: {holds if os.path.isdir(source) else 'no file has such a name'}")
    return sorted(paths, key=_natural), None


def listed(paths: Sequence[str]) -> tuple[str, list[str], None]:
    """What `Pictures` takes of pictures that are named one by one: they stay in the order of their names' list.

    Raises `InputError` for a film or a folder among them.
    """
    for path in paths:
        if os.path.isdir(path) or not is_named_as_picture(path):
            kind = "a folder" if os.path.isdir(path) else "no picture"
            what = "of several inputs each must be a picture. Give a film or a folder alone"
            raise InputError(f"{path}: is {kind}; {what}")
    return f"{paths[0]} and {len(paths) - 1} more", list(paths), None


def _natural(path: str) -> list[Any]:
    parts = re.split(r"([0-9]+)", path)  # texts and numbers in turn, so that like meets like
    return [int(part) if i % 2 else part for i, part in enumerate(parts)] + [path]


def _numbered(source: str, before: str, digits: int, after: str) -> tuple[list[str], str | None]:
    folder = os.path.dirname(source)
    found: dict[int, str] = {}
    for entry in os.listdir(folder or ".") if os.path.isdir(folder or ".") else ():
        match = re.fullmatch(re.escape(before) + "([0-9]{1,18})" + re.escape(after), entry)
        if match and match[1] == f"{int(match[1]):0{digits}d}":
            found[int(match[1])] = os.path.join(folder, entry)
    if not found:
        raise InputError(f"{source}: there is no such numbered picture")
    numbers = sorted(found)
    lacking = numbers[-1] - numbers[0] + 1 - len(numbers)
    gap = None
    if lacking:
        first = next(number + 1 for number in numbers if number + 1 not in found)
        gap = f"{lacking} {'number is' if lacking == 1 else 'numbers are'} missing, the first is {first:0{digits}d}"
    return [found[number] for number in numbers], gap


class Pictures:
    """As `films._Frames`: upright RGB frames with their times. One picture is held at a time.

    A picture that cannot be read, or of another size than the first, is left out. Its place in time stays empty.
    """

    sound, listens = None, False

    def __init__(self, source: str, paths: list[str], gap: str | None, rate: float) -> None:
        self.source, self._gap = source, gap
        self.broken: str | None = None  # afterwards: what was wrong
        self.names = dict(enumerate(paths))  # by the time of a frame, in its own unit
        self.total = len(paths)
        # MPEG-4 counts at most 65535 steps a second.
        self.rate = Fraction(rate).limit_denominator(min(1001, int(65535 / rate)))
        self.time_base = 1 / self.rate
        self.heard: list[Any] = []

    def __iter__(self) -> Generator[tuple[np.ndarray, float, int], None, None]:
        size: tuple[int, ...] | None = None
        count, wrong = 0, ""  # of pictures that are left out; what the first one's error is
        for place, path in self.names.items():
            try:
                rgb = load_picture(path).rgb
                size = size or rgb.shape
                if rgb.shape != size:
                    raise InputError(
                        f"{path}: is {rgb.shape[1]}×{rgb.shape[0]} pixels, not {size[1]}×{size[0]} as the first"
                    )
            except InputError as error:
                count, wrong = count + 1, wrong or str(error)
                continue
            yield rgb, float(place * self.time_base), place
        if size is None:
            raise InputError(f"{self.source}: none of its {self.total} pictures can be read ({wrong})")
        told = [self._gap] if self._gap else []
        if count:
            told.append(f"{count} of {self.total} pictures {'is' if count == 1 else 'are'} left out ({wrong})")
        self.broken = f"{self.source}: {'; '.join(told)}" if told else None


def overwrites(out: str, pictures: Pictures) -> bool:
    """Whether the output would take the place of a picture that is read."""
    return os.path.realpath(out) in {os.path.realpath(path) for path in pictures.names.values()}
