"""Grey crops of squares of an image, averaged over each crop pixel's area where they shrink."""

from __future__ import annotations

import numpy as np

from .coordinates import crop_pixels_to_image_matrix
from .images import luma


def crop_faces(image: np.ndarray, squares: np.ndarray, size: int) -> np.ndarray:
    """(H, W) grey or (H, W, 3) RGB, uint8, and (N, 4) squares of `geometry` → (N, 1, S, S) float32 in [0, 1].

    Bilinear samples, as many to a crop pixel as it covers image pixels, are averaged; beyond the border the picture's
    edge goes on. Training cuts its crops in the same way (`training.augment.warp`), and a test compares the two.
    """
    crops = np.empty((len(squares), 1, size, size), np.float32)
    for crop, square in zip(crops, np.asarray(squares, np.float64), strict=True):
        samples = max(1, round(float(square[2]) / size))
        crop[0] = _turned(image, square, size, samples) if square[3] else _upright(image, square, size, samples)
    crops /= np.float32(255)
    return crops


def _grey(image: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """Rows and columns that a face covers as float32: of a large picture little is ever converted."""
    part = image[top:bottom, left:right]
    return (luma(part) if part.ndim == 3 else part).astype(np.float32)


def _upright(image: np.ndarray, square: np.ndarray, size: int, samples: int) -> np.ndarray:
    """Without rotation rows and columns are sampled apart: two products with small matrices."""
    matrix = crop_pixels_to_image_matrix(square[None], size * samples)[0]
    fine = np.arange(size * samples)
    rows, top = _weights(matrix[1, 1] * fine + matrix[1, 2], image.shape[0], samples)
    columns, left = _weights(matrix[0, 0] * fine + matrix[0, 2], image.shape[1], samples)
    part = _grey(image, top, top + rows.shape[1], left, left + columns.shape[1])
    return np.asarray(rows @ part @ columns.T)


def _weights(positions: np.ndarray, length: int, samples: int) -> tuple[np.ndarray, int]:
    """Matrix (S, n) that averages ``samples`` linear interpolations each, and the first of the n pixels it reads."""
    at = np.clip(positions, 0, length - 1)
    low = np.minimum(at.astype(np.int64), max(0, length - 2))
    first, count = int(low[0]), int(low[-1]) - int(low[0]) + min(2, length)
    rows = len(at) // samples
    start = np.repeat(np.arange(rows) * count - first, samples)  # of its row in the flat matrix, less the first pixel
    places = np.concatenate([start + low, start + np.minimum(low + 1, length - 1)])
    shares = np.concatenate([1 - (at - low), at - low]) / samples
    return np.bincount(places, shares, rows * count).reshape(rows, count).astype(np.float32), first


def _turned(image: np.ndarray, square: np.ndarray, size: int, samples: int) -> np.ndarray:
    """With rotation every sample is gathered from its four pixels."""
    matrix = crop_pixels_to_image_matrix(square[None], size * samples)[0]
    fine = np.arange(size * samples)
    height, width = image.shape[:2]
    x = np.clip(matrix[0, 0] * fine + matrix[0, 1] * fine[:, None] + matrix[0, 2], 0, width - 1)
    y = np.clip(matrix[1, 0] * fine + matrix[1, 1] * fine[:, None] + matrix[1, 2], 0, height - 1)
    left, top = x.astype(np.int64), y.astype(np.int64)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = (x - left).astype(np.float32), (y - top).astype(np.float32)
    y0, x0 = int(top.min()), int(left.min())
    grey = _grey(image, y0, int(below.max()) + 1, x0, int(right.max()) + 1)
    left, right, top, below = left - x0, right - x0, top - y0, below - y0
    above = grey[top, left] * (1 - dx) + grey[top, right] * dx
    under = grey[below, left] * (1 - dx) + grey[below, right] * dx
    values = above * (1 - dy) + under * dy
    return np.asarray(values.reshape(size, samples, size, samples).mean((1, 3)))
