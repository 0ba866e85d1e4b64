"""Landmarks, pose axes and box on a picture, anti-aliased at the picture's own scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..errors import InputError
from ..markups import MARKUPS, first_of
from ..types import Faces
from .coordinates import head_axes
from .images import ImageLike, load_picture

BOX = (255, 255, 255, 150)
CONTOUR = (255, 255, 255, 110)
RIM = (16, 24, 32, 200)
CERTAIN, DOUBTFUL = np.array([64, 224, 255]), np.array([255, 112, 48])
AXES = ((255, 72, 72, 255), (88, 220, 96, 255), (80, 140, 255, 255))  # right, up, forward

#: Drawn this many times larger and averaged down, unless that passes the number of pixels after it.
FINER, MOST = 4, 4096


def draw_faces(image: ImageLike, faces: Faces, markup: str | None = None) -> Image.Image:
    """The picture (as `Model.align` takes it, upright) with its faces: RGB, of the same size.

    ``markup``: "2d68" where there is one, unless told otherwise. Points run from blue, certain, to orange, doubtful.
    Raises `InputError` for a markup that the faces do not have.
    """
    canvas = Image.fromarray(load_picture(image).rgb)
    if markup is None:
        markup = first_of(faces.landmarks, ("2d68", "2d98", "3d68", "2d5"))
    elif markup not in faces.landmarks:
        raise InputError(f"the faces have no markup {markup!r}; they have {', '.join(faces.landmarks)}")
    for i in range(len(faces)):
        _draw_face(canvas, faces, i, markup)
    return canvas


def _draw_face(canvas: Image.Image, faces: Faces, index: int, markup: str | None) -> None:
    box = faces.boxes[index].astype(np.float64)
    points = faces.landmarks[markup][index].astype(np.float64) if markup else np.zeros((0, 2))
    side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    origin = points.mean(0) if len(points) else (box[:2] + box[2:]) / 2
    tips = np.zeros((0, 2)) if faces.pose is None else origin + 0.6 * side * head_axes(faces.pose.matrix[index])

    everything = np.concatenate([box.reshape(2, 2), points, tips])
    low = np.maximum(np.floor(everything.min(0) - 0.05 * side - 2), 0)
    high = np.minimum(np.ceil(everything.max(0) + 0.05 * side + 3), canvas.size)
    width, height = (high - low).astype(int).tolist()
    if width < 1 or height < 1:
        return
    finer = max(1, min(FINER, MOST // max(width, height)))
    layer = Image.new("RGBA", (width * finer, height * finer))
    pen = _Pen(layer, low, finer, stroke=max(0.5, side / 120))

    pen.line(box[[0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 2), BOX)
    for line in MARKUPS[markup].contours if markup else ():
        pen.line(points[list(line)], CONTOUR, 0.7)
    certainty = faces.confidence[markup][index] if markup else []
    for point, sure in zip(points, certainty, strict=True):
        pen.dot(point, tuple(np.rint(DOUBTFUL + (CERTAIN - DOUBTFUL) * float(sure)).astype(int).tolist()))
    if len(tips):
        nearest_last = np.argsort(faces.pose.matrix[index][:, 2])  # type: ignore[union-attr]
        for axis in nearest_last:
            pen.line(np.stack([origin, tips[axis]]), AXES[axis], 2.2)

    small = layer.resize((width, height), Image.Resampling.BOX)
    canvas.paste(small, (int(low[0]), int(low[1])), small)


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

    def dot(self, point: np.ndarray, colour: tuple[int, ...]) -> None:
        x, y = self.place(point).tolist()
        radius = 1.15 * self.stroke
        self._disc(x, y, radius + 0.45 * self.stroke, RIM)
        self._disc(x, y, radius, (*colour, 255))

    def _disc(self, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
        self.drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
