"""Annotated pictures of a job, in a folder of their own, named after what they were made of."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files import written_beside
from ..photo.draw import draw_faces
from ..photo.images import Picture
from ..types import Faces
from .names import SUFFIXES, digest_of

#: Bytes of a name beyond which it is shortened; file systems take 255.
LONG = 200


class Drawings:
    """``names``: of all images of the job. The same names give the same places, also where a job is taken up again."""

    def __init__(self, folder: str, sources: Sequence[str], names: Sequence[str]) -> None:
        """Raises `InputError` for what is no folder, and for one whose pictures the job itself would read."""
        self.folder = Path(os.path.realpath(folder))
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{folder}: is a file, not a folder; --draw needs one")
        for source in sources:
            if os.path.isdir(source) and Path(os.path.realpath(source)) in (self.folder, *self.folder.parents):
                raise InputError(f"{folder}: lies in {source}, where pictures are looked for; draw into another folder")
        self.places = [self.folder / place for place in _places(names)]
        self._read = [*sources, *names]

    def check(self, begun: bool) -> None:
        """Raises `InputError` where a picture stands in the way; ``begun``: those there may be of this job."""
        there = {os.path.realpath(place): place for place in self.places if place.exists()}
        if not there:
            return
        if own := there.keys() & {os.path.realpath(name) for name in self._read}:
            raise InputError(f"{there[min(own)]}: would overwrite a picture that is being read")
        if not begun:
            raise InputError(f"{there[min(there)]}: is there already; --overwrite replaces it")

    def draw(self, number: int, picture: Picture, faces: Faces) -> None:
        """Of the image with this number in the job."""
        with written_beside(self.places[number]) as beside:
            draw_faces(picture, faces).save(beside)


def _places(names: Sequence[str]) -> list[str]:
    """``sub/a.jpg`` → ``sub/a.png``, always below the folder; the second of one place is ``a-2.png``."""
    counts: dict[str, int] = {}
    places = []
    for name in names:
        *folders, last = [_safe(part) for part in name.split("/") if part not in ("", ".", "..")] or ["image"]
        stem, suffix = os.path.splitext(last)
        # So that no folder has the name of a picture.
        folders = [f"{part}_" if part.lower().endswith(".png") else part for part in folders]
        base = place = "/".join([*folders, stem if suffix.lower() in SUFFIXES else last])
        while place.casefold() in counts:  # file systems may take A.png for a.png
            counts[base.casefold()] += 1
            place = f"{base}-{counts[base.casefold()]}"
        counts[place.casefold()] = 1
        places.append(f"{place}.png")
    return places


def _safe(part: str) -> str:
    part = re.sub(r'[\x00-\x1f<>:"\\|?*]', "_", part)
    long = len(part.encode("utf-8", "replace")) > LONG
    return f"{part[:40]}-{digest_of([part])[:16]}{os.path.splitext(part)[1][:8]}" if long else part
