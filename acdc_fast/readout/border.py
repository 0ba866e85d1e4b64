"""Points at and beyond the picture's border: the crop shows them nothing, so they are less sure, and not in sight.

The numbers were fitted to 176 photographs of `aflw68-train`, of which each was cut twice through the face, and to the
points of `acdc-w16-fast`, `acdc-w16-phone` and `acdc-w32` together. The labels beyond the cut are known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..photo.coordinates import BOX_SCALE

#: The logarithm of the odds of being right falls by the first number for each side √(w·h) of the face's box, from the
#: second on, which lies within the picture, to the third.
SLOPE, FROM, TO = 5.5, -0.1, 0.2
#: The chance of being in sight falls with the distance as a logistic function with this middle and this width, sides.
#: From `FARTHEST` within the picture on nothing changes.
MIDDLE, WIDTH, FARTHEST = 0.0075, 0.015, -0.15


def beyond(points: np.ndarray, size: ArrayLike, side: np.ndarray) -> np.ndarray:
    """(N, L, 2) image pixels, the pictures' width and height, (2,) or (N, 2), and (N,) sides of the crops, pixels →
    (N, L) distance beyond the nearest border in sides of the face's box; below 0 within the picture."""
    low, high = -0.5 - points, points - (np.reshape(size, (-1, 1, 2)) - 0.5)
    away: np.ndarray = np.maximum(low, high).max(2) / (side[:, None] / BOX_SCALE)
    return away


def less_sure(sure: np.ndarray, away: np.ndarray) -> np.ndarray:
    """(N, L) confidence and distances `beyond` the border → (N, L) float32, the same where the border is far."""
    factor = np.exp(-SLOPE * (np.clip(away, FROM, TO) - FROM))  # of the odds
    return np.asarray(np.where(factor < 1, sure * factor / (1 - sure + sure * factor), sure), np.float32)


def in_sight(visible: np.ndarray, away: np.ndarray) -> np.ndarray:
    """(N, L) chances of being in sight, and distances → (N, L) float32, the same where the border is far."""
    within = 1 / (1 + np.exp(np.clip((away - MIDDLE) / WIDTH, -50, 50)))
    return np.asarray(np.where(away > FARTHEST, visible * within, visible), np.float32)
