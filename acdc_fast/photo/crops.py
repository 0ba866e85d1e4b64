"""Cuts grey crops of squares of an image, averaged over the area of each crop pixel where they shrink.

Which square belongs to a box: `photo.crop_convention`.
"""

from __future__ import annotations

import numpy as np

from .coordinates import crop_pixels_to_image_matrix
from .images import luma

#: Pixels of the picture, and samples of a turned crop, that are worked on at a time: memory does not grow with the box.
PIXELS, SAMPLES = 1 << 22, 1 << 18
#: Samples to a crop pixel and axis at most; only boxes far larger than any picture would have more.
MOST_SAMPLES = 512


def crop_faces(image: np.ndarray, squares: np.ndarray, size: int) -> np.ndarray:
    """(H, W) grey or (H, W, 3) RGB, uint8, and (N, 4) squares → (N, 1, S, S) float32 in [0, 1].

    `coordinates` says which square a face gets: the crop convention.

    Bilinear samples, as many to a crop pixel as it covers image pixels, are averaged; beyond the border the picture's
    edge goes on. Training cuts its crops in the same way (`training/sampling/augment.py`), and a test compares the two.
    """
    crops = np.empty((len(squares), 1, size, size), np.float32)
    for crop, square in zip(crops, np.asarray(squares, np.float64), strict=True):
        samples = min(max(1, round(float(square[2]) / size)), MOST_SAMPLES)
        quarters, rest = divmod(float(square[3]), 90.0)
        if rest:
            _turned(image, square, samples, crop[0])
        else:  # the same samples as upright, in another order
            upright = np.empty((size, size), np.float32)
            _upright(image, square * (1, 1, 1, 0), samples, upright)
            crop[0] = np.rot90(upright, int(quarters))
    crops /= np.float32(255)
    return np.minimum(crops, 1, out=crops)  # sums of shares may round to just above


def crop_views(image: np.ndarray, matrices: np.ndarray, sides: np.ndarray, size: int) -> np.ndarray:
    """As `crop_faces`, of crops that are no squares of the picture: ``matrices`` (N, 3, 3) map crop units to image
    pixels, projectively; ``sides`` (N,): about how many pixels each crop is wide."""
    crops = np.empty((len(matrices), 1, size, size), np.float32)
    for crop, matrix, side in zip(crops, matrices, sides, strict=True):
        samples = min(max(1, round(float(side) / size)), MOST_SAMPLES)
        step = 1 / (size * samples)
        _gather(image, matrix @ np.array([[step, 0, step / 2], [0, step, step / 2], [0, 0, 1]]), samples, crop[0])
    crops /= np.float32(255)
    return np.minimum(crops, 1, out=crops)  # sums of shares may round to just above


def _grey(image: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """Rows and columns that a face covers as float32: of a large picture little is ever converted."""
    part = image[top:bottom, left:right]
    return luma(part) if part.ndim == 3 else part.astype(np.float32)


def _upright(image: np.ndarray, square: np.ndarray, samples: int, crop: np.ndarray) -> None:
    """Without rotation rows and columns are averaged apart, first the rows, as many at a time as `PIXELS` allows. No
    BLAS: its threads would wait for each other on a busy machine, for sums that are this short."""
    x, y, side = square[:3]
    step = side / (len(crop) * samples)
    first = np.array([[y], [x]]) - side / 2 + side * 0.5 / (len(crop) * samples)
    places, shares = _taps(step * np.arange(len(crop) * samples) + first, np.array(image.shape[:2])[:, None], samples)
    (rows, columns), (row_shares, column_shares) = places, shares
    left, right = int(columns.min()), int(columns.max()) + 1
    step = max(1, PIXELS // ((right - left) * rows.shape[1]))
    for start in range(0, len(crop), step):
        part = slice(start, start + step)
        top, bottom = int(rows[part].min()), int(rows[part].max()) + 1
        averaged = _summed(_grey(image, top, bottom, left, right), rows[part] - top, row_shares[part])
        crop[part] = _summed(np.ascontiguousarray(averaged.T), columns - left, column_shares).T


def _summed(lines: np.ndarray, places: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(n, m) lines, (S, K) which of them and their shares → (S, m) sums."""
    total = shares[:, :1] * lines[places[:, 0]]
    for k in range(1, places.shape[1]):
        total += shares[:, k : k + 1] * lines[places[:, k]]
    return np.asarray(total)


def _taps(positions: np.ndarray, length: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The average of ``samples`` linear interpolations each, along A axes of (A, 1) pixels: (A, S·samples) positions →
    (A, S, K) pixels that are read, (A, S, K) float32 shares."""
    at = np.minimum(np.maximum(positions, 0), length - 1)
    low = np.minimum(at.astype(np.int64), np.maximum(0, length - 2)).reshape(-1, samples)
    after = at.reshape(low.shape) - low  # share of the pixel that follows
    first = low[:, :1]
    count = int((low[:, -1:] - first).max()) + 2
    behind = (low - first) + np.arange(len(low))[:, None] * count
    shares = np.bincount(behind.ravel(), (1 - after).ravel() / samples, len(low) * count)
    shares += np.bincount(behind.ravel() + 1, after.ravel() / samples, len(low) * count)
    shape = len(positions), -1, count
    pixels = np.minimum((first + np.arange(count)).reshape(shape), length[:, :, None] - 1)
    return pixels, shares.astype(np.float32).reshape(shape)


def _turned(image: np.ndarray, square: np.ndarray, samples: int, crop: np.ndarray) -> None:
    matrix = crop_pixels_to_image_matrix(square[None], len(crop) * samples)[0]
    _gather(image, np.concatenate([matrix, [[0, 0, 1]]]), samples, crop)


def _gather(image: np.ndarray, matrix: np.ndarray, samples: int, crop: np.ndarray) -> None:
    """Every sample is gathered from its four pixels, `SAMPLES` at a time. ``matrix``: 3×3, samples → image pixels."""
    size = len(crop)
    wide = max(1, min(size, SAMPLES // samples**2))
    tall = max(1, min(size, SAMPLES // (samples**2 * wide)))
    for top in range(0, size, tall):
        for left in range(0, size, wide):
            block = crop[top : top + tall, left : left + wide]
            rows = np.arange(top * samples, (top + block.shape[0]) * samples)[:, None]
            columns = np.arange(left * samples, (left + block.shape[1]) * samples)
            x, y, w = (row[0] * columns + row[1] * rows + row[2] for row in matrix)
            if matrix[2, 0] or matrix[2, 1]:
                x, y = x / np.maximum(w, 1e-6), y / np.maximum(w, 1e-6)
            values = _gathered(image, x, y).reshape(block.shape[0], samples, block.shape[1], samples)
            block[:] = values.mean((1, 3))


def _gathered(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear samples at these places, grey."""
    height, width = image.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = (x - left).astype(np.float32), (y - top).astype(np.float32)

    def grey(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        found = image[rows, columns]
        return luma(found) if found.ndim == 3 else found.astype(np.float32)

    above = grey(top, left) * (1 - dx) + grey(top, right) * dx
    under = grey(below, left) * (1 - dx) + grey(below, right) * dx
    return np.asarray(above * (1 - dy) + under * dy)
