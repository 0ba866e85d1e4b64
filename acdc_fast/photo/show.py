"""Pictures that explain a result: the head's axes, the doubt of each point, numbers of points, a mesh, the attention.

Each is drawn on the picture by `show_faces`. The attention maps come from the network, so they have a sheet of their
own: `attention_sheet`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError
from ..readout import head_shape
from ..types import Faces
from .draw import AXES, CERTAIN_COLOUR, UNCERTAIN_COLOUR, colour_of, draw_faces, head_tips, layer_of, marked
from .images import ImageLike, load_picture

#: What `show_faces` draws.
SHOWN = ("points", "pose", "doubt", "mesh", "index")
MESH = (120, 255, 170)
#: Side of a face whose points' numbers can be read, and of the largest picture that is made for it, pixels.
READABLE, MOST = 900, 4096
#: Side of one picture of the sheet of attention maps.
TILE = 192


def show_faces(image: ImageLike, faces: Faces, what: str = "points", markup: str | None = None) -> Image.Image:
    """The picture with its faces, RGB.

    ``what``: "points" as `draw_faces`; "pose", the head's axes with a legend and the angles; "doubt", a circle round
    each point whose radius is its spread; "mesh", triangles between the 68 points; "index", the number of each point,
    on the part of the picture with the faces, enlarged until they can be read.
    ``markup``: whose points; default: 2d68. Raises `InputError` for what the faces do not have.
    """
    if what not in SHOWN:
        raise InputError(f"what is shown must be one of {', '.join(SHOWN)}, not {what!r}")
    if what == "points":
        return draw_faces(image, faces, markup)
    canvas = Image.fromarray(load_picture(image).rgb)
    if what == "pose" and faces.pose is None:
        raise InputError("the weights have no head pose to show")
    markup = marked(faces, markup)
    if what == "mesh" and markup not in ("2d68", "3d68"):
        raise InputError(f"a mesh is drawn between 68 points; these are of {markup}")
    if what == "index":
        canvas, faces = _enlarged(canvas, faces)
    for i in range(len(faces)):
        {"pose": _pose, "doubt": _doubt, "mesh": _mesh, "index": _index}[what](canvas, faces, i, markup)
    return canvas


def _enlarged(canvas: Image.Image, faces: Faces) -> tuple[Image.Image, Faces]:
    """The part with the faces, a whole number of times as large: the largest face is `READABLE` pixels wide, the
    picture at most `MOST`."""
    if not len(faces):
        return canvas, faces
    sides = np.array([side_of(faces, i) for i in range(len(faces))])
    low = np.maximum(np.floor((faces.boxes[:, :2] - sides[:, None] / 2).min(0)), 0)
    high = np.minimum(np.ceil((faces.boxes[:, 2:] + sides[:, None] / 2).max(0)), canvas.size)
    if (high - low < 1).any():  # boxes outside the picture
        low, high = np.zeros(2), np.array(canvas.size)
    times = max(1, min(math.ceil(READABLE / max(float(sides.max()), 1.0)), MOST // round(float((high - low).max()))))
    width, height = (round(float(side)) * times for side in high - low)
    part = canvas.crop((*low.astype(int).tolist(), *high.astype(int).tolist()))
    landmarks = {m: ((points - low + 0.5) * times - 0.5).astype(np.float32) for m, points in faces.landmarks.items()}
    boxes = ((faces.boxes - np.tile(low, 2) + 0.5) * times - 0.5).astype(np.float32)
    larger = part.resize((width, height), Image.Resampling.BICUBIC)
    return larger, replace(faces, boxes=boxes, landmarks=landmarks)


def side_of(faces: Faces, index: int) -> float:
    """√(w·h) of the face's box, pixels."""
    x0, y0, x1, y1 = faces.boxes[index].astype(np.float64)
    return float(np.sqrt((x1 - x0) * (y1 - y0)))


def write(
    canvas: Image.Image, at: Sequence[float], text: str, size: float, colour: Sequence[int], middle: bool = False
) -> None:
    """Text whose upper left corner, or middle, lies at these pixels, kept inside the picture, with a dark rim."""
    height = max(8.0, size)
    font = ImageFont.load_default(height)
    pen = ImageDraw.Draw(canvas)
    rim = max(1, round(height / 10))
    right, bottom = pen.textbbox((0, 0), text, font=font, stroke_width=rim)[2:]
    left, top = (at[0] - right / 2, at[1] - bottom / 2) if middle else (at[0], at[1])
    x = min(max(0.0, left), max(0.0, canvas.width - right))
    y = min(max(0.0, top), max(0.0, canvas.height - bottom))
    pen.text((x, y), text, font=font, fill=tuple(colour[:3]), stroke_width=rim, stroke_fill=(16, 24, 32))


def _pose(canvas: Image.Image, faces: Faces, i: int, markup: str) -> None:
    assert faces.pose is not None
    side, points = side_of(faces, i), faces.landmarks[markup][i].astype(np.float64)
    origin, tips = points.mean(0), head_tips(faces, i, points.mean(0), 0.75 * side)
    with layer_of(canvas, np.concatenate([tips, origin[None]]), side) as pen:
        for axis in np.argsort(faces.pose.matrix[i][:, 2]):  # the nearest last
            pen.line(np.stack([origin, tips[axis]]), AXES[axis], 2.6)
    for axis, name in enumerate(("right", "up", "ahead")):
        write(canvas, tips[axis] + 0.02 * side, name, side / 11, AXES[axis])
    angles = (faces.pose.yaw[i], faces.pose.pitch[i], faces.pose.roll[i])
    text = "\n".join(
        f"{name} {round(float(angle)):+d}°" for name, angle in zip(("yaw", "pitch", "roll"), angles, strict=True)
    )
    write(canvas, (faces.boxes[i][0], faces.boxes[i][3] + 0.03 * side), text, side / 11, (255, 255, 255))


def _doubt(canvas: Image.Image, faces: Faces, i: int, markup: str) -> None:
    points, spread = faces.landmarks[markup][i].astype(np.float64), faces.spread[markup][i]
    sure = faces.confidence[markup][i]
    widest = float(spread.max()) if len(spread) else 0.0
    with layer_of(canvas, np.concatenate([points - widest, points + widest]), side_of(faces, i)) as pen:
        for k in np.argsort(-spread):  # the surest on top
            pen.ring(points[k], float(spread[k]), colour_of(float(sure[k])))
        for k in range(len(points)):
            pen.dot(points[k], colour_of(float(sure[k])), 0.6)


def _index(canvas: Image.Image, faces: Faces, i: int, markup: str) -> None:
    points, side = faces.landmarks[markup][i].astype(np.float64), side_of(faces, i)
    with layer_of(canvas, points, side) as pen:
        for point in points:
            pen.dot(point, tuple(CERTAIN_COLOUR.tolist()), 0.7)
    for k, place in enumerate(number_places(points, side)):
        write(canvas, place, str(k), side / 38, (255, 255, 255), middle=True)


def number_places(points: np.ndarray, side: float) -> np.ndarray:
    """(L, 2) points of a face of this side → (L, 2) middles of their numbers, where each point has most room: away from
    the others, the nearest ones above all."""
    away = points[:, None] - points
    away /= np.maximum(np.linalg.norm(away, axis=2), 0.01 * side)[..., None] ** 3
    room = away.sum(1)
    return np.asarray(points + 0.026 * side * room / np.maximum(np.linalg.norm(room, axis=1), 1e-12)[:, None])


def _mesh(canvas: Image.Image, faces: Faces, i: int, markup: str) -> None:
    points = faces.landmarks[markup][i].astype(np.float64)
    with layer_of(canvas, points, side_of(faces, i)) as pen:
        for a, b in edges():
            pen.line(points[[a, b]], (*MESH, 190), 0.8)


@cache
def edges() -> tuple[tuple[int, int], ...]:
    """Sides of the Delaunay triangles of the mean head's 68 points, seen from the front."""
    points = head_shape.mean_points()[:, :2]
    first, second, third = np.array(
        [(a, b, c) for a in range(68) for b in range(a + 1, 68) for c in range(b + 1, 68)]
    ).T
    centred = points[None] - points[first][:, None]  # of a triangle at the origin the circle is x² + y² = 2 m·(x, y)
    b, c = points[second] - points[first], points[third] - points[first]
    area = b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0]
    safe = np.where(np.abs(area) < 1e-9, np.inf, area)
    bb, cc = (b**2).sum(1), (c**2).sum(1)
    middle = np.stack([c[:, 1] * bb - b[:, 1] * cc, b[:, 0] * cc - c[:, 0] * bb], 1) / (2 * safe)[:, None]
    inside = (centred**2).sum(2) - 2 * np.einsum("tpd,td->tp", centred, middle) < -1e-9
    good = ~inside.any(1) & np.isfinite(safe)
    sides = {(int(p), int(q)) for t in np.flatnonzero(good) for p, q in _sides(first[t], second[t], third[t])}
    return tuple(sorted(sides))


def _sides(a: int, b: int, c: int) -> list[tuple[int, int]]:
    return [(a, b), (b, c), (a, c)]


def attention_sheet(crops: np.ndarray, masks: Sequence[np.ndarray]) -> Image.Image:
    """(N, 1, S, S) crops and, of each stage, (N, 1, S / patch, S / patch) masks Φ → a sheet: a row for each face, the
    crop first, then the mask of each stage laid over it, from blue, 0, to orange, 1."""
    count, head = len(crops), 20
    sheet = Image.new("RGB", ((1 + len(masks)) * TILE, max(1, count) * TILE + head), (16, 24, 32))
    for column, name in enumerate(["crop", *(f"mask of stage {k + 1}" for k in range(len(masks)))]):
        write(sheet, (column * TILE + 6, 2), name, 13, (255, 255, 255))
    for row, crop in enumerate(crops[:, 0]):
        grey = np.repeat(crop[..., None] * 255, 3, 2)
        tiles = [grey]
        for stage in masks:
            patch = len(crop) // stage.shape[2]
            mask = np.clip(stage[row, 0], 0, 1).repeat(patch, 0).repeat(patch, 1)[..., None]
            tiles.append(0.45 * grey + 0.55 * (CERTAIN_COLOUR * 0.3 * (1 - mask) + UNCERTAIN_COLOUR * mask))
        for column, tile in enumerate(tiles):
            small = Image.fromarray(np.rint(tile).astype(np.uint8))
            place = (column * TILE, head + row * TILE)
            sheet.paste(small.resize((TILE - 2, TILE - 2), Image.Resampling.BICUBIC), place)
    return sheet
