"""A picture looked at by libfacedetection: at several scales, in tiles, with a border, turned; on several threads.

A look's time goes with its pixels, and faces from about 24 pixels are found in it. So the whole picture is looked at
shrunk to `LONGEST`. Where smaller faces are wanted it is looked at in finer scales too, cut into tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ..detector.tiles import Tile, cpus, tiles, whole
from ..threads import shared
from .libfacedetection import SMALLEST, find

#: Longest side of a look, pixels.
LONGEST = 800
#: From this side √(w·h) on, pixels, nearly every face is found. Of twenty of the MTFL training list pasted into a grey
#: picture, 9 to 17 are found at 17 pixels, 15 to 20 at 23, 19 or 20 at 30.
NEEDED = 24
#: Tiles share this much with their neighbours, pixels: a face up to this size lies whole in one of them. Larger ones
#: are left to the next coarser scale, which is therefore at most `COARSER` times as coarse.
SHARED, COARSER = 160, 6
#: The picture is never enlarged by more: nothing is won.
ENLARGED = 2.0
#: Where nothing is found the picture is turned, degrees clockwise.
TURNS = (90, 180, 270)

#: RGB picture → (N, 5) x0, y0, x1, y1 in its pixels, score.
Finder = Callable[[Image.Image], np.ndarray]


@dataclass(frozen=True)
class Look:
    """The picture turned, scaled, a part of it cut out and a black border put around it."""

    scale: float
    border: float = 0.0  # share of the longest side
    turn: int = 0  # degrees clockwise, of 90
    tile: Tile | None = None  # of the scaled picture


def scales(longest: int, min_size: float | None) -> list[float]:
    """Scales for a picture, the coarsest first, so that faces of ``min_size`` pixels are found; None: one scale."""
    whole = min(1.0, LONGEST / longest)
    if min_size is None:
        return [whole]
    finest = min(ENLARGED, NEEDED / min_size)
    if finest <= whole:
        return [max(finest, min(whole, 4 * SMALLEST / longest))]
    steps = int(np.ceil(np.log(finest / whole) / np.log(COARSER) - 1e-9))
    return [whole * (finest / whole) ** (i / steps) for i in range(steps + 1)]


def tiled(width: int, height: int, scale: float) -> list[Look]:
    """Looks that cover a picture of these sides at a scale."""
    cut = tiles(*scaled_size((width, height), scale), LONGEST, SHARED)
    return [Look(scale, tile=tile) for tile in cut] if len(cut) > 1 else [Look(scale)]


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def found(rgb: np.ndarray, looks: Iterable[Look], threads: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 → (N, 5) float64 x0, y0, x1, y1 in pixels of the picture, score: of all looks, in their order.

    The same for any number of ``threads``; None: as many as there are CPUs."""
    return np.concatenate(found_by_look(rgb, looks, threads))


def found_by_look(
    rgb: np.ndarray, looks: Iterable[Look], threads: int | None = None, finder: Finder | None = None
) -> list[np.ndarray]:
    """The same as `found`, one array for each look. Another ``finder`` than the library may look."""
    return shared(lambda look: _found(rgb, look, finder or find), list(looks), threads or cpus())


def part_of(rgb: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """The part ``box`` (x0, y0, x1, y1, pixels) of (H, W, 3) uint8, scaled to ``size``: averaged where it shrinks.

    Only the part is copied, and around it what the filter reads: the picture may be large."""
    height, width = rgb.shape[:2]
    if size == (width, height) and box == (0, 0, width, height):
        return Image.fromarray(np.ascontiguousarray(rgb))
    around = [int(np.ceil(max(1.0, (box[i + 2] - box[i]) / size[i]))) + 1 for i in (0, 1)]
    left, top = (max(0, int(box[i]) - around[i]) for i in (0, 1))
    right, bottom = (int(np.ceil(box[i + 2])) + around[i] for i in (0, 1))
    part = Image.fromarray(np.ascontiguousarray(rgb[top:bottom, left:right]))
    moved = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return part.resize(size, Image.Resampling.BILINEAR, moved)


def _found(rgb: np.ndarray, look: Look, finder: Finder) -> np.ndarray:
    whole_size = rgb.shape[1], rgb.shape[0]
    scaled = scaled_size(whole_size, look.scale)
    across, down = whole_size[0] / scaled[0], whole_size[1] / scaled[1]
    left, top, right, bottom = look.tile or (0, 0, *scaled)
    box = (left * across, top * down, min(right * across, whole_size[0]), min(bottom * down, whole_size[1]))
    part = part_of(rgb, box, (right - left, bottom - top))
    if look.turn:
        part = part.transpose(getattr(Image.Transpose, f"ROTATE_{360 - look.turn}"))  # Pillow turns the other way
    edge = round(look.border * max(part.size))
    right, below = (max(edge, SMALLEST - side) for side in part.size)
    width, height = part.size
    if edge or right or below:
        part = ImageOps.expand(part, (edge, edge, right, below))
    faces = finder(part)
    faces[:, :4] -= edge
    faces[:, :4] = turned_back(faces[:, :4], width, height, look.turn)
    if look.tile is not None:
        faces = faces[whole(faces, look.tile, *scaled)]
    faces[:, :4] = (faces[:, :4] + (left, top, left, top)) * (across, down, across, down)
    return faces[(faces[:, 2] > faces[:, 0]) & (faces[:, 3] > faces[:, 1])]


def turned_back(boxes: np.ndarray, width: int, height: int, turn: int) -> np.ndarray:
    """Boxes in a picture of ``width`` × ``height`` that was turned by ``turn`` degrees clockwise → before the turn."""
    x0, y0, x1, y1 = boxes.T
    if turn == 90:
        return np.stack([y0, width - x1, y1, width - x0], 1)
    if turn == 180:
        return np.stack([width - x1, height - y1, width - x0, height - y0], 1)
    if turn == 270:
        return np.stack([height - y1, x0, height - y0, x1], 1)
    return boxes
