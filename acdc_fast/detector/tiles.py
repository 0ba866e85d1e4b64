"""How a picture is parted into tiles, which boxes of a tile are kept, and how many may be worked on at a time."""

from __future__ import annotations

import os

import numpy as np

#: A box closer than this to an inner border of a tile may show only part of a face. Pixels of the tile.
MARGIN = 2

#: Left, top, right and bottom of a part of a picture, pixels.
Tile = tuple[int, int, int, int]


def parts(length: int, longest: int, shared: int) -> list[tuple[int, int]]:
    """First and end of equal parts of at most ``longest`` that share at least ``shared`` with their neighbours."""
    if length <= longest:
        return [(0, length)]
    count = max(1, int(np.ceil((length - shared) / (longest - shared))))
    size = min(length, int(np.ceil((length + (count - 1) * shared) / count)))
    starts = [round(i * (length - size) / max(1, count - 1)) for i in range(count)]
    return [(start, start + size) for start in starts]


def tiles(width: int, height: int, longest: int, shared: int) -> list[Tile]:
    """Tiles that cover a picture, row by row; sides as in `parts`."""
    columns, rows = (parts(side, longest, shared) for side in (width, height))
    return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def whole(boxes: np.ndarray, tile: Tile, width: int, height: int) -> np.ndarray:
    """Boxes (N, 4 or more) x0, y0, x1, y1, …, pixels of the tile → (N,) whether each shows a whole face.

    It does where it keeps away from those sides of its tile that are not the picture's."""
    if tile == (0, 0, width, height):
        return np.ones(len(boxes), bool)
    left, top, right, bottom = tile
    x0, y0, x1, y1 = boxes.T[:4]
    kept = ((x0 >= MARGIN) | (left == 0)) & ((x1 <= right - left - MARGIN) | (right == width))
    kept &= ((y0 >= MARGIN) | (top == 0)) & ((y1 <= bottom - top - MARGIN) | (bottom == height))
    return np.asarray(kept)


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
