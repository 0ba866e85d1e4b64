"""Finds the faces of a picture with our own network, in several looks. Each look has a quarter of the size of the last.

In one look the network finds faces of about 25 to 130 pixels, and some smaller ones. So a face of any larger size lies
in the range of some coarser look. All the coarser looks together cost a fifteenth of the first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..threads import shared
from .engine import Engine, engine, library
from .tiles import cpus, tiles, whole
from .weights import load_detector

WEIGHTS = Path(__file__).parent.parent / "pretrained" / "detector" / "own.safetensors"
#: Longest side of a tile, and of the finest look if ``min_size`` is not given; pixels.
LONGEST = 2048
#: A look finds most faces with at least this side √(w·h), pixels of the look.
NEEDED = 24
#: Each look is this many times coarser than the last. Tiles overlap by the second number, pixels of the look, so that
#: each face of the look's range lies whole in a tile.
COARSER, SHARED = 4, 192
#: Sides of faces that a look keeps, pixels of the look. The finer look keeps smaller faces, the coarser larger ones.
#: The finest look has no lower limit, the coarsest no upper one.
OWN_RANGE = (24.0, 140.0)
#: Looks get coarser until the picture's shorter side has at most this many pixels: then even a face that fills it is
#: found.
WHOLE = 150
#: A picture, or a look, of at most this many pixels is left to one thread.
SMALL = 1 << 19
#: Boxes with at least this intersection over union are one face. Its box is their mean, weighted by this power of the
#: scores: with the power 1 the boxes of cells far from the face's middle spoil it (aligned error 2 % higher).
SAME, POWER = 0.5, 4


@functools.cache
def bundled() -> Engine:
    """The engine with the weights of the package."""
    return engine(load_detector(WEIGHTS)[0])


def factors(height: int, width: int, min_size: float | None) -> list[int]:
    """How many times smaller than the picture each look is, the finest first."""
    first = -(-max(height, width) // LONGEST) if min_size is None else int(min_size / NEEDED)
    found = [max(1, min(first, min(height, width) // 32, 128))]
    while min(height, width) > WHOLE * found[-1]:
        found.append(COARSER * found[-1])
    return found


@dataclass(frozen=True)
class Level:
    """A picture made grey and ``factor`` times smaller."""

    grey: np.ndarray  # (H, W) uint8
    factor: int
    left: int = 0  # pixels of the picture that are left out before the first column
    top: int = 0  # and above the first row


def levels(rgb: np.ndarray, min_size: float | None = None, threads: int | None = None) -> list[Level]:
    """(H, W, 3) uint8 → what the network looks at, the finest first. What is left out lies to the right and below."""
    many, before, image = _threads(rgb, threads), 1, np.ascontiguousarray(rgb)
    found = []
    for factor in factors(rgb.shape[0], rgb.shape[1], min_size):
        image, before = _shrunk(library().shrink, image, factor // before, many), factor
        found.append(Level(image, factor))
    return found


def turned(upright: list[Level], height: int, width: int, degrees: int) -> list[Level]:
    """Levels of a picture (height, width) → those of the picture turned clockwise by a multiple of 90 degrees.

    To turn a large picture itself takes longer than to look at it."""
    found = []
    for level in upright:
        right = width - level.grey.shape[1] * level.factor
        below = height - level.grey.shape[0] * level.factor
        left, top = {0: (0, 0), 90: (below, 0), 180: (right, below), 270: (0, right)}[degrees]
        found.append(Level(np.rot90(level.grey, -degrees // 90), level.factor, left, top))
    return found


def find(
    rgb: np.ndarray,
    least: float,
    min_size: float | None = None,
    threads: int | None = None,
    given: list[Level] | None = None,
) -> np.ndarray:
    """(H, W, 3) uint8 → (N, 5) float64 x0, y0, x1, y1, score. A face that two looks find comes twice.

    ``given``: the picture's levels, where they are there already. Any number of ``threads`` gives the same result
    (None: one for each CPU)."""
    many, network = _threads(rgb, threads), bundled()
    if given is None:
        given = levels(rgb, min_size, threads)
    looks = [
        (level, tile) for level in given for tile in tiles(level.grey.shape[1], level.grey.shape[0], LONGEST, SHARED)
    ]
    jobs = []
    for number, (level, (left, top, right, bottom)) in enumerate(looks):
        part = np.ascontiguousarray(level.grey[top:bottom, left:right])
        parts = _parts(part.shape[0], part.size, many)
        jobs += [(number, part, i, parts) for i in range(parts)]
    seen: list[list[np.ndarray]] = [[] for _ in looks]
    found = shared(lambda job: network.find(job[1], least, job[2], job[3]), jobs, many)
    for (number, *_), cells in zip(jobs, found, strict=True):
        seen[number].append(cells)

    faces = []
    for (level, tile), parts_seen in zip(looks, seen, strict=True):
        cells = np.concatenate(parts_seen).astype(np.float64)
        if not len(cells):
            continue
        size = np.sqrt((cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1]))
        low = 0.0 if level is given[0] else OWN_RANGE[0]
        high = np.inf if level is given[-1] else OWN_RANGE[1]
        own = joined(cells[(size >= low) & (size <= high)])
        own = own[whole(own, tile, level.grey.shape[1], level.grey.shape[0])]
        own[:, :4] = (own[:, :4] + (tile[0], tile[1], tile[0], tile[1])) * level.factor
        own[:, :4] += (level.left, level.top, level.left, level.top)
        faces.append(own)
    return np.concatenate([np.zeros((0, 5)), *faces])


def _threads(rgb: np.ndarray, threads: int | None) -> int:
    return (threads or cpus()) if rgb.shape[0] * rgb.shape[1] > SMALL else 1


def _parts(rows: int, pixels: int, many: int) -> int:
    """In how many parts ``many`` threads share a picture's rows. Some 140 rows at the border of two are seen twice."""
    return max(1, min(many, rows // 256)) if pixels > SMALL else 1


def _shrunk(shrink: Callable[..., np.ndarray], image: np.ndarray, factor: int, many: int) -> np.ndarray:
    """``image`` made grey and smaller; ``many`` threads share its rows."""
    rows = image.shape[0] // factor
    parts = _parts(image.shape[0], image.shape[0] * image.shape[1], many)
    ends = [rows * i // parts * factor for i in range(parts)] + [image.shape[0]]
    made = shared(lambda i: shrink(image[ends[i] : ends[i + 1]], factor), range(parts), many)
    return np.concatenate(made) if parts > 1 else made[0]


def joined(cells: np.ndarray) -> np.ndarray:
    """(N, 5) float64 boxes and scores of single cells → a row a face: best score, mean box weighted as `POWER` says.

    Any order of the cells gives the same faces. Raises `InputError` where a number is not finite."""
    return np.asarray(library().join_cells(np.ascontiguousarray(cells, np.float64), SAME, POWER))
