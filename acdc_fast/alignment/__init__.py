"""From pictures and boxes to `Faces`: the crops of several pictures are read together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..by_value import joined
from ..errors import InputError
from ..photo.coordinates import square_from_box
from ..photo.finding import Found
from ..types import Faces
from .faces import FaceReadout as FaceReadout
from .reader import Reader as Reader
from .squares import Squares as Squares
from .squares import named

#: Pictures, and pixels of pictures, that go together.
PICTURES, PIXELS = 16, 50_000_000


@dataclass(frozen=True)
class Alignment:
    """How one network aligns faces."""

    reader: Reader
    readout: FaceReadout
    most: int | None = None  # found faces of a picture that are given, the largest ones

    def each(self, found: Iterable[Found | InputError]) -> Iterator[Faces | InputError]:
        """The faces of each picture by its boxes, or why it has none; in order."""
        group: list[Found | InputError] = []
        pixels = 0
        for item in found:
            group.append(self._of_camera(item))
            pixels += 0 if isinstance(item, InputError) else item.picture.width * item.picture.height
            if len(group) == PICTURES or pixels > PIXELS:
                yield from self._group(group)
                group, pixels = [], 0
        yield from self._group(group)

    def _group(self, group: list[Found | InputError]) -> Iterator[Faces | InputError]:
        readable = [item for item in group if not isinstance(item, InputError)]
        first = [item if item.given else item.part(slice(self.most)) for item in readable]
        faces = zip(readable, self._aligned(first) if first else [], strict=True)
        for item in group:
            yield item if isinstance(item, InputError) else self._filled(*next(faces))

    def _aligned(self, found: list[Found]) -> list[Faces | InputError]:
        """Of each picture the faces in these boxes."""
        given = Squares.listed([item.picture for item in found], [square_from_box(item.boxes) for item in found])
        return self.readout.faces(found, *self.reader.read(given))

    def _filled(self, item: Found, faces: Faces | InputError) -> Faces | InputError:
        """The faces in the largest boxes of a picture; in the place of those that were dropped, faces in the next."""
        if self.most is None or item.given:
            return faces
        read = self.most
        while isinstance(faces, Faces) and len(faces) < self.most and read < len(item.boxes):
            wanted = self.most - len(faces)
            (more,) = self._aligned([item.part(slice(read, read + wanted))])
            faces = more if isinstance(more, InputError) else joined([faces, more])
            read += wanted
        return faces

    def _of_camera(self, item: Found | InputError) -> Found | InputError:
        """The same, or why the picture cannot be the camera's."""
        camera = self.reader.camera
        if camera is not None and not isinstance(item, InputError):
            try:
                camera.numbers(item.picture.width, item.picture.height)
            except InputError as error:
                return InputError(f"{named(item.picture)}: {error}")
        return item
