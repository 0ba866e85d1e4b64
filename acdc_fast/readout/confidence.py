"""Spread of attention maps (the root of their second moments, paper §IV-F), and the confidence computed from it.

confidence = 1 / (1 + exp(own·log(spread) + face·log(mean spread of the face) + offset of the point)) is the chance that
a point lies within 5 % of the face box's side of its label. `training/fits/calibration.py` fits the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

#: (own, face, offset for all points or one for each) where the weights bring none: ½ at a spread of 2.5 % of the crop's
#: side, odds by its square.
UNCALIBRATED = (2.0, 0.0, -2.0 * float(np.log(0.025)))


def spread_of(covariance: object) -> np.ndarray:
    """(…, 3) xx, xy, yy → (…): root of the trace, in the unit of the points."""
    moments = np.asarray(covariance)
    spread: np.ndarray = np.sqrt(np.maximum(moments[..., 0] + moments[..., 2], 0))
    return spread


def narrowest(spreads: Iterable[np.ndarray]) -> np.ndarray:
    """(N, L) spreads of each markup → (N,): the mean spread of the markup whose maps are narrowest on the face, in the
    same unit. It tells a face that leans too far from one that is merely hard. The mean of all maps tells it less well,
    because many maps are of jaws and brows, which are wide on every face."""
    least: np.ndarray = np.min([spread.sum(1) / spread.shape[1] for spread in spreads], axis=0)
    return least


def of_points(numbers: Sequence[float], count: int) -> np.ndarray:
    """(own, face, offset for all points or one for each) → (3, L), a row of each for L points."""
    own, face, *offsets = numbers
    return np.array([np.full(count, own), np.full(count, face), np.broadcast_to(offsets, count)])


def confidence(spread: np.ndarray, face: np.ndarray, numbers: Sequence[Any] | np.ndarray) -> np.ndarray:
    """(N, L) spreads and (N,) mean spreads, crop units → (N, L) in [0, 1]; a map that is one pixel alone is sure.

    ``numbers``: own, face and offset for all points or one for each, or the three rows of `of_points`.
    """
    own, whole, *offsets = numbers
    logs = own * np.log(np.maximum(spread, 1e-6)) + whole * np.log(np.maximum(face, 1e-6))[:, None]
    chance: np.ndarray = (1 / (1 + np.exp(np.clip(logs + np.array(offsets), -50, 50)))).astype(np.float32)
    return chance
