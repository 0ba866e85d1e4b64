"""Landmarks, pose axes and box on a picture, anti-aliased at the picture's own scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError
from ..markups import MARKUPS, first_of
from ..types import Faces
from .coordinates import head_axes
from .images import ImageLike, load_picture

BOX = (255, 255, 255, 150)
CONTOUR = (255, 255, 255, 110)
RIM = (16, 24, 32, 200)
CERTAIN_COLOUR, UNCERTAIN_COLOUR = np.array([64, 224, 255]), np.array([255, 112, 48])
AXES = ((255, 72, 72, 255), (88, 220, 96, 255), (80, 140, 255, 255))  # right, up, forward

#: Drawn this many times larger, small faces twice as many, and averaged down, unless that passes the number of pixels
#: after it.
FINER, MOST = 4, 4096
#: Pixels of the thinnest stroke: of faces below 48 pixels. Faces below `NUMBERED` get no number.
LEAST_STROKE, NUMBERED = 0.4, 24


#: Colours that tell several faces apart.
FACES = ((255, 255, 255), (255, 214, 64), (120, 255, 170), (255, 130, 220), (130, 190, 255), (255, 160, 110))


def draw_faces(image: ImageLike, faces: Faces, markup: str | None = None) -> Image.Image:
    """The picture (as `Model.align` takes it, upright) with its faces: RGB, of the same size.

    ``markup``: "2d68" by default, where there is one. Points run from blue, certain, to orange, doubtful.
    Of several faces each has a colour and its number, in a film its id. Raises `InputError` for a markup that the faces
    do not have.
    """
    canvas = Image.fromarray(load_picture(image).rgb)
    markup = marked(faces, markup) if markup or faces.landmarks else None
    for i in range(len(faces)):
        _draw_face(canvas, faces, i, markup)
    return canvas


def marked(faces: Faces, markup: str | None) -> str:
    """The markup to draw; raises `InputError` for one that the faces do not have."""
    usual = first_of(faces.landmarks, ("2d68", "2d98", "3d68", "2d5"))
    if usual is None or (markup is not None and markup not in faces.landmarks):
        raise InputError(f"the faces have no markup {markup!r}; they have {', '.join(faces.landmarks)}")
    return markup or usual


def head_tips(faces: Faces, index: int, origin: np.ndarray, length: float) -> np.ndarray:
    """(3, 2) where the head's axes right, up and ahead end that begin at these pixels; (0, 2) without a pose."""
    return np.zeros((0, 2)) if faces.pose is None else origin + length * head_axes(faces.pose.matrix[index])


def colour_of(sure: float) -> tuple[int, int, int]:
    """Of a point that is so certain, 0 to 1."""
    red, green, blue = np.rint(UNCERTAIN_COLOUR + (CERTAIN_COLOUR - UNCERTAIN_COLOUR) * sure).astype(int).tolist()
    return red, green, blue


@contextmanager
def layer_of(canvas: Image.Image, everything: np.ndarray, side: float) -> Iterator[_Pen]:
    """A pen for what lies within these points (M, 2), of a face whose box has this side; drawn when the block ends."""
    low = np.maximum(np.floor(everything.min(0) - 0.05 * side - 2), 0)
    high = np.minimum(np.ceil(everything.max(0) + 0.05 * side + 3), canvas.size)
    width, height = np.maximum(high - low, 0).astype(int).tolist()
    stroke = max(LEAST_STROKE, side / 120)
    finer = max(1, min(FINER if stroke >= 0.5 else 2 * FINER, MOST // max(width, height, 1)))
    layer = Image.new("RGBA", (max(width, 1) * finer, max(height, 1) * finer))
    yield _Pen(layer, low, finer, stroke)
    if width and height:
        small = layer.resize((width, height), Image.Resampling.BOX)
        canvas.paste(small, (int(low[0]), int(low[1])), small)


def _draw_face(canvas: Image.Image, faces: Faces, index: int, markup: str | None) -> None:
    box = faces.boxes[index].astype(np.float64)
    points = faces.landmarks[markup][index].astype(np.float64) if markup else np.zeros((0, 2))
    side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    origin = points.mean(0) if len(points) else (box[:2] + box[2:]) / 2
    tips = head_tips(faces, index, origin, 0.6 * side)
    number = index if faces.ids is None else int(faces.ids[index])
    own = FACES[number % len(FACES)] if len(faces) > 1 or faces.ids is not None else FACES[0]
    with layer_of(canvas, np.concatenate([box.reshape(2, 2), points, tips]), side) as pen:
        pen.line(box[[0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 2), (*own, BOX[3]))
        for line in MARKUPS[markup].contours if markup in MARKUPS else ():  # faces may come from elsewhere
            pen.line(points[list(line)], CONTOUR, 0.7)
        certainty = faces.confidence[markup][index] if markup else []
        for point, sure in zip(points, certainty, strict=True):
            pen.dot(point, colour_of(float(sure)))
        if faces.pose is not None:
            nearest_last = np.argsort(faces.pose.matrix[index][:, 2])
            for axis in nearest_last:
                pen.line(np.stack([origin, tips[axis]]), AXES[axis], 2.2)
    if (len(faces) > 1 or faces.ids is not None) and side >= NUMBERED:
        font = ImageFont.load_default(max(9.0, side / 9))
        at = (max(0.0, float(box[0])), max(0.0, float(box[1]) - max(11.0, side / 8)))
        ImageDraw.Draw(canvas).text(at, str(number), font=font, fill=own, stroke_width=1, stroke_fill=RIM[:3])


class _Pen:
    """Draws in image pixels, centres at integers, on a layer ``finer`` times as fine whose corner lies at ``low``."""

    def __init__(self, layer: Image.Image, low: np.ndarray, finer: int, stroke: float) -> None:
        self.drawing, self.low, self.finer, self.stroke = ImageDraw.Draw(layer), low, finer, stroke * finer

    def place(self, points: np.ndarray) -> np.ndarray:
        return np.asarray((points - self.low + 0.5) * self.finer - 0.5)

    def line(self, points: np.ndarray, colour: Sequence[int], weight: float = 1.0) -> None:
        width = max(1, round(self.stroke * weight))
        places: list[Any] = [tuple(p) for p in self.place(points).tolist()]
        self.drawing.line(places, tuple(colour), width, joint="curve")
        if weight > 1:  # thick lines end round
            for x, y in (places[0], places[-1]):
                self._disc(x, y, width / 2 - 0.5, tuple(colour))

    def ring(self, point: np.ndarray, radius: float, colour: tuple[int, ...]) -> None:
        """A circle, its inside lightly filled; ``radius`` in image pixels."""
        (x, y), r = self.place(point).tolist(), radius * self.finer
        edge = (x - r, y - r, x + r, y + r)
        self.drawing.ellipse(edge, (*colour, 40), (*colour, 230), max(1, round(0.5 * self.stroke)))

    def dot(self, point: np.ndarray, colour: tuple[int, ...], weight: float = 1.0) -> None:
        x, y = self.place(point).tolist()
        radius = 1.15 * self.stroke * weight
        self._disc(x, y, radius + 0.45 * self.stroke, RIM)
        self._disc(x, y, radius, (*colour, 255))

    def _disc(self, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
        self.drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
